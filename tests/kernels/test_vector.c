/* Elementwise functions: errors over the whole range, tails, broadcasts. */
#include "tests/kernels/check.h"

#include "worker/kernels/vector.h"

static const size_t lengths[] = {0, 1, 7, 8, 9, 15, 16, 17, 63, 64, 65, 5000, 70001};

/* The formulas of unary.def in double. */
static double unary_in_double(struct activation f, double x)
{
    double a = f.a, b = f.b;
    switch (f.op) {
    case UNARY_IDENTITY:
        return x;
    case UNARY_RELU:
        return x < 0 ? 0 : x;
    case UNARY_CLIP:
        return x < a ? a : x > b ? b : x;
    case UNARY_SIGMOID:
        return 1 / (1 + exp(-x));
    case UNARY_TANH:
        return tanh(x);
    case UNARY_EXP:
        return exp(x);
    case UNARY_LOG:
        return log(x);
    case UNARY_SQRT:
        return sqrt(x);
    case UNARY_NEG:
        return -x;
    case UNARY_ABS:
        return fabs(x);
    case UNARY_RECIPROCAL:
        return 1 / x;
    case UNARY_AFFINE:
        return a * x + b;
    case UNARY_LEAKY_RELU:
        return x >= 0 || isnan(x) ? x : a * x;
    case UNARY_THRESHOLDED_RELU:
        return x > a || isnan(x) ? x : 0;
    case UNARY_SCALED_TANH:
        return a * tanh(b * x);
    case UNARY_HARD_SIGMOID:
        return fmin(1, fmax(0, a * x + b));
    case UNARY_ELU:
        return x >= 0 || isnan(x) ? x : a * expm1(x);
    case UNARY_SOFTSIGN:
        return x / (1 + fabs(x));
    case UNARY_SOFTPLUS:
        return x > 50 ? x : log1p(exp(x));
    case UNARY_ERF:
        return erf(x);
    case UNARY_GELU:
        return 0.5 * x * (1 + erf(x * M_SQRT1_2));
    case UNARY_GELU_TANH:
        return 0.5 * x * (1 + tanh(sqrt(M_2_PI) * (x + 0.044715 * x * x * x)));
    case UNARY_SWISH:
        return x / (1 + exp(-a * x));
    case UNARY_HARD_SWISH:
        return x * fmin(1, fmax(0, a * x + b));
    case UNARY_MISH:
        return x * tanh(log1p(exp(x)));
    default:
        fail_msg("unary.def has a function that this test does not know: %d", (int)f.op);
    }
    return 0;
}

/* Largest relative error that vector.h promises; 0 for the functions that round a few times. */
static double promised(enum unary op)
{
    return op == UNARY_TANH                                            ? 2e-6
           : op == UNARY_EXP || op == UNARY_SIGMOID || op == UNARY_ERF ? 5e-7
                                                                       : 0;
}

static void each_function_matches_double_at_any_length(void)
{
    for (int op = 0; op < UNARY_COUNT; op++)
        for (size_t l = 0; l < ARRAY_LEN(lengths); l++) {
            size_t n = lengths[l];
            struct activation f = {(enum unary)op, 0.3f, 0.8f};
            float *x = check_random(n), *y = check_alloc(n);
            for (size_t i = 0; i < n; i++)
                x[i] = op == UNARY_LOG || op == UNARY_SQRT ? fabsf(x[i]) + 1e-3f : 4 * x[i];
            vec_unary(f, n, x, y);
            for (size_t i = 0; i < n; i++) {
                double want = unary_in_double(f, (double)x[i]);
                /* far below 0 what GELU multiplies x with is a difference of numbers close to 1 */
                double lost =
                    op == UNARY_GELU || op == UNARY_GELU_TANH ? 3e-7 * (1 + fabs(want)) : 0;
                check_close("unary", i, (double)y[i], want, 2e-6 * fabs(want) + 4e-7 + 2 * lost);
            }
            vec_unary(f, n, x, x);
            check_same_bytes("unary in place", x, y, n);
            check_free(x, n);
            check_free(y, n);
        }
}

/* Walk the bit patterns of fp32 from tiny to huge, both signs. */
static void relative_errors_hold_over_the_whole_range(void)
{
    static const enum unary ops[] = {UNARY_EXP, UNARY_SIGMOID, UNARY_TANH, UNARY_ERF};
    enum { PIECE = 4096 };
    float *x = check_alloc(PIECE), *y = check_alloc(PIECE);
    for (size_t o = 0; o < ARRAY_LEN(ops); o++) {
        double worst = 0;
        for (uint32_t bits = 0x20000000; bits < 0x42b00000;) { /* 1e-19 to 88 */
            for (size_t i = 0; i < PIECE; i++, bits += 601) {
                uint32_t pattern = bits | (i % 2 ? 0x80000000u : 0);
                memcpy(&x[i], &pattern, sizeof(pattern));
            }
            vec_unary((struct activation){ops[o], 0, 0}, PIECE, x, y);
            for (size_t i = 0; i < PIECE; i++) {
                double want = unary_in_double((struct activation){ops[o], 0, 0}, (double)x[i]);
                if (fabs(want) > 1.2e-38 && fabs(want) < 3.4e38) /* normal numbers */
                    worst = fmax(worst, fabs((double)y[i] / want - 1));
            }
        }
        printf("%s %s: largest relative error %.2g\n", kernels_isa(),
               ops[o] == UNARY_EXP    ? "exp"
               : ops[o] == UNARY_TANH ? "tanh"
               : ops[o] == UNARY_ERF  ? "erf"
                                      : "sigmoid",
               worst);
        assert_true(worst <= promised(ops[o]));
    }
    check_free(x, PIECE);
    check_free(y, PIECE);
}

static void extremes_saturate_and_nan_stays_nan(void)
{
    float x[] = {-INFINITY, -1e30f, -100, -0.0f, 0, 100, 1e30f, INFINITY, NAN, NAN, -NAN};
    float y[ARRAY_LEN(x)];
    size_t n = ARRAY_LEN(x);
    vec_unary((struct activation){UNARY_EXP, 0, 0}, n, x, y);
    assert_true(y[0] == 0 && y[1] == 0 && y[3] == 1 && y[4] == 1);
    assert_true(isinf(y[5]) && isinf(y[6]) && isinf(y[7]));
    vec_unary((struct activation){UNARY_SIGMOID, 0, 0}, n, x, y);
    assert_true(y[0] == 0 && y[1] == 0 && y[4] == 0.5f && y[6] == 1 && y[7] == 1);
    vec_unary((struct activation){UNARY_TANH, 0, 0}, n, x, y);
    assert_true(y[0] == -1 && y[2] == -1 && y[4] == 0 && y[5] == 1 && y[7] == 1);
    for (int op = 0; op < UNARY_COUNT; op++) {
        vec_unary((struct activation){(enum unary)op, 0.1f, 0.9f}, n, x, y);
        for (size_t i = 8; i < n; i++)
            if (!isnan(y[i]))
                fail_msg("%s: unary %d of NaN is %g", kernels_isa(), op, (double)y[i]);
    }
}

static double binary_in_double(enum binary op, double x, double y)
{
    switch (op) {
    case BINARY_ADD:
        return x + y;
    case BINARY_SUB:
        return x - y;
    case BINARY_MUL:
        return x * y;
    case BINARY_DIV:
        return x / y;
    case BINARY_POW:
        return pow(x, y);
    case BINARY_MIN:
        return fmin(x, y);
    case BINARY_MAX:
        return fmax(x, y);
    default:
        fail_msg("binary.def has a function that this test does not know: %d", (int)op);
    }
    return 0;
}

static void one_broadcast(enum binary op, size_t rows, size_t cols, size_t steps)
{
    size_t x_row = steps & 1 ? cols : 0, x_col = steps & 2 ? 1 : 0;
    size_t y_row = steps & 4 ? cols : 0, y_col = steps & 8 ? 1 : 0, n = rows * cols;
    float *x = check_random(n + 1), *y = check_random(n + 1), *out = check_alloc(n);
    for (size_t i = 0; i < n + 1; i++) {
        x[i] = fabsf(x[i]) + 0.01f;
        y[i] = op == BINARY_POW ? 2 * y[i] : y[i] + 1.5f;
    }
    vec_binary(op, rows, cols, (struct operand){x, x_row, x_col}, (struct operand){y, y_row, y_col},
               out);
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < cols; c++) {
            double want = binary_in_double(op, (double)x[r * x_row + c * x_col],
                                           (double)y[r * y_row + c * y_col]);
            check_close("binary", r * cols + c, (double)out[r * cols + c], want,
                        3e-7 * fabs(want) + 3e-7);
        }
    check_free(x, n + 1);
    check_free(y, n + 1);
    check_free(out, n);
}

static void every_broadcast_of_every_function_matches_double(void)
{
    static const size_t cols[] = {0, 1, 7, 8, 9, 33, 4097};
    for (int op = 0; op < BINARY_COUNT; op++)
        for (size_t steps = 0; steps < 16; steps++)
            for (size_t c = 0; c < ARRAY_LEN(cols); c++)
                one_broadcast((enum binary)op, cols[c] > 100 ? 2 : c, cols[c], steps);
}

static void squares_are_exact_products(void)
{
    float x[] = {-3, 0, 1.5f, 1e10f, -7}, two = 2, y[5];
    vec_binary(BINARY_POW, 1, 5, (struct operand){x, 0, 1}, (struct operand){&two, 0, 0}, y);
    for (size_t i = 0; i < 5; i++)
        assert_true(y[i] == x[i] * x[i]);
}

static void bytes_become_scaled_floats(void)
{
    uint8_t x[300];
    for (size_t i = 0; i < 300; i++)
        x[i] = (uint8_t)(i * 7);
    for (size_t n = 0; n <= 300; n += n < 20 ? 1 : 70) {
        float *y = check_alloc(n);
        vec_from_u8(n, 1 / 255.0f, x, y);
        for (size_t i = 0; i < n; i++)
            assert_true(y[i] == 1 / 255.0f * (float)x[i]);
        check_free(y, n);
    }
}

static void elementwise(void **state)
{
    (void)state;
    with_each_isa(each_function_matches_double_at_any_length, 2);
    with_each_isa(extremes_saturate_and_nan_stays_nan, 1);
    with_each_isa(every_broadcast_of_every_function_matches_double, 1);
    with_each_isa(squares_are_exact_products, 1);
    with_each_isa(bytes_become_scaled_floats, 1);
}

static void accuracy(void **state)
{
    (void)state;
    with_each_isa(relative_errors_hold_over_the_whole_range, 1);
}

static void an_unknown_instruction_set_is_refused(void **state)
{
    (void)state;
    assert_true(kernels_start("generic", 3));
    assert_false(kernels_start("altivec", 1));
    assert_string_equal(kernels_isa(), "generic"); /* nothing changed */
    assert_int_equal(kernels_threads(), 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(elementwise),
        cmocka_unit_test(accuracy),
        cmocka_unit_test(an_unknown_instruction_set_is_refused),
    };
    check_seed();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
