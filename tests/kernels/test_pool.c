/* Pooling in both layouts: windows at every edge, ceil mode, dilation, counted padding. */
#include "tests/kernels/check.h"

#include "worker/kernels/pool.h"

struct problem {
    struct pool_shape shape;
    struct maps m;
};

/* The value ONNX defines for one output, in double, over the plain map. */
static double reference(const struct pool_shape *s, struct maps m, const float *map, size_t y,
                        size_t x)
{
    double best = -INFINITY, sum = 0;
    size_t inside = 0, padded = 0;
    for (size_t r = 0; r < s->kernel[0]; r++)
        for (size_t c = 0; c < s->kernel[1]; c++) {
            size_t iy = y * s->stride[0] + r * s->dilation[0];
            size_t ix = x * s->stride[1] + c * s->dilation[1];
            padded += iy < m.h + s->pad_begin[0] + s->pad_end[0] &&
                      ix < m.w + s->pad_begin[1] + s->pad_end[1];
            if (iy < s->pad_begin[0] || iy - s->pad_begin[0] >= m.h || ix < s->pad_begin[1] ||
                ix - s->pad_begin[1] >= m.w)
                continue;
            double value = (double)map[(iy - s->pad_begin[0]) * m.w + ix - s->pad_begin[1]];
            best = fmax(best, value);
            sum += value;
            inside++;
        }
    if (s->kind == POOL_MAX)
        return best;
    return sum / (double)(s->count_pad ? padded : inside);
}

static void check_problem(const struct problem *p)
{
    const struct pool_shape *s = &p->shape;
    struct maps m = p->m, o = {m.n, m.c, pool_out_size(s, 0, m.h), pool_out_size(s, 1, m.w)};
    size_t in_len = layout_elements(LAYOUT_BLOCKED, m),
           out_len = layout_elements(LAYOUT_BLOCKED, o);
    size_t plain_in = layout_elements(LAYOUT_PLAIN, m),
           plain_out = layout_elements(LAYOUT_PLAIN, o);
    float *in = check_random(plain_in), *blocked_in = check_alloc(in_len);
    float *out[2] = {check_alloc(plain_out), check_alloc(plain_out)},
          *blocked = check_alloc(out_len);
    layout_to_blocked(m, in, blocked_in);
    pool_run(s, LAYOUT_PLAIN, m, in, out[0]);
    pool_run(s, LAYOUT_BLOCKED, m, blocked_in, blocked);
    layout_to_plain(o, blocked, out[1]);
    for (size_t i = 0; i < plain_out; i++) {
        const float *map = in + i / (o.h * o.w) * m.h * m.w;
        double want = reference(s, m, map, i / o.w % o.h, i % o.w);
        double tolerance = s->kind == POOL_MAX ? 0 : 1e-6;
        check_close("pool plain", i, (double)out[0][i], want, tolerance);
        check_close("pool blocked", i, (double)out[1][i], want, tolerance);
    }
    check_free(in, plain_in);
    check_free(blocked_in, in_len);
    check_free(out[0], plain_out);
    check_free(out[1], plain_out);
    check_free(blocked, out_len);
}

static void random_windows_match_double(void)
{
    for (int i = 0; i < 400; i++) {
        struct problem p = {.m = {random_between(0, 3), random_between(1, 20),
                                  random_between(1, 15), random_between(1, 30)}};
        struct pool_shape *s = &p.shape;
        s->kind = random_bits() % 2 ? POOL_MAX : POOL_AVERAGE;
        s->count_pad = random_bits() % 2;
        s->ceil_mode = random_bits() % 2;
        for (size_t axis = 0; axis < 2; axis++) {
            s->kernel[axis] = random_between(1, 4);
            s->stride[axis] = random_between(1, 3);
            s->dilation[axis] = random_bits() % 3 ? 1 : 2;
            s->pad_begin[axis] = random_between(0, s->kernel[axis] - 1);
            s->pad_end[axis] = random_between(0, s->kernel[axis] - 1);
        }
        /* a dilated window can miss the map with every position; such outputs have no value */
        if (s->dilation[0] == 2 || s->dilation[1] == 2)
            memset(s->pad_begin, 0, sizeof(s->pad_begin)),
                memset(s->pad_end, 0, sizeof(s->pad_end)), s->ceil_mode = false;
        check_problem(&p);
    }
}

static void common_windows_match_double(void)
{
    static const struct problem problems[] = {
        {{POOL_MAX, false, false, {2, 2}, {2, 2}, {1, 1}, {0, 0}, {0, 0}}, {2, 32, 26, 26}},
        {{POOL_MAX, false, false, {2, 2}, {2, 2}, {1, 1}, {0, 0}, {0, 0}}, {1, 64, 11, 11}},
        {{POOL_MAX, false, false, {3, 3}, {2, 2}, {1, 1}, {1, 1}, {1, 1}}, {1, 10, 14, 14}},
        {{POOL_MAX, false, false, {1, 2}, {1, 2}, {1, 1}, {0, 0}, {0, 0}}, {1, 9, 1, 33}},
        {{POOL_AVERAGE, true, true, {3, 3}, {2, 2}, {1, 1}, {1, 1}, {1, 1}}, {1, 8, 8, 8}},
    };
    for (size_t i = 0; i < ARRAY_LEN(problems); i++)
        check_problem(&problems[i]);
}

/* onnx's own worked example of ceil mode: 4 x 4, kernel 3, stride 2 */
static void ceil_mode_adds_the_last_partial_window(void)
{
    struct pool_shape s = {POOL_MAX, false, true, {3, 3}, {2, 2}, {1, 1}, {0, 0}, {0, 0}};
    float in[16], out[4];
    for (size_t i = 0; i < 16; i++)
        in[i] = (float)(i + 1);
    assert_int_equal(pool_out_size(&s, 0, 4), 2);
    pool_run(&s, LAYOUT_PLAIN, (struct maps){1, 1, 4, 4}, in, out);
    assert_true(out[0] == 11 && out[1] == 12 && out[2] == 15 && out[3] == 16);
    s.ceil_mode = false;
    assert_int_equal(pool_out_size(&s, 0, 4), 1);
    s.kernel[0] = 5;
    assert_int_equal(pool_out_size(&s, 0, 4), 0);
}

static void whole_maps_match_double(void)
{
    for (int i = 0; i < 60; i++) {
        struct maps m = {random_between(1, 3), random_between(1, 20), random_between(1, 9),
                         random_between(1, 9)};
        size_t len = layout_elements(LAYOUT_BLOCKED, m), plain = layout_elements(LAYOUT_PLAIN, m);
        size_t pixels = m.h * m.w, outs = m.n * m.c;
        float *in = check_random(plain), *blocked = check_alloc(len), *out = check_alloc(outs);
        layout_to_blocked(m, in, blocked);
        for (int which = 0; which < 4; which++) {
            enum pool_kind kind = which & 1 ? POOL_AVERAGE : POOL_MAX;
            bool packed = which & 2;
            pool_global(kind, packed ? LAYOUT_BLOCKED : LAYOUT_PLAIN, m, packed ? blocked : in,
                        out);
            for (size_t k = 0; k < outs; k++) {
                double best = -INFINITY, sum = 0;
                for (size_t q = 0; q < pixels; q++) {
                    best = fmax(best, (double)in[k * pixels + q]);
                    sum += (double)in[k * pixels + q];
                }
                check_close("global pool", k, (double)out[k],
                            kind == POOL_MAX ? best : sum / (double)pixels, 1e-6);
            }
        }
        check_free(in, plain);
        check_free(blocked, len);
        check_free(out, outs);
    }
}

static void windows(void **state)
{
    (void)state;
    with_each_isa(common_windows_match_double, 2);
    with_each_isa(random_windows_match_double, 1);
    with_each_isa(ceil_mode_adds_the_last_partial_window, 1);
}

static void whole_maps(void **state)
{
    (void)state;
    with_each_isa(whole_maps_match_double, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(windows),
        cmocka_unit_test(whole_maps),
    };
    check_seed();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
