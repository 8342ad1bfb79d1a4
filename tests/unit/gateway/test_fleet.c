/* fleet: one result per task, whatever the broker says, twice or never; a broker made of this test
 */
#include "tests/unit/common/testing.h"

#include "common/clock.h"
#include "common/netopts.h"
#include "gateway/fleet.h"

#define BEAT_MS 60000 /* the link stays quiet: the test says when time passes */

/* The broker's side, and what the gateway's owner hears. Everything runs on this thread. */
struct world {
    void *zmq;
    void *control, *data; /* ROUTERs */
    uint16_t data_port;
    uint8_t routes[2][WIRE_ROUTE_MAX]; /* the gateway's, on control and data */
    size_t route_lens[2];
    uint32_t sequences[2];
    uint64_t credit; /* tasks, said in WELCOME */
    struct wire_out *out;
    struct wire_in in;
    struct front *front;
    struct fleet *fleet;
    struct uuid gateway;
    uint64_t skip_ns; /* added to the clock */
    unsigned results, unknowns, starts, crashes;
    struct fleet_result *result; /* the last one */
    uint64_t unknown_id;
};

static struct world world;

static void on_result(void *arg, struct fleet_result *result)
{
    struct world *self = arg;
    self->results++;
    fleet_result_free(&self->result);
    self->result = result;
}

static void on_started(void *arg, uint64_t id)
{
    (void)id;
    ((struct world *)arg)->starts++;
}

static void on_crashed(void *arg, uint64_t id, const char *text)
{
    (void)id;
    assert_string_equal(text, "boom");
    ((struct world *)arg)->crashes++;
}

static void on_unknown(void *arg, uint64_t id)
{
    ((struct world *)arg)->unknowns++;
    ((struct world *)arg)->unknown_id = id;
}

static const struct fleet_calls calls = {on_result, on_started, on_crashed, on_unknown, NULL};

/* --- the broker ----------------------------------------------------------------------------------
 */

static void *bind_router(size_t frame_max, uint16_t *port)
{
    char bound[NET_ADDRESS_MAX];
    struct error why;
    void *socket = zmq_socket(world.zmq, ZMQ_ROUTER);
    assert_int_equal(net_options(socket, NET_BIND, frame_max, &why), STATUS_OK);
    assert_int_equal(net_bind(socket, "tcp://127.0.0.1:*", bound, &why), STATUS_OK);
    *port = (uint16_t)atoi(strrchr(bound, ':') + 1);
    return socket;
}

static void send_on(enum wire_plane plane)
{
    void *socket = plane == WIRE_CONTROL ? world.control : world.data;
    assert_int_equal(wire_send(world.out, socket, world.routes[plane], world.route_lens[plane],
                               &world.sequences[plane]),
                     STATUS_OK);
}

static void welcome(enum wire_plane plane)
{
    static const struct uuid broker = {{9}};
    wire_begin(world.out, WIRE_WELCOME);
    wire_put_u64(world.out, KEY_SESSION, 77);
    wire_put_uuid(world.out, KEY_BROKER, &broker);
    wire_put_u64(world.out, KEY_VERSION_MAX, 0);
    wire_put_u64(world.out, KEY_DATA_PORT, world.data_port);
    wire_put_u64(world.out, KEY_HEARTBEAT_MS, BEAT_MS);
    wire_put_u64(world.out, KEY_LEASE_MS, 10000);
    wire_put_u64(world.out, KEY_MESSAGE_MAX, WIRE_MESSAGE_MAX);
    wire_put_u64(world.out, KEY_CREDIT_TASKS, world.credit);
    wire_put_u64(world.out, KEY_CREDIT_BYTES, 1000000);
    send_on(plane);
}

enum { SOON_MS = 300, LONG_MS = 20000, LOOKS = LONG_MS / SOON_MS };

static void turn(void)
{
    uint64_t now_ns = clock_mono_ns() + world.skip_ns;
    front_turn(world.front, now_ns);
    fleet_step(world.fleet, now_ns);
    fleet_flush(world.fleet, now_ns);
}

/* The next message of the gateway but HEARTBEAT, in world.in; WIRE_TYPES_END: none in this time. */
static enum wire_type next(uint64_t wait_ms)
{
    uint64_t end_ns = clock_mono_ns() + wait_ms * NS_PER_MS;
    while (clock_mono_ns() < end_ns) {
        turn();
        for (int plane = 0; plane < 2; plane++) {
            void *socket = plane == WIRE_CONTROL ? world.control : world.data;
            enum status s = wire_recv(socket, &world.in);
            if (s == STATUS_BUSY)
                continue;
            assert_int_equal(s, STATUS_OK);
            memcpy(world.routes[plane], world.in.route, world.in.route_len);
            world.route_lens[plane] = world.in.route_len;
            if (world.in.type == WIRE_HELLO)
                welcome((enum wire_plane)plane);
            else if (world.in.type != WIRE_HEARTBEAT)
                return world.in.type;
        }
        zmq_pollitem_t items[2] = {{world.control, 0, ZMQ_POLLIN, 0},
                                   {world.data, 0, ZMQ_POLLIN, 0}};
        zmq_poll(items, 2, 5);
    }
    return WIRE_TYPES_END;
}

/* The next one is of this type, however long it takes where many programs run. */
static void expect(enum wire_type type)
{
    assert_int_equal(next(LONG_MS), type);
}

static void tell_ids(enum wire_type type, uint64_t id, enum status status)
{
    wire_begin(world.out, type);
    wire_put_id(world.out, KEY_IDS, &world.gateway, id);
    if (type == WIRE_REJECTED) {
        wire_put_u64(world.out, KEY_STATUS, status);
        wire_put_u64(world.out, KEY_RETRY_MS, 5000);
    }
    if (type == WIRE_CRASHED)
        wire_put_text(world.out, KEY_TEXT, "boom");
    send_on(WIRE_CONTROL);
}

static void tell_heartbeat(uint64_t workers, uint64_t unknown)
{
    wire_begin(world.out, WIRE_HEARTBEAT);
    wire_put_u64(world.out, KEY_WORKERS, workers);
    if (unknown)
        wire_put_id(world.out, KEY_UNKNOWN, &world.gateway, unknown);
    send_on(WIRE_CONTROL);
}

/* One FP32 output of two elements; `octets` of them are sent. */
static void tell_result(uint64_t id, uint8_t worker, size_t octets)
{
    static float values[] = {1, 2};
    const struct uuid from = {{worker}};
    const struct tensor output = {
        .name = "y", .dtype = DTYPE_FP32, .rank = 1, .dims = {2}, .bytes = 8};
    wire_begin(world.out, WIRE_RESULT);
    wire_put_uuid(world.out, KEY_GATEWAY, &world.gateway);
    wire_put_uuid(world.out, KEY_WORKER, &from);
    wire_list_open(world.out, KEY_TASKS);
    wire_map_open(world.out);
    wire_put_u64(world.out, KEY_TASK, id);
    wire_put_u64(world.out, KEY_STATUS, STATUS_OK);
    wire_put_u64(world.out, KEY_FRAMES, 1);
    wire_put_u64(world.out, KEY_COMPUTE_NS, 5);
    wire_put_spec(world.out, &output, 1);
    wire_map_close(world.out);
    wire_list_close(world.out);
    wire_body_bytes(world.out, values, octets);
    send_on(WIRE_DATA);
}

static void expect_ids(enum wire_type type, uint64_t id)
{
    expect(type);
    struct wire_map set = wire_at(world.in.map, KEY_IDS, 0);
    assert_int_equal(wire_number(set, KEY_RANGES, 0), id);
}

static void wait_for(const unsigned *count, unsigned wanted)
{
    for (int i = 0; *count < wanted && i < LOOKS; i++)
        assert_int_equal(next(SOON_MS), WIRE_TYPES_END);
    assert_int_equal(*count, wanted);
}

/* --- the world -----------------------------------------------------------------------------------
 */

static void start(uint64_t credit)
{
    world.credit = credit;
    fleet_start(world.fleet);
    for (int i = 0; !fleet_view(world.fleet).up && i < LOOKS; i++)
        next(SOON_MS);
    assert_true(fleet_view(world.fleet).up);
    tell_heartbeat(1, 0);
    for (int i = 0; !fleet_view(world.fleet).workers && i < LOOKS; i++)
        next(SOON_MS);
    assert_int_equal(fleet_view(world.fleet).workers, 1);
}

static int begin(void **state)
{
    uint16_t port;
    struct broker_list brokers = {.len = 1};
    (void)state;
    memset(&world, 0, sizeof world);
    world.zmq = zmq_ctx_new();
    world.control = bind_router(NET_FRAME_MAX_CONTROL, &port);
    world.data = bind_router(NET_FRAME_MAX_DATA, &world.data_port);
    world.out = wire_out_new();
    world.front = front_new();
    world.gateway = id_random();
    snprintf(brokers.list[0].endpoint, sizeof brokers.list[0].endpoint, "tcp://127.0.0.1:%u", port);
    const struct fleet_config config = {.zmq = world.zmq,
                                        .brokers = brokers,
                                        .uuid = world.gateway,
                                        .incarnation = 3,
                                        .name = "test",
                                        .front = world.front,
                                        .online_max = 5,
                                        .online_bytes_max = 1000};
    world.fleet = fleet_new(&config);
    return 0;
}

static int end(void **state)
{
    (void)state;
    fleet_destroy(&world.fleet);
    front_destroy(&world.front);
    fleet_result_free(&world.result);
    wire_out_destroy(&world.out);
    wire_in_clear(&world.in);
    zmq_close(world.control);
    zmq_close(world.data);
    zmq_ctx_term(world.zmq);
    return 0;
}

static enum status submit_for(const char *tenant, uint64_t given, bool patient, uint64_t budget_ms,
                              uint64_t *id)
{
    struct error why;
    struct bytes *bytes = bytes_new(16);
    memset(bytes->data, 1, 16);
    const struct tensor input = {
        .name = "x", .dtype = DTYPE_FP32, .rank = 1, .dims = {4}, .data = bytes->data, .bytes = 16};
    const struct fleet_task task = {.id = given,
                                    .model_name = "m/1",
                                    .kind = WIRE_KIND_INFER,
                                    .inputs = &input,
                                    .inputs_len = 1,
                                    .owner = bytes,
                                    .rows = 4,
                                    .budget_ms = budget_ms,
                                    .tenant = tenant,
                                    .patient = patient,
                                    .calls = &calls,
                                    .arg = &world};
    return fleet_submit(world.fleet, &task, id, &why);
}

static enum status submit(uint64_t given, bool patient, uint64_t budget_ms, uint64_t *id)
{
    return submit_for(NULL, given, patient, budget_ms, id);
}

static uint64_t flags_of_first(void)
{
    return wire_u64(wire_at(world.in.map, KEY_TASKS, 0), KEY_FLAGS);
}

/* --- tests ---------------------------------------------------------------------------------------
 */

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
        TEST(online_requests_are_refused_when_the_fleet_is_full_or_absent),
        TEST(a_tenant_leaves_room_for_others),
        TEST(rejected_busy_is_an_answer_online_and_a_pause_for_patient_tasks),
        TEST(past_its_budget_a_task_ends_and_is_cancelled),
        TEST(expected_task_takes_its_result_or_is_asked_for_its_data),
        TEST(result_that_makes_no_sense_is_a_result_that_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
