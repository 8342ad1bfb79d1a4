/* patches - see patches.h */
#include "worker/ops/patches.h"

#include <string.h>

static size_t product(const size_t *sizes)
{
    return sizes[0] * sizes[1] * sizes[2];
}

size_t patches_positions(const struct patches *p)
{
    return product(p->out);
}

size_t patches_row(const struct patches *p)
{
    return p->channels * product(p->window.kernel);
}

size_t patches_maps(const struct patches *p)
{
    return p->channels * product(p->map);
}

size_t patches_out(const struct patches *p, uint32_t axis)
{
    const struct window_3d *w = &p->window;
    size_t extent = (w->kernel[axis] - 1) * w->dilation[axis] + 1;
    size_t padded = p->map[axis] + w->pad_begin[axis] + w->pad_end[axis];
    return padded < extent ? 0 : (padded - extent) / w->stride[axis] + 1;
}

/* Where the window at one position begins; may be negative. */
struct corner {
    int64_t at[SPATIAL_MAX];
};

static struct corner corner_of(const struct patches *p, size_t position)
{
    struct corner c;
    for (uint32_t k = SPATIAL_MAX; k-- > 0; position /= p->out[k])
        c.at[k] =
            (int64_t)(position % p->out[k] * p->window.stride[k]) - (int64_t)p->window.pad_begin[k];
    return c;
}

/* Coordinate of tap `i` along an axis, or -1 outside of the map. */
static int64_t tap_at(const struct patches *p, const struct corner *c, uint32_t axis, size_t i)
{
    int64_t at = c->at[axis] + (int64_t)(i * p->window.dilation[axis]);
    return at >= 0 && at < (int64_t)p->map[axis] ? at : -1;
}

/* The window of one channel's map at one position. */
static char *gather_window(const struct patches *p, const struct corner *c, size_t width,
                           const char *map, const void *pad, char *to)
{
    const size_t *kernel = p->window.kernel;
    for (size_t d = 0; d < kernel[0]; d++)
        for (size_t r = 0; r < kernel[1]; r++) {
            int64_t z = tap_at(p, c, 0, d), y = tap_at(p, c, 1, r);
            const char *row =
                map +
                ((size_t)(z < 0 ? 0 : z) * p->map[1] + (size_t)(y < 0 ? 0 : y)) * p->map[2] * width;
            for (size_t k = 0; k < kernel[2]; k++, to += width) {
                int64_t x = tap_at(p, c, 2, k);
                memcpy(to, z < 0 || y < 0 || x < 0 ? pad : row + (size_t)x * width, width);
            }
        }
    return to;
}

void patches_gather(const struct patches *p, size_t width, const void *maps, const void *pad,
                    size_t first, size_t end, void *rows)
{
    char *to = rows;
    size_t map = product(p->map) * width;
    for (size_t i = first; i < end; i++) {
        struct corner c = corner_of(p, i);
        for (size_t channel = 0; channel < p->channels; channel++)
            to = gather_window(p, &c, width, (const char *)maps + channel * map, pad, to);
    }
}

static void scatter_window(const struct patches *p, const struct corner *c, const float *from,
                           float *map)
{
    const size_t *kernel = p->window.kernel;
    for (size_t d = 0; d < kernel[0]; d++)
        for (size_t r = 0; r < kernel[1]; r++, from += kernel[2]) {
            int64_t z = tap_at(p, c, 0, d), y = tap_at(p, c, 1, r);
            if (z < 0 || y < 0)
                continue;
            float *row = map + ((size_t)z * p->map[1] + (size_t)y) * p->map[2];
            for (size_t k = 0; k < kernel[2]; k++) {
                int64_t x = tap_at(p, c, 2, k);
                if (x >= 0)
                    row[x] += from[k];
            }
        }
}

void patches_scatter(const struct patches *p, size_t channel, const float *rows, size_t first,
                     size_t end, float *maps)
{
    size_t row = patches_row(p), taps = product(p->window.kernel);
    for (size_t i = first; i < end; i++) {
        struct corner c = corner_of(p, i);
        scatter_window(p, &c, rows + (i - first) * row + channel * taps,
                       maps + channel * product(p->map));
    }
}
