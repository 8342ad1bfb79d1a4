/* test_core_tasks - a task's way from SUBMIT to RESULT_ACK, and every way back */
#include "tests/unit/broker/fixture.h"

static void a_task_is_accepted_dispatched_answered_and_forgotten(void **state)
{
    struct fixture *f = *state;
    open_gateway(f, 1);
    open_worker(f, 2, 4);
    submit(f, 1, 7);
    assert_int_equal(named(f, ACTION_ACCEPTED, CONTROL(1), 7), 1);
    tick(f);
    assert_int_equal(named(f, ACTION_DISPATCH, DATA(2), 7), 1);
    struct core_set set = ids(1, 7, 1);
    core_started(f->core, CONTROL(2), &set, 1);
    assert_int_equal(named(f, ACTION_STARTED, CONTROL(1), 7), 1);
    assert_int_equal(result(f, 2, 1, 7, 1000), DATA(1));
    assert_int_equal(core_leased(f->core), 0);
    assert_int_equal(core_done(f->core), 1);
    assert_int_equal(count(f, ACTION_RELEASE, 0), 1);
    ack(f, 1, 2, 7);
    assert_int_equal(named(f, ACTION_RESULT_ACK, CONTROL(2), 7), 1);
    assert_int_equal(core_done(f->core), 0);
}

static void a_task_submitted_twice_is_accepted_and_queued_once(void **state)
{
    struct fixture *f = *state;
    open_gateway(f, 1);
    submit(f, 1, 7);
    submit(f, 1, 7);
    assert_int_equal(count(f, ACTION_ACCEPTED, CONTROL(1)), 2);
    assert_int_equal(core_waiting(f->core), 1);
    assert_int_equal(count(f, ACTION_RELEASE, 0), 1); /* the second body */
}

static void a_gateway_beyond_its_credit_is_rejected_and_gets_it_back(void **state)
{
    struct fixture *f = *state;
    f->limits.gateway_tasks = 16;
    restart(f);
    open_gateway(f, 1);
    for (uint64_t n = 1; n <= 17; n++)
        submit(f, 1, n);
    assert_int_equal(core_waiting(f->core), 16);
    assert_int_equal(last(f, ACTION_REJECTED, CONTROL(1))->status, STATUS_BUSY);
    assert_int_equal(named(f, ACTION_REJECTED, CONTROL(1), 17), 1);
    open_worker(f, 2, 100);
    tick(f);
    forget(f);
    for (uint64_t n = 1; n <= 2; n++)
        result(f, 2, 1, n, 1000);
    /* 17 came, 14 are left of 16. */
    assert_int_equal(last(f, ACTION_CREDIT, CONTROL(1))->credit_tasks, 17 + 2);
}

static void a_full_table_rejects(void **state)
{
    struct fixture *f = *state;
    f->limits.tasks_max = 20;
    restart(f);
    open_gateway(f, 1);
    for (uint64_t n = 1; n <= 21; n++)
        submit(f, 1, n);
    assert_int_equal(core_waiting(f->core), 20);
    assert_int_equal(named(f, ACTION_REJECTED, CONTROL(1), 21), 1);
    assert_true(last(f, ACTION_REJECTED, CONTROL(1))->retry_ms > 0);
}

static void full_memory_rejects(void **state)
{
    struct fixture *f = *state;
    f->limits.queue_bytes_max = 1000;
    restart(f);
    open_gateway(f, 1);
    submit_task(f, 1, (struct core_task){.number = 1, .bytes = 900}, 1);
    submit_task(f, 1, (struct core_task){.number = 2, .bytes = 101}, 1);
    assert_int_equal(named(f, ACTION_REJECTED, CONTROL(1), 2), 1);
}

static void a_cancelled_task_vanishes_or_is_revoked(void **state)
{
    struct fixture *f = *state;
    struct core_set set = ids(1, 1, 1000);
    open_gateway(f, 1);
    submit(f, 1, 7);
    core_cancel(f->core, CONTROL(1), &set, 1);
    assert_int_equal(core_waiting(f->core), 0);
    assert_int_equal(count(f, ACTION_REVOKE, 0), 0);
    open_worker(f, 2, 4);
    submit(f, 1, 8);
    tick(f);
    core_cancel(f->core, CONTROL(1), &set, 1);
    assert_int_equal(named(f, ACTION_REVOKE, CONTROL(2), 8), 1);
    assert_int_equal(core_leased(f->core), 0);
}

static void a_gateway_cannot_cancel_anothers_task(void **state)
{
    struct fixture *f = *state;
    struct core_set set = ids(1, 7, 1);
    open_gateway(f, 1);
    open_gateway(f, 3);
    submit(f, 1, 7);
    core_cancel(f->core, CONTROL(3), &set, 1);
    core_result_ack(f->core, CONTROL(3), &set, 1, NULL);
    assert_int_equal(core_waiting(f->core), 1);
}

static void a_task_whose_time_runs_out_in_the_queue_is_answered(void **state)
{
    struct fixture *f = *state;
    open_gateway(f, 1);
    submit_task(f, 1, (struct core_task){.number = 7, .budget_ms = 300}, 1);
    pass(f, 200 * MS);
    assert_int_equal(count(f, ACTION_ANSWER, 0), 0);
    assert_true(core_next_ns(f->core) <= f->now + 100 * MS);
    pass(f, 100 * MS);
    assert_int_equal(last(f, ACTION_ANSWER, DATA(1))->status, STATUS_DEADLINE);
    assert_int_equal(core_waiting(f->core), 0);
}

static void a_dispatch_tells_the_time_that_is_left(void **state)
{
    struct fixture *f = *state;
    open_gateway(f, 1);
    submit_task(f, 1, (struct core_task){.number = 7, .budget_ms = 900}, 1);
    pass(f, 400 * MS);
    open_worker(f, 2, 4);
    tick(f);
    const struct action *bundle = last(f, ACTION_DISPATCH, DATA(2));
    assert_int_equal(core_out(f->core)->rows[bundle->first].budget_ms, 500);
}

static void a_crash_is_charged_and_the_second_ends_the_task(void **state)
{
    struct fixture *f = *state;
    open_gateway(f, 1);
    open_worker(f, 2, 40);
    open_worker(f, 3, 40);
    submit(f, 1, 7);
    tick(f);
    uint32_t first = named(f, ACTION_DISPATCH, DATA(2), 7) ? 2 : 3, second = 5 - first;
    forget(f);
    crash(f, first, 1, 7);
    assert_int_equal(named(f, ACTION_CRASHED, CONTROL(1), 7), 1);
    assert_int_equal(named(f, ACTION_DISPATCH, DATA(second), 7), 1); /* another worker */
    const struct action *bundle = last(f, ACTION_DISPATCH, DATA(second));
    const struct dispatch_row *row = &core_out(f->core)->rows[bundle->first];
    assert_int_equal(row->crashes, 1);
    assert_int_equal(row->attempt, 1);
    assert_true(row->flags & CORE_FLAG_ALONE);
    forget(f);
    crash(f, second, 1, 7);
    const struct action *answer = last(f, ACTION_ANSWER, DATA(1));
    assert_int_equal(answer->status, STATUS_CRASHED);
    assert_non_null(strstr(core_out(f->core)->chars + answer->text, "signal 11"));
    assert_int_equal(core_waiting(f->core) + core_leased(f->core), 0);
}

static void a_burnt_task_goes_to_a_cold_worker_rather_than_wait(void **state)
{
    struct fixture *f = *state;
    open_gateway(f, 1);
    open_worker(f, 2, 40);
    for (uint64_t n = 1; n <= 3; n++) { /* worker 2 is warm, and known to be fast */
        submit(f, 1, n);
        tick(f);
        result(f, 2, 1, n, 1000);
    }
    open_worker(f, 3, 40);
    submit(f, 1, 7);
    tick(f);
    assert_int_equal(named(f, ACTION_DISPATCH, DATA(2), 7), 1);
    crash(f, 2, 1, 7);
    assert_int_equal(named(f, ACTION_DISPATCH, DATA(3), 7), 1);
}

/* A row that a gateway took out of a task that crashed is a new task. */
static void a_task_that_comes_with_a_worker_to_avoid_goes_to_another(void **state)
{
    struct fixture *f = *state;
    open_gateway(f, 1);
    for (uint32_t avoid = 2; avoid <= 3; avoid++) {
        open_worker(f, 2, 40);
        open_worker(f, 3, 40);
        submit_task(f, 1, (struct core_task){.number = 7, .crashes = 1, .avoid = peer_id(avoid)},
                    1);
        tick(f);
        assert_int_equal(named(f, ACTION_DISPATCH, DATA(5 - avoid), 7), 1);
        restart(f);
        open_gateway(f, 1);
    }
}

static void a_lonely_worker_gets_its_crashed_task_again(void **state)
{
    struct fixture *f = *state;
    open_gateway(f, 1);
    open_worker(f, 2, 40);
    submit(f, 1, 7);
    tick(f);
    crash(f, 2, 1, 7);
    assert_int_equal(named(f, ACTION_DISPATCH, DATA(2), 7), 2);
}

static void crashes_of_an_earlier_broker_count(void **state)
{
    struct fixture *f = *state;
    open_gateway(f, 1);
    submit_task(f, 1, (struct core_task){.number = 7, .crashes = 2, .attempt = 2}, 1);
    assert_int_equal(last(f, ACTION_ANSWER, DATA(1))->status, STATUS_CRASHED);
}

static void a_task_given_back_is_not_charged(void **state)
{
    struct fixture *f = *state;
    open_gateway(f, 1);
    open_worker(f, 2, 40);
    submit(f, 1, 7);
    tick(f);
    nack(f, 2, 1, 7, STATUS_BUSY);
    assert_int_equal(named(f, ACTION_DISPATCH, DATA(2), 7), 1); /* it said that it is busy */
    assert_int_equal(core_waiting(f->core), 1);
    forget(f);
    pass(f, f->limits.retry_ms * MS + 200 * MS);
    assert_int_equal(named(f, ACTION_DISPATCH, DATA(2), 7), 1);
    const struct action *bundle = last(f, ACTION_DISPATCH, DATA(2));
    assert_int_equal(core_out(f->core)->rows[bundle->first].attempt, 0);
}

static void a_model_that_one_worker_refuses_goes_to_another(void **state)
{
    struct fixture *f = *state;
    open_gateway(f, 1);
    open_worker(f, 2, 40);
    submit(f, 1, 7);
    tick(f);
    open_worker(f, 3, 40);
    nack(f, 2, 1, 7, STATUS_BAD_MODEL);
    assert_int_equal(named(f, ACTION_DISPATCH, DATA(3), 7), 1);
    assert_int_equal(count(f, ACTION_ANSWER, 0), 0);
}

static void a_model_that_every_worker_refuses_is_answered_with_the_reason(void **state)
{
    struct fixture *f = *state;
    open_gateway(f, 1);
    open_worker(f, 2, 40);
    submit(f, 1, 7);
    submit(f, 1, 8);
    tick(f);
    nack(f, 2, 1, 7, STATUS_BAD_MODEL);
    const struct action *answer = last(f, ACTION_ANSWER, DATA(1));
    assert_int_equal(answer->status, STATUS_BAD_MODEL);
    assert_string_equal(core_out(f->core)->chars + answer->text, "because");
}

static void what_has_no_deadline_waits_while_workers_cannot_load_its_model(void **state)
{
    struct fixture *f = *state;
    open_gateway(f, 1);
    open_worker(f, 2, 40);
    submit(f, 1, 7);
    submit_task(f, 1, (struct core_task){.number = 8, .rows = 1, .budget_ms = 9000}, 1);
    tick(f);
    nack(f, 2, 1, 7, STATUS_NO_MODEL);
    nack(f, 2, 1, 8, STATUS_NO_MODEL);
    assert_int_equal(named(f, ACTION_ANSWER, DATA(1), 7), 0);
    assert_int_equal(named(f, ACTION_ANSWER, DATA(1), 8), 1);
    forget(f);
    uint64_t refused_ns = f->now + f->limits.refuse_ms * MS;
    while (f->now < refused_ns + 2 * BEAT && !named(f, ACTION_DISPATCH, DATA(2), 7)) {
        pass(f, BEAT / 2);
        beat(f, 1, ids(1, 7, 1));
        beat(f, 2, ids(1, 7, 0));
    }
    assert_true(f->now >= refused_ns);
    assert_int_equal(named(f, ACTION_DISPATCH, DATA(2), 7), 1);
}

static void a_late_result_of_a_slow_worker_is_taken_and_the_other_may_stop(void **state)
{
    struct fixture *f = *state;
    open_gateway(f, 1);
    open_worker(f, 2, 4);
    submit(f, 1, 7);
    tick(f);
    core_closed(f->core, f->now, CONTROL(2));
    open_worker(f, 3, 4);
    tick(f);
    assert_int_equal(named(f, ACTION_DISPATCH, DATA(3), 7), 1);
    open_worker_with(f, 2, ids(1, 7, 1)); /* it was only cut off, and has finished */
    assert_int_equal(result(f, 2, 1, 7, 1000), DATA(1));
    assert_int_equal(named(f, ACTION_REVOKE, CONTROL(3), 7), 1);
    assert_int_equal(result(f, 3, 1, 7, 1000), DATA(1)); /* passed on: the gateway sorts it out */
    assert_int_equal(core_counters(f->core)->tasks_finished, 1);
    assert_int_equal(core_counters(f->core)->results_late, 1);
}

static void a_result_without_its_gateway_waits_at_the_worker(void **state)
{
    struct fixture *f = *state;
    open_gateway(f, 1);
    open_worker(f, 2, 4);
    submit(f, 1, 7);
    tick(f);
    core_closed(f->core, f->now, CONTROL(1));
    assert_int_equal(result(f, 2, 1, 7, 1000), 0);
    assert_int_equal(core_counters(f->core)->results_unclaimed, 1);
    open_gateway(f, 1);
    assert_int_equal(result(f, 2, 1, 7, 1000), DATA(1));
}

static void a_task_is_started_only_so_often(void **state)
{
    struct fixture *f = *state;
    f->limits.attempts_max = 3;
    restart(f);
    open_gateway(f, 1);
    submit(f, 1, 7);
    for (int i = 0; i < 3; i++) {
        open_worker(f, 2, 4);
        tick(f);
        struct core_set set = ids(1, 7, 1);
        core_started(f->core, CONTROL(2), &set, 1);
        core_closed(f->core, f->now, CONTROL(2));
    }
    assert_int_equal(last(f, ACTION_ANSWER, DATA(1))->status, STATUS_CRASHED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_task_is_accepted_dispatched_answered_and_forgotten),
        TEST(a_task_submitted_twice_is_accepted_and_queued_once),
        TEST(a_gateway_beyond_its_credit_is_rejected_and_gets_it_back),
        TEST(a_full_table_rejects),
        TEST(full_memory_rejects),
        TEST(a_cancelled_task_vanishes_or_is_revoked),
        TEST(a_gateway_cannot_cancel_anothers_task),
        TEST(a_task_whose_time_runs_out_in_the_queue_is_answered),
        TEST(a_dispatch_tells_the_time_that_is_left),
        TEST(a_crash_is_charged_and_the_second_ends_the_task),
        TEST(a_burnt_task_goes_to_a_cold_worker_rather_than_wait),
        TEST(a_task_that_comes_with_a_worker_to_avoid_goes_to_another),
        TEST(a_lonely_worker_gets_its_crashed_task_again),
        TEST(crashes_of_an_earlier_broker_count),
        TEST(a_task_given_back_is_not_charged),
        TEST(a_model_that_one_worker_refuses_goes_to_another),
        TEST(a_model_that_every_worker_refuses_is_answered_with_the_reason),
        TEST(what_has_no_deadline_waits_while_workers_cannot_load_its_model),
        TEST(a_late_result_of_a_slow_worker_is_taken_and_the_other_may_stop),
        TEST(a_result_without_its_gateway_waits_at_the_worker),
        TEST(a_task_is_started_only_so_often),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
