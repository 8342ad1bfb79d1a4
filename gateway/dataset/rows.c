#include "gateway/dataset/rows.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void rows_add_bad(struct dataset_rows *self, uint32_t row, const char *code, uint64_t line,
                  const char *text)
{
    self->bad = xrealloc(self->bad, (self->bad_len + 1) * sizeof(*self->bad));
    char *sentence = line ? xasprintf("line %" PRIu64 ": %s", line, text) : xstrdup(text);
    self->bad[self->bad_len++] = (struct dataset_bad){row, xstrdup(code), sentence};
}

void rows_over_array(struct dataset_rows *self, const struct tensor *shape, size_t row_bytes,
                     const struct dataset_ask *ask)
{
    self->alone = ask->alone || !ask->model->batchable;
    self->good_len = ask->rows;
    self->good = xcalloc(ask->rows, sizeof(*self->good));
    for (uint32_t i = 0; i < ask->rows; i++)
        self->good[i] = i;
    uint32_t tasks = self->alone ? ask->rows : 1;
    self->inputs = xcalloc(tasks, sizeof(*self->inputs));
    for (uint32_t t = 0; t < tasks; t++) {
        self->inputs[t] = *shape;
        self->inputs[t].data = (char *)self->data + t * row_bytes;
        self->inputs[t].bytes = row_bytes;
    }
    if (!self->alone) {
        self->inputs[0].dims[0] = ask->rows;
        self->inputs[0].bytes = self->data_bytes;
    }
}

static bool same_shape(const struct tensor *a, const struct tensor *b)
{
    return a->rank == b->rank && memcmp(a->dims, b->dims, a->rank * sizeof(*a->dims)) == 0;
}

static bool all_alike(const struct dataset_rows *self, const struct line_row *parsed)
{
    const struct line_row *first = &parsed[self->good[0]];
    for (uint32_t g = 1; g < self->good_len; g++) {
        for (uint32_t k = 0; k < self->inputs_len; k++) {
            if (!same_shape(&first->inputs[k], &parsed[self->good[g]].inputs[k]))
                return false;
        }
    }
    return true;
}

/* Each tensor begins on its own boundary, so that none is cut by another's odd size. */
static size_t place(size_t at)
{
    return (at + TENSOR_ALIGN - 1) / TENSOR_ALIGN * TENSOR_ALIGN;
}

static size_t total_bytes(const struct dataset_rows *self, const struct line_row *parsed)
{
    size_t bytes = 0;
    for (uint32_t g = 0; g < self->good_len; g++) {
        for (uint32_t k = 0; k < self->inputs_len; k++)
            bytes = place(bytes) + parsed[self->good[g]].inputs[k].bytes;
    }
    return bytes;
}

/* One task of all good rows: input k's rows follow each other. */
static void stack(struct dataset_rows *self, const struct line_row *parsed)
{
    size_t at = 0;
    self->inputs = xcalloc(self->inputs_len, sizeof(*self->inputs));
    for (uint32_t k = 0; k < self->inputs_len; k++) {
        struct tensor *input = &self->inputs[k];
        *input = parsed[self->good[0]].inputs[k];
        input->dims[0] = self->good_len;
        input->data = (char *)self->data + at;
        input->bytes = 0;
        for (uint32_t g = 0; g < self->good_len; g++) {
            const struct tensor *row = &parsed[self->good[g]].inputs[k];
            memcpy((char *)input->data + input->bytes, row->data, row->bytes);
            input->bytes += row->bytes;
        }
        at = place(at + input->bytes);
    }
}

/* Each good row a task of its own. */
static void lay_out(struct dataset_rows *self, const struct line_row *parsed)
{
    size_t at = 0;
    self->inputs = xcalloc((size_t)self->good_len * self->inputs_len, sizeof(*self->inputs));
    for (uint32_t g = 0; g < self->good_len; g++) {
        for (uint32_t k = 0; k < self->inputs_len; k++) {
            struct tensor *input = &self->inputs[g * self->inputs_len + k];
            *input = parsed[self->good[g]].inputs[k];
            at = place(at);
            memcpy((char *)self->data + at, input->data, input->bytes);
            input->data = (char *)self->data + at;
            at += input->bytes;
        }
    }
}

void rows_over_lines(struct dataset_rows *self, struct line_row *parsed,
                     const struct dataset_ask *ask)
{
    self->good = xcalloc(ask->rows, sizeof(*self->good));
    self->custom_ids = xcalloc(ask->rows, sizeof(*self->custom_ids));
    for (uint32_t i = 0; i < ask->rows; i++) {
        self->custom_ids[i] = parsed[i].custom_id;
        parsed[i].custom_id = NULL;
        if (parsed[i].inputs_len > 0)
            self->good[self->good_len++] = i;
    }
    if (self->good_len == 0)
        return;
    self->alone =
        ask->alone || !ask->model->batchable || self->good_len == 1 || !all_alike(self, parsed);
    /* Room for every tensor on a boundary of its own; a stack needs no more than that. */
    self->data_bytes =
        total_bytes(self, parsed) + (size_t)self->good_len * self->inputs_len * TENSOR_ALIGN;
    self->data = xaligned(self->data_bytes);
    if (self->alone)
        lay_out(self, parsed);
    else
        stack(self, parsed);
}

void dataset_rows_free(struct dataset_rows **self_p)
{
    struct dataset_rows *self = *self_p;
    if (!self)
        return;
    for (size_t i = 0; i < self->bad_len; i++) {
        free(self->bad[i].code);
        free(self->bad[i].text);
    }
    for (uint32_t i = 0; self->custom_ids && i < self->rows; i++)
        free(self->custom_ids[i]);
    free(self->custom_ids);
    free(self->bad);
    free(self->good);
    free(self->inputs);
    free(self->data);
    free(self);
    *self_p = NULL;
}

const char *dataset_custom_id(const struct dataset_rows *self, uint32_t offset,
                              char scratch[static DATASET_SCRATCH])
{
    if (self->custom_ids && self->custom_ids[offset])
        return self->custom_ids[offset];
    snprintf(scratch, DATASET_SCRATCH, "%" PRIu64, self->first + offset);
    return scratch;
}
