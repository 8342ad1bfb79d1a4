/* bit rot: each octet of a ledger is altered in turn, and of the files that hold data
 *
 * Whatever is altered, a record that is read is one that was written: the ledger is refused, or
 * what was altered meant nothing. Of the write-ahead log SQLite takes an altered frame for the torn
 * end that a power cut leaves: the last changes are gone then, but those that are there are true,
 * and none is there without the ones before it.
 *
 * Long runs of zeros, which no page uses, are altered at every 16th octet, the log at every fifth;
 * ALL=1 leaves none out. */
#include "tests/unit/common/testing.h"

#include "common/file.h"
#include "gateway/ledger/store.h"
#include "tests/crash/runs.h"
#include "tests/crash/states.h"

#define COMMITS   6 /* of the ledger that has a log */
#define BYTES_MAX (4 * MIB)

struct blob {
    char *bytes;
    size_t size;
};

struct rot {
    unsigned altered; /* octets, one at a time */
    unsigned refused; /* of these, noticed */
    unsigned lost;    /* of these, with the last changes gone (log only) */
};

static struct blob read_blob(const char *path)
{
    struct blob blob = {NULL, 0};
    struct error why = {.status = STATUS_OK};
    if (file_read(&blob.bytes, &blob.size, path, BYTES_MAX, &why) != STATUS_OK)
        fail_msg("%s", why.text);
    return blob;
}

static void write_blob(const char *path, const struct blob *blob)
{
    struct error why = {.status = STATUS_OK};
    if (file_write(path, blob->bytes, blob->size, false, &why) != STATUS_OK)
        fail_msg("%s", why.text);
}

/* Is this octet in the middle of zeros that nobody uses, and not one of the few that are tried? */
static bool skipped(const struct blob *blob, size_t at)
{
    if (getenv("ALL") || at % 16 == 0)
        return false;
    for (size_t i = at < 24 ? 0 : at - 24; i < MIN(at + 24, blob->size); i++)
        if (blob->bytes[i])
            return false;
    return true;
}

static void alter(struct blob *blob, size_t at)
{
    blob->bytes[at] = (char)(blob->bytes[at] ^ 1 << at % 8);
}

/* --- the ledger ------------------------------------------------------------------------------- */
/* One change of every table, so that a sum over all says how many there were. */
static void put_all(struct store *store, uint8_t number)
{
    struct error why = {.status = STATUS_OK};
    char name[24];
    snprintf(name, sizeof name, "name %u", number);
    struct ledger_meta meta = {.name = name, .value = name};
    struct ledger_file file = {.id.bytes[3] = number, .name = name, .bytes = 1000 + number};
    struct ledger_batch batch = {.id.bytes[3] = number, .model = name, .completed = number};
    struct ledger_chunk chunk = {.batch.bytes[3] = number, .first_row = number, .rows = 7};
    struct ledger_key key = {.id.bytes[3] = number, .name = name, .scopes = name};
    assert_int_equal(store_begin(store, &why), STATUS_OK);
    assert_int_equal(store_put(store, LEDGER_meta, &meta, &why), STATUS_OK);
    assert_int_equal(store_put(store, LEDGER_file, &file, &why), STATUS_OK);
    assert_int_equal(store_put(store, LEDGER_batch, &batch, &why), STATUS_OK);
    assert_int_equal(store_put(store, LEDGER_chunk, &chunk, &why), STATUS_OK);
    assert_int_equal(store_put(store, LEDGER_key, &key, &why), STATUS_OK);
    assert_int_equal(store_commit(store, &why), STATUS_OK);
}

struct sum {
    enum ledger_table table;
    uint64_t value; /* over all records of all tables */
};

static void add_record(void *context, const void *record)
{
    struct sum *sum = context;
    sum->value =
        (sum->value ^ ledger_record_crc(sum->table, record)) * UINT64_C(0x9e3779b97f4a7c15);
}

/* All that the ledger says as one number; 0: it is refused. */
static uint64_t read_ledger(const char *path, struct error *why)
{
    struct sum sum = {.value = 1};
    struct store *store = NULL;
    char *value = NULL;
    enum status s = store_open(&store, path, 0, why);
    for (enum ledger_table t = 0; t < LEDGER_TABLES && s == STATUS_OK; t++) {
        sum.table = t;
        s = store_each(store, t, false, add_record, &sum, why);
    }
    if (s == STATUS_OK)
        s = store_meta(store, "name 1", &value, why);
    if (s == STATUS_OK && strcmp(value, "") != 0)
        assert_string_equal(value, "name 1");
    free(value);
    store_close(&store);
    return s == STATUS_OK ? sum.value : 0;
}

struct ledger_copy {
    struct blob main, log;      /* files */
    uint64_t sums[COMMITS + 1]; /* after so many changes */
};

/* As a process leaves it that is killed after its last commit: database and log. */
static struct ledger_copy make_ledger(const char *path, bool closed)
{
    struct ledger_copy copy = {.sums = {0}};
    struct error why = {.status = STATUS_OK};
    struct store *store = NULL;
    char *log = xasprintf("%s-wal", path), *other = xasprintf("%s.copy", path);
    char *other_log = xasprintf("%s-wal", other);
    assert_int_equal(store_open(&store, path, 0, &why), STATUS_OK);
    store_close(&store); /* the tables are not in the log */
    assert_int_equal(store_open(&store, path, 0, &why), STATUS_OK);
    for (int i = 0; i <= COMMITS; i++) {
        if (i > 0)
            put_all(store, (uint8_t)i);
        free(copy.main.bytes);
        free(copy.log.bytes);
        copy.main = read_blob(path);
        copy.log = access(log, F_OK) == 0 ? read_blob(log) : (struct blob){xstrdup(""), 0};
        write_blob(other, &copy.main);
        write_blob(other_log, &copy.log);
        copy.sums[i] = read_ledger(other, &why);
        assert_true(copy.sums[i] != 0);
    }
    store_close(&store);
    if (closed) {
        free(copy.main.bytes);
        copy.main = read_blob(path);
        copy.log.size = 0;
    }
    free(log);
    free(other);
    free(other_log);
    return copy;
}

/* How many of the changes are there; -1: none of that, something false. */
static int changes_of(const struct ledger_copy *copy, uint64_t sum)
{
    for (int i = 0; i <= COMMITS; i++)
        if (copy->sums[i] == sum)
            return i;
    return -1;
}

static struct rot rot_ledger(const char *path, struct ledger_copy *copy, struct blob *part)
{
    struct rot rot = {0};
    char *log = xasprintf("%s-wal", path);
    for (size_t at = 0; at < part->size; at++) {
        struct error why = {.status = STATUS_OK};
        if (skipped(part, at) || (part == &copy->log && at % 5 && !getenv("ALL")))
            continue;
        alter(part, at);
        write_blob(path, &copy->main);
        unlink(log);
        if (copy->log.size)
            write_blob(log, &copy->log);
        uint64_t sum = read_ledger(path, &why);
        alter(part, at);
        rot.altered++;
        if (sum == 0) {
            rot.refused++;
            if (!strstr(why.text, path))
                fail_msg("octet %zu: the refusal does not name the file: %s", at, why.text);
            continue;
        }
        int changes = changes_of(copy, sum);
        if (changes < 0 || (part == &copy->main && changes < COMMITS))
            fail_msg("octet %zu altered: not refused, and %s", at,
                     changes < 0 ? "what is read was never written" : "records are missing");
        rot.lost += changes < COMMITS;
    }
    free(log);
    return rot;
}

static void altered_ledger_never_says_what_was_not_written(void **state)
{
    char path[160];
    (void)state;
    runs_path(path, "ledger.sqlite");
    struct ledger_copy copy = make_ledger(path, true);
    struct rot rot = rot_ledger(path, &copy, &copy.main);
    printf("ledger of %zu octets: %u altered one by one, %u refused, the others meant nothing\n",
           copy.main.size, rot.altered, rot.refused);
    assert_true(rot.refused > 1000);
    free(copy.main.bytes);
    free(copy.log.bytes);
}

static void altered_log_loses_the_last_changes_at_most(void **state)
{
    char path[160];
    (void)state;
    runs_path(path, "logged.sqlite");
    struct ledger_copy copy = make_ledger(path, false);
    struct rot rot = rot_ledger(path, &copy, &copy.log);
    printf("log of %zu octets: %u altered one by one, %u refused, %u took the last changes along\n",
           copy.log.size, rot.altered, rot.refused, rot.lost);
    assert_true(rot.lost > 0); /* the limit that gateway/DURABILITY.md states */
    free(copy.main.bytes);
    free(copy.log.bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(altered_ledger_never_says_what_was_not_written),
        cmocka_unit_test(altered_log_loses_the_last_changes_at_most),
    };
    return cmocka_run_group_tests(tests, runs_begin, runs_end);
}
