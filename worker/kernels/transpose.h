/* transpose - any permutation of the axes of an array
 *
 * Never allocates, never fails. Buffers do not overlap; elements of 1, 2, 4 or 8 bytes, buffers
 * aligned to the element. */
#ifndef CONVOY_WORKER_KERNELS_TRANSPOSE_H
#define CONVOY_WORKER_KERNELS_TRANSPOSE_H

#include "common/base.h"

#define TRANSPOSE_DIMS_MAX 8

/* out[i0][i1].. of shape dims[perm[0]], dims[perm[1]].. is in[..] with in's axis perm[k] at index
 * ik. dims is in's shape; perm holds each of 0..ndim-1 once; ndim 0 copies one element. */
void transpose_run(size_t ndim, const size_t *dims, const size_t *perm, size_t element_bytes,
                   const void *in, void *out);

#endif
