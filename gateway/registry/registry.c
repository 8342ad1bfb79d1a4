/* registry - life, the table of nodes, and the brokers' copies of it; see registry.h */
#include "gateway/registry/private.h"

#include "common/clock.h"
#include "common/log.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define VERSION_NAME "registry/version"

/* --- nodes --------------------------------------------------------------------------------------
 */

size_t registry_nodes(const struct registry *self)
{
    return self->nodes_len;
}

const struct ledger_node *registry_node(const struct registry *self, size_t index)
{
    assert(index < self->nodes_len);
    return &self->nodes[index];
}

struct ledger_node *registry_by_key(const struct registry *self, const struct digest *key)
{
    for (size_t i = 0; i < self->nodes_len; i++)
        if (digest_equal(&self->nodes[i].public, key))
            return &self->nodes[i];
    return NULL;
}

static bool has_fingerprint(const struct ledger_node *node, const char *text)
{
    struct curve_key key;
    char fingerprint[CURVE_FINGERPRINT_SIZE];
    if (strlen(text) != sizeof fingerprint - 1)
        return false;
    memcpy(key.bytes, node->public.bytes, sizeof key.bytes);
    return strcmp(curve_fingerprint(fingerprint, &key), text) == 0;
}

/* 2: takes part for good; 1: its key is about to end; 0: revoked. */
static int rank(const struct ledger_node *node)
{
    return node->state == NODE_REVOKED ? 0 : node->until_ms ? 1 : 2;
}

const struct ledger_node *registry_find(const struct registry *self, const char *name)
{
    const struct ledger_node *best = NULL;
    for (size_t i = 0; i < self->nodes_len; i++) {
        const struct ledger_node *node = &self->nodes[i];
        if (strcmp(node->name, name) != 0 && !has_fingerprint(node, name))
            continue;
        if (!best || rank(node) > rank(best) ||
            (rank(node) == rank(best) && node->changed_ms >= best->changed_ms))
            best = node;
    }
    return best;
}

void registry_keep_node(struct registry *self, struct ledger_node *record)
{
    if (self->nodes_len == self->nodes_room) {
        self->nodes_room = self->nodes_room ? 2 * self->nodes_room : 64;
        self->nodes = xrealloc(self->nodes, self->nodes_room * sizeof *self->nodes);
    }
    self->nodes[self->nodes_len++] = *record;
    memset(record, 0, sizeof *record);
}

/* --- the brokers' copies ------------------------------------------------------------------------
 */

void registry_push(struct registry *self, uint32_t broker)
{
    struct fleet_node *nodes = xcalloc(self->nodes_len + 1, sizeof *nodes);
    for (size_t i = 0; i < self->nodes_len; i++) {
        const struct ledger_node *node = &self->nodes[i];
        nodes[i] = (struct fleet_node){
            .name = node->name, .role = (uint32_t)node->role, .standing = (uint32_t)node->state};
        memcpy(nodes[i].key.bytes, node->public.bytes, sizeof nodes[i].key.bytes);
    }
    fleet_send_nodes(self->config.fleet, broker, (uint64_t)self->version, nodes, self->nodes_len);
    free(nodes);
}

static void push_all(void *arg)
{
    struct registry *self = arg;
    for (uint32_t i = 0; i < fleet_brokers(self->config.fleet); i++)
        if (fleet_broker(self->config.fleet, i).trusted)
            registry_push(self, i);
}

/* Many nodes that join together are one change for the brokers. */
void registry_push_all(struct registry *self)
{
    front_timer_set(self->config.front, &self->push, front_now_ns(self->config.front), push_all,
                    self);
}

static void on_up(void *arg, uint32_t broker)
{
    struct registry *self = arg;
    self->acked[broker] = 0;
    registry_push(self, broker);
}

static void on_down(void *arg, uint32_t broker)
{
    struct registry *self = arg;
    self->acked[broker] = 0;
    registry_settle(self);
}

static void on_ack(void *arg, uint32_t broker, uint64_t version)
{
    struct registry *self = arg;
    self->acked[broker] = (int64_t)MIN(version, (uint64_t)INT64_MAX);
    registry_settle(self);
}

/* --- life ---------------------------------------------------------------------------------------
 */

static void load_node(void *context, const void *record)
{
    struct ledger_node *copy = ledger_record_copy(LEDGER_node, record);
    registry_keep_node(context, copy);
    free(copy);
}

static void load_token(void *context, const void *record)
{
    registry_keep_token(context, record);
}

static int by_joining(const void *a, const void *b)
{
    const struct ledger_node *x = a, *y = b;
    return x->joined_ms < y->joined_ms ? -1 : x->joined_ms > y->joined_ms;
}

static enum status load(struct registry *self, struct error *why)
{
    char *version = NULL;
    struct ledger *ledger = self->config.ledger;
    enum status s = ledger_load(ledger, LEDGER_node, false, load_node, self, why);
    if (s == STATUS_OK)
        s = ledger_load(ledger, LEDGER_token, false, load_token, self, why);
    if (s == STATUS_OK)
        s = ledger_meta(ledger, VERSION_NAME, &version, why);
    if (s != STATUS_OK)
        return s;
    /* Without a single change there is nothing that a broker's copy may not be newer than. */
    self->version = self->version_next = strtoll(version, NULL, 10);
    free(version);
    if (self->nodes_len > 0)
        qsort(self->nodes, self->nodes_len, sizeof *self->nodes, by_joining);
    return s;
}

enum status registry_open(struct registry **out, const struct registry_config *config,
                          struct error *why)
{
    static const struct fleet_registry_calls calls = {
        .up = on_up, .down = on_down, .acked = on_ack, .enrol = registry_on_enrol};
    struct registry *self = xcalloc(1, sizeof *self);
    self->config = *config;
    enum status s = load(self, why);
    if (s != STATUS_OK) {
        registry_close(&self);
        return s;
    }
    fleet_serve_registry(config->fleet, &calls, self);
    front_timer_set(config->front, &self->tick, clock_mono_ns(), registry_tick, self);
    LOG_INFO("registry", "nodes=%zu tokens=%zu version=%" PRId64, self->nodes_len, self->tokens_len,
             self->version);
    *out = self;
    return STATUS_OK;
}

static void registry_free(struct registry *self)
{
    for (size_t i = 0; i < self->nodes_len; i++)
        ledger_record_clear(LEDGER_node, &self->nodes[i]);
    free(self->nodes);
    free(self->tokens);
    free(self);
}

void registry_close(struct registry **self_p)
{
    struct registry *self = *self_p;
    if (!self)
        return;
    *self_p = NULL;
    front_timer_clear(self->config.front, &self->tick);
    front_timer_clear(self->config.front, &self->push);
    fleet_serve_registry(self->config.fleet, NULL, NULL);
    registry_enrols_free(self);
    self->closed = true;
    if (self->operations == 0)
        registry_free(self);
}

void registry_begin(struct registry *self)
{
    self->operations++;
}

bool registry_end(struct registry *self)
{
    assert(self->operations > 0);
    bool closed = self->closed;
    if (--self->operations == 0 && closed)
        registry_free(self);
    return !closed;
}

int64_t registry_version(struct registry *self, struct ledger_change *change)
{
    char text[32];
    /* Brokers take the highest: also the first of a ledger that had to be begun afresh. */
    self->version_next = MAX(self->version_next + 1, clock_wall_ms());
    snprintf(text, sizeof text, "%" PRId64, self->version_next);
    ledger_put_meta(change, VERSION_NAME, text);
    return self->version_next;
}
