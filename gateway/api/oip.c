/* oip - Open Inference Protocol v2: health, metadata, configuration, statistics, and the way to
 * infer */
#include "gateway/api/api.h"
#include "gateway/repository/version.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VERSIONS_MAX 256 /* numbers listed in a model's metadata */

/* --- server -------------------------------------------------------------------------------------
 */

static void server_metadata(struct http_request *request, void *owner)
{
    (void)owner;
    http_reply_json(request, 200,
                    json_pack("{s:s,s:s,s:[s,s,s,s]}", "name", "convoy", "version", CONVOY_VERSION,
                              "extensions", "binary_tensor_data", "model_repository",
                              "model_configuration", "statistics"));
}

static void server_live(struct http_request *request, void *owner)
{
    (void)owner;
    http_reply_json(request, 200, json_pack("{s:b}", "live", 1));
}

/* Ready: an inference request would reach a worker. */
static void server_ready(struct http_request *request, void *owner)
{
    struct gateway *gateway = owner;
    struct fleet_view view = fleet_view(gateway->fleet);
    const char *why = gateway->draining ? "shutting down"
                      : !view.up        ? "no broker answers"
                      : !view.workers   ? "no worker has joined"
                                        : NULL;
    if (why)
        http_reply_json(request, 503, json_pack("{s:b,s:s}", "ready", 0, "error", why));
    else
        http_reply_json(request, 200, json_pack("{s:b}", "ready", 1));
}

/* --- models -------------------------------------------------------------------------------------
 */

static bool find(struct http_request *request, struct gateway *gateway, struct version **out)
{
    struct error why;
    if (repository_find(gateway->repository, http_capture(request, "model"),
                        http_capture(request, "version"), out, &why) == STATUS_OK)
        return true;
    http_reply_error(request, &why, NULL);
    return false;
}

static void model_list(struct http_request *request, void *owner)
{
    size_t i;
    const json_t *row;
    const char *last = "";
    struct gateway *gateway = owner;
    json_t *names = json_array();
    json_t *index = repository_index(gateway->repository, false);
    json_array_foreach(index, i, row)
    { /* sorted: versions of a model follow each other */
        const char *name = json_string_value(json_object_get(row, "name"));
        if (strcmp(name, last) != 0)
            json_array_append_new(names, json_string(name));
        last = name;
    }
    http_reply_json(request, 200, json_pack("{s:o}", "models", names));
    json_decref(index);
}

static json_t *tensors_json(const struct tensor *tensors, uint32_t len)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < len; i++) {
        json_t *shape = json_array();
        for (uint32_t d = 0; d < tensors[i].rank; d++)
            json_array_append_new(shape, json_integer(tensors[i].dims[d]));
        json_array_append_new(list, json_pack("{s:s,s:s,s:o}", "name", tensors[i].name, "datatype",
                                              dtype_name(tensors[i].dtype), "shape", shape));
    }
    return list;
}

static void model_metadata(struct http_request *request, void *owner)
{
    struct gateway *gateway = owner;
    struct version *version;
    uint32_t numbers[VERSIONS_MAX];
    char text[16];
    if (!find(request, gateway, &version))
        return;
    json_t *versions = json_array();
    size_t len = repository_versions(gateway->repository, version->model, numbers, VERSIONS_MAX);
    for (size_t i = 0; i < MIN(len, (size_t)VERSIONS_MAX); i++) {
        snprintf(text, sizeof text, "%u", numbers[i]);
        json_array_append_new(versions, json_string(text));
    }
    const struct signature *signature = &version->signature;
    json_t *root =
        json_pack("{s:s,s:o,s:s,s:o,s:o}", "name", version->model, "versions", versions, "platform",
                  "onnx_onnxv1", "inputs", tensors_json(signature->inputs, signature->inputs_len),
                  "outputs", tensors_json(signature->outputs, signature->outputs_len));
    version_drop(&version);
    http_reply_json(request, 200, root);
}

static void model_ready(struct http_request *request, void *owner)
{
    struct gateway *gateway = owner;
    struct version *version;
    if (!find(request, gateway, &version))
        return;
    json_t *root = json_pack("{s:s,s:b}", "name", version->model, "ready", 1);
    version_drop(&version);
    http_reply_json(request, 200, root);
}

/* --- configuration ------------------------------------------------------------------------------
 */

/* Triton's spelling of tensors: TYPE_FP32, and dims without the row axis of a batchable model. */
static json_t *config_values(const struct tensor *tensors, uint32_t len, bool batchable)
{
    char type[32];
    json_t *list = json_array();
    for (uint32_t i = 0; i < len; i++) {
        json_t *dims = json_array();
        for (uint32_t d = batchable ? 1 : 0; d < tensors[i].rank; d++)
            json_array_append_new(dims, json_integer(tensors[i].dims[d]));
        snprintf(type, sizeof type, "TYPE_%s",
                 tensors[i].dtype == DTYPE_BYTES ? "STRING" : dtype_name(tensors[i].dtype));
        json_array_append_new(list, json_pack("{s:s,s:s,s:o}", "name", tensors[i].name, "data_type",
                                              type, "dims", dims));
    }
    return list;
}

static bool rows_first(const struct signature *signature)
{
    bool first = signature->batchable;
    for (uint32_t i = 0; first && i < signature->outputs_len; i++)
        first = signature->output_batch_axis[i] == 0;
    return first;
}

static void model_config(struct http_request *request, void *owner)
{
    struct gateway *gateway = owner;
    struct version *version;
    if (!find(request, gateway, &version))
        return;
    const struct signature *signature = &version->signature;
    const json_t *rows = json_object_get(json_object_get(version->config, "batching"), "max_rows");
    bool batched = rows_first(signature);
    json_int_t rows_max = batched ? (rows ? json_integer_value(rows) : 256) : 0;
    json_t *root = json_deep_copy(version->config);
    json_t *computed =
        json_pack("{s:s,s:s,s:s,s:I,s:o,s:o}", "name", version->model, "platform", "onnx_onnxv1",
                  "backend", "convoy", "max_batch_size", rows_max, "input",
                  config_values(signature->inputs, signature->inputs_len, batched), "output",
                  config_values(signature->outputs, signature->outputs_len, batched));
    json_object_update(root, computed);
    json_decref(computed);
    version_drop(&version);
    http_reply_json(request, 200, root);
}

/* --- statistics ---------------------------------------------------------------------------------
 */

static json_t *duration(uint64_t times, uint64_t ns)
{
    return json_pack("{s:I,s:I}", "count", (json_int_t)times, "ns", (json_int_t)ns);
}

static json_t *version_statistics(const struct version *version)
{
    char number[16];
    const struct version_stats *stats = version->stats;
    snprintf(number, sizeof number, "%u", version->number);
    json_t *inference = json_pack("{s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o}", "success",
                                  duration(stats->success, stats->success_ns), "fail",
                                  duration(stats->failure, stats->failure_ns), "queue",
                                  duration(stats->success, stats->queue_ns), "compute_input",
                                  duration(stats->success, stats->input_ns), "compute_infer",
                                  duration(stats->success, stats->infer_ns), "compute_output",
                                  duration(stats->success, stats->output_ns), "cache_hit",
                                  duration(0, 0), "cache_miss", duration(0, 0));
    return json_pack("{s:s,s:s,s:I,s:I,s:I,s:o,s:{},s:[],s:[]}", "name", version->model, "version",
                     number, "last_inference", (json_int_t)stats->last_ms, "inference_count",
                     (json_int_t)stats->rows, "execution_count", (json_int_t)stats->success,
                     "inference_stats", inference, "response_stats", "batch_stats", "memory_usage");
}

static void all_statistics(struct http_request *request, void *owner)
{
    size_t i;
    const json_t *row;
    struct gateway *gateway = owner;
    json_t *list = json_array();
    json_t *index = repository_index(gateway->repository, true);
    json_array_foreach(index, i, row)
    {
        struct version *version;
        if (repository_look(gateway->repository, json_string_value(json_object_get(row, "name")),
                            json_string_value(json_object_get(row, "version")), &version,
                            NULL) == STATUS_OK) {
            json_array_append_new(list, version_statistics(version));
            version_drop(&version);
        }
    }
    json_decref(index);
    http_reply_json(request, 200, json_pack("{s:o}", "model_stats", list));
}

static void model_statistics(struct http_request *request, void *owner)
{
    struct gateway *gateway = owner;
    struct version *version;
    if (!find(request, gateway, &version))
        return;
    json_t *root = json_pack("{s:[o]}", "model_stats", version_statistics(version));
    version_drop(&version);
    http_reply_json(request, 200, root);
}

/* --- parts of the protocol that are not here ----------------------------------------------------
 */

static void not_here(struct http_request *request, void *owner)
{
    (void)owner;
    http_reply_fail(request, STATUS_UNSUPPORTED,
                    "%.100s: trace, logging and shared memory settings are not supported here; GET "
                    "/v2 lists the extensions that are",
                    http_path(request));
}

#define MODEL   "/v2/models/{model}"
#define VERSION "/v2/models/{model}/versions/{version}"

static const struct http_route routes[] = {
    {HTTP_POST, MODEL "/infer", SCOPE_INFER, HTTP_BODY_MEMORY, infer_handle, NULL, NULL},
    {HTTP_POST, VERSION "/infer", SCOPE_INFER, HTTP_BODY_MEMORY, infer_handle, NULL, NULL},
    {HTTP_GET, "/v2", SCOPE_ANY, HTTP_BODY_NONE, server_metadata, NULL, NULL},
    {HTTP_GET, "/v2/health/live", SCOPE_OPEN, HTTP_BODY_NONE, server_live, NULL, NULL},
    {HTTP_GET, "/v2/health/ready", SCOPE_OPEN, HTTP_BODY_NONE, server_ready, NULL, NULL},
    {HTTP_GET, "/v2/models", SCOPE_ANY, HTTP_BODY_NONE, model_list, NULL, NULL},
    {HTTP_GET, "/v2/models/stats", SCOPE_MODELS, HTTP_BODY_NONE, all_statistics, NULL, NULL},
    {HTTP_GET, MODEL, SCOPE_ANY, HTTP_BODY_NONE, model_metadata, NULL, NULL},
    {HTTP_GET, VERSION, SCOPE_ANY, HTTP_BODY_NONE, model_metadata, NULL, NULL},
    {HTTP_GET, MODEL "/ready", SCOPE_ANY, HTTP_BODY_NONE, model_ready, NULL, NULL},
    {HTTP_GET, VERSION "/ready", SCOPE_ANY, HTTP_BODY_NONE, model_ready, NULL, NULL},
    {HTTP_GET, MODEL "/config", SCOPE_ANY, HTTP_BODY_NONE, model_config, NULL, NULL},
    {HTTP_GET, VERSION "/config", SCOPE_ANY, HTTP_BODY_NONE, model_config, NULL, NULL},
    {HTTP_GET, MODEL "/stats", SCOPE_MODELS, HTTP_BODY_NONE, model_statistics, NULL, NULL},
    {HTTP_GET, VERSION "/stats", SCOPE_MODELS, HTTP_BODY_NONE, model_statistics, NULL, NULL},
    {HTTP_GET, "/v2/logging", SCOPE_ANY, HTTP_BODY_NONE, not_here, NULL, NULL},
    {HTTP_POST, "/v2/logging", SCOPE_ANY, HTTP_BODY_NONE, not_here, NULL, NULL},
    {HTTP_GET, "/v2/trace/setting", SCOPE_ANY, HTTP_BODY_NONE, not_here, NULL, NULL},
    {HTTP_POST, "/v2/trace/setting", SCOPE_ANY, HTTP_BODY_NONE, not_here, NULL, NULL},
    {HTTP_GET, MODEL "/trace/setting", SCOPE_ANY, HTTP_BODY_NONE, not_here, NULL, NULL},
    {HTTP_POST, MODEL "/trace/setting", SCOPE_ANY, HTTP_BODY_NONE, not_here, NULL, NULL},
    {HTTP_GET, "/v2/systemsharedmemory/status", SCOPE_ANY, HTTP_BODY_NONE, not_here, NULL, NULL},
    {HTTP_POST, "/v2/systemsharedmemory/unregister", SCOPE_ANY, HTTP_BODY_NONE, not_here, NULL,
     NULL},
    {HTTP_POST, "/v2/systemsharedmemory/region/{name}/{verb}", SCOPE_ANY, HTTP_BODY_NONE, not_here,
     NULL, NULL},
    {HTTP_GET, "/v2/cudasharedmemory/status", SCOPE_ANY, HTTP_BODY_NONE, not_here, NULL, NULL},
    {HTTP_POST, "/v2/cudasharedmemory/unregister", SCOPE_ANY, HTTP_BODY_NONE, not_here, NULL, NULL},
    {HTTP_POST, "/v2/cudasharedmemory/region/{name}/{verb}", SCOPE_ANY, HTTP_BODY_NONE, not_here,
     NULL, NULL},
};

void oip_routes(struct gateway *gateway)
{
    http_server_routes(gateway->http, routes, ARRAY_LEN(routes), gateway);
}
