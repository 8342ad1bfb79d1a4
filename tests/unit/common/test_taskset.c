/* taskset against a plain array of flags */
#include "testing.h"

#include "common/taskset.h"

#define NUMBERS 96 /* small, so that runs meet often */

static void assert_same(const struct taskset *set, const bool *flags)
{
    uint64_t count = 0, runs = 0;
    for (uint64_t i = 0; i < NUMBERS; i++) {
        assert_int_equal(taskset_contains(set, i), flags[i]);
        count += flags[i];
        runs += flags[i] && !(i && flags[i - 1]);
    }
    assert_int_equal(set->count, count);
    assert_int_equal(set->len, runs);
    assert_false(taskset_contains(set, NUMBERS));
    for (size_t i = 1; i < set->len; i++)
        assert_true(set->ranges[i - 1].first + set->ranges[i - 1].count < set->ranges[i].first);
}

static void random_adds_and_removes_agree_with_flags(void **state)
{
    (void)state;
    uint64_t seed = test_seed();
    struct taskset set = taskset_make(NUMBERS);
    bool flags[NUMBERS] = {false};
    for (int step = 0; step < 20000; step++) {
        uint64_t first = test_random(&seed) % NUMBERS;
        uint64_t count = 1 + test_random(&seed) % MIN((uint64_t)12, NUMBERS - first);
        bool add = test_random(&seed) % 2;
        enum status status =
            add ? taskset_add_range(&set, first, count) : taskset_remove_range(&set, first, count);
        assert_int_equal(status, STATUS_OK);
        for (uint64_t i = first; i < first + count; i++)
            flags[i] = add;
        assert_true(taskset_contains_range(&set, first, count) == add);
        assert_same(&set, flags);
    }
    taskset_free(&set);
}

static struct taskset random_set(uint64_t *seed, bool *flags)
{
    struct taskset set = taskset_make(NUMBERS);
    for (uint64_t i = 0; i < NUMBERS; i++) {
        flags[i] = test_random(seed) % 3 == 0;
        if (flags[i])
            assert_int_equal(taskset_add(&set, i), STATUS_OK);
    }
    return set;
}

static void union_and_difference_agree_with_flags(void **state)
{
    (void)state;
    uint64_t seed = test_seed();
    for (int round = 0; round < 300; round++) {
        bool in_a[NUMBERS], in_b[NUMBERS], wanted[NUMBERS], got[NUMBERS] = {false};
        struct taskset a = random_set(&seed, in_a), b = random_set(&seed, in_b);
        struct task_range run;
        uint64_t from = 0, end = 0;
        for (size_t i = 0; i < NUMBERS; i++)
            wanted[i] = in_a[i] && !in_b[i];
        while (taskset_next_difference(&a, &b, &from, &run)) {
            assert_true(run.count >= 1 && run.first >= end);
            end = run.first + run.count;
            for (uint64_t i = run.first; i < end; i++)
                got[i] = true;
        }
        assert_memory_equal(got, wanted, sizeof got);
        struct taskset both = taskset_make(NUMBERS);
        assert_int_equal(taskset_add_all(&both, &a), STATUS_OK);
        assert_true(taskset_equal(&both, &a));
        assert_int_equal(taskset_add_all(&both, &b), STATUS_OK);
        for (size_t i = 0; i < NUMBERS; i++)
            assert_int_equal(taskset_contains(&both, i), in_a[i] || in_b[i]);
        assert_int_equal(taskset_remove_all(&a, &b), STATUS_OK);
        assert_same(&a, wanted);
        taskset_free(&a);
        taskset_free(&b);
        taskset_free(&both);
    }
}

static void too_many_runs_are_refused_and_change_nothing(void **state)
{
    (void)state;
    struct taskset set = taskset_make(2);
    assert_int_equal(taskset_add_range(&set, 10, 5), STATUS_OK);
    assert_int_equal(taskset_add_range(&set, 20, 5), STATUS_OK);
    assert_int_equal(taskset_add(&set, 30), STATUS_BUSY);
    assert_int_equal(taskset_remove(&set, 12), STATUS_BUSY); /* would leave three runs */
    assert_int_equal(set.count, 10);
    assert_int_equal(taskset_add_range(&set, 15, 5), STATUS_OK); /* closes the gap */
    assert_int_equal(set.len, 1);
    assert_int_equal(taskset_remove(&set, 12), STATUS_OK);
    assert_int_equal(set.count, 14);
    taskset_clear(&set);
    assert_int_equal(set.count, 0);
    taskset_free(&set);
    taskset_free(&set); /* twice is harmless */
}

static void numbers_at_the_end_of_64_bits_do_not_wrap(void **state)
{
    (void)state;
    struct taskset set = taskset_make(8);
    assert_int_equal(taskset_add_range(&set, UINT64_MAX - 3, 3), STATUS_OK);
    assert_true(taskset_contains(&set, UINT64_MAX - 1));
    assert_false(taskset_contains(&set, UINT64_MAX));
    assert_false(taskset_contains(&set, 0));
    assert_int_equal(taskset_add(&set, UINT64_MAX), STATUS_MALFORMED);
    assert_int_equal(taskset_add_range(&set, 5, UINT64_MAX), STATUS_MALFORMED);
    assert_int_equal(taskset_add_range(&set, 5, 0), STATUS_MALFORMED);
    assert_int_equal(taskset_remove_range(&set, 5, 0), STATUS_MALFORMED);
    assert_int_equal(set.count, 3);
    assert_int_equal(taskset_add_range(&set, 0, UINT64_MAX), STATUS_OK);
    assert_int_equal(set.len, 1);
    assert_int_equal(set.count, UINT64_MAX);
    taskset_free(&set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_adds_and_removes_agree_with_flags),
        cmocka_unit_test(union_and_difference_agree_with_flags),
        cmocka_unit_test(too_many_runs_are_refused_and_change_nothing),
        cmocka_unit_test(numbers_at_the_end_of_64_bits_do_not_wrap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
