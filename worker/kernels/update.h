/* update - one step of an optimiser over all parameters at once
 *
 * Never allocates, never fails; each value depends on its own index alone. */
#ifndef CONVOY_WORKER_KERNELS_UPDATE_H
#define CONVOY_WORKER_KERNELS_UPDATE_H

#include "common/base.h"

enum update_kind {
    /* g += decay w; m = beta1 m + g; w -= rate m, or with nesterov w -= rate (g + beta1 m).
     * I. Sutskever et al., On the importance of initialization and momentum, 2013. */
    UPDATE_SGD,
    /* g += decay w; m = beta1 m + (1 - beta1) g; v = beta2 v + (1 - beta2) g^2;
     * w -= rate m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + epsilon).
     * D. Kingma, J. Ba, Adam: A Method for Stochastic Optimization, 2015, algorithm 1. */
    UPDATE_ADAM,
    /* Adam without decay in g, and w -= rate decay w beforehand.
     * I. Loshchilov, F. Hutter, Decoupled Weight Decay Regularization, 2019, algorithm 2. */
    UPDATE_ADAMW,
    /* g += decay w; v = beta2 v + (1 - beta2) g^2; m = beta1 m + rate g / (sqrt(v) + epsilon);
     * w -= m. T. Tieleman, G. Hinton, Coursera Neural Networks, lecture 6.5, 2012. */
    UPDATE_RMSPROP,
    UPDATE_COUNT
};

struct update {
    enum update_kind kind;
    float rate;         /* of learning */
    float beta1, beta2; /* momentum; of the squares */
    float epsilon;
    float decay; /* of weights */
    bool nesterov;
    uint64_t t;  /* this step's number, from 1 */
    float scale; /* of the gradients, first of all: 1, or less when they are clipped by norm */
    float limit; /* then each is clipped to [-limit, limit]; 0: not */
    float correct1, correct2; /* 1 / (1 - beta^t): update_run sets them */
};

/* Weights w, gradients g (not changed), first and second moments m and v, n of each. */
void update_run(const struct update *u, size_t n, float *w, const float *g, float *m, float *v);

/* sqrt(sum g^2): for clipping by norm; the same with any number of threads. */
double update_norm(size_t n, const float *g);

#endif
