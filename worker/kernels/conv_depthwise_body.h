/* conv_depthwise_body - depthwise rows, compiled once per instruction set; part of conv_body.h
 *
 * A register vl holds the 8 channels of one pixel, whatever the instruction set: half as wide as
 * AVX-512's, but two of them go in a cycle, and none lies across two lines of the cache. Taps
 * outside of the map are left out: tiles at the border (EDGE) ask for each column, rows are asked
 * for anyway. The order of a pixel's sum is that of the taps in all tiles. */
#define PIXELS_1 12 /* of the largest tile of any kernel, which is in one row */

/* 3 x 3: output rows and columns of the largest tile, as many as fit beside the 9 weights. */
#if VF == 16
#define ROWS_3    4
#define COLUMNS_3 4
#else
#define ROWS_3    2
#define COLUMNS_3 3
#endif

/* Taps begin..end-1 of one axis lie inside the map for output index `at`. */
struct taps {
    size_t begin, end;
};

static struct taps taps_inside(const struct conv_depthwise *d, size_t axis, size_t at)
{
    size_t first = at * d->stride[axis], pad = d->pad[axis], step = d->dilation[axis];
    struct taps t = {0, d->kernel[axis]};
    if (first < pad)
        t.begin = MIN(t.end, (pad - first + step - 1) / step);
    while (t.end > t.begin && first + (t.end - 1) * step >= pad + d->in_size[axis])
        t.end--;
    return t;
}

INLINE void pixel_store(const struct conv_depthwise *d, size_t y, size_t x, vl sum)
{
    const vl low = vl_set(d->low), high = vl_set(d->high);
    vl_store(d->out + (y * d->out_w + x) * LANES, vl_min(high, vl_max(low, sum)));
}

/* The input at a row and column, either of which may have wrapped below 0: then the address is only
 * where to count from. */
static inline const float *input_at(const struct conv_depthwise *d, size_t row, size_t col)
{
    size_t at = (row * d->in_size[1] + col) * LANES * sizeof(float);
    return (const float *)((uintptr_t)d->in + at);
}

/* --- any kernel: N pixels from output (y, x) on --- */
INLINE void pixels_run(const struct conv_depthwise *d, size_t y, size_t x, const size_t N,
                       const bool EDGE)
{
    vl acc[PIXELS_1];
    const size_t stride = d->stride[1], cols = d->kernel[1];
    const struct taps rows = taps_inside(d, 0, y);
    UNROLL
    for (size_t n = 0; n < N; n++)
        acc[n] = vl_load(d->bias);
    for (size_t r = rows.begin; r < rows.end; r++) {
        size_t row = y * d->stride[0] + r * d->dilation[0] - d->pad[0];
        const float *w = d->weights + r * cols * LANES;
        for (size_t c = 0; c < cols; c++, w += LANES) {
            const vl weight = vl_load(w);
            size_t col = x * stride + c * d->dilation[1] - d->pad[1]; /* wraps left of the map */
            const float *in = input_at(d, row, col);
            UNROLL
            for (size_t n = 0; n < N; n++) {
                if (!EDGE || col + n * stride < d->in_size[1])
                    acc[n] = vl_fma(weight, vl_load(in + n * stride * LANES), acc[n]);
            }
        }
    }
    UNROLL
    for (size_t n = 0; n < N; n++)
        pixel_store(d, y, x + n, acc[n]);
}

/* --- 3 x 3, dilation 1, stride S both ways: R x C pixels from output (y, x) on, so that an input
 * is loaded once for up to nine products. I and J: where the input lies in the tile's. --- */
INLINE void square_input(const float *from, const vl weights[9], vl acc[ROWS_3][COLUMNS_3],
                         const size_t I, const size_t J, const size_t R, const size_t C,
                         const size_t S)
{
    const vl value = vl_load(from);
    UNROLL
    for (size_t k = 0; k < R; k++) {
        UNROLL
        for (size_t c = 0; c < C; c++)
            if (I >= k * S && I - k * S < 3 && J >= c * S && J - c * S < 3)
                acc[k][c] = vl_fma(weights[(I - k * S) * 3 + J - c * S], value, acc[k][c]);
    }
}

INLINE void square_run(const struct conv_depthwise *d, size_t y, size_t x, const size_t R,
                       const size_t C, const size_t S, const bool EDGE)
{
    vl acc[ROWS_3][COLUMNS_3], weights[9];
    const size_t top = y * S - d->pad[0], left = x * S - d->pad[1]; /* wrap outside of the map */
    UNROLL
    for (size_t i = 0; i < 9; i++)
        weights[i] = vl_load(d->weights + i * LANES);
    UNROLL
    for (size_t k = 0; k < R; k++) {
        UNROLL
        for (size_t c = 0; c < C; c++)
            acc[k][c] = vl_load(d->bias);
    }
    UNROLL
    for (size_t i = 0; i < (R - 1) * S + 3; i++) {
        const float *in = input_at(d, top + i, left);
        if (top + i >= d->in_size[0])
            continue;
        UNROLL
        for (size_t j = 0; j < (C - 1) * S + 3; j++) {
            if (!EDGE || left + j < d->in_size[1])
                square_input(in + j * LANES, weights, acc, i, j, R, C, S);
        }
    }
    UNROLL
    for (size_t k = 0; k < R; k++) {
        UNROLL
        for (size_t c = 0; c < C; c++)
            pixel_store(d, y + k, x + c, acc[k][c]);
    }
}

typedef void depthwise_fn(const struct conv_depthwise *d, size_t y, size_t x);

#define PIXELS_FN(N, EDGE)                                                                         \
    static void pixels_##N##_##EDGE(const struct conv_depthwise *d, size_t y, size_t x)            \
    {                                                                                              \
        pixels_run(d, y, x, N, EDGE);                                                              \
    }
#define SQUARE_FN(C, R, S, EDGE)                                                                   \
    static void square_##R##x##C##_##S##_##EDGE(const struct conv_depthwise *d, size_t y,          \
                                                size_t x)                                          \
    {                                                                                              \
        square_run(d, y, x, R, C, S, EDGE);                                                        \
    }
#define PIXELS_NAME(N, EDGE)       pixels_##N##_##EDGE,
#define SQUARE_NAME(C, R, S, EDGE) square_##R##x##C##_##S##_##EDGE,

/* clang-format off */
#define ALL_PIXELS(OF, EDGE)                                                                       \
    OF(1, EDGE) OF(2, EDGE) OF(3, EDGE) OF(4, EDGE) OF(5, EDGE) OF(6, EDGE)                        \
    OF(7, EDGE) OF(8, EDGE) OF(9, EDGE) OF(10, EDGE) OF(11, EDGE) OF(12, EDGE)
#if VF == 16
#define COLUMNS(OF, R, S, EDGE)                                                                    \
    OF(1, R, S, EDGE) OF(2, R, S, EDGE) OF(3, R, S, EDGE) OF(4, R, S, EDGE)
#define SQUARES(S, EDGE)                                                                           \
    COLUMNS(SQUARE_FN, 1, S, EDGE) COLUMNS(SQUARE_FN, 2, S, EDGE)                                  \
    COLUMNS(SQUARE_FN, 3, S, EDGE) COLUMNS(SQUARE_FN, 4, S, EDGE)
#define SQUARE_NAMES(S, EDGE)                                                                      \
    {{COLUMNS(SQUARE_NAME, 1, S, EDGE)}, {COLUMNS(SQUARE_NAME, 2, S, EDGE)},                       \
     {COLUMNS(SQUARE_NAME, 3, S, EDGE)}, {COLUMNS(SQUARE_NAME, 4, S, EDGE)}}
#else
#define COLUMNS(OF, R, S, EDGE) OF(1, R, S, EDGE) OF(2, R, S, EDGE) OF(3, R, S, EDGE)
#define SQUARES(S, EDGE) COLUMNS(SQUARE_FN, 1, S, EDGE) COLUMNS(SQUARE_FN, 2, S, EDGE)
#define SQUARE_NAMES(S, EDGE)                                                                      \
    {{COLUMNS(SQUARE_NAME, 1, S, EDGE)}, {COLUMNS(SQUARE_NAME, 2, S, EDGE)}}
#endif
/* clang-format on */
ALL_PIXELS(PIXELS_FN, 0)
ALL_PIXELS(PIXELS_FN, 1)
SQUARES(1, 0)
SQUARES(1, 1)
SQUARES(2, 0)
SQUARES(2, 1)

/* Output columns x..x+n-1 see no padding. */
static bool is_inside(const struct conv_depthwise *d, size_t x, size_t n)
{
    size_t last = (x + n - 1) * d->stride[1] + (d->kernel[1] - 1) * d->dilation[1];
    return x * d->stride[1] >= d->pad[1] && last < d->pad[1] + d->in_size[1];
}

/* Pixels or rows of the next tile: as even as can be. */
static size_t next_tile(size_t left, size_t most)
{
    size_t tiles = (left + most - 1) / most;
    return (left + tiles - 1) / tiles;
}

static void squares(const struct conv_depthwise *d)
{
    /* [stride - 1][at the border][rows - 1][columns - 1] */
    static depthwise_fn *const tiles[2][2][ROWS_3][COLUMNS_3] = {
        {SQUARE_NAMES(1, 0), SQUARE_NAMES(1, 1)}, {SQUARE_NAMES(2, 0), SQUARE_NAMES(2, 1)}};
    for (size_t y = d->y, r; y < d->y_end; y += r) {
        r = next_tile(d->y_end - y, ROWS_3);
        for (size_t x = 0, c; x < d->out_w; x += c) {
            c = next_tile(d->out_w - x, COLUMNS_3);
            tiles[d->stride[1] - 1][!is_inside(d, x, c)][r - 1][c - 1](d, y, x);
        }
    }
}

static void depthwise(const struct conv_depthwise *d)
{
    static depthwise_fn *const tiles[2][PIXELS_1] = {{ALL_PIXELS(PIXELS_NAME, 0)},
                                                     {ALL_PIXELS(PIXELS_NAME, 1)}};
    bool square = d->kernel[0] == 3 && d->kernel[1] == 3 && d->stride[0] == d->stride[1] &&
                  d->stride[1] <= 2 && d->dilation[0] == 1 && d->dilation[1] == 1;
    if (square) {
        squares(d);
        return;
    }
    for (size_t y = d->y; y < d->y_end; y++)
        for (size_t x = 0, n; x < d->out_w; x += n) {
            n = next_tile(d->out_w - x, PIXELS_1);
            tiles[!is_inside(d, x, n)][n - 1](d, y, x);
        }
}
