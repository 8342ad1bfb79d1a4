/* registry - which keys may come in, and as what
 *
 * What stands in it comes from two sides: the gateways' keys of the configuration, which always are
 * members, and from each gateway's key the newest snapshot of the nodes in its ledger. The union
 * of those gateways' nodes that may come in themselves counts: a gateway that is revoked, or leaves
 * the configuration, takes along whoever is in its ledger alone. A key that any of them calls
 * revoked is refused. A file keeps the snapshots, so that known nodes come in while no gateway is
 * up. It is a copy: losing it costs the nodes a gateway's return.
 *
 * Bounded: REGISTRY_SOURCES gateways, REGISTRY_NODES nodes of each. The broker's thread owns it;
 * registry_find() may be called from any thread. */
#ifndef CONVOY_BROKER_REGISTRY_H
#define CONVOY_BROKER_REGISTRY_H

#include "common/curve.h"
#include "common/wire.h"

#define REGISTRY_SOURCES 64
#define REGISTRY_NODES   65536
#define REGISTRY_NAME    64 /* a node's name and its NUL; longer ones are cut */

struct registry_node {
    struct curve_key key;
    enum wire_role role;
    enum wire_standing standing;
    char name[REGISTRY_NAME];
};

/* One part of a snapshot. Parts come in order, from 1 to `parts`; the first begins it anew. */
struct registry_part {
    uint64_t version;
    uint32_t part, parts;
    const struct registry_node *nodes; /* borrowed */
    size_t len;
};

struct registry;

struct registry *registry_new(void);
void registry_destroy(struct registry **self_p);

/* `keys`: public keys of gateways separated by commas, or the path of a file with one `KEY [NAME]`
 * a line; "": none. INVALID names the item that is no key. */
enum status registry_configure(struct registry *self, const char *keys, struct error *why);

/* Keep snapshots in the file `path` from now on, and begin with those that are in it. A damaged
 * file is INVALID with the fix in the text. */
enum status registry_open(struct registry *self, const char *path, struct error *why);

/* Take a part of a snapshot from the gateway with this key. *whole: it was the last part; *changed:
 * and the table is another one now. MALFORMED: parts that do not follow each other; TOO_LARGE. */
enum status registry_take(struct registry *self, const struct curve_key *from,
                          const struct registry_part *part, bool *whole, bool *changed,
                          struct error *why);

/* The version of that gateway's nodes that is in force; 0: none. */
uint64_t registry_version(const struct registry *self, const struct curve_key *from);

/* Whether the file lacks what the table has. */
bool registry_unsaved(const struct registry *self);
/* Write the file if it does. */
enum status registry_save(struct registry *self, struct error *why);

/* The node with this key, whatever its standing; false: it is not known. Any thread. */
bool registry_find(struct registry *self, const struct curve_key *key, struct registry_node *out);

/* Gateways that may come in, and all nodes that may. */
size_t registry_gateways(struct registry *self);
size_t registry_members(struct registry *self);

#endif
