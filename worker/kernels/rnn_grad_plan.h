/* rnn_grad_plan - memory, packed weights and large products of a recurrent layer that learns;
 * shared by rnn_grad*.c only */
#ifndef CONVOY_WORKER_KERNELS_RNN_GRAD_PLAN_H
#define CONVOY_WORKER_KERNELS_RNN_GRAD_PLAN_H

#include "worker/kernels/gemm.h"
#include "worker/kernels/rnn_grad.h"

/* One direction. A row of `gates` and `extra` is a time and a row of the batch, as in x; states
 * have one time more: forward, state t is the one in front of time t, and backward the one behind.
 */
struct rnn_side {
    float *gates;  /* [steps batch][width] behind their activations, as in W */
    float *states; /* [(steps + 1) batch][hidden] */
    float *cells;  /* LSTM: likewise */
    float *extra;  /* LSTM: h(c); GRU: h Rn + Rbn, or r * h; [steps batch][hidden] */
    /* Scratch. */
    float *r, *r_new;      /* packed; r_new: GRU's last gate, which r lacks */
    float *w, *bias;       /* packed; Wb + Rb, or NULL */
    float *bias_new;       /* NULL: there is no bias */
    float *d_gates;        /* [steps batch][width] by gates before their activations, for W */
    float *d_new;          /* GRU, linear_before_reset: what R gets instead of the last gate's */
    float *dh, *dc, *room; /* [batch][hidden] */
};

struct rnn_walk;

struct rnn_pass {
    const struct rnn_shape *shape;
    const struct rnn_args *args;
    const struct rnn_grads *grads;
    size_t dirs, hidden;
    size_t with_h; /* gates whose product with h comes first: all but GRU's last */
    size_t width;  /* gates * hidden */
    size_t rows, slices, items;
    double flops;
    void (*forward)(const struct rnn_walk *w, size_t row),
        (*backward)(const struct rnn_walk *w, size_t row);
    struct rnn_side side[2];
    float *bias, *inputs; /* forward: the sum of both, W packed */
    size_t piece;         /* rows that are summed up at once */
    float *gates, *news;  /* backward: gradients of a piece's gates, packed */
    float *turned[3];     /* dW, dR, and dR of GRU's last gate, each [in][out] */
    size_t keep_bytes, scratch_bytes;
};

/* An item at one of its steps: numbers of its first row among gates and among states. */
struct rnn_walk {
    const struct rnn_pass *pass;
    size_t dir, first, rows; /* of the batch */
    size_t time, before, now;
};

/* Where all memory lies, from its beginnings on; these may be NULL for the sizes alone. */
void rnn_pass_set(struct rnn_pass *p, const struct rnn_shape *shape, const struct rnn_args *args,
                  void *keep, void *scratch, bool back);

struct rnn_walk rnn_walk_start(const struct rnn_pass *p, size_t item); /* `before` is set */
void rnn_walk_to(struct rnn_walk *w, size_t step);

/* W and R packed for x W and h R, and the biases. */
void rnn_pass_pack(struct rnn_pass *p, const struct rnn_weights *weights, size_t dir);

/* R packed for dG R. */
void rnn_pass_turn(struct rnn_pass *p, const struct rnn_weights *weights, size_t dir);

/* Everything that sums over steps. */
void rnn_pass_sums(struct rnn_pass *p, const struct rnn_weights *weights, size_t dir);

#endif
