/* ledger - what the gateway has promised, on disk
 *
 * Records of tables.def (files, batches, chunks, named texts) in one folder. Changes are made on
 * the ledger's own thread: all that wait are committed together, and a change is done only when it
 * would survive a power cut. Completions come back in order through `post`, on the front thread.
 *
 * A disk that is full is no disaster: the change is rolled back and answered STORAGE_FULL, a
 * reserve file is given up so that work that has been promised can still be committed, and
 * ledger_full() is true until there is room for that reserve again: take no new jobs while it is.
 * An I/O error or a failed fsync is: what the disk holds is not known any more, so the process ends
 * at once, with nothing acknowledged, and the next start reads what was committed.
 *
 * Behind this interface stands SQLite (WAL, synchronous FULL, one connection). */
#ifndef CONVOY_GATEWAY_LEDGER_LEDGER_H
#define CONVOY_GATEWAY_LEDGER_LEDGER_H

#include "common/status.h"
#include "gateway/ledger/record.h"

struct ledger;
struct ledger_change;

struct ledger_config {
    const char *folder; /* made when it is missing; its owner sees to it that it is alone there */
    uint64_t reserve_bytes; /* size of the reserve file; 0: none */
    uint64_t bytes_max;     /* the ledger is full at this size; 0: when the disk is */
    struct uuid gateway;    /* owner_gateway of what is written */
    uint64_t epoch;         /* owner_epoch: this gateway's incarnation; every commit checks it */
    /* Run fn(arg) later on the front thread; called on the ledger's thread. NULL: completions wait
     * for ledger_run_done(). */
    void (*post)(void *context, void (*fn)(void *arg), void *arg);
    void *context; /* for post */
};

/* Open or make the ledger, check all of it, raise its epoch. Fails with CONFLICT when its epoch is
 * higher already (another gateway took it over) or another process writes to it, IO when it is
 * damaged or cannot be read (the text names the record), VERSION when a newer program made it,
 * STORAGE_FULL. */
enum status ledger_open(struct ledger **out, const struct ledger_config *config, struct error *why);

/* Commit every change that was given and close; completions go to `post` as usual, without it they
 * are not called. NULL inside is fine. */
void ledger_close(struct ledger **self_p);

/* True while the reserve is given up: refuse new jobs with STORAGE_FULL. Any thread. */
bool ledger_full(const struct ledger *self);

/* Call `each` with every record of a table, in the order of its keys; the record is the ledger's
 * and valid during the call. `open_only`: of chunks only those that are not done. For the start,
 * before the first change is given: it reads on the calling thread. IO when a record's checksum is
 * wrong; the text names it. */
typedef void ledger_each(void *context, const void *record);
enum status ledger_load(struct ledger *self, enum ledger_table table, bool open_only,
                        ledger_each *each, void *context, struct error *why);

/* The value of a named text, "" when there is none. At the start, like ledger_load. free() it. */
enum status ledger_meta(struct ledger *self, const char *name, char **value, struct error *why);

/* --- changes -------------------------------------------------------------------------------------
 * A change is a list of puts and removes that happen together or not at all. */
struct ledger_change *ledger_change_new(void);
void ledger_change_destroy(struct ledger_change **self_p);

/* Insert or replace a whole record (copied; owner_gateway and owner_epoch are filled in). */
void ledger_put(struct ledger_change *self, enum ledger_table table, const void *record);

/* Remove the record with these keys; fine when there is none. */
void ledger_remove(struct ledger_change *self, enum ledger_table table, const void *record);

/* Replace a named text. */
void ledger_put_meta(struct ledger_change *self, const char *name, const char *value);

/* Called on the front thread: OK, or STORAGE_FULL when nothing of the change was kept. */
typedef void ledger_done(void *arg, enum status status, const struct error *why);

/* Hand the change over; *change_p becomes NULL. `done` may be NULL for what nobody waits for; such
 * a change is lost when the disk is full. */
void ledger_commit(struct ledger *self, struct ledger_change **change_p, ledger_done *done,
                   void *arg);

/* Without `post`: wait until every change given so far is done and call its completion here. */
void ledger_run_done(struct ledger *self);

/* Transactions and changes so far. Any thread. */
void ledger_counters(const struct ledger *self, uint64_t *transactions, uint64_t *changes);

#endif
