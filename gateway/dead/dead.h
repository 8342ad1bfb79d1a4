/* dead - dead letters: rows and requests that ended two runners, kept for who wants to know why
 *
 * Their records are in the ledger and mirrored in memory, their inputs files of their own, written
 * before the record; a file without a record is removed at the start. Both are bounded: beyond that
 * the oldest letter goes. Front thread only. */
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
    uint64_t bytes_max;    /* octets of all inputs */
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

/* It was tried again and ended runners again, `attempts` times. */
void dead_again(struct dead *self, const struct uuid *id, const char *cause, uint32_t attempts,
                dead_done *done, void *arg);

/* Forget it: from now on nobody finds it; `done` is called when that is durable. */
void dead_drop(struct dead *self, const struct uuid *id, dead_done *done, void *arg);

/* Its input. `done` has `body`, one reference, or why there is none: NOT_FOUND, not kept or gone;
 * IO, not as it was; BUSY. */
typedef void dead_input(void *arg, struct bytes *body, uint64_t head_bytes,
                        const struct error *why);
void dead_read(struct dead *self, const struct uuid *id, dead_input *done, void *arg);

#endif
