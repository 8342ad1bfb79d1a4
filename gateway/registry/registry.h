/* registry - the nodes that may take part, and the tokens that admit new ones
 *
 * The keys of nodes stand in the ledger; every broker has a copy of them, which is sent anew on
 * each session and after each change. A node is admitted when a broker passes on that somebody
 * knows a token's secret: use and node are one transaction, and the answer is given when the
 * brokers that are there let the key in. Of a secret only the hash is kept.
 *
 * Answers about the present come from memory; what changes is in the ledger before it is told to
 * anybody. Front thread only. */
#ifndef CONVOY_GATEWAY_REGISTRY_REGISTRY_H
#define CONVOY_GATEWAY_REGISTRY_REGISTRY_H

#include "common/limits.h"
#include "common/token.h"
#include "gateway/fleet.h"
#include "gateway/ledger/ledger.h"

#define REGISTRY_USES_MAX  10000        /* of one token */
#define REGISTRY_TTL_MAX_S (30 * 86400) /* of one token */

enum node_state { NODE_MEMBER = 1, NODE_REVOKED = 2, NODE_DRAINING = 3 };

struct registry;

struct registry_config {
    struct ledger *ledger; /* where it stands */
    struct front *front;   /* timers */
    struct fleet *fleet;   /* the brokers; not started yet */
};

/* Read it from the ledger and offer it to the fleet. Fails as ledger_load() does. */
enum status registry_open(struct registry **out, const struct registry_config *config,
                          struct error *why);

/* Before ledger_close(), whose last completions still find what they need. NULL inside is fine. */
void registry_close(struct registry **self_p);

/* How a change ended; once, later. */
typedef void registry_done(void *arg, enum status status, const struct error *why);

/* --- nodes --------------------------------------------------------------------------------------
 */
size_t registry_nodes(const struct registry *self);
/* In the order of joining; valid until the front's next turn. */
const struct ledger_node *registry_node(const struct registry *self, size_t index);

/* By name or by fingerprint: the one that takes part, else the one that was revoked last; NULL. */
const struct ledger_node *registry_find(const struct registry *self, const char *name);

/* Make it a member, revoke it, or drain it. */
void registry_node_set(struct registry *self, const struct ledger_node *node, enum node_state state,
                       registry_done *done, void *arg);

/* Have it make a new key: the new one takes the node's name, the old one ends a minute later. OK
 * says that the node was asked. */
void registry_node_rotate(struct registry *self, const struct ledger_node *node,
                          registry_done *done, void *arg);

/* --- tokens -------------------------------------------------------------------------------------
 */
size_t registry_tokens(const struct registry *self);
/* In the order of making; valid until the front's next turn. */
const struct ledger_token *registry_token(const struct registry *self, size_t index);

/* Make a token that admits `uses` nodes of a role within `ttl_s` seconds. Gives the secret and the
 * id at once; they are good when done() says OK. STORAGE_FULL, and no done(): too many on record.
 */
struct registry_wish {
    uint32_t role;  /* enum wire_role */
    uint32_t uses;  /* 1 to REGISTRY_USES_MAX */
    uint32_t ttl_s; /* 1 to REGISTRY_TTL_MAX_S */
};
enum status registry_token_make(struct registry *self, const struct registry_wish *wish,
                                uint8_t secret[static TOKEN_SECRET_BYTES], struct uuid *id,
                                registry_done *done, void *arg, struct error *why);

/* It admits nobody any more; the nodes that it admitted stay. */
void registry_token_remove(struct registry *self, const struct ledger_token *token,
                           registry_done *done, void *arg);

#endif
