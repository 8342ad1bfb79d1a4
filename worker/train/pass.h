/* pass - one node of a network that learns, for one batch size
 *
 * Shared by trainer*.c and the gradients, grad_*.c; nobody else includes it. A pass runs its
 * operator forward (op.h) and later its gradient. Addresses are fixed before setup runs, scratch
 * and kept memory behind it. */
#ifndef CONVOY_WORKER_TRAIN_PASS_H
#define CONVOY_WORKER_TRAIN_PASS_H

#include "worker/graph/graph.h"

enum grad_flags {
    GRAD_MAPS = 1,       /* takes maps in the layout that its operator wants; others plain */
    GRAD_FUSES = 2,      /* a Relu behind it is part of it: pass->relu */
    GRAD_MASKS = 4,      /* can leave out the gradient where its largest input is not above 0 */
    GRAD_STATISTICS = 8, /* inputs 3 and 4 are running statistics */
};

struct pass;

struct grad {
    const char *name; /* the operator's */
    unsigned weights, flags;
    /* Instead of op->run. */
    enum status (*forward)(struct pass *pass, struct error *why);
    /* Once shapes are known: back_scratch_bytes, keep_bytes, state; refuses what has no gradient.
     */
    enum status (*setup)(struct pass *pass, struct error *why);
    /* Writes all of din[i]->data where din[i] is not NULL; may change dout's data. */
    void (*backward)(struct pass *pass);
    void (*release)(struct pass *pass); /* of the heap */
};

/* What a step has for all passes. */
struct pass_run {
    bool learns; /* false: as in inference */
    uint64_t seed;
    uint64_t number; /* of the step */
};

struct pass {
    const struct grad *grad;
    struct step step;
    uint32_t number;     /* in the graph */
    struct array **din;  /* gradients by the inputs; NULL: not wanted */
    struct array **sums; /* what din[i] is added to afterwards; NULL: it is that itself */
    struct array **dout; /* by the outputs; NULL: nobody reads that one */
    bool relu;           /* a Relu follows, whose output this pass's is */
    bool masked;         /* and whoever reads it has left out its zeros in the gradient */
    bool masks;          /* so this one does */
    bool holds;          /* GRAD_STATISTICS: they are frozen, so used as in inference */
    bool back;           /* has a backward part */
    void *state;
    size_t back_scratch_bytes, keep_bytes;
    void *back_scratch; /* TENSOR_ALIGN aligned, like the next */
    void *keep;         /* from forward to backward */
    const struct pass_run *run;
};

/* The row of grads.def, or NULL. */
const struct grad *grad_find(const char *name);

/* to = scale times the sum of `from`, which has `like`'s dims, over all axes along which `to` was
 * broadcast. */
void grad_sum_to(const struct array *like, const float *from, float scale, struct array *to);

/* Conversion between layouts, which the trainer puts between passes. */
extern const struct grad grad_reorder;

#endif
