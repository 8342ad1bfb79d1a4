/* rnn_kernel - what an implementation of the rnn family provides; see rnn.h
 *
 * Hidden units go in blocks of `lanes`, one register. The gates that are multiplied with the same
 * vector make a sheet: all of an LSTM, a plain RNN or a GRU with linear_before_reset; another GRU
 * has two, z r and then n. A sheet's weights are packed in panels as wide as a tile of registers,
 *
 *   [panel][k][blocks of the panel][gates][lanes]
 *
 * with zeros past the last unit, and its sums lie [block][gate][lanes]. BF16 weights go in words of
 * 32 bits, an even k in the low half and the next k in the high one. All run on the caller's
 * thread. */
#ifndef CONVOY_WORKER_KERNELS_RNN_KERNEL_H
#define CONVOY_WORKER_KERNELS_RNN_KERNEL_H

#include "worker/kernels/rnn.h"

/* Blocks and registers of a panel. */
#define RNN_PANEL_BLOCKS(gates) ((gates) == 3 ? 1u : 4u / (gates))
#define RNN_PANEL(gates)        ((gates) == 3 ? 3u : 4u)
#define RNN_PANEL_MAX           4u
/* Panels side by side for a single row, so that its additions overlap. */
#define RNN_PANELS_WIDE 2u

/* C[rows][panels] = start + A B; each sum is taken in the order of k. */
struct rnn_product {
    size_t rows, k, panels;
    const float *const *a; /* [rows]: where the k values of each row are */
    const void *b;         /* packed panels, one behind the other */
    const float *start;    /* of one row, the same for each */
    float *c;
    size_t c_step; /* values from row to row of C */
};

/* What a row of the batch keeps between steps: [blocks * lanes] each, but y. */
struct rnn_row {
    const float *old; /* h of the step before */
    float *h;         /* the new one */
    float *c;         /* LSTM: the cell; GRU: z on its way from the first sheet to the second */
    float *reset;     /* GRU: r * h, what its second sheet is multiplied with */
    float *y;         /* [hidden] output of this step, or NULL */
};

/* Some blocks of some rows, after both products of a sheet. */
struct rnn_update {
    size_t rows, blocks;
    size_t unit;         /* the first block's first */
    const float *from_x; /* x W + Wb of these blocks, and the distance of rows */
    size_t x_step;
    const float *from_h; /* h R + Rb */
    size_t h_step;
    const struct rnn_row *row;
    size_t hidden;
    const float *peephole; /* LSTM: [i o f][units], or NULL */
    size_t units;          /* from one to the next: blocks * lanes of all */
    bool input_forget;
    float clip;                    /* 0: none */
    const struct activation *acts; /* f, g, h */
};

enum rnn_phase { RNN_LSTM_ALL, RNN_PLAIN_ALL, RNN_GRU_ALL, RNN_GRU_RESET, RNN_GRU_NEW, RNN_PHASES };

typedef void rnn_product_fn(const struct rnn_product *);
typedef void rnn_update_fn(const struct rnn_update *);

struct rnn_kernel {
    size_t lanes;
    rnn_product_fn *product[RNN_WEIGHT_TYPES][RNN_PANEL_MAX + 1]; /* [..][RNN_PANEL(gates)] */
    rnn_update_fn *update[RNN_PHASES];                            /* any activations, any clip */
    rnn_update_fn *update_default[RNN_PHASES];                    /* ONNX's defaults and no clip */
};

#define KERNEL(function, needs) extern const struct rnn_kernel function;
#include "worker/kernels/rnn.def"
#undef KERNEL

/* The implementation now chosen. */
const struct rnn_kernel *rnn_now(void);

#endif
