/* rnn_plan - a recurrent layer with its weights packed; shared by the rnn*.c files only */
#ifndef CONVOY_WORKER_KERNELS_RNN_PLAN_H
#define CONVOY_WORKER_KERNELS_RNN_PLAN_H

#include "worker/kernels/rnn_kernel.h"

/* The gates that are multiplied with the same vector; see rnn_kernel.h. */
struct rnn_sheet {
    size_t first; /* gate, in ONNX's order */
    size_t gates;
    enum rnn_phase phase; /* what follows its products */
    size_t at;            /* where its sums start among a row's gates, in values */
    size_t width;         /* how many they are: [block][gates][lanes] */
    /* By direction; all owned. */
    void *w[2], *r[2];            /* packed panels */
    float *bias_x[2], *bias_h[2]; /* [width]: Wb and Rb, or zeros */
};

#define RNN_SHEETS_MAX 2u

struct rnn_plan {
    struct rnn_shape shape;
    const struct rnn_kernel *kernel;
    size_t dirs;   /* 1, or 2 when bidirectional */
    size_t blocks; /* of hidden units, a multiple of grain */
    size_t grain;  /* blocks that stay together: those of the widest panel */
    size_t units;  /* blocks * lanes */
    size_t width;  /* gates * units: the sums of a row */
    size_t sheets;
    struct rnn_sheet sheet[RNN_SHEETS_MAX];
    float *peephole[2]; /* by direction, LSTM: [i o f][units]; NULL: none; owned */
    bool by_default[2]; /* by direction: ONNX's default activations and no clip */
};

#endif
