/* nodes - who may take part: listed, shown, revoked, drained, given new keys */
#include "gateway/api/api.h"

#include <stdlib.h>
#include <string.h>

/* --- a node as JSON -----------------------------------------------------------------------------
 */

static const char *state_name(int64_t state)
{
    static const char *const names[] = {
        [NODE_MEMBER] = "member", [NODE_REVOKED] = "revoked", [NODE_DRAINING] = "draining"};
    return state >= NODE_MEMBER && state <= NODE_DRAINING ? names[state] : "unknown";
}

static json_t *node_json(const struct ledger_node *node)
{
    char fingerprint[CURVE_FINGERPRINT_SIZE], text[CURVE_TEXT_SIZE], id[ID_TEXT_SIZE];
    struct curve_key key;
    memcpy(key.bytes, node->public.bytes, sizeof key.bytes);
    json_t *object = json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:s, s:o, s:I, s:I}", "name", node->name, "object", "node",
        "role", node->role == WIRE_GATEWAY ? "gateway" : "worker", "state", state_name(node->state),
        "fingerprint", curve_fingerprint(fingerprint, &key), "public_key",
        curve_key_text(text, &key), "token", json_sprintf("token-%s", id_text(id, &node->token)),
        "joined_at", (json_int_t)(node->joined_ms / 1000), "changed_at",
        (json_int_t)(node->changed_ms / 1000));
    if (node->until_ms)
        json_object_set_new(object, "ends_at", json_integer(node->until_ms / 1000));
    return object;
}

/* --- reading ------------------------------------------------------------------------------------
 */

/* A list or a node that waits for the brokers' word who is connected. */
struct look {
    struct gateway *gateway;
    struct http_request *request; /* to be replied */
    char *name;                   /* of the node; NULL: all */
};

/* A worker's session carries the name that it was enrolled with. */
static bool is_connected(const struct fleet_worker *workers, size_t len,
                         const struct ledger_node *node)
{
    for (size_t i = 0; i < len; i++)
        if (strcmp(workers[i].name, node->name) == 0)
            return true;
    return false;
}

/* workers NULL: nobody knows who is connected. */
static json_t *look_at(const struct ledger_node *node, const struct fleet_worker *workers,
                       size_t len)
{
    json_t *object = node_json(node);
    if (node->role == WIRE_WORKER && workers)
        json_object_set_new(object, "connected",
                            json_boolean(node->state != NODE_REVOKED && !node->until_ms &&
                                         is_connected(workers, len, node)));
    return object;
}

/* Without a broker the registry is shown all the same, without the word who is connected. */
static void answered(void *arg, const struct fleet_worker *workers, size_t len,
                     const struct error *why)
{
    struct look *self = arg;
    const struct registry *registry = self->gateway->registry;
    const struct ledger_node *node = self->name ? registry_find(registry, self->name) : NULL;
    (void)why;
    if (node) {
        http_reply_json(self->request, 200, look_at(node, workers, len));
    } else if (self->name) {
        http_reply_fail(self->request, STATUS_NOT_FOUND, "the node is not on record any more");
    } else {
        json_t *data = json_array();
        for (size_t i = 0; i < registry_nodes(registry); i++)
            json_array_append_new(data, look_at(registry_node(registry, i), workers, len));
        http_reply_json(self->request, 200,
                        json_pack("{s:s, s:o}", "object", "list", "data", data));
    }
    free(self->name);
    free(self);
}

static void look(struct gateway *gateway, struct http_request *request, const char *name)
{
    struct look *self = xcalloc(1, sizeof *self);
    *self = (struct look){gateway, request, name ? xstrdup(name) : NULL};
    if (!fleet_view(gateway->fleet).up ||
        fleet_ask_workers(gateway->fleet, answered, self) != STATUS_OK)
        answered(self, NULL, 0, NULL);
}

/* NULL: replied. */
static const struct ledger_node *captured(struct http_request *request,
                                          const struct gateway *gateway)
{
    const char *name = http_capture(request, "name");
    const struct ledger_node *node = registry_find(gateway->registry, name);
    if (!node)
        http_reply_fail(request, STATUS_NOT_FOUND,
                        "there is no node \"%s\"; GET /v1/nodes lists them", name);
    return node;
}

static void nodes_list(struct http_request *request, void *owner)
{
    look(owner, request, NULL);
}

static void nodes_get(struct http_request *request, void *owner)
{
    const struct ledger_node *node = captured(request, owner);
    if (node)
        look(owner, request, http_capture(request, "name"));
}

/* --- changing -----------------------------------------------------------------------------------
 */

static void changed(void *arg, enum status status, const struct error *why)
{
    struct look *self = arg;
    const struct ledger_node *node =
        status == STATUS_OK ? registry_find(self->gateway->registry, self->name) : NULL;
    if (node)
        http_reply_json(self->request, 200, node_json(node));
    else if (status != STATUS_OK)
        http_reply_error(self->request, why, NULL);
    else
        http_reply_fail(self->request, STATUS_NOT_FOUND, "the node is not on record any more");
    free(self->name);
    free(self);
}

/* The next call ends in changed(). NULL: replied. */
static struct look *change_of(struct http_request *request, struct gateway *gateway,
                              const struct ledger_node **node)
{
    *node = captured(request, gateway);
    if (!*node)
        return NULL;
    if ((*node)->state == NODE_REVOKED) {
        http_reply_fail(request, STATUS_CONFLICT,
                        "%s is revoked: what joins again gets a new key by a new token",
                        (*node)->name);
        return NULL;
    }
    struct look *self = xcalloc(1, sizeof *self);
    *self = (struct look){gateway, request, xstrdup(http_capture(request, "name"))};
    return self;
}

static void set(struct http_request *request, struct gateway *gateway, enum node_state state)
{
    const struct ledger_node *node;
    struct look *self = change_of(request, gateway, &node);
    if (self)
        registry_node_set(gateway->registry, node, state, changed, self);
}

static void nodes_revoke(struct http_request *request, void *owner)
{
    set(request, owner, NODE_REVOKED);
}

static void nodes_drain(struct http_request *request, void *owner)
{
    set(request, owner, NODE_DRAINING);
}

static void nodes_resume(struct http_request *request, void *owner)
{
    set(request, owner, NODE_MEMBER);
}

static void nodes_rotate(struct http_request *request, void *owner)
{
    struct gateway *gateway = owner;
    const struct ledger_node *node = captured(request, gateway);
    if (!node)
        return;
    if (node->role == WIRE_GATEWAY) {
        http_reply_fail(request, STATUS_UNSUPPORTED,
                        "%s is a gateway: give it a new key by a new token", node->name);
        return;
    }
    struct look *self = change_of(request, gateway, &node);
    if (self)
        registry_node_rotate(gateway->registry, node, changed, self);
}

static const struct http_route routes[] = {
    {HTTP_GET, "/v1/nodes", SCOPE_ADMIN, HTTP_BODY_NONE, nodes_list, NULL, NULL},
    {HTTP_GET, "/v1/nodes/{name}", SCOPE_ADMIN, HTTP_BODY_NONE, nodes_get, NULL, NULL},
    {HTTP_POST, "/v1/nodes/{name}/revoke", SCOPE_ADMIN, HTTP_BODY_NONE, nodes_revoke, NULL, NULL},
    {HTTP_POST, "/v1/nodes/{name}/drain", SCOPE_ADMIN, HTTP_BODY_NONE, nodes_drain, NULL, NULL},
    {HTTP_POST, "/v1/nodes/{name}/resume", SCOPE_ADMIN, HTTP_BODY_NONE, nodes_resume, NULL, NULL},
    {HTTP_POST, "/v1/nodes/{name}/rotate", SCOPE_ADMIN, HTTP_BODY_NONE, nodes_rotate, NULL, NULL},
};

void nodes_routes(struct gateway *gateway)
{
    http_server_routes(gateway->http, routes, ARRAY_LEN(routes), gateway);
}
