/* conv_depthwise_body - depthwise rows, compiled once per instruction set; part of conv_body.h
 *
 * A register holds PER neighbouring pixels of 8 channels each. In tiles at the border (EDGE) what
 * lies outside of the map is read as zeros through masks; elsewhere nothing is checked. Rows above
 * and below the map are left out. The order of a pixel's sum is that of the taps in all of them. */
#define PER       (VF / LANES)
#define REGISTERS 6 /* of pixels at once, in the general tile */

/* 3 x 3, stride 1: rows and registers of a tile, as many as fit beside the 9 weights. */
#if VF == 16
#define ROWS_3    4
#define COLUMNS_3 4
#else
#define ROWS_3    2
#define COLUMNS_3 2
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

/* Which of the pixels of a register, outputs x and x + 1, exist and have their tap in the map. */
static inline vf_mask pixels_inside(const struct conv_depthwise *d, size_t x, size_t c)
{
    size_t col = x * d->stride[1] + c * d->dilation[1] - d->pad[1]; /* wraps when left of it */
    bool second = x + 1 < d->out_w && col + d->stride[1] < d->in_size[1];
    return vf_mask_of(x < d->out_w && col < d->in_size[1], second);
}

INLINE vf clamped(const struct conv_depthwise *d, vf sum)
{
    return vf_min(vf_set(d->high), vf_max(vf_set(d->low), sum));
}

INLINE void pixels_store(const struct conv_depthwise *d, size_t y, size_t x, vf value,
                         const bool EDGE)
{
    float *to = d->out + (y * d->out_w + x) * LANES;
    if (EDGE)
        vf_store_where(vf_mask_of(x < d->out_w, x + 1 < d->out_w), to, clamped(d, value));
    else
        vf_store(to, clamped(d, value));
}

/* --- any kernel, N registers from output (y, x) on; STEP: elements from pixel to pixel of the
 * input, 0: the stride says --- */
INLINE void pixels_run(const struct conv_depthwise *d, size_t y, size_t x, const size_t N,
                       const size_t STEP, const bool EDGE)
{
    vf acc[REGISTERS];
    const size_t step = STEP ? STEP : d->stride[1] * LANES, cols = d->kernel[1];
    const struct taps rows = taps_inside(d, 0, y);
    UNROLL
    for (size_t n = 0; n < N; n++)
        acc[n] = vf_load_lanes(d->bias);
    for (size_t r = rows.begin; r < rows.end; r++) {
        size_t row = y * d->stride[0] + r * d->dilation[0] - d->pad[0];
        const float *w = d->weights + r * cols * LANES;
        for (size_t c = 0; c < cols; c++, w += LANES) {
            const vf weight = vf_load_lanes(w);
            size_t at = row * d->in_size[1] + x * d->stride[1] + c * d->dilation[1] - d->pad[1];
            const float *in = (const float *)((uintptr_t)d->in + at * LANES * sizeof(float));
            UNROLL
            for (size_t n = 0; n < N; n++, in += PER * step) {
                vf value;
                if (EDGE)
                    value = vf_load_two_where(pixels_inside(d, x + n * PER, c), in, step);
                else
                    value = STEP ? vf_load(in) : vf_load_two(in, step);
                acc[n] = vf_fma(weight, value, acc[n]);
            }
        }
    }
    UNROLL
    for (size_t n = 0; n < N; n++)
        pixels_store(d, y, x + n * PER, acc[n], EDGE);
}

/* --- 3 x 3, stride and dilation 1: ROWS_3 output rows at once, so that each input register serves
 * up to nine products. `live` of the rows exist; the others are computed from what is there. --- */
INLINE void square_row(const float *in, const vf weights[9], const vf_mask masks[COLUMNS_3][3],
                       vf acc[ROWS_3][COLUMNS_3], const size_t I, const size_t N, const bool EDGE)
{
    UNROLL
    for (size_t c = 0; c < 3; c++) {
        UNROLL
        for (size_t n = 0; n < N; n++) {
            const float *from = in + (n * PER + c) * LANES;
            const vf value = EDGE ? vf_load_where(masks[n][c], from) : vf_load(from);
            UNROLL
            for (size_t k = 0; k < ROWS_3; k++)
                if (I >= k && I - k < 3)
                    acc[k][n] = vf_fma(weights[(I - k) * 3 + c], value, acc[k][n]);
        }
    }
}

INLINE void square_run(const struct conv_depthwise *d, size_t y, size_t x, size_t live,
                       const size_t N, const bool EDGE)
{
    vf acc[ROWS_3][COLUMNS_3], weights[9];
    vf_mask masks[COLUMNS_3][3];
    for (size_t n = 0; EDGE && n < N; n++)
        for (size_t c = 0; c < 3; c++)
            masks[n][c] = pixels_inside(d, x + n * PER, c);
    UNROLL
    for (size_t i = 0; i < 9; i++)
        weights[i] = vf_load_lanes(d->weights + i * LANES);
    UNROLL
    for (size_t k = 0; k < ROWS_3; k++) {
        UNROLL
        for (size_t n = 0; n < N; n++)
            acc[k][n] = vf_load_lanes(d->bias);
    }
    UNROLL
    for (size_t i = 0; i < ROWS_3 + 2; i++) {
        size_t row = y + i - d->pad[0]; /* wraps above the map */
        size_t at = row * d->in_size[1] + x - d->pad[1];
        const float *in = (const float *)((uintptr_t)d->in + at * LANES * sizeof(float));
        if (row < d->in_size[0])
            square_row(in, weights, masks, acc, i, N, EDGE);
    }
    UNROLL
    for (size_t k = 0; k < ROWS_3; k++) {
        UNROLL
        for (size_t n = 0; n < N && k < live; n++)
            pixels_store(d, y + k, x + n * PER, acc[k][n], EDGE);
    }
}

typedef void pixels_fn(const struct conv_depthwise *d, size_t y, size_t x);
typedef void square_fn(const struct conv_depthwise *d, size_t y, size_t x, size_t live);

#define PIXELS_FN(N, STEP, EDGE)                                                                   \
    static void pixels_##N##_##STEP##_##EDGE(const struct conv_depthwise *d, size_t y, size_t x)   \
    {                                                                                              \
        pixels_run(d, y, x, N, STEP, EDGE);                                                        \
    }
#define SQUARE_FN(N, EDGE)                                                                         \
    static void square_##N##_##EDGE(const struct conv_depthwise *d, size_t y, size_t x,            \
                                    size_t live)                                                   \
    {                                                                                              \
        square_run(d, y, x, live, N, EDGE);                                                        \
    }
#define ALL_PIXELS(OF, STEP, EDGE)                                                                 \
    OF(1, STEP, EDGE)                                                                              \
    OF(2, STEP, EDGE) OF(3, STEP, EDGE) OF(4, STEP, EDGE) OF(5, STEP, EDGE) OF(6, STEP, EDGE)
#if VF == 16
#define ALL_SQUARES(OF, EDGE) OF(1, EDGE) OF(2, EDGE) OF(3, EDGE) OF(4, EDGE)
#else
#define ALL_SQUARES(OF, EDGE) OF(1, EDGE) OF(2, EDGE)
#endif
ALL_PIXELS(PIXELS_FN, 0, 0)
ALL_PIXELS(PIXELS_FN, 0, 1)
ALL_PIXELS(PIXELS_FN, 8, 0)
ALL_PIXELS(PIXELS_FN, 8, 1)
ALL_SQUARES(SQUARE_FN, 0)
ALL_SQUARES(SQUARE_FN, 1)

#define PIXELS_NAME(N, STEP, EDGE) pixels_##N##_##STEP##_##EDGE,
#define SQUARE_NAME(N, EDGE)       square_##N##_##EDGE,

/* Output columns x..x+n-1 see no padding, and all of their registers exist. */
static bool is_inside(const struct conv_depthwise *d, size_t x, size_t n)
{
    size_t last = (x + n - 1) * d->stride[1] + (d->kernel[1] - 1) * d->dilation[1];
    return x * d->stride[1] >= d->pad[1] && last < d->pad[1] + d->in_size[1] && x + n <= d->out_w;
}

/* Registers of the next tile: as even as can be. */
static size_t next_registers(size_t pixels, size_t most)
{
    size_t left = (pixels + PER - 1) / PER, tiles = (left + most - 1) / most;
    return (left + tiles - 1) / tiles;
}

static void squares(const struct conv_depthwise *d)
{
    static square_fn *const tiles[2][COLUMNS_3] = {{ALL_SQUARES(SQUARE_NAME, 0)},
                                                   {ALL_SQUARES(SQUARE_NAME, 1)}};
    for (size_t y = d->y; y < d->y_end; y += ROWS_3)
        for (size_t x = 0, n; x < d->out_w; x += n * PER) {
            n = next_registers(d->out_w - x, COLUMNS_3);
            tiles[!is_inside(d, x, n * PER)][n - 1](d, y, x, MIN(ROWS_3, d->y_end - y));
        }
}

static void depthwise(const struct conv_depthwise *d)
{
    static pixels_fn *const tiles[2][2][REGISTERS] = {
        {{ALL_PIXELS(PIXELS_NAME, 0, 0)}, {ALL_PIXELS(PIXELS_NAME, 0, 1)}},
        {{ALL_PIXELS(PIXELS_NAME, 8, 0)}, {ALL_PIXELS(PIXELS_NAME, 8, 1)}}};
    bool square = d->kernel[0] == 3 && d->kernel[1] == 3 && d->stride[0] == 1 &&
                  d->stride[1] == 1 && d->dilation[0] == 1 && d->dilation[1] == 1;
    if (square) {
        squares(d);
        return;
    }
    for (size_t y = d->y; y < d->y_end; y++)
        for (size_t x = 0, n; x < d->out_w; x += n * PER) {
            n = next_registers(d->out_w - x, REGISTERS);
            tiles[d->stride[1] == 1][!is_inside(d, x, n * PER)][n - 1](d, y, x);
        }
}
