/* op_sample - GridSample: an image read at given places */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "worker/kernels/par.h"
#include "worker/ops/ops.h"
#include "worker/ops/window.h"

enum sample_mode { SAMPLE_LINEAR, SAMPLE_NEAREST, SAMPLE_CUBIC };
enum sample_padding { SAMPLE_ZEROS, SAMPLE_BORDER, SAMPLE_REFLECTION };

#define TAPS_MAX 4
#define CUBIC_A  (-0.75)

struct sample {
    enum sample_mode mode;
    enum sample_padding padding;
    bool align; /* -1 and 1 are the centers of the outermost pixels, not their edges */
};

enum status sample_check(struct node *node, struct error *why)
{
    struct sample *s = region_take(node->region, sizeof *s);
    const char *mode = attr_text(node, "mode", "linear");
    const char *padding = attr_text(node, "padding_mode", "zeros");
    node->state = s;
    s->align = attr_int(node, "align_corners", 0) != 0;
    if (strcmp(mode, "nearest") == 0)
        s->mode = SAMPLE_NEAREST;
    else if (strcmp(mode, "cubic") == 0 || strcmp(mode, "bicubic") == 0)
        s->mode = SAMPLE_CUBIC;
    else if (strcmp(mode, "linear") != 0 && strcmp(mode, "bilinear") != 0)
        return bad_node(why, node, "mode \"%.40s\" is unknown", mode);
    if (strcmp(padding, "border") == 0)
        s->padding = SAMPLE_BORDER;
    else if (strcmp(padding, "reflection") == 0)
        s->padding = SAMPLE_REFLECTION;
    else if (strcmp(padding, "zeros") != 0)
        return bad_node(why, node, "padding_mode \"%.40s\" is unknown", padding);
    return STATUS_OK;
}

/* x: [n][c][h][w], grid: [n][out h][out w][2 = x, y]; or one axis more of each. */
enum status sample_shape(struct step *step, struct error *why)
{
    const struct array *x = step->in[0], *grid = step->in[1];
    int64_t dims[5];
    char text[2][128];
    bool fits = (x->rank == 4 || x->rank == 5) && grid->rank == x->rank &&
                grid->dims[x->rank - 1] == x->rank - 2 && grid->dims[0] == x->dims[0];
    if (!fits || x->dtype != DTYPE_FP32 || grid->dtype != DTYPE_FP32)
        return bad_step(why, step, "input %s %s does not fit grid %s %s", dtype_name(x->dtype),
                        dims_text(text[0], sizeof text[0], x->dims, x->rank),
                        dtype_name(grid->dtype),
                        dims_text(text[1], sizeof text[1], grid->dims, grid->rank));
    for (uint32_t k = 2; k < x->rank; k++)
        if (x->dims[k] < 1 || x->dims[k] > INT32_MAX)
            return bad_step(why, step, "axis %u of the input has size %" PRId64, k, x->dims[k]);
    dims[0] = x->dims[0];
    dims[1] = x->dims[1];
    for (uint32_t k = 2; k < x->rank; k++)
        dims[k] = grid->dims[k - 1];
    return out_set(step, 0, DTYPE_FP32, dims, x->rank, why);
}

/* Back into low..high, as often as it takes. */
static double reflect(double x, double low, double high)
{
    double range = high - low;
    if (range <= 0)
        return low;
    double far = fmod(fabs(x - low), 2 * range);
    return low + (far > range ? 2 * range - far : far);
}

/* Pixel `i` of an axis under the padding rule, or -1: a zero. */
static int64_t pixel(const struct sample *s, double i, int64_t size)
{
    if (s->padding == SAMPLE_BORDER)
        i = fmin(fmax(i, 0), (double)(size - 1));
    else if (s->padding == SAMPLE_REFLECTION)
        i = s->align ? reflect(i, 0, (double)(size - 1)) : reflect(i, -0.5, (double)size - 0.5);
    return i >= 0 && i <= (double)(size - 1) ? (int64_t)i : -1;
}

struct taps {
    uint32_t len;
    int64_t at[TAPS_MAX];
    float weight[TAPS_MAX];
};

static float cubic(double distance)
{
    double x = fabs(distance), a = CUBIC_A;
    return (float)(x <= 1  ? ((a + 2) * x - (a + 3)) * x * x + 1
                   : x < 2 ? ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
                           : 0);
}

/* Pixels and weights along one axis for place g, which is -1 to 1 inside of the image. */
static void find_taps(const struct sample *s, float g, int64_t size, struct taps *t)
{
    double x = s->align ? ((double)g + 1) / 2 * (double)(size - 1)
                        : (((double)g + 1) * (double)size - 1) / 2;
    x = fmin(fmax(x, -0x1p31), 0x1p31); /* NaN becomes a place far outside */
    if (s->padding != SAMPLE_ZEROS && s->mode != SAMPLE_CUBIC) {
        if (s->padding == SAMPLE_REFLECTION)
            x = s->align ? reflect(x, 0, (double)(size - 1)) : reflect(x, -0.5, (double)size - 0.5);
        x = fmin(fmax(x, 0), (double)(size - 1));
    }
    double first = s->mode == SAMPLE_NEAREST  ? nearbyint(x)
                   : s->mode == SAMPLE_LINEAR ? floor(x)
                                              : floor(x) - 1;
    t->len = s->mode == SAMPLE_NEAREST ? 1 : s->mode == SAMPLE_LINEAR ? 2 : 4;
    for (uint32_t i = 0; i < t->len; i++) {
        double at = first + i;
        t->at[i] = pixel(s, at, size);
        t->weight[i] = s->mode == SAMPLE_NEAREST  ? 1
                       : s->mode == SAMPLE_LINEAR ? (float)(1 - fabs(at - x))
                                                  : cubic(at - x);
    }
}

static float sample_map(const float *map, const size_t *size, const struct taps *t)
{
    float sum = 0;
    for (uint32_t d = 0; d < t[0].len; d++)
        for (uint32_t r = 0; r < t[1].len; r++) {
            float row = 0;
            for (uint32_t c = 0; c < t[2].len; c++) {
                bool inside = t[0].at[d] >= 0 && t[1].at[r] >= 0 && t[2].at[c] >= 0;
                size_t at = ((size_t)t[0].at[d] * size[1] + (size_t)t[1].at[r]) * size[2] +
                            (size_t)t[2].at[c];
                row += inside ? map[at] * t[2].weight[c] : 0;
            }
            sum += row * t[0].weight[d] * t[1].weight[r];
        }
    return sum;
}

/* An item is one place of one image; all channels are read there. */
static void sample_items(void *arg, size_t slot, size_t begin, size_t end)
{
    const struct step *step = arg;
    const struct array *x = step->in[0], *out = step->out[0];
    const struct sample *s = step->node->state;
    uint32_t axes = x->rank - 2;
    size_t places = dims_span(out, 2, out->rank), map = dims_span(x, 2, x->rank);
    size_t channels = (size_t)x->dims[1], size[SPATIAL_MAX];
    window_sizes(x, size);
    (void)slot;
    for (size_t i = begin; i < end; i++) {
        const float *g = (const float *)step->in[1]->data + i * axes;
        struct taps t[SPATIAL_MAX] = {{1, {0}, {1}}, {1, {0}, {1}}, {1, {0}, {1}}};
        for (uint32_t k = 0; k < axes; k++) /* x comes first in the grid, last in the image */
            find_taps(s, g[k], (int64_t)size[SPATIAL_MAX - 1 - k], &t[SPATIAL_MAX - 1 - k]);
        for (size_t c = 0; c < channels; c++) {
            size_t m = i / places * channels + c;
            ((float *)out->data)[m * places + i % places] =
                sample_map((const float *)x->data + m * map, size, t);
        }
    }
}

enum status sample_compute(const struct step *step, struct error *why)
{
    (void)why;
    const struct array *out = step->out[0];
    size_t places = (size_t)out->dims[0] * dims_span(out, 2, out->rank);
    par_for(places, (double)array_count(out) * 32, sample_items, (void *)(uintptr_t)step);
    return STATUS_OK;
}

/* Images and grids with their rows in front. */
void sample_rows(const struct rows_step *s, const struct rows_at *in, struct rows_at *out)
{
    if (rows_axis(s, s->step->in[0], in[0]) == 0 && rows_axis(s, s->step->in[1], in[1]) == 0)
        out[0] = (struct rows_at){ROWS_ALONG, 1};
}
