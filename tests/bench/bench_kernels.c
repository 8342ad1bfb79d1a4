/* bench_kernels - GFLOP/s of the kernels, and per cent of the FMA peak measured in the same run
 *
 *   bench_kernels [THREADS [ISA [FILTER]]]
 *
 * Each figure is the best of many short samples; the peak is measured between the cases, on as
 * many threads, because neighbours on the machine come and go. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "worker/kernels/conv.h"
#include "worker/kernels/cpu.h"
#include "worker/kernels/gemm.h"
#include "worker/kernels/par.h"
#include "worker/kernels/pool.h"
#include "worker/kernels/rnn.h"
#include "worker/kernels/rows.h"
#include "worker/kernels/vector.h"

#define SECONDS_MIN 0.25 /* of samples for a figure */
#define SAMPLE_MIN  1e-4 /* so that reading the clock does not count */

typedef void body_fn(void *arg);

static const char *filter = "";

/* One thread is measured in its CPU time, which neighbours on the machine disturb least. */
static double now(void)
{
    struct timespec t;
    clock_gettime(kernels_threads() == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Seconds of `calls` calls, one after the other. */
static double sample(body_fn *body, void *arg, size_t calls)
{
    double start = now();
    for (size_t i = 0; i < calls; i++)
        body(arg);
    return now() - start;
}

/* Seconds of a call in the fastest sample. */
static double best_of(body_fn *body, void *arg)
{
    size_t calls = 1;
    double best = 1e9, spent = 0;
    for (body(arg); sample(body, arg, calls) < SAMPLE_MIN;)
        calls *= 2;
    while (spent < SECONDS_MIN) {
        double seconds = sample(body, arg, calls);
        spent += seconds;
        best = seconds < best ? seconds : best;
    }
    return best / (double)calls;
}

/* --- the machine's limit -----------------------------------------------------------------------
 */
#define ROUNDS 20000
#define CHAINS 10 /* enough to hide the latency of an FMA on two ports */

/* Fused multiply-adds in registers, and nothing else. */
static void fma_chains(void)
{
#if defined(__x86_64__)
    long rounds = ROUNDS;
    __asm__ volatile("vxorps %%ymm14, %%ymm14, %%ymm14\n"
                     "vxorps %%ymm15, %%ymm15, %%ymm15\n"
                     "1:\n"
                     "vfmadd231ps %%ymm14, %%ymm15, %%ymm0\n"
                     "vfmadd231ps %%ymm14, %%ymm15, %%ymm1\n"
                     "vfmadd231ps %%ymm14, %%ymm15, %%ymm2\n"
                     "vfmadd231ps %%ymm14, %%ymm15, %%ymm3\n"
                     "vfmadd231ps %%ymm14, %%ymm15, %%ymm4\n"
                     "vfmadd231ps %%ymm14, %%ymm15, %%ymm5\n"
                     "vfmadd231ps %%ymm14, %%ymm15, %%ymm6\n"
                     "vfmadd231ps %%ymm14, %%ymm15, %%ymm7\n"
                     "vfmadd231ps %%ymm14, %%ymm15, %%ymm8\n"
                     "vfmadd231ps %%ymm14, %%ymm15, %%ymm9\n"
                     "dec %0\n"
                     "jnz 1b\n"
                     "vzeroupper\n"
                     : "+r"(rounds)
                     :
                     : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8",
                       "xmm9", "xmm14", "xmm15", "cc");
#endif
}

static void fma_items(void *arg, size_t slot, size_t begin, size_t end)
{
    (void)arg;
    (void)slot;
    for (size_t i = begin; i < end; i++)
        fma_chains();
}

static void run_fma(void *arg)
{
    par_for(kernels_threads(), 1e9, fma_items, arg);
}

/* GFLOP/s of the FMA units; 0 where we cannot tell. */
static double peak(void)
{
    if (!__builtin_cpu_supports("fma"))
        return 0;
    return 2.0 * 8 * CHAINS * ROUNDS * kernels_threads() / best_of(run_fma, NULL) * 1e-9;
}

static void report(const char *name, double flops, double bytes, double seconds)
{
    static double limit;
    double measured = peak(), rate = flops / seconds * 1e-9;
    limit = measured > limit ? measured : limit;
    printf("%-34s %10.1f us %8.1f GFLOP/s %4.0f %% of %.0f", name, seconds * 1e6, rate,
           100 * rate / limit, limit);
    if (bytes > 0)
        printf(" %7.1f GB/s", bytes / seconds * 1e-9);
    printf("\n");
    fflush(stdout);
}

static float *numbers(size_t n)
{
    float *values = xaligned(n * sizeof(float));
    for (size_t i = 0; i < n; i++)
        values[i] = (float)((i * 7919) % 201) * 0.01f - 1.0f;
    return values;
}

/* --- convolution -------------------------------------------------------------------------------
 */
struct conv_case {
    const char *name;
    struct conv_shape shape;
    size_t h, w;
    enum layout in;
};

struct conv_job {
    struct conv_plan *plan;
    struct maps m;
    float *x, *y;
    void *scratch;
};

static void run_conv(void *arg)
{
    const struct conv_job *c = arg;
    conv_run(c->plan, c->m, c->x, NULL, c->y, c->scratch);
}

#define SHAPE(in, out, g, kh, kw, stride, pad_h, pad_w)                                            \
    {                                                                                              \
        in, out, g, {kh, kw}, {stride, stride}, {1, 1}, {pad_h, pad_w}, {pad_h, pad_w}, false      \
    }

static const struct conv_case convs[] = {
    {"conv c1 1-32 3x3 28", SHAPE(1, 32, 1, 3, 3, 1, 0, 0), 28, 28, LAYOUT_PLAIN},
    {"conv c2 32-64 3x3 13", SHAPE(32, 64, 1, 3, 3, 1, 0, 0), 13, 13, LAYOUT_BLOCKED},
    {"conv c3 64-64 3x3 5", SHAPE(64, 64, 1, 3, 3, 1, 0, 0), 5, 5, LAYOUT_BLOCKED},
    {"conv r03 64-64 3x3p1 56", SHAPE(64, 64, 1, 3, 3, 1, 1, 1), 56, 56, LAYOUT_BLOCKED},
    {"conv r11 128-128 3x3p1 28", SHAPE(128, 128, 1, 3, 3, 1, 1, 1), 28, 28, LAYOUT_BLOCKED},
    {"conv r17 256-256 3x3p1 14", SHAPE(256, 256, 1, 3, 3, 1, 1, 1), 14, 14, LAYOUT_BLOCKED},
    {"conv r23 512-512 3x3p1 7", SHAPE(512, 512, 1, 3, 3, 1, 1, 1), 7, 7, LAYOUT_BLOCKED},
    {"conv r05 256-64 1x1 56", SHAPE(256, 64, 1, 1, 1, 1, 0, 0), 56, 56, LAYOUT_BLOCKED},
    {"conv r01 3-64 7x7s2p3 224", SHAPE(3, 64, 1, 7, 7, 2, 3, 3), 224, 224, LAYOUT_PLAIN},
    {"conv d3 depthwise 144 3x3p1 56", SHAPE(144, 144, 144, 3, 3, 1, 1, 1), 56, 56, LAYOUT_BLOCKED},
    {"conv a2 128-128 k3p1 L1000", SHAPE(128, 128, 1, 1, 3, 1, 0, 1), 1, 1000, LAYOUT_BLOCKED},
};

static void bench_conv(const struct conv_case *from, size_t batch)
{
    struct conv_job c;
    struct conv_shape shape = from->shape, *s = &shape;
    char name[80];
    shape.winograd =
        !getenv("DIRECT") && conv_suits_winograd(s, from->in, LAYOUT_BLOCKED, from->h, from->w);
    snprintf(name, sizeof(name), "%s b%zu", from->name, batch);
    if (!strstr(name, filter))
        return;
    size_t per_group = s->channels_in / s->groups, taps = s->kernel[0] * s->kernel[1];
    float *weights = numbers(s->channels_out * per_group * taps), *bias = numbers(s->channels_out);
    c.plan = conv_plan_new(s, weights, bias, ACT_RELU, from->in, LAYOUT_BLOCKED);
    c.m = (struct maps){batch, s->channels_in, from->h, from->w};
    struct maps o = {batch, s->channels_out, conv_out_size(s, 0, from->h),
                     conv_out_size(s, 1, from->w)};
    c.x = numbers(layout_elements(from->in, c.m));
    c.y = numbers(layout_elements(LAYOUT_BLOCKED, o));
    c.scratch = xaligned(conv_scratch_bytes(c.plan, c.m));
    double outputs = (double)layout_elements(LAYOUT_PLAIN, o);
    report(name, 2 * outputs * (double)(per_group * taps), 0, best_of(run_conv, &c));
    conv_plan_destroy(&c.plan);
    free(weights);
    free(bias);
    free(c.x);
    free(c.y);
    free(c.scratch);
}

/* --- gemm --------------------------------------------------------------------------------------
 */
static void run_gemm(void *arg)
{
    gemm_run(arg);
}

static void bench_gemm(size_t m, size_t n, size_t k)
{
    char name[80];
    snprintf(name, sizeof(name), "gemm %zux%zux%zu", m, n, k);
    if (!strstr(name, filter))
        return;
    float *a = numbers(m * k), *b = numbers(k * n), *c = numbers(m * n);
    float *packed = xaligned(gemm_packed_bytes(k, n));
    gemm_pack(k, n, (struct matrix){b, n, 1}, 1, packed);
    struct gemm g = {.m = m,
                     .n = n,
                     .k = k,
                     .a = {a, k, 1},
                     .packed = packed,
                     .act = ACT_RELU,
                     .c = c,
                     .c_step = n};
    double flops = 2.0 * (double)m * (double)n * (double)k;
    report(name, flops, (double)(k * n * sizeof(float)), best_of(run_gemm, &g));
    free(a);
    free(b);
    free(c);
    free(packed);
}

/* --- recurrent ---------------------------------------------------------------------------------
 */
struct rnn_case {
    struct rnn_plan *plan;
    struct rnn_args args;
    void *scratch;
};

static void run_rnn(void *arg)
{
    const struct rnn_case *c = arg;
    rnn_run(c->plan, &c->args, c->scratch);
}

static void bench_rnn(enum rnn_cell cell, enum rnn_direction direction, size_t steps, size_t size,
                      size_t batch)
{
    static const char *const cells[] = {"rnn", "gru", "lstm"};
    char name[80];
    size_t dirs = direction == RNN_BIDIRECTIONAL ? 2 : 1, gates = RNN_GATES(cell);
    snprintf(name, sizeof(name), "%s%s T%zu H%zu b%zu", dirs == 2 ? "bi-" : "", cells[cell], steps,
             size, batch);
    if (!strstr(name, filter))
        return;
    struct rnn_shape shape = {.cell = cell,
                              .direction = direction,
                              .input = size,
                              .hidden = size,
                              .linear_before_reset = true};
    rnn_default_activations(&shape);
    float *w = numbers(dirs * gates * size * size), *x = numbers(steps * batch * size);
    float *y = numbers(steps * batch * size * dirs);
    for (size_t i = 0; i < dirs * gates * size * size; i++)
        w[i] *= 0.05f;
    struct rnn_case c = {.plan = rnn_plan_new(&shape, &(struct rnn_weights){w, w, NULL, NULL}),
                         .args = {.steps = steps, .batch = batch, .x = x, .y = y}};
    c.scratch = xaligned(rnn_scratch_bytes(c.plan, steps, batch));
    double flops = 4.0 * (double)(dirs * steps * batch) * (double)(gates * size * size);
    report(name, flops, 0, best_of(run_rnn, &c));
    rnn_plan_destroy(&c.plan);
    free(w);
    free(x);
    free(y);
    free(c.scratch);
}

/* --- everything else: bound by memory ----------------------------------------------------------
 */
struct vector_case {
    size_t n;
    float *x, *y;
    enum unary op;
};

static void run_unary(void *arg)
{
    const struct vector_case *c = arg;
    vec_unary((struct activation){c->op, 0, 0}, c->n, c->x, c->y);
}

static void run_softmax(void *arg)
{
    const struct vector_case *c = arg;
    rows_softmax(c->n / 10, 10, 1, c->x, c->y);
}

static void run_pool(void *arg)
{
    static const struct pool_shape shape = {POOL_MAX, false,  false,  {2, 2},
                                            {2, 2},   {1, 1}, {0, 0}, {0, 0}};
    const struct vector_case *c = arg;
    pool_run(&shape, LAYOUT_BLOCKED, (struct maps){32, 32, 26, 26}, c->x, c->y);
}

static void bench_vector(const char *name, body_fn *body, enum unary op, size_t n)
{
    if (!strstr(name, filter))
        return;
    struct vector_case c = {n, numbers(n), numbers(n), op};
    report(name, (double)n, (double)(2 * n * sizeof(float)), best_of(body, &c));
    free(c.x);
    free(c.y);
}

int main(int argc, char **argv)
{
    uint32_t threads = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 1;
    if (!kernels_start(argc > 2 ? argv[2] : "auto", threads)) {
        fprintf(stderr, "bench_kernels: this CPU cannot run %s\n", argv[2]);
        return 2;
    }
    filter = argc > 3 ? argv[3] : "";
    printf("%s, %u threads\n", kernels_isa(), kernels_threads());
    peak(); /* wakes the threads and the clock */
    for (size_t i = 0; i < ARRAY_LEN(convs); i++)
        bench_conv(&convs[i], 1);
    for (size_t i = 0; i < 3; i++)
        bench_conv(&convs[i], 32);
    static const size_t products[][3] = {{256, 512, 512}, {256, 1024, 1024}, {32, 64, 576},
                                         {32, 10, 64},    {1, 512, 512},     {1, 64, 576},
                                         {6, 512, 512},   {512, 512, 64}};
    for (size_t i = 0; i < ARRAY_LEN(products); i++)
        bench_gemm(products[i][0], products[i][1], products[i][2]);
    bench_rnn(RNN_LSTM, RNN_FORWARD, 1, 64, 1);
    bench_rnn(RNN_LSTM, RNN_FORWARD, 100, 128, 1);
    bench_rnn(RNN_LSTM, RNN_FORWARD, 100, 128, 32);
    bench_rnn(RNN_LSTM, RNN_BIDIRECTIONAL, 100, 128, 1);
    bench_rnn(RNN_GRU, RNN_FORWARD, 100, 128, 1);
    bench_rnn(RNN_GRU, RNN_FORWARD, 100, 128, 32);
    bench_vector("relu 64K", run_unary, UNARY_RELU, 65536);
    bench_vector("exp 64K", run_unary, UNARY_EXP, 65536);
    bench_vector("tanh 64K", run_unary, UNARY_TANH, 65536);
    bench_vector("sigmoid 64K", run_unary, UNARY_SIGMOID, 65536);
    bench_vector("softmax 32x10", run_softmax, UNARY_EXP, 320);
    bench_vector("max-pool 2x2 32x32x26x26", run_pool, UNARY_RELU, 32 * 32 * 26 * 26);
    return 0;
}
