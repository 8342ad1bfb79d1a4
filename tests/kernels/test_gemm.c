/* Matrix products: edges of every tile, strides, and the same bytes in any batch. */
#include "tests/kernels/check.h"

#include "worker/kernels/gemm.h"

struct problem {
    size_t m, n, k;
    bool a_turned; /* A lies transposed in memory */
    bool b_turned;
    bool bias;
    bool accumulate;
    struct activation act;
};

static double activated(struct activation act, double x)
{
    if (act.op == UNARY_RELU)
        return x < 0 ? 0 : x;
    if (act.op == UNARY_CLIP)
        return fmin((double)act.b, fmax((double)act.a, x));
    return act.op == UNARY_TANH ? tanh(x) : x;
}

static void check_problem(const struct problem *p, float alpha)
{
    size_t m = p->m, n = p->n, k = p->k, c_step = n + 3;
    float *a = check_random(m * k), *b = check_random(k * n), *bias = check_random(n);
    float *old = check_random(m * c_step), *c = check_alloc(m * c_step);
    float *packed = xaligned(gemm_packed_bytes(k, n));
    struct matrix at = {a, p->a_turned ? 1 : k, p->a_turned ? m : 1};
    struct matrix bt = {b, p->b_turned ? 1 : n, p->b_turned ? k : 1};
    memcpy(c, old, m * c_step * sizeof(float));
    gemm_pack(k, n, bt, alpha, packed);
    struct gemm g = {.m = m,
                     .n = n,
                     .k = k,
                     .a = at,
                     .packed = packed,
                     .bias = p->bias ? bias : NULL,
                     .accumulate = p->accumulate,
                     .act = p->act,
                     .c = c,
                     .c_step = c_step};
    gemm_run(&g);
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < c_step; j++) {
            size_t at_c = i * c_step + j;
            if (j >= n) {
                assert_true(c[at_c] == old[at_c]); /* past the row's end */
                continue;
            }
            double start = p->bias ? (double)bias[j] : p->accumulate ? (double)old[at_c] : 0;
            double sum = start, size = fabs(start);
            for (size_t q = 0; q < k; q++) {
                double x = (double)at.data[i * at.row_step + q * at.col_step];
                double term =
                    (double)alpha * x * (double)bt.data[q * bt.row_step + j * bt.col_step];
                sum += term;
                size += fabs(term);
            }
            check_close("gemm", at_c, (double)c[at_c], activated(p->act, sum), rounding(k, size));
        }
    check_free(a, m * k);
    check_free(b, k * n);
    check_free(bias, n);
    check_free(old, m * c_step);
    check_free(c, m * c_step);
    free(packed);
}

static const struct activation acts[] = {
    {UNARY_IDENTITY, 0, 0}, {UNARY_RELU, 0, 0}, {UNARY_CLIP, -0.5f, 0.5f}, {UNARY_TANH, 0, 0}};

static void every_edge_of_every_tile_matches_double(void)
{
    static const size_t ms[] = {0, 1, 2, 3, 4, 5, 6, 7, 12, 13};
    static const size_t ns[] = {0, 1, 7, 15, 16, 17, 31, 32, 33, 47, 64, 65, 130};
    static const size_t ks[] = {0, 1, 2, 9};
    for (size_t i = 0; i < ARRAY_LEN(ms); i++)
        for (size_t j = 0; j < ARRAY_LEN(ns); j++)
            for (size_t l = 0; l < ARRAY_LEN(ks); l++) {
                struct problem p = {.m = ms[i], .n = ns[j], .k = ks[l], .act = acts[(i + j) % 4]};
                p.bias = (i + j + l) % 3 == 0;
                p.accumulate = (i + j + l) % 3 == 1;
                p.b_turned = l % 2;
                check_problem(&p, 1);
            }
}

static void slices_of_k_and_blocks_of_rows_match_double(void)
{
    static const size_t ks[] = {255, 256, 257, 513};
    for (size_t l = 0; l < ARRAY_LEN(ks); l++) {
        struct problem p = {.m = 1 + 5 * l, .n = 40, .k = ks[l], .bias = l % 2, .act = ACT_RELU};
        check_problem(&p, 0.5f);
    }
    struct problem tall = {.m = 197, .n = 139, .k = 33, .bias = true, .act = ACT_RELU};
    check_problem(&tall, 1);
    struct problem deep = {.m = 37, .n = 70, .k = 1280, .accumulate = true, .act = ACT_RELU};
    check_problem(&deep, 1);
}

static void random_products_match_double(void)
{
    for (int i = 0; i < 60; i++) {
        struct problem p = {.m = random_between(0, 40),
                            .n = random_between(0, 150),
                            .k = random_between(0, 300),
                            .a_turned = random_bits() % 2,
                            .b_turned = random_bits() % 2,
                            .act = acts[random_bits() % 4]};
        p.bias = random_bits() % 2;
        p.accumulate = !p.bias && random_bits() % 2;
        check_problem(&p, random_value());
    }
}

/* A row alone, among others, at another place, on one thread or two: the same bytes. */
static void row_in_any_batch(size_t k)
{
    enum { BATCH = 133, N = 150 };
    static const size_t batches[] = {1, 2, 3, 4, 7, 33};
    float *a = check_random(BATCH * k), *b = check_random(k * N), *bias = check_random(N);
    float *all = check_alloc(BATCH * N), *some = check_alloc(BATCH * N);
    float *packed = xaligned(gemm_packed_bytes(k, N));
    gemm_pack(k, N, (struct matrix){b, N, 1}, 1, packed);
    struct gemm g = {.m = BATCH,
                     .n = N,
                     .k = k,
                     .a = {a, k, 1},
                     .packed = packed,
                     .bias = bias,
                     .act = {UNARY_SIGMOID, 0, 0},
                     .c = all,
                     .c_step = N};
    kernels_set_threads(2);
    gemm_run(&g);
    for (size_t i = 0; i < ARRAY_LEN(batches); i++)
        for (uint32_t threads = 1; threads <= 2; threads++) {
            size_t first = random_between(0, BATCH - batches[i]);
            kernels_set_threads(threads);
            g.m = batches[i];
            g.a.data = a + first * k;
            g.c = some;
            gemm_run(&g);
            check_same_bytes("gemm row", some, all + first * N, g.m * N);
        }
    check_free(a, BATCH * k);
    check_free(b, k * N);
    check_free(bias, N);
    check_free(all, BATCH * N);
    check_free(some, BATCH * N);
    free(packed);
}

static void a_row_has_the_same_bytes_in_any_batch(void)
{
    row_in_any_batch(300);
    row_in_any_batch(768); /* several slices, rows that crowd a cache */
}

static void batched_products_share_or_repeat_operands(void)
{
    enum { M = 9, N = 21, K = 17, BATCH = 6 };
    const size_t a_at[BATCH] = {0, M * K, 0, M * K, 0, M * K};
    const size_t b_at[BATCH] = {0, 0, K * N, K * N, 2 * K * N, 2 * K * N};
    float *a = check_random(2 * M * K), *b = check_random(3 * K * N),
          *c = check_alloc(BATCH * M * N);
    for (size_t batch = 0; batch <= BATCH; batch++) {
        struct matmul mm = {.batch = batch,
                            .m = M,
                            .n = N,
                            .k = K,
                            .a = {a, K, 1},
                            .b = {b, N, 1},
                            .a_at = a_at,
                            .b_at = b_at,
                            .alpha = 0.25f,
                            .c = c};
        void *scratch = check_scratch(matmul_scratch_bytes(&mm));
        matmul_run(&mm, scratch);
        free(scratch);
        for (size_t i = 0; i < batch * M * N; i++) {
            size_t p = i / (M * N), row = i / N % M, col = i % N;
            double sum = 0, size = 0;
            for (size_t q = 0; q < K; q++) {
                double x = (double)a[a_at[p] + row * K + q];
                double term = 0.25 * x * (double)b[b_at[p] + q * N + col];
                sum += term;
                size += fabs(term);
            }
            check_close("matmul", i, (double)c[i], sum, rounding(K, size));
        }
    }
    check_free(a, 2 * M * K);
    check_free(b, 3 * K * N);
    check_free(c, BATCH * M * N);
}

static void products(void **state)
{
    (void)state;
    with_each_isa(every_edge_of_every_tile_matches_double, 1);
    with_each_isa(slices_of_k_and_blocks_of_rows_match_double, 2);
    with_each_isa(random_products_match_double, 2);
    with_each_isa(batched_products_share_or_repeat_operands, 2);
}

static void invariance(void **state)
{
    (void)state;
    with_each_isa(a_row_has_the_same_bytes_in_any_batch, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products),
        cmocka_unit_test(invariance),
    };
    check_seed();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
