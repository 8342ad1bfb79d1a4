/* tensors - sizes are checked against dims before a byte is used; see tensors.h */
#include "worker/onnx/tensors.h"

#include <inttypes.h>
#include <string.h>

#include "worker/onnx/strip.h"

static enum status dims_of(const Onnx__TensorProto *t, const char *what, struct tensor *out,
                           struct error *why)
{
    if (t->n_dims > TENSOR_RANK_MAX)
        return fail(why, STATUS_BAD_MODEL, "%s has %zu dimensions; at most %d are supported", what,
                    t->n_dims, TENSOR_RANK_MAX);
    out->rank = (uint32_t)t->n_dims;
    for (size_t i = 0; i < t->n_dims; i++)
        out->dims[i] = t->dims[i];
    out->dtype = dtype_by_onnx(t->has_data_type ? t->data_type : 0);
    if (!element_bytes(out->dtype))
        return fail(why, STATUS_BAD_MODEL,
                    "%s has element type %d of ONNX's list, which is not supported", what,
                    t->has_data_type ? t->data_type : 0);
    if (!array_size(out->dtype, out->dims, out->rank, &out->bytes))
        return fail(why, STATUS_BAD_MODEL, "%s has negative dims or is larger than %zu MiB", what,
                    ARRAY_BYTES_MAX / MIB);
    return STATUS_OK;
}

/* The typed fields store several element types in wider ones; keep the low bytes of each. */
static enum status narrow(const void *field, size_t field_bytes, size_t count, const char *what,
                          struct region *region, struct tensor *out, struct error *why)
{
    size_t width = dtype_bytes(out->dtype);
    if (count != out->bytes / width)
        return fail(why, STATUS_BAD_MODEL, "%s has %zu elements; its dims say %zu", what, count,
                    out->bytes / width);
    uint8_t *data = region_take(region, out->bytes);
    for (size_t i = 0; i < count; i++)
        memcpy(data + i * width, (const uint8_t *)field + i * field_bytes, width);
    out->data = data;
    return STATUS_OK;
}

static enum status text_data(const Onnx__TensorProto *t, const char *what, struct region *region,
                             struct tensor *out, struct error *why)
{
    size_t count = out->bytes / sizeof(struct text);
    if (count != t->n_string_data || t->has_raw_data)
        return fail(why, STATUS_BAD_MODEL, "%s has %zu texts; its dims say %zu", what,
                    t->n_string_data, count);
    struct text *texts = region_array(region, count, sizeof *texts);
    for (size_t i = 0; i < count; i++) {
        size_t len = t->string_data[i].len;
        texts[i] = (struct text){region_text(region, t->string_data[i].data, len), len};
    }
    out->data = texts;
    return STATUS_OK;
}

/* Which typed field holds which element types, as onnx.proto lists them. */
static enum status typed_data(const Onnx__TensorProto *t, const char *what, struct region *region,
                              struct tensor *out, struct error *why)
{
    switch (out->dtype) {
    case DTYPE_FP32:
        return narrow(t->float_data, sizeof(float), t->n_float_data, what, region, out, why);
    case DTYPE_FP64:
        return narrow(t->double_data, sizeof(double), t->n_double_data, what, region, out, why);
    case DTYPE_INT64:
        return narrow(t->int64_data, sizeof(int64_t), t->n_int64_data, what, region, out, why);
    case DTYPE_UINT32:
    case DTYPE_UINT64:
        return narrow(t->uint64_data, sizeof(uint64_t), t->n_uint64_data, what, region, out, why);
    default:
        return narrow(t->int32_data, sizeof(int32_t), t->n_int32_data, what, region, out, why);
    }
}

enum status onnx_tensor(const Onnx__TensorProto *t, const struct source *source,
                        struct region *region, const char *what, struct tensor *out,
                        struct error *why)
{
    struct strip_ref ref;
    *out = (struct tensor){.name = t->name ? t->name : ""};
    enum status s = dims_of(t, what, out, why);
    if (s != STATUS_OK)
        return s;
    if (t->n_external_data || t->data_location == ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL) {
        const uint8_t *data;
        if (out->dtype == DTYPE_BYTES)
            return fail(why, STATUS_BAD_MODEL, "%s holds texts, and cannot lie in another file",
                        what);
        s = external_find(source->external, t, out->bytes, what, &data, why);
        if (s == STATUS_OK)
            out->data = (void *)(uintptr_t)data; /* read only, see graph_const_data */
        return s;
    }
    if (out->dtype == DTYPE_BYTES)
        return text_data(t, what, region, out, why);
    if (!t->has_raw_data)
        return typed_data(t, what, region, out, why);
    if (!strip_ref(t->raw_data.data, t->raw_data.len, source->size, &ref))
        return fail(why, STATUS_BAD_MODEL, "%s points outside of the file", what);
    if ((ref.field == STRIP_FLOATS && out->dtype != DTYPE_FP32) ||
        (ref.field == STRIP_DOUBLES && out->dtype != DTYPE_FP64))
        return fail(why, STATUS_BAD_MODEL, "%s is %s, but has its data in a field of another type",
                    what, dtype_name(out->dtype));
    if (ref.length != out->bytes)
        return fail(why, STATUS_BAD_MODEL,
                    "%s has %" PRIu64 " bytes of data; its type and dims say %zu", what, ref.length,
                    out->bytes);
    out->data = (void *)(uintptr_t)(source->bytes + ref.offset); /* see graph_const_data */
    return STATUS_OK;
}

/* Write value `k` at its place in the dense tensor; false when it has none. */
static bool scatter(const struct tensor *values, const struct tensor *indices, size_t k,
                    struct tensor *out, size_t width)
{
    uint64_t at = 0;
    size_t steps = indices->rank == 2 ? out->rank : 1;
    for (size_t d = 0; d < steps; d++) {
        int64_t index;
        memcpy(&index, (const uint8_t *)indices->data + (k * steps + d) * sizeof index,
               sizeof index);
        uint64_t end = indices->rank == 2 ? (uint64_t)out->dims[d] : out->bytes / width;
        if (index < 0 || (uint64_t)index >= end)
            return false;
        at = at * end + (uint64_t)index;
    }
    memcpy((uint8_t *)out->data + at * width, (const uint8_t *)values->data + k * width, width);
    return true;
}

enum status onnx_sparse_tensor(const Onnx__SparseTensorProto *p, struct source *source,
                               struct region *region, const char *what, struct tensor *out,
                               struct error *why)
{
    struct tensor values, indices;
    if (!p->values || !p->indices)
        return fail(why, STATUS_BAD_MODEL, "%s is sparse, but lacks values or indices", what);
    enum status s = onnx_tensor(p->values, source, region, what, &values, why);
    if (s == STATUS_OK)
        s = onnx_tensor(p->indices, source, region, what, &indices, why);
    if (s != STATUS_OK)
        return s;
    *out = (struct tensor){.name = values.name, .dtype = values.dtype, .rank = (uint32_t)p->n_dims};
    bool fits =
        p->n_dims <= TENSOR_RANK_MAX && values.rank == 1 && values.dtype != DTYPE_BYTES &&
        indices.dtype == DTYPE_INT64 &&
        (indices.rank == 1 || (indices.rank == 2 && indices.dims[1] == (int64_t)p->n_dims)) &&
        indices.dims[0] == values.dims[0];
    for (size_t i = 0; i < p->n_dims && fits; i++)
        out->dims[i] = p->dims[i];
    if (!fits || !array_size(out->dtype, out->dims, out->rank, &out->bytes))
        return fail(why, STATUS_BAD_MODEL,
                    "%s is sparse: its dims, values [n] and indices [n] or [n,rank] do not fit",
                    what);
    if (out->bytes > DENSE_BYTES_MAX - source->dense_bytes)
        return fail(why, STATUS_TOO_LARGE, "the model's sparse tensors take more than %zu MiB",
                    DENSE_BYTES_MAX / MIB);
    source->dense_bytes += out->bytes;
    out->data = region_take(region, out->bytes);
    for (size_t k = 0; k < (size_t)values.dims[0]; k++)
        if (!scatter(&values, &indices, k, out, dtype_bytes(out->dtype)))
            return fail(why, STATUS_BAD_MODEL, "%s is sparse: index %zu lies outside of its dims",
                        what, k);
    return STATUS_OK;
}

enum status onnx_value_info(const Onnx__ValueInfoProto *info, const char *what, struct tensor *out,
                            bool *has_dims, struct error *why)
{
    *out = (struct tensor){.name = info->name ? info->name : ""};
    *has_dims = false;
    if (!info->type || info->type->value_case != ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE)
        return fail(why, STATUS_BAD_MODEL, "%s is not a tensor; only tensors are supported", what);
    const Onnx__TypeProto__Tensor *type = info->type->tensor_type;
    out->dtype = dtype_by_onnx(type->has_elem_type ? type->elem_type : 0);
    if (!element_bytes(out->dtype))
        return fail(why, STATUS_BAD_MODEL,
                    "%s has element type %d of ONNX's list, which is not supported", what,
                    type->has_elem_type ? type->elem_type : 0);
    if (!type->shape)
        return STATUS_OK;
    if (type->shape->n_dim > TENSOR_RANK_MAX)
        return fail(why, STATUS_BAD_MODEL, "%s has %zu dimensions; at most %d are supported", what,
                    type->shape->n_dim, TENSOR_RANK_MAX);
    out->rank = (uint32_t)type->shape->n_dim;
    for (uint32_t i = 0; i < out->rank; i++) {
        const Onnx__TensorShapeProto__Dimension *d = type->shape->dim[i];
        bool fixed = d->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
        /* Some exporters write 0 or a negative number for an open dimension. */
        out->dims[i] = fixed && d->dim_value > 0 ? d->dim_value : -1;
    }
    *has_dims = true;
    return STATUS_OK;
}
