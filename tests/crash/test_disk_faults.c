/* disk faults: every fsync fails once, every call that needs room finds none, every write is short
 *
 * What a failed call was to make sure is never told to anybody: after each run the gateway starts
 * on what it left, as it is and without what was not synced, and all facts must hold. */
#include "tests/unit/common/testing.h"

#include "tests/crash/runs.h"
#include "tests/crash/states.h"

#define EXIT_DISK 74 /* of the gateway, when the disk failed */

struct tally {
    unsigned runs;     /* one for each call */
    unsigned finished; /* all requests were answered well */
    unsigned refused;  /* a request was answered with an error */
    unsigned ended;    /* the gateway ended itself with EXIT_DISK */
    unsigned unborn;   /* it did not start */
};

static bool never_seen(void *arg, uint64_t id)
{
    (void)arg;
    (void)id;
    return false;
}

/* All facts of a run that is over must hold on what it left. */
static void judge(const struct disk_tape *tape, struct verdict *verdict, enum loss loss,
                  const char *what)
{
    char root[160];
    struct states *states = states_new();
    struct facts *facts = facts_new();
    runs_path(root, "state");
    for (size_t at = 0; at < tape->used;) {
        const struct disk_call *call = disk_call_at(tape, at, &at);
        states_step(states, call);
        facts_take(facts, call);
    }
    assert_true(states_build(states, loss, 0, root, never_seen, NULL));
    int status = runs_judge(facts, root, verdict);
    if (status != 0 || !verdict->right)
        fail_msg("%s %u, %s: exit status %d: %s", what, tape->fault_at,
                 loss == LOSS_ALL ? "power lost" : "killed", status, verdict->text);
    states_free(states);
    facts_free(facts);
}

static void note(struct tally *self, int code, const struct verdict *verdict, const char *what)
{
    self->runs++;
    self->finished += code == 0;
    self->refused += code == 1;
    self->unborn += code == 3;
    self->ended += code == EXIT_DISK;
    if (code != 0 && code != 1 && code != 3 && code != EXIT_DISK)
        fail_msg("%s %u: the gateway ended with %d: %s", what, self->runs - 1, code, verdict->text);
}

/* The fault at each call in turn, `len` calls long. */
static struct tally each_call(enum disk_fault fault, uint32_t len, const char *what)
{
    char root[160];
    struct tally tally = {0};
    struct verdict *verdict = runs_verdict();
    uint32_t calls = 1; /* the first run tells how many there are */
    runs_path(root, "run");
    for (uint32_t at = 0; at <= calls; at++) {
        struct disk_tape *tape = disk_tape_new(root, RUNS_TAPE_BYTES);
        tape->fault = fault;
        tape->fault_len = len;
        tape->fault_at = at == 0 ? UINT32_MAX : at - 1;
        int code = runs_tape(tape, verdict, true);
        if (at == 0 && code != 0)
            fail_msg("without a fault the script ends with %d: %s", code, verdict->text);
        if (at == 0)
            calls = tape->faults;
        else
            note(&tally, code, verdict, what);
        judge(tape, verdict, LOSS_NONE, what);
        judge(tape, verdict, LOSS_ALL, what);
        disk_tape_free(tape);
    }
    printf("%s: %u runs: %u finished, %u with a request refused, %u ended by themselves, %u did "
           "not start\n",
           what, tally.runs, tally.finished, tally.refused, tally.ended, tally.unborn);
    return tally;
}

static void failed_fsync_is_never_followed_by_a_promise(void **state)
{
    (void)state;
    struct tally tally = each_call(DISK_EIO, 1, "fsync fails at call");
    assert_true(tally.ended > tally.runs / 4); /* the ledger's and the results' */
}

static void full_disk_ends_nobody_and_loses_nothing(void **state)
{
    (void)state;
    struct tally tally = each_call(DISK_ENOSPC, 1, "no room at call");
    assert_int_equal(tally.ended + tally.refused, 0);
}

static void short_writes_are_gone_on_with(void **state)
{
    (void)state;
    struct tally tally = each_call(DISK_SHORT, 1, "short write at call");
    assert_int_equal(tally.finished, tally.runs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(failed_fsync_is_never_followed_by_a_promise),
        cmocka_unit_test(full_disk_ends_nobody_and_loses_nothing),
        cmocka_unit_test(short_writes_are_gone_on_with),
    };
    return cmocka_run_group_tests(tests, runs_begin, runs_end);
}
