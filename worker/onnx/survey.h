/* survey - what an ONNX file holds, whether or not this engine can run it
 *
 * For people who look at a model: versions, every operator with its number (sub-graphs and
 * functions too), and the names that the file gives to dimensions that it leaves open. */
#ifndef CONVOY_WORKER_ONNX_SURVEY_H
#define CONVOY_WORKER_ONNX_SURVEY_H

#include "common/status.h"
#include "common/tensor.h"

struct survey_op {
    const char *domain; /* "ai.onnx" for the empty one */
    const char *name;
    size_t count;
    int64_t opset;  /* that the model imports of its domain; 0: none */
    bool supported; /* by ops.def at that opset, or a function of the model */
};

struct survey_value {
    const char *name;
    bool is_output;
    enum dtype dtype; /* DTYPE_NONE: no tensor, or a type that the engine does not know */
    bool has_dims;
    uint32_t rank;
    int64_t dims[TENSOR_RANK_MAX];          /* -1 where open */
    const char *dim_names[TENSOR_RANK_MAX]; /* NULL: none */
};

struct survey {
    struct region *region; /* everything here */
    int64_t ir_version;
    int64_t opset; /* of ai.onnx; 0: none */
    const char *producer;
    size_t ops_len;
    struct survey_op *ops; /* most frequent first */
    size_t values_len;
    struct survey_value *values; /* inputs that are no initializers, then outputs */
};

/* BAD_MODEL when the bytes are no ONNX file at all. Nothing refers to `bytes` afterwards. */
enum status survey_make(struct survey **out, const void *bytes, size_t size, struct error *why);

/* The input or output of that name, or NULL. */
const struct survey_value *survey_find(const struct survey *self, const char *name, bool is_output);

void survey_destroy(struct survey **self_p);

#endif
