/* curve: keys as text, identity files, and CURVE's handshake between sockets with our options */
#include "testing.h"

#include "common/curve.h"
#include "common/file.h"

#include <sys/stat.h>

#define WAIT_MS 5000 /* an event that has not come by then never will */
#define DOMAIN  "test"

static struct error why;

static void keys_are_text_and_back_and_nothing_else_is_a_key(void **state)
{
    (void)state;
    struct curve_identity identity;
    struct curve_key key = {{0}}, before = {{7}};
    char text[CURVE_TEXT_SIZE], print[CURVE_FINGERPRINT_SIZE];
    static const char *const bad[] = {"",
                                      "abc",
                                      "########################################",
                                      "                                        ",
                                      "abcdefghijabcdefghijabcdefghijabcdefghi~",
                                      "abcdefghijabcdefghijabcdefghijabcdefghij0"};
    curve_identity_make(&identity);
    assert_true(curve_key_parse(&key, curve_key_text(text, &identity.public_key)));
    assert_true(curve_key_equal(&key, &identity.public_key));
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        key = before;
        assert_false(curve_key_parse(&key, bad[i]));
        assert_true(curve_key_equal(&key, &before));
    }
    curve_identity_wipe(&identity);
    curve_identity_wipe(&identity); /* twice is harmless */
    /* BLAKE2b-256 of 32 zero octets, by Python's hashlib. */
    key = (struct curve_key){{0}};
    assert_string_equal(curve_fingerprint(print, &key), "89eb:0d6a:8a69:1dae");
}

static void identity_is_made_once_and_read_again_whole(void **state)
{
    (void)state;
    struct curve_identity made, again;
    struct stat info;
    const char *path = test_path("made.key");
    assert_int_equal(curve_identity_read(&made, path, &why), STATUS_NOT_FOUND);
    assert_int_equal(curve_identity_open(&made, path, &why), STATUS_OK);
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
    text_copy(made.name, sizeof made.name, "node 7");
    text_copy(made.role, sizeof made.role, "worker");
    assert_true(curve_identity_add(&made, "tcp://192.0.2.1:7700", &made.public_key));
    assert_true(curve_identity_add(&made, "tcp://[2001:db8::1]:7700", &made.secret_key));
    assert_true(curve_identity_add(&made, "tcp://192.0.2.1:7700", &made.secret_key));
    assert_int_equal(made.brokers_len, 2);
    char value[16] = "x";
    assert_false(curve_identity_other(&made, "token", value, sizeof value));
    assert_string_equal(value, "");
    curve_identity_set_other(&made, "token", "first");
    curve_identity_set_other(&made, "other", "stays");
    curve_identity_set_other(&made, "gone", "now");
    curve_identity_set_other(&made, "token", "ab cd");
    curve_identity_set_other(&made, "gone", NULL);
    assert_int_equal(curve_identity_write(&made, path, &why), STATUS_OK);
    assert_int_equal(curve_identity_open(&again, path, &why), STATUS_OK);
    assert_true(curve_key_equal(&again.public_key, &made.public_key));
    assert_true(curve_key_equal(&again.secret_key, &made.secret_key));
    assert_string_equal(again.name, "node 7");
    assert_string_equal(again.role, "worker");
    assert_int_equal(again.brokers_len, 2);
    assert_true(curve_identity_other(&again, "token", value, sizeof value));
    assert_string_equal(value, "ab cd");
    assert_true(curve_identity_other(&again, "other", value, 4));
    assert_string_equal(value, "sta");
    assert_false(curve_identity_other(&again, "gone", value, sizeof value));
    assert_string_equal(again.brokers[0].endpoint, "tcp://192.0.2.1:7700");
    assert_true(curve_key_equal(&again.brokers[0].key, &made.secret_key));
    char endpoint[64];
    for (int i = 2; i < CURVE_BROKERS_MAX; i++) {
        snprintf(endpoint, sizeof endpoint, "tcp://192.0.2.1:%d", i);
        assert_true(curve_identity_add(&again, endpoint, &made.public_key));
    }
    assert_false(curve_identity_add(&again, "tcp://192.0.2.1:1", &made.public_key));
    curve_identity_remove(&again, "tcp://192.0.2.1:2");
    curve_identity_remove(&again, "tcp://192.0.2.1:1"); /* was never there */
    assert_int_equal(again.brokers_len, CURVE_BROKERS_MAX - 1);
    assert_true(curve_identity_add(&again, "tcp://192.0.2.1:1", &made.public_key));
    curve_identity_wipe(&made);
    curve_identity_wipe(&again);
}

static void damaged_or_readable_identity_is_refused_with_the_fix(void **state)
{
    (void)state;
    struct curve_identity made, other, read;
    const char *path = test_path("damaged.key");
    char *text, *changed;
    size_t size;
    curve_identity_make(&made);
    curve_identity_make(&other);
    assert_int_equal(curve_identity_write(&made, path, &why), STATUS_OK);
    assert_int_equal(chmod(path, 0640), 0);
    assert_int_equal(curve_identity_read(&read, path, &why), STATUS_INVALID);
    assert_why(&why, STATUS_INVALID, "chmod 600");
    assert_int_equal(file_read(&text, &size, path, 4096, &why), STATUS_OK);
    for (size_t cut = 0; cut + 1 < size; cut++) { /* every shorter file */
        assert_int_equal(file_write_private(path, text, cut, &why), STATUS_OK);
        assert_int_equal(curve_identity_read(&read, path, &why), STATUS_INVALID);
        assert_why(&why, STATUS_INVALID, path);
    }
    changed = xasprintf("%sbroker nowhere\n", text);
    assert_int_equal(file_write_private(path, changed, strlen(changed), &why), STATUS_OK);
    assert_int_equal(curve_identity_read(&read, path, &why), STATUS_INVALID);
    assert_why(&why, STATUS_INVALID, ":3: expected");
    free(changed);
    made.public_key = other.public_key;
    assert_int_equal(curve_identity_write(&made, path, &why), STATUS_OK);
    assert_int_equal(curve_identity_read(&read, path, &why), STATUS_INVALID);
    assert_why(&why, STATUS_INVALID, "does not belong");
    free(text);
    curve_identity_wipe(&made);
    curve_identity_wipe(&other);
}

/* --- libzmq 4.3.4, as it is --------------------------------------------------------------------
 */

struct world {
    void *context, *router, *zap, *dealer;
    struct net_monitor *monitor; /* of the dealer */
    struct curve_identity server, client;
    char bound[NET_ADDRESS_MAX];
};

static struct world world_open(bool handler)
{
    struct world w = {.context = zmq_ctx_new()};
    curve_identity_make(&w.server);
    curve_identity_make(&w.client);
    if (handler) {
        w.zap = zmq_socket(w.context, ZMQ_REP);
        assert_int_equal(zmq_bind(w.zap, "inproc://zeromq.zap.01"), 0);
    }
    w.router = zmq_socket(w.context, ZMQ_ROUTER);
    w.dealer = zmq_socket(w.context, ZMQ_DEALER);
    assert_int_equal(net_options(w.router, NET_BIND, NET_FRAME_MAX_CONTROL, &why), STATUS_OK);
    assert_int_equal(net_options(w.dealer, NET_CONNECT, NET_FRAME_MAX_CONTROL, &why), STATUS_OK);
    assert_int_equal(curve_serve(w.router, &w.server, DOMAIN, &why), STATUS_OK);
    assert_int_equal(curve_connect(w.dealer, &w.client, &w.server.public_key, &why), STATUS_OK);
    assert_int_equal(net_monitor_open(&w.monitor, w.context, w.dealer, &why), STATUS_OK);
    assert_int_equal(net_bind(w.router, "tcp://0.0.0.0:0", w.bound, &why), STATUS_OK);
    char address[NET_ADDRESS_MAX];
    snprintf(address, sizeof address, "tcp://127.0.0.1%s", strrchr(w.bound, ':'));
    assert_int_equal(net_connect(w.dealer, address, &why), STATUS_OK);
    return w;
}

static void world_close(struct world *w)
{
    net_monitor_close(&w->monitor);
    zmq_close(w->dealer);
    zmq_close(w->router);
    if (w->zap)
        zmq_close(w->zap);
    zmq_ctx_term(w->context);
    curve_identity_wipe(&w->server);
    curve_identity_wipe(&w->client);
}

/* Answer one request as a ZAP handler does; checks that the key asked for is the client's. */
static void answer(struct world *w, const char *status)
{
    char request[8][256] = {{0}};
    int len = 0, more = 1;
    size_t size = sizeof more;
    zmq_pollitem_t item = {.socket = w->zap, .events = ZMQ_POLLIN};
    assert_int_equal(zmq_poll(&item, 1, WAIT_MS), 1);
    while (more) {
        assert_true(len < 8 && zmq_recv(w->zap, request[len++], 255, 0) >= 0);
        assert_int_equal(zmq_getsockopt(w->zap, ZMQ_RCVMORE, &more, &size), 0);
    }
    assert_int_equal(len, 7);
    assert_string_equal(request[2], DOMAIN);
    assert_string_equal(request[5], "CURVE");
    assert_memory_equal(request[6], w->client.public_key.bytes, CURVE_KEY_BYTES);
    zmq_send(w->zap, "1.0", 3, ZMQ_SNDMORE);
    zmq_send(w->zap, request[1], strlen(request[1]), ZMQ_SNDMORE);
    zmq_send(w->zap, status, 3, ZMQ_SNDMORE);
    zmq_send(w->zap, "", 0, ZMQ_SNDMORE);
    zmq_send(w->zap, "worker-7", 8, ZMQ_SNDMORE);
    zmq_send(w->zap, "", 0, 0);
}

static enum net_event_kind wait_for(struct world *w, unsigned kinds)
{
    struct net_event event;
    for (;;) {
        zmq_pollitem_t item = {.socket = net_monitor_socket(w->monitor), .events = ZMQ_POLLIN};
        assert_int_equal(zmq_poll(&item, 1, WAIT_MS), 1);
        while (net_monitor_next(w->monitor, &event))
            if (kinds & 1U << event.kind)
                return event.kind;
    }
}

/* libzmq 4.3.4 without ZAP_ENFORCE_DOMAIN lets every key in when no handler is bound. */
static void without_a_zap_handler_nobody_comes_in(void **state)
{
    (void)state;
    struct world w = world_open(false);
    zmq_pollitem_t item = {.socket = w.router, .events = ZMQ_POLLIN};
    assert_int_equal(zmq_send(w.dealer, "hello", 5, 0), 5);
    wait_for(&w, 1U << NET_REFUSED | 1U << NET_NO_HANDSHAKE);
    assert_int_equal(zmq_poll(&item, 1, 0), 0);
    world_close(&w);
}

static void refused_key_is_told_so(void **state)
{
    (void)state;
    struct world w = world_open(true);
    zmq_pollitem_t item = {.socket = w.router, .events = ZMQ_POLLIN};
    assert_int_equal(zmq_send(w.dealer, "hello", 5, 0), 5);
    answer(&w, "400");
    assert_int_equal(wait_for(&w, 1U << NET_REFUSED), NET_REFUSED);
    assert_int_equal(zmq_poll(&item, 1, 0), 0);
    world_close(&w);
}

/* libzmq 4.3.4 loses the properties of the identity frame when the socket was polled before. */
static void user_id_is_read_from_the_payload_not_from_the_identity(void **state)
{
    (void)state;
    struct world w = world_open(true);
    zmq_msg_t identity, payload;
    assert_int_equal(zmq_send(w.dealer, "hello", 5, 0), 5);
    answer(&w, "200");
    zmq_pollitem_t item = {.socket = w.router, .events = ZMQ_POLLIN};
    assert_int_equal(zmq_poll(&item, 1, WAIT_MS), 1);
    zmq_msg_init(&identity);
    zmq_msg_init(&payload);
    assert_true(zmq_msg_recv(&identity, w.router, 0) > 0);
    assert_true(zmq_msg_recv(&payload, w.router, 0) > 0);
    assert_string_equal(zmq_msg_gets(&payload, "User-Id"), "worker-7");
    assert_true(net_peer_fd(&payload) >= 0);
    char peer[NET_PEER_SIZE];
    assert_non_null(strstr(net_peer_address(net_peer_fd(&payload), peer), "127.0.0.1:"));
    assert_string_equal(net_peer_address(-1, peer), "");
    if (zmq_msg_gets(&identity, "User-Id"))
        printf("this libzmq keeps User-Id on the identity frame\n");
    zmq_msg_close(&identity);
    zmq_msg_close(&payload);
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_are_text_and_back_and_nothing_else_is_a_key),
        cmocka_unit_test(identity_is_made_once_and_read_again_whole),
        cmocka_unit_test(damaged_or_readable_identity_is_refused_with_the_fix),
        cmocka_unit_test(without_a_zap_handler_nobody_comes_in),
        cmocka_unit_test(refused_key_is_told_so),
        cmocka_unit_test(user_id_is_read_from_the_payload_not_from_the_identity),
    };
    return cmocka_run_group_tests(tests, NULL, test_scratch_end);
}
