/* loss_ctc - connectionist temporal classification: labels without times
 *
 * x is [sequences][steps][cols], before its softmax p; class 0 is the blank. A path, one class a
 * step, says the labels that are left of it when repeats are taken as one and blanks are left out.
 * The loss of a sequence is -ln of the sum over all paths that say its labels l: with l' = l and a
 * blank around each, a_t(s) the sum over those that have come to s at step t, and b_t(s) over how
 * they go on behind it, P = sum over s of a_t(s) b_t(s) at every t, and
 *   d loss / d x_t(k) = p_t(k) - 1 / P sum over s with l'_s = k of a_t(s) b_t(s).
 * A. Graves and others, Connectionist Temporal Classification, 2006. In logarithms, in double. */
#ifndef CONVOY_WORKER_TRAIN_LOSS_CTC_H
#define CONVOY_WORKER_TRAIN_LOSS_CTC_H

#include "common/base.h"

struct ctc {
    size_t sequences, steps, cols;
    size_t labels_max;
    const int32_t *labels; /* [sequences][labels_max], 1 to cols - 1, zeros behind the last */
    const float *x;
    float *dx; /* the gradient of the mean over sequences; NULL: not wanted */
};

/* Steps that these labels take at least: one each, and a blank between two that are the same. */
size_t ctc_steps_needed(const int32_t *labels, size_t labels_max);

/* Returns the mean loss; *correct counts sequences whose most probable path says their labels. Each
 * has as many steps as it needs. */
double ctc_run(const struct ctc *c, size_t *correct);

#endif
