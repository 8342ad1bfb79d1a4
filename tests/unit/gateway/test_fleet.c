/* fleet: one result per task, whatever the broker says, twice or never; a broker made of this test
 */
#include "tests/unit/gateway/fleet_world.h"

static void first_result_counts_and_is_acknowledged_after_the_commit(void **state)
{
    uint64_t id;
    (void)state;
    start(100);
    assert_int_equal(submit(0, true, 0, &id), STATUS_OK);
    assert_int_equal(id >> 40, 3); /* the incarnation's block */
    expect(WIRE_SUBMIT);
    assert_int_equal(wire_u64(wire_at(world.in.map, KEY_TASKS, 0), KEY_TASK), id);
    assert_int_equal(world.in.bodies_bytes, 16);
    tell_ids(WIRE_ACCEPTED, id, STATUS_OK);
    tell_ids(WIRE_STARTED, id, STATUS_OK);
    tell_ids(WIRE_CRASHED, id, STATUS_OK);
    tell_ids(WIRE_STARTED, id, STATUS_OK);
    wait_for(&world.starts, 2);
    wait_for(&world.crashes, 1);
    tell_result(id, 1, 8);
    wait_for(&world.results, 1);
    assert_int_equal(world.result->status, STATUS_OK);
    assert_int_equal(world.result->outputs_len, 1);
    float got[2];
    fleet_output_gather(&world.result->outputs[0], got);
    assert_true(got[1] == 2);
    tell_result(id, 2, 8); /* the other worker was only slow */
    assert_int_equal(next(SOON_MS), WIRE_TYPES_END);
    assert_int_equal(world.results, 1);
    fleet_commit(world.fleet, id);
    expect_ids(WIRE_RESULT_ACK, id);
    assert_int_equal(wire_uuid(world.in.map, KEY_WORKER).bytes[0], 1);
    tell_result(id, 2, 8); /* it asks again, and may forget now */
    expect_ids(WIRE_RESULT_ACK, id);
    assert_int_equal(wire_uuid(world.in.map, KEY_WORKER).bytes[0], 2);
    assert_int_equal(world.results, 1);
    assert_int_equal(fleet_view(world.fleet).tasks, 0);
}

static void tasks_wait_for_credit_and_go_out_together(void **state)
{
    uint64_t ids[4];
    (void)state;
    start(2);
    for (int i = 0; i < 4; i++)
        assert_int_equal(submit(0, true, 0, &ids[i]), STATUS_OK);
    expect(WIRE_SUBMIT);
    assert_int_equal(wire_len(world.in.map, KEY_TASKS), 2);
    assert_int_equal(next(SOON_MS), WIRE_TYPES_END);
    assert_int_equal(fleet_view(world.fleet).unsent, 2);
    wire_begin(world.out, WIRE_CREDIT);
    wire_put_u64(world.out, KEY_CREDIT_TASKS, 3);
    wire_put_u64(world.out, KEY_CREDIT_BYTES, 1000000);
    send_on(WIRE_CONTROL);
    expect(WIRE_SUBMIT);
    assert_int_equal(wire_len(world.in.map, KEY_TASKS), 1);
    assert_int_equal(wire_u64(wire_at(world.in.map, KEY_TASKS, 0), KEY_TASK), ids[2]);
    fleet_cancel(world.fleet, ids[3]); /* never sent: nothing to say */
    fleet_cancel(world.fleet, ids[0]);
    expect_ids(WIRE_CANCEL, ids[0]);
    assert_int_equal(world.results, 0);
}

static void what_the_broker_does_not_know_is_sent_again_and_only_that(void **state)
{
    uint64_t first, second;
    (void)state;
    start(100);
    submit(0, true, 0, &first);
    submit(0, true, 0, &second);
    expect(WIRE_SUBMIT);
    tell_heartbeat(1, second); /* said before our SUBMIT had arrived */
    assert_int_equal(next(SOON_MS), WIRE_TYPES_END);
    tell_ids(WIRE_ACCEPTED, first, STATUS_OK);
    assert_int_equal(next(SOON_MS), WIRE_TYPES_END);
    world.skip_ns = 2 * BEAT_MS * NS_PER_MS;
    world.route_lens[WIRE_CONTROL] = 0; /* so much later the link has dialled anew */
    for (int i = 0; !world.route_lens[WIRE_CONTROL] && i < LOOKS; i++)
        next(SOON_MS);
    for (int i = 0; !fleet_view(world.fleet).up && i < LOOKS; i++)
        next(SOON_MS);
    tell_heartbeat(1, second);
    expect(WIRE_SUBMIT);
    assert_int_equal(wire_len(world.in.map, KEY_TASKS), 1);
    assert_int_equal(wire_u64(wire_at(world.in.map, KEY_TASKS, 0), KEY_TASK), second);
    assert_true(flags_of_first() & WIRE_FLAG_RESENT);
}

static void a_kind_of_task_waits_for_a_broker_that_knows_it_and_others_go_on(void **state)
{
    uint64_t train, online, infer;
    (void)state;
    world.minor = wire_kind_minor(WIRE_KIND_TRAIN) - 1;
    start(100);
    assert_int_equal(fleet_view(world.fleet).minor, world.minor);
    assert_int_equal(submit_kind(WIRE_KIND_TRAIN, NULL, 0, true, 0, &train), STATUS_OK);
    assert_int_equal(submit_kind(WIRE_KIND_TRAIN, NULL, 0, false, 0, &online), STATUS_OK);
    assert_int_equal(submit(0, true, 0, &infer), STATUS_OK);
    expect(WIRE_SUBMIT); /* what came last, and nothing else */
    assert_int_equal(wire_len(world.in.map, KEY_TASKS), 1);
    assert_int_equal(wire_u64(wire_at(world.in.map, KEY_TASKS, 0), KEY_TASK), infer);
    assert_int_equal(next(SOON_MS), WIRE_TYPES_END);
    assert_int_equal(world.results, 1); /* who does not wait is told at once */
    assert_int_equal(world.result->id, online);
    assert_int_equal(world.result->status, STATUS_UNAVAILABLE);
    assert_non_null(strstr(world.result->text, "upgrade the brokers"));
    world.minor++; /* the broker is upgraded */
    wire_begin(world.out, WIRE_GOODBYE);
    send_on(WIRE_CONTROL);
    expect(WIRE_SUBMIT);
    assert_int_equal(wire_u64(world.in.map, KEY_KIND), WIRE_KIND_TRAIN);
    assert_int_equal(wire_u64(wire_at(world.in.map, KEY_TASKS, 0), KEY_TASK), train);
    assert_int_equal(fleet_view(world.fleet).minor, world.minor);
}

static void online_requests_are_refused_when_the_fleet_is_full_or_absent(void **state)
{
    uint64_t id;
    (void)state;
    start(100);
    for (int i = 0; i < 6; i++)
        assert_int_equal(submit(0, false, 0, &id), i < 5 ? STATUS_OK : STATUS_BUSY);
    assert_int_equal(submit(0, true, 0, &id), STATUS_OK);
    tell_heartbeat(0, 0);
    for (int i = 0; fleet_view(world.fleet).workers && i < LOOKS; i++)
        next(SOON_MS);
    assert_int_equal(submit(0, false, 0, &id), STATUS_BUSY); /* it may be back in a moment */
    world.skip_ns = 3 * NS_PER_S;
    turn();
    assert_int_equal(submit(0, false, 0, &id), STATUS_UNAVAILABLE);
    assert_int_equal(submit(0, true, 0, &id), STATUS_OK);
}

static void a_tenant_leaves_room_for_others(void **state)
{
    uint64_t id;
    (void)state;
    start(100);
    assert_int_equal(submit_for("lab", 0, true, 0, &id), STATUS_OK); /* lab is known now */
    for (int i = 0; i < 5; i++) /* four times the last place is what it may have */
        assert_int_equal(submit_for("acme", 0, false, 0, &id), i < 4 ? STATUS_OK : STATUS_BUSY);
    assert_int_equal(submit_for("lab", 0, false, 0, &id), STATUS_OK);
    assert_int_equal(submit_for("acme", 0, true, 0, &id), STATUS_OK); /* patient ones wait */
}

static void rejected_busy_is_an_answer_online_and_a_pause_for_patient_tasks(void **state)
{
    uint64_t online, patient;
    (void)state;
    start(100);
    submit(0, false, 0, &online);
    submit(0, true, 0, &patient);
    expect(WIRE_SUBMIT);
    tell_ids(WIRE_REJECTED, online, STATUS_BUSY);
    tell_ids(WIRE_REJECTED, patient, STATUS_BUSY);
    wait_for(&world.results, 1);
    assert_int_equal(world.result->id, online);
    assert_int_equal(world.result->status, STATUS_BUSY);
    world.skip_ns = 4 * NS_PER_S;
    assert_int_equal(next(SOON_MS), WIRE_TYPES_END);
    world.skip_ns = 6 * NS_PER_S;
    expect(WIRE_SUBMIT);
    assert_int_equal(wire_u64(wire_at(world.in.map, KEY_TASKS, 0), KEY_TASK), patient);
    tell_ids(WIRE_REJECTED, patient, STATUS_NO_MODEL);
    wait_for(&world.results, 2);
    assert_int_equal(world.result->status, STATUS_NO_MODEL);
}

static void past_its_budget_a_task_ends_and_is_cancelled(void **state)
{
    uint64_t id;
    (void)state;
    start(100);
    submit(0, false, 1000, &id);
    expect(WIRE_SUBMIT);
    uint64_t left_ms = wire_u64(wire_at(world.in.map, KEY_TASKS, 0), KEY_BUDGET_MS);
    assert_in_range(left_ms, 1, 1000);
    world.skip_ns = 2 * NS_PER_S;
    expect_ids(WIRE_CANCEL, id);
    assert_int_equal(world.results, 1);
    assert_int_equal(world.result->status, STATUS_DEADLINE);
    fleet_commit(world.fleet, id); /* harmless */
    tell_result(id, 1, 8);
    expect_ids(WIRE_RESULT_ACK, id);
    assert_int_equal(world.results, 1);
}

static void expected_task_takes_its_result_or_is_asked_for_its_data(void **state)
{
    uint64_t done = (UINT64_C(2) << 40) + 5, lost = done + 1;
    (void)state;
    fleet_expect(world.fleet, done, &calls, &world);
    fleet_expect(world.fleet, lost, &calls, &world);
    start(100);
    assert_int_equal(next(SOON_MS), WIRE_TYPES_END); /* nothing is sent on suspicion */
    tell_result(done, 1, 8);
    wait_for(&world.results, 1);
    assert_int_equal(world.result->id, done);
    fleet_commit(world.fleet, done);
    expect_ids(WIRE_RESULT_ACK, done);
    tell_heartbeat(1, lost);
    wait_for(&world.unknowns, 1);
    assert_int_equal(world.unknown_id, lost);
    assert_int_equal(submit(lost, true, 0, NULL), STATUS_OK);
    expect(WIRE_SUBMIT);
    assert_true(flags_of_first() & WIRE_FLAG_RESENT);
}

static void result_that_makes_no_sense_is_a_result_that_says_so(void **state)
{
    uint64_t id;
    (void)state;
    start(100);
    submit(0, false, 0, &id);
    expect(WIRE_SUBMIT);
    tell_result(id, 1, 4); /* two floats in 4 octets */
    wait_for(&world.results, 1);
    assert_int_equal(world.result->status, STATUS_INTERNAL);
    assert_int_equal(world.result->outputs_len, 0);
    assert_non_null(strstr(world.result->text, "do not add up"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(first_result_counts_and_is_acknowledged_after_the_commit),
        TEST(tasks_wait_for_credit_and_go_out_together),
        TEST(what_the_broker_does_not_know_is_sent_again_and_only_that),
        TEST(a_kind_of_task_waits_for_a_broker_that_knows_it_and_others_go_on),
        TEST(online_requests_are_refused_when_the_fleet_is_full_or_absent),
        TEST(a_tenant_leaves_room_for_others),
        TEST(rejected_busy_is_an_answer_online_and_a_pause_for_patient_tasks),
        TEST(past_its_budget_a_task_ends_and_is_cancelled),
        TEST(expected_task_takes_its_result_or_is_asked_for_its_data),
        TEST(result_that_makes_no_sense_is_a_result_that_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
