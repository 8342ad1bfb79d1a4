/* output_array - answers as one .npy array: header, places, what fills the gaps */
#include "gateway/dataset/output_private.h"

#include "common/file.h"
#include "common/npy.h"

#include <stdlib.h>
#include <string.h>

#define FILL_BYTES (64 * KIB) /* gaps are filled in pieces of about this size */

enum status output_match_array(struct output *self, const struct slice *slice, struct error *why)
{
    struct output_state *next = &self->next;
    if (next->dtype == DTYPE_NONE) {
        uint8_t header[NPY_WRITE_HEADER_MAX];
        int64_t dims[TENSOR_RANK_MAX + 1] = {(int64_t)self->config.rows};
        if (slice->rank >= TENSOR_RANK_MAX)
            return fail(why, STATUS_INVALID, "a row with %u axes does not fit .npy; use JSON Lines",
                        slice->rank);
        memcpy(dims + 1, slice->dims, slice->rank * sizeof(dims[0]));
        size_t size = npy_make_header(header, slice->dtype, slice->rank + 1, dims);
        if (size == 0)
            return fail(why, STATUS_INVALID, "NumPy has no type for %s; use JSON Lines",
                        dtype_name(slice->dtype));
        enum status status = file_pwrite_all(self->fd, header, size, 0, self->config.path, why);
        if (status != STATUS_OK)
            return status;
        next->dtype = slice->dtype;
        next->rank = slice->rank;
        memcpy(next->dims, slice->dims, sizeof(next->dims));
        next->header_bytes = size;
        next->row_bytes = slice->row_bytes;
        next->bytes = size + self->config.rows * slice->row_bytes;
        return STATUS_OK;
    }
    if (slice->dtype == next->dtype && slice->rank == next->rank &&
        memcmp(slice->dims, next->dims, slice->rank * sizeof(slice->dims[0])) == 0)
        return STATUS_OK;
    char wanted[128], got[128];
    return fail(
        why, STATUS_INVALID,
        "the answer is %s %s, but earlier rows are %s %s and .npy holds one shape; use JSON "
        "Lines",
        dtype_name(slice->dtype), dims_text(got, sizeof(got), slice->dims, slice->rank),
        dtype_name(next->dtype), dims_text(wanted, sizeof(wanted), next->dims, next->rank));
}

/* The bits of a quiet NaN, little-endian; nothing for types that have none. */
static uint64_t nan_bits(enum dtype dtype)
{
    static const uint64_t bits[] = {[DTYPE_FP32] = 0x7fc00000,
                                    [DTYPE_FP64] = UINT64_C(0x7ff8000000000000),
                                    [DTYPE_FP16] = 0x7e00,
                                    [DTYPE_BF16] = 0x7fc0};
    return (size_t)dtype < ARRAY_LEN(bits) ? bits[dtype] : 0;
}

enum status output_fill_rows(struct output *self, uint64_t first, uint64_t rows, struct error *why)
{
    const struct output_state *state = &self->state;
    uint64_t bits = nan_bits(state->dtype), at_once = 1;
    size_t element = dtype_bytes(state->dtype);
    if (bits == 0 || state->row_bytes == 0)
        return STATUS_OK; /* a gap in the file reads as zeros */
    at_once = MIN(MAX(FILL_BYTES / state->row_bytes, 1), rows);
    char *fill = xmalloc((size_t)(at_once * state->row_bytes));
    for (size_t at = 0; at < at_once * state->row_bytes; at += element)
        memcpy(fill + at, &bits, element);
    enum status status = STATUS_OK;
    for (uint64_t done = 0; done < rows && status == STATUS_OK; done += at_once) {
        at_once = MIN(at_once, rows - done);
        status = file_pwrite_all(self->fd, fill, (size_t)(at_once * state->row_bytes),
                                 state->header_bytes + (first + done) * state->row_bytes,
                                 self->config.path, why);
    }
    free(fill);
    return status;
}
