/* zap: what the thread answers libzmq, question by question, and that nobody comes in without it */
#include "tests/unit/common/testing.h"

#include "broker/zap.h"
#include "common/clock.h"

#include <poll.h>

static struct error why;

struct world {
    void *context, *asker; /* asks as libzmq does */
    struct registry *registry;
    struct zap *zap;
    struct curve_identity member, revoked, stranger;
};

static struct world world_open(uint32_t enrol_per_s)
{
    struct world w = {.context = zmq_ctx_new(), .registry = registry_new()};
    struct registry_node nodes[2] = {{.role = WIRE_WORKER, .standing = WIRE_MEMBER},
                                     {.role = WIRE_WORKER, .standing = WIRE_REVOKED}};
    struct registry_part part = {.version = 1, .part = 1, .parts = 1, .nodes = nodes, .len = 2};
    struct curve_key gateway = {{100}};
    char text[CURVE_TEXT_SIZE];
    bool whole, changed;
    curve_identity_make(&w.member);
    curve_identity_make(&w.revoked);
    curve_identity_make(&w.stranger);
    nodes[0].key = w.member.public_key;
    nodes[1].key = w.revoked.public_key;
    assert_int_equal(registry_configure(w.registry, curve_key_text(text, &gateway), &why),
                     STATUS_OK);
    assert_int_equal(registry_take(w.registry, &gateway, &part, &whole, &changed, &why), STATUS_OK);
    assert_int_equal(zap_open(&w.zap, w.context, w.registry, enrol_per_s, &why), STATUS_OK);
    w.asker = zmq_socket(w.context, ZMQ_REQ);
    assert_int_equal(zmq_connect(w.asker, "inproc://zeromq.zap.01"), 0);
    return w;
}

static void world_close(struct world *w)
{
    zmq_close(w->asker);
    zap_close(&w->zap);
    zap_close(&w->zap); /* twice is harmless */
    registry_destroy(&w->registry);
    zmq_ctx_term(w->context);
    curve_identity_wipe(&w->member);
    curve_identity_wipe(&w->revoked);
    curve_identity_wipe(&w->stranger);
}

static void send_part(struct world *w, const void *bytes, size_t size, bool more)
{
    assert_int_equal(zmq_send(w->asker, bytes, size, more ? ZMQ_SNDMORE : 0), (int)size);
}

/* The status that is answered; the User-Id goes into `user`. */
static int answer(struct world *w, char user[64])
{
    char parts[6][64] = {{0}};
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        assert_true(zmq_recv(w->asker, parts[i], 63, 0) >= 0);
    assert_string_equal(parts[0], "1.0");
    assert_string_equal(parts[1], "17");
    text_copy(user, 64, parts[4]);
    return atoi(parts[2]);
}

static int ask(struct world *w, const char *domain, const struct curve_key *key, char user[64])
{
    const char *const texts[] = {"1.0", "17", domain, "192.0.2.1", "", "CURVE"};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        send_part(w, texts[i], strlen(texts[i]), true);
    send_part(w, key->bytes, CURVE_KEY_BYTES, false);
    return answer(w, user);
}

static void members_come_in_and_nobody_else_does(void **state)
{
    (void)state;
    struct world w = world_open(10);
    char user[64], text[CURVE_TEXT_SIZE];
    assert_int_equal(ask(&w, ZAP_CONTROL, &w.member.public_key, user), 200);
    assert_string_equal(user, curve_key_text(text, &w.member.public_key));
    assert_int_equal(ask(&w, ZAP_DATA, &w.member.public_key, user), 200);
    assert_int_equal(ask(&w, ZAP_CONTROL, &w.revoked.public_key, user), 400);
    assert_string_equal(user, "");
    assert_int_equal(ask(&w, ZAP_DATA, &w.stranger.public_key, user), 400);
    assert_int_equal(ask(&w, "", &w.stranger.public_key, user), 400);
    assert_int_equal(zap_admitted(w.zap), 2);
    assert_int_equal(zap_refused(w.zap), 3);
    zap_expect(w.zap, &w.stranger.public_key, &w.revoked.public_key);
    assert_int_equal(ask(&w, ZAP_CONTROL, &w.stranger.public_key, user), 200);
    assert_int_equal(ask(&w, ZAP_CONTROL, &w.revoked.public_key, user), 400);
    zap_expect(w.zap, NULL, NULL);
    assert_int_equal(ask(&w, ZAP_CONTROL, &w.stranger.public_key, user), 400);
    world_close(&w);
}

static void who_offends_again_and_again_is_kept_out_for_a_while(void **state)
{
    (void)state;
    struct world w = world_open(10);
    char user[64];
    const struct curve_key *key = &w.member.public_key;
    uint64_t now_ns = clock_mono_ns(), ban_ns = ZAP_BAN_MS * NS_PER_MS;
    uint64_t long_ago_ns = now_ns > 2 * ban_ns ? now_ns - 2 * ban_ns : 0;
    for (int i = 1; i <= ZAP_STRIKES; i++)
        assert_int_equal(zap_strike(w.zap, key, long_ago_ns), i == ZAP_STRIKES);
    if (long_ago_ns) /* not on a machine that has just started */
        assert_int_equal(ask(&w, ZAP_CONTROL, key, user), 200);
    for (int i = 1; i < ZAP_STRIKES; i++)
        assert_false(zap_strike(w.zap, key, now_ns + ban_ns));
    assert_int_equal(ask(&w, ZAP_CONTROL, key, user), 200);
    for (uint8_t i = 1; i < 100; i++) /* others, more than are remembered, cannot hide it */
        zap_strike(w.zap, &(struct curve_key){{i}}, now_ns);
    assert_true(zap_strike(w.zap, key, now_ns + ban_ns));
    assert_int_equal(ask(&w, ZAP_CONTROL, key, user), 400);
    assert_int_equal(ask(&w, ZAP_ENROL, key, user), 200);
    world_close(&w);
}

static void any_key_may_enrol_but_only_so_many_a_second(void **state)
{
    (void)state;
    struct world w = world_open(3);
    char user[64];
    int admitted = 0, later = 0;
    for (int i = 0; i < 20; i++) {
        int status = ask(&w, ZAP_ENROL, &w.revoked.public_key, user);
        admitted += status == 200;
        later += status == 300;
    }
    assert_int_equal(admitted + later, 20);
    assert_in_range(admitted, 3, 10); /* three at once, and a few more if this machine is slow */
    world_close(&w);
}

static void questions_that_are_none_are_refused_and_answered(void **state)
{
    (void)state;
    struct world w = world_open(3);
    char user[64], *huge = xcalloc(100000, 1);
    const char *const null_mechanism[] = {"1.0", "17", ZAP_CONTROL, "", "", "NULL"};
    for (size_t i = 0; i < 6; i++)
        send_part(&w, null_mechanism[i], strlen(null_mechanism[i]), i < 5);
    assert_int_equal(answer(&w, user), 400);
    send_part(&w, "1.0", 3, true);
    send_part(&w, "17", 2, true);
    for (int i = 0; i < 50; i++)
        send_part(&w, huge, 100000, i < 49);
    assert_int_equal(answer(&w, user), 400);
    assert_int_equal(ask(&w, ZAP_CONTROL, &w.member.public_key, user), 200);
    free(huge);
    world_close(&w);
}

static void ended_thread_is_noticed_at_once(void **state)
{
    (void)state;
    const char *path = test_path("stop");
    setenv("CONVOY_TEST_ZAP_STOP", path, 1);
    struct world w = world_open(3);
    unsetenv("CONVOY_TEST_ZAP_STOP");
    assert_false(zap_dead(w.zap, clock_mono_ns()));
    fclose(fopen(path, "w"));
    struct pollfd item = {.fd = zap_ended_fd(w.zap), .events = POLLIN};
    assert_int_equal(poll(&item, 1, 5000), 1);
    assert_true(zap_dead(w.zap, clock_mono_ns()));
    assert_true(zap_dead(w.zap, clock_mono_ns()));
    world_close(&w);
}

/* The clock that is given jumps, as it does for a process that was stopped: that alone is no death.
 */
static void standing_still_together_is_no_death(void **state)
{
    (void)state;
    struct world w = world_open(3);
    for (uint64_t hour = 1; hour < 4; hour++)
        assert_false(zap_dead(w.zap, clock_mono_ns() + hour * 3600 * NS_PER_S));
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(members_come_in_and_nobody_else_does),
        cmocka_unit_test(who_offends_again_and_again_is_kept_out_for_a_while),
        cmocka_unit_test(any_key_may_enrol_but_only_so_many_a_second),
        cmocka_unit_test(questions_that_are_none_are_refused_and_answered),
        cmocka_unit_test(ended_thread_is_noticed_at_once),
        cmocka_unit_test(standing_still_together_is_no_death),
    };
    return cmocka_run_group_tests(tests, NULL, test_scratch_end);
}
