/* record - the ledger's records as C structs, and what can be done with any of them
 *
 * The structs come from tables.def: struct ledger_meta, ledger_file, ledger_batch and so on.
 * A record owns its texts. A zeroed struct is a valid empty record whose NULL texts are written as
 * empty ones. Pure; one record belongs to one thread at a time. */
#ifndef CONVOY_GATEWAY_LEDGER_RECORD_H
#define CONVOY_GATEWAY_LEDGER_RECORD_H

#include "common/digest.h"
#include "common/ids.h"

enum ledger_table {
#define TABLE(name, since, purpose) LEDGER_##name,
#include "gateway/ledger/tables.def"
    LEDGER_TABLES
};

enum ledger_type { LEDGER_ID, LEDGER_DIGEST, LEDGER_INT, LEDGER_TEXT, LEDGER_OWNER, LEDGER_EPOCH };

#define LEDGER_FIELD_ID     struct uuid
#define LEDGER_FIELD_DIGEST struct digest
#define LEDGER_FIELD_INT    int64_t
#define LEDGER_FIELD_TEXT   char *
#define LEDGER_FIELD_OWNER  struct uuid
#define LEDGER_FIELD_EPOCH  int64_t

/* Fields and their meaning: tables.def. */
#define TABLE(name, since, purpose)             struct ledger_##name {
#define COLUMN(table, name, type, key, meaning) LEDGER_FIELD_##type name;
#define END(table)                                                                                 \
    }                                                                                              \
    ;
#include "gateway/ledger/tables.def"

/* One column of a table, as data. */
struct ledger_column {
    const char *name;      /* as in SQL and as the field is called */
    enum ledger_type type; /* what the field is */
    bool key;              /* part of the record's name */
    size_t offset;         /* of the field in the struct */
};

struct ledger_layout {
    const char *name;                    /* of the table */
    int since;                           /* version of the schema that brought it */
    size_t bytes;                        /* of the struct */
    const struct ledger_column *columns; /* in the order of tables.def */
    size_t columns_len;                  /* how many */
};

const struct ledger_layout *ledger_layout(enum ledger_table table);

/* Deep copy on the heap; free it by ledger_record_destroy. */
void *ledger_record_copy(enum ledger_table table, const void *record);
void ledger_record_destroy(enum ledger_table table, void **record_p);

/* Free the texts of a record that lives elsewhere, and zero it. Twice is harmless. */
void ledger_record_clear(enum ledger_table table, void *record);

/* Replace a text field: frees the old one, copies the new one. */
void ledger_text_set(char **field, const char *text);

/* crc32c over every column in order; integers as 8 little-endian octets, texts and blobs preceded
 * by their length. */
uint32_t ledger_record_crc(enum ledger_table table, const void *record);

#endif
