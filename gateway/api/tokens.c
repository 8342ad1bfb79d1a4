/* tokens - lines that let new machines join: made, listed, removed */
#include "gateway/api/api.h"

#include "common/clock.h"
#include "common/token.h"

#include <inttypes.h>
#include <sodium/utils.h>
#include <stdlib.h>
#include <string.h>

#define BODY_MAX    (16 * KIB)
#define TTL_DEFAULT 3600

/* --- a token as JSON ----------------------------------------------------------------------------
 */

static const char *state_of(const struct ledger_token *record)
{
    if (clock_wall_ms() >= record->expires_ms)
        return "expired";
    return record->used >= record->uses ? "used" : "open";
}

static json_t *token_json(const struct ledger_token *record)
{
    char id[ID_TEXT_SIZE];
    return json_pack("{s:o, s:s, s:s, s:s, s:I, s:I, s:I, s:I}", "id",
                     json_sprintf("token-%s", id_text(id, &record->id)), "object", "token", "role",
                     record->role == WIRE_GATEWAY ? "gateway" : "worker", "state", state_of(record),
                     "uses", (json_int_t)record->uses, "used", (json_int_t)record->used,
                     "created_at", (json_int_t)(record->created_ms / 1000), "expires_at",
                     (json_int_t)(record->expires_ms / 1000));
}

/* --- making one ---------------------------------------------------------------------------------
 */

struct making {
    struct gateway *gateway;
    struct http_request *request; /* to be replied */
    struct registry_wish wish;    /* what is asked for */
    struct token token;           /* what will be the line */
    struct uuid id;               /* of the record */
};

static void made(void *arg, enum status status, const struct error *why)
{
    struct making *self = arg;
    json_t *reply = NULL;
    for (size_t i = 0; status == STATUS_OK && i < registry_tokens(self->gateway->registry); i++) {
        const struct ledger_token *record = registry_token(self->gateway->registry, i);
        if (id_equal(&record->id, &self->id))
            reply = token_json(record);
    }
    if (reply) {
        char *line = token_write(&self->token);
        json_t *brokers = json_array();
        for (size_t i = 0; i < self->token.brokers_len; i++)
            json_array_append_new(brokers, json_string(self->token.brokers[i].control));
        json_object_set_new(reply, "token", json_string(line));
        json_object_set_new(reply, "brokers", brokers);
        http_reply_header(self->request, "Cache-Control", "no-store");
        http_reply_json(self->request, 201, reply);
        sodium_memzero(line, strlen(line));
        free(line);
    } else if (status != STATUS_OK) {
        http_reply_error(self->request, why, NULL);
    } else {
        http_reply_fail(self->request, STATUS_CONFLICT, "the token was removed meanwhile");
    }
    token_wipe(&self->token);
    free(self);
}

/* "tcp://127.0.0.1:7700" as another machine sees it: with that machine's name for us. */
static enum status set_address(char into[static NET_ADDRESS_MAX], const char *address,
                               const char *host, struct error *why)
{
    struct endpoint endpoint;
    enum status s = endpoint_parse(&endpoint, address, why);
    if (s != STATUS_OK || !*host || !endpoint.loopback) {
        text_copy(into, NET_ADDRESS_MAX, address);
        return s;
    }
    bool v6 = strchr(host, ':') && *host != '[';
    if (snprintf(into, NET_ADDRESS_MAX, "tcp://%s%s%s:%u", v6 ? "[" : "", host, v6 ? "]" : "",
                 endpoint.port) >= NET_ADDRESS_MAX)
        return fail(why, STATUS_INVALID, "host: longer than an address can be");
    s = endpoint_check(into, true, why);
    return s == STATUS_OK ? s : fail_in(why, "host");
}

/* Address and key of every broker that a new machine can be let in by. */
static enum status fill_brokers(struct making *self, const char *host, struct error *why)
{
    const struct fleet *fleet = self->gateway->fleet;
    for (uint32_t i = 0; i < fleet_brokers(fleet); i++) {
        struct fleet_broker broker = fleet_broker(fleet, i);
        struct token_broker *out = &self->token.brokers[self->token.brokers_len];
        if (!broker.trusted || !broker.enrol[0] || self->token.brokers_len == TOKEN_BROKERS_MAX)
            continue;
        enum status s = set_address(out->control, broker.control, host, why);
        if (s == STATUS_OK)
            s = set_address(out->enrol, broker.enrol, host, why);
        if (s != STATUS_OK)
            return s;
        out->key = broker.key;
        self->token.brokers_len++;
    }
    if (self->token.brokers_len > 0)
        return STATUS_OK;
    return fail(
        why, STATUS_CONFLICT,
        "no link of this gateway is encrypted, so nobody can join by a token: start the "
        "fleet by `convoy up --broker tcp://ADDRESS:7700`, or give the gateway its brokers' "
        "keys (--brokers ENDPOINT=KEY)");
}

static bool read_number(const json_t *body, const char *name, uint32_t missing, uint32_t max,
                        uint32_t *out, struct error *why)
{
    const json_t *value = json_object_get(body, name);
    json_int_t number = value ? json_integer_value(value) : missing;
    *out = (uint32_t)number;
    if ((!value || json_is_integer(value)) && number >= 1 && number <= (json_int_t)max)
        return true;
    fail(why, STATUS_INVALID, "%s: expected a number of 1 to %" PRIu32, name, max);
    return false;
}

static enum status read_wish(struct making *self, const json_t *body, const char **param,
                             struct error *why)
{
    const json_t *role = json_object_get(body, "role"), *host = json_object_get(body, "host");
    const char *text = role ? json_string_value(role) : "worker";
    *param = "role";
    if (!text || (strcmp(text, "worker") != 0 && strcmp(text, "gateway") != 0))
        return fail(why, STATUS_INVALID, "role: expected \"worker\" or \"gateway\"");
    self->wish.role = strcmp(text, "gateway") == 0 ? WIRE_GATEWAY : WIRE_WORKER;
    self->token.role = self->wish.role;
    *param = "uses";
    if (!read_number(body, "uses", 1, REGISTRY_USES_MAX, &self->wish.uses, why))
        return why->status;
    *param = "ttl_s";
    if (!read_number(body, "ttl_s", TTL_DEFAULT, REGISTRY_TTL_MAX_S, &self->wish.ttl_s, why))
        return why->status;
    *param = "host";
    if (host && !json_is_string(host))
        return fail(why, STATUS_INVALID, "host: expected a text");
    enum status s = fill_brokers(self, host ? json_string_value(host) : "", why);
    if (s == STATUS_CONFLICT)
        *param = NULL;
    return s;
}

static enum status read_body(struct http_request *request, json_t **body, struct error *why)
{
    json_error_t at = {.text = ""};
    size_t size = 0;
    const char *text = http_body(request, &size);
    *body = NULL;
    if (size > BODY_MAX)
        return fail(why, STATUS_TOO_LARGE, "the body has %zu octets, the limit is %zu", size,
                    BODY_MAX);
    *body = size ? json_loadb(text, size, 0, &at) : json_object();
    if (json_is_object(*body))
        return STATUS_OK;
    return *body ? fail(why, STATUS_INVALID, "the body is no JSON object")
                 : fail(why, STATUS_INVALID, "the body is no JSON object: line %d column %d: %s",
                        at.line, at.column, at.text);
}

static void tokens_create(struct http_request *request, void *owner)
{
    struct making *self = xcalloc(1, sizeof *self);
    struct error why = {.status = STATUS_OK};
    const char *param = NULL;
    json_t *body;
    self->gateway = owner;
    self->request = request;
    enum status s = read_body(request, &body, &why);
    if (s == STATUS_OK)
        s = read_wish(self, body, &param, &why);
    json_decref(body);
    if (s == STATUS_OK)
        s = registry_token_make(self->gateway->registry, &self->wish, self->token.secret, &self->id,
                                made, self, &why);
    if (s == STATUS_OK)
        return;
    http_reply_error(request, &why, param);
    token_wipe(&self->token);
    free(self);
}

/* --- the rest -----------------------------------------------------------------------------------
 */

static void tokens_list(struct http_request *request, void *owner)
{
    const struct gateway *gateway = owner;
    json_t *data = json_array();
    for (size_t i = registry_tokens(gateway->registry); i > 0; i--)
        json_array_append_new(data, token_json(registry_token(gateway->registry, i - 1)));
    http_reply_json(request, 200, json_pack("{s:s, s:o}", "object", "list", "data", data));
}

static void removed(void *arg, enum status status, const struct error *why)
{
    if (status == STATUS_OK)
        http_reply_json(arg, 200, json_pack("{s:s, s:b}", "object", "token", "deleted", 1));
    else
        http_reply_error(arg, why, NULL);
}

static void tokens_delete(struct http_request *request, void *owner)
{
    const struct gateway *gateway = owner;
    static const char prefix[] = "token-";
    const char *text = http_capture(request, "id");
    struct uuid id;
    bool whole = strncmp(text, prefix, sizeof prefix - 1) == 0;
    if (id_parse(&id, whole ? text + sizeof prefix - 1 : text))
        for (size_t i = 0; i < registry_tokens(gateway->registry); i++)
            if (id_equal(&registry_token(gateway->registry, i)->id, &id)) {
                registry_token_remove(gateway->registry, registry_token(gateway->registry, i),
                                      removed, request);
                return;
            }
    http_reply_fail(request, STATUS_NOT_FOUND,
                    "there is no token \"%s\"; GET /v1/tokens lists them", text);
}

static const struct http_route routes[] = {
    {HTTP_POST, "/v1/tokens", SCOPE_ADMIN, HTTP_BODY_MEMORY, tokens_create, NULL, NULL},
    {HTTP_GET, "/v1/tokens", SCOPE_ADMIN, HTTP_BODY_NONE, tokens_list, NULL, NULL},
    {HTTP_DELETE, "/v1/tokens/{id}", SCOPE_ADMIN, HTTP_BODY_NONE, tokens_delete, NULL, NULL},
};

void tokens_routes(struct gateway *gateway)
{
    http_server_routes(gateway->http, routes, ARRAY_LEN(routes), gateway);
}
