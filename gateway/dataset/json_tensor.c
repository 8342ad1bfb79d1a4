#include "gateway/dataset/json_tensor.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum status json_tensor_dims(const json_t *data, int64_t *dims, uint32_t *rank, struct error *why)
{
    *rank = 0;
    for (const json_t *at = data; json_is_array(at); at = json_array_get(at, 0)) {
        if (*rank == TENSOR_RANK_MAX)
            return fail(why, STATUS_INVALID, "lists are nested deeper than %d", TENSOR_RANK_MAX);
        dims[(*rank)++] = (int64_t)json_array_size(at);
        if (json_array_size(at) == 0)
            break;
    }
    return STATUS_OK;
}

/* What an integer type holds. jansson's integers end at INT64_MAX. */
struct limits {
    int64_t min, max;
};

static bool integer_limits(enum dtype dtype, struct limits *limits)
{
    static const struct limits table[] = {
        [DTYPE_INT8] = {INT8_MIN, INT8_MAX},
        [DTYPE_UINT8] = {0, UINT8_MAX},
        [DTYPE_INT16] = {INT16_MIN, INT16_MAX},
        [DTYPE_UINT16] = {0, UINT16_MAX},
        [DTYPE_INT32] = {INT32_MIN, INT32_MAX},
        [DTYPE_UINT32] = {0, UINT32_MAX},
        [DTYPE_INT64] = {INT64_MIN, INT64_MAX},
        [DTYPE_UINT64] = {0, INT64_MAX},
        [DTYPE_BOOL] = {0, 1},
    };
    if ((size_t)dtype >= ARRAY_LEN(table) || table[dtype].max == 0)
        return false;
    *limits = table[dtype];
    return true;
}

struct filler {
    struct tensor *out; /* being filled */
    uint64_t count;     /* elements wanted */
    uint64_t done;      /* elements read */
    size_t room;        /* of out->data; grows for BYTES only */
};

static enum status wrong_element(const struct filler *self, const json_t *value, struct error *why)
{
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(17));
    enum status status = fail(
        why, STATUS_INVALID,
        "input \"%s\": element %" PRIu64 ": expected a value of type %s, got %.60s",
        self->out->name, self->done, dtype_name(self->out->dtype), text ? text : "something else");
    free(text);
    return status;
}

static enum status fill_integer(struct filler *self, const json_t *value, struct error *why)
{
    struct limits limits = {0, 0};
    int64_t number = json_is_true(value) ? 1 : json_integer_value(value);
    if (json_is_real(value) && fabs(json_real_value(value)) < 9e15 &&
        floor(json_real_value(value)) == json_real_value(value))
        number = (int64_t)json_real_value(value);
    else if (!json_is_integer(value) && !(json_is_boolean(value) && self->out->dtype == DTYPE_BOOL))
        return wrong_element(self, value, why);
    if (!integer_limits(self->out->dtype, &limits) || number < limits.min || number > limits.max)
        return wrong_element(self, value, why);
    size_t size = dtype_bytes(self->out->dtype);
    memcpy((char *)self->out->data + self->done * size, &number, size); /* little-endian */
    return STATUS_OK;
}

static enum status fill_real(struct filler *self, const json_t *value, struct error *why)
{
    if (!json_is_number(value))
        return wrong_element(self, value, why);
    double number = json_number_value(value);
    if (self->out->dtype == DTYPE_FP64)
        ((double *)self->out->data)[self->done] = number;
    else
        ((float *)self->out->data)[self->done] = (float)number;
    return STATUS_OK;
}

static enum status fill_bytes(struct filler *self, const json_t *value, struct error *why)
{
    if (!json_is_string(value))
        return wrong_element(self, value, why);
    uint32_t size = (uint32_t)json_string_length(value);
    size_t end = self->out->bytes + sizeof(size) + size;
    if (end > self->room) {
        self->room = 2 * end;
        self->out->data = xrealloc(self->out->data, self->room);
    }
    memcpy((char *)self->out->data + self->out->bytes, &size, sizeof(size));
    memcpy((char *)self->out->data + self->out->bytes + sizeof(size), json_string_value(value),
           size);
    self->out->bytes = end;
    return STATUS_OK;
}

static enum status fill_element(struct filler *self, const json_t *value, struct error *why)
{
    enum status status;
    if (self->done == self->count)
        return fail(why, STATUS_INVALID,
                    "input \"%s\": more elements than the %" PRIu64 " of its shape",
                    self->out->name, self->count);
    if (self->out->dtype == DTYPE_BYTES)
        status = fill_bytes(self, value, why);
    else if (self->out->dtype == DTYPE_FP32 || self->out->dtype == DTYPE_FP64)
        status = fill_real(self, value, why);
    else
        status = fill_integer(self, value, why);
    self->done += status == STATUS_OK;
    return status;
}

/* Nested like the shape from its first axis on; a flat list of all elements is fine as well. */
static enum status fill_list(struct filler *self, const json_t *list, uint32_t axis,
                             struct error *why)
{
    const struct tensor *out = self->out;
    size_t len = json_array_size(list);
    bool nested = len > 0 && json_is_array(json_array_get(list, 0));
    bool flat = axis == 0 && !nested;
    if (axis >= out->rank && out->rank > 0)
        return fail(why, STATUS_INVALID, "input \"%s\": its lists are nested deeper than its shape",
                    out->name);
    if (!flat && (int64_t)len != out->dims[axis])
        return fail(why, STATUS_INVALID,
                    "input \"%s\": a list of axis %u: expected %lld elements, got %zu", out->name,
                    axis, (long long)out->dims[axis], len);
    enum status status = STATUS_OK;
    for (size_t i = 0; i < len && status == STATUS_OK; i++) {
        const json_t *value = json_array_get(list, i);
        if (json_is_array(value) && nested)
            status = fill_list(self, value, axis + 1, why);
        else if (nested || (!flat && axis + 1 < out->rank))
            status = wrong_element(self, value, why);
        else
            status = fill_element(self, value, why);
    }
    return status;
}

/* Lists cannot name more elements than they have values: bounds what a shape makes us allocate. */
static uint64_t count_leaves(const json_t *data)
{
    if (!json_is_array(data))
        return 1;
    uint64_t count = 0;
    size_t i;
    const json_t *value;
    json_array_foreach(data, i, value) count += count_leaves(value);
    return count;
}

enum status json_tensor_fill(struct tensor *out, const json_t *data, struct error *why)
{
    struct filler filler = {.out = out};
    struct limits limits;
    bool numbers =
        out->dtype == DTYPE_FP32 || out->dtype == DTYPE_FP64 || integer_limits(out->dtype, &limits);
    out->data = NULL;
    out->bytes = 0;
    if (!numbers && out->dtype != DTYPE_BYTES)
        return fail(why, STATUS_INVALID, "input \"%s\": %s has no JSON form; give the rows as .npy",
                    out->name, dtype_name(out->dtype));
    uint64_t leaves = count_leaves(data);
    char shape[128];
    if (!dims_count(out->dims, out->rank, &filler.count) || filler.count != leaves)
        return fail(why, STATUS_INVALID,
                    "input \"%s\": shape %s asks for %" PRIu64 " elements, got %" PRIu64, out->name,
                    dims_text(shape, sizeof(shape), out->dims, out->rank), filler.count, leaves);
    filler.room = numbers ? (size_t)filler.count * dtype_bytes(out->dtype) : (size_t)leaves * 16;
    out->data = xmalloc(filler.room + 1);
    out->bytes = numbers ? filler.room : 0;
    enum status status =
        json_is_array(data) ? fill_list(&filler, data, 0, why) : fill_element(&filler, data, why);
    if (status != STATUS_OK) {
        free(out->data);
        out->data = NULL;
    }
    return status;
}
