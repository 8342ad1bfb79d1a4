/* test_core_schedule - who gets what, how much and when */
#include "tests/unit/broker/fixture.h"

/* Submit tasks first .. first + len - 1. */
static void submit_many(struct fixture *f, uint64_t first, uint64_t len, uint32_t rows,
                        uint32_t band)
{
    for (uint64_t n = first; n < first + len; n++)
        submit_task(f, 1, (struct core_task){.number = n, .rows = rows, .band = band}, 1);
}

/* Let the worker compute one task so that its speed is known. */
static void teach(struct fixture *f, uint32_t worker, uint64_t number, uint64_t compute_ns)
{
    submit(f, 1, number);
    tick(f);
    assert_int_equal(result(f, worker, 1, number, compute_ns), DATA(1));
    forget(f);
}

static void credit_is_never_exceeded(void **state)
{
    struct fixture *f = *state;
    open_gateway(f, 1);
    open_worker(f, 2, 1);
    teach(f, 2, 1, 1000);
    submit_many(f, 10, 100, 1, 0);
    tick(f);
    assert_int_equal(dispatched(f, 2), 0);
    core_credit(f->core, CONTROL(2), 8, 1000000);
    tick(f);
    assert_int_equal(dispatched(f, 2), 7);
    core_credit(f->core, CONTROL(2), 4, 10); /* an older one comes late */
    core_credit(f->core, CONTROL(2), 20, 1000000);
    tick(f);
    assert_int_equal(dispatched(f, 2), 19);
}

static void byte_credit_is_never_exceeded(void **state)
{
    struct fixture *f = *state;
    open_gateway(f, 1);
    open_worker(f, 2, 1);
    teach(f, 2, 1, 1000);
    open_worker_with(f, 2, ids(1, 1, 0)); /* a new session: totals begin again */
    core_credit(f->core, CONTROL(2), 100, 250);
    submit_many(f, 10, 5, 1, 0); /* of 100 octets each */
    tick(f);
    assert_int_equal(dispatched(f, 2), 2);
}

static void tasks_of_unknown_length_are_not_hoarded(void **state)
{
    struct fixture *f = *state;
    open_gateway(f, 1);
    open_worker(f, 2, 100);
    submit_many(f, 10, 50, 1, 0);
    tick(f);
    assert_int_equal(dispatched(f, 2), 2); /* slots + 1 */
}

static void long_tasks_are_not_hoarded(void **state)
{
    struct fixture *f = *state;
    open_gateway(f, 1);
    open_worker(f, 2, 100);
    teach(f, 2, 1, 1000 * MS);
    submit_many(f, 10, 50, 1, 0);
    tick(f);
    assert_int_equal(dispatched(f, 2), 2);
}

static void short_tasks_fill_a_deep_window(void **state)
{
    struct fixture *f = *state;
    open_gateway(f, 1);
    open_worker(f, 2, 1000);
    teach(f, 2, 1, 1 * MS);
    submit_many(f, 10, 500, 1, 0);
    tick(f);
    assert_in_range(dispatched(f, 2), f->limits.horizon_ms - 2, f->limits.horizon_ms);
}

static void the_faster_worker_gets_more(void **state)
{
    struct fixture *f = *state;
    f->warm = true;
    open_gateway(f, 1);
    open_worker(f, 2, 1000);
    open_worker(f, 3, 1000);
    submit_many(f, 10, 2, 1, 0); /* one each */
    tick(f);
    for (uint64_t n = 10; n < 12; n++)
        for (uint32_t w = 2; w <= 3; w++)
            if (named(f, ACTION_DISPATCH, DATA(w), n))
                result(f, w, 1, n, (w == 2 ? 1 : 3) * MS);
    forget(f);
    submit_many(f, 100, 40, 1, 0);
    tick(f);
    assert_int_equal(dispatched(f, 2), 30);
    assert_int_equal(dispatched(f, 3), 10);
}

static void equal_workers_share_equally(void **state)
{
    struct fixture *f = *state;
    open_gateway(f, 1);
    for (uint32_t w = 2; w <= 5; w++)
        open_worker(f, w, 1000);
    submit_many(f, 10, 8, 1, 0);
    tick(f);
    for (uint32_t w = 2; w <= 5; w++)
        assert_int_equal(dispatched(f, w), 2);
}

static void ties_rotate(void **state)
{
    struct fixture *f = *state;
    size_t got[2] = {0, 0};
    f->warm = true;
    open_gateway(f, 1);
    open_worker(f, 2, 1000);
    open_worker(f, 3, 1000);
    for (uint64_t n = 10; n < 20; n++) {
        forget(f);
        submit(f, 1, n);
        tick(f);
        uint32_t w = named(f, ACTION_DISPATCH, DATA(2), n) ? 2 : 3;
        got[w - 2]++;
        result(f, w, 1, n, MS);
    }
    assert_int_equal(got[0], 5);
    assert_int_equal(got[1], 5);
}

static void a_warm_worker_is_preferred_until_tasks_wait_for_it(void **state)
{
    struct fixture *f = *state;
    open_gateway(f, 1);
    open_worker(f, 2, 1000);
    teach(f, 2, 1, 10 * MS);
    open_worker(f, 3, 1000);
    submit_many(f, 10, 5, 1, 0);
    tick(f);
    assert_int_equal(dispatched(f, 2), 5);
    submit_many(f, 100, 200, 1, 0); /* two seconds of work: worth loading it elsewhere */
    tick(f);
    assert_true(dispatched(f, 3) > 0);
}

static void a_steady_load_finds_every_worker_although_little_waits(void **state)
{
    struct fixture *f = *state;
    open_gateway(f, 1);
    open_worker(f, 2, 10000);
    teach(f, 2, 1, 5 * MS);
    open_worker(f, 3, 10000);
    for (uint64_t n = 10; n < 100 && dispatched(f, 3) == 0; n++) {
        submit_many(f, n, 1, 1, 0);
        pass(f, 5 * MS);
        if (n >= 14) /* four are on their way at a time */
            result(f, 2, 1, n - 4, 5 * MS);
    }
    assert_true(dispatched(f, 3) > 0);
}

static void a_request_now_and_then_wakes_no_cold_worker(void **state)
{
    struct fixture *f = *state;
    open_gateway(f, 1);
    open_worker(f, 2, 10000);
    teach(f, 2, 1, 5 * MS);
    open_worker(f, 3, 10000);
    for (uint64_t n = 10; n < 200; n += 2) {
        submit_many(f, n, 2, 1, 0);
        pass(f, 100 * MS);
        core_heard(f->core, f->now, CONTROL(1));
        beat(f, 2, ids(1, n, 2));
        core_heard(f->core, f->now, CONTROL(3));
        result(f, 2, 1, n, 5 * MS);
        result(f, 2, 1, n + 1, 5 * MS);
    }
    assert_int_equal(dispatched(f, 3), 0);
}

/* Two warm workers of known speed, of which 3 then drops the model. */
static void evict_from_one_of_two(struct fixture *f)
{
    f->warm = true;
    open_gateway(f, 1);
    open_worker(f, 2, 1000);
    open_worker(f, 3, 1000);
    submit_many(f, 10, 2, 1, 0); /* one each */
    tick(f);
    for (uint64_t n = 10; n < 12; n++)
        result(f, named(f, ACTION_DISPATCH, DATA(2), n) ? 2 : 3, 1, n, 10 * MS);
    beat_models(f, 2, 1);
    beat_models(f, 3, 0);
    forget(f);
}

static void a_worker_that_dropped_a_model_in_use_is_spared_models_that_others_have(void **state)
{
    struct fixture *f = *state;
    evict_from_one_of_two(f);
    submit_many(f, 100, 1, 1, 0);
    tick(f);
    /* One that nobody has goes to the busy one as well. */
    submit_task(f, 1, (struct core_task){.number = 200, .rows = 1}, 2);
    tick(f);
    assert_int_equal(dispatched(f, 2), 2);
    forget(f);
    submit_many(f, 300, 15, 1, 0); /* waits enough to be spread, and 2 is not full */
    tick(f);
    assert_int_equal(dispatched(f, 3), 0);
    submit_many(f, 400, 50, 1, 0); /* 2 is */
    tick(f);
    assert_true(dispatched(f, 3) > 0);
}

/* A task that only some workers can take: of a numeric mode, by a minor version of the wire. */
static void submit_for(struct fixture *f, uint64_t number, const char *mode, uint32_t minor)
{
    static int body;
    struct core_task task = {.number = number, .rows = 1, .bytes = 100, .body = &body};
    struct core_submit message = {{{1}}, mode, 3, minor, &task, 1, false};
    core_submit(f->core, f->now, DATA(1), &message);
}

#define CROWD 1000 /* more than a search looks at */

static void a_task_of_a_mode_goes_to_the_only_worker_that_has_it(void **state)
{
    struct fixture *f = *state;
    f->limits.sessions_max = CROWD + 8;
    for (int turn = 0; turn < 3; turn++) { /* before, among and behind the others */
        uint32_t only = 2 + (uint32_t)turn * CROWD / 2;
        restart(f);
        f->now += 2 * BEAT;
        open_gateway(f, 1);
        f->minor = 2;
        for (uint32_t n = 2; n <= 2 + CROWD; n++) {
            f->mode = n == only ? "avx512/fast" : "avx2/fast";
            open_worker(f, n, 10);
        }
        forget(f);
        submit_for(f, 1, "avx512/fast", 2);
        submit_for(f, 2, "generic/fast", 2);
        tick(f);
        assert_int_equal(dispatched(f, only), 1);
        assert_int_equal(count(f, ACTION_DISPATCH, 0), 1); /* the other one waits ... */
        assert_int_equal(count(f, ACTION_ANSWER, 0), 0);   /* ... and is not given up */
    }
}

static void a_kind_of_task_goes_to_workers_that_know_it(void **state)
{
    struct fixture *f = *state;
    open_gateway(f, 1);
    f->minor = 1;
    open_worker(f, 2, 10);
    f->minor = 2;
    open_worker(f, 3, 1);
    forget(f);
    submit_for(f, 1, "", 2);
    submit_for(f, 2, "", 2);
    tick(f);
    assert_int_equal(dispatched(f, 3), 1);
    assert_int_equal(dispatched(f, 2), 0);
}

static void tasks_of_a_bundle_have_one_model_and_bounds(void **state)
{
    struct fixture *f = *state;
    const struct core_out *out = core_out(f->core);
    open_gateway(f, 1);
    open_worker(f, 2, 1000);
    teach(f, 2, 1, 1000);
    submit_many(f, 10, 300, 1, 0);
    tick(f);
    assert_int_equal(dispatched(f, 2), 300);
    for (size_t i = 0; i < out->actions_len; i++)
        if (out->actions[i].kind == ACTION_DISPATCH)
            assert_in_range(out->actions[i].len, 1, CORE_TASKS_MAX);
    assert_true(count(f, ACTION_DISPATCH, DATA(2)) <= 4);
    forget(f);
    core_credit(f->core, CONTROL(2), 2000, UINT64_C(1) << 40);
    for (uint64_t n = 1000; n < 1010; n++)
        submit_task(f, 1, (struct core_task){.number = n, .bytes = MIB, .frames = 1, .rows = 1}, 1);
    tick(f);
    assert_int_equal(count(f, ACTION_DISPATCH, DATA(2)), 3); /* of 4 MiB at most */
}

static void interactive_work_overtakes_a_waiting_batch(void **state)
{
    struct fixture *f = *state;
    open_gateway(f, 1);
    open_worker(f, 2, 3);
    teach(f, 2, 1, 1000);
    submit_many(f, 10, 100, 100, 3);
    tick(f);
    assert_int_equal(dispatched(f, 2), 2);
    submit_many(f, 500, 1, 1, 0);
    core_credit(f->core, CONTROL(2), 4, 1000000);
    tick(f);
    assert_int_equal(named(f, ACTION_DISPATCH, DATA(2), 500), 1);
}

static void a_batch_is_not_starved(void **state)
{
    struct fixture *f = *state;
    size_t batch = 0;
    open_gateway(f, 1);
    open_worker(f, 2, 1);
    teach(f, 2, 1, MS);
    submit_many(f, 1000, 20, 1, 3);
    for (uint64_t n = 10; n < 400; n++) {
        submit_many(f, n, 1, 1, 0);
        core_credit(f->core, CONTROL(2), n, 1000000);
        forget(f);
        tick(f);
        const struct action *bundle = last(f, ACTION_DISPATCH, DATA(2));
        for (uint32_t i = 0; i < bundle->len; i++) {
            uint64_t number = core_out(f->core)->rows[bundle->first + i].number;
            batch += number >= 1000;
            result(f, 2, 1, number, MS);
        }
    }
    assert_in_range(batch, 3, 20); /* about one in 65 */
}

static void a_requeued_task_is_first_again(void **state)
{
    struct fixture *f = *state;
    open_gateway(f, 1);
    open_worker(f, 2, 3);
    submit_many(f, 10, 6, 1, 0);
    tick(f);
    core_closed(f->core, f->now, CONTROL(2));
    forget(f);
    open_worker(f, 3, 2);
    tick(f);
    assert_int_equal(named(f, ACTION_DISPATCH, DATA(3), 10), 1);
    assert_int_equal(named(f, ACTION_DISPATCH, DATA(3), 11), 1);
}

static void a_draining_worker_gets_nothing(void **state)
{
    struct fixture *f = *state;
    open_gateway(f, 1);
    open_worker(f, 2, 10);
    core_drain(f->core, CONTROL(2));
    submit(f, 1, 7);
    tick(f);
    assert_int_equal(dispatched(f, 2), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(credit_is_never_exceeded),
        TEST(byte_credit_is_never_exceeded),
        TEST(tasks_of_unknown_length_are_not_hoarded),
        TEST(long_tasks_are_not_hoarded),
        TEST(short_tasks_fill_a_deep_window),
        TEST(the_faster_worker_gets_more),
        TEST(equal_workers_share_equally),
        TEST(ties_rotate),
        TEST(a_warm_worker_is_preferred_until_tasks_wait_for_it),
        TEST(a_steady_load_finds_every_worker_although_little_waits),
        TEST(a_request_now_and_then_wakes_no_cold_worker),
        TEST(a_worker_that_dropped_a_model_in_use_is_spared_models_that_others_have),
        TEST(a_task_of_a_mode_goes_to_the_only_worker_that_has_it),
        TEST(a_kind_of_task_goes_to_workers_that_know_it),
        TEST(tasks_of_a_bundle_have_one_model_and_bounds),
        TEST(interactive_work_overtakes_a_waiting_batch),
        TEST(a_batch_is_not_starved),
        TEST(a_requeued_task_is_first_again),
        TEST(a_draining_worker_gets_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
