/* npy - NumPy's .npy files: one dense, row-major, little-endian array
 *
 * Reads versions 1, 2 and 3, from a file or from memory; writes version 1 (2 if the header needs
 * it). The first axis counts rows. Refused with a sentence: column-major order, other byte order,
 * types that dtype.def has no NumPy name for, more than TENSOR_RANK_MAX axes, sizes that do not
 * match. Any thread; one object belongs to one thread at a time. */
#ifndef CONVOY_COMMON_NPY_H
#define CONVOY_COMMON_NPY_H

#include "common/file.h"
#include "common/tensor.h"

struct npy {
    enum dtype dtype;              /* one that NumPy has */
    uint32_t rank;                 /* 0: one element */
    int64_t dims[TENSOR_RANK_MAX]; /* as many as rank */
    size_t data_offset;            /* bytes of magic and header before the data */
    uint64_t data_bytes;           /* what dtype and dims ask for */
    const uint8_t *data;           /* NULL after npy_parse_header; aligned as the input was */
    struct file_map map;           /* of npy_map; empty otherwise */
};

/* Read magic and header from the first `size` bytes of a file; NPY_HEADER_MAX bytes are enough for
 * any that is accepted. INVALID for what is no .npy file or is cut in its header. */
#define NPY_HEADER_MAX 65536
enum status npy_parse_header(struct npy *out, const void *bytes, size_t size, struct error *why);

/* Read a whole file in memory, which must outlive *out. Any byte missing or left over is INVALID
 * and the text says how many were expected and how many came. */
enum status npy_over(struct npy *out, const void *bytes, size_t size, struct error *why);

/* The same over a mapped file; close it with npy_close. */
enum status npy_map(struct npy *out, const char *path, struct error *why);

/* Release the map. Harmless twice and on what npy_over filled. */
void npy_close(struct npy *self);

/* Rows (the first axis; 1 for a scalar) and bytes of one row. */
uint64_t npy_rows(const struct npy *self);
uint64_t npy_row_bytes(const struct npy *self);

/* Make the bytes that precede the data, a multiple of 64, as NumPy writes them: octet by octet the
 * same, and with room for any row count, so that the header of the same array with another dims[0]
 * has the same length. Returns its length, 0 when dtype has no NumPy name. */
#define NPY_WRITE_HEADER_MAX 512
size_t npy_make_header(uint8_t into[static NPY_WRITE_HEADER_MAX], enum dtype dtype, uint32_t rank,
                       const int64_t *dims);

/* --- writing ---
 * The file appears under its name at npy_writer_end, whole, or not at all. */
struct npy_writer;

/* dims[0] may be -1: then the row count is what has been appended by the end. UNSUPPORTED when
 * dtype has no NumPy name. */
enum status npy_writer_open(struct npy_writer **out, const char *path, enum dtype dtype,
                            uint32_t rank, const int64_t *dims, struct error *why);

/* Append bytes after the last; any split. TOO_LARGE past the size that the shape gives. */
enum status npy_writer_put(struct npy_writer *self, const void *bytes, size_t size,
                           struct error *why);

/* Finish: INVALID when bytes are missing or the last row is not whole. `sync`: on the disk before
 * it returns. Frees the writer in any case and sets *self to NULL. */
enum status npy_writer_end(struct npy_writer **self, bool sync, struct error *why);

/* Give up and remove the file. NULL inside is fine. */
void npy_writer_abort(struct npy_writer **self);

/* All at once. */
enum status npy_write(const char *path, const struct tensor *tensor, bool sync, struct error *why);

#endif
