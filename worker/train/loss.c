/* loss - see loss.h */
#include "worker/train/loss.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

struct job {
    size_t cols;
    double each; /* weight of a row in the gradient */
    const float *x;
    float *dx;           /* NULL: not wanted */
    const float *target; /* of the row; NULL where there are labels */
    int64_t label;
    double loss;
    bool correct;
};

static size_t largest(const float *x, size_t n)
{
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        best = x[i] > x[best] ? i : best;
    return best;
}

/* d/dx of -sum t ln softmax(x) is softmax(x) sum t - t. */
static void crossentropy(struct job *j)
{
    double most = -INFINITY, sum = 0, all = 0;
    for (size_t i = 0; i < j->cols; i++)
        most = fmax(most, (double)j->x[i]);
    for (size_t i = 0; i < j->cols; i++)
        sum += exp((double)j->x[i] - most);
    j->loss = 0;
    for (size_t i = 0; i < j->cols; i++) {
        double t = j->target ? (double)j->target[i] : (int64_t)i == j->label ? 1 : 0;
        all += t;
        if (t != 0)
            j->loss -= t * ((double)j->x[i] - most - log(sum));
    }
    for (size_t i = 0; i < j->cols && j->dx; i++) {
        double t = j->target ? (double)j->target[i] : (int64_t)i == j->label ? 1 : 0;
        j->dx[i] = (float)(j->each * (all * exp((double)j->x[i] - most) / sum - t));
    }
    size_t want = j->target ? largest(j->target, j->cols) : (size_t)j->label;
    j->correct = largest(j->x, j->cols) == want;
}

/* With max(x, 0) - x t + ln(1 + exp(-|x|)), which does not overflow. */
static void binary_crossentropy(struct job *j)
{
    double part = 1 / (double)j->cols;
    j->loss = 0;
    j->correct = true;
    for (size_t i = 0; i < j->cols; i++) {
        double x = (double)j->x[i], t = (double)j->target[i];
        j->loss += part * (fmax(x, 0) - x * t + log1p(exp(-fabs(x))));
        j->correct &= (x > 0) == (t > 0.5);
        if (j->dx)
            j->dx[i] = (float)(j->each * part * (1 / (1 + exp(-x)) - t));
    }
}

static void mse(struct job *j)
{
    double part = 1 / (double)j->cols;
    j->loss = 0;
    for (size_t i = 0; i < j->cols; i++) {
        double d = (double)j->x[i] - (double)j->target[i];
        j->loss += part * d * d;
        if (j->dx)
            j->dx[i] = (float)(j->each * part * 2 * d);
    }
    j->correct = largest(j->x, j->cols) == largest(j->target, j->cols);
}

static const struct {
    const char *name, *activation;
    void (*run)(struct job *job);
} losses[LOSS_COUNT] = {
    [LOSS_SPARSE_CROSSENTROPY] = {"sparse_categorical_crossentropy", "Softmax", crossentropy},
    [LOSS_CROSSENTROPY] = {"categorical_crossentropy", "Softmax", crossentropy},
    [LOSS_BINARY_CROSSENTROPY] = {"binary_crossentropy", "Sigmoid", binary_crossentropy},
    [LOSS_MSE] = {"mean_squared_error", NULL, mse},
};

const char *loss_name(enum loss_kind kind)
{
    return losses[kind].name;
}

enum loss_kind loss_by_name(const char *name)
{
    int kind = 0;
    while (kind < LOSS_COUNT && strcmp(losses[kind].name, name) != 0)
        kind++;
    return (enum loss_kind)kind;
}

const char *loss_activation(enum loss_kind kind)
{
    return losses[kind].activation;
}

static int64_t label_of(const struct tensor *t, size_t row)
{
    if (t->dtype == DTYPE_INT64)
        return ((const int64_t *)t->data)[row];
    return t->dtype == DTYPE_INT32 ? ((const int32_t *)t->data)[row]
                                   : ((const uint8_t *)t->data)[row];
}

static enum status check_target(enum loss_kind kind, size_t rows, size_t cols,
                                const struct tensor *target, struct error *why)
{
    bool labels = kind == LOSS_SPARSE_CROSSENTROPY;
    bool fits = labels ? target->dtype == DTYPE_INT64 || target->dtype == DTYPE_INT32 ||
                             target->dtype == DTYPE_UINT8
                       : target->dtype == DTYPE_FP32;
    uint64_t count;
    char text[128];
    if (!fits)
        return fail(why, STATUS_INVALID, "targets are %s; %s takes %s", dtype_name(target->dtype),
                    loss_name(kind), labels ? "INT64, INT32 or UINT8 labels" : "FP32");
    if (!dims_count(target->dims, target->rank, &count) || count != (labels ? rows : rows * cols))
        return fail(why, STATUS_INVALID, "targets %s do not fit an output of %zu rows of %zu",
                    dims_text(text, sizeof text, target->dims, target->rank), rows, cols);
    for (size_t r = 0; labels && r < rows; r++)
        if (label_of(target, r) < 0 || label_of(target, r) >= (int64_t)cols)
            return fail(why, STATUS_INVALID,
                        "row %zu of the batch has label %" PRId64 "; expected 0 to %zu", r,
                        label_of(target, r), cols - 1);
    return STATUS_OK;
}

enum status loss_run(enum loss_kind kind, size_t rows, size_t cols, const float *x,
                     const struct tensor *target, float *dx, double *mean, size_t *correct,
                     struct error *why)
{
    enum status s = check_target(kind, rows, cols, target, why);
    if (s != STATUS_OK)
        return s;
    double sum = 0;
    *correct = 0;
    for (size_t r = 0; r < rows; r++) {
        struct job job = {.cols = cols, .each = 1 / (double)rows, .x = x + r * cols};
        job.dx = dx ? dx + r * cols : NULL;
        if (kind == LOSS_SPARSE_CROSSENTROPY)
            job.label = label_of(target, r);
        else
            job.target = (const float *)target->data + r * cols;
        losses[kind].run(&job);
        sum += job.loss;
        *correct += job.correct;
    }
    *mean = sum / (double)rows;
    return STATUS_OK;
}
