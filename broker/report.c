/* report - what the broker tells people: STATE and the log's lines */
#include "broker/broker.h"

#include "common/log.h"

#include <inttypes.h>

#define MODELS_TOLD 400 /* in one STATE, so that it stays under 64 KiB beside 256 names */
#define PEERS_TOLD  256 /* by wire.def */

static void put_models(struct broker *self, const struct core_peer *peer, size_t *left)
{
    size_t len = MIN(peer->models_len, *left);
    *left -= len;
    wire_list_open(self->out, KEY_MODELS);
    for (size_t i = 0; i < len; i++) {
        wire_map_open(self->out);
        wire_put_digest(self->out, KEY_MODEL, &peer->models[i]);
        wire_map_close(self->out);
    }
    wire_list_close(self->out);
}

static void put_workers(struct broker *self)
{
    struct core_peer peer;
    size_t models = MODELS_TOLD, told = 0;
    wire_list_open(self->out, KEY_PEERS);
    for (uint32_t slot = 0; slot < self->limits.sessions_max && told < PEERS_TOLD; slot++) {
        if (!core_peer(self->core, slot, &peer) || peer.role != CORE_WORKER)
            continue;
        told++;
        wire_map_open(self->out);
        wire_put_uuid(self->out, KEY_UUID, &peer.uuid);
        wire_put_text(self->out, KEY_NAME, peer.name);
        wire_put_u64(self->out, KEY_STATUS,
                     peer.open && !peer.draining ? STATUS_OK : STATUS_UNAVAILABLE);
        wire_put_u64(self->out, KEY_CORES, peer.cores);
        wire_put_u64(self->out, KEY_SLOTS, peer.slots);
        if (peer.mode[0])
            wire_put_text(self->out, KEY_MODE, peer.mode);
        wire_put_u64(self->out, KEY_RUNNING, peer.leases);
        wire_put_u64(self->out, KEY_ROWS, peer.rows);
        put_models(self, &peer, &models);
        wire_map_close(self->out);
    }
    wire_list_close(self->out);
}

static void put_counter(struct broker *self, const char *name, uint64_t value)
{
    wire_map_open(self->out);
    wire_put_text(self->out, KEY_NAME, name);
    wire_put_u64(self->out, KEY_VALUE, value);
    wire_map_close(self->out);
}

static void put_counters(struct broker *self)
{
    wire_list_open(self->out, KEY_COUNTERS);
#define COUNTER(name, meaning) put_counter(self, #name, core_counters(self->core)->name);
#include "broker/core/counters.def"
#undef COUNTER
#define COUNTER(name, meaning) put_counter(self, #name, self->counters.name);
#include "broker/counters.def"
#undef COUNTER
    if (self->zap) {
        put_counter(self, "handshakes_admitted", zap_admitted(self->zap));
        put_counter(self, "handshakes_refused", zap_refused(self->zap));
    }
    /* Levels, which rise and fall. */
    put_counter(self, "now_waiting", core_waiting(self->core));
    put_counter(self, "now_leased", core_leased(self->core));
    put_counter(self, "now_unacknowledged", core_done(self->core));
    put_counter(self, "now_workers", core_workers(self->core));
    wire_list_close(self->out);
}

void report_state(struct broker *self, uint64_t conn, uint64_t what, uint64_t request)
{
    wire_begin(self->out, WIRE_STATE);
    wire_put_u64(self->out, KEY_WHAT, what);
    wire_put_u64(self->out, KEY_REQUEST, request);
    if (what == WIRE_WHAT_WORKERS)
        put_workers(self);
    else
        put_counters(self);
    broker_send(self, conn);
}

static const char *role_name(uint32_t role)
{
    return role == CORE_WORKER ? "worker" : "gateway";
}

void report_opened(struct broker *self, const struct action *action)
{
    struct core_peer peer;
    char id[ID_SHORT_SIZE];
    if (!core_peer(self->core, action->slot, &peer))
        return;
    id_short(id, &peer.uuid);
    if (peer.role == CORE_WORKER)
        LOG_INFO("session_open", "role=%s id=%s name=%s cores=%u slots=%u held=%" PRIu64,
                 role_name(peer.role), id, peer.name, peer.cores, peer.slots, peer.leases);
    else
        LOG_INFO("session_open", "role=%s id=%s name=%s", role_name(peer.role), id, peer.name);
    access_opened(self, &peer);
}

void report_lost(struct broker *self, const struct action *action, const char *text)
{
    char id[ID_SHORT_SIZE];
    id_short(id, &action->uuid);
    if (action->status == STATUS_OK)
        LOG_INFO("session_closed", "role=%s id=%s name=%s", role_name(action->role), id, text);
    else
        LOG_WARN("session_lost", "role=%s id=%s name=%s reason=%s", role_name(action->role), id,
                 text, status_name(action->status));
    if (action->count > 0)
        LOG_INFO("task_requeued", "worker=%s count=%" PRIu64, text, action->count);
    self->requeued_told += action->count;
}

void report_requeued(struct broker *self)
{
    uint64_t count = core_counters(self->core)->tasks_requeued;
    if (count > self->requeued_told)
        LOG_INFO("task_requeued", "count=%" PRIu64 " reason=%s", count - self->requeued_told,
                 "returned, crashed or not listed");
    self->requeued_told = count;
}
