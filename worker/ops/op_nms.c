/* op_nms - NonMaxSuppression: per image and class, boxes by falling score that overlap none taken
 * before */
#include <inttypes.h>

#include "worker/ops/ops.h"
#include "worker/ops/scalar.h"
#include "worker/ops/sort.h"

enum nms_input { NMS_BOXES, NMS_SCORES, NMS_BOXES_MAX, NMS_OVERLAP, NMS_SCORE };

enum status nms_check(struct node *node, struct error *why)
{
    bool *centers = region_take(node->region, sizeof *centers);
    int64_t form = attr_int(node, "center_point_box", 0);
    *centers = form == 1;
    node->state = centers;
    return form == 0 || form == 1
               ? STATUS_OK
               : bad_node(why, node, "center_point_box is %" PRId64 "; expected 0 or 1", form);
}

/* boxes: [images][boxes][4], scores: [images][classes][boxes]. */
enum status nms_shape(struct step *step, struct error *why)
{
    const struct array *boxes = step->in[NMS_BOXES], *scores = step->in[NMS_SCORES];
    char text[2][128];
    bool fits = boxes->rank == 3 && scores->rank == 3 && boxes->dims[2] == 4 &&
                boxes->dims[0] == scores->dims[0] && boxes->dims[1] == scores->dims[2];
    if (!fits || boxes->dtype != DTYPE_FP32 || scores->dtype != DTYPE_FP32)
        return bad_step(why, step,
                        "boxes are %s %s, scores %s %s; expected FP32 [images,boxes,4] and "
                        "[images,classes,boxes]",
                        dtype_name(boxes->dtype),
                        dims_text(text[0], sizeof text[0], boxes->dims, boxes->rank),
                        dtype_name(scores->dtype),
                        dims_text(text[1], sizeof text[1], scores->dims, scores->rank));
    for (uint32_t i = NMS_BOXES_MAX; i < step->in_len; i++) {
        const struct array *a = step->in[i];
        enum dtype t = i == NMS_BOXES_MAX ? DTYPE_INT64 : DTYPE_FP32;
        if (a && (a->dtype != t || array_count(a) != 1))
            return bad_step(why, step, "input %u must be one %s", i, dtype_name(t));
    }
    /* A list of candidates of one class, and what all classes have taken. */
    step->scratch_bytes =
        (size_t)boxes->dims[1] * sizeof(int64_t) + array_count(scores) * sizeof(uint32_t);
    step->late = true;
    return (uint64_t)boxes->dims[1] <= UINT32_MAX
               ? STATUS_OK
               : bad_step(why, step, "%" PRId64 " boxes are too many", boxes->dims[1]);
}

struct box {
    float top, left, bottom, right;
};

static struct box box_of(const float *b, bool centers)
{
    if (centers) /* x, y, width, height */
        return (struct box){b[1] - b[3] / 2, b[0] - b[2] / 2, b[1] + b[3] / 2, b[0] + b[2] / 2};
    return (struct box){MIN(b[0], b[2]), MIN(b[1], b[3]), MAX(b[0], b[2]), MAX(b[1], b[3])};
}

/* Intersection over union is larger than `limit`. */
static bool overlap(struct box a, struct box b, float limit)
{
    float height = MIN(a.bottom, b.bottom) - MAX(a.top, b.top);
    float width = MIN(a.right, b.right) - MAX(a.left, b.left);
    float area_a = (a.bottom - a.top) * (a.right - a.left);
    float area_b = (b.bottom - b.top) * (b.right - b.left);
    if (height <= 0 || width <= 0 || area_a <= 0 || area_b <= 0)
        return false;
    float shared = height * width;
    return shared / (area_a + area_b - shared) > limit;
}

struct limits {
    int64_t boxes_max;
    float overlap, score;
    bool by_score, centers;
};

static struct limits limits_of(const struct step *step)
{
    const struct array *most = step_in(step, NMS_BOXES_MAX), *iou = step_in(step, NMS_OVERLAP);
    const struct array *score = step_in(step, NMS_SCORE);
    return (struct limits){
        .boxes_max = most ? *(const int64_t *)most->data : 0,
        .overlap = iou ? *(const float *)iou->data : 0,
        .score = score ? *(const float *)score->data : 0,
        .by_score = score != NULL,
        .centers = *(const bool *)step->node->state,
    };
}

static bool higher_first(const void *scores, int64_t a, int64_t b)
{
    float x = ((const float *)scores)[a], y = ((const float *)scores)[b];
    return x > y || (!(x < y) && a < b);
}

/* Boxes that one class takes, into `taken`; how many. */
static size_t take_boxes(const struct limits *l, const float *boxes, const float *scores,
                         size_t boxes_len, int64_t *candidates, uint32_t *taken)
{
    size_t len = 0, count = 0;
    for (size_t i = 0; i < boxes_len; i++)
        if (scores[i] == scores[i] && (!l->by_score || scores[i] > l->score))
            candidates[len++] = (int64_t)i;
    sort_first(candidates, len, len, higher_first, scores);
    for (size_t i = 0; i < len && (int64_t)count < l->boxes_max; i++) {
        struct box box = box_of(boxes + 4 * candidates[i], l->centers);
        bool clear = true;
        for (size_t k = 0; k < count && clear; k++)
            clear = !overlap(box, box_of(boxes + 4 * (size_t)taken[k], l->centers), l->overlap);
        if (clear)
            taken[count++] = (uint32_t)candidates[i];
    }
    return count;
}

enum status nms_compute(const struct step *step, struct error *why)
{
    const struct array *boxes = step->in[NMS_BOXES], *scores = step->in[NMS_SCORES];
    struct limits l = limits_of(step);
    size_t boxes_len = (size_t)boxes->dims[1], classes = (size_t)scores->dims[1];
    size_t rows = (size_t)boxes->dims[0] * classes, total = 0;
    int64_t *candidates = step->scratch, dims[2] = {0, 3};
    uint32_t *taken = (uint32_t *)(candidates + boxes_len);
    for (size_t r = 0; r < rows;
         r++) { /* each row's count stands behind what it took, or is full */
        uint32_t *own = taken + r * boxes_len;
        size_t count =
            take_boxes(&l, (const float *)boxes->data + r / classes * boxes_len * 4,
                       (const float *)scores->data + r * boxes_len, boxes_len, candidates, own);
        if (count < boxes_len)
            own[count] = UINT32_MAX;
        total += count;
    }
    dims[0] = (int64_t)total;
    enum status s = out_make(step, 0, DTYPE_INT64, dims, 2, why);
    int64_t *to = s == STATUS_OK && step_out(step, 0) ? step->out[0]->data : NULL;
    for (size_t r = 0; to && r < rows; r++)
        for (size_t i = 0; i < boxes_len && taken[r * boxes_len + i] != UINT32_MAX; i++) {
            *to++ = (int64_t)(r / classes);
            *to++ = (int64_t)(r % classes);
            *to++ = taken[r * boxes_len + i];
        }
    return s;
}
