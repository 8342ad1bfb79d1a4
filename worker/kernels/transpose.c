/* transpose - merge axes, then copy runs or turn tiles; see transpose.h
 *
 * Axes of one element vanish and axes that stay neighbours become one, so that most permutations
 * end as a copy, or as a matrix transpose repeated over outer axes. */
#include "worker/kernels/transpose.h"

#include <string.h>

#include "worker/kernels/par.h"

#define TILE 16 /* elements squared: a 64-byte line of fp32 each way */

/* The permutation with its axes merged, in the order of the output. */
struct plan {
    size_t ndim;
    size_t size[TRANSPOSE_DIMS_MAX]; /* of the output's axes */
    size_t step[TRANSPOSE_DIMS_MAX]; /* elements of the input along each */
    size_t bytes;                    /* of an element */
    const char *in;
    char *out;
    size_t turned; /* the output's axis along which the input is contiguous; ndim if none */
};

static struct plan plan_for(size_t ndim, const size_t *dims, const size_t *perm, size_t bytes)
{
    struct plan p = {.bytes = bytes};
    size_t steps[TRANSPOSE_DIMS_MAX] = {0}, step = 1;
    for (size_t i = ndim; i-- > 0; step *= dims[i])
        steps[i] = step;
    for (size_t i = 0; i < ndim; i++) {
        size_t size = dims[perm[i]], along = steps[perm[i]];
        if (size == 1)
            continue;
        if (p.ndim && p.step[p.ndim - 1] == along * size) { /* continues the axis before */
            p.size[p.ndim - 1] *= size;
            p.step[p.ndim - 1] = along;
            continue;
        }
        p.size[p.ndim] = size;
        p.step[p.ndim++] = along;
    }
    if (!p.ndim) { /* one element */
        p.size[0] = p.step[0] = 1;
        p.ndim = 1;
    }
    p.turned = p.ndim;
    for (size_t i = 0; i < p.ndim; i++)
        if (p.step[i] == 1)
            p.turned = i;
    return p;
}

typedef struct {
    uint64_t half[2];
} pair; /* 16 bytes: a text, say */

/* out[i][j] = in[j][i] for i < rows, j < cols, in elements of the type. */
#define TURN(type)                                                                                 \
    static void turn_##type(size_t rows, size_t cols, size_t in_step, size_t out_step,             \
                            const void *from, void *to)                                            \
    {                                                                                              \
        const type *in = from;                                                                     \
        type *out = to;                                                                            \
        for (size_t i0 = 0; i0 < rows; i0 += TILE)                                                 \
            for (size_t j0 = 0; j0 < cols; j0 += TILE)                                             \
                for (size_t i = i0; i < MIN(i0 + TILE, rows); i++)                                 \
                    for (size_t j = j0; j < MIN(j0 + TILE, cols); j++)                             \
                        out[i * out_step + j] = in[j * in_step + i];                               \
    }
TURN(uint8_t)
TURN(uint16_t)
TURN(uint32_t)
TURN(uint64_t)
TURN(pair)

typedef void turn_fn(size_t rows, size_t cols, size_t in_step, size_t out_step, const void *from,
                     void *to);

static turn_fn *turn_for(size_t bytes)
{
    static turn_fn *const by_bytes[] = {[1] = turn_uint8_t,
                                        [2] = turn_uint16_t,
                                        [4] = turn_uint32_t,
                                        [8] = turn_uint64_t,
                                        [16] = turn_pair};
    assert(bytes < ARRAY_LEN(by_bytes) && by_bytes[bytes]);
    return by_bytes[bytes];
}

static size_t product(const struct plan *p, size_t from, size_t to)
{
    size_t all = 1;
    for (size_t i = from; i < to; i++)
        all *= p->size[i];
    return all;
}

/* Where outer item `item` starts: axes 0..axes-1 without `skip` count it. */
static void locate(const struct plan *p, size_t axes, size_t skip, size_t item, size_t *in_at,
                   size_t *out_at)
{
    size_t out_step = product(p, axes, p->ndim);
    *in_at = *out_at = 0;
    for (size_t i = axes; i-- > 0; out_step *= p->size[i]) {
        if (i == skip)
            continue;
        size_t index = item % p->size[i];
        item /= p->size[i];
        *in_at += index * p->step[i];
        *out_at += index * out_step;
    }
}

/* The last axis is contiguous in the input: rows are copied whole. */
static void copy_items(void *arg, size_t slot, size_t begin, size_t end)
{
    const struct plan *p = arg;
    size_t run = p->size[p->ndim - 1], in_at, out_at;
    (void)slot;
    for (size_t item = begin; item < end; item++) {
        locate(p, p->ndim - 1, p->ndim, item, &in_at, &out_at);
        memcpy(p->out + out_at * p->bytes, p->in + in_at * p->bytes, run * p->bytes);
    }
}

/* Axis `turned` is contiguous in the input, the last axis in the output: a matrix turns. */
static void turn_items(void *arg, size_t slot, size_t begin, size_t end)
{
    const struct plan *p = arg;
    size_t last = p->ndim - 1, in_at, out_at;
    turn_fn *turn = turn_for(p->bytes);
    (void)slot;
    for (size_t item = begin; item < end; item++) {
        locate(p, last, p->turned, item, &in_at, &out_at);
        turn(p->size[p->turned], p->size[last], p->step[last], product(p, p->turned + 1, p->ndim),
             p->in + in_at * p->bytes, p->out + out_at * p->bytes);
    }
}

void transpose_run(size_t ndim, const size_t *dims, const size_t *perm, size_t element_bytes,
                   const void *in, void *out)
{
    assert(ndim <= TRANSPOSE_DIMS_MAX);
    for (size_t i = 0; i < ndim; i++)
        if (!dims[i])
            return;
    struct plan p = plan_for(ndim, dims, perm, element_bytes);
    p.in = in;
    p.out = out;
    double bytes = 2.0 * (double)(product(&p, 0, p.ndim) * element_bytes);
    size_t outer = product(&p, 0, p.ndim - 1);
    if (p.turned == p.ndim - 1)
        par_for(outer, bytes, copy_items, &p);
    else
        par_for(outer / MAX(p.size[p.turned], 1), bytes, turn_items, &p);
}
