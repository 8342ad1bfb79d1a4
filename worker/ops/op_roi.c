/* op_roi - RoiAlign: regions of a map, resampled to one size */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "worker/kernels/par.h"
#include "worker/ops/ops.h"

struct roi {
    bool largest; /* mode max; else the mean */
    double shift; /* half a pixel, or none */
    int64_t height, width;
    int64_t samples; /* per bin and axis; 0: as many as pixels */
    float scale;
};

enum status roi_check(struct node *node, struct error *why)
{
    struct roi *r = region_take(node->region, sizeof *r);
    const char *mode = attr_text(node, "mode", "avg");
    const char *place = node->opset >= 16
                            ? attr_text(node, "coordinate_transformation_mode", "half_pixel")
                            : "output_half_pixel";
    node->state = r;
    r->height = attr_int(node, "output_height", 1);
    r->width = attr_int(node, "output_width", 1);
    r->samples = attr_int(node, "sampling_ratio", 0);
    r->scale = attr_float(node, "spatial_scale", 1.0f);
    r->largest = strcmp(mode, "max") == 0;
    r->shift = strcmp(place, "half_pixel") == 0 ? 0.5 : 0;
    if (!r->largest && strcmp(mode, "avg") != 0)
        return bad_node(why, node, "mode \"%.40s\" is unknown; expected avg or max", mode);
    if (r->shift == 0 && strcmp(place, "output_half_pixel") != 0)
        return bad_node(why, node, "coordinate_transformation_mode \"%.40s\" is unknown", place);
    if (r->height < 1 || r->width < 1 || r->samples < 0 || r->height > INT32_MAX ||
        r->width > INT32_MAX || r->samples > 1024)
        return bad_node(why, node, "output_height, output_width or sampling_ratio is not possible");
    return STATUS_OK;
}

/* x: [n][c][h][w], rois: [regions][x1, y1, x2, y2], their images: [regions]. */
enum status roi_shape(struct step *step, struct error *why)
{
    const struct array *x = step->in[0], *rois = step->in[1], *images = step->in[2];
    const struct roi *r = step->node->state;
    if (x->dtype != DTYPE_FP32 || x->rank != 4 || rois->dtype != DTYPE_FP32 || rois->rank != 2 ||
        rois->dims[1] != 4 || images->dtype != DTYPE_INT64 || images->rank != 1 ||
        images->dims[0] != rois->dims[0] || x->dims[2] < 1 || x->dims[3] < 1)
        return bad_step(why, step,
                        "expected FP32 maps of rank 4, FP32 regions [n,4] and INT64 images [n]");
    int64_t dims[4] = {rois->dims[0], x->dims[1], r->height, r->width};
    return out_set(step, 0, DTYPE_FP32, dims, 4, why);
}

/* One weighted pixel pair along an axis. */
struct pair {
    size_t low, high;
    double part; /* of high */
};

static bool find_pair(double at, int64_t size, struct pair *p)
{
    if (!(at >= -1 && at <= (double)size))
        return false;
    at = fmax(at, 0);
    int64_t low = MIN((int64_t)at, size - 1);
    *p = (struct pair){(size_t)low, (size_t)MIN(low + 1, size - 1),
                       low == size - 1 ? 0 : at - (double)low};
    return true;
}

/* The region in map coordinates, cut into bins. */
struct bins {
    double top, left, height, width; /* of the region's corner; of one bin */
    int64_t rows, cols;              /* samples in a bin */
};

static struct bins bins_of(const struct roi *r, const float *box)
{
    double scale = (double)r->scale, left = (double)box[0] * scale - r->shift;
    double top = (double)box[1] * scale - r->shift;
    double width = (double)box[2] * scale - r->shift - left;
    double height = (double)box[3] * scale - r->shift - top;
    if (r->shift == 0) { /* older models: at least one pixel */
        width = fmax(width, 1);
        height = fmax(height, 1);
    }
    struct bins b = {top,        left,      height / (double)r->height, width / (double)r->width,
                     r->samples, r->samples};
    if (!r->samples) {
        b.rows = (int64_t)fmin(fmax(ceil(b.height), 1), 1024);
        b.cols = (int64_t)fmin(fmax(ceil(b.width), 1), 1024);
    }
    return b;
}

static float bin_value(const struct roi *r, const struct bins *b, const float *map, int64_t h,
                       int64_t w, int64_t y, int64_t x)
{
    double sum = 0, largest = -INFINITY;
    struct pair v, u;
    for (int64_t i = 0; i < b->rows; i++)
        for (int64_t k = 0; k < b->cols; k++) {
            double row = b->top + ((double)y + ((double)i + 0.5) / (double)b->rows) * b->height;
            double col = b->left + ((double)x + ((double)k + 0.5) / (double)b->cols) * b->width;
            if (!find_pair(row, h, &v) || !find_pair(col, w, &u)) {
                largest = fmax(largest, 0);
                continue;
            }
            const float *low = map + v.low * (size_t)w, *high = map + v.high * (size_t)w;
            double parts[4] = {(1 - v.part) * (1 - u.part) * (double)low[u.low],
                               (1 - v.part) * u.part * (double)low[u.high],
                               v.part * (1 - u.part) * (double)high[u.low],
                               v.part * u.part * (double)high[u.high]};
            sum += parts[0] + parts[1] + parts[2] + parts[3];
            for (int p = 0; p < 4;
                 p++) /* of the weighted pixels, as the standard's tests have it */
                largest = fmax(largest, parts[p]);
        }
    return (float)(r->largest ? largest : sum / (double)(b->rows * b->cols));
}

static void roi_items(void *arg, size_t slot, size_t begin, size_t end)
{
    const struct step *step = arg;
    const struct roi *r = step->node->state;
    const struct array *x = step->in[0];
    size_t channels = (size_t)x->dims[1], map = dims_span(x, 2, 4);
    size_t size = (size_t)(r->height * r->width);
    (void)slot;
    for (size_t i = begin; i < end; i++) {
        size_t region = i / channels;
        struct bins b = bins_of(r, (const float *)step->in[1]->data + 4 * region);
        size_t image = (size_t)((const int64_t *)step->in[2]->data)[region];
        const float *from = (const float *)x->data + (image * channels + i % channels) * map;
        for (size_t o = 0; o < size; o++)
            ((float *)step->out[0]->data)[i * size + o] = bin_value(
                r, &b, from, x->dims[2], x->dims[3], (int64_t)o / r->width, (int64_t)o % r->width);
    }
}

enum status roi_compute(const struct step *step, struct error *why)
{
    const int64_t *images = step->in[2]->data;
    size_t regions = (size_t)step->in[1]->dims[0];
    for (size_t i = 0; i < regions; i++)
        if (images[i] < 0 || images[i] >= step->in[0]->dims[0])
            return bad_step(why, step, "region %zu is of image %" PRId64 " of %" PRId64, i,
                            images[i], step->in[0]->dims[0]);
    par_for(regions * (size_t)step->in[0]->dims[1], (double)array_count(step->out[0]) * 64,
            roi_items, (void *)(uintptr_t)step);
    return STATUS_OK;
}
