/* op_sequence - sequences of tensors: made, read, changed; a changed one is a new one that shares
 * its items */
#include <inttypes.h>
#include <string.h>

#include "worker/ops/ops.h"

/* Input `i` as a sequence that holds tensors; NULL, and `why`, when it is none. */
static const struct sequence *sequence_in(const struct step *step, uint32_t i, struct error *why)
{
    const struct array *a = step_in(step, i);
    if (a && a->sequence && a->dtype != DTYPE_NONE)
        return sequence_of(a);
    (void)bad_step(why, step, "input %u must be a sequence of tensors", i);
    return NULL;
}

/* The position in input `i`, counted from the back when negative; `otherwise` when left out. */
static enum status position_in(const struct step *step, uint32_t i, size_t len, size_t otherwise,
                               size_t *at, struct error *why)
{
    int64_t p;
    size_t count;
    *at = otherwise;
    if (!step_in(step, i))
        return STATUS_OK;
    enum status s = known_ints(step, i, &p, 1, &count, why);
    if (s != STATUS_OK)
        return s;
    if (count != 1 || p < -(int64_t)len || p > (int64_t)len)
        return bad_step(why, step, "position %" PRId64 " is outside of a sequence of %zu",
                        count ? p : 0, len);
    *at = p < 0 ? (size_t)(p + (int64_t)len) : (size_t)p;
    return STATUS_OK;
}

static enum status share(const struct step *step, struct array *to, const struct array *from,
                         struct error *why)
{
    return value_share(step->run->slab, to, from, why);
}

enum status sequence_late(struct step *step, struct error *why)
{
    for (uint32_t i = 0; i < step->in_len; i++)
        if (step->in[i] && !step->in[i]->sequence && !dtype_bytes(step->in[i]->dtype))
            return bad_step(why, step, "input %u is %s, which is not supported here", i,
                            dtype_name(step->in[i]->dtype));
    step->late = true;
    return STATUS_OK;
}

enum status sequence_new_compute(const struct step *step, struct error *why)
{
    struct array *items;
    const struct array *first = step->in[0];
    for (uint32_t i = 0; i < step->in_len; i++) {
        const struct array *a = step->in[i];
        if (!a || !first || a->dtype != first->dtype)
            return bad_step(why, step, "input %u is %s; all must be tensors of one type", i,
                            a ? dtype_name(a->dtype) : "left out");
    }
    enum status s = out_sequence(step, 0, first->dtype, step->in_len, &items, why);
    for (uint32_t i = 0; i < step->in_len && s == STATUS_OK; i++)
        s = share(step, &items[i], step->in[i], why);
    return s;
}

enum status sequence_empty_check(struct node *node, struct error *why)
{
    enum dtype *t = region_take(node->region, sizeof *t);
    int64_t code = attr_int(node, "dtype", dtype_onnx(DTYPE_FP32));
    *t = code > 0 && code < 64 ? dtype_by_onnx((int)code) : DTYPE_NONE;
    node->state = t;
    return dtype_bytes(*t) ? STATUS_OK
                           : bad_node(why, node, "dtype %" PRId64 " is not supported", code);
}

enum status sequence_empty_compute(const struct step *step, struct error *why)
{
    struct array *items;
    return out_sequence(step, 0, *(const enum dtype *)step->node->state, 0, &items, why);
}

enum status sequence_at_compute(const struct step *step, struct error *why)
{
    const struct sequence *q = sequence_in(step, 0, why);
    if (!q)
        return STATUS_INVALID;
    size_t at;
    enum status s = position_in(step, 1, q->len, q->len, &at, why);
    if (s == STATUS_OK && at == q->len)
        s = bad_step(why, step, "position %zu is outside of a sequence of %zu", at, q->len);
    return s == STATUS_OK ? out_share(step, 0, &q->items[at], why) : s;
}

enum status sequence_insert_compute(const struct step *step, struct error *why)
{
    const struct sequence *q = sequence_in(step, 0, why);
    if (!q)
        return STATUS_INVALID;
    const struct array *new = step->in[1];
    struct array *items;
    size_t at;
    if (new->sequence || new->dtype != step->in[0]->dtype)
        return bad_step(why, step, "%s cannot go into a sequence of %s",
                        new->sequence ? "a sequence" : dtype_name(new->dtype),
                        dtype_name(step->in[0]->dtype));
    enum status s = position_in(step, 2, q->len, q->len, &at, why);
    if (s == STATUS_OK)
        s = out_sequence(step, 0, new->dtype, q->len + 1, &items, why);
    for (size_t k = 0; s == STATUS_OK && k <= q->len; k++)
        s = share(step, &items[k], k == at ? new : &q->items[k - (k > at)], why);
    return s;
}

enum status sequence_erase_compute(const struct step *step, struct error *why)
{
    const struct sequence *q = sequence_in(step, 0, why);
    if (!q)
        return STATUS_INVALID;
    struct array *items;
    size_t at;
    enum status s = position_in(step, 1, q->len, q->len - 1, &at, why);
    if (s == STATUS_OK && at >= q->len)
        s = bad_step(why, step, "nothing to erase at the end of a sequence of %zu", q->len);
    if (s == STATUS_OK)
        s = out_sequence(step, 0, step->in[0]->dtype, q->len - 1, &items, why);
    for (size_t k = 0; s == STATUS_OK && k + 1 < q->len; k++)
        s = share(step, &items[k], &q->items[k + (k >= at)], why);
    return s;
}

enum status sequence_length_shape(struct step *step, struct error *why)
{
    const struct sequence *q = sequence_in(step, 0, why);
    return q ? out_set(step, 0, DTYPE_INT64, NULL, 0, why) : STATUS_INVALID;
}

enum status sequence_length_compute(const struct step *step, struct error *why)
{
    (void)why;
    *(int64_t *)step->out[0]->data = (int64_t)sequence_of(step->in[0])->len;
    return STATUS_OK;
}

struct pieces {
    int64_t axis;
    bool keep; /* SplitToSequence: the axis stays; ConcatFromSequence: it is a new one */
};

enum status sequence_split_check(struct node *node, struct error *why)
{
    (void)why;
    struct pieces *p = region_take(node->region, sizeof *p);
    p->axis = attr_int(node, "axis", 0);
    p->keep = attr_int(node, "keepdims", 1) != 0 || node->inputs_len > 1;
    node->state = p;
    return STATUS_OK;
}

static int64_t split_size(const struct array *split, size_t k)
{
    return split->dtype == DTYPE_INT64 ? ((const int64_t *)split->data)[k]
                                       : ((const int32_t *)split->data)[k];
}

/* Sizes of the pieces: *count of them, each `each` (the last one what remains), or sizes[k]. */
static enum status split_sizes(const struct step *step, int64_t total, int64_t *each,
                               const struct array **sizes, size_t *count, struct error *why)
{
    const struct array *split = step_in(step, 1);
    int64_t sum = 0;
    size_t len;
    *sizes = NULL;
    *each = 1;
    if (split && split->rank > 0) {
        *sizes = split;
        *count = array_count(split);
        if (split->dtype != DTYPE_INT64 && split->dtype != DTYPE_INT32)
            return bad_step(why, step, "its sizes are %s; expected INT64",
                            dtype_name(split->dtype));
        for (size_t k = 0; k < *count; k++) {
            int64_t size = split_size(split, k);
            sum = size < 0 || size > total - sum ? INT64_MIN / 2 : sum + size;
        }
        return sum == total
                   ? STATUS_OK
                   : bad_step(why, step, "its %zu sizes do not add up to the axis' %" PRId64,
                              *count, total);
    }
    enum status s = split ? known_ints(step, 1, each, 1, &len, why) : STATUS_OK;
    if (s == STATUS_OK && *each <= 0)
        s = bad_step(why, step, "pieces of size %" PRId64 " are not possible", *each);
    if (s == STATUS_OK)
        *count = (size_t)(total / *each + (total % *each != 0));
    return s;
}

/* Items first..first+dims[axis]-1 of `in` along the axis. */
static void copy_piece(const struct array *in, const struct array *to, uint32_t axis, size_t first,
                       size_t len)
{
    size_t width = dims_span(in, axis + 1, in->rank) * dtype_bytes(in->dtype);
    size_t row = (size_t)in->dims[axis] * width, span = len * width;
    for (size_t o = 0; o < dims_span(in, 0, axis) && span; o++)
        memcpy((char *)to->data + o * span, (const char *)in->data + o * row + first * width, span);
}

enum status sequence_split_compute(const struct step *step, struct error *why)
{
    const struct array *in = step->in[0], *sizes;
    const struct pieces *p = step->node->state;
    int64_t axis = p->axis, each, dims[TENSOR_RANK_MAX], left;
    struct array *items;
    size_t count = 0;
    if (in->sequence || !axis_ok(&axis, in->rank))
        return bad_step(why, step, "axis %" PRId64 " does not fit the input", p->axis);
    left = in->dims[axis];
    enum status s = split_sizes(step, left, &each, &sizes, &count, why);
    if (s == STATUS_OK)
        s = out_sequence(step, 0, in->dtype, count, &items, why);
    for (size_t k = 0; k < count && s == STATUS_OK; k++) {
        int64_t size = sizes ? split_size(sizes, k) : MIN(each, left);
        uint32_t rank = in->rank;
        memcpy(dims, in->dims, sizeof dims);
        dims[axis] = size;
        if (!p->keep) {
            memmove(dims + axis, dims + axis + 1, (size_t)(rank - axis - 1) * sizeof *dims);
            rank--;
        }
        s = item_make(step, &items[k], in->dtype, dims, rank, why);
        if (s == STATUS_OK)
            copy_piece(in, &items[k], (uint32_t)axis, (size_t)(in->dims[axis] - left),
                       (size_t)size);
        left -= size;
    }
    return s;
}

enum status sequence_join_check(struct node *node, struct error *why)
{
    struct pieces *p = region_take(node->region, sizeof *p);
    if (!attr_find(node, "axis"))
        return bad_node(why, node, "axis is missing");
    p->axis = attr_int(node, "axis", 0);
    p->keep = attr_int(node, "new_axis", 0) != 0;
    node->state = p;
    return STATUS_OK;
}

/* Dims of all items behind each other, or on top of each other on a new axis. */
static enum status joined_dims(const struct step *step, const struct sequence *q, int64_t *axis,
                               int64_t *dims, uint32_t *rank, struct error *why)
{
    const struct pieces *p = step->node->state;
    const struct array *first = &q->items[0];
    char text[2][128];
    *axis = p->axis;
    if (!q->len)
        return bad_step(why, step, "the sequence is empty");
    *rank = first->rank + p->keep;
    if (*rank > TENSOR_RANK_MAX || !axis_ok(axis, *rank))
        return bad_step(why, step, "axis %" PRId64 " does not fit items of rank %u", p->axis,
                        first->rank);
    memcpy(dims, first->dims, first->rank * sizeof *dims);
    if (p->keep)
        memmove(dims + *axis + 1, dims + *axis, (size_t)(first->rank - *axis) * sizeof *dims);
    dims[*axis] = p->keep ? (int64_t)q->len : 0;
    for (size_t i = 0; i < q->len; i++) {
        const struct array *a = &q->items[i];
        bool fits = a->rank == first->rank;
        for (uint32_t k = 0; fits && k < a->rank; k++)
            fits = a->dims[k] == first->dims[k] || (k == *axis && !p->keep);
        if (!fits)
            return bad_step(why, step, "item %zu is %s, the first one %s", i,
                            dims_text(text[0], sizeof text[0], a->dims, a->rank),
                            dims_text(text[1], sizeof text[1], first->dims, first->rank));
        dims[*axis] += p->keep ? 0 : a->dims[*axis];
    }
    return STATUS_OK;
}

enum status sequence_join_compute(const struct step *step, struct error *why)
{
    const struct sequence *q = sequence_in(step, 0, why);
    if (!q)
        return STATUS_INVALID;
    const struct array *out = step->out[0];
    int64_t dims[TENSOR_RANK_MAX], axis;
    uint32_t rank = 0;
    size_t at = 0;
    enum status s = joined_dims(step, q, &axis, dims, &rank, why);
    if (s == STATUS_OK)
        s = out_make(step, 0, step->in[0]->dtype, dims, rank, why);
    if (s != STATUS_OK)
        return s;
    size_t outer = dims_span(out, 0, (uint32_t)axis), row = outer ? out->bytes / outer : 0;
    for (size_t i = 0; i < q->len; i++) {
        size_t span = outer ? q->items[i].bytes / outer : 0;
        for (size_t o = 0; o < outer && span; o++)
            memcpy((char *)out->data + o * row + at, (const char *)q->items[i].data + o * span,
                   span);
        at += span;
    }
    return STATUS_OK;
}
