/* dead - dead letters: rows and requests that ended two runners, kept for who wants to know why
 *
 * Their records are in the ledger and mirrored in memory; their inputs, and the answers of those
 * that were tried again with success, are files of their own, written before the record that tells
 * of them; a file without a record is removed at the start. All are bounded: beyond that the oldest
 * letter goes. Front thread only. */
#ifndef CONVOY_GATEWAY_DEAD_DEAD_H
#define CONVOY_GATEWAY_DEAD_DEAD_H

#include "gateway/dead/letter.h"
#include "gateway/front.h"
#include "gateway/ledger/ledger.h"
#include "gateway/pool.h"

struct dead;

struct dead_config {
    const char *folder;    /* the data folder: dead/ is made inside */
    struct ledger *ledger; /* for the records */
    struct front *front;   /* posts */
    struct pool *pool;     /* for the files */
    uint32_t letters_max;  /* from 1 */
    uint64_t bytes_max;    /* octets of all inputs and answers */
};

/* Read what is in the ledger. Fails as ledger_load() does, and with IO for the folder. */
enum status dead_open(struct dead **out, const struct dead_config *config, struct error *why);

/* Before ledger_close(): what is under way ends without a change, and its owners hear so. NULL
 * inside is fine. */
void dead_close(struct dead **self_p);

/* --- looking: those of which the ledger knows, by id, the oldest first. Records are valid until
 * the front thread's next turn. */
size_t dead_len(const struct dead *self);
const struct ledger_dead *dead_at(const struct dead *self, size_t index);
const struct ledger_dead *dead_find(const struct dead *self, const struct uuid *id);
uint64_t dead_bytes(const struct dead *self);

/* --- adding --------------------------------------------------------------------------------------
 * A letter of which nobody knows yet. Its owner has letter_write() called in the pool, then puts
 * its record into a change and, when that is durable, hands it over by dead_take(); or gives it up.
 */
struct letter *dead_letter(struct dead *self, const struct letter_about *about);
void dead_take(struct dead *self, struct letter **letter_p);
void dead_abandon(struct dead *self, struct letter **letter_p);

typedef void dead_done(void *arg, enum status status, const struct error *why);

/* All of that; `done` is called when the letter is durable, or cannot be. */
void dead_bury(struct dead *self, struct letter **letter_p, dead_done *done, void *arg);

/* --- changing: NOT_FOUND when it is not there (any more). `done` may be NULL. ------------------
 */

/* Somebody tries it again, and nobody else may until dead_tried(). False: somebody does already. */
bool dead_try(struct dead *self, const struct uuid *id);
void dead_tried(struct dead *self, const struct uuid *id);

/* It ended runners again, `attempts` times. */
void dead_again(struct dead *self, const struct uuid *id, const char *cause, uint32_t attempts,
                dead_done *done, void *arg);

/* It was answered: `body`, one reference, is kept, its first `head_bytes` octets JSON. It stays as
 * it was when that cannot be: STORAGE_FULL, IO, TOO_LARGE. */
void dead_answer(struct dead *self, const struct uuid *id, struct bytes *body, uint64_t head_bytes,
                 dead_done *done, void *arg);

/* Forget it: from now on nobody finds it; `done` is called when that is durable. */
void dead_drop(struct dead *self, const struct uuid *id, dead_done *done, void *arg);

/* --- reading ------------------------------------------------------------------------------------
 */
enum dead_part { DEAD_INPUT, DEAD_ANSWER };

/* `done` has `body`, one reference, or why there is none: NOT_FOUND, not kept or gone; IO, not as
 * it was; BUSY. */
typedef void dead_got(void *arg, struct bytes *body, uint64_t head_bytes, const struct error *why);
void dead_read(struct dead *self, const struct uuid *id, enum dead_part part, dead_got *done,
               void *arg);

#endif
