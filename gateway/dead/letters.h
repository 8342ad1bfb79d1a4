/* letters - the dead letters' records in memory, by id, the oldest first
 *
 * Owns them. Front thread only. */
#ifndef CONVOY_GATEWAY_DEAD_LETTERS_H
#define CONVOY_GATEWAY_DEAD_LETTERS_H

#include "gateway/ledger/record.h"

struct letters {
    struct ledger_dead **items; /* by id, ascending */
    size_t len, room;           /* used and allocated */
    uint64_t bytes;             /* of their inputs and answers */
};

void letters_free(struct letters *self);

/* NULL: there is none. What is changed in it must not be its id or its octets. */
struct ledger_dead *letters_find(const struct letters *self, const struct uuid *id);

/* Takes the record over; there is none of this id. */
void letters_add(struct letters *self, struct ledger_dead *letter);

/* In place of the one with its id, which is freed; false, and the caller still has it: there is
 * none. */
bool letters_replace(struct letters *self, struct ledger_dead *letter);

/* It belongs to the caller now. NULL: there is none. */
struct ledger_dead *letters_take(struct letters *self, const struct uuid *id);

void letters_destroy(struct ledger_dead *letter);

#endif
