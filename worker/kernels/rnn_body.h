/* rnn_body - the rnn family, compiled once per instruction set as RNN_KERNEL
 *
 * A tile is R rows by P panels of N registers; R, P and N must be constants after inlining, or the
 * compiler keeps the accumulators in memory. */
#include "worker/kernels/rnn_kernel.h"
#include "worker/kernels/simd_math.h"
#include "worker/kernels/vector_kernel.h"

/* Rows of the largest tile for panels of three and four registers; less by ROWS_LESS for BF16
 * weights, which take registers to unpack. */
#ifdef __AVX512F__
#define ROWS_OF_3        8
#define ROWS_OF_4        6
#define ROWS_LESS        0
#define ACCUMULATORS_MAX 24 /* of 32 registers */
#else
#define ROWS_OF_3        4
#define ROWS_OF_4        3
#define ROWS_LESS        1
#define ACCUMULATORS_MAX 12 /* of 16 */
#endif
#define ROWS_MAX 8

/* --- products ------------------------------------------------------------------------------ */
/* How a weight is found in its word. */
enum part { WHOLE, LOW, HIGH };

INLINE vf weight(const float *b, const enum part part)
{
    const vf words = vf_load(b);
    return part == LOW ? vf_low_halves(words) : part == HIGH ? vf_high_halves(words) : words;
}

/* acc += the values of k times a line of weights, for each row and panel. The shorter of both
 * stays in registers. */
INLINE void line_add(const float *const a[], size_t k, const float *b, size_t panel, vf acc[],
                     const size_t R, const size_t P, const size_t N, const enum part part)
{
    vf kept[ROWS_MAX];
    if (R <= P * N) {
        UNROLL
        for (size_t r = 0; r < R; r++)
            kept[r] = vf_set(a[r][k]);
        UNROLL
        for (size_t j = 0; j < P * N; j++) {
            const vf line = weight(b + j / N * panel + j % N * VF, part);
            UNROLL
            for (size_t r = 0; r < R; r++)
                acc[r * P * N + j] = vf_fma(kept[r], line, acc[r * P * N + j]);
        }
    } else {
        UNROLL
        for (size_t j = 0; j < P * N; j++)
            kept[j] = weight(b + j / N * panel + j % N * VF, part);
        UNROLL
        for (size_t r = 0; r < R; r++) {
            const vf value = vf_set(a[r][k]);
            UNROLL
            for (size_t j = 0; j < P * N; j++)
                acc[r * P * N + j] = vf_fma(value, kept[j], acc[r * P * N + j]);
        }
    }
}

INLINE void tile(const struct rnn_product *t, size_t row, size_t first, const size_t R,
                 const size_t P, const size_t N, const bool halves)
{
    vf acc[ACCUMULATORS_MAX];
    const float *a[ROWS_MAX];
    const size_t k = t->k, lines = halves ? k / 2 : k, columns = P * N;
    const size_t panel = (halves ? (k + 1) / 2 : k) * N * VF;
    const float *b = (const float *)t->b + first * panel;
    UNROLL
    for (size_t r = 0; r < R; r++) {
        a[r] = t->a[row + r];
        UNROLL
        for (size_t j = 0; j < columns; j++)
            acc[r * columns + j] = vf_load(t->start + (first * N + j) * VF);
    }
    for (size_t p = 0; p < lines; p++, b += N * VF) {
        line_add(a, halves ? 2 * p : p, b, panel, acc, R, P, N, halves ? LOW : WHOLE);
        if (halves)
            line_add(a, 2 * p + 1, b, panel, acc, R, P, N, HIGH);
    }
    if (halves && k % 2)
        line_add(a, k - 1, b, panel, acc, R, P, N, LOW);
    UNROLL
    for (size_t r = 0; r < R; r++) {
        UNROLL
        for (size_t j = 0; j < columns; j++)
            vf_store(t->c + (row + r) * t->c_step + (first * N + j) * VF, acc[r * columns + j]);
    }
}

typedef void tile_fn(const struct rnn_product *t, size_t row, size_t panel);

/* tiles[0] takes one row and RNN_PANELS_WIDE panels at once, tiles[R] R rows and one panel. The
 * rows of a tile are as even as can be, so that none is thin. */
INLINE void product(const struct rnn_product *t, tile_fn *const tiles[], const size_t rows_max)
{
    size_t count = (t->rows + rows_max - 1) / rows_max;
    for (size_t panel = 0; panel < t->panels;) {
        if (t->rows == 1 && panel + RNN_PANELS_WIDE <= t->panels) {
            tiles[0](t, 0, panel);
            panel += RNN_PANELS_WIDE;
            continue;
        }
        for (size_t i = 0; i < count; i++) {
            size_t row = t->rows * i / count;
            tiles[t->rows * (i + 1) / count - row](t, row, panel);
        }
        panel++;
    }
}

#define TILE(NAME, R, P, N, HALVES)                                                                \
    static void tile_##NAME(const struct rnn_product *t, size_t row, size_t panel)                 \
    {                                                                                              \
        tile(t, row, panel, R, P, N, HALVES);                                                      \
    }
#define TILES(WEIGHTS, HALVES)                                                                     \
    TILE(WEIGHTS##_wide_3, 1, RNN_PANELS_WIDE, 3, HALVES)                                          \
    TILE(WEIGHTS##_1x3, 1, 1, 3, HALVES)                                                           \
    TILE(WEIGHTS##_2x3, 2, 1, 3, HALVES)                                                           \
    TILE(WEIGHTS##_3x3, 3, 1, 3, HALVES)                                                           \
    TILE(WEIGHTS##_4x3, 4, 1, 3, HALVES)                                                           \
    TILE(WEIGHTS##_wide_4, 1, RNN_PANELS_WIDE, 4, HALVES)                                          \
    TILE(WEIGHTS##_1x4, 1, 1, 4, HALVES)                                                           \
    TILE(WEIGHTS##_2x4, 2, 1, 4, HALVES)                                                           \
    TILE(WEIGHTS##_3x4, 3, 1, 4, HALVES)
TILES(fp32, false)
TILES(bf16, true)
#define LOW_ROWS(WEIGHTS, N)                                                                       \
    tile_##WEIGHTS##_wide_##N, tile_##WEIGHTS##_1x##N, tile_##WEIGHTS##_2x##N,                     \
        tile_##WEIGHTS##_3x##N
#ifdef __AVX512F__
#define HIGH_TILES(WEIGHTS, HALVES)                                                                \
    TILE(WEIGHTS##_5x3, 5, 1, 3, HALVES)                                                           \
    TILE(WEIGHTS##_6x3, 6, 1, 3, HALVES)                                                           \
    TILE(WEIGHTS##_7x3, 7, 1, 3, HALVES)                                                           \
    TILE(WEIGHTS##_8x3, 8, 1, 3, HALVES)                                                           \
    TILE(WEIGHTS##_4x4, 4, 1, 4, HALVES)                                                           \
    TILE(WEIGHTS##_5x4, 5, 1, 4, HALVES)                                                           \
    TILE(WEIGHTS##_6x4, 6, 1, 4, HALVES)
HIGH_TILES(fp32, false)
HIGH_TILES(bf16, true)
#define ALL_ROWS_3(WEIGHTS)                                                                        \
    LOW_ROWS(WEIGHTS, 3), tile_##WEIGHTS##_4x3, tile_##WEIGHTS##_5x3, tile_##WEIGHTS##_6x3,        \
        tile_##WEIGHTS##_7x3, tile_##WEIGHTS##_8x3
#define ALL_ROWS_4(WEIGHTS)                                                                        \
    LOW_ROWS(WEIGHTS, 4), tile_##WEIGHTS##_4x4, tile_##WEIGHTS##_5x4, tile_##WEIGHTS##_6x4
#else
#define ALL_ROWS_3(WEIGHTS) LOW_ROWS(WEIGHTS, 3), tile_##WEIGHTS##_4x3
#define ALL_ROWS_4(WEIGHTS) LOW_ROWS(WEIGHTS, 4)
#endif

#define PRODUCT(WEIGHTS, N, ROWS)                                                                  \
    static void product_##WEIGHTS##_##N(const struct rnn_product *t)                               \
    {                                                                                              \
        static tile_fn *const tiles[] = {ALL_ROWS_##N(WEIGHTS)};                                   \
        product(t, tiles, ROWS);                                                                   \
    }
PRODUCT(fp32, 3, ROWS_OF_3)
PRODUCT(fp32, 4, ROWS_OF_4)
PRODUCT(bf16, 3, ROWS_OF_3 - ROWS_LESS)
PRODUCT(bf16, 4, ROWS_OF_4 - ROWS_LESS)

/* --- gates --------------------------------------------------------------------------------- */
enum { F, G, H }; /* the activations by ONNX's names */

static vf any_activation(const struct rnn_update *t, size_t which, vf x)
{
    float values[VF];
    if (t->clip > 0 && which != H)
        x = vf_min(vf_set(t->clip), vf_max(vf_set(-t->clip), x));
    vf_store(values, x);
    vector_apply(t->acts[which], VF, values, values);
    return vf_load(values);
}

/* f(x), g(x) or h(x). The default sigmoid is by way of tanh: within 2e-7 of the truth. */
INLINE vf activate(const struct rnn_update *t, size_t which, vf x, const bool by_default)
{
    const vf half = vf_set(0.5f);
    if (!by_default)
        return any_activation(t, which, x);
    return which == F ? vf_fma(half, vf_tanh(vf_mul(half, x)), half) : vf_tanh(x);
}

INLINE vf gate(const float *from_x, const float *from_h, size_t g)
{
    return vf_add(vf_load(from_x + g * VF), vf_load(from_h + g * VF));
}

INLINE void give(const struct rnn_update *t, const struct rnn_row *row, size_t unit, vf h)
{
    vf_store(row->h + unit, h);
    if (!row->y)
        return;
    if (unit + VF <= t->hidden)
        vf_store(row->y + unit, h);
    else if (unit < t->hidden)
        vf_store_n(row->y + unit, h, t->hidden - unit);
}

INLINE void lstm(const struct rnn_update *t, const struct rnn_row *row, size_t unit, const float *x,
                 const float *h, const bool by_default)
{
    const float *peephole = t->peephole ? t->peephole + unit : NULL;
    vf c = vf_load(row->c + unit);
    vf in = gate(x, h, 0), out = gate(x, h, 1), forget = gate(x, h, 2), new = gate(x, h, 3);
    if (peephole) {
        in = vf_fma(vf_load(peephole), c, in);
        forget = vf_fma(vf_load(peephole + 2 * t->units), c, forget);
    }
    in = activate(t, F, in, by_default);
    forget = t->input_forget ? vf_sub(vf_set(1.0f), in) : activate(t, F, forget, by_default);
    c = vf_fma(forget, c, vf_mul(in, activate(t, G, new, by_default)));
    vf_store(row->c + unit, c);
    if (peephole)
        out = vf_fma(vf_load(peephole + t->units), c, out);
    out = activate(t, F, out, by_default);
    give(t, row, unit, vf_mul(out, activate(t, H, c, by_default)));
}

INLINE void plain(const struct rnn_update *t, const struct rnn_row *row, size_t unit,
                  const float *x, const float *h, const bool by_default)
{
    give(t, row, unit, activate(t, by_default ? G : F, gate(x, h, 0), by_default));
}

/* (1 - z) n + z h */
INLINE vf mix(const struct rnn_row *row, size_t unit, vf z, vf new)
{
    return vf_fma(z, vf_sub(vf_load(row->old + unit), new), new);
}

INLINE void gru(const struct rnn_update *t, const struct rnn_row *row, size_t unit, const float *x,
                const float *h, const bool by_default)
{
    vf z = activate(t, F, gate(x, h, 0), by_default);
    vf r = activate(t, F, gate(x, h, 1), by_default);
    vf new = vf_fma(r, vf_load(h + 2 * VF), vf_load(x + 2 * VF));
    give(t, row, unit, mix(row, unit, z, activate(t, G, new, by_default)));
}

INLINE void gru_reset(const struct rnn_update *t, const struct rnn_row *row, size_t unit,
                      const float *x, const float *h, const bool by_default)
{
    vf r = activate(t, F, gate(x, h, 1), by_default);
    vf_store(row->c + unit, activate(t, F, gate(x, h, 0), by_default));
    vf_store(row->reset + unit, vf_mul(r, vf_load(row->old + unit)));
}

INLINE void gru_new(const struct rnn_update *t, const struct rnn_row *row, size_t unit,
                    const float *x, const float *h, const bool by_default)
{
    vf new = activate(t, G, gate(x, h, 0), by_default);
    give(t, row, unit, mix(row, unit, vf_load(row->c + unit), new));
}

#define UPDATE(NAME, function, gates, by_default)                                                  \
    static void NAME(const struct rnn_update *t)                                                   \
    {                                                                                              \
        for (size_t i = 0; i < t->rows; i++)                                                       \
            for (size_t b = 0; b < t->blocks; b++)                                                 \
                function(t, &t->row[i], t->unit + b * VF,                                          \
                         t->from_x + i * t->x_step + b * (gates)*VF,                               \
                         t->from_h + i * t->h_step + b * (gates)*VF, by_default);                  \
    }
#define UPDATES(function, gates)                                                                   \
    UPDATE(function##_any, function, gates, false)                                                 \
    UPDATE(function##_default, function, gates, true)
UPDATES(lstm, 4)
UPDATES(plain, 1)
UPDATES(gru, 3)
UPDATES(gru_reset, 2)
UPDATES(gru_new, 1)

#define PHASES(kind)                                                                               \
    {                                                                                              \
        [RNN_LSTM_ALL] = lstm_##kind, [RNN_PLAIN_ALL] = plain_##kind, [RNN_GRU_ALL] = gru_##kind,  \
        [RNN_GRU_RESET] = gru_reset_##kind, [RNN_GRU_NEW] = gru_new_##kind,                        \
    }

const struct rnn_kernel RNN_KERNEL = {
    .lanes = VF,
    .product = {[RNN_FP32] = {[3] = product_fp32_3, [4] = product_fp32_4},
                [RNN_BF16] = {[3] = product_bf16_3, [4] = product_bf16_4}},
    .update = PHASES(any),
    .update_default = PHASES(default),
};
