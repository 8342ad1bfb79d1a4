/* ledger: committed together, read back whole, refused when damaged, full or taken over */
#include "tests/unit/common/testing.h"

#include "common/clock.h"
#include "common/file.h"
#include "gateway/ledger/ledger.h"

#include <sched.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <sys/wait.h>

static struct ledger *open_epoch(const char *folder, uint64_t epoch, uint64_t bytes_max)
{
    struct ledger *ledger = NULL;
    struct error why = {.status = STATUS_OK};
    struct ledger_config config = {
        .folder = folder, .epoch = epoch, .bytes_max = bytes_max, .reserve_bytes = 65536};
    config.gateway.bytes[0] = 7;
    if (ledger_open(&ledger, &config, &why) != STATUS_OK)
        fail_msg("%s", why.text);
    return ledger;
}

struct heard {
    unsigned calls;      /* completions */
    unsigned ok;         /* with OK */
    enum status last;    /* of the last one */
    unsigned order_lost; /* completions that came before an earlier one */
    unsigned next;       /* expected by in_order */
};

static void hear(void *arg, enum status status, const struct error *why)
{
    (void)why;
    struct heard *heard = arg;
    heard->calls++;
    heard->ok += status == STATUS_OK;
    heard->last = status;
}

static void put_file(struct ledger *ledger, uint8_t number, const char *name, struct heard *heard)
{
    struct ledger_change *change = ledger_change_new();
    char copy[64];
    text_copy(copy, sizeof(copy), name);
    struct ledger_file file = {.name = copy, .bytes = 1000 + number};
    file.id.bytes[15] = number;
    ledger_put(change, LEDGER_file, &file);
    ledger_commit(ledger, &change, hear, heard);
    assert_null(change);
}

struct files {
    unsigned count;
    struct ledger_file last; /* a copy with a name of its own */
};

static void collect(void *context, const void *record)
{
    struct files *files = context;
    ledger_record_clear(LEDGER_file, &files->last);
    struct ledger_file *copy = ledger_record_copy(LEDGER_file, record);
    files->last = *copy;
    free(copy);
    files->count++;
}

static void records_survive_a_restart_with_every_column(void **state)
{
    (void)state;
    const char *folder = test_path("restart");
    struct heard heard = {0};
    struct ledger *ledger = open_epoch(folder, 1, 0);
    put_file(ledger, 1, "a \"quoted\" name", &heard);
    put_file(ledger, 2, "gone", &heard);
    put_file(ledger, 1, "replaced", &heard);
    struct ledger_change *change = ledger_change_new();
    struct ledger_file gone = {.id.bytes[15] = 2};
    ledger_remove(change, LEDGER_file, &gone);
    ledger_put_meta(change, "model/x", "{\"inputs\":[]}");
    ledger_commit(ledger, &change, hear, &heard);
    ledger_run_done(ledger);
    assert_int_equal(heard.ok, 4);
    ledger_close(&ledger);
    ledger_close(&ledger); /* twice is harmless */

    struct error why = {.status = STATUS_OK};
    struct files files = {0};
    char *value = NULL;
    ledger = open_epoch(folder, 2, 0);
    assert_int_equal(ledger_load(ledger, LEDGER_file, false, collect, &files, &why), STATUS_OK);
    assert_int_equal(files.count, 1);
    assert_string_equal(files.last.name, "replaced");
    assert_string_equal(files.last.tenant, "");
    assert_int_equal(files.last.bytes, 1001);
    assert_int_equal(files.last.owner_gateway.bytes[0], 7);
    assert_int_equal(files.last.owner_epoch, 1);
    assert_int_equal(ledger_meta(ledger, "model/x", &value, &why), STATUS_OK);
    assert_string_equal(value, "{\"inputs\":[]}");
    free(value);
    assert_int_equal(ledger_meta(ledger, "unknown", &value, &why), STATUS_OK);
    assert_string_equal(value, "");
    free(value);
    ledger_record_clear(LEDGER_file, &files.last);
    ledger_close(&ledger);
}

static void count_record(void *context, const void *record)
{
    (void)record;
    ++*(unsigned *)context;
}

static void open_chunks_alone_are_loaded_in_the_order_of_their_rows(void **state)
{
    (void)state;
    struct error why = {.status = STATUS_OK};
    struct ledger *ledger = open_epoch(test_path("chunks"), 1, 0);
    struct ledger_change *change = ledger_change_new();
    for (int i = 9; i >= 0; i--) {
        struct ledger_chunk chunk = {.first_row = i, .rows = 1, .done = i % 3 == 0};
        ledger_put(change, LEDGER_chunk, &chunk);
    }
    ledger_commit(ledger, &change, NULL, NULL);
    ledger_run_done(ledger);
    unsigned all = 0, open = 0;
    assert_int_equal(ledger_load(ledger, LEDGER_chunk, false, count_record, &all, &why), STATUS_OK);
    assert_int_equal(ledger_load(ledger, LEDGER_chunk, true, count_record, &open, &why), STATUS_OK);
    assert_int_equal(all, 10);
    assert_int_equal(open, 6);
    ledger_close(&ledger);
}

struct numbered {
    struct heard *heard; /* shared by all */
    unsigned number;     /* the how-many-th change */
};

static void hear_in_order(void *arg, enum status status, const struct error *why)
{
    (void)why;
    const struct numbered *self = arg;
    self->heard->order_lost += self->heard->next++ != self->number;
    self->heard->ok += status == STATUS_OK;
}

static void changes_that_wait_are_committed_together_and_done_in_order(void **state)
{
    (void)state;
    enum { COUNT = 2000 };
    struct heard heard = {0};
    struct numbered *numbered = xcalloc(COUNT, sizeof(*numbered));
    struct ledger *ledger = open_epoch(test_path("group"), 1, 0);
    for (unsigned i = 0; i < COUNT; i++) {
        struct ledger_change *change = ledger_change_new();
        struct ledger_chunk chunk = {.first_row = i, .rows = 1};
        ledger_put(change, LEDGER_chunk, &chunk);
        numbered[i] = (struct numbered){&heard, i};
        ledger_commit(ledger, &change, hear_in_order, &numbered[i]);
    }
    ledger_run_done(ledger);
    uint64_t transactions = 0, changes = 0;
    ledger_counters(ledger, &transactions, &changes);
    printf("%d changes in %" PRIu64 " transactions\n", COUNT, transactions);
    assert_int_equal(heard.ok, COUNT);
    assert_int_equal(heard.order_lost, 0);
    assert_int_equal(changes, COUNT);
    assert_true(transactions <= COUNT / 2);
    ledger_close(&ledger);
    free(numbered);
}

/* A long job's ledger is as large as its chunks; what waits to be moved into it does not add up. */
static void write_ahead_log_stays_small(void **state)
{
    (void)state;
    enum { COUNT = 500, LOG_MAX = 64 * 4096 };
    const char *folder = test_path("log");
    struct heard heard = {0};
    struct ledger *ledger = open_epoch(folder, 1, 0);
    for (unsigned i = 0; i < COUNT; i++) {
        struct ledger_change *change = ledger_change_new();
        struct ledger_chunk chunk = {.first_row = i, .rows = 1};
        ledger_put(change, LEDGER_chunk, &chunk);
        ledger_commit(ledger, &change, hear, &heard);
        ledger_run_done(ledger);
    }
    char path[512];
    struct stat log;
    snprintf(path, sizeof path, "%s/ledger.sqlite-wal", folder);
    assert_int_equal(stat(path, &log), 0);
    printf("%d commits, %lld octets of log\n", COUNT, (long long)log.st_size);
    assert_true(log.st_size <= LOG_MAX);
    ledger_close(&ledger);
}

static void full_ledger_rolls_back_and_says_so_and_keeps_what_it_had(void **state)
{
    (void)state;
    const char *folder = test_path("full");
    struct heard heard = {0};
    struct ledger *ledger = open_epoch(folder, 1, 40 * 4096);
    put_file(ledger, 1, "kept", &heard);
    ledger_run_done(ledger);
    assert_int_equal(heard.last, STATUS_OK);
    assert_false(ledger_full(ledger));
    struct ledger_change *change = ledger_change_new();
    char *big = xmalloc(400000);
    memset(big, 'x', 399999);
    big[399999] = 0;
    struct ledger_file file = {.name = big, .id.bytes[15] = 2};
    ledger_put(change, LEDGER_file, &file);
    ledger_commit(ledger, &change, hear, &heard);
    ledger_run_done(ledger);
    assert_int_equal(heard.last, STATUS_STORAGE_FULL);
    assert_true(ledger_full(ledger));
    put_file(ledger, 3, "small ones still fit", &heard);
    ledger_run_done(ledger);
    assert_int_equal(heard.last, STATUS_OK);
    uint64_t limit_ns = clock_mono_ns() + 10 * NS_PER_S;
    while (ledger_full(ledger) && clock_mono_ns() < limit_ns)
        sched_yield(); /* it tries by itself to take its reserve back */
    put_file(ledger, 4, "there is room again", &heard);
    ledger_run_done(ledger);
    assert_false(ledger_full(ledger));
    struct error why = {.status = STATUS_OK};
    struct files files = {0};
    assert_int_equal(ledger_load(ledger, LEDGER_file, false, collect, &files, &why), STATUS_OK);
    assert_int_equal(files.count, 3);
    ledger_record_clear(LEDGER_file, &files.last);
    ledger_close(&ledger);
    free(big);
}

static void change_behind_the_ledgers_back(const char *folder, const char *sql)
{
    sqlite3 *db = NULL;
    char *path = xasprintf("%s/ledger.sqlite", folder);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    free(path);
}

static void record_that_was_altered_is_refused_by_its_checksum(void **state)
{
    (void)state;
    const char *folder = test_path("altered");
    struct heard heard = {0};
    struct ledger *ledger = open_epoch(folder, 1, 0);
    put_file(ledger, 1, "true", &heard);
    ledger_close(&ledger);
    change_behind_the_ledgers_back(folder, "UPDATE file SET bytes = bytes + 1");
    struct error why = {.status = STATUS_OK};
    struct files files = {0};
    ledger = open_epoch(folder, 2, 0);
    assert_int_equal(ledger_load(ledger, LEDGER_file, false, collect, &files, &why), STATUS_IO);
    assert_why(
        &why, STATUS_IO,
        "table file, record id=00000000-0000-0000-0000-000000000001: wrong checksum; restore");
    ledger_close(&ledger);
}

static void damaged_newer_or_taken_over_ledgers_are_refused(void **state)
{
    (void)state;
    const char *folder = test_path("refused");
    struct ledger *ledger = open_epoch(folder, 5, 0);
    ledger_close(&ledger);
    struct error why = {.status = STATUS_OK};
    struct ledger_config config = {.folder = folder, .epoch = 4};
    assert_int_equal(ledger_open(&ledger, &config, &why), STATUS_CONFLICT);
    assert_why(&why, STATUS_CONFLICT, "another gateway has taken it over");
    assert_null(ledger);
    change_behind_the_ledgers_back(folder, "PRAGMA user_version = 99");
    config.epoch = 6;
    assert_int_equal(ledger_open(&ledger, &config, &why), STATUS_VERSION);
    assert_why(&why, STATUS_VERSION, "99");
    char *path = xasprintf("%s/ledger.sqlite", folder);
    assert_int_equal(file_write(path, "no database at all, but long enough", 35, false, &why),
                     STATUS_OK);
    assert_int_equal(ledger_open(&ledger, &config, &why), STATUS_IO);
    free(path);
}

static void older_ledger_gets_the_tables_that_came_later_and_keeps_its_records(void **state)
{
    (void)state;
    const char *folder = test_path("older");
    struct heard heard = {0};
    struct ledger *ledger = open_epoch(folder, 1, 0);
    put_file(ledger, 1, "from before", &heard);
    ledger_run_done(ledger);
    ledger_close(&ledger);
    change_behind_the_ledgers_back(folder, "DROP TABLE node; DROP TABLE token; DROP TABLE key; "
                                           "DROP TABLE dead; DROP TABLE training; "
                                           "PRAGMA user_version = 1");
    ledger = open_epoch(folder, 2, 0);
    char name[] = "n1";
    struct ledger_node node = {.name = name, .public.bytes[0] = 9};
    struct ledger_change *change = ledger_change_new();
    ledger_put(change, LEDGER_node, &node);
    ledger_commit(ledger, &change, hear, &heard);
    ledger_run_done(ledger);
    struct error why = {.status = STATUS_OK};
    unsigned files = 0, nodes = 0;
    assert_int_equal(ledger_load(ledger, LEDGER_file, false, count_record, &files, &why),
                     STATUS_OK);
    assert_int_equal(ledger_load(ledger, LEDGER_node, false, count_record, &nodes, &why),
                     STATUS_OK);
    assert_int_equal(files, 1);
    assert_int_equal(nodes, 1);
    ledger_close(&ledger);
}

static void older_life_that_still_commits_ends_itself(void **state)
{
    (void)state;
    const char *folder = test_path("fenced");
    pid_t child = fork();
    if (child == 0) {
        struct heard heard = {0};
        struct ledger *older = open_epoch(folder, 1, 0);
        struct ledger *newer = open_epoch(folder, 2, 0);
        put_file(older, 1, "too late", &heard);
        ledger_run_done(older);
        ledger_close(&newer);
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 74);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_survive_a_restart_with_every_column),
        cmocka_unit_test(open_chunks_alone_are_loaded_in_the_order_of_their_rows),
        cmocka_unit_test(changes_that_wait_are_committed_together_and_done_in_order),
        cmocka_unit_test(write_ahead_log_stays_small),
        cmocka_unit_test(full_ledger_rolls_back_and_says_so_and_keeps_what_it_had),
        cmocka_unit_test(record_that_was_altered_is_refused_by_its_checksum),
        cmocka_unit_test(damaged_newer_or_taken_over_ledgers_are_refused),
        cmocka_unit_test(older_ledger_gets_the_tables_that_came_later_and_keeps_its_records),
        cmocka_unit_test(older_life_that_still_commits_ends_itself),
    };
    return cmocka_run_group_tests(tests, NULL, test_scratch_end);
}
