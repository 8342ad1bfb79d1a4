/* out - actions and what they point to, in pools that are emptied together */
#include "broker/core/state.h"

#include <stdlib.h>
#include <string.h>

/* Make room for `more` elements of `size` octets behind `len`; doubling keeps it linear. */
static void *grow(void *at, size_t *room, size_t len, size_t more, size_t size)
{
    if (len + more <= *room)
        return at;
    *room = MAX(MAX(*room * 2, len + more), (size_t)64);
    return xrealloc(at, *room * size);
}

static uint32_t put_text(struct core_out *out, const char *text)
{
    size_t size = text && *text ? strlen(text) + 1 : 0;
    if (out->chars_len == 0) {
        out->chars = grow(out->chars, &out->chars_room, 0, 1, 1);
        out->chars[out->chars_len++] = '\0';
    }
    if (size == 0)
        return 0;
    out->chars = grow(out->chars, &out->chars_room, out->chars_len, size, 1);
    memcpy(out->chars + out->chars_len, text, size);
    out->chars_len += size;
    return (uint32_t)(out->chars_len - size);
}

struct action *out_action(struct core *self, enum action_kind kind, uint64_t conn,
                          enum status status, const char *text)
{
    struct core_out *out = &self->out;
    out->actions =
        grow(out->actions, &out->actions_room, out->actions_len, 1, sizeof(struct action));
    struct action *action = &out->actions[out->actions_len++];
    *action = (struct action){.kind = kind, .conn = conn, .status = status};
    action->text = put_text(out, text);
    action->first = (uint32_t)(kind == ACTION_DISPATCH ? out->rows_len : out->ranges_len);
    return action;
}

void out_range(struct core *self, struct action *action, uint64_t first, uint64_t count)
{
    struct core_out *out = &self->out;
    assert(action == &out->actions[out->actions_len - 1]);
    if (action->len > 0) {
        struct task_range *last = &out->ranges[out->ranges_len - 1];
        if (last->first + last->count == first) {
            last->count += count;
            return;
        }
    }
    out->ranges =
        grow(out->ranges, &out->ranges_room, out->ranges_len, 1, sizeof(struct task_range));
    out->ranges[out->ranges_len++] = (struct task_range){first, count};
    action->len++;
}

void out_id(struct core *self, enum action_kind kind, uint64_t conn, const struct uuid *gateway,
            uint64_t number)
{
    if (conn == 0)
        return;
    struct core_out *out = &self->out;
    struct action *last = out->actions_len ? &out->actions[out->actions_len - 1] : NULL;
    if (!last || last->kind != kind || last->conn != conn || last->status != STATUS_OK ||
        last->text || last->len >= CORE_RANGES_MAX / 2 || !id_equal(&last->uuid, gateway)) {
        last = out_action(self, kind, conn, STATUS_OK, NULL);
        last->uuid = *gateway;
    }
    out_range(self, last, number, 1);
}

void out_set(struct core *self, enum action_kind kind, uint64_t conn, const struct core_set *set,
             const char *text)
{
    if (conn == 0 || set->len == 0)
        return;
    struct action *action = out_action(self, kind, conn, STATUS_OK, text);
    action->uuid = set->gateway;
    for (size_t i = 0; i < set->len; i++)
        out_range(self, action, set->ranges[i].first, set->ranges[i].count);
}

struct dispatch_row *out_row(struct core *self, struct action *action)
{
    struct core_out *out = &self->out;
    assert(action == &out->actions[out->actions_len - 1]);
    out->rows = grow(out->rows, &out->rows_room, out->rows_len, 1, sizeof(struct dispatch_row));
    action->len++;
    return &out->rows[out->rows_len++];
}

void out_release(struct core *self, void *body)
{
    if (body)
        out_action(self, ACTION_RELEASE, 0, STATUS_OK, NULL)->body = body;
}
