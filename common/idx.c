/* idx - over zlib's gzFile, which reads plain files as they are; see idx.h */
#include "common/idx.h"
#include "common/file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#define BUFFER_BYTES (128 * 1024) /* zlib's own, in and out */
#define READ_MAX     (1u << 30)   /* gzread takes an unsigned and returns an int */

/* Deflate never does better than 1032 to 1 (zlib's technical details), so a header that asks for
 * more than its file can hold is found before a row is asked for. */
#define RATIO_MAX 1032

static const struct {
    uint8_t code; /* third octet of the file */
    enum dtype dtype;
} types[] = {
    {0x08, DTYPE_UINT8}, {0x09, DTYPE_INT8}, {0x0B, DTYPE_INT16},
    {0x0C, DTYPE_INT32}, {0x0D, DTYPE_FP32}, {0x0E, DTYPE_FP64},
};

struct idx {
    gzFile file;                   /* plain or compressed, zlib tells */
    char *path;                    /* for messages */
    enum dtype dtype;              /* from the third octet */
    uint32_t rank;                 /* of dims, at least 1 */
    int64_t dims[TENSOR_RANK_MAX]; /* as the header says */
    uint64_t row_bytes;            /* of all axes but the first */
    uint64_t rows;                 /* dims[0] */
    uint64_t next;                 /* row that is read next */
    size_t header_bytes;           /* before the first row */
    bool checked;                  /* the end was seen to be where it belongs */
};

/* Say why reading stopped at this many bytes of `size`. */
static enum status cut_short(struct idx *self, uint64_t size, uint64_t got, struct error *why)
{
    int code;
    const char *text = gzerror(self->file, &code);
    if (code == Z_ERRNO)
        return fail(why, STATUS_IO, "%s: reading failed: %s", self->path, strerror(errno));
    if (code != Z_OK && code != Z_BUF_ERROR)
        return fail(why, STATUS_INVALID, "%s: the compressed data is corrupt: %.200s", self->path,
                    text);
    return fail(why, STATUS_INVALID,
                "%s: the file is truncated: expected %" PRIu64 " bytes at %" PRIu64
                " of the uncompressed file, got %" PRIu64,
                self->path, size, self->header_bytes + self->next * self->row_bytes, got);
}

/* Exactly so many bytes. */
static enum status read_all(struct idx *self, void *into, uint64_t size, struct error *why)
{
    uint64_t done = 0;
    while (done < size) {
        unsigned part = (unsigned)MIN(size - done, (uint64_t)READ_MAX);
        int got = gzread(self->file, (uint8_t *)into + done, part);
        if (got <= 0)
            return cut_short(self, size, done, why);
        done += (uint64_t)got;
    }
    return STATUS_OK;
}

/* Behind the last row: nothing may follow, and zlib compares its checksum here. */
static enum status check_end(struct idx *self, struct error *why)
{
    uint8_t more;
    int got = self->checked ? 0 : gzread(self->file, &more, 1);
    int code;
    const char *text = gzerror(self->file, &code);
    if (got > 0)
        return fail(why, STATUS_INVALID,
                    "%s: expected %" PRIu64 " rows, got bytes behind the last one", self->path,
                    self->rows);
    if (got < 0 || (!self->checked && code != Z_OK))
        return fail(why, STATUS_INVALID, "%s: the compressed data is truncated or corrupt: %.200s",
                    self->path, text);
    self->checked = true;
    return STATUS_OK;
}

static enum status read_header(struct idx *self, struct error *why)
{
    uint8_t head[4], axis[4];
    int got = gzread(self->file, head, sizeof head);
    if (got != (int)sizeof head || head[0] != 0 || head[1] != 0)
        return fail(why, STATUS_INVALID,
                    "%s: this is no idx file: it does not begin with two octets of 0", self->path);
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        if (types[i].code == head[2])
            self->dtype = types[i].dtype;
    if (self->dtype == DTYPE_NONE)
        return fail(why, STATUS_INVALID, "%s: expected an idx type of 8, 9 or 11 to 14, got %u",
                    self->path, head[2]);
    if (head[3] < 1 || head[3] > TENSOR_RANK_MAX)
        return fail(why, STATUS_INVALID, "%s: expected 1 to %d axes, got %u", self->path,
                    TENSOR_RANK_MAX, head[3]);
    self->rank = head[3];
    self->header_bytes = sizeof head + sizeof axis * self->rank;
    for (uint32_t i = 0; i < self->rank; i++) {
        if (gzread(self->file, axis, sizeof axis) != (int)sizeof axis)
            return fail(why, STATUS_INVALID,
                        "%s: the file is truncated in its header: expected "
                        "%zu bytes",
                        self->path, self->header_bytes);
        self->dims[i] = (int64_t)axis[0] << 24 | (int64_t)axis[1] << 16 | (int64_t)axis[2] << 8 |
                        (int64_t)axis[3];
    }
    return STATUS_OK;
}

/* Compare what the header asks for with what the file can hold. */
static enum status check_size(struct idx *self, uint64_t file_bytes, struct error *why)
{
    uint64_t data;
    if (!tensor_size(self->dtype, self->dims, self->rank, &data) ||
        !tensor_size(self->dtype, self->dims + 1, self->rank - 1, &self->row_bytes))
        return fail(why, STATUS_INVALID, "%s: the header asks for more bytes than any file has",
                    self->path);
    self->rows = (uint64_t)self->dims[0];
    uint64_t expected = self->header_bytes + data;
    if (gzdirect(self->file) && expected != file_bytes)
        return fail(why, STATUS_INVALID,
                    "%s: expected %" PRIu64 " bytes by its header, got %" PRIu64, self->path,
                    expected, file_bytes);
    if (expected / RATIO_MAX > file_bytes)
        return fail(why, STATUS_INVALID,
                    "%s: expected %" PRIu64 " bytes by its header, which a file of %" PRIu64
                    " compressed bytes cannot hold",
                    self->path, expected, file_bytes);
    return STATUS_OK;
}

enum status idx_open(struct idx **out, const char *path, struct error *why)
{
    struct stat info = {.st_size = 0};
    struct idx *self = xcalloc(1, sizeof *self);
    enum status status = STATUS_OK;
    self->path = xstrdup(path);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &info) != 0)
        status = file_fail(why, "open", path);
    else if (!S_ISREG(info.st_mode))
        status = fail(why, STATUS_INVALID, "%s: expected a regular file", path);
    if (status == STATUS_OK) {
        self->file = gzdopen(fd, "rb"); /* owns fd from now on */
        if (!self->file)
            panic("out of memory for zlib");
        fd = -1;
        gzbuffer(self->file, BUFFER_BYTES);
        status = read_header(self, why);
    }
    if (status == STATUS_OK)
        status = check_size(self, (uint64_t)info.st_size, why);
    if (fd >= 0)
        close(fd);
    *out = self;
    if (status != STATUS_OK)
        idx_close(out);
    return status;
}

void idx_close(struct idx **self)
{
    if (!*self)
        return;
    if ((*self)->file)
        gzclose_r((*self)->file);
    free((*self)->path);
    free(*self);
    *self = NULL;
}

enum dtype idx_dtype(const struct idx *self)
{
    return self->dtype;
}

uint32_t idx_rank(const struct idx *self)
{
    return self->rank;
}

const int64_t *idx_dims(const struct idx *self)
{
    return self->dims;
}

uint64_t idx_rows(const struct idx *self)
{
    return self->rows;
}

uint64_t idx_row_bytes(const struct idx *self)
{
    return self->row_bytes;
}

/* Big-endian elements to little-endian ones, in place. */
static void turn_around(uint8_t *bytes, uint64_t size, size_t element)
{
    for (uint64_t i = 0; element > 1 && i < size; i += element)
        for (size_t low = 0, high = element - 1; low < high; low++, high--) {
            uint8_t kept = bytes[i + low];
            bytes[i + low] = bytes[i + high];
            bytes[i + high] = kept;
        }
}

enum status idx_read(struct idx *self, void *into, uint64_t rows_max, uint64_t *rows,
                     struct error *why)
{
    uint64_t count = MIN(rows_max, self->rows - self->next);
    *rows = 0;
    enum status status = read_all(self, into, count * self->row_bytes, why);
    if (status != STATUS_OK)
        return status;
    turn_around(into, count * self->row_bytes, dtype_bytes(self->dtype));
    self->next += count;
    if (self->next == self->rows)
        status = check_end(self, why);
    if (status == STATUS_OK)
        *rows = count;
    return status;
}

enum status idx_seek(struct idx *self, uint64_t row, struct error *why)
{
    assert(row <= self->rows);
    uint64_t offset = self->header_bytes + row * self->row_bytes;
    gzclearerr(self->file);
    if (gzseek(self->file, (z_off_t)offset, SEEK_SET) != (z_off_t)offset)
        return cut_short(self, offset, 0, why);
    self->next = row;
    return STATUS_OK;
}
