#include "gateway/ledger/store.h"

#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SQL_MAX    4096 /* octets of a statement made from tables.def */
#define PAGE_BYTES 4096 /* SQLite's page size unless told otherwise */

struct table_statements {
    sqlite3_stmt *put;    /* insert or replace a record */
    sqlite3_stmt *remove; /* by key */
};

struct store {
    sqlite3 *db;                                    /* NULL while half made */
    char *path;                                     /* for messages */
    struct table_statements tables[LEDGER_TABLES];  /* prepared once */
    sqlite3_stmt *begin, *commit, *rollback, *meta; /* prepared once */
};

/* What to do about a damaged ledger. */
#define ADVICE "restore its folder from a copy, or move it away to start with an empty one"

static enum status status_of(int code)
{
    switch (code & 0xff) {
    case SQLITE_FULL:
        return STATUS_STORAGE_FULL;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return STATUS_CONFLICT;
    default:
        return STATUS_IO;
    }
}

static enum status broken(struct store *self, struct error *why, const char *doing)
{
    int code = sqlite3_extended_errcode(self->db);
    bool damaged = (code & 0xff) == SQLITE_CORRUPT || (code & 0xff) == SQLITE_NOTADB;
    return fail(why, status_of(code), "ledger %s: %s: %s (SQLite error %d)%s%s", self->path, doing,
                sqlite3_errmsg(self->db), code, damaged ? ": it is damaged; " : "",
                damaged ? ADVICE : "");
}

static enum status execute(struct store *self, const char *sql, struct error *why)
{
    if (sqlite3_exec(self->db, sql, NULL, NULL, NULL) != SQLITE_OK)
        return broken(self, why, sql);
    return STATUS_OK;
}

static enum status prepare(struct store *self, sqlite3_stmt **out, const char *sql,
                           struct error *why)
{
    if (sqlite3_prepare_v3(self->db, sql, -1, SQLITE_PREPARE_PERSISTENT, out, NULL) != SQLITE_OK)
        return broken(self, why, sql);
    return STATUS_OK;
}

/* --- SQL from tables.def ---------------------------------------------------------------------- */
static const char *sql_type(enum ledger_type type)
{
    static const char *const names[] = {
        [LEDGER_ID] = "BLOB",   [LEDGER_DIGEST] = "BLOB", [LEDGER_INT] = "INTEGER",
        [LEDGER_TEXT] = "TEXT", [LEDGER_OWNER] = "BLOB",  [LEDGER_EPOCH] = "INTEGER",
    };
    return names[type];
}

struct sql {
    char text[SQL_MAX];
    size_t used;
};

static void PRINTF_LIKE(2, 3) sql_add(struct sql *self, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    int more = vsnprintf(self->text + self->used, sizeof(self->text) - self->used, format, values);
    va_end(values);
    assert(more >= 0 && (size_t)more < sizeof(self->text) - self->used);
    self->used += (size_t)more;
}

/* "a, b, c", of all columns or of the keys. */
static void sql_add_columns(struct sql *self, const struct ledger_layout *layout, bool keys_only,
                            const char *suffix, const char *separator)
{
    const char *between = "";
    for (size_t i = 0; i < layout->columns_len; i++) {
        if (keys_only && !layout->columns[i].key)
            continue;
        sql_add(self, "%s%s%s", between, layout->columns[i].name, suffix);
        between = separator;
    }
}

/* The tables that came with a version of the schema. */
static enum status create_tables(struct store *self, int version, struct error *why)
{
    enum status status = STATUS_OK;
    for (enum ledger_table t = 0; t < LEDGER_TABLES && status == STATUS_OK; t++) {
        const struct ledger_layout *layout = ledger_layout(t);
        if (layout->since != version)
            continue;
        struct sql sql = {.used = 0};
        sql_add(&sql, "CREATE TABLE %s (", layout->name);
        for (size_t i = 0; i < layout->columns_len; i++)
            sql_add(&sql, "%s %s NOT NULL, ", layout->columns[i].name,
                    sql_type(layout->columns[i].type));
        sql_add(&sql, "crc INTEGER NOT NULL, PRIMARY KEY (");
        sql_add_columns(&sql, layout, true, "", ", ");
        sql_add(&sql, ")) STRICT, WITHOUT ROWID");
        status = execute(self, sql.text, why);
    }
    return status;
}

static enum status prepare_table(struct store *self, enum ledger_table t, struct error *why)
{
    const struct ledger_layout *layout = ledger_layout(t);
    struct sql put = {.used = 0}, rm = {.used = 0};
    sql_add(&put, "INSERT OR REPLACE INTO %s (", layout->name);
    sql_add_columns(&put, layout, false, "", ", ");
    sql_add(&put, ", crc) VALUES (");
    for (size_t i = 0; i < layout->columns_len; i++)
        sql_add(&put, "?, ");
    sql_add(&put, "?)");
    sql_add(&rm, "DELETE FROM %s WHERE ", layout->name);
    sql_add_columns(&rm, layout, true, " = ?", " AND ");
    enum status status = prepare(self, &self->tables[t].put, put.text, why);
    if (status == STATUS_OK)
        status = prepare(self, &self->tables[t].remove, rm.text, why);
    return status;
}

/* --- versions of the schema ------------------------------------------------------------------- */
static int newest_version(void)
{
    int newest = 0;
    for (enum ledger_table t = 0; t < LEDGER_TABLES; t++)
        newest = MAX(newest, ledger_layout(t)->since);
    return newest;
}

static int user_version(struct store *self)
{
    sqlite3_stmt *query = NULL;
    int version = -1;
    if (sqlite3_prepare_v2(self->db, "PRAGMA user_version", -1, &query, NULL) == SQLITE_OK &&
        sqlite3_step(query) == SQLITE_ROW)
        version = sqlite3_column_int(query, 0);
    sqlite3_finalize(query);
    return version;
}

static enum status migrate(struct store *self, struct error *why)
{
    int version = user_version(self);
    if (version < 0)
        return broken(self, why, "reading user_version");
    if (version > newest_version())
        return fail(why, STATUS_VERSION,
                    "ledger %s has schema version %d, this program knows up to %d: use the newer "
                    "program that wrote it",
                    self->path, version, newest_version());
    while (version < newest_version()) {
        char pragma[64];
        snprintf(pragma, sizeof(pragma), "PRAGMA user_version = %d", ++version);
        enum status status = execute(self, "BEGIN IMMEDIATE", why);
        if (status == STATUS_OK)
            status = create_tables(self, version, why);
        if (status == STATUS_OK)
            status = execute(self, pragma, why);
        if (status == STATUS_OK)
            status = execute(self, "COMMIT", why);
        if (status != STATUS_OK)
            return status;
    }
    return STATUS_OK;
}

static enum status check_integrity(struct store *self, struct error *why)
{
    sqlite3_stmt *query = NULL;
    if (sqlite3_prepare_v2(self->db, "PRAGMA integrity_check(1)", -1, &query, NULL) != SQLITE_OK)
        return broken(self, why, "checking");
    enum status status = STATUS_OK;
    if (sqlite3_step(query) != SQLITE_ROW)
        status = broken(self, why, "checking");
    else if (strcmp((const char *)sqlite3_column_text(query, 0), "ok") != 0)
        status = fail(why, STATUS_IO, "ledger %s is damaged: %s; " ADVICE, self->path,
                      (const char *)sqlite3_column_text(query, 0));
    sqlite3_finalize(query);
    return status;
}

/* --- life ------------------------------------------------------------------------------------- */
static enum status limit_size(struct store *self, uint64_t bytes_max, struct error *why)
{
    char pragma[64];
    snprintf(pragma, sizeof(pragma), "PRAGMA max_page_count = %llu",
             (unsigned long long)(bytes_max / PAGE_BYTES));
    return bytes_max ? execute(self, pragma, why) : STATUS_OK;
}

enum status store_open(struct store **out, const char *path, uint64_t bytes_max, struct error *why)
{
    static const char settings[] = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; "
                                   "PRAGMA busy_timeout = 2000; PRAGMA cell_size_check = ON; "
                                   "PRAGMA wal_autocheckpoint = 32; " /* pages of the log */
                                   "PRAGMA journal_size_limit = 262144;";
    struct store *self = xcalloc(1, sizeof(*self));
    self->path = xstrdup(path);
    enum status status = STATUS_OK;
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_FULLMUTEX;
    if (sqlite3_open_v2(path, &self->db, flags, NULL) != SQLITE_OK)
        status = broken(self, why, "opening");
    if (status == STATUS_OK)
        status = execute(self, settings, why);
    if (status == STATUS_OK)
        status = check_integrity(self, why);
    if (status == STATUS_OK)
        status = migrate(self, why);
    if (status == STATUS_OK)
        status = limit_size(self, bytes_max, why);
    for (enum ledger_table t = 0; t < LEDGER_TABLES && status == STATUS_OK; t++)
        status = prepare_table(self, t, why);
    if (status == STATUS_OK)
        status = prepare(self, &self->begin, "BEGIN IMMEDIATE", why);
    if (status == STATUS_OK)
        status = prepare(self, &self->commit, "COMMIT", why);
    if (status == STATUS_OK)
        status = prepare(self, &self->rollback, "ROLLBACK", why);
    if (status == STATUS_OK)
        status =
            prepare(self, &self->meta, "SELECT name, value, crc FROM meta WHERE name = ?", why);
    if (status != STATUS_OK)
        store_close(&self);
    *out = self;
    return status;
}

void store_close(struct store **self_p)
{
    struct store *self = *self_p;
    if (!self)
        return;
    for (enum ledger_table t = 0; t < LEDGER_TABLES; t++) {
        sqlite3_finalize(self->tables[t].put);
        sqlite3_finalize(self->tables[t].remove);
    }
    sqlite3_finalize(self->begin);
    sqlite3_finalize(self->commit);
    sqlite3_finalize(self->rollback);
    sqlite3_finalize(self->meta);
    sqlite3_close(self->db);
    free(self->path);
    free(self);
    *self_p = NULL;
}

/* --- transactions ----------------------------------------------------------------------------- */
static enum status run(struct store *self, sqlite3_stmt *statement, const char *doing,
                       struct error *why)
{
    int code = sqlite3_step(statement);
    enum status status = code == SQLITE_DONE ? STATUS_OK : broken(self, why, doing);
    sqlite3_reset(statement);
    return status;
}

enum status store_begin(struct store *self, struct error *why)
{
    return run(self, self->begin, "beginning a transaction", why);
}

enum status store_commit(struct store *self, struct error *why)
{
    return run(self, self->commit, "committing", why);
}

void store_rollback(struct store *self)
{
    if (!sqlite3_get_autocommit(self->db))
        (void)run(self, self->rollback, "rolling back", NULL);
}

/* --- records ---------------------------------------------------------------------------------- */
static int bind(sqlite3_stmt *statement, int at, const struct ledger_column *column,
                const void *record)
{
    const char *field = (const char *)record + column->offset;
    switch (column->type) {
    case LEDGER_ID:
    case LEDGER_OWNER:
        return sqlite3_bind_blob(statement, at, field, sizeof(struct uuid), SQLITE_STATIC);
    case LEDGER_DIGEST:
        return sqlite3_bind_blob(statement, at, field, sizeof(struct digest), SQLITE_STATIC);
    case LEDGER_INT:
    case LEDGER_EPOCH:
        return sqlite3_bind_int64(statement, at, *(const int64_t *)(const void *)field);
    case LEDGER_TEXT: {
        const char *text = *(char *const *)(const void *)field;
        return sqlite3_bind_text(statement, at, text ? text : "", -1, SQLITE_STATIC);
    }
    }
    return SQLITE_MISUSE;
}

enum status store_put(struct store *self, enum ledger_table table, const void *record,
                      struct error *why)
{
    const struct ledger_layout *layout = ledger_layout(table);
    sqlite3_stmt *put = self->tables[table].put;
    int at = 1, code = SQLITE_OK;
    for (size_t i = 0; i < layout->columns_len && code == SQLITE_OK; i++)
        code = bind(put, at++, &layout->columns[i], record);
    if (code == SQLITE_OK)
        code = sqlite3_bind_int64(put, at, ledger_record_crc(table, record));
    if (code != SQLITE_OK)
        return broken(self, why, "binding a record");
    return run(self, put, "writing a record", why);
}

enum status store_remove(struct store *self, enum ledger_table table, const void *record,
                         struct error *why)
{
    const struct ledger_layout *layout = ledger_layout(table);
    sqlite3_stmt *rm = self->tables[table].remove;
    int at = 1, code = SQLITE_OK;
    for (size_t i = 0; i < layout->columns_len && code == SQLITE_OK; i++) {
        if (layout->columns[i].key)
            code = bind(rm, at++, &layout->columns[i], record);
    }
    if (code != SQLITE_OK)
        return broken(self, why, "binding a key");
    return run(self, rm, "removing a record", why);
}

static bool read_blob(sqlite3_stmt *row, int at, void *into, size_t size)
{
    if (sqlite3_column_bytes(row, at) != (int)size)
        return false;
    memcpy(into, sqlite3_column_blob(row, at), size);
    return true;
}

static bool read_column(sqlite3_stmt *row, int at, const struct ledger_column *column, void *record)
{
    char *field = (char *)record + column->offset;
    switch (column->type) {
    case LEDGER_ID:
    case LEDGER_OWNER:
        return read_blob(row, at, field, sizeof(struct uuid));
    case LEDGER_DIGEST:
        return read_blob(row, at, field, sizeof(struct digest));
    case LEDGER_INT:
    case LEDGER_EPOCH:
        *(int64_t *)(void *)field = sqlite3_column_int64(row, at);
        return true;
    case LEDGER_TEXT:
        ledger_text_set((char **)(void *)field, (const char *)sqlite3_column_text(row, at));
        return true;
    }
    return false;
}

/* What a record is called, "batch=0190..., first_row=12"; free() it. */
static char *name_of(sqlite3_stmt *row, const struct ledger_layout *layout)
{
    char *name = xstrdup("");
    for (size_t i = 0; i < layout->columns_len; i++) {
        const struct ledger_column *column = &layout->columns[i];
        struct uuid id = {{0}};
        char text[DIGEST_TEXT_SIZE + ID_TEXT_SIZE], *longer;
        if (!column->key)
            continue;
        if (column->type == LEDGER_ID && read_blob(row, (int)i, &id, sizeof(id)))
            id_text(text, &id);
        else
            snprintf(text, sizeof(text), "%s", (const char *)sqlite3_column_text(row, (int)i));
        longer = xasprintf("%s%s%s=%s", name, *name ? ", " : "", column->name, text);
        free(name);
        name = longer;
    }
    return name;
}

/* The record in the present row, checked. */
static enum status read_record(struct store *self, sqlite3_stmt *row, enum ledger_table table,
                               void *record, struct error *why)
{
    const struct ledger_layout *layout = ledger_layout(table);
    bool whole = true;
    for (size_t i = 0; i < layout->columns_len; i++)
        whole = read_column(row, (int)i, &layout->columns[i], record) && whole;
    uint32_t crc = (uint32_t)sqlite3_column_int64(row, (int)layout->columns_len);
    if (whole && crc == ledger_record_crc(table, record))
        return STATUS_OK;
    char *name = name_of(row, layout);
    fail(why, STATUS_IO, "ledger %s is damaged: table %s, record %s: wrong checksum; " ADVICE,
         self->path, layout->name, name);
    free(name);
    return STATUS_IO;
}

enum status store_each(struct store *self, enum ledger_table table, bool open_only,
                       void (*each)(void *context, const void *record), void *context,
                       struct error *why)
{
    const struct ledger_layout *layout = ledger_layout(table);
    struct sql sql = {.used = 0};
    sql_add(&sql, "SELECT ");
    sql_add_columns(&sql, layout, false, "", ", ");
    sql_add(&sql, ", crc FROM %s%s ORDER BY ", layout->name,
            open_only && table == LEDGER_chunk ? " WHERE done = 0" : "");
    sql_add_columns(&sql, layout, true, "", ", ");
    sqlite3_stmt *query = NULL;
    enum status status = prepare(self, &query, sql.text, why);
    void *record = xcalloc(1, layout->bytes);
    int code = SQLITE_DONE;
    while (status == STATUS_OK && (code = sqlite3_step(query)) == SQLITE_ROW) {
        status = read_record(self, query, table, record, why);
        if (status == STATUS_OK)
            each(context, record);
        ledger_record_clear(table, record);
    }
    if (status == STATUS_OK && code != SQLITE_DONE)
        status = broken(self, why, "reading");
    free(record);
    sqlite3_finalize(query);
    return status;
}

enum status store_meta(struct store *self, const char *name, char **value, struct error *why)
{
    struct ledger_meta record = {.name = NULL};
    *value = NULL;
    sqlite3_bind_text(self->meta, 1, name, -1, SQLITE_STATIC);
    int code = sqlite3_step(self->meta);
    enum status status = STATUS_OK;
    if (code == SQLITE_ROW)
        status = read_record(self, self->meta, LEDGER_meta, &record, why);
    if (status == STATUS_OK && (code == SQLITE_ROW || code == SQLITE_DONE))
        *value = xstrdup(code == SQLITE_ROW ? record.value : "");
    else if (status == STATUS_OK)
        status = broken(self, why, "reading a named text");
    ledger_record_clear(LEDGER_meta, &record);
    sqlite3_reset(self->meta);
    return status;
}
