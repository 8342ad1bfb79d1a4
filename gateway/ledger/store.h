/* store - the ledger's records in one SQLite file
 *
 * The only place that knows SQL. WAL, synchronous FULL, STRICT tables made from tables.def; the
 * schema's version is user_version. Every record carries a crc32c that is checked when it is read.
 * One thread at a time.
 *
 * Status: STORAGE_FULL when the disk is full (roll back; all is as before), CONFLICT when another
 * process holds the file, VERSION when a newer program made it, IO for everything else: then
 * nothing is known about the disk and the caller must end the process. */
#ifndef CONVOY_GATEWAY_LEDGER_STORE_H
#define CONVOY_GATEWAY_LEDGER_STORE_H

#include "common/status.h"
#include "gateway/ledger/record.h"

struct store;

/* Open or make the file, bring its schema up to date, run SQLite's integrity check. `bytes_max`: it
 * is full at this size; 0: when the disk is. */
enum status store_open(struct store **out, const char *path, uint64_t bytes_max, struct error *why);
void store_close(struct store **self_p);

enum status store_begin(struct store *self, struct error *why);
enum status store_commit(struct store *self, struct error *why);
void store_rollback(struct store *self);

enum status store_put(struct store *self, enum ledger_table table, const void *record,
                      struct error *why);
enum status store_remove(struct store *self, enum ledger_table table, const void *record,
                         struct error *why);

/* Every record in the order of the keys; see ledger_load. */
enum status store_each(struct store *self, enum ledger_table table, bool open_only,
                       void (*each)(void *context, const void *record), void *context,
                       struct error *why);

/* The value of a named text, "" when there is none; free() it. */
enum status store_meta(struct store *self, const char *name, char **value, struct error *why);

#endif
