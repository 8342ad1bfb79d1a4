/* train_check - see train_check.h */
#include "tests/unit/worker/train_check.h"

#include <math.h>

#include "tests/unit/common/testing.h"
#include "worker/engine.h"

#define STEP      1e-6 /* of a difference, in the beginning; far above double's rounding */
#define STEPS     3    /* where a kink of a maximum or a Relu is inside of a step: smaller ones */
#define TOLERANCE 2e-4 /* of the largest gradient of a parameter: rounding in fp32 */
/* Of the network's largest gradient: what rounding leaves of terms that cancel each other, as all
 * do by what is added in front of a BatchNormalization. */
#define LEFTOVER   1e-5
#define SAMPLE     24 /* elements of one parameter that are tried */
#define CTC_LABELS 2

struct target {
    struct tensor tensor;
    double *numbers;
};

/* Of CTC: [sequences][CTC_LABELS], from 1 on; the last one may be a 0, which is none. */
static struct target ctc_target(const struct net *net, uint64_t *state)
{
    int64_t sequences = net_shape(net, net->output)->dims[0];
    struct target t = {.tensor = {NULL, DTYPE_INT32, 2, {sequences, CTC_LABELS}, NULL, 0}};
    size_t n = (size_t)sequences * CTC_LABELS;
    t.tensor.data = xaligned(n * sizeof(int32_t));
    t.numbers = xcalloc(n, sizeof(double));
    for (size_t i = 0; i < n; i++) {
        bool last = i % CTC_LABELS == CTC_LABELS - 1;
        t.numbers[i] = (double)(last ? test_random(state) % net->cols
                                     : 1 + test_random(state) % (net->cols - 1));
        ((int32_t *)t.tensor.data)[i] = (int32_t)t.numbers[i];
    }
    return t;
}

static struct target target_new(const struct net *net, enum loss_kind loss, uint64_t *state)
{
    if (loss == LOSS_CTC)
        return ctc_target(net, state);
    struct target t = {.tensor = {.rank = 2}};
    bool labels = loss == LOSS_SPARSE_CROSSENTROPY;
    size_t n = labels ? net->rows : net->rows * net->cols;
    t.tensor.dims[0] = (int64_t)net->rows;
    t.tensor.dims[1] = labels ? 1 : (int64_t)net->cols;
    t.tensor.dtype = labels ? DTYPE_INT32 : DTYPE_FP32;
    t.tensor.data = xaligned(n * sizeof(float));
    t.numbers = xcalloc(n, sizeof(double));
    for (size_t i = 0; i < n; i++) {
        double value = (double)(test_random(state) >> 40) * 0x1p-24;
        t.numbers[i] = labels ? (double)(test_random(state) % net->cols) : (double)(float)value;
        if (labels)
            ((int32_t *)t.tensor.data)[i] = (int32_t)t.numbers[i];
        else
            ((float *)t.tensor.data)[i] = (float)t.numbers[i];
    }
    return t;
}

double check_ctc(size_t steps, size_t cols, const double *x, size_t len, const double *labels)
{
    size_t paths = 1;
    double sum = 0;
    for (size_t t = 0; t < steps; t++)
        paths *= cols;
    for (size_t path = 0; path < paths; path++) {
        size_t rest = path, said = 0, old = 0;
        bool right = true;
        double p = 1;
        for (size_t t = 0; t < steps; t++, rest /= cols) {
            size_t k = rest % cols;
            double all = 0;
            for (size_t i = 0; i < cols; i++)
                all += exp(x[t * cols + i]);
            p *= exp(x[t * cols + k]) / all;
            if (k && k != old)
                right = right && said < len && (size_t)labels[said++] == k;
            old = k;
        }
        sum += right && (said == len || !(labels[said] > 0)) ? p : 0;
    }
    return sum > 0 ? -log(sum) : INFINITY;
}

static double loss_of(struct net *net, enum loss_kind loss, const double *target)
{
    const double *x = net_run(net);
    double all = 0;
    size_t sequences = (size_t)net_shape(net, net->output)->dims[0];
    size_t steps = net->rows / sequences;
    for (size_t i = 0; i < sequences && loss == LOSS_CTC; i++)
        all += check_ctc(steps, net->cols, x + i * steps * net->cols, CTC_LABELS,
                         target + i * CTC_LABELS);
    if (loss == LOSS_CTC)
        return all / (double)sequences;
    for (size_t r = 0; r < net->rows; r++, x += net->cols) {
        double sum = 0, part = 1 / (double)net->cols;
        for (size_t i = 0; i < net->cols; i++)
            sum += exp(x[i]);
        for (size_t i = 0; i < net->cols; i++) {
            double t = target[loss == LOSS_SPARSE_CROSSENTROPY ? r : r * net->cols + i];
            double both = fmax(x[i], 0) - x[i] * t + log1p(exp(-fabs(x[i]))); /* stable */
            all += loss == LOSS_MSE                   ? part * (x[i] - t) * (x[i] - t)
                   : loss == LOSS_BINARY_CROSSENTROPY ? part * both
                   : loss == LOSS_CROSSENTROPY        ? -t * (x[i] - log(sum))
                   : (double)i == t                   ? log(sum) - x[i]
                                                      : 0;
        }
    }
    return all / (double)net->rows;
}

/* The slope of the loss by *value. Where slopes to the left and to the right differ there is a kink
 * between: the step becomes smaller. What the trainer says plays no part in that. */
static double slope_at(struct net *net, enum loss_kind loss, const double *target, double *value)
{
    double old = *value, here = loss_of(net, loss, target), left = 0, right = 1, step = STEP;
    for (int k = 0; k < STEPS; k++) {
        *value = old + step;
        right = (loss_of(net, loss, target) - here) / step;
        *value = old - step;
        left = (here - loss_of(net, loss, target)) / step;
        *value = old;
        if (fabs(right - left) <= TOLERANCE / 4 * fmax(fabs(left), fabs(right)) + 1e-6)
            break;
        step /= 10;
    }
    return (left + right) / 2;
}

/* The largest gradient there is, by the trainer. */
static double largest(const struct trainer_param *params, size_t len)
{
    double most = 0;
    for (size_t k = 0; k < len; k++)
        for (size_t i = 0; params[k].learns && i < params[k].count; i++)
            most = fmax(most, fabs((double)params[k].grad[i]));
    return most;
}

/* `floor` is what any gradient of this network may be off. */
static void check_param(struct net *net, const struct trainer_param *p, enum loss_kind loss,
                        const double *target, double floor, uint64_t *state)
{
    size_t count;
    double *values = net_const(net, p->name, &count), want[SAMPLE], most = 0;
    size_t at[SAMPLE], n = MIN(count, SAMPLE);
    assert_int_equal(count, p->count);
    for (size_t i = 0; i < n; i++) {
        at[i] = count > SAMPLE ? (size_t)(test_random(state) % count) : i;
        want[i] = slope_at(net, loss, target, &values[at[i]]);
        most = fmax(most, fabs(want[i]));
    }
    for (size_t i = 0; i < n; i++) {
        double got = (double)p->grad[at[i]];
        if (!(fabs(got - want[i]) <= TOLERANCE * most + floor))
            fail_msg("%s %s: gradient of %s[%zu] is %.9g; differences say %.9g", engine_mode(),
                     net->text, p->name, at[i], got, want[i]);
    }
}

void check_gradients(struct net *net, struct trainer *t, const struct tensor *inputs,
                     uint32_t inputs_len, enum loss_kind loss, uint64_t seed)
{
    struct trainer_result result = {0};
    struct error why = {STATUS_OK, ""};
    uint64_t state = seed + 1;
    struct target target = target_new(net, loss, &state);
    size_t len;
    if (trainer_step(t, inputs, inputs_len, &target.tensor, 1, 0, &result, &why) != STATUS_OK)
        fail_msg("%s: %s", net->text, why.text);
    double want = loss_of(net, loss, target.numbers);
    if (!(fabs(result.loss - want) <= 1e-4 * fabs(want) + 1e-6))
        fail_msg("%s %s: loss is %.9g, expected %.9g", engine_mode(), net->text, result.loss, want);
    const struct trainer_param *params = trainer_params(t, &len);
    double floor = LEFTOVER * largest(params, len) + 1e-6;
    for (size_t i = 0; i < len; i++)
        if (params[i].learns)
            check_param(net, &params[i], loss, target.numbers, floor, &state);
    free(target.tensor.data);
    free(target.numbers);
}

bool check_mode(size_t k)
{
    static const char *const isas[] = {"auto", "avx2", "generic", "reference", "auto/strict"};
    bool more = k < ARRAY_LEN(isas);
    if (!more || engine_start(isas[k], 1 + k % 2, NULL) != STATUS_OK) /* not on this CPU: auto */
        assert_int_equal(engine_start("auto", more ? 1 + k % 2 : 0, NULL), STATUS_OK);
    return more;
}
