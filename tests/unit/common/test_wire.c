/* Convoy wire 1: what is built arrives as it was; whatever else arrives is refused with a reason.
 */
#include "common/wire.h"

#include "common/crc32c.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct pair {
    void *context;
    void *router;
    void *dealer;
    struct wire_in in;
    struct wire_out *out;
    uint32_t sequence;
};

static int open_pair(void **state)
{
    struct pair *pair = xcalloc(1, sizeof *pair);
    char name[64];
    snprintf(name, sizeof name, "inproc://%p", (void *)pair);
    pair->context = zmq_ctx_new();
    pair->router = zmq_socket(pair->context, ZMQ_ROUTER);
    pair->dealer = zmq_socket(pair->context, ZMQ_DEALER);
    assert_int_equal(zmq_bind(pair->router, name), 0);
    assert_int_equal(zmq_connect(pair->dealer, name), 0);
    pair->out = wire_out_new();
    *state = pair;
    return 0;
}

static int close_pair(void **state)
{
    struct pair *pair = *state;
    wire_in_clear(&pair->in);
    wire_in_clear(&pair->in); /* twice is harmless */
    wire_out_destroy(&pair->out);
    zmq_close(pair->router);
    zmq_close(pair->dealer);
    zmq_ctx_term(pair->context);
    free(pair);
    return 0;
}

static struct uuid some_uuid(uint8_t fill)
{
    struct uuid uuid;
    memset(&uuid, fill, sizeof uuid);
    return uuid;
}

static struct digest some_digest(uint8_t fill)
{
    struct digest digest;
    memset(&digest, fill, sizeof digest);
    return digest;
}

/* A SUBMIT of one task with one tensor of `size` octets. */
static void build_submit(struct wire_out *out, const uint8_t *bytes, size_t size)
{
    struct digest model = some_digest(7);
    struct tensor tensor = {
        .name = "input:0", .dtype = DTYPE_UINT8, .rank = 1, .dims = {(int64_t)size}, .bytes = size};
    wire_begin(out, WIRE_SUBMIT);
    wire_put_digest(out, KEY_MODEL, &model);
    wire_put_text(out, KEY_MODEL_NAME, "cnn/1");
    wire_list_open(out, KEY_TASKS);
    wire_map_open(out);
    wire_put_u64(out, KEY_TASK, 42);
    wire_put_u64(out, KEY_ROWS, 3);
    wire_put_u64(out, KEY_FRAMES, wire_body_bytes(out, bytes, size));
    wire_put_spec(out, &tensor, 1);
    wire_map_close(out);
    wire_list_close(out);
}

static void a_submit_arrives_as_it_was_built(void **state)
{
    struct pair *pair = *state;
    size_t size = 2 * MIB + 17;
    uint8_t *bytes = xmalloc(size), *back = xmalloc(size);
    char text[32];
    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)(i * 31 >> 3);
    build_submit(pair->out, bytes, size);
    assert_int_equal(wire_send(pair->out, pair->dealer, NULL, 0, &pair->sequence), STATUS_OK);
    assert_int_equal(wire_recv(pair->router, &pair->in), STATUS_OK);
    assert_int_equal(pair->in.type, WIRE_SUBMIT);
    assert_int_equal(pair->in.sequence, 1);
    assert_true(pair->in.route_len > 0);
    assert_string_equal(wire_text(pair->in.map, KEY_MODEL_NAME, text, sizeof text), "cnn/1");
    assert_int_equal(wire_len(pair->in.map, KEY_TASKS), 1);
    struct wire_map task = wire_at(pair->in.map, KEY_TASKS, 0);
    assert_int_equal(wire_u64(task, KEY_TASK), 42);
    assert_int_equal(wire_u64(task, KEY_FRAMES), 3);
    assert_int_equal(wire_u64(task, KEY_BAND), 0); /* absent reads as 0 */
    assert_false(wire_has(task, KEY_BAND));
    assert_int_equal(pair->in.bodies_len, 3);
    assert_true(wire_gather(pair->in.bodies, 3, back, size));
    assert_memory_equal(bytes, back, size);
    assert_false(wire_gather(pair->in.bodies, 3, back, size - 1));
    assert_false(wire_gather(pair->in.bodies, 2, back, size));
    assert_int_equal(wire_recv(pair->router, &pair->in), STATUS_BUSY);
    free(bytes);
    free(back);
}

static void a_spec_opens_to_the_tensors_it_was_made_of(void **state)
{
    struct pair *pair = *state;
    struct wire_unpacked arena = {0};
    struct wire_map spec;
    struct error why;
    size_t size;
    build_submit(pair->out, (const uint8_t *)"abc", 3);
    assert_int_equal(wire_send(pair->out, pair->dealer, NULL, 0, &pair->sequence), STATUS_OK);
    assert_int_equal(wire_recv(pair->router, &pair->in), STATUS_OK);
    const void *packed = wire_bytes(wire_at(pair->in.map, KEY_TASKS, 0), KEY_SPEC, &size);
    assert_int_equal(wire_unpack(packed, size, WIRE_SPEC, &arena, &spec, &why), STATUS_OK);
    struct wire_map tensor = wire_at(spec, KEY_TENSORS, 0);
    assert_int_equal(wire_u64(tensor, KEY_DTYPE), DTYPE_UINT8);
    assert_int_equal(wire_len(tensor, KEY_DIMS), 1);
    assert_int_equal(wire_number(tensor, KEY_DIMS, 0), 3);
    for (size_t cut = 0; cut < size; cut++)
        assert_int_equal(wire_unpack(packed, cut, WIRE_SPEC, &arena, &spec, &why),
                         STATUS_MALFORMED);
    wire_unpacked_free(&arena);
    wire_unpacked_free(&arena);
}

static void sets_travel_as_ranges(void **state)
{
    struct pair *pair = *state;
    struct uuid gateway = some_uuid(3);
    struct taskset set = taskset_make(100);
    size_t next = 0;
    taskset_add_range(&set, 5, 10);
    taskset_add(&set, 99);
    wire_begin(pair->out, WIRE_HEARTBEAT);
    wire_list_open(pair->out, KEY_HELD);
    wire_put_set(pair->out, &gateway, &set, &next, 2048);
    wire_list_close(pair->out);
    assert_int_equal(next, 2);
    assert_int_equal(wire_send(pair->out, pair->dealer, NULL, 0, &pair->sequence), STATUS_OK);
    assert_int_equal(wire_recv(pair->router, &pair->in), STATUS_OK);
    struct wire_map held = wire_at(pair->in.map, KEY_HELD, 0);
    assert_int_equal(wire_len(held, KEY_RANGES), 4);
    assert_int_equal(wire_number(held, KEY_RANGES, 2), 99);
    struct uuid back = wire_uuid(held, KEY_GATEWAY);
    assert_true(id_equal(&gateway, &back));
    taskset_free(&set);
}

static void release(void *hint)
{
    free(hint);
}

static void borrowed_bytes_are_released_once_when_all_frames_are_gone(void **state)
{
    struct pair *pair = *state;
    size_t size = MIB + 1;
    uint8_t *bytes = xcalloc(1, size);
    struct digest blob = some_digest(1);
    struct uuid gateway = some_uuid(1);
    wire_begin(pair->out, WIRE_PROGRESS);
    wire_put_uuid(pair->out, KEY_GATEWAY, &gateway);
    wire_put_u64(pair->out, KEY_TASK, 1);
    (void)blob;
    assert_int_equal(wire_body_borrow(pair->out, bytes, size, release, bytes), 2);
    assert_int_equal(wire_send(pair->out, pair->dealer, NULL, 0, &pair->sequence), STATUS_OK);
    assert_int_equal(wire_recv(pair->router, &pair->in), STATUS_OK);
    assert_int_equal(pair->in.bodies_bytes, size);
}

static void raw_send(void *socket, const void *a, size_t a_size, const void *b, size_t b_size)
{
    zmq_send(socket, a, a_size, b ? ZMQ_SNDMORE : 0);
    if (b)
        zmq_send(socket, b, b_size, 0);
}

static void make_head(uint8_t head[WIRE_HEAD], uint8_t type, const void *map, size_t size)
{
    uint32_t sum = crc32c(0, map, size);
    memcpy(head, "CVY1\1", 5);
    head[5] = type;
    memset(head + 6, 0, 6);
    for (int i = 0; i < 4; i++)
        head[12 + i] = (uint8_t)(sum >> (8 * i));
}

static void what_is_no_message_is_refused_with_a_reason(void **state)
{
    static const struct {
        uint8_t type;
        const char *map;
        size_t size;
        const char *says;
    } cases[] = {
        {0x77, "\x80", 1, "type 0x77"},
        {WIRE_DRAIN, "\xc0", 1, "not a map"},
        {WIRE_DRAIN, "\xdd\xff\xff\xff\xff", 5, "msgpack"}, /* 2^32 elements in 5 octets */
        {WIRE_DRAIN, "\xdf\x10\x00\x00\x00", 5, "msgpack"},
        {WIRE_DRAIN, "\x81\x91\x91\x91\x91\x91\x91\x91\x91\x01\x01", 11, "msgpack"}, /* too deep */
        {WIRE_DRAIN, "\x81\x2e\x01", 3, "DRAIN.TEXT has the wrong type"},
        {WIRE_DRAIN, "\x82\x2e\xa1x\x2e\xa1x", 7, "DRAIN.TEXT is there twice"},
        {WIRE_ERROR, "\x80", 1, "ERROR.STATUS is missing"},
        {WIRE_CREDIT, "\x82\x0d\xff\x0e\x01", 5, "CREDIT.CREDIT_TASKS has the wrong type"},
        {WIRE_QUERY, "\x82\x38\x09\x42\x01", 5, "QUERY.WHAT is 9, expected 1 to 2"},
    };
    struct pair *pair = *state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint8_t head[WIRE_HEAD];
        make_head(head, cases[i].type, cases[i].map, cases[i].size);
        raw_send(pair->dealer, head, sizeof head, cases[i].map, cases[i].size);
        assert_int_equal(wire_recv(pair->router, &pair->in), STATUS_MALFORMED);
        if (!strstr(pair->in.why.text, cases[i].says))
            fail_msg("case %zu: \"%s\" does not say \"%s\"", i, pair->in.why.text, cases[i].says);
        assert_true(pair->in.route_len > 0);
    }
    raw_send(pair->dealer, "hello", 5, NULL, 0);
    assert_int_equal(wire_recv(pair->router, &pair->in), STATUS_MALFORMED);
    raw_send(pair->dealer, "GET / HTTP/1.1..", 16, "x", 1);
    assert_int_equal(wire_recv(pair->router, &pair->in), STATUS_MALFORMED);
}

static void an_endless_message_is_an_overrun_and_the_next_one_is_read(void **state)
{
    struct pair *pair = *state;
    for (int i = 0; i < 2000; i++)
        zmq_send(pair->dealer, "x", 1, ZMQ_SNDMORE);
    zmq_send(pair->dealer, "x", 1, 0);
    wire_begin(pair->out, WIRE_DRAIN);
    assert_int_equal(wire_send(pair->out, pair->dealer, NULL, 0, &pair->sequence), STATUS_OK);
    assert_int_equal(wire_recv(pair->router, &pair->in), STATUS_MALFORMED);
    assert_true(pair->in.overrun);
    assert_int_equal(wire_recv(pair->router, &pair->in), STATUS_OK);
    assert_int_equal(pair->in.type, WIRE_DRAIN);
}

static void frames_that_the_map_does_not_count_are_refused(void **state)
{
    struct pair *pair = *state;
    uint8_t head[WIRE_HEAD];
    make_head(head, WIRE_DRAIN, "\x80", 1);
    zmq_send(pair->dealer, head, sizeof head, ZMQ_SNDMORE);
    raw_send(pair->dealer, "\x80", 1, "stray", 5);
    assert_int_equal(wire_recv(pair->router, &pair->in), STATUS_MALFORMED);
    assert_non_null(strstr(pair->in.why.text, "1 body frames"));
}

/* A registry of two nodes, and a newcomer's ENROL. */
static void build_nodes(struct wire_out *out)
{
    struct digest key = some_digest(9);
    wire_begin(out, WIRE_NODES);
    wire_put_u64(out, KEY_REGISTRY, 7);
    wire_put_u64(out, KEY_PART, 1);
    wire_put_u64(out, KEY_PARTS, 1);
    wire_list_open(out, KEY_NODES);
    for (uint8_t i = 0; i < 2; i++) {
        wire_map_open(out);
        wire_put_bytes(out, KEY_PUBLIC, key.bytes, sizeof key.bytes);
        wire_put_u64(out, KEY_ROLE, WIRE_WORKER);
        wire_put_u64(out, KEY_STANDING, WIRE_MEMBER + i);
        wire_put_text(out, KEY_NAME, "node");
        wire_map_close(out);
    }
    wire_list_close(out);
}

static void build_enrol(struct wire_out *out)
{
    struct digest secret = some_digest(3);
    wire_begin(out, WIRE_ENROL);
    wire_put_u64(out, KEY_REQUEST, 1);
    wire_put_u64(out, KEY_ROLE, WIRE_WORKER);
    wire_put_text(out, KEY_NAME, "node");
    wire_put_bytes(out, KEY_SECRET, secret.bytes, sizeof secret.bytes);
}

/* Any change to a sound message is refused or still inside every bound; never a crash. */
static void mutate(struct pair *pair, enum wire_type type, unsigned *seed)
{
    uint8_t head[WIRE_HEAD];
    zmq_msg_t frames[4]; /* route, head, map, and a body perhaps */
    struct error why;
    size_t len = 0;
    wire_send(pair->out, pair->dealer, NULL, 0, &pair->sequence);
    do {
        zmq_msg_init(&frames[len]);
        assert_true(zmq_msg_recv(&frames[len], pair->router, 0) >= 0);
    } while (zmq_msg_more(&frames[len++]) && len < 4);
    size_t size = zmq_msg_size(&frames[2]);
    uint8_t *map = xmalloc(size);
    for (int round = 0; round < 100000; round++) {
        memcpy(map, zmq_msg_data(&frames[2]), size);
        size_t cut = size - (size_t)rand_r(seed) % 3 * ((size_t)rand_r(seed) % size) / 2;
        for (int flips = 1 + rand_r(seed) % 4; flips > 0; flips--)
            map[(size_t)rand_r(seed) % size] = (uint8_t)rand_r(seed);
        make_head(head, (uint8_t)type, map, cut);
        enum status s = wire_check(head, sizeof head, map, cut, &why);
        assert_true(s == STATUS_OK || (s == STATUS_MALFORMED && why.text[0]));
        head[12] ^= 1;
        assert_int_equal(wire_check(head, sizeof head, map, cut, &why), STATUS_MALFORMED);
    }
    free(map);
    while (len > 0)
        zmq_msg_close(&frames[--len]);
}

static void mutations_never_pass_the_checksum_nor_break_the_reader(void **state)
{
    struct pair *pair = *state;
    const char *given = getenv("TEST_SEED");
    unsigned seed = given ? (unsigned)strtoul(given, NULL, 0) : (unsigned)random_u64();
    print_message("seed %u (TEST_SEED repeats it)\n", seed);
    build_submit(pair->out, (const uint8_t *)"abc", 3);
    mutate(pair, WIRE_SUBMIT, &seed);
    build_nodes(pair->out);
    mutate(pair, WIRE_NODES, &seed);
    build_enrol(pair->out);
    mutate(pair, WIRE_ENROL, &seed);
}

static void text_for_people_has_no_control_characters(void **state)
{
    struct pair *pair = *state;
    char text[8];
    wire_begin(pair->out, WIRE_DRAIN);
    wire_put_text(pair->out, KEY_TEXT, "a\033[2Jbcdefgh");
    wire_send(pair->out, pair->dealer, NULL, 0, &pair->sequence);
    assert_int_equal(wire_recv(pair->router, &pair->in), STATUS_OK);
    assert_string_equal(wire_text(pair->in.map, KEY_TEXT, text, sizeof text), "a?[2Jbc");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_pair, close_pair)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_submit_arrives_as_it_was_built),
        TEST(a_spec_opens_to_the_tensors_it_was_made_of),
        TEST(sets_travel_as_ranges),
        TEST(borrowed_bytes_are_released_once_when_all_frames_are_gone),
        TEST(what_is_no_message_is_refused_with_a_reason),
        TEST(an_endless_message_is_an_overrun_and_the_next_one_is_read),
        TEST(frames_that_the_map_does_not_count_are_refused),
        TEST(mutations_never_pass_the_checksum_nor_break_the_reader),
        TEST(text_for_people_has_no_control_characters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
