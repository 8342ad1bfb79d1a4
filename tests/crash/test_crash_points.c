/* crash points: the gateway is cut off at every call that changes a file, and started again
 *
 * A tape of one run is played back to each of its calls. What the disk may hold at that moment is
 * built as it is (the process is killed), with the last write torn at each 512 octets, without
 * anything that was not synced, and with parts of that by chance (the power fails). On each the
 * gateway's own code starts, and facts_hold(). A writer that leaves out one fsync, or tells before
 * it has committed, is caught by the same checks. */
#include "tests/unit/common/testing.h"

#include "tests/crash/runs.h"
#include "tests/crash/states.h"

#define TORN      512 /* octets that a disk writes in one piece */
#define SEEN_ROOM (1U << 18)
#define CHANCES   2 /* random losses tried at each call */

struct search {
    char root[160];          /* the folder that is made anew for each state */
    struct states *states;   /* the disk */
    struct facts *facts;     /* what was told */
    struct verdict *verdict; /* shared with the children */
    uint64_t *seen;          /* states with their facts, by hash */
    unsigned built, checked; /* states, and those among them that were new */
    uint64_t seed;           /* for LOSS_SOME */
    bool found;              /* something is wrong: `verdict` says what */
    char where[80];          /* and in which state */
};

/* --- looking at states ------------------------------------------------------------------------ */
static bool seen(void *arg, uint64_t id)
{
    struct search *self = arg;
    uint64_t key = (id + facts_count(self->facts)) * UINT64_C(0x9e3779b97f4a7c15) | 1;
    size_t at = (size_t)(key >> 20) % SEEN_ROOM;
    while (self->seen[at] && self->seen[at] != key)
        at = (at + 1) % SEEN_ROOM;
    bool known = self->seen[at] == key;
    self->seen[at] = key;
    return known;
}

static void judge(struct search *self, const char *where, unsigned long long detail)
{
    self->checked++;
    int status = runs_judge(self->facts, self->root, self->verdict);
    if (self->verdict->right && status == 0)
        return;
    self->found = true;
    snprintf(self->where, sizeof self->where, "%s %llu, exit status %d", where, detail, status);
}

static void look(struct search *self, enum loss loss, uint64_t detail, const char *where)
{
    if (self->found)
        return;
    self->built++;
    if (states_build(self->states, loss, detail, self->root, seen, self))
        judge(self, where, (unsigned long long)detail);
}

static void look_at_call(struct search *self, const struct disk_call *call)
{
    look(self, LOSS_NONE, 0, "killed");
    look(self, LOSS_ALL, 0, "power lost");
    if (call->op == DISK_WRITE)
        for (uint32_t torn = TORN; torn < call->size; torn += TORN)
            look(self, LOSS_TORN, torn, "torn");
    for (int i = 0; call->op != DISK_MARK && i < CHANCES; i++)
        look(self, LOSS_SOME, test_random(&self->seed), "power lost, some written");
}

/* Every state of a tape, until something is wrong. */
static void search_tape(struct search *self, const struct disk_tape *tape)
{
    unsigned number = 0;
    runs_path(self->root, "state");
    self->states = states_new();
    self->facts = facts_new();
    self->seen = xcalloc(SEEN_ROOM, sizeof *self->seen);
    for (size_t at = 0, next; at < tape->used && !self->found; at = next, number++) {
        const struct disk_call *call = disk_call_at(tape, at, &next);
        states_step(self->states, call);
        facts_take(self->facts, call);
        look_at_call(self, call);
    }
    if (self->found)
        printf("call %u: %s: %s\n", number, self->where, self->verdict->text);
    states_free(self->states);
    facts_free(self->facts);
    free(self->seen);
}

static struct disk_tape *new_tape(enum disk_mutant mutant)
{
    char root[160];
    runs_path(root, "run");
    struct disk_tape *tape = disk_tape_new(root, RUNS_TAPE_BYTES);
    tape->mutant = mutant;
    return tape;
}

/* --- tests ------------------------------------------------------------------------------------ */
static void every_crash_state_is_recovered(void **state)
{
    (void)state;
    struct search search = {.verdict = runs_verdict(), .seed = test_seed()};
    struct disk_tape *tape = new_tape(MUTANT_NONE);
    int code = runs_tape(tape, search.verdict, false);
    if (code != 0 || tape->over)
        fail_msg("the script ended with %d: %s", code, search.verdict->text);
    size_t calls = 0;
    for (size_t at = 0; at < tape->used; calls++)
        (void)disk_call_at(tape, at, &at);
    search_tape(&search, tape);
    printf("crash points: %zu calls, %u states built, %u different ones recovered and checked\n",
           calls, search.built, search.checked);
    assert_false(search.found);
    disk_tape_free(tape);
}

static void every_mutant_is_caught(void **state)
{
    (void)state;
    static const char *const names[MUTANTS] = {
        [MUTANT_DRAFT_SYNC] = "no fsync before a rename",
        [MUTANT_FOLDER_SYNC] = "no fsync of a folder",
        [MUTANT_RESULT_SYNC] = "no fsync of results",
        [MUTANT_LETTER_SYNC] = "no fsync of dead letters",
        [MUTANT_CHECKPOINT_SYNC] = "no fsync of checkpoints",
        [MUTANT_VERSION_SYNC] = "no fsync of the folder of versions",
        [MUTANT_LOG_SYNC] = "no fsync of the ledger's log",
        [MUTANT_EARLY_REPLY] = "told before it was committed",
    };
    for (enum disk_mutant mutant = MUTANT_NONE + 1; mutant < MUTANTS; mutant++) {
        struct search search = {.verdict = runs_verdict(), .seed = test_seed()};
        struct disk_tape *tape = new_tape(mutant);
        printf("mutant: %s\n", names[mutant]);
        (void)runs_tape(tape, search.verdict, false);
        search_tape(&search, tape);
        if (!search.found)
            fail_msg("%s: not caught in %u states", names[mutant], search.checked);
        disk_tape_free(tape);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_crash_state_is_recovered),
        cmocka_unit_test(every_mutant_is_caught),
    };
    return cmocka_run_group_tests(tests, runs_begin, runs_end);
}
