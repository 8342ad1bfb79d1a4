/* engine_pieces - see engine_pieces.h */
#include <stdlib.h>
#include <string.h>

#include "worker/kernels/cpu.h"
#include "worker/kernels/par.h"
#include "worker/model.h"

/* Batches that the engine may cut: rows on axis 0 of all that goes in and out, of plain types. */
static bool rows_of(const struct model *model, const struct array *inputs, size_t *rows)
{
    const struct signature *s = &model->signature;
    if (!s->batchable || model->run.profile || !s->inputs_len)
        return false;
    for (uint32_t i = 0; i < s->inputs_len; i++)
        if (inputs[i].rank < 1 || inputs[i].dims[0] != inputs[0].dims[0] ||
            inputs[i].dtype == DTYPE_BYTES || model->graph->values[model->graph->inputs[i]].decides)
            return false;
    for (uint32_t i = 0; i < s->outputs_len; i++)
        if (s->output_batch_axis[i] != 0)
            return false;
    *rows = (size_t)inputs[0].dims[0];
    return true;
}

/* The inputs with rows first..first+n-1 only. */
static void take_rows(const struct model *model, const struct array *inputs, size_t first, size_t n,
                      struct array *taken)
{
    for (uint32_t i = 0; i < model->signature.inputs_len; i++) {
        size_t row = inputs[i].bytes / (size_t)inputs[i].dims[0];
        taken[i] = inputs[i];
        taken[i].dims[0] = (int64_t)n;
        taken[i].bytes = n * row;
        taken[i].data = (char *)inputs[i].data + first * row;
    }
}

static size_t round_up(size_t value, size_t unit)
{
    return (value + unit - 1) / unit * unit;
}

size_t pieces_wanted(struct model *model, const struct array *inputs)
{
    struct array row[MODEL_VALUES_MAX];
    struct plan *plan;
    struct error why;
    size_t rows, threads = par_slots();
    if (!rows_of(model, inputs, &rows) || rows < 2)
        return 1;
    take_rows(model, inputs, 0, 1, row);
    if (plan_find(&model->plans, row, &plan, &why) != STATUS_OK || !plan_convolves(plan))
        return 1;
    size_t fit = kernels_l2_bytes() * 3 / 4 / MAX(plan_step_bytes(plan), 1);
    if (fit < 2)
        return 1; /* one row alone is too large: its weights are better read once for all */
    size_t least = round_up((rows + fit - 1) / fit, MIN(threads, rows));
    for (size_t count = least; count < 2 * least && count <= rows; count += MIN(threads, rows))
        if (rows % count == 0)
            return count;
    return MIN(least, rows);
}

/* --- running --------------------------------------------------------------------------------- */
struct job {
    struct model *model;
    const struct array *inputs;
    size_t rows, count;
    struct plan *(*plans)[2]; /* by lane: for the smaller and the larger pieces */
    bool failed;
    enum status status; /* of a piece that failed */
    struct error why;
};

static size_t piece_begin(const struct job *job, size_t piece)
{
    return job->rows * piece / job->count;
}

/* A lane's plan for pieces of `rows` rows, and room for it. */
static enum status lane_plan(struct job *job, struct lane *lane, size_t rows, struct plan **plan,
                             struct error *why)
{
    struct array taken[MODEL_VALUES_MAX];
    take_rows(job->model, job->inputs, 0, rows, taken);
    lane->plans.graph = job->model->graph;
    enum status s = plan_find(&lane->plans, taken, plan, why);
    if (s == STATUS_OK && (!lane->arena || plan_arena_bytes(*plan) > lane->arena_bytes)) {
        free(lane->arena);
        lane->arena_bytes = plan_arena_bytes(*plan);
        lane->arena = xaligned(lane->arena_bytes);
    }
    return s;
}

static void keep_failure(struct job *job, enum status s, const struct error *why)
{
    if (__atomic_test_and_set(&job->failed, __ATOMIC_ACQ_REL))
        return;
    job->status = s;
    job->why = *why;
}

/* Of output i of the whole batch. */
static size_t output_bytes(const struct job *job, const struct plan *plan, uint32_t i)
{
    const struct array *a = plan_output(plan, i);
    return a->bytes / (size_t)a->dims[0] * job->rows;
}

static void run_pieces(void *arg, size_t slot, size_t begin, size_t end)
{
    struct job *job = arg;
    struct model *model = job->model;
    struct lane *lane = &model->pieces.lanes[slot];
    struct array taken[MODEL_VALUES_MAX];
    for (size_t piece = begin; piece < end; piece++) {
        size_t first = piece_begin(job, piece), n = piece_begin(job, piece + 1) - first;
        struct plan *plan = job->plans[slot][n > job->rows / job->count];
        struct error why = {STATUS_OK, ""};
        take_rows(model, job->inputs, first, n, taken);
        enum status s = plan_run(plan, lane->arena, taken, &model->run, &why);
        if (s != STATUS_OK) {
            keep_failure(job, s, &why);
            return;
        }
        char *to = model->pieces.outputs;
        for (uint32_t i = 0; i < model->signature.outputs_len; i++) {
            const struct array *a = plan_output(plan, i);
            memcpy(to + a->bytes / n * first, a->data, a->bytes);
            to += round_up(output_bytes(job, plan, i), TENSOR_ALIGN);
        }
    }
}

/* Plans of all lanes, and room for the outputs. */
static enum status prepare(struct job *job, struct error *why)
{
    struct pieces *p = &job->model->pieces;
    size_t lanes = par_slots(), small = job->rows / job->count, bytes = 0;
    if (lanes > p->lanes_len) {
        pieces_free(p);
        p->lanes = xcalloc(lanes, sizeof *p->lanes);
        p->lanes_len = lanes;
    }
    for (size_t i = 0; i < lanes; i++)
        for (size_t large = 0; large < 2; large++) {
            bool uneven = job->rows % job->count != 0;
            enum status s =
                lane_plan(job, &p->lanes[i], small + (large && uneven), &job->plans[i][large], why);
            if (s != STATUS_OK)
                return s;
        }
    for (uint32_t i = 0; i < job->model->signature.outputs_len; i++)
        bytes += round_up(output_bytes(job, job->plans[0][0], i), TENSOR_ALIGN);
    if (bytes > p->outputs_bytes) {
        free(p->outputs);
        p->outputs = xaligned(bytes);
        p->outputs_bytes = bytes;
    }
    return STATUS_OK;
}

static void describe_outputs(const struct job *job, struct tensor *outputs)
{
    char *from = job->model->pieces.outputs;
    for (uint32_t i = 0; i < job->model->signature.outputs_len; i++) {
        const struct array *a = plan_output(job->plans[0][0], i);
        size_t bytes = output_bytes(job, job->plans[0][0], i);
        outputs[i] = (struct tensor){
            job->model->signature.outputs[i].name, a->dtype, a->rank, {0}, from, bytes};
        memcpy(outputs[i].dims, a->dims, sizeof a->dims);
        outputs[i].dims[0] = (int64_t)job->rows;
        from += round_up(bytes, TENSOR_ALIGN);
    }
}

enum status pieces_run(struct model *model, const struct array *inputs, size_t count,
                       struct tensor *outputs, struct error *why)
{
    struct plan *plans[PAR_SLOTS_MAX][2];
    struct job job = {.model = model, .inputs = inputs, .count = count, .plans = plans};
    job.rows = (size_t)inputs[0].dims[0];
    enum status s = prepare(&job, why);
    if (s != STATUS_OK)
        return s;
    par_for(count, PAR_ALWAYS, run_pieces, &job);
    if (job.status != STATUS_OK) {
        *why = job.why;
        return job.status;
    }
    describe_outputs(&job, outputs);
    return STATUS_OK;
}

size_t pieces_bytes(const struct pieces *self)
{
    size_t bytes = self->outputs_bytes;
    for (size_t i = 0; i < self->lanes_len; i++)
        bytes += self->lanes[i].arena_bytes;
    return bytes;
}

void pieces_free(struct pieces *self)
{
    for (size_t i = 0; i < self->lanes_len; i++) {
        plan_cache_clear(&self->lanes[i].plans);
        free(self->lanes[i].arena);
    }
    free(self->lanes);
    free(self->outputs);
    *self = (struct pieces){0};
}
