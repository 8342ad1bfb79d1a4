/* fuzz_record - records of the ledger: copied, written, read again, and damaged on the disk
 *
 * Input: the table, then its columns one after the other; a text is a length octet and octets. The
 * copy and what comes back from SQLite must have the same checksum; with one bit of one column
 * changed behind the ledger's back, reading must refuse the record. */
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gateway/ledger/store.h"
#include "tests/fuzz/fuzz.h"

struct input {
    const uint8_t *at, *end;
};

static struct store *store; /* one file for all inputs, empty between them */
static sqlite3 *beside;     /* another way into it */

static void take(struct input *in, void *into, size_t size)
{
    size_t have = MIN(size, (size_t)(in->end - in->at));
    memset(into, 0, size);
    if (have > 0)
        memcpy(into, in->at, have);
    in->at += have;
}

/* What a program may keep in a text: it ends at the first NUL. */
static char *take_text(struct input *in)
{
    uint8_t size;
    take(in, &size, 1);
    char *text = xcalloc(1, (size_t)size + 1);
    take(in, text, size);
    return text;
}

static void *make_record(enum ledger_table table, struct input *in)
{
    const struct ledger_layout *layout = ledger_layout(table);
    char *record = xcalloc(1, layout->bytes);
    for (size_t i = 0; i < layout->columns_len; i++) {
        char *field = record + layout->columns[i].offset;
        switch (layout->columns[i].type) {
        case LEDGER_ID:
        case LEDGER_OWNER:
            take(in, field, sizeof(struct uuid));
            break;
        case LEDGER_DIGEST:
            take(in, field, sizeof(struct digest));
            break;
        case LEDGER_INT:
        case LEDGER_EPOCH:
            take(in, field, sizeof(int64_t));
            break;
        case LEDGER_TEXT:
            *(char **)(void *)field = take_text(in);
            break;
        }
    }
    return record;
}

static void remove_file(void)
{
    char path[64];
    static const char *const suffixes[] = {"", "-wal", "-shm"};
    for (size_t i = 0; i < ARRAY_LEN(suffixes); i++) {
        snprintf(path, sizeof path, "/dev/shm/convoy-fuzz-%d%s", (int)getpid(), suffixes[i]);
        unlink(path);
    }
}

static void close_files(void)
{
    store_close(&store);
    sqlite3_close(beside);
    remove_file();
}

static void open_files(void)
{
    char path[64];
    struct error why;
    snprintf(path, sizeof path, "/dev/shm/convoy-fuzz-%d", (int)getpid());
    remove_file();
    if (store_open(&store, path, 0, &why) != STATUS_OK)
        panic("%s", why.text);
    if (sqlite3_open(path, &beside) != SQLITE_OK)
        panic("%s", sqlite3_errmsg(beside));
    atexit(close_files);
}

static void same_crc(void *context, const void *record)
{
    uint32_t *crc = context;
    enum ledger_table table = (enum ledger_table)crc[1];
    assert(ledger_record_crc(table, record) == crc[0]);
    crc[2]++;
}

static void count_record(void *context, const void *record)
{
    (void)record;
    ++*(uint32_t *)context;
}

/* Change one column behind the ledger's back; false when SQLite refuses, or nothing changes. */
static bool damage(enum ledger_table table, struct input *in)
{
    const struct ledger_layout *layout = ledger_layout(table);
    uint8_t which, bit;
    char sql[256];
    take(in, &which, 1);
    take(in, &bit, 1);
    const struct ledger_column *column = &layout->columns[which % layout->columns_len];
    switch (column->type) {
    case LEDGER_INT:
    case LEDGER_EPOCH:
        /* SQL has no exclusive or. */
        snprintf(sql, sizeof sql, "UPDATE %s SET %s = (%s | 1 << %d) - (%s & 1 << %d)",
                 layout->name, column->name, column->name, bit % 63, column->name, bit % 63);
        break;
    case LEDGER_TEXT:
        snprintf(sql, sizeof sql, "UPDATE %s SET %s = %s || 'x'", layout->name, column->name,
                 column->name);
        break;
    default:
        snprintf(sql, sizeof sql, "UPDATE %s SET %s = substr(%s, 1, %d)", layout->name,
                 column->name, column->name, bit % 16);
        break;
    }
    return sqlite3_exec(beside, sql, NULL, NULL, NULL) == SQLITE_OK;
}

static void write_and_read(enum ledger_table table, const void *record, struct input *in)
{
    struct error why;
    uint32_t crc[3] = {ledger_record_crc(table, record), table, 0}, read = 0;
    const struct ledger_layout *layout = ledger_layout(table);
    char sql[64];
    if (!store)
        open_files();
    if (store_begin(store, &why) != STATUS_OK ||
        store_put(store, table, record, &why) != STATUS_OK ||
        store_put(store, table, record, &why) != STATUS_OK || /* the same record again */
        store_commit(store, &why) != STATUS_OK)
        panic("%s", why.text);
    if (store_each(store, table, false, same_crc, crc, &why) != STATUS_OK || crc[2] != 1)
        panic("what was written cannot be read: %s", why.text);
    if (damage(table, in)) {
        enum status status = store_each(store, table, false, count_record, &read, &why);
        if (status != STATUS_IO || read != 0)
            panic("a damaged record of table %s was taken", layout->name);
    }
    snprintf(sql, sizeof sql, "DELETE FROM %s", layout->name);
    if (sqlite3_exec(beside, sql, NULL, NULL, NULL) != SQLITE_OK)
        panic("%s: %s", sql, sqlite3_errmsg(beside));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, data + size};
    uint8_t which;
    take(&in, &which, 1);
    enum ledger_table table = (enum ledger_table)(which % LEDGER_TABLES);
    void *record = make_record(table, &in);
    void *copy = ledger_record_copy(table, record);
    assert(ledger_record_crc(table, copy) == ledger_record_crc(table, record));
    write_and_read(table, record, &in);
    ledger_record_clear(table, copy);
    ledger_record_destroy(table, &copy);
    ledger_record_destroy(table, &record);
    return 0;
}
