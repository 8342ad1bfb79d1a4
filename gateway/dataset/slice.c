#include "gateway/dataset/slice.h"

#include <string.h>

enum status slice_make(struct slice *out, const struct tensor *output, uint32_t axis, uint64_t rows,
                       struct error *why)
{
    char shape[128];
    dims_text(shape, sizeof(shape), output->dims, output->rank);
    *out = (struct slice){
        .dtype = output->dtype, .rank = output->rank, .axis = axis, .rows = 1, .outer = 1};
    memcpy(out->dims, output->dims, sizeof(out->dims));
    out->piece_bytes = out->row_bytes = output->bytes;
    if (axis == SLICE_WHOLE)
        return STATUS_OK;
    if (axis >= output->rank || (uint64_t)output->dims[axis] != rows)
        return fail(why, STATUS_INVALID,
                    "output \"%s\": expected %llu rows along axis %u, its shape is %s",
                    output->name, (unsigned long long)rows, axis, shape);
    if (output->dtype == DTYPE_BYTES && rows != 1)
        return fail(why, STATUS_INVALID, "output \"%s\": rows of texts cannot be told apart",
                    output->name);
    for (uint32_t i = 0; i < axis; i++)
        out->outer *= (size_t)output->dims[i];
    memmove(out->dims + axis, out->dims + axis + 1,
            (output->rank - axis - 1) * sizeof(out->dims[0]));
    out->rank--;
    out->rows = rows;
    out->row_bytes = rows ? output->bytes / rows : 0;
    out->piece_bytes = out->outer ? out->row_bytes / out->outer : 0;
    return STATUS_OK;
}

void slice_copy(const struct slice *self, const void *data, uint64_t row, void *into)
{
    const char *from = (const char *)data + row * self->piece_bytes;
    for (size_t i = 0; i < self->outer; i++)
        memcpy((char *)into + i * self->piece_bytes, from + i * self->rows * self->piece_bytes,
               self->piece_bytes);
}
