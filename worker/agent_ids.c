/* agent_ids - see agent_ids.h */
#include "worker/agent_ids.h"

#include <stdlib.h>

#define SET_RANGES_MAX 65536 /* of one gateway: more than any credit allows */

void agent_ids_add(struct agent_ids *self, const struct uuid *gateway, uint64_t number)
{
    size_t i = 0;
    while (i < self->len && !id_equal(&self->gateways[i], gateway))
        i++;
    if (i == self->len) {
        if (self->len == self->room) {
            self->room = MAX(2 * self->room, (size_t)4);
            self->gateways = xrealloc(self->gateways, self->room * sizeof *self->gateways);
            self->sets = xrealloc(self->sets, self->room * sizeof *self->sets);
        }
        self->gateways[i] = *gateway;
        self->sets[i] = taskset_make(SET_RANGES_MAX);
        self->len++;
    }
    taskset_add(&self->sets[i], number);
}

static void send_one(const struct uuid *gateway, const struct taskset *set, struct link *link,
                     struct wire_out *out, enum wire_type type, enum status status,
                     const char *text)
{
    for (size_t next = 0; next < set->len;) {
        wire_begin(out, type);
        wire_list_open(out, KEY_IDS);
        wire_put_set(out, gateway, set, &next, IDS_RANGES_MAX);
        wire_list_close(out);
        if (text) {
            if (type == WIRE_NACK)
                wire_put_u64(out, KEY_STATUS, status);
            wire_put_text(out, KEY_TEXT, text);
        }
        link_send(link, out);
    }
}

void agent_ids_send(struct agent_ids *self, struct link *link, struct wire_out *out,
                    enum wire_type type, enum status status, const char *text)
{
    for (size_t i = 0; i < self->len; i++) {
        send_one(&self->gateways[i], &self->sets[i], link, out, type, status, text);
        taskset_free(&self->sets[i]);
    }
    self->len = 0;
}

void agent_ids_free(struct agent_ids *self)
{
    for (size_t i = 0; i < self->len; i++)
        taskset_free(&self->sets[i]);
    free(self->gateways);
    free(self->sets);
    *self = (struct agent_ids){0};
}
