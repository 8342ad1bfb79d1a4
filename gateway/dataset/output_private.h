/* output_private - what the three parts of output share: files, lines, arrays */
#ifndef CONVOY_GATEWAY_DATASET_OUTPUT_PRIVATE_H
#define CONVOY_GATEWAY_DATASET_OUTPUT_PRIVATE_H

#include "gateway/dataset/json_text.h"
#include "gateway/dataset/output.h"
#include "gateway/dataset/slice.h"

struct output {
    struct output_config config; /* its texts are ours */
    uint32_t output_index;       /* .npy: which of the model's outputs */
    int fd;                      /* answers */
    int error_fd;                /* rows without one */
    struct output_state state;   /* on the disk */
    struct output_state next;    /* on the disk once this write is through */
    struct json_text lines;      /* answers of this write (JSON Lines) */
    struct json_text errors;     /* error lines of this write */
};

/* The outputs of one task, gathered and cut along their rows. */
struct answer {
    const struct fleet_result *result; /* whose */
    uint32_t outputs_len;              /* how many */
    struct slice *slices;              /* one an output */
    void **data;                       /* octets of each output, in one piece */
};

/* Write one row's outputs as a line into self->lines. `row` counts in the answer, `offset` in the
 * chunk. */
void output_add_line(struct output *self, const struct output_chunk *chunk,
                     const struct answer *answer, uint64_t row, uint32_t offset);

/* Note a row without an answer in self->errors and count it. */
void output_add_error(struct output *self, struct output_chunk *chunk, uint32_t offset,
                      const char *code, const char *text);

/* .npy: take type and shape from the first answer and write the header; later answers must have the
 * same (INVALID otherwise). */
enum status output_match_array(struct output *self, const struct slice *slice, struct error *why);

/* .npy: NaN at a range of rows, if the type has one. */
enum status output_fill_rows(struct output *self, uint64_t first, uint64_t rows, struct error *why);

#endif
