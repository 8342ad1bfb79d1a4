/* run_batches - see run_batches.h */
#include "worker/run_batches.h"

#include <stdlib.h>
#include <string.h>

struct batches {
    struct model *model;
    const struct signature *signature;
    uint32_t rows_max; /* per piece; 0: run whole */
    int64_t rows;      /* of each input, when batchable */
    struct tensor inputs[MODEL_VALUES_MAX];
    void *staged[MODEL_VALUES_MAX]; /* aligned copies of a piece's input rows */
    struct tensor outputs[MODEL_VALUES_MAX];
    void *whole[MODEL_VALUES_MAX]; /* buffers behind outputs when there are several pieces */
};

/* Pieces only where every input has the same rows in front and there are more than one piece's. */
static bool splits(const struct batches *self)
{
    if (!self->signature->batchable || !self->rows_max || self->rows <= (int64_t)self->rows_max)
        return false;
    for (uint32_t i = 0; i < self->signature->inputs_len; i++)
        if (self->inputs[i].rank < 1 || self->inputs[i].dims[0] != self->rows)
            return false;
    return true;
}

struct batches *batches_new(struct model *model, const struct tensor *inputs, uint32_t rows_max)
{
    struct batches *b = xcalloc(1, sizeof *b);
    b->model = model;
    b->signature = model_signature(model);
    b->rows_max = rows_max;
    memcpy(b->inputs, inputs, b->signature->inputs_len * sizeof *inputs);
    b->rows = b->signature->inputs_len && inputs[0].rank ? inputs[0].dims[0] : 0;
    if (!splits(b)) {
        b->rows_max = 0;
        return b;
    }
    assert(b->rows > 0);
    for (uint32_t i = 0; i < b->signature->inputs_len; i++)
        b->staged[i] = xaligned(inputs[i].bytes / (size_t)b->rows * rows_max);
    return b;
}

/* Rows `first` to `first + rows` of every input, aligned. */
static void take_rows(const struct batches *self, int64_t first, int64_t rows, struct tensor *piece)
{
    for (uint32_t i = 0; i < self->signature->inputs_len; i++) {
        size_t row_bytes = self->inputs[i].bytes / (size_t)self->rows;
        piece[i] = self->inputs[i];
        piece[i].dims[0] = rows;
        piece[i].bytes = (size_t)rows * row_bytes;
        piece[i].data = (char *)self->inputs[i].data + (size_t)first * row_bytes;
        if ((uintptr_t)piece[i].data % TENSOR_ALIGN == 0)
            continue;
        memcpy(self->staged[i], piece[i].data, piece[i].bytes);
        piece[i].data = self->staged[i];
    }
}

/* Put a piece's rows where they belong in the whole output. */
static void put_rows(struct batches *self, uint32_t i, const struct tensor *piece, int64_t first)
{
    struct tensor *whole = &self->outputs[i];
    uint32_t axis = self->signature->output_batch_axis[i];
    size_t outer = 1;
    if (first == 0) {
        *whole = *piece;
        whole->dims[axis] = self->rows;
        whole->bytes = piece->bytes / (size_t)piece->dims[axis] * (size_t)self->rows;
        if (!self->whole[i])
            self->whole[i] = xaligned(whole->bytes);
        whole->data = self->whole[i];
    }
    for (uint32_t k = 0; k < axis; k++)
        outer *= (size_t)piece->dims[k];
    if (!outer || !piece->bytes)
        return;
    size_t span = piece->bytes / outer, stride = whole->bytes / outer;
    size_t at = stride / (size_t)self->rows * (size_t)first;
    for (size_t o = 0; o < outer; o++)
        memcpy((char *)whole->data + o * stride + at, (const char *)piece->data + o * span, span);
}

enum status batches_run(struct batches *self, struct error *why)
{
    struct tensor piece[MODEL_VALUES_MAX], made[MODEL_VALUES_MAX];
    if (!self->rows_max)
        return model_run(self->model, self->inputs, self->signature->inputs_len, self->outputs,
                         why);
    for (int64_t first = 0; first < self->rows; first += self->rows_max) {
        take_rows(self, first, MIN((int64_t)self->rows_max, self->rows - first), piece);
        enum status s = model_run(self->model, piece, self->signature->inputs_len, made, why);
        if (s != STATUS_OK)
            return s;
        for (uint32_t i = 0; i < self->signature->outputs_len; i++)
            put_rows(self, i, &made[i], first);
    }
    return STATUS_OK;
}

const struct tensor *batches_output(const struct batches *self, uint32_t i)
{
    return &self->outputs[i];
}

void batches_destroy(struct batches **self_p)
{
    struct batches *self = *self_p;
    if (!self)
        return;
    for (uint32_t i = 0; i < MODEL_VALUES_MAX; i++) {
        free(self->staged[i]);
        free(self->whole[i]);
    }
    free(self);
    *self_p = NULL;
}
