/* tensors - TensorProto and ValueInfoProto as our own descriptions */
#ifndef CONVOY_WORKER_ONNX_TENSORS_H
#define CONVOY_WORKER_ONNX_TENSORS_H

#include "worker/onnx/external.h"
#include "worker/graph/graph.h"

#define DENSE_BYTES_MAX (256 * MIB) /* of a model's sparse tensors, written out */

/* Where data lies: the file that raw_data references point into, and the files beside it. */
struct source {
    const uint8_t *bytes;
    size_t size;
    struct external *external;
    size_t dense_bytes; /* of sparse tensors, so far */
};

/* Fill *out from a decoded, stripped TensorProto. Data lies in the source, or, for the typed
 * fields, in `region`. `what` names the tensor in messages ("initializer \"w\""). */
enum status onnx_tensor(const Onnx__TensorProto *t, const struct source *source,
                        struct region *region, const char *what, struct tensor *out,
                        struct error *why);

/* The same for a sparse tensor, which becomes a dense one in `region`. */
enum status onnx_sparse_tensor(const Onnx__SparseTensorProto *p, struct source *source,
                               struct region *region, const char *what, struct tensor *out,
                               struct error *why);

/* Type and dims (-1: open) of a graph input or output. A missing shape gives *has_dims = false. */
enum status onnx_value_info(const Onnx__ValueInfoProto *info, const char *what, struct tensor *out,
                            bool *has_dims, struct error *why);

#endif
