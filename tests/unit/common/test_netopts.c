/* netopts: addresses, options as libzmq holds them, and peers that come, overrun and go */
#include "testing.h"

#include "common/netopts.h"

#include <sys/socket.h>

#define WAIT_MS 5000 /* an event that has not come by then never will */

static struct error why;

static void addresses_are_read_and_off_loopback_they_need_curve(void **state)
{
    (void)state;
    static const struct {
        const char *text, *host;
        uint16_t port;
        bool ipv6, loopback;
    } good[] = {
        {"tcp://127.0.0.1:5701", "127.0.0.1", 5701, false, true},
        {"tcp://127.0.0.2:1", "127.0.0.2", 1, false, true},
        {"tcp://127.255.255.255:65535", "127.255.255.255", 65535, false, true},
        {"tcp://localhost:80", "localhost", 80, false, true},
        {"tcp://127.0.0.1:*", "127.0.0.1", 0, false, true},
        {"tcp://127.0.0.1:0", "127.0.0.1", 0, false, true},
        {"tcp://[::1]:5701", "::1", 5701, true, true},
        {"tcp://*:5701", "*", 5701, false, false},
        {"tcp://0.0.0.0:5701", "0.0.0.0", 5701, false, false},
        {"tcp://[::]:5701", "::", 5701, true, false},
        {"tcp://192.168.1.2:5701", "192.168.1.2", 5701, false, false},
        {"tcp://128.0.0.1:5701", "128.0.0.1", 5701, false, false},
        {"tcp://127.0.0.1.example.org:5701", "127.0.0.1.example.org", 5701, false, false},
        {"tcp://example.org:5701", "example.org", 5701, false, false},
        {"tcp://127.1:5701", "127.1", 5701, false, false},
    };
    static const struct {
        const char *text, *part;
    } bad[] = {
        {"", "expected tcp://HOST:PORT"},
        {"127.0.0.1:5701", "expected tcp://HOST:PORT"},
        {"ipc:///tmp/x", "expected tcp://HOST:PORT"},
        {"tcp://", "expected HOST:PORT"},
        {"tcp://127.0.0.1", "expected HOST:PORT"},
        {"tcp://:5701", "expected HOST:PORT"},
        {"tcp://127.0.0.1:", "expected a port"},
        {"tcp://127.0.0.1:65536", "expected a port"},
        {"tcp://127.0.0.1:123456", "expected a port"},
        {"tcp://127.0.0.1:-1", "expected a port"},
        {"tcp://127.0.0.1:80x", "expected a port"},
        {"tcp://[::1]", "expected HOST:PORT"},
        {"tcp://[::1:5701", "expected HOST:PORT"},
        {"tcp://eth0;127.0.0.1:5701", "expected a name"},
        {"tcp://a b:5701", "expected a name"},
        {"tcp://[127.0.0.1]:5701", "expected a name"},
        {"tcp://[example.org]:5701", "expected a name"},
    };
    struct endpoint endpoint;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        assert_int_equal(endpoint_parse(&endpoint, good[i].text, &why), STATUS_OK);
        assert_string_equal(endpoint.host, good[i].host);
        assert_int_equal(endpoint.port, good[i].port);
        assert_int_equal(endpoint.ipv6, good[i].ipv6);
        assert_int_equal(endpoint.loopback, good[i].loopback);
        assert_int_equal(endpoint_check(good[i].text, true, &why), STATUS_OK);
        if (good[i].loopback) {
            assert_int_equal(endpoint_check(good[i].text, false, &why), STATUS_OK);
            continue;
        }
        assert_int_equal(endpoint_check(good[i].text, false, &why), STATUS_INVALID);
        assert_why(&why, STATUS_INVALID, good[i].text);
        assert_why(&why, STATUS_INVALID, "--join TOKEN");
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_int_equal(endpoint_check(bad[i].text, true, &why), STATUS_INVALID);
        assert_why(&why, STATUS_INVALID, bad[i].part);
    }
}

static void address_longer_than_any_is_refused_and_http_has_no_scheme(void **state)
{
    struct endpoint endpoint;
    (void)state;
    char *huge = xcalloc(3000, 1);
    memset(huge, '1', 2999);
    memcpy(huge, "tcp://", 6);
    huge[2990] = ':';
    assert_int_equal(endpoint_check(huge, true, &why), STATUS_INVALID);
    free(huge);
    assert_int_equal(endpoint_parse_hostport(&endpoint, "localhost:8000", &why), STATUS_OK);
    assert_int_equal(endpoint.port, 8000);
    assert_int_equal(endpoint_parse_hostport(&endpoint, "8000", &why), STATUS_INVALID);
    assert_int_equal(endpoint_parse_hostport(&endpoint, "0.0.0.0:8000", &why), STATUS_OK);
    assert_false(endpoint.loopback);
}

/* A broker's socket and a peer's, with our options, watched. */
struct pair {
    void *context, *router, *dealer;
    struct net_monitor *monitor; /* of the router */
    char bound[NET_ADDRESS_MAX];
};

static struct pair pair_open(const char *address)
{
    struct pair p = {.context = zmq_ctx_new()};
    p.router = zmq_socket(p.context, ZMQ_ROUTER);
    p.dealer = zmq_socket(p.context, ZMQ_DEALER);
    assert_int_equal(net_options(p.router, NET_BIND, NET_FRAME_MAX_CONTROL, &why), STATUS_OK);
    assert_int_equal(net_options(p.dealer, NET_CONNECT, NET_FRAME_MAX_CONTROL, &why), STATUS_OK);
    assert_int_equal(net_monitor_open(&p.monitor, p.context, p.router, &why), STATUS_OK);
    assert_int_equal(net_bind(p.router, address, p.bound, &why), STATUS_OK);
    assert_int_equal(net_connect(p.dealer, p.bound, &why), STATUS_OK);
    return p;
}

static void pair_close(struct pair *p)
{
    net_monitor_close(&p->monitor);
    net_monitor_close(&p->monitor); /* NULL is harmless */
    zmq_close(p->router);
    zmq_close(p->dealer);
    zmq_ctx_term(p->context);
}

static struct net_event next_event(struct pair *p)
{
    struct net_event event = {0};
    zmq_pollitem_t item = {.socket = net_monitor_socket(p->monitor), .events = ZMQ_POLLIN};
    assert_int_equal(zmq_poll(&item, 1, WAIT_MS), 1);
    assert_true(net_monitor_next(p->monitor, &event));
    return event;
}

/* Receive one message on the router; returns the descriptor that it came from. */
static int receive(struct pair *p, const char *wanted)
{
    zmq_msg_t id, body;
    zmq_pollitem_t item = {.socket = p->router, .events = ZMQ_POLLIN};
    assert_int_equal(zmq_poll(&item, 1, WAIT_MS), 1);
    zmq_msg_init(&id);
    zmq_msg_init(&body);
    assert_true(zmq_msg_recv(&id, p->router, 0) > 0);
    assert_true(zmq_msg_recv(&body, p->router, 0) >= 0);
    assert_memory_equal(zmq_msg_data(&body), wanted, strlen(wanted));
    int fd = net_peer_fd(&body);
    zmq_msg_close(&id);
    zmq_msg_close(&body);
    return fd;
}

static int option(void *socket, int name)
{
    int value = -77;
    size_t size = sizeof value;
    assert_int_equal(zmq_getsockopt(socket, name, &value, &size), 0);
    return value;
}

static void options_are_those_of_the_table(void **state)
{
    (void)state;
    struct pair p = pair_open("tcp://127.0.0.1:0");
    int64_t frame_max;
    size_t size = sizeof frame_max;
    assert_int_equal(zmq_getsockopt(p.dealer, ZMQ_MAXMSGSIZE, &frame_max, &size), 0);
    assert_int_equal(frame_max, NET_FRAME_MAX_CONTROL);
    assert_int_equal(option(p.router, ZMQ_RCVHWM), 1000);
    assert_int_equal(option(p.dealer, ZMQ_RCVHWM), 0);
    assert_int_equal(option(p.router, ZMQ_SNDHWM), 4096);
    assert_int_equal(option(p.dealer, ZMQ_SNDHWM), 1000);
    assert_int_equal(option(p.dealer, ZMQ_LINGER), 50);
    assert_int_equal(option(p.dealer, ZMQ_IMMEDIATE), 0);
    assert_int_equal(option(p.dealer, ZMQ_HEARTBEAT_IVL), 0); /* off: it aborts 4.3.4 */
    assert_int_equal(option(p.dealer, ZMQ_RECONNECT_IVL_MAX), 10000);
    assert_int_equal(option(p.dealer, ZMQ_TCP_MAXRT), 20000);
    pair_close(&p);
}

static void peer_is_known_by_descriptor_from_hello_to_its_death(void **state)
{
    (void)state;
    struct pair p = pair_open("tcp://127.0.0.1:*");
    assert_non_null(strstr(p.bound, "tcp://127.0.0.1:"));
    assert_int_equal(zmq_send(p.dealer, "hello", 5, 0), 5);
    struct net_event event = next_event(&p);
    assert_int_equal(event.kind, NET_ACCEPTED);
    assert_int_equal(receive(&p, "hello"), event.fd);
    struct net_event none;
    assert_false(net_monitor_next(p.monitor, &none));
    zmq_close(p.dealer);
    p.dealer = zmq_socket(p.context, ZMQ_DEALER); /* for pair_close */
    struct net_event gone = next_event(&p);
    assert_int_equal(gone.kind, NET_DISCONNECTED);
    assert_int_equal(gone.fd, event.fd);
    pair_close(&p);
}

static void kicked_peer_is_gone_and_may_come_back(void **state)
{
    (void)state;
    struct pair p = pair_open("tcp://[::1]:0");
    assert_int_equal(zmq_send(p.dealer, "hello", 5, 0), 5);
    assert_int_equal(next_event(&p).kind, NET_ACCEPTED);
    net_kick(receive(&p, "hello"));
    assert_int_equal(next_event(&p).kind, NET_DISCONNECTED);
    assert_int_equal(next_event(&p).kind, NET_ACCEPTED); /* libzmq connects again */
    net_kick(-1);
    pair_close(&p);
}

static void oversized_frame_drops_its_sender(void **state)
{
    (void)state;
    struct pair p = pair_open("tcp://localhost:0");
    size_t size = NET_FRAME_MAX_CONTROL + 1;
    char *bytes = xcalloc(size, 1);
    assert_int_equal(zmq_send(p.dealer, bytes, size, 0), size);
    assert_int_equal(next_event(&p).kind, NET_ACCEPTED);
    assert_int_equal(next_event(&p).kind, NET_DISCONNECTED);
    free(bytes);
    pair_close(&p);
}

static void address_in_use_is_unavailable_and_named(void **state)
{
    (void)state;
    struct pair p = pair_open("tcp://127.0.0.2:0");
    void *second = zmq_socket(p.context, ZMQ_ROUTER);
    assert_int_equal(net_bind(second, p.bound, NULL, &why), STATUS_UNAVAILABLE);
    assert_why(&why, STATUS_UNAVAILABLE, p.bound);
    assert_why(&why, STATUS_UNAVAILABLE, "choose another port");
    assert_int_equal(net_bind(second, "tcp://0.0.0.0:0", NULL, &why), STATUS_INVALID);
    assert_why(&why, STATUS_INVALID, "CURVE");
    assert_int_equal(net_connect(second, "tcp://192.0.2.1:1", &why), STATUS_INVALID);
    assert_int_equal(net_connect(second, "tcp://127.0.0.1:0", &why), STATUS_INVALID);
    assert_why(&why, STATUS_INVALID, "expected the port");
    zmq_close(second);
    pair_close(&p);
}

static void unanswered_address_is_told_and_tried_again(void **state)
{
    (void)state;
    struct pair p = pair_open("tcp://127.0.0.1:0");
    struct net_monitor *monitor;
    struct net_event event;
    void *lonely = zmq_socket(p.context, ZMQ_DEALER);
    zmq_close(p.router); /* nobody listens there any more */
    p.router = zmq_socket(p.context, ZMQ_ROUTER);
    assert_int_equal(net_options(lonely, NET_CONNECT, NET_FRAME_MAX_DATA, &why), STATUS_OK);
    assert_int_equal(net_monitor_open(&monitor, p.context, lonely, &why), STATUS_OK);
    assert_int_equal(net_connect(lonely, "tcp://127.0.0.1:1", &why), STATUS_OK);
    zmq_pollitem_t item = {.socket = net_monitor_socket(monitor), .events = ZMQ_POLLIN};
    assert_int_equal(zmq_poll(&item, 1, WAIT_MS), 1);
    assert_true(net_monitor_next(monitor, &event));
    assert_int_equal(event.kind, NET_RETRYING);
    net_monitor_close(&monitor);
    zmq_close(lonely);
    pair_close(&p);
}

/* Both ends close while messages of many frames are on their way: the first few rounds end the
 * process unless the connecting side lingers. */
static void a_connection_that_breaks_amid_a_message_ends_nothing(void **state)
{
    static char frame[NET_FRAME_MAX_CONTROL];
    (void)state;
    for (int round = 0; round < 30; round++) {
        struct pair p = pair_open("tcp://127.0.0.1:0");
        for (int i = 0; i < 20 * 40; i++)
            zmq_send(p.dealer, frame, sizeof frame, i % 40 < 39 ? ZMQ_SNDMORE : 0);
        zmq_pollitem_t item = {.socket = p.router, .events = ZMQ_POLLIN};
        assert_int_equal(zmq_poll(&item, 1, WAIT_MS), 1);
        net_monitor_close(&p.monitor);
        zmq_close(p.router);
        zmq_close(p.dealer);
        zmq_ctx_term(p.context);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_are_read_and_off_loopback_they_need_curve),
        cmocka_unit_test(address_longer_than_any_is_refused_and_http_has_no_scheme),
        cmocka_unit_test(options_are_those_of_the_table),
        cmocka_unit_test(peer_is_known_by_descriptor_from_hello_to_its_death),
        cmocka_unit_test(kicked_peer_is_gone_and_may_come_back),
        cmocka_unit_test(oversized_frame_drops_its_sender),
        cmocka_unit_test(address_in_use_is_unavailable_and_named),
        cmocka_unit_test(unanswered_address_is_told_and_tried_again),
        cmocka_unit_test(a_connection_that_breaks_amid_a_message_ends_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
