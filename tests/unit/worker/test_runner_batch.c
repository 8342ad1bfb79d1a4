/* runner_batch: every task gets its own rows, whatever the cut, the axis and the neighbours
 *
 * The model here is a few lines of C: outputs say which row they were made from, so a row in a
 * wrong place shows. */
#include "tests/unit/common/testing.h"

#include "worker/runner_batch.h"

#include <sodium/crypto_generichash.h>

#define WIDTH 3 /* an odd row of 3 octets: runs start off the aligned boundary */

struct fake {
    uint8_t *first;  /* output 0: [rows, WIDTH], each value + 1 */
    int32_t *second; /* output 1: [2, rows, 2], rows on axis 1 */
    size_t runs;
    size_t rows_most; /* in one run */
    int poison;       /* a row that starts with this octet fails; -1 none */
    bool misaligned;  /* an input came off its boundary */
    bool cancel;
};

static enum status fake_run(void *model, const struct tensor *inputs, uint32_t inputs_len,
                            struct tensor *outputs, struct error *why)
{
    struct fake *self = model;
    size_t rows = (size_t)inputs[0].dims[0];
    const uint8_t *x = inputs[0].data;
    assert_int_equal(inputs_len, 1);
    assert_int_equal(inputs[0].bytes, rows * WIDTH);
    self->runs++;
    self->rows_most = MAX(self->rows_most, rows);
    self->misaligned |= (uintptr_t)x % TENSOR_ALIGN != 0;
    if (self->cancel)
        return fail(why, STATUS_CANCELLED, "stopped");
    free(self->first);
    free(self->second);
    self->first = xmalloc(rows * WIDTH);
    self->second = xmalloc(2 * rows * 2 * sizeof(int32_t));
    for (size_t r = 0; r < rows; r++) {
        if (x[r * WIDTH] == self->poison)
            return fail(why, STATUS_INVALID, "row of %d is poison", self->poison);
        for (size_t w = 0; w < WIDTH; w++)
            self->first[r * WIDTH + w] = (uint8_t)(x[r * WIDTH + w] + 1);
        for (size_t o = 0; o < 2; o++)
            for (size_t i = 0; i < 2; i++)
                self->second[(o * rows + r) * 2 + i] = (int32_t)(x[r * WIDTH] * 100 + o * 10 + i);
    }
    outputs[0] = (struct tensor){.name = "first",
                                 .dtype = DTYPE_UINT8,
                                 .rank = 2,
                                 .dims = {(int64_t)rows, WIDTH},
                                 .data = self->first,
                                 .bytes = rows * WIDTH};
    outputs[1] = (struct tensor){.name = "second",
                                 .dtype = DTYPE_INT32,
                                 .rank = 3,
                                 .dims = {2, (int64_t)rows, 2},
                                 .data = self->second,
                                 .bytes = 2 * rows * 2 * sizeof(int32_t)};
    return STATUS_OK;
}

static const uint32_t axes[] = {0, 1};

/* A batch of tasks with these rows; row r of the whole starts with octet r. */
static struct ring_batch *fill(struct ring *ring, const uint64_t *rows, size_t len,
                               uint32_t rows_max)
{
    struct ring_batch *batch = ring_next(ring);
    uint64_t total = 0;
    for (size_t t = 0; t < len; t++)
        total += rows[t];
    struct tensor input = {
        .name = "x", .dtype = DTYPE_UINT8, .rank = 2, .dims = {(int64_t)total, WIDTH}};
    batch->kind = RING_RUN;
    batch->batchable = 1;
    batch->rows_max = rows_max;
    batch->inputs_len = 1;
    batch->tasks_len = (uint32_t)len;
    batch->tasks_at = ring_take(batch, len * sizeof(struct ring_task));
    struct ring_task *tasks = ring_at(batch, batch->tasks_at, len, sizeof *tasks);
    memset(tasks, 0, len * sizeof *tasks);
    for (size_t t = 0; t < len; t++)
        tasks[t].rows = rows[t];
    batch->inputs_at = ring_take(batch, sizeof(struct ring_value));
    struct ring_value *value = ring_at(batch, batch->inputs_at, 1, sizeof *value);
    assert_true(ring_describe(batch, value, &input));
    value->bytes = total * WIDTH;
    value->data_at = ring_take(batch, value->bytes);
    uint8_t *x = ring_at(batch, value->data_at, value->bytes, 1);
    for (uint64_t i = 0; i < total * WIDTH; i++)
        x[i] = (uint8_t)(i / WIDTH);
    return batch;
}

static void assert_task(struct ring_batch *batch, size_t t, uint64_t first_row)
{
    struct ring_task *task = (struct ring_task *)ring_at(batch, batch->tasks_at, 64, 1) + t;
    struct ring_value *values = ring_at(batch, task->outputs_at, task->outputs_len, sizeof *values);
    struct tensor first, second;
    uint8_t digest[32];
    crypto_generichash_state state;
    assert_int_equal(task->status, STATUS_OK);
    assert_int_equal(task->outputs_len, 2);
    assert_true(ring_tensor(batch, &values[0], &first));
    assert_true(ring_tensor(batch, &values[1], &second));
    assert_string_equal(first.name, "first");
    assert_int_equal(first.dims[0], task->rows);
    assert_int_equal(second.dims[1], task->rows);
    for (uint64_t r = 0; r < task->rows; r++) {
        uint64_t row = first_row + r;
        assert_int_equal(((uint8_t *)first.data)[r * WIDTH], (uint8_t)(row + 1));
        for (uint64_t o = 0; o < 2; o++)
            assert_int_equal(((int32_t *)second.data)[(o * task->rows + r) * 2 + 1],
                             (uint8_t)row * 100 + o * 10 + 1);
    }
    assert_int_equal(task->bytes, first.bytes + second.bytes);
    crypto_generichash_init(&state, NULL, 0, sizeof digest);
    crypto_generichash_update(&state, first.data, first.bytes);
    crypto_generichash_update(&state, second.data, second.bytes);
    crypto_generichash_final(&state, digest, sizeof digest);
    assert_memory_equal(digest, task->digest, sizeof digest);
}

static struct ring *make_ring(void)
{
    struct ring *ring;
    struct error why = {0};
    if (ring_create(&ring, &why) != STATUS_OK)
        fail_msg("%s", why.text);
    return ring;
}

static void free_fake(struct fake *fake)
{
    free(fake->first);
    free(fake->second);
}

static void any_cut_gives_every_task_its_own_rows(void **state)
{
    struct ring *ring = make_ring();
    struct runner_scratch scratch = {0};
    uint64_t seed = test_seed();
    (void)state;
    for (int round = 0; round < 200; round++) {
        struct fake fake = {.poison = -1};
        const struct runner_model model = {&fake, fake_run, 2, axes};
        uint64_t rows[32], total = 0;
        size_t len = 1 + test_random(&seed) % 32;
        uint32_t rows_max = (uint32_t)(1 + test_random(&seed) % 40);
        for (size_t t = 0; t < len; t++)
            total += rows[t] = 1 + test_random(&seed) % 9;
        struct ring_batch *batch = fill(ring, rows, len, rows_max);
        runner_batch(batch, &model, &scratch);
        for (uint64_t t = 0, first = 0; t < len; first += rows[t], t++)
            assert_task(batch, t, first);
        assert_int_equal(fake.runs, (total + rows_max - 1) / rows_max);
        assert_true(fake.rows_most <= rows_max);
        assert_false(fake.misaligned);
        free_fake(&fake);
    }
    runner_scratch_free(&scratch);
    ring_destroy(&ring);
}

static void rows_on_which_a_runner_died_are_computed_one_by_one(void **state)
{
    struct ring *ring = make_ring();
    struct runner_scratch scratch = {0};
    struct fake fake = {.poison = -1};
    const struct runner_model model = {&fake, fake_run, 2, axes};
    const uint64_t rows[] = {10, 12, 8};
    (void)state;
    struct ring_batch *batch = fill(ring, rows, 3, 8);
    batch->small_from = 12; /* rows 2 to 6 of the second task */
    batch->small_end = 17;
    batch->small_rows = 1;
    runner_batch(batch, &model, &scratch);
    assert_task(batch, 0, 0);
    assert_task(batch, 1, 10);
    assert_task(batch, 2, 22);
    assert_int_equal(fake.runs, 2 + 5 + 2); /* 8 and 4, singles, 8 and 5 */
    free_fake(&fake);
    runner_scratch_free(&scratch);
    ring_destroy(&ring);
}

static struct ring_batch *doing; /* whose rows the next function looks at */

static enum status note_rows(void *model, const struct tensor *inputs, uint32_t inputs_len,
                             struct tensor *outputs, struct error *why)
{
    uint64_t *next = model;
    struct ring_rows rows = ring_doing(doing, 20);
    (void)inputs_len, (void)outputs;
    assert_int_equal(rows.from, *next);
    assert_int_equal(rows.end - rows.from, inputs[0].dims[0]);
    *next = rows.end;
    return fail(why, STATUS_CANCELLED, "seen");
}

static void the_rows_that_are_computed_are_told_and_nonsense_is_none(void **state)
{
    struct ring *ring = make_ring();
    struct runner_scratch scratch = {0};
    uint64_t next = 0;
    const struct runner_model model = {&next, note_rows, 2, axes};
    const uint64_t rows[] = {20};
    (void)state;
    doing = fill(ring, rows, 1, 8);
    assert_int_equal(ring_doing(doing, 20).end, 0);
    runner_batch(doing, &model, &scratch);
    assert_int_equal(next, 8);
    ring_do(doing, 16, 21);
    assert_int_equal(ring_doing(doing, 20).end, 0);
    ring_do(doing, 5, 4);
    assert_int_equal(ring_doing(doing, 20).end, 0);
    ring_do(doing, UINT64_MAX, 3);
    assert_int_equal(ring_doing(doing, 20).end, 0);
    runner_scratch_free(&scratch);
    ring_destroy(&ring);
}

static void one_bad_row_fails_its_task_and_no_neighbour(void **state)
{
    struct ring *ring = make_ring();
    struct runner_scratch scratch = {0};
    struct fake fake = {.poison = 9}; /* in task 2, cut into two runs with others */
    const struct runner_model model = {&fake, fake_run, 2, axes};
    const uint64_t rows[] = {5, 3, 6, 2, 4};
    (void)state;
    struct ring_batch *batch = fill(ring, rows, ARRAY_LEN(rows), 10);
    runner_batch(batch, &model, &scratch);
    struct ring_task *tasks = ring_at(batch, batch->tasks_at, 5, sizeof *tasks);
    assert_int_equal(tasks[2].status, STATUS_INVALID);
    assert_string_equal(ring_text(batch, tasks[2].text_at), "row of 9 is poison");
    assert_int_equal(tasks[2].outputs_len, 0);
    assert_task(batch, 0, 0);
    assert_task(batch, 1, 5);
    assert_task(batch, 3, 14);
    assert_task(batch, 4, 16);
    free_fake(&fake);
    runner_scratch_free(&scratch);
    ring_destroy(&ring);
}

static void a_wrong_batch_axis_is_said_and_nothing_is_made_up(void **state)
{
    static const uint32_t wrong[] = {0, 2};
    struct ring *ring = make_ring();
    struct runner_scratch scratch = {0};
    struct fake fake = {.poison = -1};
    const struct runner_model model = {&fake, fake_run, 2, wrong};
    const uint64_t rows[] = {3, 4};
    (void)state;
    struct ring_batch *batch = fill(ring, rows, ARRAY_LEN(rows), 32);
    runner_batch(batch, &model, &scratch);
    struct ring_task *tasks = ring_at(batch, batch->tasks_at, 2, sizeof *tasks);
    for (size_t t = 0; t < 2; t++) {
        assert_int_equal(tasks[t].status, STATUS_BAD_MODEL);
        assert_non_null(strstr(ring_text(batch, tasks[t].text_at), "output_batch_axis"));
    }
    free_fake(&fake);
    runner_scratch_free(&scratch);
    ring_destroy(&ring);
}

static void a_stopped_batch_is_cancelled_after_one_run(void **state)
{
    struct ring *ring = make_ring();
    struct runner_scratch scratch = {0};
    struct fake fake = {.poison = -1, .cancel = true};
    const struct runner_model model = {&fake, fake_run, 2, axes};
    const uint64_t rows[] = {3, 4, 90};
    (void)state;
    struct ring_batch *batch = fill(ring, rows, ARRAY_LEN(rows), 5);
    runner_batch(batch, &model, &scratch);
    struct ring_task *tasks = ring_at(batch, batch->tasks_at, 3, sizeof *tasks);
    for (size_t t = 0; t < 3; t++)
        assert_int_equal(tasks[t].status, STATUS_CANCELLED);
    assert_int_equal(fake.runs, 1);
    runner_scratch_free(&scratch);
    ring_destroy(&ring);
}

static void a_model_of_dependent_rows_runs_once_and_whole(void **state)
{
    struct ring *ring = make_ring();
    struct runner_scratch scratch = {0};
    struct fake fake = {.poison = -1};
    const struct runner_model model = {&fake, fake_run, 2, axes};
    const uint64_t rows[] = {77};
    (void)state;
    struct ring_batch *batch = fill(ring, rows, 1, 8);
    batch->batchable = 0;
    runner_batch(batch, &model, &scratch);
    assert_int_equal(fake.runs, 1);
    assert_int_equal(fake.rows_most, 77);
    assert_task(batch, 0, 0);
    free_fake(&fake);
    runner_scratch_free(&scratch);
    ring_destroy(&ring);
}

static void a_batch_that_does_not_hold_together_is_refused(void **state)
{
    struct ring *ring = make_ring();
    struct runner_scratch scratch = {0};
    struct fake fake = {.poison = -1};
    const struct runner_model model = {&fake, fake_run, 2, axes};
    const uint64_t rows[] = {2};
    (void)state;
    struct ring_batch *batch = fill(ring, rows, 1, 8);
    ((struct ring_value *)ring_at(batch, batch->inputs_at, 1, 1))->bytes = UINT64_MAX;
    runner_batch(batch, &model, &scratch);
    struct ring_task *tasks = ring_at(batch, batch->tasks_at, 1, sizeof *tasks);
    assert_int_equal(tasks[0].status, STATUS_INTERNAL);
    assert_int_equal(fake.runs, 0);
    runner_scratch_free(&scratch);
    ring_destroy(&ring);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_cut_gives_every_task_its_own_rows),
        cmocka_unit_test(rows_on_which_a_runner_died_are_computed_one_by_one),
        cmocka_unit_test(the_rows_that_are_computed_are_told_and_nonsense_is_none),
        cmocka_unit_test(one_bad_row_fails_its_task_and_no_neighbour),
        cmocka_unit_test(a_wrong_batch_axis_is_said_and_nothing_is_made_up),
        cmocka_unit_test(a_stopped_batch_is_cancelled_after_one_run),
        cmocka_unit_test(a_model_of_dependent_rows_runs_once_and_whole),
        cmocka_unit_test(a_batch_that_does_not_hold_together_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
