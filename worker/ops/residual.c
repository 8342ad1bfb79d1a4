/* residual - see residual.h */
#include "worker/ops/residual.h"

#include "worker/kernels/vector.h"
#include "worker/ops/broadcast.h"

void residual_add(const struct array *x, const struct array *y, struct activation act,
                  struct array *out)
{
    const int64_t *dims[2] = {x->dims, y->dims};
    const uint32_t ranks[2] = {x->rank, y->rank};
    size_t at[BROADCAST_MAX];
    struct broadcast b;
    broadcast_loops(&b, out->dims, out->rank, dims, ranks, 2);
    size_t rows = b.dims[b.rank - 2], cols = b.dims[b.rank - 1];
    for (size_t o = 0; rows && cols && o < b.outer; o++) {
        broadcast_at(&b, o, at);
        struct operand p = {(const float *)x->data + at[0], b.steps[0][b.rank - 2],
                            b.steps[0][b.rank - 1]};
        struct operand q = {(const float *)y->data + at[1], b.steps[1][b.rank - 2],
                            b.steps[1][b.rank - 1]};
        vec_binary(BINARY_ADD, rows, cols, p, q, (float *)out->data + o * rows * cols);
    }
    vec_unary(act, array_count(out), out->data, out->data);
}
