/* Convolution: every path and layout against double, and the same bytes in any batch. */
#include "tests/kernels/check.h"

#include "worker/kernels/conv.h"
#include "worker/kernels/pool.h"

struct problem {
    struct conv_shape shape;
    size_t n, h, w;
    struct activation act;
};

/* Winograd's errors are those of the whole tile: of as many products of values of about 1/2. */
static double winograd_rounding(const struct conv_shape *s)
{
    size_t terms = s->channels_in * s->kernel[0] * s->kernel[1];
    return 4 * rounding(terms, (double)terms / 4);
}

static double activated(struct activation act, double x)
{
    if (act.op == UNARY_RELU)
        return x < 0 ? 0 : x;
    if (act.op == UNARY_CLIP)
        return fmin((double)act.b, fmax((double)act.a, x));
    return act.op == UNARY_SIGMOID ? 1 / (1 + exp(-x)) : x;
}

/* Where a value lies: the definition in layout.h, once more. */
static size_t at(enum layout layout, struct maps m, size_t n, size_t c, size_t y, size_t x)
{
    if (layout == LAYOUT_PLAIN)
        return ((n * m.c + c) * m.h + y) * m.w + x;
    return (((n * ((m.c + 7) / 8) + c / 8) * m.h + y) * m.w + x) * 8 + c % 8;
}

/* One output in double; *size gets the sum of sizes, *terms the number of products. */
static double reference(const struct problem *p, const float *in, const float *weights, double bias,
                        size_t n, size_t k, size_t y, size_t x, double *size, size_t *terms)
{
    const struct conv_shape *s = &p->shape;
    struct maps m = {p->n, s->channels_in, p->h, p->w};
    size_t per_group = s->channels_in / s->groups;
    size_t group = k / (s->channels_out / s->groups);
    double sum = bias;
    *size = fabs(bias);
    *terms = per_group * s->kernel[0] * s->kernel[1];
    for (size_t c = 0; c < per_group; c++)
        for (size_t r = 0; r < s->kernel[0]; r++)
            for (size_t q = 0; q < s->kernel[1]; q++) {
                size_t iy = y * s->stride[0] + r * s->dilation[0];
                size_t ix = x * s->stride[1] + q * s->dilation[1];
                if (iy < s->pad_begin[0] || iy - s->pad_begin[0] >= p->h || ix < s->pad_begin[1] ||
                    ix - s->pad_begin[1] >= p->w)
                    continue;
                size_t from = at(LAYOUT_PLAIN, m, n, group * per_group + c, iy - s->pad_begin[0],
                                 ix - s->pad_begin[1]);
                size_t weight = ((k * per_group + c) * s->kernel[0] + r) * s->kernel[1] + q;
                double term = (double)in[from] * (double)weights[weight];
                sum += term;
                *size += fabs(term);
            }
    return sum;
}

/* `add`: plain, or NULL. */
static void check_output(const struct problem *p, const float *in, const float *weights,
                         const float *bias, const float *add, enum layout layout, const float *out)
{
    struct maps m = {p->n, p->shape.channels_out, conv_out_size(&p->shape, 0, p->h),
                     conv_out_size(&p->shape, 1, p->w)};
    size_t terms, lanes = layout == LAYOUT_PLAIN ? m.c : (m.c + 7) / 8 * 8;
    double size;
    for (size_t n = 0; n < m.n; n++)
        for (size_t k = 0; k < lanes; k++)
            for (size_t y = 0; y < m.h; y++)
                for (size_t x = 0; x < m.w; x++) {
                    size_t i = at(layout, m, n, k, y, x);
                    if (k >= m.c) { /* lanes past the last channel hold zeros */
                        check_close("conv tail", i, (double)out[i], 0, 0);
                        continue;
                    }
                    double start = bias ? (double)bias[k] : 0;
                    start += add ? (double)add[at(LAYOUT_PLAIN, m, n, k, y, x)] : 0;
                    double want = activated(
                        p->act, reference(p, in, weights, start, n, k, y, x, &size, &terms));
                    double allowed =
                        p->shape.winograd ? winograd_rounding(&p->shape) : rounding(terms, size);
                    check_close("conv", i, (double)out[i], want, allowed + 3e-7);
                }
}

/* All four pairs of layouts, with and without something to be added. */
static void check_problem(const struct problem *p, bool with_bias)
{
    const struct conv_shape *s = &p->shape;
    struct maps m = {p->n, s->channels_in, p->h, p->w};
    struct maps o = {p->n, s->channels_out, conv_out_size(s, 0, p->h), conv_out_size(s, 1, p->w)};
    size_t weights_len =
        s->channels_out * (s->channels_in / s->groups) * s->kernel[0] * s->kernel[1];
    size_t plain = layout_elements(LAYOUT_PLAIN, m), blocked = layout_elements(LAYOUT_BLOCKED, m);
    float *in[2] = {check_random(plain), check_alloc(blocked)};
    float *weights = check_random(weights_len), *bias = check_random(s->channels_out);
    size_t add_plain = layout_elements(LAYOUT_PLAIN, o),
           add_blocked = layout_elements(LAYOUT_BLOCKED, o);
    float *add[2] = {check_random(add_plain), check_alloc(add_blocked)};
    layout_to_blocked(m, in[0], in[1]);
    layout_to_blocked(o, add[0], add[1]);
    for (int pair = s->winograd ? 3 : 0; pair < 4; pair++) {
        enum layout from = pair & 1 ? LAYOUT_BLOCKED : LAYOUT_PLAIN;
        enum layout to = pair & 2 ? LAYOUT_BLOCKED : LAYOUT_PLAIN;
        size_t out_len = layout_elements(to, o);
        float *out = check_alloc(out_len);
        struct conv_plan *plan =
            conv_plan_new(s, weights, with_bias ? bias : NULL, p->act, from, to);
        void *scratch = check_scratch(conv_scratch_bytes(plan, m));
        conv_run(plan, m, in[from], NULL, out, scratch);
        check_output(p, in[0], weights, with_bias ? bias : NULL, NULL, to, out);
        conv_run(plan, m, in[from], add[pair >> 1], out, scratch);
        check_output(p, in[0], weights, with_bias ? bias : NULL, add[0], to, out);
        free(scratch);
        conv_plan_destroy(&plan);
        assert_null(plan);
        conv_plan_destroy(&plan); /* twice is harmless */
        check_free(out, out_len);
    }
    check_free(in[0], plain);
    check_free(in[1], blocked);
    check_free(add[0], add_plain);
    check_free(add[1], add_blocked);
    check_free(weights, weights_len);
    check_free(bias, s->channels_out);
}

#define SHAPE(in, out, g, kh, kw, sh, sw, dh, dw, t, l, b, r)                                      \
    {                                                                                              \
        in, out, g, {kh, kw}, {sh, sw}, {dh, dw}, {t, l}, {b, r}, 0,                               \
        {                                                                                          \
            0, 0                                                                                   \
        }                                                                                          \
    }
#define NONE                                                                                       \
    {                                                                                              \
        UNARY_IDENTITY, 0, 0                                                                       \
    }

static const struct problem named[] = {
    /* the layers of the Keras MNIST network */
    {SHAPE(1, 32, 1, 3, 3, 1, 1, 1, 1, 0, 0, 0, 0), 2, 28, 28, {UNARY_RELU, 0, 0}},
    {SHAPE(32, 64, 1, 3, 3, 1, 1, 1, 1, 0, 0, 0, 0), 1, 13, 13, {UNARY_RELU, 0, 0}},
    {SHAPE(64, 64, 1, 3, 3, 1, 1, 1, 1, 0, 0, 0, 0), 2, 5, 5, {UNARY_RELU, 0, 0}},
    /* pointwise; pointwise with stride; 1-D; same padding; wide kernel with stride */
    {SHAPE(16, 24, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0), 1, 7, 7, {UNARY_CLIP, 0.1f, 6}},
    {SHAPE(20, 9, 1, 1, 1, 2, 2, 1, 1, 0, 0, 0, 0), 2, 7, 9, NONE},
    {SHAPE(80, 16, 1, 1, 5, 1, 1, 1, 1, 0, 2, 0, 2), 1, 1, 50, {UNARY_SIGMOID, 0, 0}},
    {SHAPE(12, 20, 1, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1), 2, 7, 7, {UNARY_SIGMOID, 0, 0}},
    {SHAPE(3, 8, 1, 7, 7, 2, 2, 1, 1, 3, 3, 3, 3), 1, 19, 17, {UNARY_RELU, 0, 0}},
    {SHAPE(1, 4, 1, 1, 16, 1, 8, 1, 1, 0, 4, 0, 4), 1, 1, 900, NONE},
    /* uneven padding, dilation, padding larger than the map */
    {SHAPE(8, 8, 1, 3, 2, 2, 1, 2, 3, 0, 2, 3, 1), 1, 9, 8, NONE},
    {SHAPE(5, 3, 1, 3, 3, 1, 1, 1, 1, 4, 4, 4, 4), 1, 2, 1, NONE},
    {SHAPE(4, 4, 1, 2, 2, 3, 3, 1, 1, 5, 5, 0, 0), 1, 1, 1, NONE},
    /* depthwise, with a tail, with stride and padding; depthwise 1-D */
    {SHAPE(16, 16, 16, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1), 2, 6, 9, {UNARY_RELU, 0, 0}},
    {SHAPE(11, 11, 11, 3, 3, 2, 2, 1, 1, 1, 1, 0, 0), 2, 8, 13, {UNARY_SIGMOID, 0, 0}},
    {SHAPE(9, 9, 9, 1, 31, 1, 1, 1, 1, 0, 15, 0, 15), 1, 1, 40, NONE},
    /* groups: aligned to blocks, and not; channel multiplier */
    {SHAPE(16, 32, 2, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1), 1, 5, 6, {UNARY_RELU, 0, 0}},
    {SHAPE(12, 18, 3, 3, 3, 1, 2, 1, 1, 1, 0, 1, 0), 2, 5, 6, {UNARY_CLIP, -0.2f, 0.3f}},
    {SHAPE(40, 6, 2, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0), 1, 3, 5, NONE},
    {SHAPE(5, 15, 5, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1), 1, 4, 4, NONE},
    /* more blocks than one piece of work has; a row longer than a strip; a strip of one row */
    {SHAPE(8, 72, 1, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1), 1, 3, 3, {UNARY_RELU, 0, 0}},
    {SHAPE(2, 3, 1, 1, 3, 1, 1, 1, 1, 0, 1, 0, 1), 1, 1, 1000, NONE},
    {SHAPE(300, 9, 1, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1), 1, 4, 37, NONE},
    /* more weights than a slice of planes: sums wait in the output */
    {SHAPE(520, 32, 1, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1), 1, 3, 7, {UNARY_SIGMOID, 0, 0}},
    {SHAPE(1100, 20, 1, 1, 5, 1, 1, 1, 1, 0, 0, 0, 0), 1, 1, 9, {UNARY_RELU, 0, 0}},
    {SHAPE(1100, 24, 1, 1, 5, 1, 1, 1, 1, 0, 0, 0, 0), 1, 1, 19, {UNARY_RELU, 0, 0}},
    /* nothing to do: no image, a kernel that does not fit */
    {SHAPE(3, 3, 1, 3, 3, 1, 1, 1, 1, 0, 0, 0, 0), 0, 5, 5, NONE},
    {SHAPE(3, 3, 1, 3, 3, 1, 1, 1, 1, 0, 0, 0, 0), 1, 2, 5, NONE},
};

static void named_shapes_match_double_in_every_layout(void)
{
    for (size_t i = 0; i < ARRAY_LEN(named); i++)
        check_problem(&named[i], i % 3 != 2);
}

/* Each width from 1 to past two tiles, on dense and depthwise layers. */
static void every_width_matches_double(void)
{
    for (size_t w = 1; w <= 14; w++) {
        struct problem dense = {SHAPE(9, 33, 1, 1, 2, 1, 1, 1, 1, 0, 1, 0, 0), 1, 2, w, NONE};
        struct problem half = {SHAPE(9, 24, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0), 1, 1, w, NONE};
        struct problem eight = {SHAPE(9, 8, 1, 1, 2, 1, 2, 1, 1, 0, 0, 0, 0), 1, 1, 2 * w, NONE};
        struct problem strided = {SHAPE(8, 16, 1, 1, 1, 1, 2, 1, 1, 0, 0, 0, 0), 1, 1, w, NONE};
        struct problem depth = {SHAPE(8, 8, 8, 2, 1, 1, 1, 1, 1, 0, 0, 0, 0), 1, 3, w, NONE};
        check_problem(&dense, true);
        check_problem(&half, true);
        check_problem(&eight, true);
        check_problem(&strided, true);
        check_problem(&depth, true);
    }
}

static void random_shapes_match_double(void)
{
    for (int i = 0; i < 60; i++) {
        struct problem p = {
            .n = random_between(1, 3), .h = random_between(1, 12), .w = random_between(1, 20)};
        struct conv_shape *s = &p.shape;
        s->groups = random_bits() % 3 ? 1 : random_between(1, 5);
        s->channels_in = s->groups * random_between(1, 20);
        s->channels_out = s->groups * random_between(1, 20);
        for (size_t axis = 0; axis < 2; axis++) {
            s->kernel[axis] = random_between(1, 4);
            s->stride[axis] = random_between(1, 3);
            s->dilation[axis] = random_between(1, 2);
            s->pad_begin[axis] = random_between(0, 3);
            s->pad_end[axis] = random_between(0, 3);
        }
        check_problem(&p, random_bits() % 2);
    }
}

/* Small and large maps, more tiles than a block has, channels that fill no block. */
static void winograd_matches_double(void)
{
    for (int i = 0; i < 30; i++) {
        struct problem p = {
            .n = random_between(1, 3), .h = random_between(3, 21), .w = random_between(3, 37)};
        p.shape = (struct conv_shape)SHAPE(16, 16, 1, 3, 3, 1, 1, 1, 1, 0, 0, 0, 0);
        p.shape.channels_in = random_between(16, 70);
        p.shape.channels_out = random_between(16, 70);
        p.shape.kernel[0] = i % 7 < 2 ? 1 : 3;
        for (size_t axis = 0; axis < 2; axis++) {
            p.shape.pad_begin[axis] = random_between(0, 3);
            p.shape.pad_end[axis] = random_between(0, 3);
        }
        if (!conv_winograd_tile(&p.shape, LAYOUT_BLOCKED, LAYOUT_BLOCKED, 40, 40))
            return; /* this instruction set has none */
        p.shape.winograd = 2 + (size_t)i % 3;
        p.act = i / 3 % 3 ? (struct activation){UNARY_RELU, 0, 0}
                          : (struct activation){UNARY_SIGMOID, 0, 0};
        check_problem(&p, i % 2);
    }
}

/* One convolution with or without pooling, from blocked or plain maps. */
static float *run_pooled(const struct problem *p, const float *weights, const float *in,
                         enum layout layout, size_t *len)
{
    const struct conv_shape *s = &p->shape;
    struct maps m = {p->n, s->channels_in, p->h, p->w};
    struct maps o = {p->n, s->channels_out, conv_out_size(s, 0, p->h) / MAX(1, s->pool[0]),
                     conv_out_size(s, 1, p->w) / MAX(1, s->pool[1])};
    struct conv_plan *plan = conv_plan_new(s, weights, NULL, p->act, layout, LAYOUT_BLOCKED);
    void *scratch = check_scratch(conv_scratch_bytes(plan, m));
    *len = layout_elements(LAYOUT_BLOCKED, o);
    float *out = check_alloc(*len);
    conv_run(plan, m, in, NULL, out, scratch);
    conv_plan_destroy(&plan);
    free(scratch);
    return out;
}

/* The same bytes as a pass over the convolution's own output. */
static void check_pooling(struct problem *p, enum layout layout)
{
    struct conv_shape *s = &p->shape;
    struct maps m = {p->n, s->channels_in, p->h, p->w};
    struct maps o = {p->n, s->channels_out, conv_out_size(s, 0, p->h), conv_out_size(s, 1, p->w)};
    struct pool_shape pool = {
        .kernel = {s->pool[0], s->pool[1]}, .stride = {s->pool[0], s->pool[1]}, .dilation = {1, 1}};
    size_t weights_len = s->channels_out * s->channels_in * s->kernel[0] * s->kernel[1];
    size_t in_len = layout_elements(layout, m), len, want_len;
    float *weights = check_random(weights_len),
          *plain = check_random(layout_elements(LAYOUT_PLAIN, m));
    float *in = check_alloc(in_len);
    if (layout == LAYOUT_BLOCKED)
        layout_to_blocked(m, plain, in);
    else
        memcpy(in, plain, in_len * sizeof(float));
    float *out = run_pooled(p, weights, in, layout, &len);
    memset(s->pool, 0, sizeof s->pool);
    float *sums = run_pooled(p, weights, in, layout, &want_len), *want = check_alloc(len);
    pool_run(&pool, LAYOUT_BLOCKED, o, sums, want);
    assert_memory_equal(out, want, len * sizeof(float));
    check_free(want, len);
    check_free(sums, want_len);
    check_free(out, len);
    check_free(in, in_len);
    check_free(plain, layout_elements(LAYOUT_PLAIN, m));
    check_free(weights, weights_len);
}

static void pooling_is_the_largest_of_windows(void)
{
    static const size_t windows[][2] = {{2, 2}, {2, 1}, {4, 1}, {1, 2}, {4, 2}};
    for (size_t i = 0; i < 60; i++) {
        struct problem p = {
            .n = random_between(1, 3), .h = random_between(6, 40), .w = random_between(4, 70)};
        p.shape = (struct conv_shape)SHAPE(1, 16, 1, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1);
        p.shape.channels_in = random_between(1, 50);
        p.shape.channels_out = random_between(16, 70);
        p.shape.pool[0] = windows[i % 5][0];
        p.shape.pool[1] = windows[i % 5][1];
        p.act = i / 5 % 3 ? (struct activation){UNARY_RELU, 0, 0}
                          : (struct activation){UNARY_TANH, 0, 0};
        enum layout layout = i % 2 ? LAYOUT_BLOCKED : LAYOUT_PLAIN;
        if (i % 4 == 1) {
            p.shape.channels_in += 16;
            p.shape.winograd = conv_winograd_tile(&p.shape, layout, LAYOUT_BLOCKED, 40, 40) ? 4 : 0;
        } else {
            p.shape.stride[0] = random_between(1, 2);
            p.shape.kernel[1] = random_between(1, 3);
        }
        if (conv_out_size(&p.shape, 0, p.h) >= p.shape.pool[0])
            check_pooling(&p, layout);
    }
}

/* An image alone, among others, at another place, on one thread or two: the same bytes. */
static void check_invariance(const struct problem *p)
{
    enum { BATCH = 33 };
    static const size_t batches[] = {1, 7, 33};
    const struct conv_shape *s = &p->shape;
    struct maps m = {BATCH, s->channels_in, p->h, p->w}, one = {1, s->channels_in, p->h, p->w};
    struct maps o = {1, s->channels_out, conv_out_size(s, 0, p->h), conv_out_size(s, 1, p->w)};
    size_t weights_len =
        s->channels_out * (s->channels_in / s->groups) * s->kernel[0] * s->kernel[1];
    size_t in_len = layout_elements(LAYOUT_BLOCKED, one),
           out_len = layout_elements(LAYOUT_BLOCKED, o);
    size_t plain = layout_elements(LAYOUT_PLAIN, m);
    float *flat = check_random(plain), *in = check_alloc(BATCH * in_len);
    float *weights = check_random(weights_len);
    float *all = check_alloc(BATCH * out_len), *some = check_alloc(BATCH * out_len);
    layout_to_blocked(m, flat, in);
    struct conv_plan *plan =
        conv_plan_new(s, weights, NULL, p->act, LAYOUT_BLOCKED, LAYOUT_BLOCKED);
    for (size_t i = 0; i < 2 * ARRAY_LEN(batches); i++) {
        kernels_set_threads(i % 2 ? 2 : 1);
        size_t n = batches[i / 2], first = random_between(0, BATCH - n);
        void *scratch = check_scratch(conv_scratch_bytes(plan, m));
        if (i == 0)
            conv_run(plan, m, in, NULL, all, scratch);
        m.n = n;
        conv_run(plan, m, in + first * in_len, NULL, some, scratch);
        m.n = BATCH;
        check_same_bytes("conv image", some, all + first * out_len, n * out_len);
        free(scratch);
    }
    conv_plan_destroy(&plan);
    check_free(flat, plain);
    check_free(in, BATCH * in_len);
    check_free(weights, weights_len);
    check_free(all, BATCH * out_len);
    check_free(some, BATCH * out_len);
}

static void an_image_has_the_same_bytes_in_any_batch(void)
{
    static const struct problem problems[] = {
        {SHAPE(32, 64, 1, 3, 3, 1, 1, 1, 1, 0, 0, 0, 0), 0, 13, 13, {UNARY_RELU, 0, 0}},
        {SHAPE(16, 40, 1, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1), 0, 7, 7, {UNARY_SIGMOID, 0, 0}},
        {SHAPE(16, 40, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0), 0, 15, 15, NONE},
        {SHAPE(24, 24, 24, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1), 0, 14, 14, NONE},
    };
    for (size_t i = 0; i < ARRAY_LEN(problems); i++)
        check_invariance(&problems[i]);
    struct problem winograd = problems[0];
    winograd.shape.winograd =
        conv_winograd_tile(&winograd.shape, LAYOUT_BLOCKED, LAYOUT_BLOCKED, 13, 13);
    check_invariance(&winograd);
    winograd.shape.kernel[0] = 1;
    check_invariance(&winograd);
}

static void named_shapes(void **state)
{
    (void)state;
    with_each_isa(named_shapes_match_double_in_every_layout, 1);
    with_each_isa(named_shapes_match_double_in_every_layout, 2);
}

static void other_shapes(void **state)
{
    (void)state;
    with_each_isa(every_width_matches_double, 1);
    with_each_isa(random_shapes_match_double, 2);
    with_each_isa(winograd_matches_double, 1);
    with_each_isa(winograd_matches_double, 2);
}

static void pooling(void **state)
{
    (void)state;
    with_each_isa(pooling_is_the_largest_of_windows, 1);
    with_each_isa(pooling_is_the_largest_of_windows, 2);
}

static void invariance(void **state)
{
    (void)state;
    with_each_isa(an_image_has_the_same_bytes_in_any_batch, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(named_shapes),
        cmocka_unit_test(other_shapes),
        cmocka_unit_test(pooling),
        cmocka_unit_test(invariance),
    };
    check_seed();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
