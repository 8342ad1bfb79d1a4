/* loss - see loss.h */
#include "worker/train/loss.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "worker/train/loss_ctc.h"

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
    [LOSS_CTC] = {"ctc", "Softmax", NULL},
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

bool loss_takes_labels(enum loss_kind kind)
{
    return kind == LOSS_SPARSE_CROSSENTROPY || kind == LOSS_CTC;
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

size_t loss_rows(enum loss_kind kind, struct loss_shape shape)
{
    return kind == LOSS_CTC ? shape.rows / shape.steps : shape.rows;
}

/* Type and number of the targets; *count is how many there are. */
static enum status check_target(enum loss_kind kind, struct loss_shape shape,
                                const struct tensor *target, size_t *count, struct error *why)
{
    bool labels = loss_takes_labels(kind);
    bool fits = labels ? target->dtype == DTYPE_INT64 || target->dtype == DTYPE_INT32 ||
                             target->dtype == DTYPE_UINT8
                       : target->dtype == DTYPE_FP32;
    uint64_t all;
    char text[128];
    if (!fits)
        return fail(why, STATUS_INVALID, "targets are %s; %s takes %s", dtype_name(target->dtype),
                    loss_name(kind), labels ? "INT64, INT32 or UINT8 labels" : "FP32");
    bool counted = dims_count(target->dims, target->rank, &all);
    bool whole = !counted ? false
                 : kind == LOSS_CTC
                     ? target->rank == 2 && (size_t)target->dims[0] == loss_rows(kind, shape)
                 : labels ? all == shape.rows
                          : all == shape.rows * shape.cols;
    if (!whole)
        return fail(why, STATUS_INVALID, "targets %s do not fit an output of %zu rows of %zu",
                    dims_text(text, sizeof text, target->dims, target->rank), shape.rows,
                    shape.cols);
    *count = (size_t)all;
    return STATUS_OK;
}

static enum status check_labels(struct loss_shape shape, const struct tensor *target,
                                struct error *why)
{
    for (size_t r = 0; r < shape.rows; r++)
        if (label_of(target, r) < 0 || label_of(target, r) >= (int64_t)shape.cols)
            return fail(why, STATUS_INVALID,
                        "row %zu of the batch has label %" PRId64 "; expected 0 to %zu", r,
                        label_of(target, r), shape.cols - 1);
    return STATUS_OK;
}

/* The labels of one sequence as CTC wants them. */
static enum status take_sequence(struct loss_shape shape, const struct tensor *target, size_t row,
                                 size_t len, int32_t *labels, struct error *why)
{
    for (size_t i = 0; i < len; i++) {
        int64_t label = label_of(target, row * len + i);
        if (label < 0 || label >= (int64_t)shape.cols)
            return fail(why, STATUS_INVALID,
                        "row %zu of the batch has label %" PRId64 " at %zu; expected 1 to %zu, and "
                        "0 behind the last",
                        row, label, i, shape.cols - 1);
        if (label && i && !labels[i - 1])
            return fail(why, STATUS_INVALID,
                        "row %zu of the batch has label %" PRId64
                        " at %zu behind a 0, which ends them",
                        row, label, i);
        labels[i] = (int32_t)label;
    }
    size_t steps = ctc_steps_needed(labels, len);
    if (steps > shape.steps)
        return fail(why, STATUS_INVALID,
                    "row %zu of the batch has labels that take %zu steps; the output has %zu", row,
                    steps, shape.steps);
    return STATUS_OK;
}

static enum status run_ctc(struct loss_shape shape, const float *x, const struct tensor *target,
                           size_t count, float *dx, double *mean, size_t *correct,
                           struct error *why)
{
    struct ctc c = {.steps = shape.steps, .cols = shape.cols, .x = x, .dx = dx};
    enum status s = STATUS_OK;
    c.sequences = loss_rows(LOSS_CTC, shape);
    c.labels_max = count / c.sequences;
    int32_t *labels = xcalloc(MAX(1, count), sizeof *labels);
    for (size_t i = 0; i < c.sequences && s == STATUS_OK; i++)
        s = take_sequence(shape, target, i, c.labels_max, labels + i * c.labels_max, why);
    c.labels = labels;
    if (s == STATUS_OK)
        *mean = ctc_run(&c, correct);
    free(labels);
    return s;
}

enum status loss_run(enum loss_kind kind, struct loss_shape shape, const float *x,
                     const struct tensor *target, float *dx, double *mean, size_t *correct,
                     struct error *why)
{
    size_t count = 0, rows = shape.rows, cols = shape.cols;
    enum status s = check_target(kind, shape, target, &count, why);
    if (s == STATUS_OK && kind == LOSS_CTC)
        return run_ctc(shape, x, target, count, dx, mean, correct, why);
    if (s == STATUS_OK && kind == LOSS_SPARSE_CROSSENTROPY)
        s = check_labels(shape, target, why);
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
