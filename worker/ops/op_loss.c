/* op_loss - NegativeLogLikelihoodLoss and SoftmaxCrossEntropyLoss */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "worker/ops/ops.h"
#include "worker/ops/scalar.h"

enum loss_reduction { LOSS_EACH, LOSS_MEAN, LOSS_SUM };

struct loss {
    enum loss_reduction reduction;
    bool ignores;
    int64_t ignored; /* a target that counts for nothing */
};

enum status loss_check(struct node *node, struct error *why)
{
    struct loss *l = region_take(node->region, sizeof *l);
    const char *how = attr_text(node, "reduction", "mean");
    l->ignores = attr_find(node, "ignore_index") != NULL;
    l->ignored = attr_int(node, "ignore_index", 0);
    if (strcmp(how, "none") == 0)
        l->reduction = LOSS_EACH;
    else if (strcmp(how, "mean") == 0)
        l->reduction = LOSS_MEAN;
    else if (strcmp(how, "sum") == 0)
        l->reduction = LOSS_SUM;
    else
        return bad_node(why, node, "reduction \"%.40s\" is unknown; expected none, mean or sum",
                        how);
    node->state = l;
    return STATUS_OK;
}

/* x: [n][classes][...], target: [n][...], weight: [classes]. */
enum status loss_shape(struct step *step, struct error *why)
{
    const struct array *x = step->in[0], *target = step->in[1], *weight = step_in(step, 2);
    const struct loss *l = step->node->state;
    char text[2][128];
    if (!dtype_is_float(x->dtype) || (weight && weight->dtype != x->dtype))
        return bad_step(why, step, "scores are %s, weights %s; expected one type of float",
                        dtype_name(x->dtype), weight ? dtype_name(weight->dtype) : "left out");
    if (target->dtype != DTYPE_INT32 && target->dtype != DTYPE_INT64)
        return bad_step(why, step, "targets are %s; expected INT32 or INT64",
                        dtype_name(target->dtype));
    bool fits = x->rank >= 2 && target->rank == x->rank - 1;
    for (uint32_t k = 0; fits && k < target->rank; k++)
        fits = target->dims[k] == x->dims[k ? k + 1 : 0];
    if (!fits)
        return bad_step(why, step, "targets %s do not fit to scores %s",
                        dims_text(text[0], sizeof text[0], target->dims, target->rank),
                        dims_text(text[1], sizeof text[1], x->dims, x->rank));
    if (weight && (weight->rank != 1 || weight->dims[0] != x->dims[1]))
        return bad_step(why, step, "expected one weight for each of %" PRId64 " classes",
                        x->dims[1]);
    enum status s =
        out_set(step, 0, x->dtype, target->dims, l->reduction == LOSS_EACH ? target->rank : 0, why);
    return s == STATUS_OK ? out_set(step, 1, x->dtype, x->dims, x->rank, why) : s;
}

/* Largest value and ln(sum exp(x - largest)) of `classes` values from `at`, `inner` apart. */
static double log_sum(const struct array *x, size_t at, size_t classes, size_t inner,
                      double *largest)
{
    double sum = 0;
    *largest = -INFINITY;
    for (size_t c = 0; c < classes; c++) {
        double v = scalar_float(x->dtype, x->data, at + c * inner);
        *largest = v > *largest || isnan(v) ? v : *largest;
    }
    for (size_t c = 0; c < classes; c++)
        sum += exp(scalar_float(x->dtype, x->data, at + c * inner) - *largest);
    return log(sum);
}

/* The log probabilities of one place: of `target` as result, all of them into the second output.
 */
static double log_probability(const struct step *step, size_t at, size_t inner, int64_t target)
{
    const struct array *x = step->in[0];
    struct array *all = step_out(step, 1);
    size_t classes = (size_t)x->dims[1];
    double largest = 0, log_total = 0;
    if (step->node->op->variant == VARIANT_LOG)
        log_total = log_sum(x, at, classes, inner, &largest);
    for (size_t c = 0; all && c < classes; c++)
        scalar_set_float(all->dtype, all->data, at + c * inner,
                         scalar_float(x->dtype, x->data, at + c * inner) - largest - log_total);
    if (target < 0)
        return 0;
    double v = scalar_float(x->dtype, x->data, at + (size_t)target * inner);
    return v - largest - log_total;
}

enum status loss_compute(const struct step *step, struct error *why)
{
    const struct array *x = step->in[0], *target = step->in[1], *weight = step_in(step, 2);
    const struct loss *l = step->node->state;
    struct array *out = step->out[0];
    size_t inner = dims_span(x, 2, x->rank), classes = (size_t)x->dims[1];
    double total = 0, weights = 0;
    for (size_t i = 0; i < array_count(target); i++) {
        int64_t t = scalar_int(target->dtype, target->data, i);
        bool ignored = l->ignores && t == l->ignored;
        if (!ignored && (t < 0 || t >= x->dims[1]))
            return bad_step(why, step, "target %" PRId64 " (element %zu) is outside of 0..%" PRId64,
                            t, i, x->dims[1] - 1);
        size_t at = i / inner * classes * inner + i % inner;
        double p = log_probability(step, at, inner, ignored ? -1 : t);
        double w = ignored ? 0 : weight ? scalar_float(weight->dtype, weight->data, (size_t)t) : 1;
        double loss = ignored ? 0 : -p * w;
        total += loss;
        weights += w;
        if (l->reduction == LOSS_EACH && out)
            scalar_set_float(out->dtype, out->data, i, loss);
    }
    if (l->reduction != LOSS_EACH && out)
        scalar_set_float(out->dtype, out->data, 0,
                         l->reduction == LOSS_SUM ? total : total / weights);
    return STATUS_OK;
}
