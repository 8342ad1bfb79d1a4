/* op - the list of operators and what their functions share; see op.h */
#include "worker/ops/op.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "worker/kernels/bytes_conv.h"
#include "worker/ops/ops.h"

static const struct op list[] = {
#define OP(name, opset_min, opset_max, in_min, in_max, out_max, variant, flags, packs, known,      \
           check, shape, run, rows, layouts)                                                       \
    {#name, opset_min, opset_max, in_min, in_max, out_max, variant, flags,                         \
     packs, known,     check,     shape,  run,    rows,    layouts},
#include "worker/ops/ops.def"
#undef OP
};

const struct op *op_list(size_t *len)
{
    *len = ARRAY_LEN(list);
    return list;
}

const struct op *op_find(const char *name, int opset)
{
    for (size_t i = 0; i < ARRAY_LEN(list); i++)
        if (strcmp(list[i].name, name) == 0 && opset >= list[i].opset_min &&
            opset <= list[i].opset_max)
            return &list[i];
    return NULL;
}

bool op_known(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(list); i++)
        if (strcmp(list[i].name, name) == 0 && list[i].opset_min != OPSET_OURS)
            return true;
    return false;
}

enum status bad_node(struct error *why, const struct node *node, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return fail(why, STATUS_BAD_MODEL, "node \"%.200s\" (%s): %s", node->name, node->op->name,
                text);
}

enum status bad_step(struct error *why, const struct step *step, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return fail(why, STATUS_INVALID, "node \"%.200s\" (%s): %s", step->node->name,
                step->node->op->name, text);
}

size_t dims_span(const struct array *o, uint32_t from, uint32_t to)
{
    size_t product = 1;
    assert(to <= o->rank);
    for (uint32_t i = from; i < to; i++)
        product *= (size_t)o->dims[i];
    return product;
}

size_t array_count(const struct array *o)
{
    return dims_span(o, 0, o->rank);
}

struct array *step_in(const struct step *step, uint32_t i)
{
    return i < step->in_len ? step->in[i] : NULL;
}

struct array *step_out(const struct step *step, uint32_t i)
{
    return i < step->out_len ? step->out[i] : NULL;
}

enum status step_shape(struct step *step, struct error *why)
{
    const struct op *op = step->node->op;
    for (uint32_t i = 0; i < step->in_len; i++)
        if (step->in[i] && step->in[i]->dtype == DTYPE_BYTES && !(op->flags & OP_TEXTS))
            return bad_step(why, step, "input %u is BYTES (texts), which it does not take", i);
    step->texts = false;
    return op->shape(step, why);
}

bool array_size(enum dtype dtype, const int64_t *dims, uint32_t rank, size_t *bytes)
{
    uint64_t count;
    size_t width = element_bytes(dtype);
    for (uint32_t i = 0; i < rank; i++)
        if (dims[i] < 0 || dims[i] > (int64_t)ARRAY_BYTES_MAX)
            return false;
    if (!dims_count(dims, rank, &count) || count > ARRAY_BYTES_MAX / MAX(width, 1))
        return false;
    *bytes = (size_t)count * width;
    return true;
}

enum status out_describe(const struct step *step, struct array *o, enum dtype dtype,
                         const int64_t *dims, uint32_t rank, struct error *why)
{
    size_t bytes;
    char text[128];
    if (rank > TENSOR_RANK_MAX)
        return bad_step(why, step, "output of rank %u; at most %d are supported", rank,
                        TENSOR_RANK_MAX);
    if (!element_bytes(dtype))
        return bad_step(why, step, "the output has no type");
    if (dtype == DTYPE_BYTES && !(step->node->op->flags & OP_TEXTS))
        return bad_step(why, step, "the output is BYTES (texts), which it cannot make");
    if (!array_size(dtype, dims, rank, &bytes))
        return bad_step(why, step,
                        "output of shape %s is not possible: a negative dim, or more than %zu MiB",
                        dims_text(text, sizeof text, dims, rank), ARRAY_BYTES_MAX / MIB);
    o->dtype = dtype;
    o->layout = LAYOUT_PLAIN;
    o->rank = rank;
    if (rank) /* a scalar may come without dims */
        memmove(o->dims, dims, rank * sizeof dims[0]);
    o->bytes = bytes;
    return STATUS_OK;
}

enum status out_set(struct step *step, uint32_t i, enum dtype dtype, const int64_t *dims,
                    uint32_t rank, struct error *why)
{
    struct array *o = step_out(step, i);
    return o ? out_describe(step, o, dtype, dims, rank, why) : STATUS_OK;
}

enum status out_blocked(struct step *step, uint32_t i, const int64_t *dims, uint32_t rank,
                        struct error *why)
{
    int64_t padded[TENSOR_RANK_MAX];
    struct array *o = step_out(step, i);
    assert(rank >= 2 && rank <= TENSOR_RANK_MAX);
    memcpy(padded, dims, rank * sizeof dims[0]);
    if (padded[1] > 0 && padded[1] < INT64_MAX - 8)
        padded[1] = (padded[1] + 7) / 8 * 8;
    enum status s = out_set(step, i, DTYPE_FP32, padded, rank, why);
    if (s == STATUS_OK && o) {
        o->layout = LAYOUT_BLOCKED;
        o->dims[1] = dims[1];
    }
    return s;
}

enum status out_last(struct step *step, uint32_t i, enum dtype dtype, const int64_t *dims,
                     uint32_t rank, struct error *why)
{
    enum status s = out_set(step, i, dtype, dims, rank, why);
    struct array *o = step_out(step, i);
    assert(rank >= 2 && rank <= 4);
    if (s == STATUS_OK && o) {
        o->layout = LAYOUT_LAST;
        o->bytes += BYTES_SLACK;
    }
    return s;
}

enum status out_like(struct step *step, uint32_t i, enum dtype dtype, const struct array *like,
                     struct error *why)
{
    if (like->layout == LAYOUT_BLOCKED)
        return out_blocked(step, i, like->dims, like->rank, why);
    if (like->layout == LAYOUT_LAST)
        return out_last(step, i, dtype, like->dims, like->rank, why);
    return out_set(step, i, dtype, like->dims, like->rank, why);
}

const void *pack_data(const struct step *step, uint32_t i, void **copy)
{
    const struct array *a = step_in(step, i);
    *copy = NULL;
    if (!a || !a->data || (uintptr_t)a->data % element_bytes(a->dtype) == 0)
        return a ? a->data : NULL;
    *copy = xaligned(a->bytes);
    memcpy(*copy, a->data, a->bytes);
    return *copy;
}

bool axis_ok(int64_t *axis, uint32_t rank)
{
    if (*axis < -(int64_t)rank || *axis >= (int64_t)rank)
        return false;
    if (*axis < 0)
        *axis += rank;
    return true;
}

enum status known_ints(const struct step *step, uint32_t input, int64_t *into, size_t max,
                       size_t *len, struct error *why)
{
    const struct array *o = step_in(step, input);
    *len = 0;
    if (!o)
        return STATUS_OK;
    if (!o->known)
        return bad_step(why, step,
                        "input %u (\"%.100s\") depends on the data; it must follow from shapes "
                        "or be constant",
                        input, o->name);
    if (o->dtype != DTYPE_INT64 && o->dtype != DTYPE_INT32)
        return bad_step(why, step, "input %u is %s; expected INT64", input, dtype_name(o->dtype));
    size_t count = array_count(o);
    if (count > max)
        return bad_step(why, step, "input %u has %zu numbers; at most %zu are possible", input,
                        count, max);
    for (size_t i = 0; i < count; i++)
        into[i] =
            o->dtype == DTYPE_INT64 ? ((const int64_t *)o->data)[i] : ((const int32_t *)o->data)[i];
    *len = count;
    return STATUS_OK;
}

enum status check_none(struct node *node, struct error *why)
{
    (void)node;
    (void)why;
    return STATUS_OK;
}

enum status shape_same(struct step *step, struct error *why)
{
    return out_like(step, 0, step->in[0]->dtype, step->in[0], why);
}
