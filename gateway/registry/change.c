/* change - what people change: tokens made and removed, nodes revoked, drained and given new keys
 */
#include "gateway/registry/private.h"

#include "common/clock.h"
#include "common/log.h"

#include <inttypes.h>
#include <sodium/randombytes.h>
#include <sodium/utils.h>
#include <stdlib.h>
#include <string.h>

#define TICK_MS       5000
#define TOKEN_KEEP_MS (24 * 3600 * INT64_C(1000))      /* an expired one is still listed so long */
#define NODE_KEEP_MS  (30 * 24 * 3600 * INT64_C(1000)) /* a revoked one likewise */
#define ROTATE_TTL_MS 600000                           /* for a node to take a new key */

/* A change on its way through the ledger. */
struct change {
    struct change *next;       /* in registry->changes */
    struct registry *registry; /* counted */
    int64_t version;           /* of the registry with it; 0: brokers need not hear of it */
    struct ledger_node node;   /* what it becomes; name NULL: no node */
    struct ledger_token token; /* likewise; id zero: no token */
    bool remove;               /* the token goes */
    bool rotate;               /* then the node is told */
    uint8_t secret[TOKEN_SECRET_BYTES]; /* for rotate */
    registry_done *done;                /* NULL: nobody waits */
    void *arg;                          /* for done */
};

static struct change *change_new(struct registry *self, registry_done *done, void *arg)
{
    struct change *change = xcalloc(1, sizeof *change);
    change->registry = self;
    change->done = done;
    change->arg = arg;
    change->next = self->changes;
    self->changes = change;
    registry_begin(self);
    return change;
}

static void leave_list(struct change *self)
{
    struct change **at = &self->registry->changes;
    while (*at != self)
        at = &(*at)->next;
    *at = self->next;
}

static void change_free(struct change *self)
{
    ledger_record_clear(LEDGER_node, &self->node);
    sodium_memzero(self, sizeof *self);
    free(self);
}

/* --- tokens in memory ---------------------------------------------------------------------------
 */

size_t registry_tokens(const struct registry *self)
{
    return self->tokens_len;
}

const struct ledger_token *registry_token(const struct registry *self, size_t index)
{
    assert(index < self->tokens_len);
    return &self->tokens[index].record;
}

struct issued *registry_token_by_id(const struct registry *self, const struct uuid *id)
{
    for (size_t i = 0; i < self->tokens_len; i++)
        if (id_equal(&self->tokens[i].record.id, id))
            return &self->tokens[i];
    return NULL;
}

/* Hashes of random secrets may be compared in any time: who guesses one cannot choose its hash. */
struct issued *registry_token_by_hash(const struct registry *self, const struct digest *hash)
{
    for (size_t i = 0; i < self->tokens_len; i++)
        if (digest_equal(&self->tokens[i].record.hash, hash))
            return &self->tokens[i];
    return NULL;
}

void registry_keep_token(struct registry *self, const struct ledger_token *record)
{
    if (self->tokens_len == self->tokens_room) {
        self->tokens_room = self->tokens_room ? 2 * self->tokens_room : 16;
        self->tokens = xrealloc(self->tokens, self->tokens_room * sizeof *self->tokens);
    }
    self->tokens[self->tokens_len++] = (struct issued){.record = *record};
}

static void forget_token(struct registry *self, const struct uuid *id)
{
    struct issued *token = registry_token_by_id(self, id);
    if (!token)
        return;
    size_t after = self->tokens_len - 1 - (size_t)(token - self->tokens);
    memmove(token, token + 1, after * sizeof *token);
    self->tokens_len--;
}

/* --- the way through the ledger -----------------------------------------------------------------
 */

static void apply_node(struct registry *self, struct ledger_node *node)
{
    struct ledger_node *known = registry_by_key(self, &node->public);
    if (!known)
        return;
    known->state = node->state;
    known->changed_ms = node->changed_ms;
    known->until_ms = node->until_ms;
    LOG_INFO("node_changed", "node=%s state=%" PRId64, known->name, known->state);
}

static void apply(struct registry *self, struct change *change)
{
    struct curve_key key;
    if (!id_is_zero(&change->token.id) && change->remove)
        forget_token(self, &change->token.id);
    else if (!id_is_zero(&change->token.id))
        registry_keep_token(self, &change->token);
    if (change->node.name)
        apply_node(self, &change->node);
    if (change->version > self->version) {
        self->version = change->version;
        registry_push_all(self);
    }
    if (change->rotate) {
        memcpy(key.bytes, change->token.node.bytes, sizeof key.bytes);
        fleet_send_rotate(self->config.fleet, &key, change->secret);
    }
}

static void committed(void *arg, enum status status, const struct error *why)
{
    struct change *change = arg;
    struct error closing;
    leave_list(change);
    if (!registry_end(change->registry)) {
        status = fail(&closing, STATUS_UNAVAILABLE, "the gateway is ending: ask again");
        why = &closing;
    } else if (status == STATUS_OK) {
        apply(change->registry, change);
    }
    if (change->done)
        change->done(change->arg, status, why);
    change_free(change);
}

/* --- nodes --------------------------------------------------------------------------------------
 */

bool registry_changing(const struct registry *self, const char *name)
{
    for (const struct change *c = self->changes; c; c = c->next)
        if (c->node.name && strcmp(c->node.name, name) == 0)
            return true;
    return false;
}

static void commit_node(struct registry *self, const struct ledger_node *node, int64_t state,
                        registry_done *done, void *arg)
{
    struct change *change = change_new(self, done, arg);
    struct ledger_change *edits = ledger_change_new();
    struct ledger_node *copy = ledger_record_copy(LEDGER_node, node);
    change->node = *copy;
    free(copy);
    change->node.state = state;
    change->node.changed_ms = clock_wall_ms();
    if (state == NODE_REVOKED)
        change->node.until_ms = 0;
    ledger_put(edits, LEDGER_node, &change->node);
    change->version = registry_version(self, edits);
    ledger_commit(self->config.ledger, &edits, committed, change);
}

void registry_node_set(struct registry *self, const struct ledger_node *node, enum node_state state,
                       registry_done *done, void *arg)
{
    /* A key that its successor is about to replace goes with it. */
    for (size_t i = 0; state == NODE_REVOKED && i < self->nodes_len; i++) {
        const struct ledger_node *other = &self->nodes[i];
        if (other != node && other->until_ms && other->state != NODE_REVOKED &&
            strcmp(other->name, node->name) == 0)
            commit_node(self, other, NODE_REVOKED, NULL, NULL);
    }
    /* One that is about to replace it becomes the same, by a record behind its first one. */
    for (struct enrol *e = self->enrols; e; e = e->next) {
        if (e->committed || strcmp(e->node.name, node->name) != 0)
            continue;
        e->node.state = state;
        commit_node(self, &e->node, state, NULL, NULL);
    }
    commit_node(self, node, state, done, arg);
}

void registry_node_rotate(struct registry *self, const struct ledger_node *node,
                          registry_done *done, void *arg)
{
    struct change *change = change_new(self, done, arg);
    struct ledger_change *edits = ledger_change_new();
    randombytes_buf(change->secret, sizeof change->secret);
    change->rotate = true;
    change->token = (struct ledger_token){
        .id = id_new(),
        .hash = token_hash(change->secret),
        .role = node->role,
        .uses = 1,
        .node = node->public,
        .created_ms = clock_wall_ms(),
        .expires_ms = clock_wall_ms() + ROTATE_TTL_MS,
    };
    ledger_put(edits, LEDGER_token, &change->token);
    ledger_commit(self->config.ledger, &edits, committed, change);
}

/* --- tokens -------------------------------------------------------------------------------------
 */

enum status registry_token_make(struct registry *self, const struct registry_wish *wish,
                                uint8_t secret[static TOKEN_SECRET_BYTES], struct uuid *id,
                                registry_done *done, void *arg, struct error *why)
{
    if (self->tokens_len + self->operations >= REGISTRY_TOKENS_MAX)
        return fail(why, STATUS_STORAGE_FULL,
                    "there are %d tokens on record: remove some by `convoy token rm`",
                    REGISTRY_TOKENS_MAX);
    struct change *change = change_new(self, done, arg);
    struct ledger_change *edits = ledger_change_new();
    randombytes_buf(secret, TOKEN_SECRET_BYTES);
    change->token = (struct ledger_token){
        .id = id_new(),
        .hash = token_hash(secret),
        .role = wish->role,
        .uses = wish->uses,
        .created_ms = clock_wall_ms(),
        .expires_ms = clock_wall_ms() + wish->ttl_s * INT64_C(1000),
    };
    *id = change->token.id;
    ledger_put(edits, LEDGER_token, &change->token);
    ledger_commit(self->config.ledger, &edits, committed, change);
    return STATUS_OK;
}

void registry_token_remove(struct registry *self, const struct ledger_token *token,
                           registry_done *done, void *arg)
{
    struct change *change = change_new(self, done, arg);
    struct ledger_change *edits = ledger_change_new();
    change->token = *token;
    change->remove = true;
    ledger_remove(edits, LEDGER_token, token);
    ledger_commit(self->config.ledger, &edits, committed, change);
}

/* --- what time does -----------------------------------------------------------------------------
 */

static void forget_node(struct registry *self, size_t index)
{
    struct ledger_change *edits = ledger_change_new();
    ledger_remove(edits, LEDGER_node, &self->nodes[index]);
    ledger_commit(self->config.ledger, &edits, NULL, NULL);
    ledger_record_clear(LEDGER_node, &self->nodes[index]);
    memmove(&self->nodes[index], &self->nodes[index + 1],
            (--self->nodes_len - index) * sizeof *self->nodes);
}

void registry_tick(void *arg)
{
    struct registry *self = arg;
    int64_t now_ms = clock_wall_ms();
    for (size_t i = self->nodes_len; i > 0; i--) {
        const struct ledger_node *node = &self->nodes[i - 1];
        if (node->until_ms && now_ms >= node->until_ms && node->state != NODE_REVOKED)
            commit_node(self, node, NODE_REVOKED, NULL, NULL);
        else if (node->state == NODE_REVOKED && now_ms > node->changed_ms + NODE_KEEP_MS)
            forget_node(self, i - 1);
    }
    for (size_t i = 0; i < self->tokens_len; i++)
        if (now_ms > self->tokens[i].record.expires_ms + TOKEN_KEEP_MS)
            registry_token_remove(self, &self->tokens[i].record, NULL, NULL);
    front_timer_set(self->config.front, &self->tick,
                    front_now_ns(self->config.front) + TICK_MS * NS_PER_MS, registry_tick, self);
}
