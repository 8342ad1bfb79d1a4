/* keys - keys of the HTTP API, and what their tenants used; for administrators */
#include "gateway/access/keys.h"
#include "gateway/access/usage.h"
#include "gateway/api/api.h"

#include "common/clock.h"

#include <stdlib.h>
#include <string.h>

#define BODY_MAX      (64 * KIB) /* octets of a request to make a key */
#define EXPIRES_MAX_S (INT64_C(100) * 366 * 86400)

/* Unix seconds, or null for what never happens. */
static json_t *seconds(int64_t wall_ms)
{
    return wall_ms ? json_integer(wall_ms / 1000) : json_null();
}

static json_t *key_json(const struct ledger_key *record, int64_t used_ms)
{
    char id[ID_TEXT_SIZE];
    json_t *scopes = json_array();
    char *copy = xstrdup(record->scopes), *rest = copy;
    for (char *word; (word = strsep(&rest, ","));)
        json_array_append_new(scopes, json_string(word));
    free(copy);
    return json_pack("{s:o,s:s,s:s,s:s,s:o,s:s,s:o,s:o,s:o,s:o}", "id",
                     json_sprintf("key-%s", id_text(id, &record->id)), "object", "api_key", "name",
                     record->name, "tenant", record->tenant, "scopes", scopes, "status",
                     key_state(record), "created_at", seconds(record->created_ms), "expires_at",
                     seconds(record->expires_ms), "revoked_at", seconds(record->revoked_ms),
                     "last_used_at", seconds(used_ms));
}

/* A key is shown once: no cache may keep it. */
static void answer(void *arg, const struct ledger_key *record, const char *text,
                   const struct error *why)
{
    struct http_request *request = arg;
    if (!record) {
        http_reply_error(request, why, NULL);
        return;
    }
    json_t *json = key_json(record, 0);
    json_object_del(json, "last_used_at");
    if (text) {
        json_object_set_new(json, "key", json_string(text));
        http_reply_header(request, "Cache-Control", "no-store");
    }
    http_reply_json(request, 200, json);
}

/* --- making ----------------------------------------------------------------------------------- */
static enum status read_scopes(const json_t *body, uint32_t *set, struct error *why)
{
    size_t i;
    json_t *word;
    const json_t *list = json_object_get(body, "scopes");
    *set = 0;
    if (!json_is_array(list) || !json_array_size(list))
        return fail(why, STATUS_INVALID, "scopes: expected a list such as [\"infer\", \"batch\"]");
    json_array_foreach(list, i, word)
    {
        uint32_t one;
        if (scopes_parse(&one, json_is_string(word) ? json_string_value(word) : "", why) !=
            STATUS_OK)
            return fail_in(why, "scopes");
        *set |= one;
    }
    return STATUS_OK;
}

static enum status read_expiry(const json_t *body, int64_t *expires_ms, struct error *why)
{
    const json_t *value = json_object_get(body, "expires_in");
    int64_t seconds_left = json_integer_value(value);
    *expires_ms = 0;
    if (!value || json_is_null(value))
        return STATUS_OK;
    if (!json_is_integer(value) || seconds_left < 1 || seconds_left > EXPIRES_MAX_S)
        return fail(why, STATUS_INVALID, "expires_in: expected seconds from 1 to %lld, or null",
                    (long long)EXPIRES_MAX_S);
    *expires_ms = clock_wall_ms() + seconds_left * 1000;
    return STATUS_OK;
}

static enum status read_wish(const json_t *body, struct key_wish *wish, struct error *why)
{
    static const char *const known[] = {"name", "tenant", "scopes", "expires_in"};
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)body, key, value)
    {
        bool found = false;
        for (size_t i = 0; i < ARRAY_LEN(known); i++)
            found = found || strcmp(key, known[i]) == 0;
        if (!found)
            return fail(why, STATUS_INVALID,
                        "\"%.40s\" is unknown: there are name, tenant, scopes and expires_in", key);
    }
    const json_t *name = json_object_get(body, "name"), *tenant = json_object_get(body, "tenant");
    if (!json_is_string(name) || (tenant && !json_is_null(tenant) && !json_is_string(tenant)))
        return fail(why, STATUS_INVALID, "name and tenant: expected texts, the name is required");
    wish->name = json_string_value(name);
    wish->tenant = json_string_value(tenant);
    enum status s = read_scopes(body, &wish->scopes, why);
    return s == STATUS_OK ? read_expiry(body, &wish->expires_ms, why) : s;
}

static void create_handle(struct http_request *request, void *owner)
{
    struct gateway *gateway = owner;
    struct key_wish wish = {0};
    struct error why;
    json_error_t at;
    size_t size;
    const char *bytes = http_body(request, &size);
    json_t *body = size <= BODY_MAX ? json_loadb(bytes, size, 0, &at) : NULL;
    enum status s = STATUS_OK;
    if (!json_is_object(body))
        s = fail(&why, STATUS_INVALID,
                 "the body must be {\"name\", \"scopes\": [...], \"tenant\", \"expires_in\"}");
    if (s == STATUS_OK)
        s = read_wish(body, &wish, &why);
    if (s == STATUS_OK)
        keys_create(gateway->keys, &wish, answer, request);
    else
        http_reply_error(request, &why, NULL);
    json_decref(body);
}

/* --- the rest --------------------------------------------------------------------------------- */
static void list_handle(struct http_request *request, void *owner)
{
    struct gateway *gateway = owner;
    json_t *list = json_array();
    for (size_t i = 0; i < keys_len(gateway->keys); i++) {
        int64_t used_ms;
        const struct ledger_key *record = keys_at(gateway->keys, i, &used_ms);
        json_array_append_new(list, key_json(record, used_ms));
    }
    http_reply_json(request, 200, json_pack("{s:s,s:o}", "object", "list", "data", list));
}

struct revocation {
    struct gateway *gateway;
    struct http_request *request; /* to be replied */
};

/* Who came with the key hears no more, also of what it asked for before. */
static void revoked(void *arg, const struct ledger_key *record, const char *text,
                    const struct error *why)
{
    struct revocation *self = arg;
    if (record && self->gateway->http)
        http_server_cut(self->gateway->http, &record->id);
    answer(self->request, record, text, why);
    free(self);
}

static void revoke_handle(struct http_request *request, void *owner)
{
    struct gateway *gateway = owner;
    const char *surely = http_query(request, "surely");
    struct revocation *self = xmalloc(sizeof *self);
    *self = (struct revocation){gateway, request};
    keys_revoke(gateway->keys, http_capture(request, "key"), surely && strcmp(surely, "true") == 0,
                revoked, self);
}

static void usage_handle(struct http_request *request, void *owner)
{
    struct gateway *gateway = owner;
    http_reply_json(request, 200,
                    json_pack("{s:s,s:o}", "object", "list", "data", usage_json(gateway->usage)));
}

static const struct http_route routes[] = {
    {HTTP_POST, "/v1/keys", SCOPE_ADMIN, HTTP_BODY_MEMORY, create_handle, NULL, NULL},
    {HTTP_GET, "/v1/keys", SCOPE_ADMIN, HTTP_BODY_NONE, list_handle, NULL, NULL},
    {HTTP_DELETE, "/v1/keys/{key}", SCOPE_ADMIN, HTTP_BODY_NONE, revoke_handle, NULL, NULL},
    {HTTP_GET, "/v1/usage", SCOPE_ADMIN, HTTP_BODY_NONE, usage_handle, NULL, NULL},
};

void keys_routes(struct gateway *gateway)
{
    http_server_routes(gateway->http, routes, ARRAY_LEN(routes), gateway);
}
