/* grad_elements - functions of one and of two values, Dropout */
#include <math.h>
#include <string.h>

#include "worker/kernels/grad.h"
#include "worker/kernels/par.h"
#include "worker/kernels/vector.h"
#include "worker/ops/broadcast.h"
#include "worker/ops/scalar.h"
#include "worker/train/grads.h"

enum status unary_setup(struct pass *pass, struct error *why)
{
    struct step *step = &pass->step;
    const struct activation *act = step->node->state;
    if (!grad_unary_known(act->op))
        return bad_step(why, step, "no gradient of this function");
    return STATUS_OK;
}

void unary_backward(struct pass *pass)
{
    const struct step *step = &pass->step;
    grad_unary(*(const struct activation *)step->node->state, array_stored(step->in[0]),
               step->in[0]->data, step->out[0]->data, pass->dout[0]->data, pass->din[0]->data);
}

/* What was not clipped came through as it was. */
void clip_backward(struct pass *pass)
{
    const float *x = pass->step.in[0]->data, *y = pass->step.out[0]->data;
    const float *dy = pass->dout[0]->data;
    float *dx = pass->din[0]->data;
    for (size_t i = 0; i < array_count(pass->step.in[0]); i++)
        dx[i] = x[i] < y[i] || x[i] > y[i] ? 0 : dy[i];
}

/* y = gamma (x > 0 ? x : alpha (exp(x) - 1)) */
void selu_backward(struct pass *pass)
{
    const struct step *step = &pass->step;
    float alpha = attr_float(step->node, "alpha", 1.67326319f);
    float gamma = attr_float(step->node, "gamma", 1.05070102f);
    const float *x = step->in[0]->data, *y = step->out[0]->data, *dy = pass->dout[0]->data;
    float *dx = pass->din[0]->data;
    for (size_t i = 0; i < array_count(step->in[0]); i++)
        dx[i] = dy[i] * (x[i] > 0 ? gamma : y[i] + alpha * gamma);
}

/* --- two operands ------------------------------------------------------------------------------
 * name(x, y, dz): the gradients of z by x and y, times dz */
struct both {
    float x, y;
};

static struct both add_back(float x, float y, float dz)
{
    return (void)x, (void)y, (struct both){dz, dz};
}
static struct both sub_back(float x, float y, float dz)
{
    return (void)x, (void)y, (struct both){dz, -dz};
}
static struct both mul_back(float x, float y, float dz)
{
    return (struct both){y * dz, x * dz};
}
static struct both div_back(float x, float y, float dz)
{
    return (struct both){dz / y, -x * dz / (y * y)};
}
static struct both pow_back(float x, float y, float dz)
{
    float z = powf(x, y);
    return (struct both){y * powf(x, y - 1) * dz, x > 0 ? z * logf(x) * dz : 0};
}

static struct both (*const backs[])(float x, float y, float dz) = {
    [BINARY_ADD] = add_back, [BINARY_SUB] = sub_back, [BINARY_MUL] = mul_back,
    [BINARY_DIV] = div_back, [BINARY_POW] = pow_back,
};

/* Add is frequent, and needs neither operand: copies and sums of dz. */
static void add_backward(struct pass *pass)
{
    const struct array *z = pass->step.out[0];
    for (uint32_t i = 0; i < 2; i++) {
        struct array *d = pass->din[i];
        if (!d)
            continue;
        if (d->bytes == z->bytes)
            memcpy(d->data, pass->dout[0]->data, d->bytes);
        else
            grad_sum_to(z, pass->dout[0]->data, 1, d);
    }
}

void binary_backward(struct pass *pass)
{
    const struct step *step = &pass->step;
    enum binary op = (enum binary)step->node->op->variant;
    struct both (*back)(float, float, float) = backs[op];
    struct array *dx = pass->din[0], *dy = pass->din[1];
    struct broadcast b;
    if (op == BINARY_ADD) {
        add_backward(pass);
        return;
    }
    broadcast_step(&b, step);
    for (uint32_t i = 0; i < 2; i++)
        if (pass->din[i])
            memset(pass->din[i]->data, 0, pass->din[i]->bytes);
    const float *dz = pass->dout[0]->data;
    size_t rows = b.dims[b.rank - 2], cols = b.dims[b.rank - 1];
    for (size_t i = 0; i < b.outer * rows * cols; i++) {
        size_t at[BROADCAST_MAX], in_row = i % (rows * cols);
        broadcast_at(&b, i / (rows * cols), at);
        for (uint32_t k = 0; k < 2; k++)
            at[k] += in_row / cols * b.steps[k][b.rank - 2] + i % cols * b.steps[k][b.rank - 1];
        struct both d = back(((const float *)step->in[0]->data)[at[0]],
                             ((const float *)step->in[1]->data)[at[1]], dz[i]);
        if (dx)
            ((float *)dx->data)[at[0]] += d.x;
        if (dy)
            ((float *)dy->data)[at[1]] += d.y;
    }
}

/* --- dropout -----------------------------------------------------------------------------------
 * Whether an element is dropped follows from seed, step, node, row and place alone, so that the
 * gradient asks again instead of keeping a mask. */
struct dropout_pass {
    float ratio;
    size_t rows, row; /* and elements of one */
};

struct dropout_job {
    const struct dropout_pass *d;
    uint64_t key;
    const float *from;
    float *to;
};

/* splitmix64's finaliser: G. Steele and others, Fast Splittable Pseudorandom Number Generators,
 * 2014. */
static uint64_t mixed(uint64_t z)
{
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

enum status dropout_setup(struct pass *pass, struct error *why)
{
    struct step *step = &pass->step;
    const struct array *x = step->in[0], *ratio = step_in(step, 1);
    struct dropout_pass *d = region_take(step->region, sizeof *d);
    d->ratio = ratio && ratio->known ? (float)scalar_float(ratio->dtype, ratio->data, 0)
                                     : attr_float(step->node, "ratio", 0.5f);
    if ((ratio && !ratio->known) || !(d->ratio >= 0 && d->ratio < 1) || step_out(step, 1))
        return bad_step(why, step,
                        "ratio must be a constant of at least 0 and less than 1, and there must be "
                        "no mask");
    d->rows = x->rank ? (size_t)x->dims[0] : 1;
    d->row = d->rows ? array_count(x) / d->rows : 0;
    pass->state = d;
    return STATUS_OK;
}

static void dropout_rows(void *arg, size_t slot, size_t begin, size_t end)
{
    const struct dropout_job *job = arg;
    const uint64_t limit = (uint64_t)((double)job->d->ratio * 0x1p32);
    const float scale = 1 / (1 - job->d->ratio);
    (void)slot;
    for (size_t r = begin; r < end; r++) {
        uint64_t key = mixed(job->key + r * 0x9e3779b97f4a7c15u);
        size_t at = r * job->d->row;
        for (size_t i = 0; i < job->d->row; i++) {
            uint64_t bits = mixed(key + i * 0x9e3779b97f4a7c15u) >> 32;
            job->to[at + i] = bits < limit ? 0 : job->from[at + i] * scale;
        }
    }
}

static void drop(const struct pass *pass, const float *from, float *to)
{
    const struct dropout_pass *d = pass->state;
    struct dropout_job job = {.d = d, .from = from, .to = to};
    job.key = mixed(mixed(mixed(pass->run->seed) + pass->run->number) + pass->number);
    par_for(d->rows, 16.0 * (double)(d->rows * d->row), dropout_rows, &job);
}

enum status dropout_forward(struct pass *pass, struct error *why)
{
    const struct array *x = pass->step.in[0];
    (void)why;
    if (pass->run->learns)
        drop(pass, x->data, pass->step.out[0]->data);
    else
        memcpy(pass->step.out[0]->data, x->data, x->bytes);
    return STATUS_OK;
}

void dropout_backward(struct pass *pass)
{
    drop(pass, pass->dout[0]->data, pass->din[0]->data);
}
