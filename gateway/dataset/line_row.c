#include "gateway/dataset/line_row.h"
#include "gateway/dataset/json_tensor.h"

#include <stdlib.h>
#include <string.h>

struct parser {
    struct line_row *out;          /* being filled */
    const struct signature *model; /* its inputs */
    const char *endpoint;          /* what "url" has to be; NULL: anything */
    const char *code;              /* kind of failure */
    struct error *why;
};

static enum status refuse(struct parser *self, const char *code)
{
    self->code = code;
    return self->why->status;
}

/* One input from its JSON list; `dims` is the shape that was given or found. */
static enum status take_input(struct parser *self, uint32_t index, const json_t *data,
                              const int64_t *dims, uint32_t rank)
{
    struct tensor *input = &self->out->inputs[index];
    enum status status = dataset_row_shape(&self->model->inputs[index], self->model->batchable,
                                           dims, rank, input, self->why);
    if (status == STATUS_OK) {
        struct tensor as_given = *input;
        as_given.rank = rank;
        memcpy(as_given.dims, dims, rank * sizeof(*dims));
        status = json_tensor_fill(&as_given, data, self->why);
        input->data = as_given.data;
        input->bytes = as_given.bytes;
    }
    return status == STATUS_OK ? status : refuse(self, "invalid_row");
}

/* [...] or a single value, for a model with one input. */
static enum status take_bare(struct parser *self, const json_t *data)
{
    int64_t dims[TENSOR_RANK_MAX];
    uint32_t rank = 0;
    if (self->model->inputs_len != 1) {
        fail(self->why, STATUS_INVALID,
             "the model has %u inputs: expected {\"inputs\":[...]} with each of them",
             self->model->inputs_len);
        return refuse(self, "invalid_row");
    }
    if (json_tensor_dims(data, dims, &rank, self->why) != STATUS_OK)
        return refuse(self, "invalid_row");
    return take_input(self, 0, data, dims, rank);
}

static bool find_input(const struct signature *model, const char *name, uint32_t *index)
{
    for (*index = 0; *index < model->inputs_len; ++*index) {
        if (strcmp(model->inputs[*index].name, name) == 0)
            return true;
    }
    return false;
}

/* "shape" of an input of the Open Inference Protocol. */
static bool read_shape(const json_t *shape, int64_t *dims, uint32_t *rank)
{
    if (!json_is_array(shape) || json_array_size(shape) > TENSOR_RANK_MAX)
        return false;
    *rank = (uint32_t)json_array_size(shape);
    for (uint32_t i = 0; i < *rank; i++) {
        const json_t *dim = json_array_get(shape, i);
        dims[i] = json_integer_value(dim);
        if (!json_is_integer(dim) || dims[i] < 0)
            return false;
    }
    return true;
}

/* One element of "inputs". */
static enum status take_oip_input(struct parser *self, const json_t *given)
{
    const char *name = json_string_value(json_object_get(given, "name"));
    const char *type = json_string_value(json_object_get(given, "datatype"));
    const json_t *data = json_object_get(given, "data");
    int64_t dims[TENSOR_RANK_MAX];
    uint32_t rank = 0, index = 0;
    struct error *why = self->why;
    if (!name || !find_input(self->model, name, &index))
        fail(why, STATUS_INVALID,
             "\"inputs\": the model has no input named \"%s\"; its first is "
             "\"%s\"",
             name ? name : "", self->model->inputs[0].name);
    else if (self->out->inputs[index].data)
        fail(why, STATUS_INVALID, "input \"%s\" is given twice", name);
    else if (!type || dtype_by_name(type) != self->model->inputs[index].dtype)
        fail(why, STATUS_INVALID, "input \"%s\": expected datatype %s, got %s", name,
             dtype_name(self->model->inputs[index].dtype), type ? type : "none");
    else if (!read_shape(json_object_get(given, "shape"), dims, &rank))
        fail(why, STATUS_INVALID, "input \"%s\": \"shape\" must be a list of at most %d sizes",
             name, TENSOR_RANK_MAX);
    else if (!json_is_array(data))
        fail(why, STATUS_INVALID, "input \"%s\": \"data\" must be a list", name);
    else
        return take_input(self, index, data, dims, rank);
    return refuse(self, "invalid_row");
}

static enum status take_oip(struct parser *self, const json_t *inputs)
{
    size_t i;
    const json_t *given;
    json_array_foreach(inputs, i, given)
    {
        enum status status = take_oip_input(self, given);
        if (status != STATUS_OK)
            return status;
    }
    for (uint32_t k = 0; k < self->model->inputs_len; k++) {
        if (!self->out->inputs[k].data) {
            fail(self->why, STATUS_INVALID, "input \"%s\" is missing", self->model->inputs[k].name);
            return refuse(self, "invalid_row");
        }
    }
    return STATUS_OK;
}

/* An object: {"custom_id",..."body"}, {"inputs"} or {"data"}. */
static enum status take_object(struct parser *self, const json_t *object)
{
    const char *id = json_string_value(json_object_get(object, "custom_id"));
    const char *url = json_string_value(json_object_get(object, "url"));
    const json_t *body = json_object_get(object, "body");
    if (id)
        self->out->custom_id = xstrdup(id);
    if (url && self->endpoint && strcmp(url, self->endpoint) != 0) {
        fail(self->why, STATUS_INVALID, "expected \"url\" %s as the batch has it, got %s",
             self->endpoint, url);
        return refuse(self, "url_mismatch");
    }
    if (json_is_array(body))
        return take_bare(self, body);
    if (!json_is_object(body))
        body = object;
    const json_t *inputs = json_object_get(body, "inputs");
    const json_t *data = json_object_get(body, "data");
    if (json_is_array(inputs))
        return take_oip(self, inputs);
    if (data)
        return take_bare(self, data);
    fail(self->why, STATUS_INVALID, "expected an object with \"inputs\", \"data\" or \"body\"");
    return refuse(self, "invalid_row");
}

enum status line_row_parse(struct line_row *out, const char *text, size_t size,
                           const struct signature *model, const char *endpoint, const char **code,
                           struct error *why)
{
    struct error ignored;
    struct parser parser = {
        .out = out, .model = model, .endpoint = endpoint, .why = why ? why : &ignored};
    json_error_t at;
    *out = (struct line_row){.inputs_len = model->inputs_len,
                             .inputs = xcalloc(model->inputs_len, sizeof(*out->inputs))};
    json_t *line = json_loadb(text, size, JSON_DECODE_ANY, &at);
    enum status status = STATUS_OK;
    if (!line) {
        fail(parser.why, STATUS_INVALID, "not JSON: column %d: %s", at.column, at.text);
        status = refuse(&parser, "invalid_json_line");
    } else if (json_is_object(line)) {
        status = take_object(&parser, line);
    } else {
        status = take_bare(&parser, line);
    }
    json_decref(line);
    *code = parser.code;
    if (status != STATUS_OK) {
        char *id = out->custom_id;
        out->custom_id = NULL;
        line_row_free(out);
        out->custom_id = id;
    }
    return status;
}

void line_row_free(struct line_row *self)
{
    for (uint32_t i = 0; i < self->inputs_len; i++)
        free(self->inputs[i].data);
    free(self->inputs);
    free(self->custom_id);
    *self = (struct line_row){.inputs_len = 0};
}
