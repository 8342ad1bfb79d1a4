/* Sharing out work: every item once whatever the threads do, regions within regions, CPUs. */
#include "tests/kernels/check.h"

#include <sched.h>

#include "worker/kernels/par.h"

#define ITEMS 1000
#define LARGE 1e9 /* flops: worth several threads */

struct tally {
    uint32_t runs[ITEMS];
    uint32_t slots_bad;
    bool nests;
};

static void count_inner(void *arg, size_t slot, size_t begin, size_t end)
{
    struct tally *tally = arg;
    if (slot != 0 || begin != 0)
        __atomic_fetch_add(&tally->slots_bad, 1, __ATOMIC_RELAXED);
    __atomic_fetch_add(&tally->runs[0], (uint32_t)(end - begin), __ATOMIC_RELAXED);
}

static void count(void *arg, size_t slot, size_t begin, size_t end)
{
    struct tally *tally = arg;
    if (slot >= par_slots())
        __atomic_fetch_add(&tally->slots_bad, 1, __ATOMIC_RELAXED);
    for (size_t i = begin; i < end; i++)
        if (!tally->nests)
            __atomic_fetch_add(&tally->runs[i], 1, __ATOMIC_RELAXED);
        else
            par_for(3, LARGE, count_inner, tally);
}

static void post_many(void *arg)
{
    struct tally *tally = arg;
    for (size_t n = 0; n <= ITEMS; n += 1 + n / 7)
        par_for(n, LARGE, count, tally);
}

static void check_counts(bool in_region)
{
    struct tally tally = {{0}, 0, false};
    uint32_t want[ITEMS] = {0};
    if (in_region)
        par_region(post_many, &tally);
    else
        post_many(&tally);
    for (size_t n = 0; n <= ITEMS; n += 1 + n / 7)
        for (size_t i = 0; i < n; i++)
            want[i]++;
    assert_memory_equal(tally.runs, want, sizeof want);
    assert_int_equal(tally.slots_bad, 0);
}

static void each_item_runs_once(void **state)
{
    (void)state;
    for (uint32_t threads = 1; threads <= 5; threads++) {
        kernels_set_threads(threads);
        for (int i = 0; i < 50; i++) {
            check_counts(false);
            check_counts(true);
        }
    }
}

static void work_inside_of_an_item_stays_on_its_thread(void **state)
{
    (void)state;
    kernels_set_threads(3);
    struct tally tally = {{0}, 0, true};
    par_for(ITEMS, LARGE, count, &tally);
    assert_int_equal(tally.runs[0], 3 * ITEMS);
    assert_int_equal(tally.slots_bad, 0);
}

#define ROUNDS 200

struct relay {
    struct par_barrier barrier;
    uint32_t seen[8];
    uint32_t early;
};

/* Each member counts to ROUNDS; after a barrier all must have the same count. */
static void run_relay(void *arg, size_t member, size_t members)
{
    struct relay *relay = arg;
    for (uint32_t round = 1; round <= ROUNDS; round++) {
        __atomic_store_n(&relay->seen[member], round, __ATOMIC_RELAXED);
        par_wait(&relay->barrier, member, members);
        for (size_t i = 0; i < members; i++)
            if (__atomic_load_n(&relay->seen[i], __ATOMIC_RELAXED) != round)
                __atomic_fetch_add(&relay->early, 1, __ATOMIC_RELAXED);
        par_wait(&relay->barrier, member, members);
    }
}

static void members_of_a_team_wait_for_each_other(void **state)
{
    (void)state;
    for (uint32_t threads = 1; threads <= 4; threads++) {
        struct relay relay = {.early = 0};
        kernels_set_threads(threads);
        par_barrier_init(&relay.barrier);
        par_team(threads, LARGE, run_relay, &relay);
        assert_int_equal(relay.early, 0);
        for (uint32_t i = 0; i < threads; i++)
            assert_int_equal(relay.seen[i], ROUNDS);
        assert_int_equal(relay.seen[threads], 0);
    }
}

#define PUSHES 40

struct seats {
    struct par_barrier barrier; /* so that no thread takes both */
    int cpu[2];                 /* that each member was on when it began */
    bool push;                  /* then all go to CPU `target`, free to leave it again */
    size_t target;
};

static void take_seat(void *arg, size_t member, size_t members)
{
    struct seats *seats = arg;
    cpu_set_t allowed, one;
    seats->cpu[member] = sched_getcpu();
    par_wait(&seats->barrier, member, members);
    if (!seats->push)
        return;
    CPU_ZERO(&one);
    CPU_SET(seats->target, &one);
    assert_int_equal(sched_getaffinity(0, sizeof allowed, &allowed), 0);
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    assert_int_equal(sched_setaffinity(0, sizeof allowed, &allowed), 0);
}

/* The system may move a thread at any time, so not each time. */
static void threads_on_one_cpu_part(void **state)
{
    (void)state;
    struct seats seats = {.target = 0};
    cpu_set_t allowed;
    uint32_t together = 0;
    assert_int_equal(sched_getaffinity(0, sizeof allowed, &allowed), 0);
    if (CPU_COUNT(&allowed) < 2)
        skip();
    while (!CPU_ISSET(seats.target, &allowed))
        seats.target++;
    kernels_set_threads(2);
    par_barrier_init(&seats.barrier);
    for (int i = 0; i < PUSHES; i++) {
        seats.push = true;
        par_team(2, LARGE, take_seat, &seats);
        seats.push = false;
        par_team(2, LARGE, take_seat, &seats);
        together += seats.cpu[0] == seats.cpu[1];
    }
    assert_in_range(together, 0, PUSHES / 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_item_runs_once),
        cmocka_unit_test(work_inside_of_an_item_stays_on_its_thread),
        cmocka_unit_test(members_of_a_team_wait_for_each_other),
        cmocka_unit_test(threads_on_one_cpu_part),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
