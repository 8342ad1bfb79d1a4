/* loss - what is made small: its mean over rows, and its gradient by the network's output
 *
 * x is [rows][cols]; for CTC rows are [sequences][steps]. Softmax and sigmoid are part of the loss:
 * x is what comes before them. */
#ifndef CONVOY_WORKER_TRAIN_LOSS_H
#define CONVOY_WORKER_TRAIN_LOSS_H

#include "common/status.h"
#include "common/tensor.h"

enum loss_kind {
    LOSS_SPARSE_CROSSENTROPY, /* -ln softmax(x)[label]; target: INT32, INT64 or UINT8 [rows] */
    LOSS_CROSSENTROPY,        /* -sum t ln softmax(x); target: FP32, as x */
    LOSS_BINARY_CROSSENTROPY, /* mean over cols of -t ln s(x) - (1 - t) ln(1 - s(x)); as x */
    LOSS_MSE,                 /* mean over cols of (x - t)^2; as x */
    LOSS_CTC, /* of loss_ctc.h; target: INT32, INT64 or UINT8 [sequences][labels], zeros behind */
    LOSS_COUNT
};

/* Keras's name of it, and back; LOSS_COUNT when unknown. */
const char *loss_name(enum loss_kind kind);
enum loss_kind loss_by_name(const char *name);

/* Whether its targets are numbers of classes. */
bool loss_takes_labels(enum loss_kind kind);

/* The operator that the loss has inside, at the network's end: "Softmax", "Sigmoid" or NULL. */
const char *loss_activation(enum loss_kind kind);

/* Of an output. */
struct loss_shape {
    size_t rows, cols;
    size_t steps; /* rows of one sequence */
};

/* What the mean is over: rows, or sequences. */
size_t loss_rows(enum loss_kind kind, struct loss_shape shape);

/* The gradient of the mean into dx, unless that is NULL. INVALID when the target's type or size
 * does not fit, or names the row whose label is out of range, or whose labels take more steps than
 * there are. */
enum status loss_run(enum loss_kind kind, struct loss_shape shape, const float *x,
                     const struct tensor *target, float *dx, double *mean, size_t *correct,
                     struct error *why);

#endif
