/* ops - every function that ops.def names; include op.h for what they mean */
#ifndef CONVOY_WORKER_OPS_OPS_H
#define CONVOY_WORKER_OPS_OPS_H

#include "worker/kernels/pool.h"
#include "worker/kernels/vector.h"
#include "worker/ops/op.h"

/* What `variant` tells apart where several rows share their functions; unary and binary functions
 * use the kernels' own lists. */
enum variant {
    VARIANT_NONE,
    VARIANT_LEGACY, /* attributes where later opsets take inputs, or other old semantics */
    VARIANT_LOG,    /* LogSoftmax */
    VARIANT_LOG_LEGACY,
};

#define OP(name, opset_min, opset_max, in_min, in_max, out_max, variant, flags, packs, check,      \
           shape, run, rows, layouts)                                                              \
    enum status check(struct node *node, struct error *why);                                       \
    enum status shape(struct step *step, struct error *why);                                       \
    enum status run(const struct step *step, struct error *why);                                   \
    void rows(const struct rows_step *s, const struct rows_at *in, struct rows_at *out);           \
    void layouts(const struct step *step, enum layout *wants);
#include "worker/ops/ops.def"
#undef OP

#endif
