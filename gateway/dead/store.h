/* store - private to gateway/dead: what dead.c and retry.c share
 *
 * An operation in pool or ledger begins and ends; one that outlives dead_close() touches nothing
 * any more. Front thread only. */
#ifndef CONVOY_GATEWAY_DEAD_STORE_H
#define CONVOY_GATEWAY_DEAD_STORE_H

#include "gateway/dead/dead.h"
#include "gateway/dead/letters.h"

#define DEAD_ANSWER_ENDING ".out" /* ends the name of an answer's file */

struct dead {
    struct dead_config config; /* its texts are ours */
    char *folder;              /* of the files */
    struct letters letters;    /* those of which the ledger knows */
    struct uuid *tried;        /* those that are being tried again */
    size_t tried_len;          /* how many */
    unsigned operations;       /* under way in pool and ledger: they hold this memory */
    bool closed;               /* the last operation frees */
};

void dead_begin(struct dead *self);

/* False: it is over, and `self` may be gone. */
bool dead_end(struct dead *self);

/* UNAVAILABLE: this gateway is shutting down. */
enum status dead_over(struct error *why);

/* Call `done` unless it is NULL. */
void dead_tell(dead_done *done, void *arg, enum status status, const struct error *why);

/* The file of one part; free() it. */
char *dead_path(const struct dead *self, const struct uuid *id, enum dead_part part);

/* Remove that file, in the pool. */
void dead_remove(const struct dead *self, const struct uuid *id, enum dead_part part);

/* Within the bounds again: the oldest go, but for `spared` (may be NULL). */
void dead_trim(struct dead *self, const struct uuid *spared);

#endif
