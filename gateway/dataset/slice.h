/* slice - one row out of a batch's output, along whichever axis the rows lie
 *
 * Pure; any thread. */
#ifndef CONVOY_GATEWAY_DATASET_SLICE_H
#define CONVOY_GATEWAY_DATASET_SLICE_H

#include "common/status.h"
#include "common/tensor.h"

#define SLICE_WHOLE UINT32_MAX

/* Where rows are in an output. */
struct slice {
    enum dtype dtype;              /* of the elements */
    uint32_t rank;                 /* of one row */
    int64_t dims[TENSOR_RANK_MAX]; /* of one row */
    uint32_t axis;                 /* of the output, that rows lie along; SLICE_WHOLE: none */
    uint64_t rows;                 /* in the output */
    size_t outer;                  /* pieces that a row consists of */
    size_t piece_bytes;            /* octets of a piece; pieces of a row are rows * this apart */
    size_t row_bytes;              /* outer * piece_bytes */
};

/* The rows of `output` lie along `axis`; SLICE_WHOLE: the output is one row. INVALID when there is
 * no such axis or it does not have `rows` rows, or BYTES would have to be cut. */
enum status slice_make(struct slice *out, const struct tensor *output, uint32_t axis, uint64_t rows,
                       struct error *why);

/* Copy row `row` of the output's octets into row_bytes octets. */
void slice_copy(const struct slice *self, const void *data, uint64_t row, void *into);

#endif
