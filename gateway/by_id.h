/* by_id - pointers to records in the order of their ids, which is that of their age
 *
 * A record keeps its id at the same place in each entry, `id_offset` octets from its beginning. The
 * list does not own its entries. One thread at a time. */
#ifndef CONVOY_GATEWAY_BY_ID_H
#define CONVOY_GATEWAY_BY_ID_H

#include "common/ids.h"

struct by_id {
    void **entries;   /* ascending */
    size_t len, room; /* used and allocated */
    size_t id_offset; /* of a struct uuid in an entry */
};

/* NULL when there is none. */
void *by_id_find(const struct by_id *self, const struct uuid *id);

/* New entries have the highest id as a rule: then this moves nothing. */
void by_id_insert(struct by_id *self, void *entry);

/* Nothing happens when it is not in the list. */
void by_id_remove(struct by_id *self, const void *entry);

/* Frees the list, not the entries. */
void by_id_free(struct by_id *self);

#endif
