/* peer_openblas - OpenBLAS as a contender for dense layers: its weights are not packed beforehand
 */
#include "tests/bench/contender.h"

#include <cblas.h>
#include <stdlib.h>
#include <string.h>

struct blas_dense {
    struct work_data data;
    int batch, in, out;
    float *y;
};

void openblas_start(int threads)
{
    openblas_set_num_threads(threads);
}

static void *dense_open(const struct work *w, size_t *times)
{
    struct blas_dense *self = xcalloc(1, sizeof *self);
    *self = (struct blas_dense){
        .data = work_data_new(w),
        .batch = (int)w->batch,
        .in = (int)w->dense.in,
        .out = (int)w->dense.out,
        .y = xaligned(work_outputs(w) * sizeof(float)),
    };
    *times = 1;
    return self;
}

static void dense_run(void *arg)
{
    const struct blas_dense *s = arg;
    if (s->batch == 1)
        cblas_sgemv(CblasRowMajor, CblasNoTrans, s->out, s->in, 1, s->data.weights, s->in,
                    s->data.x, 1, 0, s->y, 1);
    else
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, s->batch, s->out, s->in, 1, s->data.x,
                    s->in, s->data.weights, s->in, 0, s->y, s->out);
}

static void dense_output(void *arg, float *y)
{
    const struct blas_dense *self = arg;
    memcpy(y, self->y, (size_t)self->batch * (size_t)self->out * sizeof *y);
}

static void dense_close(void *arg)
{
    struct blas_dense *self = arg;
    work_data_free(&self->data);
    free(self->y);
    free(self);
}

const struct contender openblas_dense = {"openblas", WORK_DENSE,   dense_open,
                                         dense_run,  dense_output, dense_close};
