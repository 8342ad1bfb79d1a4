/* conv_winograd_body - the transforms of F(4 x 4, 3 x 3), compiled once per instruction set; part
 * of conv_body.h
 *
 * Interpolation points 0, +-a, +-b and infinity with a = 1 / sqrt 2, b = sqrt 2: a b = 1 keeps the
 * entries of all three matrices near 1, and errors three times smaller than 1 and 2 do. A register
 * holds PER neighbouring tiles of 8 channels. Both transforms are the same pass over one axis,
 * first down, then across. */
#define POINT_A 0.707106781f
#define POINT_B 1.41421356f

/* y = B^T x; x and y may not be the same. */
INLINE void points_of(const vf x[6], vf y[6])
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
INLINE void pixels_of(const vf x[6], vf y[4])
{
    const float a = POINT_A, b = POINT_B;
    const vf sum_a = vf_add(x[1], x[2]), odd_a = vf_sub(x[1], x[2]);
    const vf sum_b = vf_add(x[3], x[4]), odd_b = vf_sub(x[3], x[4]);
    y[0] = vf_add(vf_add(x[0], sum_a), sum_b);
    y[1] = vf_fma(vf_set(b), odd_b, vf_mul(vf_set(a), odd_a));
    y[2] = vf_fma(vf_set(2.0f), sum_b, vf_mul(vf_set(0.5f), sum_a));
    y[3] = vf_fma(vf_set(2 * b), odd_b, vf_fma(vf_set(0.5f * a), odd_a, x[5]));
}

static void winograd_in(const struct conv_winograd *w)
{
    const size_t next = 4 * LANES; /* from tile to tile */
    for (size_t t = 0; t < w->tiles; t += PER) {
        const float *pixels = w->pixels + t * next;
        const vf_mask mask = vf_mask_of(true, t + 1 < w->tiles);
        vf down[6][6]; /* [column][point] */
        UNROLL
        for (size_t x = 0; x < 6; x++) {
            vf column[6];
            UNROLL
            for (size_t y = 0; y < 6; y++)
                column[y] = vf_load_two(pixels + y * w->row_step + x * LANES, next);
            points_of(column, down[x]);
        }
        UNROLL
        for (size_t y = 0; y < 6; y++) {
            vf row[6], points[6];
            UNROLL
            for (size_t x = 0; x < 6; x++)
                row[x] = down[x][y];
            points_of(row, points);
            float *to = w->points + y * 6 * w->point_step + t * LANES;
            UNROLL
            for (size_t x = 0; x < 6; x++)
                vf_store_where(mask, to + x * w->point_step, points[x]);
        }
    }
}

/* One row of four pixels of PER tiles. */
INLINE void row_store(const struct conv_winograd *w, float *to, bool both, const vf row[4])
{
    const vf bias = vf_load_lanes(w->bias), low = vf_set(w->low), high = vf_set(w->high);
    UNROLL
    for (size_t x = 0; x < 4; x++) {
        const vf value = vf_min(high, vf_max(low, vf_add(row[x], bias)));
#if VF == 16
        vf_store_low(to + x * LANES, value);
        if (both)
            vf_store_high(to + (4 + x) * LANES, value);
#else
        (void)both;
        vf_store(to + x * LANES, value);
#endif
    }
}

static void winograd_out(const struct conv_winograd *w)
{
    for (size_t t = 0; t < w->tiles; t += PER) {
        const bool both = t + 1 < w->tiles;
        const vf_mask mask = vf_mask_of(true, both);
        vf down[6][4]; /* [point across][pixel down] */
        UNROLL
        for (size_t x = 0; x < 6; x++) {
            vf column[6];
            UNROLL
            for (size_t y = 0; y < 6; y++)
                column[y] =
                    vf_load_where(mask, w->points + (y * 6 + x) * w->point_step + t * LANES);
            pixels_of(column, down[x]);
        }
        UNROLL
        for (size_t y = 0; y < 4; y++) {
            vf points[6], row[4];
            UNROLL
            for (size_t x = 0; x < 6; x++)
                points[x] = down[x][y];
            pixels_of(points, row);
            row_store(w, w->pixels + y * w->row_step + t * 4 * LANES, both, row);
        }
    }
}
