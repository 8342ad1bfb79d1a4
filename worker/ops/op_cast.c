/* op_cast - Cast between numeric types */
#include <math.h>

#include "worker/kernels/vector.h"
#include "worker/ops/ops.h"
#include "worker/ops/scalar.h"

enum status cast_check(struct node *node, struct error *why)
{
    enum dtype *to = region_take(node->region, sizeof *to);
    int64_t code = attr_int(node, "to", 0);
    *to = code > 0 && code < 64 ? dtype_by_onnx((int)code) : DTYPE_NONE;
    attr_ignore(node, "saturate");   /* of 8-bit floats, which dtype.def does not have */
    attr_ignore(node, "round_mode"); /* likewise */
    if (!dtype_bytes(*to))
        return bad_node(why, node, "cannot cast to type %d of ONNX's list", (int)code);
    node->state = to;
    return STATUS_OK;
}

enum status cast_shape(struct step *step, struct error *why)
{
    return out_like(step, 0, *(const enum dtype *)step->node->state, step->in[0], why);
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

enum status cast_compute(const struct step *step, struct error *why)
{
    (void)why;
    const struct array *in = step->in[0], *out = step->out[0];
    size_t n = array_count(in);
    if (in->dtype == DTYPE_UINT8 && out->dtype == DTYPE_FP32)
        vec_from_u8(n, 1.0f, in->data, out->data);
    else if (dtype_is_float(in->dtype))
        from_float(in, out, n);
    else
        from_int(in, out, n);
    return STATUS_OK;
}
