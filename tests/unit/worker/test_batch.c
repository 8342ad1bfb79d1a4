/* batch: which tasks go together, in which order, and when */
#include "tests/unit/common/testing.h"

#include "worker/batch.h"

static const struct batch_policy policy = {
    .batchable = true, .rows_max = 8, .tasks_max = 6, .bytes_max = 1000, .delay_ns = 500};

struct fixture {
    struct tensor inputs[64];
    struct batch_item items[64];
    struct batch_queue queue;
};

static struct batch_item *put(struct fixture *f, size_t i, int64_t rows, int64_t width)
{
    f->inputs[i] =
        (struct tensor){.name = "x", .dtype = DTYPE_FP32, .rank = 2, .dims = {rows, width}};
    f->items[i] = (struct batch_item){.inputs = &f->inputs[i],
                                      .inputs_len = 1,
                                      .rows = batch_rows(&f->inputs[i], 1),
                                      .bytes = (uint64_t)(rows * width * 4),
                                      .arrived_ns = i};
    batch_push(&f->queue, &f->items[i]);
    return &f->items[i];
}

static void expect(struct fixture *f, const struct batch_policy *with, const size_t *wanted,
                   size_t wanted_len)
{
    struct batch_item *got[64] = {0};
    size_t len = batch_pick(&f->queue, with, got);
    assert_int_equal(len, wanted_len);
    for (size_t i = 0; i < wanted_len; i++)
        assert_ptr_equal(got[i], &f->items[wanted[i]]);
}
#define EXPECT(f, with, ...)                                                                       \
    expect(f, with, (size_t[]){__VA_ARGS__}, ARRAY_LEN(((size_t[]){__VA_ARGS__})))

static void rows_of_equal_look_are_gathered_oldest_first_up_to_the_limit(void **state)
{
    struct fixture f = {0};
    (void)state;
    batch_queue_init(&f.queue);
    for (size_t i = 0; i < 5; i++)
        put(&f, i, 2, 3);
    EXPECT(&f, &policy, 0, 1, 2, 3);
    EXPECT(&f, &policy, 4);
    assert_int_equal(batch_pick(&f.queue, &policy, (struct batch_item *[64]){0}), 0);
}

static void another_look_stays_in_its_place(void **state)
{
    struct fixture f = {0};
    (void)state;
    batch_queue_init(&f.queue);
    put(&f, 0, 1, 3);
    put(&f, 1, 1, 4);
    put(&f, 2, 1, 3);
    put(&f, 3, 1, 4);
    f.inputs[3].dtype = DTYPE_INT32;
    put(&f, 4, 1, 4);
    EXPECT(&f, &policy, 0, 2);
    EXPECT(&f, &policy, 1, 4);
    EXPECT(&f, &policy, 3);
}

static void a_task_with_more_rows_than_the_limit_goes_by_itself(void **state)
{
    struct fixture f = {0};
    (void)state;
    batch_queue_init(&f.queue);
    put(&f, 0, 20, 1);
    put(&f, 1, 1, 1);
    put(&f, 2, 20, 1);
    put(&f, 3, 1, 1);
    EXPECT(&f, &policy, 0);
    EXPECT(&f, &policy, 1, 3);
    EXPECT(&f, &policy, 2);
}

static void tasks_and_bytes_bound_a_batch_as_well(void **state)
{
    struct fixture f = {0};
    struct batch_policy few = policy, small = policy;
    (void)state;
    batch_queue_init(&f.queue);
    few.tasks_max = 2;
    small.bytes_max = 40;
    for (size_t i = 0; i < 6; i++)
        put(&f, i, 1, 4);
    EXPECT(&f, &few, 0, 1);
    EXPECT(&f, &small, 2, 3);
}

static void dependent_rows_and_suspects_run_alone(void **state)
{
    struct fixture f = {0};
    struct batch_policy whole = policy;
    (void)state;
    batch_queue_init(&f.queue);
    whole.batchable = false;
    for (size_t i = 0; i < 5; i++)
        put(&f, i, 1, 1);
    f.items[2].alone = true;
    EXPECT(&f, &whole, 0);
    EXPECT(&f, &policy, 1, 3, 4);
    EXPECT(&f, &policy, 2);
}

static void what_has_no_rows_in_common_is_not_gathered(void **state)
{
    struct fixture f = {0};
    (void)state;
    struct tensor pair[2] = {{.name = "a", .dtype = DTYPE_FP32, .rank = 1, .dims = {3}},
                             {.name = "b", .dtype = DTYPE_FP32, .rank = 1, .dims = {4}}};
    assert_int_equal(batch_rows(pair, 2), 0);
    pair[1].dims[0] = 3;
    assert_int_equal(batch_rows(pair, 2), 3);
    pair[1].rank = 0;
    assert_int_equal(batch_rows(pair, 2), 0);
    pair[1] = (struct tensor){.name = "b", .dtype = DTYPE_BYTES, .rank = 1, .dims = {3}};
    assert_int_equal(batch_rows(pair, 2), 0);
    assert_int_equal(batch_rows(pair, 0), 0);
    batch_queue_init(&f.queue);
    put(&f, 0, 0, 4);
    put(&f, 1, 0, 4);
    EXPECT(&f, &policy, 0);
}

static void an_idle_runner_gets_a_batch_at_once_a_busy_one_a_full_or_old_one(void **state)
{
    struct fixture f = {0};
    (void)state;
    batch_queue_init(&f.queue);
    assert_false(batch_due(&f.queue, &policy, 1000, true));
    assert_true(batch_due_ns(&f.queue, &policy) == UINT64_MAX);
    put(&f, 7, 1, 1);
    assert_true(batch_due(&f.queue, &policy, 7, true));
    assert_false(batch_due(&f.queue, &policy, 7, false));
    assert_int_equal(batch_due_ns(&f.queue, &policy), 507);
    assert_true(batch_due(&f.queue, &policy, 507, false));
    put(&f, 8, 7, 1);
    assert_true(batch_due(&f.queue, &policy, 8, false));
}

static void what_is_given_back_goes_first(void **state)
{
    struct fixture f = {0};
    (void)state;
    batch_queue_init(&f.queue);
    put(&f, 0, 1, 1);
    put(&f, 1, 1, 1);
    put(&f, 2, 1, 1);
    batch_remove(&f.queue, &f.items[1]);
    batch_push_front(&f.queue, &f.items[1]);
    assert_int_equal(f.queue.len, 3);
    EXPECT(&f, &policy, 1, 0, 2);
    assert_int_equal(f.queue.len, 0);
    assert_int_equal(f.queue.rows, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_of_equal_look_are_gathered_oldest_first_up_to_the_limit),
        cmocka_unit_test(another_look_stays_in_its_place),
        cmocka_unit_test(a_task_with_more_rows_than_the_limit_goes_by_itself),
        cmocka_unit_test(tasks_and_bytes_bound_a_batch_as_well),
        cmocka_unit_test(dependent_rows_and_suspects_run_alone),
        cmocka_unit_test(what_has_no_rows_in_common_is_not_gathered),
        cmocka_unit_test(an_idle_runner_gets_a_batch_at_once_a_busy_one_a_full_or_old_one),
        cmocka_unit_test(what_is_given_back_goes_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
