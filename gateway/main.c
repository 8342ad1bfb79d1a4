/* convoy-gateway - takes inference, dataset and training jobs over HTTP and sees them through */
#include "gateway/api/api.h"

#include "common/clock.h"
#include "common/daemon.h"
#include "common/enrol.h"
#include "common/limits.h"
#include "common/log.h"
#include "common/netopts.h"
#include "gateway/access/keys.h"
#include "gateway/access/usage.h"
#include "gateway/dataset/jobs.h"
#include "gateway/entrance.h"
#include "gateway/shares.h"
#include "gateway/training/trainings.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define RESERVE_BYTES (4 * MIB) /* given up by the ledger when the disk is full */

struct role {
    struct gateway gateway; /* everything */
    struct daemon_run *run; /* signals */
    char name[128];         /* host and pid, for people */
};

/* --- start --------------------------------------------------------------------------------------
 */

#define BROKER_DEFAULT "tcp://127.0.0.1:7700"

static enum status join_fleet(struct role *role, const char *path, struct error *why)
{
    struct gateway *gateway = &role->gateway;
    const struct enrol_wish wish = {.zmq = gateway->zmq,
                                    .line = gateway->params->join,
                                    .role = WIRE_GATEWAY,
                                    .name = "",
                                    .path = path,
                                    .patience_ms = gateway->params->join_ms,
                                    .stop_fd = daemon_signal_fd(role->run)};
    return enrol_join(&wish, &gateway->curve, why);
}

/* Whom to serve: as we were told, as the fleet that we joined said, else this machine's broker.
 * Brokers with a key want one of ours, whose public half who runs them must be told. */
static enum status find_brokers(struct role *role, const char *path, struct broker_list *brokers,
                                struct error *why)
{
    struct gateway *gateway = &role->gateway;
    const char *named = gateway->params->brokers;
    bool have = gateway->params->join[0] || access(path, F_OK) == 0;
    enum status s = STATUS_OK;
    *brokers = (struct broker_list){.len = 0};
    if (gateway->params->join[0])
        s = join_fleet(role, path, why);
    else if (have)
        s = curve_identity_read(&gateway->curve, path, why);
    if (s == STATUS_OK && named[0])
        s = brokers_parse(brokers, named, why) == STATUS_OK ? s : fail_in(why, "--brokers");
    else if (s == STATUS_OK)
        brokers_of(brokers, &gateway->curve);
    if (s == STATUS_OK && brokers->len == 0)
        s = brokers_parse(brokers, BROKER_DEFAULT, why);
    for (size_t i = 0; i < brokers->len; i++)
        gateway->keyed |= brokers->list[i].keyed;
    if (s == STATUS_OK && gateway->keyed && !have)
        s = curve_identity_open(&gateway->curve, path, why);
    return s;
}

static enum status open_keys(struct role *role, struct broker_list *brokers, struct error *why)
{
    char key[CURVE_TEXT_SIZE], *path = xasprintf("%s/gateway.key", role->gateway.params->data);
    enum status s = find_brokers(role, path, brokers, why);
    if (s == STATUS_OK && role->gateway.keyed)
        LOG_INFO("gateway_key", "public=%s", curve_key_text(key, &role->gateway.curve.public_key));
    free(path);
    return s;
}

static enum status open_registry(struct gateway *gateway, struct error *why)
{
    const struct registry_config config = {
        .ledger = gateway->ledger, .front = gateway->front, .fleet = gateway->fleet};
    return registry_open(&gateway->registry, &config, why);
}

static enum status open_fleet(struct role *role, struct error *why)
{
    struct gateway *gateway = &role->gateway;
    char host[64] = "";
    struct broker_list brokers;
    gateway->zmq = zmq_ctx_new();
    zmq_ctx_set(gateway->zmq, ZMQ_IO_THREADS, 1); /* moves frames only: one is enough */
    enum status s = open_keys(role, &brokers, why);
    if (s != STATUS_OK)
        return s;
    gethostname(host, sizeof host - 1);
    snprintf(role->name, sizeof role->name, "%s:%d", host, (int)getpid());
    const struct fleet_config config = {
        .zmq = gateway->zmq,
        .brokers = brokers,
        .identity = gateway->keyed ? &gateway->curve : NULL,
        .uuid = gateway->identity.uuid,
        .incarnation = gateway->identity.incarnation,
        .name = role->name,
        .front = gateway->front,
        .online_max = MIN(gateway->params->online_tasks_max, gateway->connections_max),
        .online_bytes_max = gateway->params->online_bytes_max,
        .shares = gateway->shares,
    };
    gateway->fleet = fleet_new(&config);
    return STATUS_OK;
}

static enum status open_repository(struct gateway *gateway, struct error *why)
{
    const struct gateway_params *params = gateway->params;
    char *cache = xasprintf("%s/signatures", params->data);
    gateway->models_root =
        *params->models ? xstrdup(params->models) : xasprintf("%s/models", params->data);
    const struct repository_config config = {
        .root = gateway->models_root,
        .cache = cache,
        .front = gateway->front,
        .pool = gateway->pool,
        .fleet = gateway->fleet,
    };
    enum status s = repository_open(&gateway->repository, &config, why);
    free(cache);
    return s;
}

static void post(void *front, void (*fn)(void *arg), void *arg)
{
    front_post(front, fn, arg);
}

static enum status open_ledger(struct gateway *gateway, struct error *why)
{
    char *folder = xasprintf("%s/ledger", gateway->params->data);
    const struct ledger_config config = {
        .folder = folder,
        .reserve_bytes = RESERVE_BYTES,
        .gateway = gateway->identity.uuid,
        .epoch = gateway->identity.incarnation,
        .post = post,
        .context = gateway->front,
    };
    enum status s = ledger_open(&gateway->ledger, &config, why);
    free(folder);
    return s;
}

static enum status open_access(struct gateway *gateway, struct error *why)
{
    const struct keys_config config = {.folder = gateway->params->data, .ledger = gateway->ledger};
    bool wanted;
    enum status s = entrance_rule(gateway->params, &wanted, why); /* before anything is made */
    return s == STATUS_OK ? keys_open(&gateway->keys, &config, why) : s;
}

static enum status open_dead(struct gateway *gateway, struct error *why)
{
    const struct dead_config config = {
        .folder = gateway->params->data,
        .ledger = gateway->ledger,
        .front = gateway->front,
        .pool = gateway->pool,
        .letters_max = gateway->params->dead_max,
        .bytes_max = gateway->params->dead_bytes_max,
    };
    return dead_open(&gateway->dead, &config, why);
}

static enum status open_jobs(struct gateway *gateway, struct error *why)
{
    const struct gateway_params *params = gateway->params;
    const struct jobs_config config = {
        .folder = params->data,
        .ledger = gateway->ledger,
        .usage = gateway->usage,
        .front = gateway->front,
        .pool = gateway->pool,
        .fleet = gateway->fleet,
        .repository = gateway->repository,
        .dead = gateway->dead,
        .upload_max = params->upload_max,
        .chunk_rows_max = params->chunk_rows_max,
        .chunk_bytes_max = params->chunk_bytes_max,
    };
    return jobs_open(&gateway->jobs, &config, why);
}

static enum status open_trainings(struct gateway *gateway, struct error *why)
{
    const struct gateway_params *params = gateway->params;
    const struct trainings_config config = {
        .folder = params->data,
        .models_root = gateway->models_root,
        .ledger = gateway->ledger,
        .usage = gateway->usage,
        .front = gateway->front,
        .pool = gateway->pool,
        .fleet = gateway->fleet,
        .repository = gateway->repository,
        .jobs = gateway->jobs,
        .running_max = params->training_jobs_max,
        .segment_ms = params->training_segment_ms,
    };
    return trainings_open(&gateway->trainings, &config, why);
}

static enum status open_http(struct role *role, struct error *why)
{
    struct gateway *gateway = &role->gateway;
    enum status s = entrance_open(gateway, why);
    if (s != STATUS_OK)
        return s;
    oip_routes(gateway);
    models_routes(gateway);
    admin_routes(gateway);
    nodes_routes(gateway);
    tokens_routes(gateway);
    keys_routes(gateway);
    page_routes(gateway);
    dead_routes(gateway);
    jobs_routes(gateway->jobs, gateway->http);
    trainings_routes(gateway->trainings, gateway->http);
    daemon_endpoint(role->run, entrance_scheme(gateway), http_server_address(gateway->http));
    return STATUS_OK;
}

static enum status gateway_start(void **out, const void *params, struct daemon_run *run,
                                 struct error *why)
{
    struct role *role = xcalloc(1, sizeof *role);
    struct gateway *gateway = &role->gateway;
    *out = role;
    role->run = run;
    gateway->params = params;
    gateway->identity.lock_fd = -1;
    enum status s = shares_parse(&gateway->shares, gateway->params->tenant_shares, why);
    if (s == STATUS_OK)
        s = entrance_room(&gateway->connections_max, gateway->params, why);
    if (s == STATUS_OK)
        s = identity_open(&gateway->identity, gateway->params->data, why);
    if (s != STATUS_OK)
        return s;
    gateway->front = front_new();
    gateway->pool = pool_new(gateway->front, gateway->params->pool_threads, POOL_QUEUE_MAX);
    gateway->usage = usage_new();
    s = open_ledger(gateway, why);
    if (s == STATUS_OK)
        s = open_access(gateway, why);
    if (s == STATUS_OK)
        s = open_fleet(role, why);
    if (s == STATUS_OK)
        s = open_registry(gateway, why);
    if (s == STATUS_OK)
        s = open_repository(gateway, why);
    if (s == STATUS_OK)
        s = open_dead(gateway, why);
    if (s == STATUS_OK)
        s = open_jobs(gateway, why);
    if (s == STATUS_OK)
        s = open_trainings(gateway, why);
    if (s == STATUS_OK)
        s = open_http(role, why);
    if (s == STATUS_OK)
        fleet_start(gateway->fleet);
    return s;
}

/* --- the loop -----------------------------------------------------------------------------------
 */

/* Whole milliseconds until `next_ns`, rounded up, so that we do not wake too early and spin. */
static int wait_ms(uint64_t now_ns, uint64_t next_ns, int timeout_ms)
{
    uint64_t ms = next_ns > now_ns ? (next_ns - now_ns + NS_PER_MS - 1) / NS_PER_MS : 0;
    return timeout_ms < 0 || ms < (uint64_t)timeout_ms ? (int)MIN(ms, UINT64_C(60000)) : timeout_ms;
}

static void wait_for_events(struct role *role, int timeout_ms)
{
    struct gateway *gateway = &role->gateway;
    uint64_t now_ns = clock_mono_ns();
    int fds[2];
    zmq_pollitem_t items[4 + FLEET_POLL_MAX] = {
        {NULL, daemon_signal_fd(role->run), ZMQ_POLLIN, 0},
        {NULL, front_fd(gateway->front), ZMQ_POLLIN, 0},
    };
    size_t len = 2;
    for (size_t i = 0; i < http_server_fds(gateway->http, fds); i++)
        items[len++] = (zmq_pollitem_t){NULL, fds[i], ZMQ_POLLIN, 0};
    len += fleet_poll_items(gateway->fleet, items + len);
    uint64_t next_ns = MIN(front_next_ns(gateway->front), fleet_next_ns(gateway->fleet));
    next_ns = MIN(next_ns, http_server_next_ns(gateway->http, now_ns));
    zmq_poll(items, (int)len, wait_ms(now_ns, next_ns, timeout_ms));
}

static enum status gateway_step(void *arg, int timeout_ms, struct error *why)
{
    struct role *role = arg;
    struct gateway *gateway = &role->gateway;
    (void)why;
    wait_for_events(role, timeout_ms);
    uint64_t now_ns = clock_mono_ns();
    front_turn(gateway->front, now_ns);
    fleet_step(gateway->fleet, now_ns);  /* results first: they make room */
    http_server_step(gateway->http);     /* answers go out, requests come in */
    fleet_flush(gateway->fleet, now_ns); /* what came in together goes out together */
    return STATUS_OK;
}

static bool gateway_drain(void *arg)
{
    struct role *role = arg;
    role->gateway.draining = true;
    bool jobs_idle = jobs_drain(role->gateway.jobs);
    bool trainings_idle = trainings_drain(role->gateway.trainings);
    return http_server_drain(role->gateway.http) && jobs_idle && trainings_idle;
}

static bool gateway_reload(void *arg)
{
    struct role *role = arg;
    return entrance_reload(&role->gateway);
}

static void gateway_stop(void **self_p)
{
    struct role *role = *self_p;
    if (!role)
        return;
    struct gateway *gateway = &role->gateway;
    http_server_close(&gateway->http);
    trainings_close(&gateway->trainings);
    jobs_close(&gateway->jobs);
    dead_close(&gateway->dead);
    registry_close(&gateway->registry);
    ledger_close(&gateway->ledger);
    repository_close(&gateway->repository);
    fleet_destroy(&gateway->fleet);
    pool_destroy(&gateway->pool);
    front_destroy(&gateway->front);
    keys_close(&gateway->keys);
    usage_destroy(&gateway->usage);
    shares_destroy(&gateway->shares);
    if (gateway->zmq)
        zmq_ctx_term(gateway->zmq);
    curve_identity_wipe(&gateway->curve);
    identity_close(&gateway->identity);
    free(gateway->models_root);
    free(role);
    *self_p = NULL;
}

#define PARAMS_STRUCT struct gateway_params
static const struct param params[] = {
#define PARAM PARAM_ROW
#include "gateway/params.def"
#undef PARAM
};
#undef PARAMS_STRUCT

int main(int argc, char **argv)
{
    static const struct daemon role = {
        .name = "gateway",
        .purpose = "Takes inference, dataset and training jobs over HTTP and sees them through.",
        .params = params,
        .nparams = ARRAY_LEN(params),
        .params_bytes = sizeof(struct gateway_params),
        .start = gateway_start,
        .step = gateway_step,
        .drain = gateway_drain,
        .reload = gateway_reload,
        .stop = gateway_stop,
    };
    return daemon_main(&role, argc, argv);
}
