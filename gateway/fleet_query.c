/* fleet_query - questions to a broker about its state, and their answers */
#include "gateway/fleet_private.h"

#include "common/clock.h"

#include <string.h>

#define PATIENCE_NS (5 * NS_PER_S) /* for an answer */

static void end_query(struct query *query, const struct wire_map *state, const struct error *why)
{
    struct query ended = *query;
    front_timer_clear(ended.fleet->config.front, &query->timer);
    memset(query, 0, sizeof *query);
    ended.answer(ended.arg, state, why);
}

static void fail_query(struct query *query, const char *text)
{
    struct error why;
    fail(&why, STATUS_UNAVAILABLE, "%s", text);
    end_query(query, NULL, &why);
}

static void no_answer(void *arg)
{
    struct query *query = arg;
    fail_query(query, query->broker != NO_BROKER
                          ? "the broker did not answer in time: retry"
                          : "no broker answers: is convoy-broker running? retry in a moment");
}

/* Workers join every broker, but one of either may be away. */
static const struct upstream *best_informed(const struct fleet *self)
{
    const struct upstream *best = NULL;
    for (size_t i = 0; i < self->upstreams_len; i++) {
        const struct upstream *one = self->upstreams[i];
        if (upstream_up(one) && (!best || one->workers > best->workers))
            best = one;
    }
    return best;
}

enum status fleet_query(struct fleet *self, enum wire_what what,
                        void (*answer)(void *arg, const struct wire_map *state,
                                       const struct error *why),
                        void *arg)
{
    struct query *query = self->queries, *end = query + QUERIES_MAX;
    while (query < end && query->request)
        query++;
    if (query == end)
        return STATUS_BUSY;
    const struct upstream *to = best_informed(self);
    uint64_t now_ns = front_now_ns(self->config.front);
    *query = (struct query){.request = ++self->queries_made,
                            .answer = answer,
                            .arg = arg,
                            .fleet = self,
                            .broker = to ? to->index : NO_BROKER};
    front_timer_set(self->config.front, &query->timer, to ? now_ns + PATIENCE_NS : now_ns,
                    no_answer, query);
    if (to) {
        wire_begin(self->out, WIRE_QUERY);
        wire_put_u64(self->out, KEY_WHAT, what);
        wire_put_u64(self->out, KEY_REQUEST, query->request);
        link_send(to->link, self->out);
    }
    return STATUS_OK;
}

void fleet_answer(struct upstream *from, const struct wire_in *in)
{
    struct fleet *self = from->fleet;
    uint64_t request = wire_u64(in->map, KEY_REQUEST);
    for (size_t i = 0; request && i < QUERIES_MAX; i++) {
        if (self->queries[i].request == request) {
            end_query(&self->queries[i], &in->map, NULL);
            return;
        }
    }
}

void fleet_queries_end(struct fleet *self, uint32_t broker, const char *why)
{
    for (size_t i = 0; i < QUERIES_MAX; i++)
        if (self->queries[i].request && (broker == NO_BROKER || self->queries[i].broker == broker))
            fail_query(&self->queries[i], why);
}
