/* world - puts the gateway's parts together; see world.h */
#include "tests/crash/world.h"

#include "common/clock.h"
#include "gateway/access/usage.h"
#include "gateway/api/api.h"
#include "gateway/dataset/jobs.h"
#include "gateway/training/trainings.h"
#include "tests/crash/disk.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define RESERVE_BYTES (64 * KIB)
#define IDLE_MS       1    /* nothing came for so long: time may go on */
#define TURNS_MAX     4000 /* without an end: it will not come */
#define ANSWER_MAX    (256 * KIB)

static struct front *the_front; /* of the one world, for early replies */

/* --- what the gateway tells others ------------------------------------------------------------ */
void __real_http_reply_json(struct http_request *self, int code, json_t *json);
void __wrap_http_reply_json(struct http_request *self, int code, json_t *json);
void __real_ledger_commit(struct ledger *self, struct ledger_change **change_p, ledger_done *done,
                          void *arg);
void __wrap_ledger_commit(struct ledger *self, struct ledger_change **change_p, ledger_done *done,
                          void *arg);

void __real_http_reply_bytes(struct http_request *self, int code, const char *type,
                             struct bytes *bytes);
void __wrap_http_reply_bytes(struct http_request *self, int code, const char *type,
                             struct bytes *bytes);

/* A reply counts from the moment that the gateway decides to send it. */
void __wrap_http_reply_json(struct http_request *self, int code, json_t *json)
{
    static const char *const methods[] = {"GET", "POST", "PUT", "DELETE"};
    char *text = json_dumps(json, JSON_COMPACT);
    if (code < 300)
        disk_mark("reply %s %s %s", methods[http_method(self)], http_path(self), text);
    free(text);
    __real_http_reply_json(self, code, json);
}

/* The answer of a retry. */
void __wrap_http_reply_bytes(struct http_request *self, int code, const char *type,
                             struct bytes *bytes)
{
    if (code < 300 && http_method(self) == HTTP_POST)
        disk_mark("reply POST %s {}", http_path(self));
    __real_http_reply_bytes(self, code, type, bytes);
}

struct early {
    ledger_done *done;
    void *arg;
};

static void call_early(void *arg)
{
    struct early *self = arg;
    struct error why = {.status = STATUS_OK};
    self->done(self->arg, STATUS_OK, &why);
    free(self);
}

void __wrap_ledger_commit(struct ledger *self, struct ledger_change **change_p, ledger_done *done,
                          void *arg)
{
    if (disk_mutant() != MUTANT_EARLY_REPLY || !done) {
        __real_ledger_commit(self, change_p, done, arg);
        return;
    }
    struct early *early = xmalloc(sizeof *early);
    *early = (struct early){done, arg};
    front_post(the_front, call_early, early);
    __real_ledger_commit(self, change_p, NULL, NULL);
}

/* --- life ------------------------------------------------------------------------------------- */
static void post(void *front, void (*fn)(void *arg), void *arg)
{
    front_post(front, fn, arg);
}

static enum status open_ledger(struct gateway *gateway, struct error *why)
{
    char *folder = xasprintf("%s/ledger", gateway->params->data);
    const struct ledger_config config = {.folder = folder,
                                         .reserve_bytes = RESERVE_BYTES,
                                         .gateway = gateway->identity.uuid,
                                         .epoch = gateway->identity.incarnation,
                                         .post = post,
                                         .context = gateway->front};
    enum status s = ledger_open(&gateway->ledger, &config, why);
    free(folder);
    return s;
}

static enum status open_repository(struct gateway *gateway, struct error *why)
{
    char *cache = xasprintf("%s/signatures", gateway->params->data);
    gateway->models_root = xasprintf("%s/models", gateway->params->data);
    const struct repository_config config = {.root = gateway->models_root,
                                             .cache = cache,
                                             .front = gateway->front,
                                             .pool = gateway->pool,
                                             .fleet = gateway->fleet};
    enum status s = repository_open(&gateway->repository, &config, why);
    free(cache);
    return s;
}

static enum status open_dead(struct gateway *gateway, struct error *why)
{
    const struct dead_config config = {.folder = gateway->params->data,
                                       .ledger = gateway->ledger,
                                       .front = gateway->front,
                                       .pool = gateway->pool,
                                       .letters_max = 100,
                                       .bytes_max = MIB};
    return dead_open(&gateway->dead, &config, why);
}

static enum status open_jobs(struct gateway *gateway, struct error *why)
{
    const struct gateway_params *params = gateway->params;
    const struct jobs_config config = {.folder = params->data,
                                       .ledger = gateway->ledger,
                                       .usage = gateway->usage,
                                       .front = gateway->front,
                                       .pool = gateway->pool,
                                       .fleet = gateway->fleet,
                                       .repository = gateway->repository,
                                       .dead = gateway->dead,
                                       .upload_max = params->upload_max,
                                       .chunk_rows_max = params->chunk_rows_max,
                                       .chunk_bytes_max = params->chunk_bytes_max};
    return jobs_open(&gateway->jobs, &config, why);
}

static enum status open_trainings(struct gateway *gateway, struct error *why)
{
    const struct trainings_config config = {.folder = gateway->params->data,
                                            .models_root = gateway->models_root,
                                            .ledger = gateway->ledger,
                                            .usage = gateway->usage,
                                            .front = gateway->front,
                                            .pool = gateway->pool,
                                            .fleet = gateway->fleet,
                                            .repository = gateway->repository,
                                            .jobs = gateway->jobs,
                                            .running_max = 2,
                                            .segment_ms = 5000};
    return trainings_open(&gateway->trainings, &config, why);
}

static enum status open_http(struct gateway *gateway, struct error *why)
{
    const struct http_config config = {.address = "127.0.0.1:0",
                                       .connections_max = 16,
                                       .body_max = MIB,
                                       .body_timeout_ms = 3600000,
                                       .idle_timeout_ms = 3600000,
                                       .front = gateway->front,
                                       .pool = gateway->pool};
    enum status s = http_server_open(&gateway->http, &config, why);
    if (s == STATUS_OK) {
        models_routes(gateway);
        dead_routes(gateway);
        jobs_routes(gateway->jobs, gateway->http);
        trainings_routes(gateway->trainings, gateway->http);
    }
    return s;
}

enum status world_open(struct world *self, const char *root, struct error *why)
{
    struct gateway *gateway = &self->gateway;
    memset(self, 0, sizeof *self);
    text_copy(self->root, sizeof self->root, root);
    self->params = (struct gateway_params){.data = self->root,
                                           .upload_max = MIB,
                                           .chunk_rows_max = 8,
                                           .chunk_bytes_max = MIB,
                                           .infer_budget_ms = 1000000};
    gateway->params = &self->params;
    enum status s = identity_open(&gateway->identity, root, why);
    if (s != STATUS_OK)
        return s;
    gateway->front = the_front = front_new();
    gateway->pool = pool_new(gateway->front, 1, 64);
    gateway->usage = usage_new();
    s = open_ledger(gateway, why);
    const struct fleet_config fleet = {.incarnation = gateway->identity.incarnation};
    gateway->fleet = fleet_new(&fleet);
    if (s == STATUS_OK)
        s = open_repository(gateway, why);
    if (s == STATUS_OK)
        s = open_dead(gateway, why);
    if (s == STATUS_OK)
        s = open_jobs(gateway, why);
    if (s == STATUS_OK)
        s = open_trainings(gateway, why);
    if (s == STATUS_OK)
        s = open_http(gateway, why);
    return s;
}

void world_close(struct world *self)
{
    struct gateway *gateway = &self->gateway;
    http_server_close(&gateway->http);
    trainings_close(&gateway->trainings);
    jobs_close(&gateway->jobs);
    dead_close(&gateway->dead);
    ledger_close(&gateway->ledger);
    repository_close(&gateway->repository);
    fleet_destroy(&gateway->fleet);
    pool_destroy(&gateway->pool);
    front_destroy(&gateway->front);
    usage_destroy(&gateway->usage);
    identity_close(&gateway->identity);
    free(gateway->models_root);
}

/* --- the loop --------------------------------------------------------------------------------- */
void world_turn(struct world *self)
{
    struct gateway *gateway = &self->gateway;
    struct pollfd items[3] = {{front_fd(gateway->front), POLLIN, 0}};
    int fds[2];
    nfds_t len = 1;
    for (size_t i = 0; i < http_server_fds(gateway->http, fds); i++)
        items[len++] = (struct pollfd){fds[i], POLLIN, 0};
    if (poll(items, len, fleet_busy(gateway->fleet) ? 0 : IDLE_MS) == 0)
        clock_skip(100 * NS_PER_MS);
    front_turn(gateway->front, clock_mono_ns());
    fleet_step(gateway->fleet, clock_mono_ns());
    http_server_step(gateway->http);
}

bool world_until(struct world *self, bool (*wanted)(struct world *self, void *arg), void *arg)
{
    for (int i = 0; i < TURNS_MAX; i++) {
        if (wanted(self, arg))
            return true;
        world_turn(self);
    }
    return false;
}

/* --- a client --------------------------------------------------------------------------------- */
static int connect_to(const char *address)
{
    struct sockaddr_in place = {.sin_family = AF_INET,
                                .sin_port = htons((uint16_t)atoi(strrchr(address, ':') + 1)),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (const struct sockaddr *)&place, sizeof place) != 0)
        panic("the gateway does not listen: %s", strerror(errno));
    return fd;
}

struct reading {
    int fd;
    char *text; /* ANSWER_MAX */
    size_t used;
};

static bool whole(struct world *self, void *arg)
{
    struct reading *reading = arg;
    (void)self;
    ssize_t got = recv(reading->fd, reading->text + reading->used, ANSWER_MAX - 1 - reading->used,
                       MSG_DONTWAIT);
    if (got > 0)
        reading->used += (size_t)got;
    return got == 0 || (got < 0 && errno == ECONNRESET);
}

struct answer world_ask(struct world *self, const char *method, const char *path, const char *key,
                        const void *body, size_t size)
{
    struct answer answer = {0, NULL};
    struct reading reading = {.fd = connect_to(http_server_address(self->gateway.http)),
                              .text = xcalloc(1, ANSWER_MAX)};
    char *named = key ? xasprintf("Idempotency-Key: %s\r\n", key) : xstrdup("");
    char *head = xasprintf("%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%s"
                           "Content-Length: %zu\r\n\r\n",
                           method, path, named, size);
    disk_mark("asked %s %s %s", method, path, key ? key : "");
    if (send(reading.fd, head, strlen(head), MSG_NOSIGNAL) < 0 ||
        (size && send(reading.fd, body, size, MSG_NOSIGNAL) < 0))
        panic("the gateway does not listen: %s", strerror(errno));
    if (world_until(self, whole, &reading) && sscanf(reading.text, "HTTP/1.1 %d", &answer.code)) {
        const char *text = strstr(reading.text, "\r\n\r\n");
        answer.body = text ? json_loads(text + 4, JSON_DECODE_ANY, NULL) : NULL;
    }
    close(reading.fd);
    free(reading.text);
    free(named);
    free(head);
    return answer;
}
