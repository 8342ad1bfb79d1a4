/* conv_winograd_body - the transforms of F(T x T, 3 x 3), compiled once per instruction set; part
 * of conv_body.h
 *
 * Interpolation points of 4 x 4: 0, +-a, +-b and infinity with a = 1 / sqrt 2, b = sqrt 2: a b = 1
 * keeps the entries of all three matrices near 1, and errors three times smaller than 1 and 2 do.
 * Of 3 x 3: +-c, +-d and infinity, c = 3/8 and d = 11/8, the best that were tried. Of 2 x 2: 0, +-1
 * and infinity. A register holds
 * PER neighbouring tiles of 8 channels. Both transforms are the same pass over one axis, first
 * down, then across. */
#define POINT_A   0.707106781f
#define POINT_B   1.41421356f
#define POINT_C   0.375f
#define POINT_D   1.375f
#define REACH_MAX 6 /* points and inputs of a tile along an axis */

/* y = B^T x; x and y may not be the same. */
INLINE void points_of_4(const vf x[6], vf y[6])
{
    const vf a = vf_set(POINT_A), b = vf_set(POINT_B), c = vf_set(-2.5f);
    const vf minus_half = vf_set(-0.5f), minus_two = vf_set(-2.0f);
    const vf even_a = vf_fma(minus_two, x[2], x[4]), odd_a = vf_fma(minus_two, x[1], x[3]);
    const vf even_b = vf_fma(minus_half, x[2], x[4]), odd_b = vf_fma(minus_half, x[1], x[3]);
    y[0] = vf_fma(c, x[2], vf_add(x[0], x[4]));
    y[1] = vf_fma(a, odd_a, even_a);
    y[2] = vf_sub(even_a, vf_mul(a, odd_a));
    y[3] = vf_fma(b, odd_b, even_b);
    y[4] = vf_sub(even_b, vf_mul(b, odd_b));
    y[5] = vf_fma(c, x[3], vf_add(x[1], x[5]));
}

/* y = A^T x */
INLINE void pixels_of_4(const vf x[6], vf y[4])
{
    const float a = POINT_A, b = POINT_B;
    const vf sum_a = vf_add(x[1], x[2]), odd_a = vf_sub(x[1], x[2]);
    const vf sum_b = vf_add(x[3], x[4]), odd_b = vf_sub(x[3], x[4]);
    y[0] = vf_add(vf_add(x[0], sum_a), sum_b);
    y[1] = vf_fma(vf_set(b), odd_b, vf_mul(vf_set(a), odd_a));
    y[2] = vf_fma(vf_set(2.0f), sum_b, vf_mul(vf_set(0.5f), sum_a));
    y[3] = vf_fma(vf_set(2 * b), odd_b, vf_fma(vf_set(0.5f * a), odd_a, x[5]));
}

/* y = A x */
INLINE void spread_of_4(const vf x[4], vf y[6])
{
    const float a = POINT_A, b = POINT_B;
    const vf even_a = vf_fma(vf_set(0.5f), x[2], x[0]), even_b = vf_fma(vf_set(2.0f), x[2], x[0]);
    const vf odd_a = vf_fma(vf_set(0.5f * a), x[3], vf_mul(vf_set(a), x[1]));
    const vf odd_b = vf_fma(vf_set(2 * b), x[3], vf_mul(vf_set(b), x[1]));
    y[0] = x[0];
    y[1] = vf_add(even_a, odd_a);
    y[2] = vf_sub(even_a, odd_a);
    y[3] = vf_add(even_b, odd_b);
    y[4] = vf_sub(even_b, odd_b);
    y[5] = x[3];
}

INLINE void points_of_3(const vf x[5], vf y[5])
{
    const float c2 = POINT_C * POINT_C, d2 = POINT_D * POINT_D;
    const vf c = vf_set(POINT_C), d = vf_set(POINT_D), minus_c2 = vf_set(-c2);
    const vf minus_d2 = vf_set(-d2);
    const vf odd_c = vf_fma(minus_d2, x[1], x[3]), even_c = vf_fma(minus_d2, x[0], x[2]);
    const vf odd_d = vf_fma(minus_c2, x[1], x[3]), even_d = vf_fma(minus_c2, x[0], x[2]);
    y[0] = vf_fma(c, even_c, odd_c);
    y[1] = vf_sub(odd_c, vf_mul(c, even_c));
    y[2] = vf_fma(d, even_d, odd_d);
    y[3] = vf_sub(odd_d, vf_mul(d, even_d));
    y[4] = vf_fma(vf_set(c2 * d2), x[0], vf_fma(vf_set(-c2 - d2), x[2], x[4]));
}

INLINE void pixels_of_3(const vf x[5], vf y[3])
{
    const vf sum_c = vf_add(x[0], x[1]), odd_c = vf_sub(x[0], x[1]);
    const vf sum_d = vf_add(x[2], x[3]), odd_d = vf_sub(x[2], x[3]);
    y[0] = vf_add(sum_c, sum_d);
    y[1] = vf_fma(vf_set(POINT_D), odd_d, vf_mul(vf_set(POINT_C), odd_c));
    y[2] = vf_fma(vf_set(POINT_D * POINT_D), sum_d, vf_fma(vf_set(POINT_C * POINT_C), sum_c, x[4]));
}

INLINE void spread_of_3(const vf x[3], vf y[5])
{
    const vf even_c = vf_fma(vf_set(POINT_C * POINT_C), x[2], x[0]);
    const vf even_d = vf_fma(vf_set(POINT_D * POINT_D), x[2], x[0]);
    const vf odd_c = vf_mul(vf_set(POINT_C), x[1]), odd_d = vf_mul(vf_set(POINT_D), x[1]);
    y[0] = vf_add(even_c, odd_c);
    y[1] = vf_sub(even_c, odd_c);
    y[2] = vf_add(even_d, odd_d);
    y[3] = vf_sub(even_d, odd_d);
    y[4] = x[2];
}

INLINE void points_of_2(const vf x[4], vf y[4])
{
    y[0] = vf_sub(x[0], x[2]);
    y[1] = vf_add(x[1], x[2]);
    y[2] = vf_sub(x[2], x[1]);
    y[3] = vf_sub(x[3], x[1]);
}

INLINE void pixels_of_2(const vf x[4], vf y[2])
{
    y[0] = vf_add(x[0], vf_add(x[1], x[2]));
    y[1] = vf_add(x[3], vf_sub(x[1], x[2]));
}

INLINE void spread_of_2(const vf x[2], vf y[4])
{
    y[0] = x[0];
    y[1] = vf_add(x[0], x[1]);
    y[2] = vf_sub(x[0], x[1]);
    y[3] = x[1];
}

/* T outputs of a tile along an axis */
INLINE void points_of(const vf *x, vf *y, const size_t T)
{
    if (T == 4)
        points_of_4(x, y);
    else if (T == 3)
        points_of_3(x, y);
    else
        points_of_2(x, y);
}

INLINE void pixels_of(const vf *x, vf *y, const size_t T)
{
    if (T == 4)
        pixels_of_4(x, y);
    else if (T == 3)
        pixels_of_3(x, y);
    else
        pixels_of_2(x, y);
}

INLINE void spread_of(const vf *x, vf *y, const size_t T)
{
    if (T == 4)
        spread_of_4(x, y);
    else if (T == 3)
        spread_of_3(x, y);
    else
        spread_of_2(x, y);
}

/* Tiles of T + 2 pixels along an axis, or of T of a gradient, to points. */
INLINE void to_points(const struct conv_winograd *w, const size_t T, const size_t P,
                      void (*transform)(const vf *, vf *, size_t))
{
    const size_t next = T * LANES; /* from tile to tile */
    for (size_t t = 0; t < w->tiles; t += PER) {
        const float *pixels = w->pixels + t * next;
        const vf_mask mask = vf_mask_of(true, t + 1 < w->tiles);
        vf down[REACH_MAX][REACH_MAX]; /* [column][point] */
        UNROLL
        for (size_t x = 0; x < P; x++) {
            vf column[REACH_MAX];
            UNROLL
            for (size_t y = 0; y < P; y++)
                column[y] = vf_load_two(pixels + y * w->row_step + x * LANES, next);
            transform(column, down[x], T);
        }
        UNROLL
        for (size_t y = 0; y < T + 2; y++) {
            vf row[REACH_MAX], points[REACH_MAX];
            UNROLL
            for (size_t x = 0; x < P; x++)
                row[x] = down[x][y];
            transform(row, points, T);
            float *to = w->points + y * (T + 2) * w->point_step + t * LANES;
            UNROLL
            for (size_t x = 0; x < T + 2; x++)
                vf_store_where(mask, to + x * w->point_step, points[x]);
        }
    }
}

INLINE void in_run(const struct conv_winograd *w, const size_t T)
{
    to_points(w, T, T + 2, points_of);
}

INLINE void out_grad_run(const struct conv_winograd *w, const size_t T)
{
    to_points(w, T, T, spread_of);
}

/* One row of pixels of PER tiles. */
INLINE void row_store(const struct conv_winograd *w, float *to, bool both, const vf row[4],
                      const size_t T)
{
    const vf bias = vf_load_lanes(w->bias), low = vf_set(w->low), high = vf_set(w->high);
    UNROLL
    for (size_t x = 0; x < T; x++) {
        const vf value = vf_min(high, vf_max(low, vf_add(row[x], bias)));
#if VF == 16
        vf_store_low(to + x * LANES, value);
        if (both)
            vf_store_high(to + (T + x) * LANES, value);
#else
        (void)both;
        vf_store(to + x * LANES, value);
#endif
    }
}

INLINE void out_run(const struct conv_winograd *w, const size_t T)
{
    for (size_t t = 0; t < w->tiles; t += PER) {
        const bool both = t + 1 < w->tiles;
        const vf_mask mask = vf_mask_of(true, both);
        vf down[REACH_MAX][4]; /* [point across][pixel down] */
        UNROLL
        for (size_t x = 0; x < T + 2; x++) {
            vf column[REACH_MAX];
            UNROLL
            for (size_t y = 0; y < T + 2; y++)
                column[y] =
                    vf_load_where(mask, w->points + (y * (T + 2) + x) * w->point_step + t * LANES);
            pixels_of(column, down[x], T);
        }
        UNROLL
        for (size_t y = 0; y < T; y++) {
            vf points[REACH_MAX], row[4];
            UNROLL
            for (size_t x = 0; x < T + 2; x++)
                points[x] = down[x][y];
            pixels_of(points, row, T);
            row_store(w, w->pixels + y * w->row_step + t * T * LANES, both, row, T);
        }
    }
}

/* The same for tiles of one row. */
INLINE void to_points_flat(const struct conv_winograd *w, const size_t T, const size_t P,
                           void (*transform)(const vf *, vf *, size_t))
{
    for (size_t t = 0; t < w->tiles; t += PER) {
        const vf_mask mask = vf_mask_of(true, t + 1 < w->tiles);
        vf row[REACH_MAX], points[REACH_MAX];
        UNROLL
        for (size_t x = 0; x < P; x++)
            row[x] = vf_load_two(w->pixels + (t * T + x) * LANES, T * LANES);
        transform(row, points, T);
        UNROLL
        for (size_t x = 0; x < T + 2; x++)
            vf_store_where(mask, w->points + x * w->point_step + t * LANES, points[x]);
    }
}

INLINE void in_flat(const struct conv_winograd *w, const size_t T)
{
    to_points_flat(w, T, T + 2, points_of);
}

INLINE void out_grad_flat(const struct conv_winograd *w, const size_t T)
{
    to_points_flat(w, T, T, spread_of);
}

INLINE void out_flat(const struct conv_winograd *w, const size_t T)
{
    for (size_t t = 0; t < w->tiles; t += PER) {
        const bool both = t + 1 < w->tiles;
        const vf_mask mask = vf_mask_of(true, both);
        vf points[REACH_MAX], row[4];
        UNROLL
        for (size_t x = 0; x < T + 2; x++)
            points[x] = vf_load_where(mask, w->points + x * w->point_step + t * LANES);
        pixels_of(points, row, T);
        row_store(w, w->pixels + t * T * LANES, both, row, T);
    }
}

typedef void winograd_fn(const struct conv_winograd *w);

#define WINOGRAD_FN(WAY, T)                                                                        \
    static void WAY##_##T(const struct conv_winograd *w)                                           \
    {                                                                                              \
        WAY(w, T);                                                                                 \
    }
#define WINOGRAD_FNS(WAY) WINOGRAD_FN(WAY, 2) WINOGRAD_FN(WAY, 3) WINOGRAD_FN(WAY, 4)
WINOGRAD_FNS(in_run)
WINOGRAD_FNS(in_flat)
WINOGRAD_FNS(out_run)
WINOGRAD_FNS(out_flat)
WINOGRAD_FNS(out_grad_run)
WINOGRAD_FNS(out_grad_flat)

/* [flat][outputs - 2] */
static void winograd_in(const struct conv_winograd *w)
{
    static winograd_fn *const ways[2][3] = {{in_run_2, in_run_3, in_run_4},
                                            {in_flat_2, in_flat_3, in_flat_4}};
    ways[w->flat][w->outputs - 2](w);
}

static void winograd_out(const struct conv_winograd *w)
{
    static winograd_fn *const ways[2][3] = {{out_run_2, out_run_3, out_run_4},
                                            {out_flat_2, out_flat_3, out_flat_4}};
    ways[w->flat][w->outputs - 2](w);
}

static void winograd_out_grad(const struct conv_winograd *w)
{
    static winograd_fn *const ways[2][3] = {{out_grad_run_2, out_grad_run_3, out_grad_run_4},
                                            {out_grad_flat_2, out_grad_flat_3, out_grad_flat_4}};
    ways[w->flat][w->outputs - 2](w);
}

/* --- weights -----------------------------------------------------------------------------------
 * Once for each pair of channels, not for each pixel: in double, as loops over a register's
 * outputs, which compilers know how to make fast. R points along an axis, L lines of them. */
INLINE void weights_run(const struct winograd_points *p, const float (*w)[CONV_WIDTH_MAX],
                        float *points, const size_t R, const size_t L)
{
    double down[REACH_MAX][3][VF];
    for (size_t y = 0; y < L; y++)
        for (size_t x = 0; x < 3; x++)
            for (size_t k = 0; k < VF; k++)
                down[y][x][k] = L == 1 ? (double)w[x][k]
                                       : p->g[y][0] * (double)w[x][k] +
                                             p->g[y][1] * (double)w[3 + x][k] +
                                             p->g[y][2] * (double)w[6 + x][k];
    for (size_t y = 0; y < L; y++)
        for (size_t x = 0; x < R; x++, points += p->step)
            for (size_t k = 0; k < VF; k++)
                points[k] = (float)(p->g[x][0] * down[y][0][k] + p->g[x][1] * down[y][1][k] +
                                    p->g[x][2] * down[y][2][k]);
}

INLINE void weights_grad_run(const struct winograd_points *p, const float *points,
                             float (*w)[CONV_WIDTH_MAX], const size_t R, const size_t L)
{
    double across[REACH_MAX][3][VF];
    for (size_t y = 0; y < L; y++, points += R * p->step)
        for (size_t j = 0; j < 3; j++)
            for (size_t k = 0; k < VF; k++) {
                double sum = 0;
                UNROLL
                for (size_t x = 0; x < R; x++)
                    sum += p->g[x][j] * (double)points[x * p->step + k];
                across[y][j][k] = sum;
            }
    for (size_t i = 0; i < (L == 1 ? 1 : 3); i++)
        for (size_t j = 0; j < 3; j++)
            for (size_t k = 0; k < VF; k++) {
                double sum = 0;
                UNROLL
                for (size_t y = 0; y < L; y++)
                    sum += L == 1 ? across[y][j][k] : p->g[y][i] * across[y][j][k];
                w[i * 3 + j][k] = (float)sum;
            }
}

typedef void weights_fn(const struct winograd_points *p, const float (*w)[CONV_WIDTH_MAX],
                        float *points);
typedef void weights_grad_fn(const struct winograd_points *p, const float *points,
                             float (*w)[CONV_WIDTH_MAX]);

#define WEIGHTS_FN(R, L)                                                                           \
    static void weights_##R##_##L(const struct winograd_points *p,                                 \
                                  const float(*w)[CONV_WIDTH_MAX], float *points)                  \
    {                                                                                              \
        weights_run(p, w, points, R, L);                                                           \
    }                                                                                              \
    static void weights_grad_##R##_##L(const struct winograd_points *p, const float *points,       \
                                       float(*w)[CONV_WIDTH_MAX])                                  \
    {                                                                                              \
        weights_grad_run(p, points, w, R, L);                                                      \
    }
WEIGHTS_FN(4, 1)
WEIGHTS_FN(5, 1)
WEIGHTS_FN(6, 1)
WEIGHTS_FN(4, 4)
WEIGHTS_FN(5, 5)
WEIGHTS_FN(6, 6)

/* [flat][reach - 4] */
static void winograd_weights(const struct winograd_points *p, const float (*w)[CONV_WIDTH_MAX],
                             float *points)
{
    static weights_fn *const ways[2][3] = {{weights_4_4, weights_5_5, weights_6_6},
                                           {weights_4_1, weights_5_1, weights_6_1}};
    ways[p->flat][p->reach - 4](p, w, points);
}

static void winograd_weights_grad(const struct winograd_points *p, const float *points,
                                  float (*w)[CONV_WIDTH_MAX])
{
    static weights_grad_fn *const ways[2][3] = {
        {weights_grad_4_4, weights_grad_5_5, weights_grad_6_6},
        {weights_grad_4_1, weights_grad_5_1, weights_grad_6_1}};
    ways[p->flat][p->reach - 4](p, points, w);
}
