/* convoy up - a whole fleet on this machine: brokers, gateway and workers as child processes
 *
 * A program that dies is started again, after a pause that grows while it keeps dying; the fleet's
 * own rules make sure that nothing is lost. Ctrl-C drains: workers first, then the gateway, then
 * the brokers. */
#include "gateway/cli/child.h"
#include "gateway/cli/cli.h"
#include "gateway/cli/up_keys.h"

#include "common/clock.h"
#include "common/file.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <sodium/utils.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define WORKERS_MAX      64
#define WORKERS_USUAL    UINT_MAX
#define UP_BROKERS_MAX   8
#define UP_PORTS         3   /* that a broker takes in a row where its links are CURVE ones */
#define RESTART_PAUSE_MS 200 /* doubles with each start in a row, at most 10 s */
#define RESTART_MAX_MS   10000
#define STEADY_MS        30000 /* having run so long, the next death counts as a first */
#define DRAIN_MS         20000 /* then a child that is still there is killed */

struct up_broker {
    struct child child;
    char control[NET_ADDRESS_MAX]; /* where it listens */
    char reach[NET_ADDRESS_MAX];   /* where this machine reaches it */
    char key[CURVE_TEXT_SIZE];     /* its public key, when keyed */
};

struct fleet {
    struct up_broker brokers[UP_BROKERS_MAX];
    unsigned brokers_len;
    struct child gateway;
    struct child workers[WORKERS_MAX];
    unsigned workers_len;
    char http[256];       /* the gateway's address */
    char url[UP_URL_MAX]; /* where to ask it */
    bool keyed;           /* links are CURVE ones: the brokers can be reached by others */
};

struct arguments {
    unsigned workers; /* WORKERS_USUAL: 2, or 1 on a single core */
    unsigned threads; /* per worker; 0: cores / workers */
    unsigned brokers;
    const char *http;
    const char *data;
    const char *broker; /* where the first broker listens */
};

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct arguments *a = state->input;
    char *end = NULL;
    unsigned long number = argument ? strtoul(argument, &end, 10) : 0;
    switch (key) {
    case 'w':
    case 't':
        if (!end || *end || number < (key == 't') || number > WORKERS_MAX)
            argp_error(state, "--%s is \"%s\", expected %d to %d",
                       key == 'w' ? "workers" : "threads", argument, key == 't', WORKERS_MAX);
        *(key == 'w' ? &a->workers : &a->threads) = (unsigned)number;
        return 0;
    case 'B':
        if (!end || *end || number < 1 || number > UP_BROKERS_MAX)
            argp_error(state, "--brokers is \"%s\", expected 1 to %d", argument, UP_BROKERS_MAX);
        a->brokers = (unsigned)number;
        return 0;
    case 'h':
        a->http = argument;
        return 0;
    case 'd':
        a->data = argument;
        return 0;
    case 'b':
        a->broker = argument;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "\"%s\" is too much", argument);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* --- start --------------------------------------------------------------------------------------
 */

static enum status start_one(struct child *child, char line[static CHILD_READY_MAX],
                             struct error *why)
{
    enum status s = child_start(child, why);
    return s == STATUS_OK ? child_ready(child, line, why) : s;
}

/* Off loopback: the broker is told whom to let in before anybody is there. */
static enum status add_broker_keys(struct up_broker *broker, const struct arguments *a,
                                   const char *listen, struct error *why)
{
    char key[CURVE_TEXT_SIZE];
    struct endpoint endpoint;
    enum status s = up_keys_gateway(key, a->data, why);
    if (s == STATUS_OK)
        s = endpoint_parse(&endpoint, listen, why);
    if (s != STATUS_OK)
        return s;
    child_add(&broker->child, "--state=%s/%s", a->data, broker->child.name);
    child_add(&broker->child, "--gateway-keys=%s", key);
    if (endpoint.port) /* what a firewall is to let through is known before */
        child_add(&broker->child, "--data-port=%u", endpoint.port + 1u);
    return s;
}

static enum status read_broker_key(struct up_broker *broker, const struct arguments *a,
                                   struct error *why)
{
    char *folder = xasprintf("%s/%s", a->data, broker->child.name);
    enum status s = up_keys_broker(broker->key, folder, why);
    free(folder);
    return s;
}

/* The first one listens where it was told, each further one a few ports behind. */
static enum status listen_of(char into[static NET_ADDRESS_MAX], const char *first, unsigned number,
                             struct error *why)
{
    struct endpoint at;
    enum status s = endpoint_parse(&at, first, why);
    if (s != STATUS_OK)
        return s;
    unsigned port = at.port ? at.port + number * UP_PORTS : 0;
    const char *colon = strrchr(first, ':');
    if (port > UINT16_MAX - UP_PORTS)
        return fail(why, STATUS_INVALID, "no ports are left behind %s for more brokers", first);
    snprintf(into, NET_ADDRESS_MAX, "%.*s:%u", (int)(colon - first), first, port);
    return STATUS_OK;
}

static enum status start_broker(struct fleet *fleet, const struct arguments *a, const char *logs,
                                struct error *why)
{
    char line[CHILD_READY_MAX], listen[NET_ADDRESS_MAX], name[32] = "broker";
    unsigned number = fleet->brokers_len++;
    struct up_broker *broker = &fleet->brokers[number];
    if (number > 0)
        snprintf(name, sizeof name, "broker-%u", number + 1);
    child_make(&broker->child, name, "convoy-broker", logs);
    enum status s = up_keys_needed(&fleet->keyed, a->broker, why);
    if (s == STATUS_OK)
        s = listen_of(listen, a->broker, number, why);
    if (s == STATUS_OK && fleet->keyed)
        s = add_broker_keys(broker, a, listen, why);
    if (s == STATUS_OK) {
        child_add(&broker->child, "--listen=%s", listen);
        s = start_one(&broker->child, line, why);
    }
    if (s == STATUS_OK && fleet->keyed)
        s = read_broker_key(broker, a, why);
    if (s != STATUS_OK)
        return s;
    child_endpoint(line, "control", broker->control, sizeof broker->control);
    up_keys_reach(broker->reach, broker->control);
    /* A restarted broker must be found where the others look for it. */
    free(broker->child.arguments[--broker->child.arguments_len]);
    child_add(&broker->child, "--listen=%s", broker->control);
    return STATUS_OK;
}

/* The brokers as a parameter lists them; free() it. */
static char *brokers_text(const struct fleet *fleet)
{
    char *text = xstrdup("");
    for (unsigned i = 0; i < fleet->brokers_len; i++) {
        const struct up_broker *broker = &fleet->brokers[i];
        char *longer = xasprintf("%s%s%s%s%s", text, i ? "," : "", broker->reach,
                                 fleet->keyed ? "=" : "", broker->key);
        free(text);
        text = longer;
    }
    return text;
}

static enum status start_gateway(struct fleet *fleet, const struct arguments *a, const char *logs,
                                 struct error *why)
{
    char line[CHILD_READY_MAX];
    char *brokers = brokers_text(fleet);
    child_make(&fleet->gateway, "gateway", "convoy-gateway", logs);
    child_add(&fleet->gateway, "--brokers=%s", brokers);
    free(brokers);
    child_add(&fleet->gateway, "--data=%s", a->data);
    child_add(&fleet->gateway, "--http=%s", a->http);
    enum status s = start_one(&fleet->gateway, line, why);
    if (s != STATUS_OK)
        return s;
    bool tls = !*child_endpoint(line, "http", fleet->http, sizeof fleet->http);
    if (tls)
        child_endpoint(line, "https", fleet->http, sizeof fleet->http);
    up_keys_url(fleet->url, fleet->http, tls);
    free(fleet->gateway.arguments[--fleet->gateway.arguments_len]);
    child_add(&fleet->gateway, "--http=%s", fleet->http);
    return STATUS_OK;
}

/* How a worker finds the broker: by its address, or by who it is. The token is for those that were
 * here never before; it is asked for once. */
static enum status add_fleet(struct fleet *fleet, const struct arguments *a, struct child *worker,
                             char **token, struct error *why)
{
    enum status s = STATUS_OK;
    if (!fleet->keyed) {
        char *brokers = brokers_text(fleet);
        child_add(worker, "--brokers=%s", brokers);
        free(brokers);
        return s;
    }
    char *folder = xasprintf("%s/%s", a->data, worker->name);
    child_add(worker, "--state=%s", folder);
    if (!up_keys_joined(folder)) {
        if (!*token)
            s = up_keys_token(token, a->data, fleet->url, a->workers, why);
        if (s == STATUS_OK)
            child_add(worker, "--join=%s", *token);
    }
    free(folder);
    return s;
}

static enum status start_workers(struct fleet *fleet, const struct arguments *a, const char *logs,
                                 struct error *why)
{
    char line[CHILD_READY_MAX], name[32], *token = NULL;
    enum status s = STATUS_OK;
    for (unsigned i = 0; i < a->workers && s == STATUS_OK; i++) {
        struct child *worker = &fleet->workers[fleet->workers_len++];
        snprintf(name, sizeof name, "worker-%u", i + 1);
        child_make(worker, name, "convoy-worker", logs);
        s = add_fleet(fleet, a, worker, &token, why);
        child_add(worker, "--name=%s", name);
        child_add(worker, "--threads=%u", a->threads);
        child_add(worker, "--store=%s/store", a->data);
        if (s == STATUS_OK)
            s = start_one(worker, line, why);
    }
    if (token)
        sodium_memzero(token, strlen(token));
    free(token);
    return s;
}

static enum status start_fleet(struct fleet *fleet, const struct arguments *a, struct error *why)
{
    char *logs = xasprintf("%s/logs", a->data);
    enum status s = file_mkdirs(logs, why);
    while (s == STATUS_OK && fleet->brokers_len < a->brokers)
        s = start_broker(fleet, a, logs, why);
    if (s == STATUS_OK)
        s = start_gateway(fleet, a, logs, why);
    if (s == STATUS_OK)
        s = start_workers(fleet, a, logs, why);
    free(logs);
    return s;
}

/* --- watch --------------------------------------------------------------------------------------
 */

static struct child *child_at(struct fleet *fleet, unsigned i)
{
    if (i < fleet->brokers_len)
        return &fleet->brokers[i].child;
    i -= fleet->brokers_len;
    if (i == 0)
        return &fleet->gateway;
    return i - 1 < fleet->workers_len ? &fleet->workers[i - 1] : NULL;
}

static void say_end(const struct child *child, int status)
{
    char words[512];
    if (WIFSIGNALED(status))
        fprintf(stderr, "%s was ended by signal %d (%s)\n", child->name, WTERMSIG(status),
                strsignal(WTERMSIG(status)));
    else
        fprintf(stderr, "%s ended with exit status %d: %s\n", child->name, WEXITSTATUS(status),
                child_last_words(child, words, sizeof words));
}

static void reap(struct fleet *fleet, bool draining)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        for (unsigned i = 0; child_at(fleet, i); i++) {
            struct child *child = child_at(fleet, i);
            if (child->pid != pid)
                continue;
            child->pid = 0;
            if (!draining)
                say_end(child, status);
        }
}

/* Start what died, once its pause is over. */
static void revive(struct fleet *fleet)
{
    uint64_t now_ns = clock_mono_ns();
    for (unsigned i = 0; child_at(fleet, i); i++) {
        struct child *child = child_at(fleet, i);
        struct error why;
        uint64_t pause_ms = (uint64_t)RESTART_PAUSE_MS << MIN(child->starts, 8u);
        if (child->pid != 0) {
            if (child->starts > 1 && now_ns >= child->started_ns + STEADY_MS * NS_PER_MS)
                child->starts = 1;
            continue;
        }
        if (now_ns < child->started_ns + MIN(pause_ms, (uint64_t)RESTART_MAX_MS) * NS_PER_MS)
            continue;
        if (child_start(child, &why) == STATUS_OK)
            fprintf(stderr, "%s was started again (pid %d)\n", child->name, (int)child->pid);
        else
            fprintf(stderr, "convoy up: %s\n", why.text);
    }
}

/* --- end ----------------------------------------------------------------------------------------
 */

/* Ask children [first, end) to drain, wait, and kill what stays. */
static void end_some(struct fleet *fleet, unsigned first, unsigned end)
{
    uint64_t limit_ns = clock_mono_ns() + DRAIN_MS * NS_PER_MS;
    bool any = true;
    for (unsigned i = first; i < end && child_at(fleet, i); i++)
        if (child_at(fleet, i)->pid > 0)
            kill(child_at(fleet, i)->pid, SIGTERM);
    while (any) {
        any = false;
        reap(fleet, true);
        for (unsigned i = first; i < end && child_at(fleet, i); i++) {
            struct child *child = child_at(fleet, i);
            any = any || child->pid > 0;
            if (child->pid > 0 && clock_mono_ns() > limit_ns)
                kill(child->pid, SIGKILL);
        }
        if (any)
            poll(NULL, 0, 20);
    }
}

static void end_fleet(struct fleet *fleet)
{
    unsigned gateway = fleet->brokers_len;
    end_some(fleet, gateway + 1, gateway + 1 + fleet->workers_len);
    end_some(fleet, gateway, gateway + 1);
    end_some(fleet, 0, gateway);
    for (unsigned i = 0; child_at(fleet, i); i++)
        child_free(child_at(fleet, i));
}

static void greet(const struct fleet *fleet, const struct arguments *a)
{
    bool usual = strcmp(fleet->url, "http://127.0.0.1:8000") == 0; /* as the commands ask */
    printf("the fleet is up: %u worker%s of %u thread%s, logs in %s/logs\n\n"
           "  gateway  %s      a browser shows what goes on\n",
           a->workers, a->workers == 1 ? "" : "s", a->threads, a->threads == 1 ? "" : "s", a->data,
           fleet->url);
    for (unsigned i = 0; i < fleet->brokers_len; i++)
        printf("  broker   %s\n", fleet->brokers[i].control);
    printf("\ntry, in another terminal:\n");
    if (!usual)
        printf("  export CONVOY_GATEWAY=%s\n", fleet->url);
    up_keys_say(stdout, a->data, fleet->url);
    printf("  convoy models add MODEL.onnx\n"
           "  convoy score MODEL DATA.npy -o SCORES.npy\n"
           "  convoy train NETWORK.json --data DATA --labels LABELS --epochs 5\n");
    char *brokers = brokers_text(fleet);
    if (fleet->keyed)
        printf("  convoy token create      a line for `convoy-worker --join` on another machine\n");
    else
        printf("  convoy-worker --brokers %s      one more worker\n", brokers);
    free(brokers);
    printf("\nCtrl-C drains and ends all of it.\n");
    fflush(stdout);
}

int cli_up(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"workers", 'w', "N", 0, "worker processes, 0 for none (2, or 1 on a single core)", 0},
        {"threads", 't', "N", 0, "threads of each worker (cores / workers)", 0},
        {"http", 'h', "ADDR:PORT", 0, "where the gateway listens (127.0.0.1:8000; port 0: any)", 0},
        {"broker", 'b', "ADDRESS", 0,
         "where the broker listens (tcp://127.0.0.1:7700); where others reach it, links are "
         "encrypted and they join by `convoy token create`",
         0},
        {"brokers", 'B', "N", 0, "broker processes (1), each three ports behind the one before", 0},
        {"data", 'd', "DIR", 0, "models, jobs, results and logs (convoy-data)", 0},
        {0},
    };
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .doc = "Run a broker, a gateway and workers on this machine until Ctrl-C.\vThe programs "
               "take further parameters from the environment, such as CONVOY_HTTP_CERT and "
               "CONVOY_HTTP_KEY for HTTPS; their own --help lists them.",
        .children = cli_globals,
    };
    long cores = MAX(sysconf(_SC_NPROCESSORS_ONLN), 1);
    struct arguments a = {.workers = WORKERS_USUAL,
                          .brokers = 1,
                          .http = "127.0.0.1:8000",
                          .data = "convoy-data",
                          .broker = "tcp://127.0.0.1:7700"};
    struct error why;
    cli_parse(&argp, argc, argv, &a);
    if (a.workers == WORKERS_USUAL)
        a.workers = cores > 1 ? 2 : 1;
    if (!a.threads)
        a.threads = (unsigned)MAX(cores / MAX(a.workers, 1u), 1);
    cli_catch_interrupts();
    struct fleet *fleet = xcalloc(1, sizeof *fleet);
    fleet->gateway.ready_fd = -1;
    enum status s = start_fleet(fleet, &a, &why);
    if (s == STATUS_OK)
        greet(fleet, &a);
    while (s == STATUS_OK && !cli_interrupted(NULL)) {
        reap(fleet, false);
        revive(fleet);
        poll(NULL, 0, 100);
    }
    if (s == STATUS_OK && !cli_options.quiet)
        fputs("\ndraining ...\n", stderr);
    int code = s == STATUS_OK || cli_interrupted(NULL) ? CLI_EXIT_OK : cli_fail(&why);
    end_fleet(fleet);
    free(fleet);
    return code;
}
