/* Quantised bytes and halves: exact on every instruction set. */
#include "tests/kernels/check.h"

#include "worker/kernels/bytes.h"
#include "worker/kernels/half.h"
#include "worker/ops/scalar.h"

static int16_t *random_bytes(size_t n)
{
    int16_t *values = xaligned(n * sizeof *values);
    for (size_t i = 0; i < n; i++)
        values[i] = (int16_t)((int)random_between(0, 510) - 255);
    return values;
}

static void check_dots(size_t rows, size_t cols, size_t k)
{
    size_t step = cols + random_between(0, 3);
    int16_t *a = random_bytes(rows * k), *b = random_bytes(cols * k);
    int32_t *c = xaligned(rows * step * sizeof *c);
    bytes_dots(rows, cols, k, a, b, c, step);
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < cols; j++) {
            int64_t want = 0;
            for (size_t p = 0; p < k; p++)
                want += a[i * k + p] * b[j * k + p];
            assert_int_equal(c[i * step + j], (int32_t)(uint32_t)want);
        }
    free(a);
    free(b);
    free(c);
}

static void products_are_exact(void)
{
    for (int i = 0; i < 100; i++)
        check_dots(random_between(0, 5), random_between(0, 9), random_between(0, 80));
    check_dots(2, 5, 40000);
}

/* Ties, infinities, NaN and what is far out of range, against doubles. */
static void values_are_rounded_half_to_even_and_limited(void)
{
    static const enum dtype types[] = {DTYPE_INT8, DTYPE_UINT8, DTYPE_INT16, DTYPE_UINT16};
    float x[200], back[200];
    for (size_t i = 0; i < 200; i++)
        x[i] = i < 120 ? (float)i / 4 - 15 : random_value() * 70000;
    x[0] = INFINITY;
    x[1] = -INFINITY;
    x[2] = NAN;
    x[3] = 1e30f;
    for (size_t t = 0; t < ARRAY_LEN(types); t++) {
        uint16_t q[200];
        bool is_signed = types[t] == DTYPE_INT8 || types[t] == DTYPE_INT16;
        double span = dtype_bytes(types[t]) == 1 ? 256 : 65536, low = is_signed ? -span / 2 : 0;
        struct bytes_scale s = {types[t], 0.5f, (int32_t)low + (int32_t)random_between(0, 255)};
        bytes_from_fp32(s, 200, x, q);
        bytes_to_fp32(s, 200, q, back);
        for (size_t i = 0; i < 200; i++) {
            double want = nearbyint((double)x[i] / 0.5) + s.zero;
            want = isnan(want) ? 0 : fmin(fmax(want, low), low + span - 1);
            assert_int_equal(scalar_int(types[t], q, i), (int64_t)want);
            assert_true(back[i] == (float)(want - s.zero) * 0.5f);
        }
    }
}

static void bytes(void **state)
{
    (void)state;
    with_each_isa(products_are_exact, 1);
    with_each_isa(values_are_rounded_half_to_even_and_limited, 1);
}

/* Every number of 16 bits to FP32 and back, and FP32 numbers beside and between them. */
static void halves_round_to_nearest_even(void **state)
{
    static const enum dtype types[] = {DTYPE_FP16, DTYPE_BF16};
    enum { COUNT = 65536 };
    uint16_t *all = xaligned(COUNT * sizeof *all), *got = xaligned(COUNT * sizeof *got);
    float *wide = xaligned(COUNT * sizeof *wide);
    (void)state;
    for (size_t i = 0; i < COUNT; i++)
        all[i] = (uint16_t)i;
    for (size_t t = 0; t < ARRAY_LEN(types); t++) {
        half_to_fp32(types[t], COUNT, all, wide);
        half_from_fp32(types[t], COUNT, wide, got);
        for (size_t i = 0; i < COUNT; i++) {
            double want = scalar_float(types[t], all, i);
            assert_true(isnan(want) ? isnan(wide[i]) : (double)wide[i] == want);
            assert_true(isnan(want) || got[i] == all[i]);
        }
        for (size_t i = 0; i < COUNT; i++) {
            uint32_t bits = (uint32_t)random_bits();
            if (i % 2) /* around FP16's range, often a tie */
                bits = (bits & 0x80fff000u) | (uint32_t)random_between(95, 145) << 23;
            memcpy(&wide[i], &bits, sizeof bits);
        }
        half_from_fp32(types[t], COUNT, wide, got);
        for (size_t i = 0; i < COUNT; i++) {
            uint16_t want;
            scalar_set_float(types[t], &want, 0, (double)wide[i]);
            assert_true(isnan(wide[i]) || got[i] == want);
        }
    }
    free(all);
    free(got);
    free(wide);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes),
        cmocka_unit_test(halves_round_to_nearest_even),
    };
    check_seed();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
