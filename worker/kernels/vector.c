/* vector - cut elementwise work into pieces for the threads; see vector.h */
#include "worker/kernels/vector.h"

#include "worker/kernels/par.h"
#include "worker/kernels/vector_kernel.h"

/* clang-format off */
#include "worker/kernels/pick.h"
struct vector_entry { unsigned needs; const struct vector_kernel *kernel; };
static const struct vector_entry vector_list[] = {
#include "worker/kernels/vector.def"
};
PICK(vector)
/* clang-format on */

/* Elements that a thread takes at once: 16 KiB of fp32, half of a first-level cache. */
#define PIECE 4096

/* Rough cost per element, in flops, for par_for. */
#define COST_UNARY  16.0
#define COST_BINARY 4.0

struct unary_job {
    struct activation act;
    size_t n;
    const float *x;
    float *y;
};

void vector_apply(struct activation act, size_t n, const float *x, float *y)
{
    if (act.op == UNARY_IDENTITY && x == y)
        return;
    vector_now()->unary[act.op](n, act.a, act.b, x, y);
}

static void unary_piece(void *arg, size_t slot, size_t begin, size_t end)
{
    const struct unary_job *job = arg;
    size_t first = begin * PIECE, last = MIN(end * PIECE, job->n);
    (void)slot;
    vector_apply(job->act, last - first, job->x + first, job->y + first);
}

void vec_unary(struct activation act, size_t n, const float *x, float *y)
{
    assert(act.op < UNARY_COUNT);
    struct unary_job job = {act, n, x, y};
    par_for((n + PIECE - 1) / PIECE, COST_UNARY * (double)n, unary_piece, &job);
}

struct binary_job {
    vector_binary_fn *fn;
    size_t cols;
    size_t pieces; /* of a row */
    struct operand x;
    struct operand y;
    float *out;
};

static void binary_piece(void *arg, size_t slot, size_t begin, size_t end)
{
    const struct binary_job *job = arg;
    (void)slot;
    for (size_t i = begin; i < end; i++) {
        size_t row = i / job->pieces, first = i % job->pieces * PIECE;
        size_t n = MIN(PIECE, job->cols - first);
        const float *x = job->x.data + row * job->x.row_step + first * job->x.col_step;
        const float *y = job->y.data + row * job->y.row_step + first * job->y.col_step;
        job->fn(n, x, job->x.col_step, y, job->y.col_step, job->out + row * job->cols + first);
    }
}

static bool is_scalar(struct operand o)
{
    return o.row_step == 0 && o.col_step == 0;
}

void vec_binary(enum binary op, size_t rows, size_t cols, struct operand x, struct operand y,
                float *out)
{
    assert(op < BINARY_COUNT);
    assert(x.col_step <= 1 && y.col_step <= 1);
    if (!rows || !cols)
        return;
    double elements = (double)rows * (double)cols;
    /* squares are far more common than other powers, and exact as products */
    if (op == BINARY_POW && is_scalar(y) && y.data[0] == 2.0f) {
        op = BINARY_MUL;
        y = x;
    }
    struct binary_job job = {vector_now()->binary[op], cols, (cols + PIECE - 1) / PIECE, x, y, out};
    par_for(rows * job.pieces, COST_BINARY * elements, binary_piece, &job);
}

struct u8_job {
    size_t n;
    float scale;
    const uint8_t *x;
    float *y;
};

static void u8_piece(void *arg, size_t slot, size_t begin, size_t end)
{
    const struct u8_job *job = arg;
    size_t first = begin * PIECE, last = MIN(end * PIECE, job->n);
    (void)slot;
    vector_now()->from_u8(last - first, job->scale, job->x + first, job->y + first);
}

void vec_from_u8(size_t n, float scale, const uint8_t *x, float *y)
{
    struct u8_job job = {n, scale, x, y};
    par_for((n + PIECE - 1) / PIECE, COST_BINARY * (double)n, u8_piece, &job);
}
