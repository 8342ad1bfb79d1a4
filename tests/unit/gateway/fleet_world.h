/* fleet_world - a fleet of the gateway, and a broker made of the test that includes this, all on
 * one thread */
#ifndef CONVOY_TESTS_UNIT_GATEWAY_FLEET_WORLD_H
#define CONVOY_TESTS_UNIT_GATEWAY_FLEET_WORLD_H

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
    uint32_t minor;  /* that the broker speaks, said in WELCOME */
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
    wire_put_u64(world.out, KEY_VERSION_MAX, world.minor);
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

static enum status submit_kind(enum wire_kind kind, const char *tenant, uint64_t given,
                               bool patient, uint64_t budget_ms, uint64_t *id)
{
    struct error why;
    struct bytes *bytes = bytes_new(16);
    memset(bytes->data, 1, 16);
    const struct tensor input = {
        .name = "x", .dtype = DTYPE_FP32, .rank = 1, .dims = {4}, .data = bytes->data, .bytes = 16};
    const struct fleet_task task = {.id = given,
                                    .model_name = "m/1",
                                    .kind = kind,
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

static enum status submit_for(const char *tenant, uint64_t given, bool patient, uint64_t budget_ms,
                              uint64_t *id)
{
    return submit_kind(WIRE_KIND_INFER, tenant, given, patient, budget_ms, id);
}

static enum status submit(uint64_t given, bool patient, uint64_t budget_ms, uint64_t *id)
{
    return submit_for(NULL, given, patient, budget_ms, id);
}

static uint64_t flags_of_first(void)
{
    return wire_u64(wire_at(world.in.map, KEY_TASKS, 0), KEY_FLAGS);
}

#endif
