/* client: what is safe is tried again, what is not fails at once, and a file is whole or not there
 */
#include "tests/unit/common/testing.h"

#include "common/file.h"
#include "gateway/client/client.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <sys/socket.h>

/* --- a gateway that answers by a script --------------------------------------------------------
 */
enum { STEPS_MAX = 8 };

struct script {
    const char *answers[STEPS_MAX]; /* whole HTTP answers; "" closes without one; NULL ends */
    char requests[STEPS_MAX][2048]; /* what came, as far as it fits */
    size_t served;                  /* connections so far */
    int listener;                   /* on loopback */
    char url[64];                   /* http://127.0.0.1:PORT */
    pthread_t thread;               /* serves */
};

/* Read headers, and a body as long as Content-Length says. */
static void read_request(int fd, char *into, size_t room)
{
    size_t used = 0, wanted = SIZE_MAX;
    while (used + 1 < room && used < wanted) {
        ssize_t got = read(fd, into + used, room - 1 - used);
        if (got <= 0)
            break;
        used += (size_t)got;
        into[used] = '\0';
        const char *end = strstr(into, "\r\n\r\n"), *length = strcasestr(into, "content-length: ");
        if (end)
            wanted = (size_t)(end + 4 - into) + (length ? strtoul(length + 16, NULL, 10) : 0);
    }
}

static void *serve(void *arg)
{
    struct script *self = arg;
    for (; self->answers[self->served]; self->served++) {
        int fd = accept(self->listener, NULL, NULL);
        const char *answer = self->answers[self->served];
        if (fd < 0)
            break;
        read_request(fd, self->requests[self->served], sizeof(self->requests[0]));
        if (*answer && write(fd, answer, strlen(answer)) < 0)
            perror("write");
        close(fd);
    }
    return NULL;
}

static void begin(struct script *self)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    self->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(self->listener, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(self->listener, 8), 0);
    assert_int_equal(getsockname(self->listener, (struct sockaddr *)&address, &size), 0);
    snprintf(self->url, sizeof(self->url), "http://127.0.0.1:%u", ntohs(address.sin_port));
    assert_int_equal(pthread_create(&self->thread, NULL, serve, self), 0);
}

static void end(struct script *self)
{
    shutdown(self->listener, SHUT_RDWR);
    pthread_join(self->thread, NULL);
    close(self->listener);
}

static struct client *connect_to(const struct script *script, uint32_t patience_ms)
{
    struct client *client = NULL;
    struct error why = {.status = STATUS_OK};
    struct client_config config = {.url = script->url, .patience_ms = patience_ms};
    if (client_new(&client, &config, &why) != STATUS_OK)
        fail_msg("%s", why.text);
    return client;
}

#define ANSWER(code, length, body)                                                                 \
    "HTTP/1.1 " code "\r\nContent-Length: " length "\r\nConnection: close\r\n\r\n" body
#define GOOD ANSWER("200 OK", "7", "{\"a\":1}")
#define FULL                                                                                       \
    ANSWER("503 x", "52", "{\"error\":{\"message\":\"disk\",\"code\":\"storage_full\"}}       ")

/* --- tests -------------------------------------------------------------------------------------
 */
static void reading_is_repeated_until_the_gateway_is_back(void **state)
{
    (void)state;
    struct script script = {.answers = {"", ANSWER("503 x", "0", ""), GOOD}};
    struct error why = {.status = STATUS_OK};
    json_t *answer = NULL;
    begin(&script);
    struct client *client = connect_to(&script, 20000);
    assert_int_equal(client_get(client, "/v1/batches", &answer, &why), STATUS_OK);
    assert_int_equal(json_integer_value(json_object_get(answer, "a")), 1);
    json_decref(answer);
    client_destroy(&client);
    client_destroy(&client);
    end(&script);
    assert_int_equal(script.served, 3);
}

static void call_is_repeated_with_its_key_and_not_without(void **state)
{
    (void)state;
    struct script script = {.answers = {"", GOOD, "", GOOD}};
    struct error why = {.status = STATUS_OK};
    json_t *answer = NULL, *body = json_pack("{s:i}", "x", 5);
    begin(&script);
    struct client *client = connect_to(&script, 20000);
    assert_int_equal(client_call(client, "POST", "/v1/batches", body, "key-1", &answer, &why),
                     STATUS_OK);
    json_decref(answer);
    assert_int_equal(client_call(client, "POST", "/v1/batches", body, NULL, &answer, &why),
                     STATUS_UNAVAILABLE);
    assert_why(&why, STATUS_UNAVAILABLE, "cannot be reached");
    assert_null(answer);
    client_destroy(&client);
    end(&script);
    for (int i = 0; i < 2; i++) {
        assert_non_null(strstr(script.requests[i], "Idempotency-Key: key-1\r\n"));
        assert_non_null(strstr(script.requests[i], "{\"x\":5}"));
    }
    assert_null(strstr(script.requests[2], "Idempotency-Key"));
    json_decref(body);
}

static void refusals_carry_the_gateways_sentence_and_full_disks_are_not_asked_again(void **state)
{
    (void)state;
    struct script script = {
        .answers = {ANSWER("404 x", "25", "{\"error\":\"no such thing\"}"), FULL, GOOD}};
    struct error why = {.status = STATUS_OK};
    json_t *answer = NULL;
    begin(&script);
    struct client *client = connect_to(&script, 20000);
    assert_int_equal(client_get(client, "/x", &answer, &why), STATUS_NOT_FOUND);
    assert_why(&why, STATUS_NOT_FOUND, "no such thing");
    assert_int_equal(client_get(client, "/x", &answer, &why), STATUS_STORAGE_FULL);
    assert_why(&why, STATUS_STORAGE_FULL, "disk");
    client_destroy(&client);
    end(&script); /* its thread has ended: what it counted may be read */
    assert_int_equal(script.served, 2);
}

static void upload_starts_again_from_the_begin(void **state)
{
    (void)state;
    struct script script = {.answers = {"", GOOD}};
    struct error why = {.status = STATUS_OK};
    json_t *answer = NULL;
    const char *path = test_path("up");
    assert_int_equal(file_write(path, "0123456789", 10, false, &why), STATUS_OK);
    begin(&script);
    struct client *client = connect_to(&script, 20000);
    assert_int_equal(client_upload(client, "/v1/files?name=up", path, NULL, NULL, &answer, &why),
                     STATUS_OK);
    json_decref(answer);
    assert_int_equal(client_upload(client, "/f", test_path("none"), NULL, NULL, &answer, &why),
                     STATUS_INVALID);
    client_destroy(&client);
    end(&script);
    assert_non_null(strstr(script.requests[1], "PUT /v1/files?name=up "));
    assert_non_null(strstr(script.requests[1], "\r\n\r\n0123456789"));
}

static void download_that_breaks_off_leaves_no_file(void **state)
{
    (void)state;
    struct script script = {
        .answers = {ANSWER("200 OK", "10", "half"), ANSWER("200 OK", "4", "full")}};
    struct error why = {.status = STATUS_OK};
    char *bytes = NULL, *path = xstrdup(test_path("down"));
    size_t size = 0;
    begin(&script);
    struct client *client = connect_to(&script, 0);
    assert_int_not_equal(client_download(client, "/f", path, NULL, NULL, &why), STATUS_OK);
    assert_int_not_equal(access(path, F_OK), 0);
    assert_int_equal(client_download(client, "/f", path, NULL, NULL, &why), STATUS_OK);
    assert_int_equal(file_read(&bytes, &size, path, 100, &why), STATUS_OK);
    assert_string_equal(bytes, "full");
    char *part = xasprintf("%s.part", path);
    assert_int_not_equal(access(part, F_OK), 0);
    client_destroy(&client);
    end(&script);
    free(bytes);
    free(part);
    free(path);
}

static bool at_once(void *arg)
{
    (void)arg;
    return true;
}

static void whoever_waits_can_be_stopped(void **state)
{
    (void)state;
    struct client *client = NULL;
    struct error why = {.status = STATUS_OK};
    json_t *answer = NULL;
    struct client_config config = {
        .url = "http://127.0.0.1:9", .patience_ms = 600000, .stop = at_once};
    assert_int_equal(client_new(&client, &config, &why), STATUS_OK);
    assert_int_equal(client_get(client, "/x", &answer, &why), STATUS_CANCELLED);
    client_destroy(&client);
    config.url = "gopher://x";
    assert_int_equal(client_new(&client, &config, &why), STATUS_INVALID);
}

static void key_goes_into_a_header_and_only_if_it_is_fit_for_one(void **state)
{
    (void)state;
    struct script script = {.answers = {ANSWER("403 x", "15", "{\"error\":\"why\"}")}};
    struct client *client = NULL;
    struct error why = {.status = STATUS_OK};
    json_t *answer = NULL;
    begin(&script);
    struct client_config config = {.url = script.url, .api_key = "cvk1_a-b_c"};
    assert_int_equal(client_new(&client, &config, &why), STATUS_OK);
    assert_int_equal(client_get(client, "/v1/x", &answer, &why), STATUS_FORBIDDEN);
    assert_string_equal(why.text, "why");
    client_destroy(&client);
    end(&script);
    assert_non_null(strstr(script.requests[0], "GET /v1/x HTTP/1.1\r\n"));
    assert_non_null(strstr(script.requests[0], "\r\nAuthorization: Bearer cvk1_a-b_c\r\n"));
    static const char *const unfit[] = {"a b", "a\r\nX: y", "\xc3\xa9"};
    for (size_t i = 0; i < ARRAY_LEN(unfit); i++) {
        config.api_key = unfit[i];
        assert_int_equal(client_new(&client, &config, &why), STATUS_INVALID);
        assert_null(strstr(why.text, unfit[i]));
    }
}

static void names_are_escaped_for_paths(void **state)
{
    (void)state;
    char *text = client_escape("a b/c?d=\xc3\xa9~");
    assert_string_equal(text, "a%20b%2Fc%3Fd%3D%C3%A9~");
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reading_is_repeated_until_the_gateway_is_back),
        cmocka_unit_test(call_is_repeated_with_its_key_and_not_without),
        cmocka_unit_test(refusals_carry_the_gateways_sentence_and_full_disks_are_not_asked_again),
        cmocka_unit_test(upload_starts_again_from_the_begin),
        cmocka_unit_test(download_that_breaks_off_leaves_no_file),
        cmocka_unit_test(whoever_waits_can_be_stopped),
        cmocka_unit_test(key_goes_into_a_header_and_only_if_it_is_fit_for_one),
        cmocka_unit_test(names_are_escaped_for_paths),
    };
    return cmocka_run_group_tests(tests, NULL, test_scratch_end);
}
