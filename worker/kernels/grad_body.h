/* grad_body - the grad family, compiled once per instruction set as GRAD_KERNEL
 *
 * A tile keeps one register of outputs for each tap; how many must be a constant after inlining. */
#include "worker/kernels/grad_kernel.h"
#include "worker/kernels/simd_math.h"

#if VF == 16
#define TAPS 24 /* of 32 registers; 1 of outputs, inputs are broadcast from memory */
#else
#define TAPS 8 /* of 16 */
#endif

INLINE void tile_run(const struct grad_tile *t, const size_t T)
{
    vf acc[GRAD_TAPS_MAX];
    const size_t second = t->out_block, pixel = t->in_pixel, cols = t->cols;
    const vf_mask one = vf_mask_of(true, false);
    UNROLL
    for (size_t k = 0; k < T; k++)
        acc[k] = t->adds ? vf_load(t->sums + k * VF) : vf_set(0.0f);
    for (size_t n = 0; n < t->images; n++) {
        const float *out = t->out + n * t->out_image;
        for (size_t y = 0; y < t->rows; y++) {
            const float *in = t->in + n * t->in_image + y * t->in_row;
            for (size_t x = 0; x < cols; x++, in += pixel, out += LANES) {
                vf d = t->half ? vf_load_where(one, out) : vf_load_two(out, second);
                UNROLL
                for (size_t k = 0; k < T; k++)
                    acc[k] = vf_fma(d, vf_set(in[k]), acc[k]);
            }
        }
    }
    UNROLL
    for (size_t k = 0; k < T; k++)
        vf_store(t->sums + k * VF, acc[k]);
}

#define TILE(taps)                                                                                 \
    case taps:                                                                                     \
        tile_run(t, taps);                                                                         \
        return;

static void tile(const struct grad_tile *t, size_t taps)
{
    switch (taps) {
        TILE(1)
        TILE(2)
        TILE(3)
        TILE(4)
        TILE(5)
        TILE(6)
        TILE(7)
        TILE(8)
#if TAPS == 24
        TILE(16)
        TILE(24)
#endif
    default:
        panic("%zu taps, which no tile has", taps);
    }
}

/* One window of 8 channels: whoever is largest first takes what is left. */
INLINE void max_window(const struct grad_pool *p, size_t first[2], const float *y, const float *dy)
{
    const vl zero = vl_set(0.0f), most = vl_load(y);
    vl left = vl_load(dy);
    if (p->relu)
        left = vl_if_greater(most, zero, left, zero);
    for (size_t r = 0; r < p->kernel[0]; r++) {
        size_t row = first[0] + r * p->dilation[0] - p->pad[0];
        for (size_t s = 0; s < p->kernel[1]; s++) {
            size_t col = first[1] + s * p->dilation[1] - p->pad[1];
            if (row >= p->in_size[0] || col >= p->in_size[1])
                continue; /* in the padding; below 0 wraps */
            size_t at = (row * p->in_size[1] + col) * LANES;
            vl takes = vl_if_greater(most, vl_load(p->x + at), zero, left);
            vl_store(p->dx + at, vl_add(vl_load(p->dx + at), takes));
            left = vl_sub(left, takes);
        }
    }
}

/* Windows that lie side by side, which is what most networks have: each input is written once. */
INLINE void max_apart(const struct grad_pool *p, const size_t R, const size_t S)
{
    const size_t width = p->in_size[1] * LANES;
    const vl zero = vl_set(0.0f);
    const float *y = p->y, *dy = p->dy;
    for (size_t r = 0; r < p->out_size[0]; r++) {
        const float *x = p->x + r * R * width;
        float *dx = p->dx + r * R * width;
        for (size_t c = 0; c < p->out_size[1]; c++, y += LANES, dy += LANES) {
            const vl most = vl_load(y);
            vl left = vl_load(dy);
            if (p->relu)
                left = vl_if_greater(most, zero, left, zero);
            for (size_t i = 0; i < R; i++)
                for (size_t j = 0; j < S; j++) {
                    size_t at = i * width + (c * S + j) * LANES;
                    vl takes = vl_if_greater(most, vl_load(x + at), zero, left);
                    vl_store(dx + at, takes);
                    left = vl_sub(left, takes);
                }
        }
        size_t used = p->out_size[1] * S * LANES;
        for (size_t i = 0; i < R; i++)
            memset(dx + i * width + used, 0, (width - used) * sizeof(float));
    }
    size_t used = p->out_size[0] * R;
    memset(p->dx + used * width, 0, (p->in_size[0] - used) * width * sizeof(float));
}

static void max_pool(const struct grad_pool *p)
{
    const float *y = p->y, *dy = p->dy;
    if (p->apart && p->kernel[0] == 2 && p->kernel[1] == 2) {
        max_apart(p, 2, 2);
        return;
    }
    if (p->apart) {
        max_apart(p, p->kernel[0], p->kernel[1]);
        return;
    }
    memset(p->dx, 0, p->in_size[0] * p->in_size[1] * LANES * sizeof(float));
    for (size_t r = 0; r < p->out_size[0]; r++)
        for (size_t c = 0; c < p->out_size[1]; c++, y += LANES, dy += LANES) {
            size_t first[2] = {r * p->stride[0], c * p->stride[1]};
            max_window(p, first, y, dy);
        }
}

static void lanes(size_t n, const float *x, float *sums)
{
    float part[4][LANES] = {{0}};
    size_t i = 0;
    for (; i + 4 <= n; i += 4)
        for (size_t j = 0; j < 4; j++)
            for (size_t k = 0; k < LANES; k++)
                part[j][k] += x[(i + j) * LANES + k];
    for (; i < n; i++)
        for (size_t k = 0; k < LANES; k++)
            part[0][k] += x[i * LANES + k];
    for (size_t k = 0; k < LANES; k++)
        sums[k] = (part[0][k] + part[1][k]) + (part[2][k] + part[3][k]);
}

static void products(size_t n, const float *a, const float *b, size_t step, float *sums)
{
    vl sum = vl_load(sums);
    for (size_t i = 0; i < n; i++)
        sum = vl_fma(vl_load(a + i * LANES), vl_load(b + i * step), sum);
    vl_store(sums, sum);
}

static void relu(size_t n, const float *y, const float *dy, float *dx)
{
    const vf zero = vf_set(0.0f);
    size_t i = 0;
    for (; i + VF <= n; i += VF)
        vf_store(dx + i, vf_if_greater(vf_load(y + i), zero, vf_load(dy + i), zero));
    if (i < n)
        vf_store_n(dx + i,
                   vf_if_greater(vf_load_n(y + i, n - i), zero, vf_load_n(dy + i, n - i), zero),
                   n - i);
}

static double squares(size_t n, const float *g)
{
    vf sum[4] = {vf_set(0.0f), vf_set(0.0f), vf_set(0.0f), vf_set(0.0f)};
    size_t i = 0;
    for (; i + 4 * VF <= n; i += 4 * VF)
        for (size_t j = 0; j < 4; j++) {
            vf value = vf_load(g + i + j * VF);
            sum[j] = vf_fma(value, value, sum[j]);
        }
    float rest = 0;
    for (; i < n; i++)
        rest += g[i] * g[i];
    return (double)vf_sum(vf_add(vf_add(sum[0], sum[1]), vf_add(sum[2], sum[3]))) + (double)rest;
}

/* The gradient as the optimiser sees it, without decay. */
INLINE vf clipped(const struct update *u, const float *g)
{
    vf value = vf_mul(vf_load(g), vf_set(u->scale));
    return u->limit > 0 ? vf_min(vf_set(u->limit), vf_max(vf_set(-u->limit), value)) : value;
}

/* VF values each, one function for each kind; see update.h. */
INLINE void step_sgd(const struct update *u, float *w, const float *g, float *m, float *v)
{
    (void)v;
    vf weight = vf_load(w), grad = vf_fma(vf_set(u->decay), weight, clipped(u, g));
    vf moved = vf_fma(vf_set(u->beta1), vf_load(m), grad);
    vf_store(m, moved);
    vf by = u->nesterov ? vf_fma(vf_set(u->beta1), moved, grad) : moved;
    vf_store(w, vf_fma(vf_set(-u->rate), by, weight));
}

INLINE void move_by_moments(const struct update *u, vf weight, vf grad, float *w, float *m,
                            float *v)
{
    vf first = vf_fma(vf_set(u->beta1), vf_load(m), vf_mul(vf_set(1 - u->beta1), grad));
    vf square = vf_mul(vf_mul(grad, grad), vf_set(1 - u->beta2));
    vf second = vf_fma(vf_set(u->beta2), vf_load(v), square);
    vf_store(m, first);
    vf_store(v, second);
    vf root = vf_sqrt(vf_mul(second, vf_set(u->correct2)));
    vf by = vf_div(vf_mul(first, vf_set(u->correct1)), vf_add(root, vf_set(u->epsilon)));
    vf_store(w, vf_fma(vf_set(-u->rate), by, weight));
}

INLINE void step_adam(const struct update *u, float *w, const float *g, float *m, float *v)
{
    vf weight = vf_load(w);
    move_by_moments(u, weight, vf_fma(vf_set(u->decay), weight, clipped(u, g)), w, m, v);
}

INLINE void step_adamw(const struct update *u, float *w, const float *g, float *m, float *v)
{
    vf weight = vf_mul(vf_load(w), vf_set(1 - u->rate * u->decay));
    move_by_moments(u, weight, clipped(u, g), w, m, v);
}

INLINE void step_rmsprop(const struct update *u, float *w, const float *g, float *m, float *v)
{
    vf weight = vf_load(w), grad = vf_fma(vf_set(u->decay), weight, clipped(u, g));
    vf square = vf_mul(vf_mul(grad, grad), vf_set(1 - u->beta2));
    vf second = vf_fma(vf_set(u->beta2), vf_load(v), square);
    vf by = vf_div(vf_mul(vf_set(u->rate), grad), vf_add(vf_sqrt(second), vf_set(u->epsilon)));
    vf moved = vf_fma(vf_set(u->beta1), vf_load(m), by);
    vf_store(v, second);
    vf_store(m, moved);
    vf_store(w, vf_sub(weight, moved));
}

/* Whole registers; what is left over goes through buffers of one. */
#define UPDATE(name)                                                                               \
    static void name(const struct update *u, size_t n, float *w, const float *g, float *m,         \
                     float *v)                                                                     \
    {                                                                                              \
        size_t i = 0;                                                                              \
        for (; i + VF <= n; i += VF)                                                               \
            step_##name(u, w + i, g + i, m + i, v + i);                                            \
        if (i == n)                                                                                \
            return;                                                                                \
        float rest[4][VF] = {{0}};                                                                 \
        size_t bytes = (n - i) * sizeof(float);                                                    \
        memcpy(rest[0], w + i, bytes);                                                             \
        memcpy(rest[1], g + i, bytes);                                                             \
        memcpy(rest[2], m + i, bytes);                                                             \
        memcpy(rest[3], v + i, bytes);                                                             \
        step_##name(u, rest[0], rest[1], rest[2], rest[3]);                                        \
        memcpy(w + i, rest[0], bytes);                                                             \
        memcpy(m + i, rest[2], bytes);                                                             \
        memcpy(v + i, rest[3], bytes);                                                             \
    }
UPDATE(sgd)
UPDATE(adam)
UPDATE(adamw)
UPDATE(rmsprop)

const struct grad_kernel GRAD_KERNEL = {
    .width = VF,
    .taps = TAPS,
    .tile = tile,
    .max_pool = max_pool,
    .lanes = lanes,
    .products = products,
    .relu = relu,
    .squares = squares,
    .update = {[UPDATE_SGD] = sgd,
               [UPDATE_ADAM] = adam,
               [UPDATE_ADAMW] = adamw,
               [UPDATE_RMSPROP] = rmsprop},
};
