/* rnn - LSTM, GRU and RNN over whole sequences, as ONNX defines them
 *
 * With * the elementwise product, gates in ONNX order, per direction and step t:
 *
 *  RNN   h = f(x W + h R + Wb + Rb)
 *
 *  GRU   z, r = f(x W + h R + Wb + Rb)
 *        n = g(x Wn + (r * h) Rn + Rbn + Wbn), or, linear_before_reset,
 *        n = g(x Wn + r * (h Rn + Rbn) + Wbn)
 *        h = (1 - z) * n + z * h
 *
 *  LSTM  i, f = f(x W + h R + Wb + Rb + P * c); with input_forget f = 1 - i
 *        n = g(x Wc + h Rc + Wbc + Rbc)
 *        c = f * c + i * n
 *        o = f(x Wo + h Ro + Wbo + Rbo + Po * c)
 *        h = o * h(c)
 *
 * When clip > 0 the inputs of f and g are clipped to [-clip, clip]; the input of h is the cell
 * itself, which is not clipped (ONNX's text leaves it open; onnxruntime does the same). Row b stops
 * after lens[b] steps: its later outputs are zeros and its final state is that of its last step;
 * the reverse direction starts at its last step. A plan holds packed weights and is then only read.
 * Running never allocates and never fails. */
#ifndef CONVOY_WORKER_KERNELS_RNN_H
#define CONVOY_WORKER_KERNELS_RNN_H

#include "worker/kernels/activation.h"

enum rnn_cell { RNN_PLAIN, RNN_GRU, RNN_LSTM };
enum rnn_direction { RNN_FORWARD, RNN_REVERSE, RNN_BIDIRECTIONAL };

/* How a plan keeps W and R. BF16 halves what a step reads and rounds each weight to 8 bits; states
 * and sums stay FP32. */
enum rnn_weight_type { RNN_FP32, RNN_BF16, RNN_WEIGHT_TYPES };

/* Gates in W, R, B and activations per direction, by cell. */
#define RNN_GATES(cell)       ((cell) == RNN_LSTM ? 4u : (cell) == RNN_GRU ? 3u : 1u)
#define RNN_ACTIVATIONS(cell) ((cell) == RNN_LSTM ? 3u : (cell) == RNN_GRU ? 2u : 1u)
#define RNN_ACTIVATIONS_MAX   3u

struct rnn_shape {
    enum rnn_cell cell;
    enum rnn_direction direction;
    size_t input;             /* features of x */
    size_t hidden;            /* features of h */
    bool linear_before_reset; /* GRU */
    bool input_forget;        /* LSTM: couple the gates */
    float clip;               /* 0: none */
    enum rnn_weight_type weight_type;
    /* [direction][f, g, h]; rnn_default_activations() fills in ONNX's. */
    struct activation acts[2][RNN_ACTIVATIONS_MAX];
};

/* Weights as in ONNX, with dirs = 2 when bidirectional, G = gates; bias and peephole may be NULL.
 */
struct rnn_weights {
    const float *w;        /* [dirs][G hidden][input] */
    const float *r;        /* [dirs][G hidden][hidden] */
    const float *bias;     /* [dirs][2 G hidden]: Wb then Rb */
    const float *peephole; /* LSTM: [dirs][3 hidden], i o f */
};

/* One run. Layout 0 is time first, layout 1 (batch_first) batch first. */
struct rnn_args {
    size_t steps;
    size_t batch;
    bool batch_first;
    const float *x;      /* [steps][batch][input], or [batch][steps][input] */
    const int32_t *lens; /* [batch], each 0..steps; NULL: all steps */
    const float *h0;     /* [dirs][batch][hidden] or [batch][dirs][hidden]; NULL: zeros */
    const float *c0;     /* LSTM; likewise */
    float *y;            /* [steps][dirs][batch][hidden] or [batch][steps][dirs][hidden], or NULL */
    float *h;            /* final state, like h0, or NULL */
    float *c;            /* likewise */
};

struct rnn_plan;

/* ONNX's default activations for shape->cell, both directions. */
void rnn_default_activations(struct rnn_shape *shape);

/* Pack the weights; they are not needed afterwards. */
struct rnn_plan *rnn_plan_new(const struct rnn_shape *shape, const struct rnn_weights *weights);

/* Bytes of scratch that a run needs with the threads now set. */
size_t rnn_scratch_bytes(const struct rnn_plan *self, size_t steps, size_t batch);

void rnn_run(const struct rnn_plan *self, const struct rnn_args *args, void *scratch);

void rnn_plan_destroy(struct rnn_plan **self_p);

#endif
