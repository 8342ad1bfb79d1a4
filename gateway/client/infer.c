/* infer - requests and answers with binary tensors, by the Open Inference Protocol's extension */
#include "gateway/client/http.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static json_t *input_head(const struct tensor *tensor)
{
    json_t *shape = json_array();
    for (uint32_t i = 0; i < tensor->rank; i++)
        json_array_append_new(shape, json_integer(tensor->dims[i]));
    return json_pack("{s:s, s:o, s:s, s:{s:I}}", "name", tensor->name, "shape", shape, "datatype",
                     dtype_name(tensor->dtype), "parameters", "binary_data_size",
                     (json_int_t)tensor->bytes);
}

/* The JSON part, then the tensors' octets one after the other. */
static char *request_body(const struct tensor *inputs, uint32_t len, size_t *head_size,
                          size_t *size)
{
    json_t *list = json_array();
    size_t tail = 0;
    for (uint32_t i = 0; i < len; i++) {
        json_array_append_new(list, input_head(&inputs[i]));
        tail += inputs[i].bytes;
    }
    json_t *head =
        json_pack("{s:o, s:{s:b}}", "inputs", list, "parameters", "binary_data_output", 1);
    char *text = json_dumps(head, JSON_COMPACT);
    *head_size = strlen(text);
    *size = *head_size + tail;
    char *body = xrealloc(text, *size + 1), *at = body + *head_size;
    for (uint32_t i = 0; i < len; i++) {
        memcpy(at, inputs[i].data, inputs[i].bytes);
        at += inputs[i].bytes;
    }
    json_decref(head);
    return body;
}

static bool read_tensor(const json_t *entry, struct tensor *tensor, char **at, size_t *left)
{
    size_t i;
    json_t *dim;
    const json_t *shape = json_object_get(entry, "shape");
    const char *type = json_string_value(json_object_get(entry, "datatype"));
    const json_t *size = json_object_get(json_object_get(entry, "parameters"), "binary_data_size");
    tensor->name = json_string_value(json_object_get(entry, "name"));
    tensor->dtype = type ? dtype_by_name(type) : DTYPE_NONE;
    tensor->rank = (uint32_t)json_array_size(shape);
    if (!tensor->name || tensor->dtype == DTYPE_NONE || json_array_size(shape) > TENSOR_RANK_MAX)
        return false;
    json_array_foreach(shape, i, dim) tensor->dims[i] = json_integer_value(dim);
    if (!json_is_integer(size) || (uint64_t)json_integer_value(size) > *left)
        return false;
    tensor->bytes = (size_t)json_integer_value(size);
    tensor->data = *at;
    *at += tensor->bytes;
    *left -= tensor->bytes;
    return true;
}

/* `list` is the list in the JSON part: "outputs" of an answer, "inputs" of a request. */
static enum status read_tensors(struct exchange *x, const char *list,
                                struct client_outputs *outputs, struct error *why)
{
    size_t i;
    json_t *entry;
    if (x->json_size > x->answer_size)
        return fail(why, STATUS_INTERNAL, "the gateway's answer is not in binary form");
    outputs->head = json_loadb(x->answer, (size_t)x->json_size, 0, NULL);
    const json_t *entries = json_object_get(outputs->head, list);
    const char *version = json_string_value(json_object_get(outputs->head, "model_version"));
    if (!entries || json_array_size(entries) > ARRAY_LEN(outputs->tensors))
        return fail(why, STATUS_INTERNAL, "the gateway's answer has no %s", list);
    text_copy(outputs->model_version, sizeof outputs->model_version, version ? version : "");
    char *at = x->answer + x->json_size;
    size_t left = x->answer_size - (size_t)x->json_size;
    json_array_foreach(entries, i,
                       entry) if (!read_tensor(entry, &outputs->tensors[outputs->len++], &at,
                                               &left)) return fail(why, STATUS_INTERNAL,
                                                                   "number %zu of the %s in the "
                                                                   "gateway's answer is not sound",
                                                                   i, list);
    outputs->bytes = x->answer;
    x->answer = NULL;
    return STATUS_OK;
}

static enum status fetch(struct client *self, struct exchange *x, const char *list,
                         struct client_outputs *outputs, struct error *why)
{
    *outputs = (struct client_outputs){0};
    enum status s = exchange_run(self, x, why);
    if (s == STATUS_OK)
        s = read_tensors(x, list, outputs, why);
    if (s != STATUS_OK)
        client_outputs_free(outputs);
    free(x->answer);
    return s;
}

enum status client_tensors(struct client *self, const char *method, const char *path,
                           const char *list, struct client_outputs *tensors, struct error *why)
{
    struct exchange x = {.method = method, .path = path, .safe = strcmp(method, "GET") == 0};
    return fetch(self, &x, list, tensors, why);
}

enum status client_infer(struct client *self, const char *model, const struct tensor *inputs,
                         uint32_t inputs_len, struct client_outputs *outputs, struct error *why)
{
    char head_line[80];
    size_t head_size, size;
    char *copy = xstrdup(model);
    char *slash = strchr(copy, '/');
    if (slash)
        *slash = '\0';
    char *name = client_escape(copy);
    char *path = slash ? xasprintf("/v2/models/%s/versions/%s/infer", name, slash + 1)
                       : xasprintf("/v2/models/%s/infer", name);
    char *body = request_body(inputs, inputs_len, &head_size, &size);
    snprintf(head_line, sizeof head_line, "Inference-Header-Content-Length: %zu", head_size);
    struct exchange x = {
        .method = "POST",
        .path = path,
        .body = body,
        .body_size = size,
        .content_type = "application/octet-stream",
        .headers = {head_line},
        .safe = true, /* inference has no effect but its answer */
    };
    enum status s = fetch(self, &x, "outputs", outputs, why);
    free(body);
    free(path);
    free(name);
    free(copy);
    return s;
}

void client_outputs_free(struct client_outputs *outputs)
{
    json_decref(outputs->head);
    free(outputs->bytes);
    *outputs = (struct client_outputs){0};
}
