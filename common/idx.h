/* idx - the idx format of MNIST and its kin, plain or gzip-compressed, row by row
 *
 * Format: two zero octets, a type octet, the number of axes, each axis as a big-endian 32-bit
 * number, then the elements in row-major, big-endian order. Compressed files are recognised by
 * content, not by name. Memory is bounded: nothing but zlib's window and the caller's rows. One
 * object belongs to one thread at a time; reads block on the disk. */
#ifndef CONVOY_COMMON_IDX_H
#define CONVOY_COMMON_IDX_H

#include "common/status.h"
#include "common/tensor.h"

struct idx;

/* Open and read the header. INVALID for what is no idx file; a plain file whose size does not match
 * its header says expected and got at once, a compressed one when reading gets there. */
enum status idx_open(struct idx **out, const char *path, struct error *why);
void idx_close(struct idx **self);

/* Type, axes (dims[0] counts rows) and the bytes of one row. */
enum dtype idx_dtype(const struct idx *self);
uint32_t idx_rank(const struct idx *self);
const int64_t *idx_dims(const struct idx *self);
uint64_t idx_rows(const struct idx *self);
uint64_t idx_row_bytes(const struct idx *self);

/* Read the next rows, at most `rows_max`, as little-endian elements into rows_max * row_bytes
 * bytes. *rows gets how many; 0 at the end. INVALID when the file is truncated, corrupt or too
 * long. */
enum status idx_read(struct idx *self, void *into, uint64_t rows_max, uint64_t *rows,
                     struct error *why);

/* Go to a row (0..rows). In a compressed file going back starts again from its beginning. */
enum status idx_seek(struct idx *self, uint64_t row, struct error *why);

#endif
