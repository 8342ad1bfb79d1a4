/* models - the model repository over HTTP: index, load, unload, upload */
#include "gateway/api/models.h"
#include "gateway/api/api.h"
#include "gateway/http/spool.h"

#include "common/file.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CURVE_MAX MIB /* octets of a curve.svg: it has no more points than can be seen */

/* --- index --------------------------------------------------------------------------------------
 */

static void index_handle(struct http_request *request, void *owner)
{
    struct gateway *gateway = owner;
    size_t size;
    json_error_t at;
    const char *body = http_body(request, &size);
    json_t *root = size ? json_loadb(body, size, 0, &at) : json_object();
    if (!json_is_object(root)) {
        json_decref(root);
        http_reply_fail(request, STATUS_INVALID, "the body must be empty or {\"ready\": true}");
        return;
    }
    bool ready = json_is_true(json_object_get(root, "ready"));
    json_decref(root);
    http_reply_json(request, 200, repository_index(gateway->repository, ready));
}

/* --- names --------------------------------------------------------------------------------------
 */

enum status models_version_check(const char *text, struct error *why)
{
    size_t len = strlen(text);
    if (len == 0 || len > 9 || text[0] == '0' || strspn(text, "0123456789") != len)
        return fail(why, STATUS_INVALID, "\"%.40s\" is no version: use a number from 1", text);
    return STATUS_OK;
}

/* ROOT/MODEL/VERSION/FILE, when all three are fit to be names. */
static enum status file_path(char **out, const char *root, const char *model, const char *version,
                             const char *file, struct error *why)
{
    enum status s = model_name_check(model, why);
    if (s == STATUS_OK)
        s = models_version_check(version, why);
    if (s == STATUS_OK && (model_name_check(file, NULL) != STATUS_OK || strstr(file, ".part-")))
        s = fail(why, STATUS_INVALID,
                 "\"%.100s\" is no file name: use letters, digits, '.', '_' and '-', the first no "
                 "'.'",
                 file);
    if (s == STATUS_OK)
        *out = xasprintf("%s/%s/%s/%s", root, model, version, file);
    return s;
}

/* --- load ---------------------------------------------------------------------------------------
 */

struct load {
    struct gateway *gateway;   /* whose */
    struct http_request *http; /* to be answered */
    char *model;               /* name */
    char *root;                /* the repository's folder */
    struct bytes *body;        /* the request's JSON */
    struct error why;          /* first failure */
};

static void free_load(struct load *self)
{
    bytes_drop(&self->body);
    free(self->model);
    free(self->root);
    free(self);
}

/* "file:1/model.onnx": base64 of a file's octets. */
static enum status write_file(struct load *self, const char *key, const char *text,
                              struct error *why)
{
    char version[16], *path = NULL;
    const char *slash = strchr(key, '/');
    size_t len = slash ? (size_t)(slash - key) : 0, size = strlen(text), used = 0;
    if (!slash || len >= sizeof version)
        return fail(why, STATUS_INVALID, "\"file:%.100s\": expected file:VERSION/NAME", key);
    memcpy(version, key, len);
    version[len] = '\0';
    enum status s = file_path(&path, self->root, self->model, version, slash + 1, why);
    if (s != STATUS_OK)
        return s;
    unsigned char *octets = xmalloc(size + 1);
    if (sodium_base642bin(octets, size, text, size, "\r\n ", &used, NULL,
                          sodium_base64_VARIANT_ORIGINAL) != 0)
        s = fail(why, STATUS_INVALID, "\"file:%.100s\" is no base64", key);
    char *folder = xasprintf("%s/%s/%s", self->root, self->model, version);
    if (s == STATUS_OK)
        s = file_mkdirs(folder, why);
    if (s == STATUS_OK)
        s = file_write(path, octets, used, true, why);
    free(folder);
    free(octets);
    free(path);
    return s;
}

/* An object, or one as text, as Triton's clients send it. */
static enum status write_config(struct load *self, const json_t *value, struct error *why)
{
    json_error_t at;
    const char *given = json_string_value(value);
    json_t *config = given ? json_loads(given, 0, &at) : json_deep_copy(value);
    if (!json_is_object(config)) {
        json_decref(config);
        return fail(why, STATUS_INVALID, "the parameter \"config\" must be a JSON object");
    }
    char *text = json_dumps(config, JSON_INDENT(2));
    char *folder = xasprintf("%s/%s", self->root, self->model);
    char *path = xasprintf("%s/config.json", folder);
    enum status s = file_mkdirs(folder, why);
    if (s == STATUS_OK)
        s = file_write(path, text, strlen(text), true, why);
    json_decref(config);
    free(folder);
    free(text);
    free(path);
    return s;
}

static enum status write_parameters(struct load *self, json_t *root, struct error *why)
{
    const char *key;
    json_t *value;
    json_t *parameters = json_object_get(root, "parameters");
    enum status s = model_name_check(self->model, why);
    if (s == STATUS_OK && parameters && !json_is_object(parameters))
        s = fail(why, STATUS_INVALID, "\"parameters\" must be an object");
    json_object_foreach(parameters, key, value)
    {
        if (s != STATUS_OK)
            break;
        if (strcmp(key, "config") == 0)
            s = write_config(self, value, why);
        else if (strncmp(key, "file:", 5) != 0)
            s = fail(why, STATUS_INVALID,
                     "unknown parameter \"%.100s\": there are \"config\" and "
                     "\"file:VERSION/NAME\"",
                     key);
        else if (!json_is_string(value))
            s = fail(why, STATUS_INVALID, "\"%.100s\" must be a text in base64", key);
        else
            s = write_file(self, key + 5, json_string_value(value), why);
    }
    return s;
}

static void load_work(void *arg)
{
    struct load *self = arg;
    json_error_t at;
    self->why.status = STATUS_OK;
    if (!self->body->size)
        return;
    json_t *root = json_loadb(self->body->data, self->body->size, 0, &at);
    if (!json_is_object(root))
        fail(&self->why, STATUS_INVALID, "the body must be empty or a JSON object: line %d: %s",
             root ? 1 : at.line, root ? "something else" : at.text);
    else
        self->why.status = write_parameters(self, root, &self->why);
    json_decref(root);
}

static void load_decided(void *arg, const struct error *why)
{
    struct load *self = arg;
    if (why->status == STATUS_OK)
        http_reply_json(self->http, 200,
                        json_pack("{s:s,s:s}", "name", self->model, "state", "READY"));
    else
        http_reply_error(self->http, why, NULL);
    free_load(self);
}

static void load_done(void *arg)
{
    struct load *self = arg;
    if (self->why.status == STATUS_OK && !self->gateway->repository)
        fail(&self->why, STATUS_CANCELLED, "the gateway is shutting down");
    if (self->why.status == STATUS_OK)
        repository_load(self->gateway->repository, self->model, load_decided, self);
    else
        load_decided(self, &self->why);
}

static void load_handle(struct http_request *request, void *owner)
{
    struct gateway *gateway = owner;
    struct load *self = xcalloc(1, sizeof *self);
    self->gateway = gateway;
    self->http = request;
    self->model = xstrdup(http_capture(request, "model"));
    self->root = xstrdup(gateway->models_root);
    self->body = http_body_take(request);
    if (pool_submit(gateway->pool, load_work, load_done, self) != STATUS_OK) {
        http_reply_fail(request, STATUS_BUSY, "too much is being written: retry in a moment");
        free_load(self);
    }
}

static void unload_handle(struct http_request *request, void *owner)
{
    struct gateway *gateway = owner;
    struct error why;
    const char *model = http_capture(request, "model");
    if (repository_unload(gateway->repository, model, &why) != STATUS_OK)
        http_reply_error(request, &why, NULL);
    else
        http_reply_json(request, 200, json_pack("{s:s,s:s}", "name", model, "state", "UNLOADED"));
}

/* --- upload -------------------------------------------------------------------------------------
 */

static void upload_done(struct http_request *request, void *arg, const struct spooled *spooled,
                        const struct error *why)
{
    char hex[DIGEST_TEXT_SIZE];
    (void)arg;
    if (why->status != STATUS_OK) {
        http_reply_error(request, why, NULL);
        return;
    }
    digest_text(hex, &spooled->sha256);
    http_reply_json(request, 201,
                    json_pack("{s:s,s:I,s:s}", "path", http_capture(request, "file"), "bytes",
                              (json_int_t)spooled->bytes, "sha256", hex));
}

static void upload_open(struct http_request *request, void *owner)
{
    struct gateway *gateway = owner;
    struct error why;
    char *path = NULL;
    if (file_path(&path, gateway->models_root, http_capture(request, "model"),
                  http_capture(request, "version"), http_capture(request, "file"),
                  &why) != STATUS_OK)
        http_reply_error(request, &why, NULL);
    else
        spool_open(request, gateway->pool, path, gateway->params->upload_max, upload_done, NULL);
    free(path);
}

/* --- the curve of a trained version -------------------------------------------------------------
 */

struct curve {
    struct http_request *http; /* to be answered */
    char *name;                /* "NAME/VERSION" */
    char *path;                /* of the file */
    struct bytes *svg;         /* read */
    struct error why;          /* or why not */
};

static void curve_work(void *arg)
{
    struct curve *self = arg;
    char *text = NULL;
    size_t size = 0;
    self->why.status = file_read(&text, &size, self->path, CURVE_MAX, &self->why);
    if (self->why.status == STATUS_OK)
        self->svg = bytes_take(text, size);
}

static void curve_done(void *arg)
{
    struct curve *self = arg;
    if (self->why.status == STATUS_OK)
        http_reply_bytes(self->http, 200, "image/svg+xml", self->svg);
    else if (self->why.status == STATUS_NOT_FOUND)
        http_reply_fail(self->http, STATUS_NOT_FOUND,
                        "model %s was not trained here: it has no curve", self->name);
    else
        http_reply_error(self->http, &self->why, NULL);
    free(self->name);
    free(self->path);
    free(self);
}

static void curve_handle(struct http_request *request, void *owner)
{
    struct gateway *gateway = owner;
    struct version *version;
    struct error why;
    if (repository_look(gateway->repository, http_capture(request, "model"),
                        http_capture(request, "version"), &version, &why) != STATUS_OK) {
        http_reply_error(request, &why, NULL);
        return;
    }
    struct curve *self = xcalloc(1, sizeof *self);
    self->http = request;
    self->name = xstrdup(version->name);
    self->path = xasprintf("%s/curve.svg", version->folder);
    version_drop(&version);
    if (pool_submit(gateway->pool, curve_work, curve_done, self) != STATUS_OK) {
        fail(&self->why, STATUS_BUSY, "too much is being read: retry in a moment");
        curve_done(self);
    }
}

static const struct http_route routes[] = {
    {HTTP_GET, "/v2/models/{model}/curve.svg", SCOPE_ANY, HTTP_BODY_NONE, curve_handle, NULL, NULL},
    {HTTP_GET, "/v2/models/{model}/versions/{version}/curve.svg", SCOPE_ANY, HTTP_BODY_NONE,
     curve_handle, NULL, NULL},
    {HTTP_POST, "/v2/repository/index", SCOPE_ANY, HTTP_BODY_MEMORY, index_handle, NULL, NULL},
    {HTTP_POST, "/v2/repository/{repository}/index", SCOPE_ANY, HTTP_BODY_MEMORY, index_handle,
     NULL, NULL},
    {HTTP_POST, "/v2/repository/models/{model}/load", SCOPE_MODELS, HTTP_BODY_MEMORY, load_handle,
     NULL, NULL},
    {HTTP_POST, "/v2/repository/models/{model}/unload", SCOPE_MODELS, HTTP_BODY_MEMORY,
     unload_handle, NULL, NULL},
    {HTTP_PUT, "/v2/repository/models/{model}/versions/{version}/files/{file}", SCOPE_MODELS,
     HTTP_BODY_STREAM, spool_end, upload_open, spool_data},
    {HTTP_DELETE, "/v2/repository/models/{model}", SCOPE_MODELS, HTTP_BODY_NONE, remove_handle,
     NULL, NULL},
    {HTTP_DELETE, "/v2/repository/models/{model}/versions/{version}", SCOPE_MODELS, HTTP_BODY_NONE,
     remove_handle, NULL, NULL},
};

void models_routes(struct gateway *gateway)
{
    http_server_routes(gateway->http, routes, ARRAY_LEN(routes), gateway);
}
