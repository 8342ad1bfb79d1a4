/* oip_request - envelope, tensors and selection of outputs; see oip_request.h */
#include "gateway/api/oip_request.h"

#include "gateway/api/number.h"
#include "gateway/api/oip_scan.h"
#include "gateway/dataset/json_tensor.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Reading under way. */
struct reading {
    struct oip_request *out;           /* filled */
    const struct version *version;     /* whose signature holds */
    struct bytes *body;                /* the request's octets */
    struct oip_scan scan;              /* where the lists are */
    const char *tail;                  /* the next octets of the binary part */
    const char *end;                   /* behind the body */
    size_t binary_len;                 /* inputs that are binary */
    uint64_t list_bytes;               /* octets that the lists take as tensors */
    void *texts[SIGNATURE_VALUES_MAX]; /* lists of texts as tensors, until all are placed; malloc */
};

void oip_request_free(struct oip_request *self)
{
    json_decref(self->root);
    self->root = NULL;
    bytes_drop(&self->owner);
}

/* --- one input's head ---------------------------------------------------------------------------
 */

static enum status read_shape(struct tensor *tensor, const json_t *shape, struct error *why)
{
    size_t i;
    const json_t *dim;
    if (!json_is_array(shape) || json_array_size(shape) > TENSOR_RANK_MAX)
        return fail(why, STATUS_INVALID,
                    "input '%s': \"shape\" must be a list of at most %d numbers", tensor->name,
                    TENSOR_RANK_MAX);
    tensor->rank = (uint32_t)json_array_size(shape);
    json_array_foreach(shape, i, dim)
    {
        if (!json_is_integer(dim) || json_integer_value(dim) < 0)
            return fail(why, STATUS_INVALID,
                        "input '%s': \"shape\"[%zu] must be a whole number from 0", tensor->name,
                        i);
        tensor->dims[i] = json_integer_value(dim);
    }
    return STATUS_OK;
}

static void list_names(char *into, size_t size, const struct tensor *tensors, uint32_t len)
{
    size_t used = 0;
    into[0] = '\0';
    for (uint32_t i = 0; i < len && used < size - 1; i++) {
        int n = snprintf(into + used, size - used, "%s'%s'", i ? ", " : "", tensors[i].name);
        used = MIN(used + (size_t)n, size - 1);
    }
}

static const struct tensor *expected_input(const struct reading *self, const char *name)
{
    const struct signature *signature = &self->version->signature;
    for (uint32_t i = 0; i < signature->inputs_len; i++)
        if (strcmp(signature->inputs[i].name, name) == 0)
            return &signature->inputs[i];
    return NULL;
}

static enum status check_shape(const struct tensor *got, const struct tensor *wanted,
                               struct error *why)
{
    char a[128], b[128];
    bool fits = got->rank == wanted->rank;
    for (uint32_t i = 0; fits && i < got->rank; i++)
        fits = wanted->dims[i] < 0 || wanted->dims[i] == got->dims[i];
    if (fits)
        return STATUS_OK;
    return fail(why, STATUS_INVALID,
                "unexpected shape for input '%s': expected %s (-1: any), got %s", got->name,
                dims_text(a, sizeof a, wanted->dims, wanted->rank),
                dims_text(b, sizeof b, got->dims, got->rank));
}

static enum status check_head(const struct reading *self, struct tensor *tensor, const char *type,
                              struct error *why)
{
    char names[256];
    const struct signature *signature = &self->version->signature;
    const struct tensor *wanted = expected_input(self, tensor->name);
    if (!wanted) {
        list_names(names, sizeof names, signature->inputs, signature->inputs_len);
        return fail(why, STATUS_INVALID,
                    "unexpected inference input '%.200s' for model '%s': its inputs are %s",
                    tensor->name, self->version->model, names);
    }
    for (size_t i = 0; i < self->out->inputs_len; i++)
        if (strcmp(self->out->inputs[i].name, tensor->name) == 0)
            return fail(why, STATUS_INVALID, "input '%s' is there twice", tensor->name);
    tensor->dtype = dtype_by_name(type);
    if (tensor->dtype != wanted->dtype)
        return fail(why, STATUS_INVALID,
                    "unexpected datatype for input '%s': expected %s, got %.20s", tensor->name,
                    dtype_name(wanted->dtype), type);
    return check_shape(tensor, wanted, why);
}

/* --- one input's octets -------------------------------------------------------------------------
 */

static enum status take_binary(struct reading *self, struct tensor *tensor, const json_t *size,
                               uint64_t expected, struct error *why)
{
    uint64_t left = (uint64_t)(self->end - self->tail);
    if (!json_is_integer(size) || json_integer_value(size) < 0)
        return fail(why, STATUS_INVALID,
                    "input '%s': \"binary_data_size\" must be a whole number from 0", tensor->name);
    uint64_t got = (uint64_t)json_integer_value(size);
    if (got != expected)
        return fail(why, STATUS_INVALID,
                    "input '%s': its shape and type need %" PRIu64
                    " bytes, but binary_data_size is %" PRIu64,
                    tensor->name, expected, got);
    if (got > left)
        return fail(why, STATUS_INVALID,
                    "input '%s': binary_data_size is %" PRIu64 ", but the body has only %" PRIu64
                    " bytes left after its JSON of Inference-Header-Content-Length octets",
                    tensor->name, got, left);
    tensor->data = (void *)self->tail;
    self->tail += got;
    self->binary_len++;
    return STATUS_OK;
}

/* BYTES: their size is what came; whether lengths and octets add up is the worker's to check. */
static enum status take_texts(struct reading *self, struct tensor *tensor, const json_t *size,
                              const json_t *data, struct error *why)
{
    json_error_t at;
    size_t span = (size_t)json_integer_value(data);
    if (size) {
        json_int_t bytes = json_integer_value(size);
        tensor->bytes = bytes > 0 ? (size_t)bytes : 0;
        return take_binary(self, tensor, size, tensor->bytes, why);
    }
    if (!json_is_integer(data) || span >= self->scan.spans_len)
        return fail(why, STATUS_INVALID,
                    "input '%s' has neither \"data\", a list, nor the parameter "
                    "\"binary_data_size\"",
                    tensor->name);
    const char *from = self->scan.spans[span].from;
    json_t *list =
        json_loadb(from, (size_t)(self->scan.spans[span].to - from), JSON_ALLOW_NUL, &at);
    if (!list)
        return fail(why, STATUS_INVALID, "input '%s': \"data\" is no JSON: %s", tensor->name,
                    at.text);
    enum status s = json_tensor_fill(tensor, list, why);
    json_decref(list);
    self->texts[self->out->inputs_len] = tensor->data;
    return s;
}

static enum status take_octets(struct reading *self, struct tensor *tensor, const json_t *input,
                               struct error *why)
{
    uint64_t expected;
    const json_t *data = json_object_get(input, "data");
    const json_t *parameters = json_object_get(input, "parameters");
    const json_t *size = json_object_get(parameters, "binary_data_size");
    if (json_object_get(parameters, "shared_memory_region"))
        return fail(why, STATUS_UNSUPPORTED, "input '%s': shared memory is not supported",
                    tensor->name);
    if (tensor->dtype == DTYPE_BYTES && !(size && data))
        return take_texts(self, tensor, size, data, why);
    if (!tensor_size(tensor->dtype, tensor->dims, tensor->rank, &expected) ||
        expected > OIP_TENSOR_BYTES_MAX)
        return fail(why, STATUS_TOO_LARGE, "input '%s' takes more than %zu bytes", tensor->name,
                    (size_t)OIP_TENSOR_BYTES_MAX);
    tensor->bytes = (size_t)expected;
    if (size && data)
        return fail(why, STATUS_INVALID, "input '%s' has both \"data\" and \"binary_data_size\"",
                    tensor->name);
    if (size)
        return take_binary(self, tensor, size, expected, why);
    if (!json_is_integer(data) || (size_t)json_integer_value(data) >= self->scan.spans_len)
        return fail(why, STATUS_INVALID,
                    "input '%s' has neither \"data\", a list, nor the parameter "
                    "\"binary_data_size\"",
                    tensor->name);
    if (!number_has_json(tensor->dtype))
        return fail(why, STATUS_INVALID,
                    "input '%s': %s has no JSON form: send it by the binary tensor extension",
                    tensor->name, dtype_name(tensor->dtype));
    /* Until all are known `data` says which list it is; see place_lists. */
    tensor->data = (void *)self->scan.spans[json_integer_value(data)].from;
    self->list_bytes += (expected + TENSOR_ALIGN - 1) / TENSOR_ALIGN * TENSOR_ALIGN;
    return STATUS_OK;
}

static enum status read_input(struct reading *self, const json_t *input, struct error *why)
{
    struct tensor *tensor = &self->out->inputs[self->out->inputs_len];
    const char *type = json_string_value(json_object_get(input, "datatype"));
    memset(tensor, 0, sizeof *tensor);
    tensor->name = json_string_value(json_object_get(input, "name"));
    if (!tensor->name || !type)
        return fail(why, STATUS_INVALID,
                    "\"inputs\"[%zu] needs \"name\", \"shape\" and \"datatype\"",
                    self->out->inputs_len);
    enum status s = read_shape(tensor, json_object_get(input, "shape"), why);
    if (s == STATUS_OK)
        s = check_head(self, tensor, type, why);
    if (s == STATUS_OK)
        s = take_octets(self, tensor, input, why);
    if (s == STATUS_OK)
        self->out->inputs_len++;
    return s;
}

/* --- all inputs ---------------------------------------------------------------------------------
 */

static bool in_body(const struct reading *self, const struct tensor *tensor)
{
    const char *at = tensor->data;
    for (size_t i = 0; i < self->scan.spans_len; i++)
        if (self->scan.spans[i].from == at)
            return false;
    return true;
}

/* Parse the lists into one block, which becomes the owner of all inputs: binary ones beside lists
 * are copied into it. Binary alone stays where it came. */
static enum status place_lists(struct reading *self, struct error *why)
{
    struct oip_request *out = self->out;
    uint64_t room = self->list_bytes;
    if (self->binary_len == out->inputs_len) {
        out->owner = bytes_ref(self->body);
        return STATUS_OK;
    }
    for (size_t i = 0; i < out->inputs_len; i++)
        room += in_body(self, &out->inputs[i]) ? out->inputs[i].bytes + TENSOR_ALIGN : 0;
    if (room > OIP_TENSOR_BYTES_MAX + SIGNATURE_VALUES_MAX * TENSOR_ALIGN)
        return fail(why, STATUS_TOO_LARGE, "the inputs take more than %zu bytes",
                    (size_t)OIP_TENSOR_BYTES_MAX);
    out->owner = bytes_new((size_t)room);
    char *into = out->owner->data;
    for (size_t i = 0; i < out->inputs_len; i++) {
        struct tensor *tensor = &out->inputs[i];
        enum status s = STATUS_OK;
        if (in_body(self, tensor)) {
            if (tensor->bytes)
                memcpy(into, tensor->data, tensor->bytes);
        } else {
            const char *text = tensor->data, *end = self->body->data;
            s = number_list_read(tensor, text, end + self->body->size, into, why);
        }
        if (s != STATUS_OK)
            return s;
        tensor->data = into;
        into += (tensor->bytes + TENSOR_ALIGN - 1) / TENSOR_ALIGN * TENSOR_ALIGN;
    }
    return STATUS_OK;
}

static enum status check_rows(struct oip_request *out, const struct signature *signature,
                              struct error *why)
{
    out->rows = 1;
    if (!signature->batchable || !out->inputs_len || !out->inputs[0].rank)
        return STATUS_OK;
    for (size_t i = 1; i < out->inputs_len; i++)
        if (out->inputs[i].dims[0] != out->inputs[0].dims[0])
            return fail(why, STATUS_INVALID,
                        "inputs '%s' and '%s' have %" PRId64 " and %" PRId64
                        " rows: all inputs need the same number",
                        out->inputs[0].name, out->inputs[i].name, out->inputs[0].dims[0],
                        out->inputs[i].dims[0]);
    out->rows = (uint32_t)MIN(out->inputs[0].dims[0], (int64_t)UINT32_MAX);
    return STATUS_OK;
}

static enum status read_inputs(struct reading *self, struct error *why)
{
    size_t i;
    const json_t *input;
    const json_t *inputs = json_object_get(self->out->root, "inputs");
    const struct signature *signature = &self->version->signature;
    char names[256];
    if (!json_is_array(inputs))
        return fail(why, STATUS_INVALID, "the request needs \"inputs\", a list of tensors");
    json_array_foreach(inputs, i, input)
    {
        if (i == SIGNATURE_VALUES_MAX)
            return fail(why, STATUS_INVALID, "more than %d inputs", SIGNATURE_VALUES_MAX);
        enum status s = read_input(self, input, why);
        if (s != STATUS_OK)
            return s;
    }
    if (self->out->inputs_len != signature->inputs_len) {
        list_names(names, sizeof names, signature->inputs, signature->inputs_len);
        return fail(why, STATUS_INVALID,
                    "expected %u inputs but got %zu inputs for model '%s': its inputs are %s",
                    signature->inputs_len, self->out->inputs_len, self->version->model, names);
    }
    if (self->tail != self->end && self->binary_len)
        return fail(why, STATUS_INVALID,
                    "%zu bytes are left over behind the binary tensors: expected the sum of "
                    "binary_data_size and no more",
                    (size_t)(self->end - self->tail));
    return check_rows(self->out, signature, why);
}

/* --- parameters and outputs ---------------------------------------------------------------------
 */

static enum status read_parameters(struct oip_request *out, struct error *why)
{
    const json_t *parameters = json_object_get(out->root, "parameters");
    const json_t *timeout = json_object_get(parameters, "timeout");
    const json_t *sequence = json_object_get(parameters, "sequence_id");
    const json_t *id = json_object_get(out->root, "id");
    if (parameters && !json_is_object(parameters))
        return fail(why, STATUS_INVALID, "\"parameters\" must be an object");
    if (id && !json_is_string(id))
        return fail(why, STATUS_INVALID, "\"id\" must be a text");
    if (timeout && (!json_is_integer(timeout) || json_integer_value(timeout) < 0))
        return fail(why, STATUS_INVALID, "the parameter \"timeout\" must be whole microseconds");
    if (sequence && (json_integer_value(sequence) ||
                     *(json_string_value(sequence) ? json_string_value(sequence) : "")))
        return fail(why, STATUS_UNSUPPORTED,
                    "sequences (sequence_id) are not supported: models "
                    "keep no state between requests");
    out->id = json_string_value(id);
    out->timeout_us = (uint64_t)json_integer_value(timeout);
    json_int_t priority = json_integer_value(json_object_get(parameters, "priority"));
    out->band = priority <= 1 ? 0 : (uint32_t)MIN(priority - 1, 3);
    out->binary_default = json_is_true(json_object_get(parameters, "binary_data_output"));
    return STATUS_OK;
}

static enum status read_output(struct oip_request *out, const struct version *version,
                               const json_t *output, struct error *why)
{
    char names[256];
    const struct signature *signature = &version->signature;
    const char *name = json_string_value(json_object_get(output, "name"));
    const json_t *parameters = json_object_get(output, "parameters");
    const json_t *binary = json_object_get(parameters, "binary_data");
    uint32_t index = 0;
    if (!name)
        return fail(why, STATUS_INVALID, "\"outputs\"[%zu] needs \"name\"", out->outputs_len);
    while (index < signature->outputs_len && strcmp(signature->outputs[index].name, name) != 0)
        index++;
    if (index == signature->outputs_len) {
        list_names(names, sizeof names, signature->outputs, signature->outputs_len);
        return fail(why, STATUS_INVALID,
                    "unexpected inference output '%.200s' for model '%s': its outputs are %s", name,
                    version->model, names);
    }
    if (json_integer_value(json_object_get(parameters, "classification")))
        return fail(why, STATUS_UNSUPPORTED,
                    "output '%s': classification is not supported: ask for the scores", name);
    if (json_object_get(parameters, "shared_memory_region"))
        return fail(why, STATUS_UNSUPPORTED, "output '%s': shared memory is not supported", name);
    for (size_t i = 0; i < out->outputs_len; i++)
        if (out->outputs[i].index == index)
            return fail(why, STATUS_INVALID, "output '%s' is asked for twice", name);
    out->outputs[out->outputs_len].index = index;
    out->outputs[out->outputs_len++].binary = binary ? json_is_true(binary) : out->binary_default;
    return STATUS_OK;
}

static enum status read_outputs(struct oip_request *out, const struct version *version,
                                struct error *why)
{
    size_t i;
    const json_t *output;
    const json_t *outputs = json_object_get(out->root, "outputs");
    enum status s = STATUS_OK;
    if (outputs && !json_is_array(outputs))
        return fail(why, STATUS_INVALID, "\"outputs\" must be a list");
    json_array_foreach(outputs, i, output) if (s == STATUS_OK) s =
        read_output(out, version, output, why);
    return s;
}

/* --- the whole ----------------------------------------------------------------------------------
 */

/* No JSON: the body is the one input. The first open dim that the size does not tell is one row. */
static enum status read_raw(struct reading *self, struct error *why)
{
    struct oip_request *out = self->out;
    const struct signature *signature = &self->version->signature;
    struct tensor *tensor = &out->inputs[0];
    char shape[128];
    if (signature->inputs_len != 1 || !dtype_bytes(signature->inputs[0].dtype))
        return fail(why, STATUS_INVALID,
                    "a raw request (Inference-Header-Content-Length: 0) needs a model with one "
                    "input of fixed-size elements; '%s' has %u inputs",
                    self->version->model, signature->inputs_len);
    *tensor = signature->inputs[0];
    uint32_t open = 0, last = 0;
    for (uint32_t i = 0; i < tensor->rank; i++)
        if (tensor->dims[i] < 0) {
            open++;
            last = i;
        }
    for (uint32_t i = 0; i < tensor->rank; i++)
        tensor->dims[i] = tensor->dims[i] < 0 ? 1 : tensor->dims[i];
    uint64_t unit = 0;
    bool fits = tensor_size(tensor->dtype, tensor->dims, tensor->rank, &unit) && unit > 0 &&
                self->body->size % unit == 0 && self->body->size > 0;
    if (!fits || open > 2 || (open == 2 && signature->inputs[0].dims[0] >= 0) ||
        (open == 0 && self->body->size != unit))
        return fail(why, STATUS_INVALID,
                    "a raw request of %zu bytes does not fit input '%s' %s of type %s: expected "
                    "%" PRIu64 " bytes%s",
                    self->body->size, tensor->name,
                    dims_text(shape, sizeof shape, signature->inputs[0].dims, tensor->rank),
                    dtype_name(tensor->dtype), unit, open ? " or a multiple" : "");
    if (open)
        tensor->dims[last] = (int64_t)(self->body->size / unit);
    tensor->data = self->body->data;
    tensor->bytes = self->body->size;
    out->inputs_len = 1;
    out->binary_default = true;
    out->owner = bytes_ref(self->body);
    return check_rows(out, signature, why);
}

static enum status read_json(struct reading *self, size_t size, struct error *why)
{
    struct oip_request *out = self->out;
    json_error_t at;
    char *text = self->body->data;
    /* The scanner needs an end: the first octet of the binary part is put back afterwards. */
    char behind = text[size];
    text[size] = '\0';
    enum status s = oip_scan(&self->scan, text, size, why);
    text[size] = behind;
    if (s != STATUS_OK)
        return s;
    out->root = json_loadb(self->scan.envelope, self->scan.envelope_size, 0, &at);
    free(self->scan.envelope);
    if (!out->root)
        return fail(why, STATUS_INVALID, "the request is no JSON: line %d: %s", at.line, at.text);
    if (!json_is_object(out->root))
        return fail(why, STATUS_INVALID, "the request must be a JSON object {...}");
    s = read_parameters(out, why);
    if (s == STATUS_OK)
        s = read_inputs(self, why);
    if (s == STATUS_OK)
        s = read_outputs(out, self->version, why);
    if (s == STATUS_OK)
        s = place_lists(self, why);
    return s;
}

enum status oip_request_read(struct oip_request *out, struct bytes *body, uint64_t header,
                             const struct version *version, struct error *why)
{
    struct reading self = {.out = out, .version = version, .body = body};
    memset(out, 0, sizeof *out);
    if (header == 0)
        return read_raw(&self, why);
    if (header != OIP_NO_HEADER && header > body->size)
        return fail(why, STATUS_INVALID,
                    "Inference-Header-Content-Length is %" PRIu64 ", but the body has %zu octets",
                    header, body->size);
    size_t size = header == OIP_NO_HEADER ? body->size : (size_t)header;
    self.end = (const char *)body->data + body->size;
    self.tail = (const char *)body->data + size;
    enum status s = read_json(&self, size, why);
    for (size_t i = 0; i < SIGNATURE_VALUES_MAX; i++)
        free(self.texts[i]);
    return s;
}
