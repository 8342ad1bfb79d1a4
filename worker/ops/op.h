/* op - what an operator is, and what it gets to see of a model
 *
 * Life of a node: `check` once at load (attributes into node->state), `shape` once per plan (output
 * types and dims, scratch bytes, choice of kernel), `run` as often as the plan runs. shape sees the
 * data of those inputs that are known when planning: constants, and whatever follows from shapes
 * alone. run never allocates and fails on data only.
 *
 * Where dims depend on the data the same functions serve: a node whose `known` inputs, or whose
 * inputs' dims, come out of a computation is shaped in each run, just before it is run; and one
 * that finds its outputs' dims while computing says so in shape (step->late) and makes them in run
 * (out_make). */
#ifndef CONVOY_WORKER_OPS_OP_H
#define CONVOY_WORKER_OPS_OP_H

#include "common/limits.h"
#include "common/status.h"
#include "common/tensor.h"
#include "worker/kernels/activation.h"
#include "worker/kernels/layout.h"
#include "worker/ops/region.h"
#include "worker/ops/text.h"

#define OPSET_NEWEST 28         /* of the domain "ai.onnx" whose operators ops.def describes */
#define OPSET_OURS   (-1)       /* of operators that only the engine itself puts into a graph */
#define VALUE_NONE   UINT32_MAX /* in node->inputs or outputs: an optional one left out */
#define ANY_COUNT    UINT32_MAX /* in ops.def: no upper limit on inputs or outputs */

enum attr_kind {
    ATTR_FLOAT,
    ATTR_INT,
    ATTR_TEXT,
    ATTR_TENSOR,
    ATTR_FLOATS,
    ATTR_INTS,
    ATTR_TEXTS,
    ATTR_GRAPH,
    ATTR_TYPE, /* what it says is not kept */
};

struct graph;

struct attr {
    const char *name;
    enum attr_kind kind;
    bool read;            /* some check() asked for it; an attribute that nobody reads is refused */
    float f;              /* ATTR_FLOAT */
    int64_t i;            /* ATTR_INT */
    const char *text;     /* ATTR_TEXT */
    struct tensor tensor; /* ATTR_TENSOR; data in the file or in the graph's region */
    const float *floats;  /* ATTR_FLOATS */
    const int64_t *ints;  /* ATTR_INTS */
    const char *const *texts; /* ATTR_TEXTS */
    size_t len;               /* of floats, ints or texts */
    struct graph *graph;      /* ATTR_GRAPH; belongs to the graph around it */
};

struct node {
    const struct op *op;
    const char *name;    /* the node's name, or its first output's; for messages */
    int opset;           /* version that the model imports */
    uint32_t inputs_len; /* trailing ones that are left out are not counted */
    uint32_t outputs_len;
    uint32_t captures; /* the last so many inputs are what its sub-graphs read from around them */
    uint32_t *inputs;  /* value numbers, or VALUE_NONE */
    uint32_t *outputs; /* value numbers, or VALUE_NONE */
    uint32_t attrs_len;
    struct attr *attrs;
    struct region *region;  /* the graph's: state and packed weights live there */
    void *state;            /* what check() made of the attributes */
    void *packed;           /* constant weights in a kernel's own form, made by the first shape() */
    void (*unpack)(void *); /* frees `packed` when it is no region memory */
    struct activation act;  /* fused behind it; UNARY_IDENTITY: nothing */
    const char *label;  /* "Conv+BatchNormalization+Relu": operator and what was fused into it */
    const char *kernel; /* which implementation the last plan chose; for the profile */
    uint64_t calls;     /* profile: runs so far */
    uint64_t ns;        /* profile: time spent in them */
    uint64_t macs;      /* profile: multiply-accumulates done in them */
};

/* What the steps of one run of a model share. */
struct run {
    const uint32_t *stop; /* not 0: end with CANCELLED at the next node; relaxed atomics; or NULL */
    uint64_t *ticks;      /* counts nodes started; relaxed atomics; or NULL */
    bool profile;         /* add to node->calls and node->ns */
    struct slab *slab;    /* memory of values that are sized while running */
    size_t texts;         /* octets of texts that nodes have made so far (text.h) */
    uint64_t *work;       /* left of what the run may take, as step_work; or NULL: any amount */
};

/* One value in one plan. */
struct array {
    const char *name;
    enum dtype dtype;
    enum layout layout;
    uint32_t rank;
    int64_t dims[TENSOR_RANK_MAX]; /* logical, whatever the layout */
    size_t bytes;                  /* of data in that layout */
    void *data;                    /* NULL while planning unless known */
    bool known;                    /* data does not depend on the inputs' contents */
    bool fixed;                    /* nor on their shapes: a constant of the graph */
    bool held;                     /* data is a piece of the run's slab, held by this array */
    bool sequence;                 /* data is a struct sequence (late.h); dims mean nothing */
};

/* One node in one plan. */
struct step {
    struct node *node;
    struct array **in; /* NULL where left out */
    uint32_t in_len;
    struct array **out; /* NULL where left out */
    uint32_t out_len;
    struct region *region; /* the plan's: for params */
    void *params;          /* what shape() decided for run() */
    bool packed;           /* set by shape(): it packed the inputs of op->packs, run() reads none */
    bool late;             /* set by shape(): dims of outputs depend on data, run() makes them */
    bool deferred;         /* the planner's: not shaped yet, will be in each run */
    bool texts;           /* set by shape(): run() makes texts, so it is never run ahead of a run */
    size_t scratch_bytes; /* set by shape() */
    void *scratch;        /* TENSOR_ALIGN aligned, shared with other steps: not kept between runs */
    struct run *run;      /* set while running */
};

/* How rows travel through one value, found by graph/rowflow. */
enum rows {
    ROWS_NONE,    /* the same whatever the batch */
    ROWS_ALONG,   /* row r depends on row r of the inputs alone; rows lie at `outer` */
    ROWS_SIZE,    /* holds numbers that depend on the number of rows, as Shape gives */
    ROWS_UNKNOWN, /* mixes rows, or nothing is known */
};

struct rows_at {
    enum rows rows;
    uint64_t outer; /* ROWS_ALONG: elements in front of the batch when flattened: product of outer
                       dims */
};

/* One node planned twice, for two numbers of rows, all else being equal. */
struct rows_step {
    const struct step *step, *other;
    int64_t batch, other_batch; /* rows in each; both at least 2, different */
};

/* Where the rows of `at` lie in `a` of s->step: their axis, and how many elements of that axis come
 * in front of them (1 unless axes were merged, as in [steps * rows]). False when dims do not fit.
 */
bool rows_locate(const struct rows_step *s, const struct array *a, struct rows_at at,
                 uint32_t *axis, uint64_t *front);

/* The axis of `a` that counts exactly the rows of `at`, or -1 when there is none. */
int rows_axis(const struct rows_step *s, const struct array *a, struct rows_at at);

/* ROWS_ALONG with its rows on `axis` of `a`. */
struct rows_at rows_on_axis(const struct array *a, uint32_t axis);

/* The one axis of output `i` whose size is a multiple of the number of rows, or -1. */
int rows_grown_axis(const struct rows_step *s, uint32_t i);

enum op_flags {
    OP_VIEW = 1,      /* output 0 has the bytes of input 0; it may share its memory */
    OP_DIMS_ONLY = 2, /* outputs follow from the input's dims; its data is never read */
    OP_SEQUENCES = 4, /* inputs may be sequences; all other operators are refused them */
    OP_TEXTS = 8,     /* inputs and outputs may be BYTES (text.h); likewise */
    OP_ANY_TYPE = 16, /* takes FP16 and BF16 as they are; all others get FP32 (graph/halves) */
};

struct op {
    const char *name;         /* ONNX spelling */
    int opset_min, opset_max; /* inclusive */
    uint32_t in_min, in_max;  /* the first in_min are always there */
    uint32_t out_max;
    int variant;    /* tells rows that share functions apart; their meaning */
    unsigned flags; /* of enum op_flags */
    unsigned packs; /* bit i: a constant input i is read by shape() only, which packs it */
    unsigned known; /* bit i: input i decides shapes, so it must be known when planning */
    /* Attributes into node->state. Inputs are known by number only. */
    enum status (*check)(struct node *node, struct error *why);
    /* Output dtypes and dims by out_set(), scratch_bytes, params. */
    enum status (*shape)(struct step *step, struct error *why);
    enum status (*run)(const struct step *step, struct error *why);
    /* Rows of each output from rows of each input (in[i] is ROWS_NONE where left out); `out` comes
     * as ROWS_UNKNOWN. Called only when some input is not ROWS_NONE. */
    void (*rows)(const struct rows_step *s, const struct rows_at *in, struct rows_at *out);
    /* Layout in which this step would like inputs and outputs, seeing what its inputs have now;
     * NULL: LAYOUT_PLAIN. wants[i] comes as LAYOUT_PLAIN. */
    void (*layouts)(const struct step *step, enum layout *wants);
};

/* The row for this operator at this opset, or NULL. op_known: at any opset. */
const struct op *op_find(const char *name, int opset);
bool op_known(const char *name);

/* The whole list, for documentation and tests. */
const struct op *op_list(size_t *len);

/* Attribute by name, marked as read. A missing one gives `otherwise` (or NULL and 0). */
int64_t attr_int(struct node *node, const char *name, int64_t otherwise);
float attr_float(struct node *node, const char *name, float otherwise);
const char *attr_text(struct node *node, const char *name, const char *otherwise);
const int64_t *attr_ints(struct node *node, const char *name, size_t *len);
const float *attr_floats(struct node *node, const char *name, size_t *len);
const char *const *attr_texts(struct node *node, const char *name, size_t *len);
const struct tensor *attr_tensor(struct node *node, const char *name);
/* NULL when missing, whatever its kind. */
const struct attr *attr_find(struct node *node, const char *name);
/* Accept an attribute without meaning here (of training, or a hint). */
void attr_ignore(struct node *node, const char *name);

/* BAD_MODEL or INVALID with the node's name and operator in front. */
enum status bad_node(struct error *why, const struct node *node, const char *format, ...)
    PRINTF_LIKE(3, 4);
enum status bad_step(struct error *why, const struct step *step, const char *format, ...)
    PRINTF_LIKE(3, 4);

/* op->shape, once it is known that the operator takes inputs of these types. */
enum status step_shape(struct step *step, struct error *why);

/* Bytes of such an array. False for negative dims, for any dim beyond ARRAY_BYTES_MAX (sums of dims
 * then never overflow) and for more than ARRAY_BYTES_MAX bytes. */
bool array_size(enum dtype dtype, const int64_t *dims, uint32_t rank, size_t *bytes);

/* Describe output `i`; one that is left out is skipped. Refuses sizes that no machine has. */
enum status out_set(struct step *step, uint32_t i, enum dtype dtype, const int64_t *dims,
                    uint32_t rank, struct error *why);
/* The same for an array at hand. */
enum status out_describe(const struct step *step, struct array *o, enum dtype dtype,
                         const int64_t *dims, uint32_t rank, struct error *why);
/* out_set in LAYOUT_BLOCKED; rank 3 or 4, DTYPE_FP32. */
enum status out_blocked(struct step *step, uint32_t i, const int64_t *dims, uint32_t rank,
                        struct error *why);
/* out_set in LAYOUT_LAST; rank 3 or 4, bytes or INT32. */
enum status out_last(struct step *step, uint32_t i, enum dtype dtype, const int64_t *dims,
                     uint32_t rank, struct error *why);
/* The same dims (and layout) as `like`. */
enum status out_like(struct step *step, uint32_t i, enum dtype dtype, const struct array *like,
                     struct error *why);

/* Input `i`, or NULL when left out or beyond the list. */
struct array *step_in(const struct step *step, uint32_t i);
struct array *step_out(const struct step *step, uint32_t i);

/* Elements of `o` in its logical dims. */
size_t array_count(const struct array *o);
/* Product of dims[from..to). */
size_t dims_span(const struct array *o, uint32_t from, uint32_t to);

/* The integers of a known INT64 or INT32 input of at most `max` elements. BAD when it is not known
 * while planning (its values depend on the data) or of another type. */
enum status known_ints(const struct step *step, uint32_t input, int64_t *into, size_t max,
                       size_t *len, struct error *why);

/* Data of input `i` (NULL when left out) for a shape() that packs it: constants lie in the file on
 * any byte, so *copy is NULL or an aligned copy that the caller frees when it has packed. */
const void *pack_data(const struct step *step, uint32_t i, void **copy);

/* Turn an axis in -rank..rank-1 into 0..rank-1. */
bool axis_ok(int64_t *axis, uint32_t rank);

/* A rank 2 to 4 FP32 array as the kernels see it: 1-D data is one row high. */
struct maps array_maps(const struct array *a);
/* Elements in memory, padding lanes of the blocked layout included. */
size_t array_stored(const struct array *a);

/* Common rules: all dims and rows as input 0 has them; and the check for operators without
 * attributes. */
enum status check_none(struct node *node, struct error *why);
void layouts_plain(const struct step *step, enum layout *wants);
void layouts_follow(const struct step *step, enum layout *wants); /* input 0 if it is blocked */
enum status shape_same(struct step *step, struct error *why);
/* Rows that lie outside of input 0's axes from..to-1 stay where they are; dims in front of them do,
 * too. */
void rows_beside(const struct rows_step *s, struct rows_at in, uint32_t from, uint32_t to,
                 struct rows_at *out);
void rows_broadcast(const struct rows_step *s, const struct rows_at *in, struct rows_at *out);
void rows_same(const struct rows_step *s, const struct rows_at *in, struct rows_at *out);
void rows_never(const struct rows_step *s, const struct rows_at *in, struct rows_at *out);

#endif
