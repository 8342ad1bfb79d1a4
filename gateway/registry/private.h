/* private - what the files of gateway/registry share; nobody else includes this */
#ifndef CONVOY_GATEWAY_REGISTRY_PRIVATE_H
#define CONVOY_GATEWAY_REGISTRY_PRIVATE_H

#include "gateway/registry/registry.h"

struct change; /* change.c */

struct issued {
    struct ledger_token record; /* as in the ledger */
    int64_t taking;             /* uses that are being committed */
};

/* A peer that is being admitted. */
struct enrol {
    struct enrol *next;        /* in registry->enrols */
    struct registry *registry; /* whose it is */
    struct fleet_enrol asked;  /* what the broker passed on */
    struct ledger_node node;   /* what it becomes */
    struct ledger_node old;    /* whose key it replaces; all zero: nobody's */
    int64_t version;           /* of the registry that has it */
    bool committed;            /* it waits for the brokers */
    struct front_timer timer;  /* a broker that does not acknowledge is not waited for longer */
};

struct registry {
    struct registry_config config; /* not ours */
    struct ledger_node *nodes;     /* in the order of joining */
    size_t nodes_len, nodes_room;  /* used and allocated */
    struct issued *tokens;         /* in the order of making */
    size_t tokens_len, tokens_room;
    int64_t version;                  /* of what the brokers are to have */
    int64_t version_next;             /* the highest one given to a change */
    int64_t acked[CURVE_BROKERS_MAX]; /* by each broker in this session */
    struct enrol *enrols;             /* under way */
    size_t enrols_len;                /* how many */
    struct front_timer tick;          /* ends keys and forgets what is old */
    struct front_timer push;          /* due: the brokers are to have the present version */
    struct change *changes;           /* by people and by time, under way */
    unsigned operations;              /* changes and enrols under way: they hold this memory */
    bool closed;                      /* registry_close was called: the last operation frees */
};

/* --- registry.c */
struct ledger_node *registry_by_key(const struct registry *self, const struct digest *key);
/* Take over the record's texts. */
void registry_keep_node(struct registry *self, struct ledger_node *record);
/* Send the present version to one broker at once, or to all in the next turn. */
void registry_push(struct registry *self, uint32_t broker);
void registry_push_all(struct registry *self);

/* --- change.c */
/* A change of the registry that brokers must hear of: its version, written with it. */
int64_t registry_version(struct registry *self, struct ledger_change *change);
struct issued *registry_token_by_id(const struct registry *self, const struct uuid *id);
struct issued *registry_token_by_hash(const struct registry *self, const struct digest *hash);
void registry_keep_token(struct registry *self, const struct ledger_token *record);
/* Whether the state of a node of that name is on its way into the ledger. */
bool registry_changing(const struct registry *self, const char *name);
/* Count a change that was given to the ledger; at its end, false when the registry is closed, and
 * may be gone: return at once. */
void registry_begin(struct registry *self);
bool registry_end(struct registry *self);
void registry_tick(void *arg);

/* --- enrol.c: what the fleet tells; `arg` is the registry */
void registry_on_enrol(void *arg, const struct fleet_enrol *asked);
/* Brokers acknowledged or left: answer who need not wait any more. */
void registry_settle(struct registry *self);
void registry_enrols_free(struct registry *self);

#endif
