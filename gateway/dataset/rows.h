/* rows - building struct dataset_rows: which rows are good, stacked or one by one
 *
 * Rows are stacked when the model is batchable and all good rows have the same shapes. Pure but for
 * memory; any thread. */
#ifndef CONVOY_GATEWAY_DATASET_ROWS_H
#define CONVOY_GATEWAY_DATASET_ROWS_H

#include "gateway/dataset/dataset.h"
#include "gateway/dataset/line_row.h"

/* self->data holds all rows asked for, `row_bytes` each; `shape` is a model input for one row. */
void rows_over_array(struct dataset_rows *self, const struct tensor *shape, size_t row_bytes,
                     const struct dataset_ask *ask);

/* From ask->rows parsed lines; those without inputs are bad. Takes their custom_ids. */
void rows_over_lines(struct dataset_rows *self, struct line_row *parsed,
                     const struct dataset_ask *ask);

/* Note a bad row, in ascending order. `line` from 1 is put in front of the sentence; 0: not. */
void rows_add_bad(struct dataset_rows *self, uint32_t row, const char *code, uint64_t line,
                  const char *text);

#endif
