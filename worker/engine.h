/* engine - load an ONNX model once, run it many times
 *
 * The engine knows no socket and no fleet: convoy-run and the runner process are thin shells
 * around it. A model belongs to one thread; kernels inside run() use engine_threads() OpenMP
 * threads. Output bytes depend on the model, on the numeric mode and on each row alone: never on
 * the batch, on the thread count or on what ran before. */
#ifndef CONVOY_WORKER_ENGINE_H
#define CONVOY_WORKER_ENGINE_H

#include "common/status.h"
#include "common/tensor.h"

#define MODEL_VALUES_MAX 64 /* inputs or outputs of one model */

struct model;

/* What a caller may know of a model without running it. Owned by the model. */
struct signature {
    uint32_t inputs_len;
    uint32_t outputs_len;
    struct tensor inputs[MODEL_VALUES_MAX]; /* data NULL; -1 where a dim is open */
    struct tensor outputs[MODEL_VALUES_MAX];
    /* Rows are independent and may be gathered from several requests: each input has its rows on
     * axis 0 and output i has them on axis output_batch_axis[i]. False: one request, one run. */
    bool batchable;
    uint32_t output_batch_axis[MODEL_VALUES_MAX];
};

/* Once per process, before any model: choose the kernels (see kernels_start in cpu.h) and the
 * number of OpenMP threads (0: one per core). INVALID when this CPU cannot run that choice. */
enum status engine_start(const char *isa, uint32_t threads, struct error *why);
uint32_t engine_threads(void);

/* "avx2/fast": the instruction-set class and rounding class; equal modes give equal bytes. */
const char *engine_mode(void);

/* Read the model in `bytes`, which must stay mapped as long as the model lives (weights are not
 * copied). A model with data in other files is refused. BAD_MODEL names every operator or feature
 * that is missing, or where the file breaks. */
enum status model_load(struct model **out, const void *bytes, size_t size, struct error *why);

/* The same from a file, which the model then keeps mapped, as it does the files in the same folder
 * that hold its tensors' data. */
enum status model_load_file(struct model **out, const char *path, struct error *why);

const struct signature *model_signature(const struct model *self);

/* For `convoy models inspect`: what stands against batching ("" when batchable), elements of all
 * weights, and operators with their numbers (after folding and fusion; returns how many there are).
 */
const char *model_rows_reason(const struct model *self);
uint64_t model_parameters(const struct model *self);
int model_opset(const struct model *self);
struct operator_count {
    const char *name; /* with what was fused: "Conv+Relu" */
    uint32_t count;
};
size_t model_operators(const struct model *self, struct operator_count *rows, size_t rows_max);

/* Check names, types and shapes of `inputs` (any order, each exactly once, data aligned to
 * TENSOR_ALIGN) and compute. `outputs` (signature's order, outputs_len of them) then point into
 * the model's arena and stay valid until the next run. INVALID says what was expected and what
 * came; nothing is half done. Plans are cached by input shape: a repeated shape allocates nothing.
 */
enum status model_run(struct model *self, const struct tensor *inputs, uint32_t inputs_len,
                      struct tensor *outputs, struct error *why);

/* Ask a model that runs in this process to stop at its next operator: model_run then returns
 * CANCELLED. `flag` is read with relaxed atomics and may live in shared memory; NULL: never. */
void model_stop_flag(struct model *self, const uint32_t *flag);

/* Counts every operator started since load, so that a watcher can tell progress from a hang;
 * written with relaxed atomics to `ticks`, which may live in shared memory; NULL: nowhere. */
void model_tick_counter(struct model *self, uint64_t *ticks);

/* Bytes that activations take so far: the largest plan's arena, and what pieces of batches have. */
size_t model_arena_bytes(const struct model *self);

/* Time spent per node since profiling was switched on, as rows for `convoy run --profile`. */
struct profile_row {
    const char *name;   /* the node's name, or its first output's */
    const char *op;     /* operator, with what was fused: "Conv+Relu" */
    const char *kernel; /* which implementation ran */
    uint64_t calls;
    uint64_t ns;
    uint64_t macs; /* multiply-accumulates; 0 where they are not counted (graph/macs.h) */
};
void model_profile(struct model *self, bool on);
size_t model_profile_rows(const struct model *self, struct profile_row *rows, size_t rows_max);

/* What one run costs at given input shapes. */
struct model_cost {
    struct tensor inputs[MODEL_VALUES_MAX]; /* the shapes it was counted for */
    uint64_t macs;                          /* as in struct profile_row */
    size_t arena_bytes;
    uint32_t data_nodes; /* nodes whose shapes depend on data: not in macs */
};

/* `shapes` gives dims of inputs by name (any of them); an open dim of another input counts as 1 row
 * on axis 0 and on other axes as the first of 64, 16, 224, 1, 512 and 1600 that fits the model.
 * INVALID when a name or a shape does not. */
enum status model_cost(struct model *self, const struct tensor *shapes, uint32_t shapes_len,
                       struct model_cost *out, struct error *why);

/* Free everything; *self_p becomes NULL. NULL inside is fine. */
void model_destroy(struct model **self_p);

#endif
