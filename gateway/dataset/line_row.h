/* line_row - one line of a JSON Lines data set as the tensors of one row
 *
 * Pure but for memory; any thread. */
#ifndef CONVOY_GATEWAY_DATASET_LINE_ROW_H
#define CONVOY_GATEWAY_DATASET_LINE_ROW_H

#include "gateway/dataset/dataset.h"

struct line_row {
    char *custom_id;       /* as given, or NULL; also of a row that is bad */
    uint32_t inputs_len;   /* of the model; 0 when the row is bad */
    struct tensor *inputs; /* in the model's order, shaped for one row; each owns its data */
};

/* Read a line. On failure `code` names the kind and `why` has the sentence; the row then holds
 * nothing but a custom_id, if there was one. Free it in any case. */
enum status line_row_parse(struct line_row *out, const char *text, size_t size,
                           const struct signature *model, const char *endpoint, const char **code,
                           struct error *why);
void line_row_free(struct line_row *self);

#endif
