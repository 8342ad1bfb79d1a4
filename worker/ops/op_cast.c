/* op_cast - Cast and CastLike between numeric types and texts */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "worker/kernels/half.h"
#include "worker/kernels/vector.h"
#include "worker/ops/ops.h"
#include "worker/ops/scalar.h"

#define TEXT_OF_NUMBER 32  /* enough for any number that is written, and its NUL */
#define NUMBER_IN_TEXT 512 /* longest that is read */

/* Up to opset 5 the type came by its name in ONNX's list. */
static enum dtype dtype_by_text(const char *name)
{
    static const struct {
        const char *name;
        enum dtype dtype;
    } types[] = {
        {"FLOAT", DTYPE_FP32},    {"DOUBLE", DTYPE_FP64},   {"FLOAT16", DTYPE_FP16},
        {"INT8", DTYPE_INT8},     {"INT16", DTYPE_INT16},   {"INT32", DTYPE_INT32},
        {"INT64", DTYPE_INT64},   {"UINT8", DTYPE_UINT8},   {"UINT16", DTYPE_UINT16},
        {"UINT32", DTYPE_UINT32}, {"UINT64", DTYPE_UINT64}, {"BOOL", DTYPE_BOOL},
    };
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        if (strcmp(types[i].name, name) == 0)
            return types[i].dtype;
    return DTYPE_NONE;
}

enum status cast_named_check(struct node *node, struct error *why)
{
    enum dtype *to = region_take(node->region, sizeof *to);
    const char *name = attr_text(node, "to", "");
    *to = dtype_by_text(name);
    if (*to == DTYPE_NONE)
        return bad_node(why, node, "cannot cast to type \"%.60s\"", name);
    node->state = to;
    return STATUS_OK;
}

enum status cast_check(struct node *node, struct error *why)
{
    enum dtype *to = region_take(node->region, sizeof *to);
    int64_t code = attr_int(node, "to", 0);
    *to = code > 0 && code < 64 ? dtype_by_onnx((int)code) : DTYPE_NONE;
    attr_ignore(node, "saturate");   /* of 8-bit floats, which dtype.def does not have */
    attr_ignore(node, "round_mode"); /* likewise */
    if (!element_bytes(*to))
        return bad_node(why, node, "cannot cast to type %d of ONNX's list", (int)code);
    node->state = to;
    return STATUS_OK;
}

enum status cast_like_check(struct node *node, struct error *why)
{
    (void)why;
    attr_ignore(node, "saturate"); /* as above */
    attr_ignore(node, "round_mode");
    return STATUS_OK;
}

enum status cast_shape(struct step *step, struct error *why)
{
    const struct array *like = step_in(step, 1); /* of CastLike */
    enum dtype to = like ? like->dtype : *(const enum dtype *)step->node->state;
    step->texts = to == DTYPE_BYTES;
    return out_like(step, 0, to, step->in[0], why);
}

static void from_float(const struct array *in, const struct array *out, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        double x = scalar_float(in->dtype, in->data, i);
        if (dtype_is_float(out->dtype))
            scalar_set_float(out->dtype, out->data, i, x);
        else if (out->dtype == DTYPE_BOOL)
            scalar_set_int(out->dtype, out->data, i, x != 0);
        else if (out->dtype == DTYPE_UINT64 && x >= 0x1p63)
            scalar_set_int(out->dtype, out->data, i,
                           x < 0x1p64 ? (int64_t)(uint64_t)x : (int64_t)UINT64_MAX);
        else
            scalar_set_int(out->dtype, out->data, i, scalar_truncate(x));
    }
}

static void from_int(const struct array *in, const struct array *out, size_t n)
{
    bool is_unsigned = in->dtype == DTYPE_UINT64;
    for (size_t i = 0; i < n; i++) {
        int64_t x = scalar_int(in->dtype, in->data, i);
        if (out->dtype == DTYPE_FP32) /* at once: rounding to double first would round twice */
            ((float *)out->data)[i] = is_unsigned ? (float)(uint64_t)x : (float)x;
        else if (dtype_is_float(out->dtype))
            scalar_set_float(out->dtype, out->data, i,
                             is_unsigned ? (double)(uint64_t)x : (double)x);
        else
            scalar_set_int(out->dtype, out->data, i, x);
    }
}

/* The shortest decimal that reads back as the same number; "NaN", "INF" and "-INF" as ONNX has
 * them. */
static void write_float(char *into, double x, enum dtype t)
{
    int digits = 1;
    if (x != x || x - x != 0) {
        snprintf(into, TEXT_OF_NUMBER, "%s", x != x ? "NaN" : x > 0 ? "INF" : "-INF");
        return;
    }
    do
        snprintf(into, TEXT_OF_NUMBER, "%.*g", digits, x);
    while (digits++ < 17 &&
           (t == DTYPE_FP64 ? strtod(into, NULL) : (double)strtof(into, NULL)) != x);
}

static void write_number(char *into, const struct array *in, size_t i)
{
    if (dtype_is_float(in->dtype))
        write_float(into, scalar_float(in->dtype, in->data, i), in->dtype);
    else if (in->dtype == DTYPE_UINT64)
        snprintf(into, TEXT_OF_NUMBER, "%" PRIu64, (uint64_t)scalar_int(in->dtype, in->data, i));
    else
        snprintf(into, TEXT_OF_NUMBER, "%" PRId64, scalar_int(in->dtype, in->data, i));
}

static enum status to_texts(const struct step *step, size_t n, struct error *why)
{
    struct text *texts = step->out[0]->data;
    char *room;
    enum status s = text_take(step, n * TEXT_OF_NUMBER, &room, why);
    for (size_t i = 0; i < n && s == STATUS_OK; i++, room += TEXT_OF_NUMBER) {
        write_number(room, step->in[0], i);
        texts[i] = (struct text){room, strlen(room)};
    }
    return s;
}

/* False where `from` is not one number from end to end. */
static bool read_number(const char *from, const struct array *out, size_t i)
{
    char *end = NULL;
    if (from[strcspn(from, "xX \t\n\v\f\r")]) /* C's hexadecimal numbers, and what strtod skips */
        return false;
    if (out->dtype == DTYPE_FP32)
        ((float *)out->data)[i] = strtof(from, &end);
    else if (dtype_is_float(out->dtype))
        scalar_set_float(out->dtype, out->data, i, strtod(from, &end));
    else if (out->dtype == DTYPE_UINT64)
        scalar_set_int(out->dtype, out->data, i, (int64_t)strtoull(from, &end, 10));
    else
        scalar_set_int(out->dtype, out->data, i, strtoll(from, &end, 10));
    return end != from && *end == '\0';
}

static enum status from_texts(const struct step *step, size_t n, struct error *why)
{
    char one[NUMBER_IN_TEXT];
    for (size_t i = 0; i < n; i++) {
        struct text t = ((const struct text *)step->in[0]->data)[i];
        size_t len = MIN(t.len, sizeof one - 1);
        if (len)
            memcpy(one, t.at, len);
        one[len] = '\0';
        if (t.len != strlen(one) || !read_number(one, step->out[0], i))
            return bad_step(why, step, "text %zu, \"%.60s\", is no number", i, one);
    }
    return STATUS_OK;
}

enum status cast_compute(const struct step *step, struct error *why)
{
    const struct array *in = step->in[0], *out = step->out[0];
    size_t n = array_count(in);
    if (in->dtype == DTYPE_BYTES && out->dtype == DTYPE_BYTES)
        memcpy(out->data, in->data, out->bytes);
    else if (in->dtype == DTYPE_BYTES)
        return from_texts(step, n, why);
    else if (out->dtype == DTYPE_BYTES)
        return to_texts(step, n, why);
    else if (in->dtype == DTYPE_UINT8 && out->dtype == DTYPE_FP32)
        vec_from_u8(n, 1.0f, in->data, out->data);
    else if (dtype_is_half(in->dtype) && out->dtype == DTYPE_FP32)
        half_to_fp32(in->dtype, n, in->data, out->data);
    else if (in->dtype == DTYPE_FP32 && dtype_is_half(out->dtype))
        half_from_fp32(out->dtype, n, in->data, out->data);
    else if (dtype_is_float(in->dtype))
        from_float(in, out, n);
    else
        from_int(in, out, n);
    return STATUS_OK;
}

/* Only the type of input 1 counts, whatever its rows are. */
void cast_like_rows(const struct rows_step *s, const struct rows_at *in, struct rows_at *out)
{
    (void)s;
    out[0] = in[0];
}
