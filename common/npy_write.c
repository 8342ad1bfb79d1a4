/* npy_write - headers as NumPy writes them, and the writer that patches its row count; see npy.h */
#include "common/npy.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GROWTH_DIGITS 21 /* NumPy leaves so much room for the first axis: numpy/lib/format.py */

static size_t append(char *text, size_t used, size_t size, const char *format, ...)
    PRINTF_LIKE(4, 5);

static size_t append(char *text, size_t used, size_t size, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int length = vsnprintf(text + used, size - used, format, args);
    va_end(args);
    assert(length >= 0 && used + (size_t)length < size);
    return used + (size_t)length;
}

size_t npy_make_header(uint8_t into[static NPY_WRITE_HEADER_MAX], enum dtype dtype, uint32_t rank,
                       const int64_t *dims)
{
    static const uint8_t magic[8] = {0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0};
    const char *descr = dtype_npy(dtype);
    char text[NPY_WRITE_HEADER_MAX];
    size_t used = 0, room = 0;
    assert(rank <= TENSOR_RANK_MAX);
    if (!*descr)
        return 0;
    used = append(text, used, sizeof text, "{'descr': '%s', 'fortran_order': False, 'shape': (",
                  descr);
    for (uint32_t i = 0; i < rank; i++) {
        size_t before = used;
        used = append(text, used, sizeof text, "%" PRId64, dims[i]);
        if (i == 0)
            room = GROWTH_DIGITS - (used - before);
        if (i + 1 < rank || rank == 1)
            used = append(text, used, sizeof text, i + 1 < rank ? ", " : ",");
    }
    used = append(text, used, sizeof text, "), }");
    used += room;
    size_t total = (10 + used + 1) / 64 * 64 + 64; /* with the newline; never without any padding */
    assert(total <= NPY_WRITE_HEADER_MAX);
    memset(into, ' ', total);
    memcpy(into, magic, sizeof magic);
    into[8] = (uint8_t)(total - 10);
    into[9] = (uint8_t)((total - 10) >> 8);
    memcpy(into + 10, text, used - room);
    into[total - 1] = '\n';
    return total;
}

struct npy_writer {
    struct file_draft draft;       /* the file until its end */
    enum dtype dtype;              /* as the header says */
    uint32_t rank;                 /* of dims */
    int64_t dims[TENSOR_RANK_MAX]; /* dims[0] is 0 until the end when open_ended */
    bool open_ended;               /* dims[0] is counted, not given */
    size_t header_bytes;           /* the same for every row count */
    uint64_t row_bytes;            /* of what the first axis counts; all of it for a scalar */
    uint64_t bytes_max;            /* of the data */
    uint64_t used;                 /* data bytes written */
};

static enum status write_header(struct npy_writer *self, struct error *why)
{
    uint8_t header[NPY_WRITE_HEADER_MAX];
    self->header_bytes = npy_make_header(header, self->dtype, self->rank, self->dims);
    if (self->header_bytes == 0)
        return fail(why, STATUS_UNSUPPORTED, "%s: NumPy has no type for %s", self->draft.path,
                    dtype_name(self->dtype));
    return file_pwrite_all(self->draft.fd, header, self->header_bytes, 0, self->draft.path, why);
}

/* Work out the sizes; false when the shape is too large or not one. */
static bool measure(struct npy_writer *self)
{
    self->open_ended = self->rank > 0 && self->dims[0] == -1;
    if (self->open_ended)
        self->dims[0] = 0;
    uint32_t skip = self->rank ? 1 : 0;
    bool fits = tensor_size(self->dtype, self->dims + skip, self->rank - skip, &self->row_bytes) &&
                tensor_size(self->dtype, self->dims, self->rank, &self->bytes_max);
    if (self->open_ended)
        self->bytes_max = self->row_bytes ? INT64_MAX / 2 : 0;
    return fits;
}

enum status npy_writer_open(struct npy_writer **out, const char *path, enum dtype dtype,
                            uint32_t rank, const int64_t *dims, struct error *why)
{
    struct npy_writer *self = xcalloc(1, sizeof *self);
    enum status status = STATUS_OK;
    *self = (struct npy_writer){.draft = {.fd = -1}, .dtype = dtype, .rank = rank};
    if (rank > TENSOR_RANK_MAX)
        status = fail(why, STATUS_INVALID, "%s: expected at most %d axes, got %u", path,
                      TENSOR_RANK_MAX, rank);
    else if (rank)
        memcpy(self->dims, dims, rank * sizeof *dims);
    if (status == STATUS_OK && !measure(self))
        status = fail(why, STATUS_INVALID, "%s: the shape is too large or has negative axes", path);
    if (status == STATUS_OK)
        status = file_draft_open(&self->draft, path, why);
    if (status == STATUS_OK)
        status = write_header(self, why);
    *out = self;
    if (status != STATUS_OK)
        npy_writer_abort(out);
    return status;
}

enum status npy_writer_put(struct npy_writer *self, const void *bytes, size_t size,
                           struct error *why)
{
    if (size > self->bytes_max - self->used)
        return fail(why, STATUS_TOO_LARGE,
                    "%s: expected %" PRIu64 " bytes of data, got at least %" PRIu64,
                    self->draft.path, self->bytes_max, self->used + size);
    enum status status = file_pwrite_all(self->draft.fd, bytes, size,
                                         self->header_bytes + self->used, self->draft.path, why);
    if (status == STATUS_OK)
        self->used += size;
    return status;
}

/* What was appended must be the shape's bytes, or whole rows. */
static enum status close_rows(struct npy_writer *self, struct error *why)
{
    if (!self->open_ended) {
        if (self->used == self->bytes_max)
            return STATUS_OK;
        return fail(why, STATUS_INVALID, "%s: expected %" PRIu64 " bytes of data, got %" PRIu64,
                    self->draft.path, self->bytes_max, self->used);
    }
    if (self->row_bytes && self->used % self->row_bytes)
        return fail(why, STATUS_INVALID,
                    "%s: expected whole rows of %" PRIu64 " bytes, got %" PRIu64 " bytes",
                    self->draft.path, self->row_bytes, self->used);
    self->dims[0] = self->row_bytes ? (int64_t)(self->used / self->row_bytes) : 0;
    return write_header(self, why);
}

enum status npy_writer_end(struct npy_writer **self, bool sync, struct error *why)
{
    enum status status = close_rows(*self, why);
    if (status == STATUS_OK)
        status = file_draft_commit(&(*self)->draft, sync, why);
    npy_writer_abort(self); /* after commit it only frees */
    return status;
}

void npy_writer_abort(struct npy_writer **self)
{
    if (!*self)
        return;
    file_draft_abort(&(*self)->draft);
    free(*self);
    *self = NULL;
}

enum status npy_write(const char *path, const struct tensor *tensor, bool sync, struct error *why)
{
    struct npy_writer *writer;
    enum status status =
        npy_writer_open(&writer, path, tensor->dtype, tensor->rank, tensor->dims, why);
    if (status != STATUS_OK)
        return status;
    status = npy_writer_put(writer, tensor->data, tensor->bytes, why);
    if (status == STATUS_OK)
        return npy_writer_end(&writer, sync, why);
    npy_writer_abort(&writer);
    return status;
}
