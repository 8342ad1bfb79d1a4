/* spec - a network as a list of layers in JSON, as a Keras program has it
 *
 *    {"name": "mnist", "layers": [
 *        {"type": "Conv2D", "filters": 32, "kernel_size": 3, "input_shape": [28, 28, 1]},
 *        {"type": "Flatten"},
 *        {"type": "Dense", "units": 10, "activation": "softmax"}]}
 *
 * Types and arguments are Keras's: spec_layers.def. A layer reads the one before it, or those that
 * "inputs" names; the last one is the output. What Keras itself writes (model.to_json() of a
 * Sequential or Functional model, Keras 2 and 3) is read too. Shapes are Keras's, channels last.
 *
 * Every mistake is INVALID and names the layer as layers[5] (Dense "dense_1"), counted from 0. */
#ifndef CONVOY_WORKER_TRAIN_SPEC_H
#define CONVOY_WORKER_TRAIN_SPEC_H

#include <jansson.h>

#include "common/status.h"
#include "common/tensor.h"

#define SPEC_LAYERS_MAX   1000
#define SPEC_INPUTS_MAX   16                  /* of one layer */
#define SPEC_RANK_MAX     6                   /* of one row */
#define SPEC_PARAMS_MAX   8                   /* of one layer */
#define SPEC_NAME_MAX     64                  /* bytes of a layer's name */
#define SPEC_BYTES_MAX    (16 * MIB)          /* of the JSON */
#define SPEC_DIM_MAX      (INT64_C(1) << 24)  /* of one size */
#define SPEC_ROW_MAX      (UINT64_C(1) << 30) /* numbers in one row of any layer */
#define SPEC_ELEMENTS_MAX (UINT64_C(1) << 28) /* of all parameters: a file of 1 GiB */

enum spec_family {
    SPEC_FAMILY_INPUT,
    SPEC_FAMILY_CONV,
    SPEC_FAMILY_POOL,
    SPEC_FAMILY_GLOBAL_POOL,
    SPEC_FAMILY_BATCH_NORM,
    SPEC_FAMILY_LAYER_NORM,
    SPEC_FAMILY_DROPOUT,
    SPEC_FAMILY_FLATTEN,
    SPEC_FAMILY_RESHAPE,
    SPEC_FAMILY_RESCALING,
    SPEC_FAMILY_DENSE,
    SPEC_FAMILY_ACTIVATION,
    SPEC_FAMILY_EMBEDDING,
    SPEC_FAMILY_RECURRENT,
    SPEC_FAMILY_ATTENTION,
    SPEC_FAMILY_ADD,
};

enum spec_type {
#define LAYER(name, family, what) SPEC_##name,
#define ARG(name, type, default, what)
#include "worker/train/spec_layers.def"
#undef LAYER
#undef ARG
};

/* Of one row: the batch is not in it. -1 where the size is open. */
struct spec_shape {
    uint32_t rank;
    int64_t dims[SPEC_RANK_MAX];
};

/* How the ONNX model holds what Keras has as `dims`. */
enum spec_layout {
    SPEC_AS_KERAS,  /* the same numbers in the same order; onnx_dims may group axes */
    SPEC_KERNEL,    /* [window..., in, out] becomes [out, in, window...] */
    SPEC_DEPTHWISE, /* [window..., channels, multiplier] becomes [channels * multiplier, 1,
                       window...] */
    SPEC_GATES,     /* [rows, gates * units] becomes [gates * units, rows], gates in ONNX's order */
    SPEC_GATES_BIAS, /* [gates * units] becomes [2 * gates * units]; the second half stays zero */
};

/* One parameter. A bidirectional layer has its two directions in one: `copies` is 2, and `dims` are
 * those of each. */
struct spec_param {
    char name[2 * SPEC_NAME_MAX]; /* "dense/kernel": the initializer's name in the model */
    const json_t *initializer;    /* {"type": "glorot_uniform", ...}, complete */
    enum spec_layout layout;
    uint32_t copies;
    uint32_t rank, onnx_rank;
    int64_t dims[SPEC_RANK_MAX], onnx_dims[SPEC_RANK_MAX];
    uint64_t elements; /* of all copies, as Keras counts */
    bool trainable;    /* false: a moving average, or a frozen layer's */
    bool stand_in;     /* Keras has none (scale: false): a constant that ONNX asks for */
};

/* A type with all of its arguments. */
struct spec_call {
    enum spec_type type;
    json_t *args; /* complete and checked */
};

struct spec_layer {
    uint32_t index; /* in the list; an implicit Input has that of the layer which gave its shape */
    char name[SPEC_NAME_MAX];
    struct spec_call call;
    struct spec_call cell; /* of the recurrent family: what Bidirectional wraps, or `call` again */
    uint32_t inputs_len;
    uint32_t inputs[SPEC_INPUTS_MAX]; /* numbers of earlier layers in struct spec */
    bool read;                        /* a later layer has it as an input */
    struct spec_shape shape;          /* what comes out */
    uint32_t params_len;
    struct spec_param params[SPEC_PARAMS_MAX];
};

struct spec {
    char name[SPEC_NAME_MAX];
    uint32_t layers_len;
    struct spec_layer *layers; /* each behind those that it reads, Inputs included */
    uint32_t output;           /* the layer that nobody reads */
};

/* Read `size` bytes of JSON. On failure *out is NULL. */
enum status spec_read(struct spec **out, const char *text, size_t size, struct error *why);

/* The same from a file. */
enum status spec_load(struct spec **out, const char *path, struct error *why);

void spec_destroy(struct spec **self_p);

const char *spec_type_name(enum spec_type type);
enum spec_family spec_family(enum spec_type type);

/* Arguments of a checked call, by name; asking for one that the type has not is a bug of ours. */
int64_t spec_int(const struct spec_call *call, const char *arg);
int64_t spec_int_at(const struct spec_call *call, const char *arg, uint32_t i);
double spec_real(const struct spec_call *call, const char *arg);
bool spec_bool(const struct spec_call *call, const char *arg);
const char *spec_text(const struct spec_call *call, const char *arg);

/* "the row of N names whose spelling is nearest", or NULL when none is near. */
const char *spec_nearest(const char *text, const char *const *names, size_t len);

#endif
