/* test_core_sessions - who is there, and for how long */
#include "tests/unit/broker/fixture.h"

static void two_hellos_open_a_session(void **state)
{
    struct fixture *f = *state;
    hello(f, CORE_WORKER, 1, 1, ids(1, 1, 0));
    assert_int_equal(count(f, ACTION_WELCOME, CONTROL(1)), 1);
    assert_int_equal(core_workers(f->core), 0); /* not yet: data is missing */
    tie(f, 1, 1);
    assert_int_equal(count(f, ACTION_WELCOME, DATA(1)), 1);
    assert_int_equal(count(f, ACTION_OPENED, 0), 1);
    assert_int_equal(core_workers(f->core), 1);
}

static void a_data_connection_needs_the_token(void **state)
{
    struct fixture *f = *state;
    struct uuid uuid = peer_id(1);
    hello(f, CORE_WORKER, 1, 1, ids(1, 1, 0));
    uint64_t token = last(f, ACTION_WELCOME, CONTROL(1))->token;
    core_attach(f->core, f->now, DATA(1), &uuid, 1, token + 2);
    assert_int_equal(last(f, ACTION_ERROR, DATA(1))->status, STATUS_HELLO_NEEDED);
    core_attach(f->core, f->now, DATA(1), &uuid, 2, token); /* another incarnation */
    assert_int_equal(count(f, ACTION_ERROR, DATA(1)), 2);
    assert_int_equal(core_workers(f->core), 0);
}

static void a_stranger_is_told_to_say_hello(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(core_heard(f->core, f->now, CONTROL(9)), 0);
    assert_int_equal(last(f, ACTION_ERROR, CONTROL(9))->status, STATUS_HELLO_NEEDED);
}

static void a_second_hello_of_a_peer_ends_its_older_session(void **state)
{
    struct fixture *f = *state;
    struct core_peer peer;
    struct core_hello again = {
        .role = CORE_WORKER, .uuid = peer_id(1), .incarnation = 2, .name = "", .mode = ""};
    open_worker(f, 1, 4);
    core_hello(f->core, f->now, 77, &again);
    assert_int_equal(last(f, ACTION_LOST, 0)->status, STATUS_CONFLICT);
    assert_false(core_peer_of(f->core, CONTROL(1), &peer));
    assert_true(core_peer_of(f->core, 77, &peer));
    assert_int_equal(core_workers(f->core), 0);
}

static void three_missed_heartbeats_end_a_session(void **state)
{
    struct fixture *f = *state;
    struct core_peer peer;
    open_worker(f, 1, 4);
    pass(f, 3 * BEAT);
    assert_true(core_peer_of(f->core, CONTROL(1), &peer));
    pass(f, BEAT / 2);
    assert_false(core_peer_of(f->core, CONTROL(1), &peer));
    assert_int_equal(count(f, ACTION_GOODBYE, CONTROL(1)), 1);
}

static void any_message_counts_as_a_heartbeat(void **state)
{
    struct fixture *f = *state;
    open_worker(f, 1, 4);
    for (int i = 0; i < 5; i++) {
        pass(f, 2 * BEAT);
        assert_int_equal(core_heard(f->core, f->now, i % 2 ? CONTROL(1) : DATA(1)), CORE_WORKER);
    }
}

static void a_broker_that_stood_still_blames_nobody(void **state)
{
    struct fixture *f = *state;
    struct core_peer peer;
    open_worker(f, 1, 4);
    pass(f, BEAT);
    uint64_t stalls = core_counters(f->core)->stalls;
    f->now += 20 * BEAT; /* stopped, or the machine was */
    tick(f);
    pass(f, BEAT);
    assert_true(core_peer_of(f->core, CONTROL(1), &peer));
    pass(f, 2 * BEAT); /* but the silence afterwards is its own */
    assert_false(core_peer_of(f->core, CONTROL(1), &peer));
    assert_int_equal(core_counters(f->core)->stalls, stalls + 1);
}

static void heartbeats_go_out_and_tell_how_many_workers(void **state)
{
    struct fixture *f = *state;
    open_gateway(f, 1);
    open_worker(f, 2, 4);
    pass(f, 200 * MS); /* the news of the worker */
    forget(f);
    pass(f, BEAT + 100 * MS);
    assert_int_equal(count(f, ACTION_HEARTBEAT, CONTROL(1)), 1);
    assert_int_equal(last(f, ACTION_HEARTBEAT, CONTROL(1))->workers, 1);
}

static void a_new_worker_is_told_to_gateways_at_once(void **state)
{
    struct fixture *f = *state;
    open_gateway(f, 1);
    pass(f, BEAT + 200 * MS);
    beat_slowly(f, 1, 5 * BEAT / MS);
    forget(f);
    open_worker(f, 2, 4);
    pass(f, 200 * MS);
    assert_int_equal(last(f, ACTION_HEARTBEAT, CONTROL(1))->workers, 1);
}

static void an_idle_peer_is_judged_by_the_heartbeat_that_it_promised(void **state)
{
    struct fixture *f = *state;
    struct core_peer peer;
    open_worker(f, 1, 4);
    beat_slowly(f, 1, 5 * BEAT / MS);
    pass(f, 14 * BEAT);
    assert_true(core_peer_of(f->core, CONTROL(1), &peer));
    /* Ours come even more slowly, and say so. */
    assert_int_equal(count(f, ACTION_HEARTBEAT, CONTROL(1)), 1);
    assert_int_equal(last(f, ACTION_HEARTBEAT, CONTROL(1))->next_ms, 15 * BEAT / MS);
    pass(f, 2 * BEAT);
    assert_false(core_peer_of(f->core, CONTROL(1), &peer));
}

static void a_promise_beyond_idle_ms_counts_as_idle_ms(void **state)
{
    struct fixture *f = *state;
    struct core_peer peer;
    open_worker(f, 1, 4);
    beat_slowly(f, 1, 60000);
    pass(f, 16 * BEAT);
    assert_false(core_peer_of(f->core, CONTROL(1), &peer));
}

static void a_peer_that_quickens_is_answered_at_once(void **state)
{
    struct fixture *f = *state;
    open_worker(f, 1, 4);
    pass(f, BEAT + 200 * MS);
    beat_slowly(f, 1, 5 * BEAT / MS);
    pass(f, BEAT);
    forget(f);
    beat_slowly(f, 1, 0);
    pass(f, 200 * MS);
    assert_int_equal(last(f, ACTION_HEARTBEAT, CONTROL(1))->next_ms, BEAT / MS);
    pass(f, 3 * BEAT);
    struct core_peer peer;
    assert_false(core_peer_of(f->core, CONTROL(1), &peer));
}

static void an_idle_worker_must_answer_the_work_that_it_is_given(void **state)
{
    struct fixture *f = *state;
    struct core_peer peer;
    open_gateway(f, 1);
    open_worker(f, 2, 4);
    beat_slowly(f, 1, 5 * BEAT / MS);
    beat_slowly(f, 2, 5 * BEAT / MS);
    pass(f, 4 * BEAT);
    submit(f, 1, 1);
    tick(f);
    assert_int_equal(dispatched(f, 2), 1);
    pass(f, BEAT);
    assert_true(core_peer_of(f->core, CONTROL(2), &peer)); /* not for its silence before */
    pass(f, 2 * BEAT + 200 * MS);
    assert_false(core_peer_of(f->core, CONTROL(2), &peer));
}

static void a_worker_with_leases_is_judged_by_every_heartbeat_whatever_it_promises(void **state)
{
    struct fixture *f = *state;
    struct core_peer peer;
    open_gateway(f, 1);
    open_worker(f, 2, 4);
    beat_slowly(f, 2, 5 * BEAT / MS);
    submit(f, 1, 1);
    tick(f);
    assert_int_equal(dispatched(f, 2), 1);
    beat_slowly(f, 2, 5 * BEAT / MS); /* the DISPATCH is still on its way to it */
    forget(f);
    pass(f, 2 * BEAT + 200 * MS);
    assert_true(core_peer_of(f->core, CONTROL(2), &peer));
    assert_int_equal(count(f, ACTION_HEARTBEAT, CONTROL(2)), 3); /* one at once */
    assert_int_equal(last(f, ACTION_HEARTBEAT, CONTROL(2))->next_ms, BEAT / MS);
    pass(f, BEAT);
    assert_false(core_peer_of(f->core, CONTROL(2), &peer));
}

static void too_many_sessions_are_refused(void **state)
{
    struct fixture *f = *state;
    for (uint32_t n = 1; n <= f->limits.sessions_max; n++)
        open_worker(f, n, 1);
    hello(f, CORE_WORKER, 100, 1, ids(1, 1, 0));
    assert_int_equal(last(f, ACTION_ERROR, CONTROL(100))->status, STATUS_BUSY);
    assert_int_equal(core_counters(f->core)->sessions_refused, 1);
}

static void a_closed_connection_queues_its_tasks_again_at_once(void **state)
{
    struct fixture *f = *state;
    open_gateway(f, 1);
    open_worker(f, 2, 4);
    submit(f, 1, 7);
    tick(f);
    assert_int_equal(named(f, ACTION_DISPATCH, DATA(2), 7), 1);
    open_worker(f, 3, 4);
    core_closed(f->core, f->now, DATA(2));
    assert_int_equal(last(f, ACTION_LOST, 0)->count, 1);
    tick(f);
    assert_int_equal(named(f, ACTION_DISPATCH, DATA(3), 7), 1);
}

static void a_gateways_tasks_outlive_its_session_for_a_while(void **state)
{
    struct fixture *f = *state;
    open_gateway(f, 1);
    submit(f, 1, 7);
    core_closed(f->core, f->now, CONTROL(1));
    pass(f, f->limits.gateway_keep_ms * MS - BEAT);
    assert_int_equal(core_waiting(f->core), 1);
    pass(f, 2 * BEAT);
    assert_int_equal(core_waiting(f->core), 0);
    assert_int_equal(count(f, ACTION_RELEASE, 0), 1);
}

static void a_draining_broker_says_so_and_takes_nothing(void **state)
{
    struct fixture *f = *state;
    open_gateway(f, 1);
    core_drain_all(f->core);
    assert_int_equal(count(f, ACTION_DRAIN, CONTROL(1)), 1);
    submit(f, 1, 7);
    assert_int_equal(last(f, ACTION_REJECTED, CONTROL(1))->status, STATUS_UNAVAILABLE);
    assert_true(core_idle(f->core));
}

static void an_expelled_peer_hears_why(void **state)
{
    struct fixture *f = *state;
    struct core_peer peer;
    open_worker(f, 1, 4);
    core_expel(f->core, f->now, DATA(1), STATUS_MALFORMED, "garbage");
    assert_int_equal(last(f, ACTION_GOODBYE, CONTROL(1))->status, STATUS_MALFORMED);
    assert_false(core_peer_of(f->core, CONTROL(1), &peer));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(two_hellos_open_a_session),
        TEST(a_data_connection_needs_the_token),
        TEST(a_stranger_is_told_to_say_hello),
        TEST(a_second_hello_of_a_peer_ends_its_older_session),
        TEST(three_missed_heartbeats_end_a_session),
        TEST(any_message_counts_as_a_heartbeat),
        TEST(a_broker_that_stood_still_blames_nobody),
        TEST(heartbeats_go_out_and_tell_how_many_workers),
        TEST(a_new_worker_is_told_to_gateways_at_once),
        TEST(an_idle_peer_is_judged_by_the_heartbeat_that_it_promised),
        TEST(a_promise_beyond_idle_ms_counts_as_idle_ms),
        TEST(a_peer_that_quickens_is_answered_at_once),
        TEST(an_idle_worker_must_answer_the_work_that_it_is_given),
        TEST(a_worker_with_leases_is_judged_by_every_heartbeat_whatever_it_promises),
        TEST(too_many_sessions_are_refused),
        TEST(a_closed_connection_queues_its_tasks_again_at_once),
        TEST(a_gateways_tasks_outlive_its_session_for_a_while),
        TEST(a_draining_broker_says_so_and_takes_nothing),
        TEST(an_expelled_peer_hears_why),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
