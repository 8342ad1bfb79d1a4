/* op_softmax - Softmax and LogSoftmax; up to opset 12 over all axes from `axis` on */
#include <inttypes.h>
#include <math.h>

#include "worker/kernels/rows.h"
#include "worker/ops/ops.h"

static bool legacy(const struct node *n)
{
    return n->op->variant == VARIANT_LEGACY || n->op->variant == VARIANT_LOG_LEGACY;
}

enum status softmax_check(struct node *node, struct error *why)
{
    (void)why;
    int64_t *axis = region_take(node->region, sizeof *axis);
    *axis = attr_int(node, "axis", legacy(node) ? 1 : -1);
    node->state = axis;
    return STATUS_OK;
}

enum status softmax_shape(struct step *step, struct error *why)
{
    const struct array *in = step->in[0];
    int64_t axis = *(const int64_t *)step->node->state;
    if (in->dtype != DTYPE_FP32 && in->dtype != DTYPE_FP64)
        return bad_step(why, step, "%s is not supported; expected FP32 or FP64",
                        dtype_name(in->dtype));
    if (!axis_ok(&axis, in->rank) && !(legacy(step->node) && axis == in->rank))
        return bad_step(why, step, "axis %" PRId64 " is outside of rank %u", axis, in->rank);
    int64_t *resolved = region_take(step->region, sizeof *resolved);
    *resolved = axis;
    step->params = resolved;
    return shape_same(step, why);
}

/* The same in FP64: `len` numbers, `step` apart. */
static void softmax_doubles(const double *x, double *y, size_t len, size_t step, bool log_wanted)
{
    double most = -INFINITY, sum = 0;
    for (size_t i = 0; i < len; i++)
        most = isnan(x[i * step]) || x[i * step] > most ? x[i * step] : most;
    for (size_t i = 0; i < len; i++)
        sum += exp(x[i * step] - most);
    for (size_t i = 0; i < len; i++) {
        double below = x[i * step] - most;
        y[i * step] = log_wanted ? below - log(sum) : exp(below) / sum;
    }
}

enum status softmax_compute(const struct step *step, struct error *why)
{
    (void)why;
    const struct array *in = step->in[0];
    uint32_t axis = (uint32_t) * (const int64_t *)step->params;
    uint32_t end = legacy(step->node) || !in->rank ? in->rank : axis + 1;
    int v = step->node->op->variant;
    bool log_wanted = v == VARIANT_LOG || v == VARIANT_LOG_LEGACY;
    size_t outer = dims_span(in, 0, axis), len = dims_span(in, axis, end);
    size_t inner = dims_span(in, end, in->rank);
    if (in->dtype == DTYPE_FP32) {
        (log_wanted ? rows_log_softmax : rows_softmax)(outer, len, inner, in->data,
                                                       step->out[0]->data);
        return STATUS_OK;
    }
    for (size_t row = 0; len && row < outer * inner; row++) {
        size_t base = row / inner * len * inner + row % inner;
        softmax_doubles((const double *)in->data + base, (double *)step->out[0]->data + base, len,
                        inner, log_wanted);
    }
    return STATUS_OK;
}

void softmax_rows(const struct rows_step *s, const struct rows_at *in, struct rows_at *out)
{
    uint32_t rows;
    uint64_t front;
    int64_t axis = *(const int64_t *)s->step->params;
    if (!rows_locate(s, s->step->in[0], in[0], &rows, &front))
        return;
    if (rows < axis || (rows > axis && !legacy(s->step->node)))
        out[0] = in[0];
}
