/* op_arrange - Tile, DepthToSpace, SpaceToDepth, ReverseSequence, Trilu: the same elements
 * elsewhere */
#include <inttypes.h>
#include <string.h>

#include "worker/ops/broadcast.h"
#include "worker/ops/ops.h"
#include "worker/ops/scalar.h"

/* Up to opset 5: how often, and along which axis, as two scalars of the input's type. */
static enum status legacy_repeats(const struct step *step, int64_t *repeats, struct error *why)
{
    double number[2];
    for (uint32_t i = 1; i < 3; i++) {
        const struct array *a = step->in[i];
        if (array_count(a) != 1 || !dtype_bytes(a->dtype))
            return bad_step(why, step, "input %u must be one number", i);
        number[i - 1] = dtype_is_float(a->dtype) ? scalar_float(a->dtype, a->data, 0)
                                                 : (double)scalar_int(a->dtype, a->data, 0);
    }
    int64_t axis = scalar_truncate(number[1]);
    if (!axis_ok(&axis, step->in[0]->rank))
        return bad_step(why, step, "axis %g is outside of rank %u", number[1], step->in[0]->rank);
    for (uint32_t k = 0; k < step->in[0]->rank; k++)
        repeats[k] = k == axis ? scalar_truncate(number[0]) : 1;
    return STATUS_OK;
}

enum status tile_shape(struct step *step, struct error *why)
{
    const struct array *in = step->in[0];
    int64_t repeats[TENSOR_RANK_MAX], dims[TENSOR_RANK_MAX];
    size_t len = in->rank;
    enum status s = step->node->op->variant == VARIANT_LEGACY
                        ? legacy_repeats(step, repeats, why)
                        : known_ints(step, 1, repeats, TENSOR_RANK_MAX, &len, why);
    if (s != STATUS_OK)
        return s;
    if (len != in->rank)
        return bad_step(why, step, "%zu repeats for an input of rank %u", len, in->rank);
    for (uint32_t k = 0; k < in->rank; k++) {
        if (repeats[k] < 0 || (repeats[k] && in->dims[k] > INT64_MAX / repeats[k]))
            return bad_step(why, step, "axis %u cannot be repeated %" PRId64 " times", k,
                            repeats[k]);
        dims[k] = in->dims[k] * repeats[k];
    }
    return out_set(step, 0, in->dtype, dims, in->rank, why);
}

enum status tile_compute(const struct step *step, struct error *why)
{
    (void)why;
    const struct array *in = step->in[0], *out = step->out[0];
    uint32_t last = in->rank ? in->rank - 1 : 0;
    size_t width = element_bytes(in->dtype), row = in->rank ? (size_t)in->dims[last] : 1;
    size_t times = out->rank && row ? (size_t)out->dims[last] / row : 1;
    char *to = out->data;
    for (size_t r = 0; out->bytes && r < dims_span(out, 0, last); r++) {
        size_t rest = r, from = 0, span = 1;
        for (uint32_t k = last; k-- > 0; rest /= (size_t)out->dims[k]) {
            from += rest % (size_t)out->dims[k] % (size_t)in->dims[k] * span;
            span *= (size_t)in->dims[k];
        }
        for (size_t t = 0; t < times; t++, to += row * width)
            memcpy(to, (const char *)in->data + from * row * width, row * width);
    }
    return STATUS_OK;
}

/* Rows stay where their axis is not repeated; what is the same for all stays so on a new axis. */
void tile_rows(const struct rows_step *s, const struct rows_at *in, struct rows_at *out)
{
    const struct array *x = s->step->in[0], *o = s->step->out[0];
    uint32_t axis;
    uint64_t front;
    int grown = rows_grown_axis(s, 0);
    if (in[1].rows == ROWS_ALONG)
        return;
    if (in[0].rows == ROWS_NONE && grown >= 0 && x->dims[grown] == 1)
        out[0] = rows_on_axis(o, (uint32_t)grown);
    else if (rows_locate(s, x, in[0], &axis, &front) && o->dims[axis] == x->dims[axis])
        out[0] = (struct rows_at){ROWS_ALONG, dims_span(o, 0, axis) * front};
}

struct blocks {
    int64_t size;
    bool column_row_depth; /* DepthToSpace's mode CRD */
};

enum status blocks_check(struct node *node, struct error *why)
{
    struct blocks *b = region_take(node->region, sizeof *b);
    b->size = attr_int(node, "blocksize", 0);
    node->state = b;
    if (b->size < 1 || b->size > INT32_MAX)
        return bad_node(why, node, "blocksize is %" PRId64 "; expected 1 or more", b->size);
    if (node->op->variant == BLOCKS_TO_DEPTH)
        return STATUS_OK;
    const char *mode = attr_text(node, "mode", "DCR");
    b->column_row_depth = strcmp(mode, "CRD") == 0;
    return b->column_row_depth || strcmp(mode, "DCR") == 0
               ? STATUS_OK
               : bad_node(why, node, "mode \"%.40s\" is unknown; expected DCR or CRD", mode);
}

enum status blocks_shape(struct step *step, struct error *why)
{
    const struct array *in = step->in[0];
    int64_t n = ((const struct blocks *)step->node->state)->size, dims[4];
    bool to_depth = step->node->op->variant == BLOCKS_TO_DEPTH;
    char text[128];
    bool fits = in->rank == 4 && dtype_bytes(in->dtype);
    if (fits && to_depth)
        fits = in->dims[2] % n == 0 && in->dims[3] % n == 0;
    else if (fits)
        fits = in->dims[1] % (n * n) == 0;
    if (!fits)
        return bad_step(why, step, "input %s does not divide into blocks of %" PRId64,
                        dims_text(text, sizeof text, in->dims, in->rank), n);
    dims[0] = in->dims[0];
    dims[1] = to_depth ? in->dims[1] : in->dims[1] / (n * n);
    dims[2] = to_depth ? in->dims[2] / n : in->dims[2] * n;
    dims[3] = to_depth ? in->dims[3] / n : in->dims[3] * n;
    if (to_depth && dims[1] > INT64_MAX / (n * n))
        return bad_step(why, step, "blocks of %" PRId64 " are too large", n);
    dims[1] *= to_depth ? n * n : 1;
    return out_set(step, 0, in->dtype, dims, 4, why);
}

enum status blocks_compute(const struct step *step, struct error *why)
{
    (void)why;
    const struct array *in = step->in[0], *out = step->out[0];
    const struct blocks *b = step->node->state;
    int64_t n = b->size, h = in->dims[2], w = in->dims[3], map = h * w, c = out->dims[1], to[6];
    bool to_depth = step->node->op->variant == BLOCKS_TO_DEPTH;
    /* The output's axes in order, each with its step in the input. */
    int64_t depth[6] = {in->dims[0], n, n, in->dims[1], h / n, w / n};
    int64_t depth_steps[6] = {in->dims[1] * map, w, 1, map, n * w, n};
    int64_t space[6] = {in->dims[0], c, h, n, w, n};
    int64_t apart = b->column_row_depth ? map : c * map; /* from block column to block column */
    int64_t space_steps[6] = {
        in->dims[1] * map, b->column_row_depth ? n * n * map : map, w, n * apart, 1, apart};
    struct strided copy = {.rank = 6,
                           .dims = to_depth ? depth : space,
                           .to = out->data,
                           .to_steps = to,
                           .from = in->data,
                           .from_steps = to_depth ? depth_steps : space_steps,
                           .element = dtype_bytes(in->dtype)};
    dense_steps(copy.dims, 6, to);
    strided_copy(&copy);
    return STATUS_OK;
}

void blocks_rows(const struct rows_step *s, const struct rows_at *in, struct rows_at *out)
{
    rows_beside(s, in[0], 1, 4, &out[0]);
}

struct reverse {
    int64_t batch_axis, time_axis;
};

enum status reverse_check(struct node *node, struct error *why)
{
    struct reverse *r = region_take(node->region, sizeof *r);
    r->batch_axis = attr_int(node, "batch_axis", 1);
    r->time_axis = attr_int(node, "time_axis", 0);
    node->state = r;
    return (r->batch_axis == 0 || r->batch_axis == 1) && r->time_axis == 1 - r->batch_axis
               ? STATUS_OK
               : bad_node(why, node, "batch_axis and time_axis must be 0 and 1, or 1 and 0");
}

enum status reverse_shape(struct step *step, struct error *why)
{
    const struct array *in = step->in[0], *lens = step->in[1];
    const struct reverse *r = step->node->state;
    if (in->rank < 2 || !element_bytes(in->dtype))
        return bad_step(why, step, "the input is %s of rank %u; expected rank 2 or more",
                        dtype_name(in->dtype), in->rank);
    if (lens->dtype != DTYPE_INT64 || lens->rank != 1 || lens->dims[0] != in->dims[r->batch_axis])
        return bad_step(why, step, "sequence_lens must be %" PRId64 " numbers of type INT64",
                        in->dims[r->batch_axis]);
    return shape_same(step, why);
}

enum status reverse_compute(const struct step *step, struct error *why)
{
    const struct array *in = step->in[0];
    const int64_t *lens = step->in[1]->data;
    bool batch_first = ((const struct reverse *)step->node->state)->batch_axis == 0;
    int64_t batch = in->dims[batch_first ? 0 : 1], times = in->dims[batch_first ? 1 : 0];
    size_t width = dims_span(in, 2, in->rank) * element_bytes(in->dtype);
    for (int64_t b = 0; b < batch; b++) {
        if (lens[b] < 0 || lens[b] > times)
            return bad_step(why, step, "sequence %" PRId64 " has length %" PRId64 " of %" PRId64, b,
                            lens[b], times);
        for (int64_t t = 0; t < times; t++) {
            int64_t from = t < lens[b] ? lens[b] - 1 - t : t;
            size_t to_at = (size_t)(batch_first ? b * times + t : t * batch + b);
            size_t from_at = (size_t)(batch_first ? b * times + from : from * batch + b);
            memcpy((char *)step->out[0]->data + to_at * width,
                   (const char *)in->data + from_at * width, width);
        }
    }
    return STATUS_OK;
}

enum status trilu_check(struct node *node, struct error *why)
{
    (void)why;
    bool *upper = region_take(node->region, sizeof *upper);
    *upper = attr_int(node, "upper", 1) != 0;
    node->state = upper;
    return STATUS_OK;
}

enum status trilu_shape(struct step *step, struct error *why)
{
    const struct array *in = step->in[0], *k = step_in(step, 1);
    if (in->rank < 2 || !dtype_bytes(in->dtype))
        return bad_step(why, step, "the input is %s of rank %u; expected rank 2 or more",
                        dtype_name(in->dtype), in->rank);
    if (k && (k->dtype != DTYPE_INT64 || array_count(k) != 1))
        return bad_step(why, step, "k must be one INT64");
    return shape_same(step, why);
}

enum status trilu_compute(const struct step *step, struct error *why)
{
    (void)why;
    const struct array *in = step->in[0], *k = step_in(step, 1), *out = step->out[0];
    bool upper = *(const bool *)step->node->state;
    int64_t rows = in->dims[in->rank - 2], cols = in->dims[in->rank - 1];
    int64_t limit = MAX(rows, cols), diagonal = k ? *(const int64_t *)k->data : 0;
    size_t width = dtype_bytes(in->dtype), all = dims_span(in, 0, in->rank - 1);
    diagonal = MAX(-limit, MIN(limit, diagonal));
    for (size_t r = 0; out->bytes && r < all; r++) {
        /* the upper part begins at this column, the lower one ends there */
        int64_t cut = (int64_t)(r % (size_t)rows) + diagonal + (upper ? 0 : 1);
        size_t at = (size_t)MAX(0, MIN(cols, cut)), row = r * (size_t)cols;
        size_t begin = upper ? at : 0, end = upper ? (size_t)cols : at;
        char *to = (char *)out->data + row * width;
        memset(to, 0, begin * width);
        memcpy(to + begin * width, (const char *)in->data + (row + begin) * width,
               (end - begin) * width);
        memset(to + end * width, 0, ((size_t)cols - end) * width);
    }
    return STATUS_OK;
}

void trilu_rows(const struct rows_step *s, const struct rows_at *in, struct rows_at *out)
{
    uint32_t rank = s->step->in[0]->rank;
    if (s->step->in_len < 2 || in[1].rows == ROWS_NONE)
        rows_beside(s, in[0], rank - 2, rank, &out[0]);
}
