/* broadcast - NumPy's rule for arrays of different shapes, and strided copies */
#ifndef CONVOY_WORKER_OPS_BROADCAST_H
#define CONVOY_WORKER_OPS_BROADCAST_H

#include "worker/ops/op.h"

#define BROADCAST_MAX 3 /* operands at once */

/* Dims of the result of all `len` arrays (NULL ones are skipped), right-aligned; a dim of 1
 * stretches. INVALID names the dims that clash. */
enum status broadcast_dims(const struct step *step, struct array *const *arrays, uint32_t len,
                           int64_t *dims, uint32_t *rank, struct error *why);

/* Loops over an output with neighbouring axes merged where every operand allows it. */
struct broadcast {
    uint32_t rank;                                    /* at least 2, after merging */
    size_t dims[TENSOR_RANK_MAX + 2];                 /* of the output */
    size_t steps[BROADCAST_MAX][TENSOR_RANK_MAX + 2]; /* elements; 0 where an operand repeats */
    size_t outer;                                     /* product of all dims but the last two */
};

/* arrays[i] has `dims[i]` of `rank[i]`, right-aligned under out_dims. */
void broadcast_loops(struct broadcast *self, const int64_t *out_dims, uint32_t out_rank,
                     const int64_t *const *dims, const uint32_t *ranks, uint32_t len);

/* Element offsets of each operand for outer index `outer`. */
void broadcast_at(const struct broadcast *self, size_t outer, size_t *offsets);

/* Element offset of each operand for element `i` of the output. */
void broadcast_element(const struct broadcast *self, size_t i, size_t *offsets);

/* broadcast_loops() of a step's inputs, at most BROADCAST_MAX, under its output 0. */
void broadcast_step(struct broadcast *self, const struct step *step);

/* Up to opset 6 an attribute says at which axis of operand 0 the axes of operand 1 begin;
 * -1: right-aligned. It is node->state of operators whose check() is binary_check(). */
struct legacy_axis {
    int64_t axis;
};

/* Operand `i` as if it had ones behind its dims, as far as struct legacy_axis asks for them: only
 * operand 1 ever differs from step->in[1]. Without a state every operand stays as it is. */
struct array legacy_aligned(const struct step *step, uint32_t i);

/* Copy an n-dimensional box: element steps may be 0 or negative. */
struct strided {
    uint32_t rank;
    const int64_t *dims;
    char *to;
    const int64_t *to_steps; /* in elements */
    const char *from;
    const int64_t *from_steps;
    size_t element; /* bytes */
};
void strided_copy(const struct strided *s);

/* Row-major element steps of dims. */
void dense_steps(const int64_t *dims, uint32_t rank, int64_t *steps);

#endif
