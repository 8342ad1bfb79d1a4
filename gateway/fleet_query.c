/* fleet_query - questions to all brokers about their workers, and the answers in one */
#include "gateway/fleet_private.h"

#include "common/clock.h"

#include <stdlib.h>
#include <string.h>

#define PATIENCE_NS (5 * NS_PER_S) /* for all answers */

static void end_query(struct query *query, const struct error *why)
{
    struct query ended = *query;
    front_timer_clear(ended.fleet->config.front, &query->timer);
    memset(query, 0, sizeof *query);
    static const struct fleet_worker nobody;
    const struct fleet_worker *workers = ended.workers ? ended.workers : &nobody;
    ended.answer(ended.arg, why ? NULL : workers, ended.workers_len, why);
    for (size_t i = 0; i < ended.workers_len; i++)
        free(ended.workers[i].models);
    free(ended.workers);
}

static void fail_query(struct query *query, const char *text)
{
    struct error why;
    fail(&why, STATUS_UNAVAILABLE, "%s", text);
    end_query(query, &why);
}

/* What some told is worth more than nothing. */
static void no_answer(void *arg)
{
    struct query *query = arg;
    if (query->answered)
        end_query(query, NULL);
    else
        fail_query(query, query->awaited_len > 0
                              ? "no broker answered in time: retry"
                              : "no broker answers: is convoy-broker running? retry in a moment");
}

enum status fleet_ask_workers(struct fleet *self, fleet_workers_answer *answer, void *arg)
{
    struct query *query = self->queries, *end = query + QUERIES_MAX;
    while (query < end && query->request)
        query++;
    if (query == end)
        return STATUS_BUSY;
    uint64_t now_ns = front_now_ns(self->config.front);
    *query = (struct query){
        .request = ++self->queries_made, .answer = answer, .arg = arg, .fleet = self};
    for (size_t i = 0; i < self->upstreams_len; i++) {
        struct upstream *to = self->upstreams[i];
        if (!upstream_up(to))
            continue;
        wire_begin(self->out, WIRE_QUERY);
        wire_put_u64(self->out, KEY_WHAT, WIRE_WHAT_WORKERS);
        wire_put_u64(self->out, KEY_REQUEST, query->request);
        if (link_send(to->link, self->out) != STATUS_OK)
            continue;
        query->awaited[to->index] = true;
        query->awaited_len++;
    }
    front_timer_set(self->config.front, &query->timer,
                    query->awaited_len > 0 ? now_ns + PATIENCE_NS : now_ns, no_answer, query);
    return STATUS_OK;
}

/* --- answers ------------------------------------------------------------------------------------
 */

static struct fleet_worker *worker_of(struct query *query, const struct uuid *uuid)
{
    for (size_t i = 0; i < query->workers_len; i++)
        if (id_equal(&query->workers[i].uuid, uuid))
            return &query->workers[i];
    query->workers = xrealloc(query->workers, (query->workers_len + 1) * sizeof *query->workers);
    struct fleet_worker *worker = &query->workers[query->workers_len++];
    *worker = (struct fleet_worker){.uuid = *uuid};
    return worker;
}

static void add_model(struct fleet_worker *worker, const struct digest *model)
{
    for (size_t i = 0; i < worker->models_len; i++)
        if (digest_equal(&worker->models[i], model))
            return;
    worker->models = xrealloc(worker->models, (worker->models_len + 1) * sizeof *worker->models);
    worker->models[worker->models_len++] = *model;
}

/* What one broker tells of a worker, onto what others told. */
static void merge(struct query *query, struct wire_map told)
{
    struct uuid uuid = wire_uuid(told, KEY_UUID);
    struct fleet_worker *worker = worker_of(query, &uuid);
    wire_text(told, KEY_NAME, worker->name, sizeof worker->name);
    wire_text(told, KEY_MODE, worker->mode, sizeof worker->mode);
    worker->ready = worker->ready || wire_u64(told, KEY_STATUS) == STATUS_OK;
    worker->cores = (uint32_t)wire_u64(told, KEY_CORES);
    worker->slots = (uint32_t)wire_u64(told, KEY_SLOTS);
    worker->running += wire_u64(told, KEY_RUNNING);
    worker->rows += wire_u64(told, KEY_ROWS);
    for (size_t i = 0; i < wire_len(told, KEY_MODELS); i++) {
        struct digest model = wire_digest(wire_at(told, KEY_MODELS, i), KEY_MODEL);
        add_model(worker, &model);
    }
}

static void await_no_more(struct query *query, uint32_t broker, const char *why)
{
    query->awaited[broker] = false;
    if (--query->awaited_len > 0)
        return;
    if (query->answered)
        end_query(query, NULL);
    else
        fail_query(query, why);
}

void fleet_answer(struct upstream *from, const struct wire_in *in)
{
    struct fleet *self = from->fleet;
    uint64_t request = wire_u64(in->map, KEY_REQUEST);
    for (size_t i = 0; request && i < QUERIES_MAX; i++) {
        struct query *query = &self->queries[i];
        if (query->request != request || !query->awaited[from->index])
            continue;
        query->answered = true;
        for (size_t w = 0; w < wire_len(in->map, KEY_PEERS); w++)
            merge(query, wire_at(in->map, KEY_PEERS, w));
        await_no_more(query, from->index, NULL);
        return;
    }
}

void fleet_queries_end(struct fleet *self, uint32_t broker, const char *why)
{
    for (size_t i = 0; i < QUERIES_MAX; i++) {
        struct query *query = &self->queries[i];
        if (query->request && broker == NO_BROKER)
            fail_query(query, why);
        else if (query->request && query->awaited[broker])
            await_no_more(query, broker, why);
    }
}
