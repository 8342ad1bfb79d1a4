/* rnn_plan - a recurrent layer with its weights packed; shared by the rnn_*.c files only */
#ifndef CONVOY_WORKER_KERNELS_RNN_PLAN_H
#define CONVOY_WORKER_KERNELS_RNN_PLAN_H

#include "worker/kernels/gemm.h"
#include "worker/kernels/rnn.h"

struct rnn_plan {
    struct rnn_shape shape;
    size_t dirs; /* 1, or 2 when bidirectional */
    /* By direction; all owned. */
    float *w[2];        /* packed [input][gates hidden] */
    float *r[2];        /* packed [hidden][gates hidden]; GRU: the z and r gates only */
    float *r_new[2];    /* GRU: packed [hidden][hidden] of the new gate; else NULL */
    float *bias_x[2];   /* [gates hidden]: all that is added before the step's product */
    float *bias_new[2]; /* GRU, linear_before_reset: Rb of the new gate, else zeros */
    float *peephole[2]; /* LSTM: [3 hidden], i o f; NULL: none */
};

#define RNN_ROWS_MAX 64 /* rows of the batch that step together */

/* Rows of the batch in one step; all memory belongs to the caller. */
struct rnn_rows {
    size_t n;
    float *gates; /* [n][gates hidden]: x W + bias going in */
    float *aside; /* [n][gates hidden]: scratch */
    float *h;     /* [n][hidden]: state, updated for rows that live */
    float *c;     /* [n][hidden]: LSTM's cell */
    float *spare; /* [n][hidden]: scratch */
    float *next;  /* [n][hidden]: scratch */
    bool alive[RNN_ROWS_MAX];
};

/* One step of one direction. */
void rnn_step(const struct rnn_plan *p, size_t dir, struct rnn_rows *rows);

#endif
