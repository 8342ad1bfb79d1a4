/* http: framing, limits, bodies, suspended replies, clients that leave, files and streams */
#include "tests/unit/common/testing.h"

#include "common/clock.h"
#include "gateway/http/server.h"
#include "gateway/http/spool.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#define PATIENCE_NS (20 * NS_PER_S) /* then the test has hung */

/* One server on a free port, stepped by the test itself: everything runs on this thread but the
 * pool. */
struct world {
    struct front *front;
    struct pool *pool;
    struct http_server *http;
    int port;
    struct http_request *held; /* by hold_handle, not replied to */
    unsigned gone;             /* times that hold's client left */
    size_t streamed;           /* octets that sink_data took */
    size_t sink_room;          /* octets that sink_data may take before it pauses */
    char text[65536];          /* what the client received */
};

static struct world world;

static void echo_handle(struct http_request *request, void *owner)
{
    struct world *self = owner;
    size_t size;
    const char *body = http_body(request, &size);
    const char *query = http_query(request, "q");
    assert_ptr_equal(self, &world);
    assert_int_equal(body[size], 0);
    http_reply_json(request, 200,
                    json_pack("{s:i,s:s,s:s?}", "size", (int)size, "name",
                              http_capture(request, "name"), "q", query));
}

static void whoami_handle(struct http_request *request, void *owner)
{
    const struct http_caller *caller = http_caller(request);
    (void)owner;
    http_reply_json(request, 200,
                    json_pack("{s:s,s:b}", "tenant", caller->tenant, "admin", caller->admin));
}

/* "Bearer infer" may infer, "Bearer batch" may batch; nobody else is known. */
static enum status admit(void *arg, const char *authorization, enum http_scope scope,
                         struct http_caller *caller, struct error *why)
{
    uint32_t set;
    assert_ptr_equal(arg, &world);
    if (!authorization || strncmp(authorization, "Bearer ", 7) != 0)
        return fail(why, STATUS_UNAUTHORIZED, "no key came");
    if (scopes_parse(&set, authorization + 7, why) != STATUS_OK)
        return fail(why, STATUS_UNAUTHORIZED, "an unknown key came");
    if (!scope_allowed(set, scope))
        return fail(why, STATUS_FORBIDDEN, "the scope %s is missing", scope_name(scope));
    text_copy(caller->tenant, sizeof caller->tenant, "acme");
    return STATUS_OK;
}

static void hold_gone(struct http_request *request, void *arg)
{
    struct world *self = arg;
    assert_ptr_equal(request, self->held);
    self->gone++;
}

static void hold_handle(struct http_request *request, void *owner)
{
    struct world *self = owner;
    self->held = request;
    http_on_gone(request, hold_gone, self);
}

static void file_handle(struct http_request *request, void *owner)
{
    (void)owner;
    http_reply_file(request, 200, "text/plain", open(test_path("big"), O_RDONLY), 3, 1000000);
}

static void sink_open(struct http_request *request, void *owner)
{
    (void)request, (void)owner;
}

static size_t sink_data(struct http_request *request, const void *bytes, size_t size, void *owner)
{
    struct world *self = owner;
    (void)bytes;
    self->held = request;
    size = MIN(size, self->sink_room - self->streamed);
    self->streamed += size;
    return size;
}

static void sink_handle(struct http_request *request, void *owner)
{
    struct world *self = owner;
    http_reply_json(request, 200, json_pack("{s:i}", "taken", (int)self->streamed));
}

static void spooled(struct http_request *request, void *arg, const struct spooled *spooled,
                    const struct error *why)
{
    char hex[DIGEST_TEXT_SIZE];
    (void)arg;
    if (why->status != STATUS_OK)
        http_reply_error(request, why, "file");
    else
        http_reply_json(request, 201,
                        json_pack("{s:i,s:s}", "bytes", (int)spooled->bytes, "sha256",
                                  digest_text(hex, &spooled->sha256)));
}

static void spool_handle(struct http_request *request, void *owner)
{
    struct world *self = owner;
    spool_open(request, self->pool, test_path("spool/file"), 3000000, spooled, NULL);
}

static const struct http_route routes[] = {
    {HTTP_GET, "/echo/{name}", SCOPE_ANY, HTTP_BODY_NONE, echo_handle, NULL, NULL},
    {HTTP_POST, "/echo/{name}", SCOPE_ANY, HTTP_BODY_MEMORY, echo_handle, NULL, NULL},
    {HTTP_GET, "/open", SCOPE_OPEN, HTTP_BODY_NONE, whoami_handle, NULL, NULL},
    {HTTP_POST, "/v1/batch", SCOPE_BATCH, HTTP_BODY_MEMORY, whoami_handle, NULL, NULL},
    {HTTP_GET, "/hold", SCOPE_ANY, HTTP_BODY_NONE, hold_handle, NULL, NULL},
    {HTTP_GET, "/file", SCOPE_ANY, HTTP_BODY_NONE, file_handle, NULL, NULL},
    {HTTP_PUT, "/sink", SCOPE_ANY, HTTP_BODY_STREAM, sink_handle, sink_open, sink_data},
    {HTTP_PUT, "/v1/spool", SCOPE_ANY, HTTP_BODY_STREAM, spool_end, spool_handle, spool_data},
};

/* --- the world -----------------------------------------------------------------------------------
 */

/* *state: not NULL asks for keys. */
static int begin(void **state)
{
    struct error why;
    memset(&world, 0, sizeof world);
    world.front = front_new();
    world.pool = pool_new(world.front, 2, 16);
    const struct http_config config = {.address = "127.0.0.1:0",
                                       .connections_max = 32,
                                       .body_max = 100000,
                                       .body_timeout_ms = 300,
                                       .idle_timeout_ms = 30000,
                                       .front = world.front,
                                       .pool = world.pool,
                                       .admit = *state ? admit : NULL,
                                       .admit_arg = &world};
    if (http_server_open(&world.http, &config, &why) != STATUS_OK)
        fail_msg("%s", why.text);
    http_server_routes(world.http, routes, ARRAY_LEN(routes), &world);
    world.port = atoi(strrchr(http_server_address(world.http), ':') + 1);
    return 0;
}

static int end(void **state)
{
    (void)state;
    http_server_close(&world.http);
    pool_destroy(&world.pool);
    front_destroy(&world.front);
    return 0;
}

/* One turn of the loop, waiting for the server or for `client`. True: the client can be read. */
static bool turn(int client)
{
    int fds[2];
    size_t len = http_server_fds(world.http, fds);
    struct pollfd items[4] = {{client, POLLIN, 0}, {front_fd(world.front), POLLIN, 0}};
    for (size_t i = 0; i < len; i++)
        items[2 + i] = (struct pollfd){fds[i], POLLIN, 0};
    poll(items, 2 + len, 20);
    front_turn(world.front, clock_mono_ns());
    http_server_step(world.http);
    return items[0].revents != 0;
}

static int dial(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)world.port)};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof at), 0);
    return fd;
}

static void say(int client, const void *bytes, size_t size)
{
    const char *at = bytes;
    while (size) {
        ssize_t n = send(client, at, MIN(size, (size_t)16384), MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n > 0) {
            at += n;
            size -= (size_t)n;
        } else {
            turn(-1); /* the server has to make room */
        }
    }
}

/* Read until `part` was there, or until the end when it is NULL. Returns all octets, counted. */
static size_t hear(int client, const char *part)
{
    uint64_t end_ns = clock_mono_ns() + PATIENCE_NS;
    size_t total = 0, kept = 0;
    char piece[65536];
    world.text[0] = '\0';
    for (;;) {
        if (clock_mono_ns() > end_ns)
            fail_msg("waited for \"%s\", got: %s", part ? part : "the end", world.text);
        if (!turn(client))
            continue;
        ssize_t n = recv(client, piece, sizeof piece, MSG_DONTWAIT);
        if (n <= 0)
            break;
        total += (size_t)n;
        size_t keep = MIN((size_t)n, sizeof world.text - 1 - kept);
        memcpy(world.text + kept, piece, keep);
        world.text[kept += keep] = '\0';
        if (part && strstr(world.text, part))
            break;
    }
    if (part && !strstr(world.text, part))
        fail_msg("expected \"%s\" in: %s", part, world.text);
    return total;
}

static void ask(const char *request, const char *answer)
{
    int client = dial();
    say(client, request, strlen(request));
    hear(client, answer);
    close(client);
}

static void requests_are_routed_and_answered_in_order_on_one_connection(void **state)
{
    int client = dial();
    static const char two[] =
        "GET /echo/a%20b?q=x HTTP/1.1\r\nHost: h\r\nX-Request-Id: mine-1\r\n\r\n"
        "POST /echo/c HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello";
    (void)state;
    say(client, two, sizeof two - 1);
    hear(client, "{\"size\":5,\"name\":\"c\",\"q\":null}");
    assert_non_null(strstr(world.text, "{\"size\":0,\"name\":\"a b\",\"q\":\"x\"}"));
    assert_non_null(strstr(world.text, "X-Request-Id: mine-1"));
    close(client);
}

static void unknown_paths_methods_and_verbs_are_told_apart(void **state)
{
    (void)state;
    ask("GET /nope HTTP/1.1\r\nHost: h\r\n\r\n", "404 Not Found");
    ask("DELETE /echo/a HTTP/1.1\r\nHost: h\r\n\r\n", "Allow: GET, POST");
    assert_non_null(strstr(world.text, "405 Method Not Allowed"));
    ask("GET /open HTTP/1.1\r\nHost: h\r\n\r\n", "{\"tenant\":\"\",\"admin\":true}");
    ask("GET /echo/a/b HTTP/1.1\r\nHost: h\r\n\r\n", "404 Not Found");
    ask("GET /echo/ HTTP/1.1\r\nHost: h\r\n\r\n", "404 Not Found");
    ask("BREW /echo/a HTTP/1.1\r\nHost: h\r\n\r\n", "501 Not Implemented");
    ask("HEAD /echo/a HTTP/1.1\r\nHost: h\r\n\r\n", "200 OK");
    ask("GET /v1/nope HTTP/1.1\r\nHost: h\r\n\r\n", "\"type\":\"invalid_request_error\"");
}

static void framing_that_a_proxy_could_read_differently_ends_the_connection(void **state)
{
    static const char *const rows[] = {
        ("POST /echo/a HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n"
         "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        "POST /echo/a HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcd",
        "POST /echo/a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "POST /echo/a HTTP/1.1\r\nHost: h\r\nHost: i\r\nContent-Length: 0\r\n\r\n",
        "POST /echo/a HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n",
        "GET /echo/a HTTP/1.1\r\n\r\n",
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        int client = dial();
        static const char next[] = "GET /echo/smuggled HTTP/1.1\r\nHost: h\r\n\r\n";
        say(client, rows[i], strlen(rows[i]));
        say(client, next, sizeof next - 1);
        hear(client, NULL);
        if (strncmp(world.text, "HTTP/1.1 400", 12) != 0 || strstr(world.text, "smuggled"))
            fail_msg("%s was answered by %s", rows[i], world.text);
        close(client);
    }
}

static void bodies_over_the_limit_are_refused_whether_announced_or_counted(void **state)
{
    char chunk[20000 + 16];
    (void)state;
    ask("POST /echo/a HTTP/1.1\r\nHost: h\r\nContent-Length: 100001\r\n"
        "Expect: 100-continue\r\n\r\n",
        "413 ");
    assert_non_null(strstr(world.text, "100000 bytes"));
    assert_null(strstr(world.text, "100 Continue"));
    ask("POST /echo/a HTTP/1.1\r\nHost: h\r\nContent-Length: 999999999999\r\n\r\n", "413 ");
    int client = dial();
    static const char head[] =
        "POST /echo/a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    say(client, head, sizeof head - 1);
    int n = snprintf(chunk, sizeof chunk, "%x\r\n", 20000);
    memset(chunk + n, 'x', 20000);
    for (int i = 0; i < 6; i++) { /* 120000 octets: only counting can tell */
        say(client, chunk, (size_t)n + 20000);
        say(client, "\r\n", 2);
    }
    say(client, "0\r\n\r\n", 5);
    hear(client, "413 ");
    close(client);
}

static void body_that_comes_too_slowly_is_cut(void **state)
{
    int client = dial();
    static const char head[] = "POST /echo/a HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nab";
    (void)state;
    say(client, head, sizeof head - 1);
    assert_int_equal(hear(client, NULL), 0);
    close(client);
}

static void reply_may_come_later_and_the_connection_goes_on(void **state)
{
    int client = dial();
    static const char head[] = "GET /hold HTTP/1.1\r\nHost: h\r\n\r\n";
    (void)state;
    for (int i = 0; i < 2; i++) {
        say(client, head, sizeof head - 1);
        while (!world.held)
            turn(-1);
        struct http_request *held = world.held;
        world.held = NULL;
        http_reply_fail(held, STATUS_BUSY, "round %d", i);
        hear(client, i ? "round 1" : "round 0");
        assert_non_null(strstr(world.text, "Retry-After: 1"));
    }
    close(client);
    assert_int_equal(world.gone, 0);
}

static void client_that_leaves_while_it_waits_is_noticed_at_once(void **state)
{
    int client = dial();
    static const char head[] = "GET /hold HTTP/1.1\r\nHost: h\r\n\r\n";
    (void)state;
    say(client, head, sizeof head - 1);
    while (!world.held)
        turn(-1);
    close(client);
    while (!world.gone)
        turn(-1);
    for (int i = 0; i < 3; i++)
        turn(-1); /* libmicrohttpd forgets the connection; the request stays */
    assert_true(http_is_gone(world.held));
    assert_null(http_header(world.held, "Host"));
    http_reply_json(world.held, 200, json_object()); /* thrown away, and frees */
    assert_true(http_server_drain(world.http));
    assert_int_equal(world.gone, 1);
}

static void file_is_sent_through_the_pool(void **state)
{
    char *bytes = xmalloc(1000003);
    (void)state;
    memset(bytes, 'f', 1000003);
    FILE *out = fopen(test_path("big"), "w");
    assert_int_equal(fwrite(bytes, 1, 1000003, out), 1000003);
    fclose(out);
    int client = dial();
    static const char head[] = "GET /file HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    say(client, head, sizeof head - 1);
    size_t total = hear(client, NULL);
    const char *body = strstr(world.text, "\r\n\r\n") + 4;
    assert_int_equal(total - (size_t)(body - world.text), 1000000);
    close(client);
    free(bytes);
}

static void paused_body_is_not_read_until_it_is_resumed(void **state)
{
    int client = dial();
    char *bytes = xcalloc(1, 200000);
    static const char head[] = "PUT /sink HTTP/1.1\r\nHost: h\r\nContent-Length: 200000\r\n\r\n";
    (void)state;
    world.sink_room = 5000;
    say(client, head, sizeof head - 1);
    say(client, bytes, 60000);
    while (world.streamed < 5000)
        turn(-1);
    for (int i = 0; i < 3; i++)
        turn(-1);
    assert_int_equal(world.streamed, 5000);
    world.sink_room = 200000;
    http_body_resume(world.held);
    say(client, bytes, 140000);
    hear(client, "{\"taken\":200000}");
    close(client);
    free(bytes);
}

static void upload_becomes_a_file_or_nothing(void **state)
{
    char head[128], *bytes = xmalloc(2500000);
    char hex[DIGEST_TEXT_SIZE];
    (void)state;
    memset(bytes, 'u', 2500000);
    struct digest digest = digest_of(bytes, 2500000);
    int client = dial();
    int n = snprintf(head, sizeof head,
                     "PUT /v1/spool HTTP/1.1\r\nHost: h\r\nContent-Length: 2500000\r\n\r\n");
    say(client, head, (size_t)n);
    say(client, bytes, 2500000);
    hear(client, "201 Created");
    assert_non_null(strstr(world.text, digest_text(hex, &digest)));
    assert_int_equal(access(test_path("spool/file"), F_OK), 0);
    close(client);
    unlink(test_path("spool/file"));

    client = dial(); /* cut in the middle */
    say(client, head, (size_t)n);
    say(client, bytes, 1500000);
    close(client);
    while (!http_server_drain(world.http))
        turn(-1);
    pool_destroy(&world.pool);
    front_turn(world.front, clock_mono_ns());
    assert_int_equal(access(test_path("spool/file"), F_OK), -1);
    free(bytes);
}

static void addresses_that_are_none_or_in_use_are_refused_with_the_fix(void **state)
{
    struct http_server *server = NULL;
    struct error why = {.status = STATUS_OK};
    struct http_config config = {.address = "localhost", .front = world.front, .pool = world.pool};
    (void)state;
    assert_int_equal(http_server_open(&server, &config, &why), STATUS_INVALID);
    assert_non_null(strstr(why.text, "HOST:PORT"));
    assert_null(server);
    config.address = http_server_address(world.http);
    assert_int_equal(http_server_open(&server, &config, &why), STATUS_UNAVAILABLE);
    assert_non_null(strstr(why.text, "--http"));
}

static void keys_are_asked_for_what_the_route_needs_before_the_body_comes(void **state)
{
#define BATCH  "POST /v1/batch HTTP/1.1\r\nHost: h\r\n"
#define KEY(k) "Authorization: Bearer " k "\r\n"
#define WAITS  "Expect: 100-continue\r\nContent-Length: 90000\r\n\r\n"
#define EMPTY  "Content-Length: 0\r\n\r\n"
    (void)state;
    ask(BATCH WAITS, "no key came");
    assert_non_null(strstr(world.text, "401 Unauthorized"));
    assert_non_null(strstr(world.text, "\"code\":\"unauthorized\""));
    assert_non_null(strstr(world.text, "WWW-Authenticate: Bearer realm=\"convoy\"\r\n"));
    assert_null(strstr(world.text, "100 Continue"));
    ask(BATCH KEY("infer") WAITS, "the scope batch is missing");
    assert_non_null(strstr(world.text, "403 Forbidden"));
    assert_non_null(strstr(world.text, "error=\"insufficient_scope\", scope=\"batch\""));
    ask(BATCH KEY("batch") EMPTY, "{\"tenant\":\"acme\",\"admin\":false}");
    ask(BATCH KEY("batch") KEY("admin") EMPTY, "400 ");
    ask("GET /echo/a HTTP/1.1\r\nHost: h\r\n\r\n", "{\"error\":\"no key came\"}");
    ask("GET /echo/a HTTP/1.1\r\nHost: h\r\n" KEY("train") "\r\n", "200 OK");
    ask("GET /open HTTP/1.1\r\nHost: h\r\n\r\n", "200 OK");
    ask("GET /nope HTTP/1.1\r\nHost: h\r\n\r\n", "404 ");
}

#define TEST(name)      cmocka_unit_test_setup_teardown(name, begin, end)
#define TEST_KEYS(name) cmocka_unit_test_prestate_setup_teardown(name, begin, end, &world)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(requests_are_routed_and_answered_in_order_on_one_connection),
        TEST(unknown_paths_methods_and_verbs_are_told_apart),
        TEST(framing_that_a_proxy_could_read_differently_ends_the_connection),
        TEST(bodies_over_the_limit_are_refused_whether_announced_or_counted),
        TEST(body_that_comes_too_slowly_is_cut),
        TEST(reply_may_come_later_and_the_connection_goes_on),
        TEST(client_that_leaves_while_it_waits_is_noticed_at_once),
        TEST(file_is_sent_through_the_pool),
        TEST(paused_body_is_not_read_until_it_is_resumed),
        TEST(upload_becomes_a_file_or_nothing),
        TEST(addresses_that_are_none_or_in_use_are_refused_with_the_fix),
        TEST_KEYS(keys_are_asked_for_what_the_route_needs_before_the_body_comes),
    };
    return cmocka_run_group_tests(tests, NULL, test_scratch_end);
}
