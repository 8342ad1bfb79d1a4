/* test_core_reconcile - after a break, what peers list decides */
#include "tests/unit/broker/fixture.h"

static void a_task_not_listed_in_two_heartbeats_is_queued_again(void **state)
{
    struct fixture *f = *state;
    open_gateway(f, 1);
    open_worker(f, 2, 40);
    submit(f, 1, 7);
    tick(f);
    beat(f, 2, ids(1, 1, 0)); /* crossed the DISPATCH on the way */
    assert_int_equal(core_leased(f->core), 1);
    forget(f);
    pass(f, BEAT);
    beat(f, 2, ids(1, 1, 0));
    assert_int_equal(core_counters(f->core)->tasks_unlisted, 1);
    assert_int_equal(named(f, ACTION_DISPATCH, DATA(2), 7), 1); /* and sent again, uncharged */
    const struct action *bundle = last(f, ACTION_DISPATCH, DATA(2));
    assert_int_equal(core_out(f->core)->rows[bundle->first].attempt, 0);
}

static void a_listed_task_stays_with_its_worker(void **state)
{
    struct fixture *f = *state;
    open_gateway(f, 1);
    open_worker(f, 2, 40);
    submit(f, 1, 7);
    for (int i = 0; i < 40; i++) { /* four times the lease */
        pass(f, BEAT);
        core_heard(f->core, f->now, CONTROL(1));
        beat(f, 2, ids(1, 7, 1));
    }
    assert_int_equal(core_leased(f->core), 1);
    assert_int_equal(core_counters(f->core)->tasks_dispatched, 1);
}

static void a_cut_list_is_not_read_as_missing_until_the_lease_ends(void **state)
{
    struct fixture *f = *state;
    struct task_range ranges[CORE_RANGES_MAX];
    struct core_set held = {peer_id(1), ranges, CORE_RANGES_MAX};
    for (size_t i = 0; i < CORE_RANGES_MAX; i++)
        ranges[i] = (struct task_range){1000 + 2 * i, 1};
    open_gateway(f, 1);
    open_worker(f, 2, 40);
    submit(f, 1, 7);
    tick(f);
    for (uint64_t i = 0; i < f->limits.lease_ms * MS / BEAT - 1; i++) {
        pass(f, BEAT);
        beat(f, 2, held);
    }
    assert_int_equal(core_counters(f->core)->tasks_unlisted, 0);
    pass(f, BEAT);
    beat(f, 2, held);
    assert_int_equal(core_counters(f->core)->tasks_unlisted, 1);
}

static void a_worker_that_reconnects_keeps_its_lease(void **state)
{
    struct fixture *f = *state;
    open_gateway(f, 1);
    open_worker(f, 2, 40);
    submit(f, 1, 7);
    submit(f, 1, 8);
    tick(f);
    assert_int_equal(core_leased(f->core), 2);
    forget(f);
    open_worker_with(f, 2, ids(1, 7, 1)); /* 8 never reached it */
    assert_int_equal(core_leased(f->core), 1);
    core_credit(f->core, CONTROL(2), 40, 100000);
    tick(f);
    assert_int_equal(named(f, ACTION_DISPATCH, DATA(2), 7), 0);
    assert_int_equal(named(f, ACTION_DISPATCH, DATA(2), 8), 1);
}

static void a_worker_that_comes_back_later_gets_its_waiting_task_back(void **state)
{
    struct fixture *f = *state;
    open_gateway(f, 1);
    open_worker(f, 2, 40);
    submit(f, 1, 7);
    tick(f);
    core_closed(f->core, f->now, CONTROL(2));
    assert_int_equal(core_waiting(f->core), 1);
    open_worker_with(f, 2, ids(1, 7, 1));
    assert_int_equal(core_waiting(f->core), 0);
    assert_int_equal(core_leased(f->core), 1);
    assert_int_equal(core_counters(f->core)->tasks_adopted, 1);
}

static void a_new_broker_adopts_what_a_worker_lists(void **state)
{
    struct fixture *f = *state;
    restart(f);
    open_worker_with(f, 2, ids(1, 5, 10));
    core_credit(f->core, CONTROL(2), 40, 100000);
    open_gateway(f, 1);
    submit_task(f, 1, (struct core_task){.number = 7, .flags = CORE_FLAG_RESENT}, 1);
    assert_int_equal(core_leased(f->core), 1);
    tick(f);
    assert_int_equal(count(f, ACTION_DISPATCH, 0), 0);
    assert_int_equal(result(f, 2, 1, 7, 1000), DATA(1));
}

static void a_new_broker_holds_resent_tasks_back_for_two_heartbeats(void **state)
{
    struct fixture *f = *state;
    restart(f);
    open_gateway(f, 1);
    open_worker(f, 3, 40);
    submit_task(f, 1, (struct core_task){.number = 7, .flags = CORE_FLAG_RESENT}, 1);
    submit_task(f, 1, (struct core_task){.number = 8, .flags = CORE_FLAG_RESENT}, 1);
    submit(f, 1, 9); /* a new one need not wait */
    tick(f);
    assert_int_equal(named(f, ACTION_DISPATCH, DATA(3), 9), 1);
    assert_int_equal(dispatched(f, 3), 1);
    pass(f, BEAT);
    open_worker_with(f, 2, ids(1, 7, 1)); /* comes late, and runs one of them */
    pass(f, BEAT + 100 * MS);
    assert_int_equal(named(f, ACTION_DISPATCH, 0, 7), 0);
    assert_int_equal(named(f, ACTION_DISPATCH, 0, 8), 1);
}

static void an_idle_worker_is_asked_whether_it_has_a_task_that_is_sent_again(void **state)
{
    struct fixture *f = *state;
    open_gateway(f, 1);
    open_worker(f, 2, 40);
    beat_slowly(f, 1, 5 * BEAT / MS);
    beat_slowly(f, 2, 5 * BEAT / MS);
    pass(f, 4 * BEAT + 500 * MS);
    forget(f);
    submit_task(f, 1, (struct core_task){.number = 7, .flags = CORE_FLAG_RESENT}, 1);
    pass(f, 300 * MS);
    assert_int_equal(last(f, ACTION_HEARTBEAT, CONTROL(2))->next_ms, BEAT / MS);
    assert_int_equal(dispatched(f, 2), 0);
    beat_slowly(f, 2, 5 * BEAT / MS); /* it has none */
    pass(f, 200 * MS);
    assert_int_equal(dispatched(f, 2), 1);
}

static void a_gateway_hears_which_of_its_tasks_are_unknown(void **state)
{
    struct fixture *f = *state;
    open_gateway(f, 1);
    submit(f, 1, 7);
    forget(f);
    beat(f, 1, ids(1, 5, 4)); /* 5 to 8 */
    assert_int_equal(named(f, ACTION_HEARTBEAT, CONTROL(1), 5), 1);
    assert_int_equal(named(f, ACTION_HEARTBEAT, CONTROL(1), 6), 1);
    assert_int_equal(named(f, ACTION_HEARTBEAT, CONTROL(1), 7), 0);
    assert_int_equal(named(f, ACTION_HEARTBEAT, CONTROL(1), 8), 1);
}

static void a_gateway_hears_it_as_soon_as_its_session_is_open(void **state)
{
    struct fixture *f = *state;
    hello(f, CORE_GATEWAY, 1, 1, ids(1, 5, 4));
    assert_int_equal(count(f, ACTION_HEARTBEAT, 0), 0);
    tie(f, 1, 1);
    assert_int_equal(named(f, ACTION_HEARTBEAT, CONTROL(1), 8), 1);
}

static void an_absurd_list_is_answered_within_bounds(void **state)
{
    struct fixture *f = *state;
    open_gateway(f, 1);
    open_worker(f, 2, 4);
    beat(f, 1, ids(1, 5, UINT64_MAX - 10));
    beat(f, 2, ids(1, 5, UINT64_MAX - 10));
    assert_int_equal(core_counters(f->core)->tasks_unknown, CORE_IDS_MAX);
}

static void a_restarted_gateway_drops_what_it_does_not_await(void **state)
{
    struct fixture *f = *state;
    open_gateway(f, 1);
    open_worker(f, 2, 2);
    for (uint64_t n = 1; n <= 4; n++) /* 1 and 2 are leased */
        submit(f, 1, n);
    tick(f);
    forget(f);
    hello(f, CORE_GATEWAY, 1, 2, ids(1, 2, 2));
    tie(f, 1, 2);
    assert_int_equal(named(f, ACTION_REVOKE, CONTROL(2), 1), 1);
    assert_int_equal(named(f, ACTION_REVOKE, CONTROL(2), 2), 0);
    assert_int_equal(core_leased(f->core), 1);
    assert_int_equal(core_waiting(f->core), 1);
}

static void a_gateway_that_only_reconnects_keeps_everything(void **state)
{
    struct fixture *f = *state;
    open_gateway(f, 1);
    submit(f, 1, 7);
    open_gateway(f, 1);
    assert_int_equal(core_waiting(f->core), 1);
}

static void a_result_that_its_worker_lost_is_unknown_again(void **state)
{
    struct fixture *f = *state;
    open_gateway(f, 1);
    open_worker(f, 2, 4);
    submit(f, 1, 7);
    tick(f);
    result(f, 2, 1, 7, 1000);
    core_closed(f->core, f->now, CONTROL(2));
    forget(f);
    beat(f, 1, ids(1, 7, 1));
    assert_int_equal(named(f, ACTION_HEARTBEAT, CONTROL(1), 7), 1);
}

static void a_result_that_its_worker_dropped_is_forgotten(void **state)
{
    struct fixture *f = *state;
    open_gateway(f, 1);
    open_worker(f, 2, 4);
    submit(f, 1, 7);
    tick(f);
    result(f, 2, 1, 7, 1000);
    beat(f, 2, ids(1, 7, 1));
    beat(f, 2, ids(1, 1, 0));
    assert_int_equal(core_done(f->core), 1);
    beat(f, 2, ids(1, 1, 0));
    assert_int_equal(core_done(f->core), 0);
}

static void results_without_acknowledgement_have_a_bound(void **state)
{
    struct fixture *f = *state;
    f->limits.done_max = 16;
    restart(f);
    open_gateway(f, 1);
    open_worker(f, 2, 100);
    for (uint64_t n = 1; n <= 40; n++) {
        submit(f, 1, n);
        tick(f);
        result(f, 2, 1, n, 1000);
    }
    assert_int_equal(core_done(f->core), 16);
    assert_int_equal(core_counters(f->core)->results_forgotten, 24);
}

static void a_task_that_only_a_worker_knows_can_be_cancelled(void **state)
{
    struct fixture *f = *state;
    struct core_set set = ids(1, 7, 1);
    open_worker_with(f, 2, ids(1, 5, 10));
    open_gateway(f, 1);
    core_cancel(f->core, CONTROL(1), &set, 1);
    assert_int_equal(named(f, ACTION_REVOKE, CONTROL(2), 7), 1);
}

static void an_adopted_task_with_its_crashes_used_up_does_not_wait_again(void **state)
{
    struct fixture *f = *state;
    open_worker_with(f, 2, ids(1, 7, 1));
    open_gateway(f, 1);
    submit_task(f, 1, (struct core_task){.number = 7, .crashes = 2, .attempt = 3}, 1);
    assert_int_equal(core_leased(f->core), 1); /* it runs already: let it */
    core_closed(f->core, f->now, CONTROL(2));
    assert_int_equal(core_waiting(f->core), 0);
    assert_int_equal(last(f, ACTION_ANSWER, DATA(1))->status, STATUS_CRASHED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_task_not_listed_in_two_heartbeats_is_queued_again),
        TEST(a_listed_task_stays_with_its_worker),
        TEST(a_cut_list_is_not_read_as_missing_until_the_lease_ends),
        TEST(a_worker_that_reconnects_keeps_its_lease),
        TEST(a_worker_that_comes_back_later_gets_its_waiting_task_back),
        TEST(a_new_broker_adopts_what_a_worker_lists),
        TEST(a_new_broker_holds_resent_tasks_back_for_two_heartbeats),
        TEST(an_idle_worker_is_asked_whether_it_has_a_task_that_is_sent_again),
        TEST(a_gateway_hears_which_of_its_tasks_are_unknown),
        TEST(a_gateway_hears_it_as_soon_as_its_session_is_open),
        TEST(an_absurd_list_is_answered_within_bounds),
        TEST(a_restarted_gateway_drops_what_it_does_not_await),
        TEST(a_gateway_that_only_reconnects_keeps_everything),
        TEST(a_result_that_its_worker_lost_is_unknown_again),
        TEST(a_result_that_its_worker_dropped_is_forgotten),
        TEST(results_without_acknowledgement_have_a_bound),
        TEST(a_task_that_only_a_worker_knows_can_be_cancelled),
        TEST(an_adopted_task_with_its_crashes_used_up_does_not_wait_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
