/* Softmax, reductions and normalisations along any axis; the same bytes in any batch. */
#include "tests/kernels/check.h"

#include "worker/kernels/rows.h"

static const size_t sizes[] = {1, 2, 7, 8, 9, 10, 31, 32, 33, 65, 200};

static void check_softmax(size_t outer, size_t axis, size_t inner, float scale)
{
    size_t n = outer * axis * inner;
    float *x = check_random(n), *y = check_alloc(n), *logs = check_alloc(n);
    for (size_t i = 0; i < n; i++)
        x[i] *= scale;
    rows_softmax(outer, axis, inner, x, y);
    rows_log_softmax(outer, axis, inner, x, logs);
    for (size_t i = 0; i < n; i++) {
        size_t first = i / (axis * inner) * axis * inner + i % inner;
        double largest = -INFINITY;
        for (size_t a = 0; a < axis; a++)
            largest = fmax(largest, (double)x[first + a * inner]);
        double sum = exp((double)x[first] - largest);
        for (size_t a = 1; a < axis; a++)
            sum += exp((double)x[first + a * inner] - largest);
        double want = (double)x[i] - largest - log(sum);
        check_close("softmax", i, (double)y[i], exp(want), 2e-6 * exp(want) + 1e-12);
        check_close("log softmax", i, (double)logs[i], want, 1e-6 * (fabs(want) + (double)scale));
    }
    rows_softmax(outer, axis, inner, x, x);
    check_same_bytes("softmax in place", x, y, n);
    check_free(x, n);
    check_free(y, n);
    check_free(logs, n);
}

static void softmax_matches_double_along_any_axis(void)
{
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
        for (size_t j = 0; j < 5; j++) {
            check_softmax(random_between(1, 4), sizes[i], sizes[2 * j], j % 2 ? 1 : 80);
            check_softmax(random_between(0, 9), sizes[i], 1, 10);
        }
}

static double reduced(enum reduce kind, size_t n, size_t step, const float *x)
{
    double sum = 0, best = kind == REDUCE_MAX ? -INFINITY : INFINITY;
    for (size_t i = 0; i < n; i++) {
        double value = (double)x[i * step];
        sum += value;
        best = kind == REDUCE_MAX ? fmax(best, value) : fmin(best, value);
    }
    if (kind == REDUCE_MAX || kind == REDUCE_MIN)
        return best;
    return kind == REDUCE_MEAN ? sum / (double)n : sum;
}

static void reductions_match_double_along_any_axis(void)
{
    static const enum reduce kinds[] = {REDUCE_SUM, REDUCE_MEAN, REDUCE_MAX, REDUCE_MIN};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
        for (size_t j = 0; j < ARRAY_LEN(sizes); j++)
            for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
                size_t outer = random_between(0, 3), axis = sizes[i], inner = sizes[j];
                size_t n = outer * axis * inner, outs = outer * inner;
                float *x = check_random(n), *y = check_alloc(outs);
                rows_reduce(kinds[k], outer, axis, inner, x, y);
                for (size_t o = 0; o < outs; o++) {
                    const float *first = x + o / inner * axis * inner + o % inner;
                    check_close("reduce", o, (double)y[o], reduced(kinds[k], axis, inner, first),
                                rounding(axis, (double)axis));
                }
                check_free(x, n);
                check_free(y, outs);
            }
    float y = 1;
    rows_reduce(REDUCE_SUM, 1, 0, 1, &y, &y);
    assert_true(y == 0);
}

static void channels_are_scaled_and_shifted_in_both_layouts(void)
{
    for (int i = 0; i < 40; i++) {
        struct maps m = {random_between(1, 3), random_between(1, 20), random_between(1, 5),
                         random_between(1, 9)};
        size_t plain = layout_elements(LAYOUT_PLAIN, m), len = layout_elements(LAYOUT_BLOCKED, m);
        float *x = check_random(plain), *blocked = check_alloc(len), *back = check_alloc(plain);
        float *scale = check_random(m.c), *shift = check_random(m.c), *y = check_alloc(plain);
        layout_to_blocked(m, x, blocked);
        rows_scale_shift(LAYOUT_PLAIN, m, scale, shift, x, y);
        rows_scale_shift(LAYOUT_BLOCKED, m, scale, shift, blocked, blocked);
        layout_to_plain(m, blocked, back);
        for (size_t k = 0; k < plain; k++) {
            size_t c = k / (m.h * m.w) % m.c;
            double want = (double)scale[c] * (double)x[k] + (double)shift[c];
            check_close("scale plain", k, (double)y[k], want, 3e-7);
            check_close("scale blocked", k, (double)back[k], want, 3e-7);
        }
        check_free(x, plain);
        check_free(blocked, len);
        check_free(back, plain);
        check_free(scale, m.c);
        check_free(shift, m.c);
        check_free(y, plain);
    }
}

static void rows_are_normalised(void)
{
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        size_t rows = random_between(1, 5), cols = sizes[i], n = rows * cols;
        float *x = check_random(n), *y = check_alloc(n);
        float *gain = check_random(cols), *bias = check_random(cols);
        rows_layer_norm(rows, cols, gain, i % 2 ? bias : NULL, 1e-2f, x, y);
        for (size_t k = 0; k < n; k++) {
            const float *row = x + k / cols * cols;
            double mean = reduced(REDUCE_MEAN, cols, 1, row), squares = 0;
            for (size_t c = 0; c < cols; c++)
                squares += ((double)row[c] - mean) * ((double)row[c] - mean);
            double d = ((double)x[k] - mean) / sqrt(squares / (double)cols + (double)1e-2f);
            double want = d * (double)gain[k % cols] + (i % 2 ? (double)bias[k % cols] : 0);
            check_close("layer norm", k, (double)y[k], want, 4e-6);
        }
        check_free(x, n);
        check_free(y, n);
        check_free(gain, cols);
        check_free(bias, cols);
    }
}

static void a_row_has_the_same_bytes_in_any_batch(void)
{
    enum { BATCH = 400, AXIS = 1000 };
    static const size_t batches[] = {1, 7, 33};
    float *x = check_random(BATCH * AXIS), *all = check_alloc(BATCH * AXIS);
    float *some = check_alloc(BATCH * AXIS), *sums = check_alloc(BATCH), *sum = check_alloc(BATCH);
    kernels_set_threads(2);
    rows_softmax(BATCH, AXIS, 1, x, all);
    rows_reduce(REDUCE_MEAN, BATCH, AXIS, 1, x, sums);
    for (size_t i = 0; i < ARRAY_LEN(batches); i++)
        for (uint32_t threads = 1; threads <= 2; threads++) {
            size_t n = batches[i], first = random_between(0, BATCH - n);
            kernels_set_threads(threads);
            rows_softmax(n, AXIS, 1, x + first * AXIS, some);
            check_same_bytes("softmax row", some, all + first * AXIS, n * AXIS);
            rows_reduce(REDUCE_MEAN, n, AXIS, 1, x + first * AXIS, sum);
            check_same_bytes("mean", sum, sums + first, n);
        }
    check_free(x, BATCH * AXIS);
    check_free(all, BATCH * AXIS);
    check_free(some, BATCH * AXIS);
    check_free(sums, BATCH);
    check_free(sum, BATCH);
}

static void along_rows(void **state)
{
    (void)state;
    with_each_isa(softmax_matches_double_along_any_axis, 1);
    with_each_isa(reductions_match_double_along_any_axis, 1);
    with_each_isa(channels_are_scaled_and_shifted_in_both_layouts, 1);
    with_each_isa(rows_are_normalised, 1);
}

static void invariance(void **state)
{
    (void)state;
    with_each_isa(a_row_has_the_same_bytes_in_any_batch, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(along_rows),
        cmocka_unit_test(invariance),
    };
    check_seed();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
