/* build_graph - nodes, constants and attributes of the model in the making
 *
 * All memory is the region's and lives until the model is packed. Names are the layer's that is
 * being written, with what a node does behind a slash. */
#ifndef CONVOY_WORKER_TRAIN_BUILD_GRAPH_H
#define CONVOY_WORKER_TRAIN_BUILD_GRAPH_H

#include "onnx.pb-c.h"

#include "worker/ops/region.h"
#include "worker/train/spec.h"

/* What a layer gives, under the name of a tensor; NULL: not made yet. `raw` is an input of whole
 * numbers as it comes. Channels are first or last in axes of two or more. */
struct build_value {
    const char *raw, *last, *first;
};

struct build {
    struct region *region;
    const struct spec *spec;
    const struct spec_layer *layer; /* being written */
    size_t layer_nodes;             /* nodes in front of its own */
    struct build_value *values;     /* by layer */
    Onnx__NodeProto **nodes;
    size_t nodes_len, nodes_room;
    Onnx__TensorProto **tensors;
    size_t tensors_len, tensors_room;
};

/* printf into the region. */
char *build_text(struct build *b, const char *format, ...) PRINTF_LIKE(2, 3);

/* A node with one output, named as the node. Inputs that are NULL are left out. */
Onnx__NodeProto *build_node(struct build *b, const char *op, const char *const *inputs, size_t len);
#define BUILD_NODE(b, op, ...)                                                                     \
    build_node(b, op, (const char *const[]){__VA_ARGS__},                                          \
               ARRAY_LEN(((const char *const[]){__VA_ARGS__})))

/* The same where the output is all that matters. */
#define BUILD_OUT(b, op, ...) (BUILD_NODE(b, op, __VA_ARGS__)->output[0])

/* One more output, for nodes that have several; returns its name. */
const char *build_more(struct build *b, Onnx__NodeProto *node, const char *name);

void build_int(struct build *b, Onnx__NodeProto *node, const char *name, int64_t value);
void build_ints(struct build *b, Onnx__NodeProto *node, const char *name, const int64_t *values,
                size_t len);
void build_float(struct build *b, Onnx__NodeProto *node, const char *name, double value);
void build_floats(struct build *b, Onnx__NodeProto *node, const char *name, double value,
                  size_t len);
void build_string(struct build *b, Onnx__NodeProto *node, const char *name, const char *value);
void build_strings(struct build *b, Onnx__NodeProto *node, const char *name,
                   const char *const *values, size_t len);

/* A tensor of the model; `data` is the region's. Returns `name`. */
const char *build_tensor(struct build *b, const char *name, int onnx_type, const int64_t *dims,
                         uint32_t rank, void *data, size_t bytes);

/* Constants of the layer under "layer/name". */
const char *build_int64s(struct build *b, const char *name, const int64_t *values, size_t len);
const char *build_scalar(struct build *b, const char *name, double value);

const char *build_transpose(struct build *b, const char *x, const int64_t *perm, uint32_t rank);
const char *build_reshape(struct build *b, const char *x, const char *name, const int64_t *dims,
                          uint32_t rank);

/* What layer `number` gives, channels last or first; made on demand, once. */
const char *build_last(struct build *b, uint32_t number);
const char *build_first(struct build *b, uint32_t number);

/* Either, whichever is there, for what looks at each number alone; *first says which it is. */
const char *build_any(struct build *b, uint32_t number, bool *first);

/* The layer's own result. */
void build_give(struct build *b, const char *x, bool first);

#endif
