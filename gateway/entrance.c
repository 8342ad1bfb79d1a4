/* entrance - see entrance.h */
#include "gateway/entrance.h"

#include "common/clock.h"
#include "common/limits.h"
#include "common/log.h"
#include "common/netopts.h"
#include "gateway/access/keys.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define CONNECTIONS_LEAST 4
#define SOON_MS                                                                                    \
    (INT64_C(14) * 86400 * 1000) /* a certificate that ends by then is worth a warning */

/* --- the rule ----------------------------------------------------------------------------------
 */
static enum status needs_tls(const char *address, struct error *why)
{
    return fail(
        why, STATUS_INVALID,
        "--http %.200s is not on loopback, and HTTP there needs TLS: give a certificate and "
        "its key by --http-cert FILE --http-key FILE (deploy/KEYS.md shows how to make "
        "them), or listen on 127.0.0.1; --http-insecure does without, and then anybody on "
        "the way can read and change requests, answers and keys",
        address);
}

enum status entrance_rule(const struct gateway_params *params, bool *keys, struct error *why)
{
    struct endpoint at;
    bool tls = *params->http_cert, needed;
    enum status s = endpoint_parse_hostport(&at, params->http, why);
    if (s != STATUS_OK)
        return fail_in(why, "--http");
    needed = !at.loopback && !params->http_insecure;
    *keys = params->http_keys || needed;
    if (!*params->http_cert != !*params->http_key)
        return fail(why, STATUS_INVALID, "--http-cert and --http-key: give both or none");
    if (needed && !tls)
        return needs_tls(params->http, why);
    if (!at.loopback && !(tls && *keys))
        LOG_WARN("http_insecure", "address=%s given_up=%s", params->http,
                 tls     ? "keys: whoever reaches this address may do everything"
                 : *keys ? "TLS: whoever is on the way reads and changes requests, answers and keys"
                         : "TLS and keys: whoever is on the way reads and changes everything, "
                           "whoever reaches this address may do everything");
    return STATUS_OK;
}

/* --- the certificate ---------------------------------------------------------------------------
 */
static void say_pair(const struct tls_pair *pair, const char *event)
{
    char when[CLOCK_TEXT_SIZE];
    clock_text(when, pair->expires_ms);
    LOG_INFO(event, "subject=%s expires=%s", pair->subject, when);
    if (pair->expires_ms < clock_wall_ms() + SOON_MS)
        LOG_WARN("certificate_ends", "subject=%s expires=%s action=%s", pair->subject, when,
                 "put a new one in its place, then SIGHUP");
}

struct reload {
    struct gateway *gateway;
    struct tls_pair *pair; /* read */
    struct error why;      /* or not */
};

static void reload_work(void *arg)
{
    struct reload *self = arg;
    const struct gateway_params *params = self->gateway->params;
    self->why.status = STATUS_OK;
    tls_pair_load(&self->pair, params->http_cert, params->http_key, &self->why);
}

static void reload_done(void *arg)
{
    struct reload *self = arg;
    if (self->pair && self->gateway->http) {
        say_pair(self->pair, "certificate_reloaded");
        http_server_use(self->gateway->http, self->pair);
    } else if (self->pair) {
        tls_pair_free(&self->pair); /* we are ending */
    } else {
        LOG_ERROR("certificate_kept", "why=%s action=%s", self->why.text,
                  "the old one stays in use: mend the files, then SIGHUP");
    }
    free(self);
}

bool entrance_reload(struct gateway *gateway)
{
    if (!*gateway->params->http_cert)
        return false;
    struct reload *reload = xcalloc(1, sizeof *reload);
    reload->gateway = gateway;
    pool_continue(gateway->pool, reload_work, reload_done, reload);
    return true;
}

/* --- room --------------------------------------------------------------------------------------
 */
enum status entrance_room(uint32_t *connections, const struct gateway_params *params,
                          struct error *why)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) != 0)
        return fail(why, STATUS_INTERNAL, "the limit of open files cannot be read");
    uint64_t fit =
        files.rlim_cur > GATEWAY_SPARE_FDS ? (files.rlim_cur - GATEWAY_SPARE_FDS) / 2 : 0;
    if (fit < CONNECTIONS_LEAST)
        return fail(why, STATUS_UNAVAILABLE,
                    "only %" PRIu64
                    " open files are allowed, at least %d are needed: raise ulimit -n",
                    (uint64_t)files.rlim_cur, GATEWAY_SPARE_FDS + 2 * CONNECTIONS_LEAST);
    if (params->http_connections_max > fit)
        LOG_WARN("connections_cut", "http_connections_max=%u fit=%" PRIu64 " hint=%s",
                 params->http_connections_max, fit, "raise ulimit -n");
    *connections = (uint32_t)MIN(fit, (uint64_t)params->http_connections_max);
    return STATUS_OK;
}

/* --- listening ---------------------------------------------------------------------------------
 */
enum status entrance_open(struct gateway *gateway, struct error *why)
{
    const struct gateway_params *params = gateway->params;
    bool keys = false;
    struct http_config config = {
        .address = params->http,
        .connections_max = gateway->connections_max,
        .body_max = params->http_body_max,
        .body_timeout_ms = params->http_body_timeout_ms,
        .idle_timeout_ms = params->http_idle_timeout_ms,
        .front = gateway->front,
        .pool = gateway->pool,
        .admit_arg = gateway->keys,
    };
    enum status s = entrance_rule(params, &keys, why);
    if (s == STATUS_OK && *params->http_cert)
        s = tls_pair_load(&config.tls, params->http_cert, params->http_key, why);
    if (s != STATUS_OK)
        return s;
    if (config.tls)
        say_pair(config.tls, "certificate");
    config.admit = keys ? keys_admit : NULL;
    s = http_server_open(&gateway->http, &config, why);
    return s == STATUS_OK ? keys_start(gateway->keys, keys, why) : s;
}

const char *entrance_scheme(const struct gateway *gateway)
{
    return *gateway->params->http_cert ? "https" : "http";
}
