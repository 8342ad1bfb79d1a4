/* pool_nd - pooling of any type over up to three axes, with places, and Lp norms; see op_pool.c */
#ifndef CONVOY_WORKER_OPS_POOL_ND_H
#define CONVOY_WORKER_OPS_POOL_ND_H

#include "worker/kernels/pool.h"
#include "worker/ops/patches.h"

struct pool_nd {
    enum pool_kind kind;
    bool ceil_mode, count_pad;
    bool columns; /* MaxPool's second output: the last axis changes slowest within a map */
    double p;
    struct patches patches; /* channels: maps of the input, all images' */
};

/* shape() and run() for `like`, whose window is resolved. Output 1, if asked for, gets the place of
 * each maximum in the flattened input. */
enum status pool_nd_infer(struct step *step, const struct pool_nd *like, struct error *why);
void pool_nd_compute(const struct step *step);

/* The whole map as one window. */
void pool_nd_global(const struct step *step);

#endif
