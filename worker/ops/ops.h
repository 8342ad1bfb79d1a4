/* ops - every function that ops.def names; include op.h for what they mean */
#ifndef CONVOY_WORKER_OPS_OPS_H
#define CONVOY_WORKER_OPS_OPS_H

#include "worker/kernels/pool.h"
#include "worker/kernels/rnn.h"
#include "worker/kernels/rows.h"
#include "worker/kernels/vector.h"
#include "worker/ops/late.h"
#include "worker/ops/op.h"

/* What `variant` tells apart where several rows share their functions; unary and binary functions
 * use the kernels' own lists. */
enum variant {
    VARIANT_NONE,
    VARIANT_LEGACY, /* attributes where later opsets take inputs, or other old semantics */
    VARIANT_LOG,    /* LogSoftmax */
    VARIANT_LOG_LEGACY,
    VARIANT_LINEAR,  /* quantised, with scales; VARIANT_NONE: sums as they are */
    NORM_INSTANCE,   /* InstanceNormalization; VARIANT_NONE: GroupNormalization */
    BLOCKS_TO_DEPTH, /* SpaceToDepth; VARIANT_NONE: DepthToSpace */
    ELEMENTS_AXIS,   /* op_elements.c: indices along an axis; VARIANT_NONE: tuples of coordinates */
};

/* Comparisons and logic of op_compare.c; logic from COMPARE_AND on. */
enum compare {
    COMPARE_EQUAL,
    COMPARE_LESS,
    COMPARE_LESS_EQUAL,
    COMPARE_GREATER,
    COMPARE_GREATER_EQUAL,
    COMPARE_AND,
    COMPARE_OR,
    COMPARE_XOR,
};

/* Functions of op_math.c. */
enum math {
    MATH_FLOOR,
    MATH_CEIL,
    MATH_ROUND,
    MATH_SIGN,
    MATH_SIN,
    MATH_COS,
    MATH_TAN,
    MATH_ASIN,
    MATH_ACOS,
    MATH_ATAN,
    MATH_SINH,
    MATH_COSH,
    MATH_ASINH,
    MATH_ACOSH,
    MATH_ATANH,
    MATH_SELU, /* from here on with parameters */
    MATH_CELU,
    MATH_SHRINK,
};

/* Functions of op_bits.c. */
enum bits {
    BITS_MOD,
    BITS_FMOD, /* Mod with fmod = 1 */
    BITS_SHIFT,
    BITS_SHIFT_RIGHT, /* BitShift with direction RIGHT */
    BITS_AND,
    BITS_OR,
    BITS_XOR,
    BITS_NOT,
};

/* Functions of op_random.c. */
enum random_kind { RANDOM_NORMAL, RANDOM_UNIFORM, RANDOM_BERNOULLI, RANDOM_MULTINOMIAL };

/* Windows of op_generate.c. */
enum window_kind { WINDOW_HANN, WINDOW_HAMMING, WINDOW_BLACKMAN };

/* out = op(x, y), x and y stretched to out's dims; FP32 and plain; out may be one of them that has
 * its dims. */
void binary_fp32(enum binary op, const struct array *x, const struct array *y, struct array *out);

/* y = act(x) for n elements that are not FP32; integers: Relu, Neg and Abs only. x may be y. */
void unary_plain(struct activation act, enum dtype t, size_t n, const void *x, void *y);

/* The window of a MaxPool of two axes whose windows lie side by side and cover whole maps. */
bool pool_tiles(const struct node *node, size_t size[2]);

/* Let this Conv do such a MaxPool besides; false if it cannot. */
bool conv_take_pool(struct node *node, const size_t size[2]);

/* Outputs of a Conv's step before any pooling. */
uint64_t conv_sums(const struct step *step);

/* The limits that a Clip of opset 10 or less has in its attributes; false for later ones. */
bool clip_by_attributes(const struct node *node, struct activation *act);

/* What a BatchNormalization adds to its variances; false for one that trains. */
bool batch_norm_epsilon(const struct node *node, double *epsilon);

#define OP(name, opset_min, opset_max, in_min, in_max, out_max, variant, flags, packs, known,      \
           check, shape, run, rows, layouts)                                                       \
    enum status check(struct node *node, struct error *why);                                       \
    enum status shape(struct step *step, struct error *why);                                       \
    enum status run(const struct step *step, struct error *why);                                   \
    void rows(const struct rows_step *s, const struct rows_at *in, struct rows_at *out);           \
    void layouts(const struct step *step, enum layout *wants);
#include "worker/ops/ops.def"
#undef OP

#endif
