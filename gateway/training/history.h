/* history - how loss and accuracy went, segment by segment
 *
 * A file of JSON Lines, a line for each segment: its report, as the worker gave it. What is past
 * the committed length means nothing and is written over. Files: call it in the pool. */
#ifndef CONVOY_GATEWAY_TRAINING_HISTORY_H
#define CONVOY_GATEWAY_TRAINING_HISTORY_H

#include "common/status.h"

#include <jansson.h>

/* Write the line at *bytes, cut off what follows it, flush; *bytes becomes the new length. Beyond
 * TRAINING_HISTORY_MAX nothing is written any more. Fails as file_pwrite_all() does. */
enum status history_append(const char *path, int64_t *bytes, const json_t *report,
                           struct error *why);

/* A training's values at a step; NaN where there is none. */
struct history_point {
    double step, loss, accuracy;
};

struct history {
    struct history_point *points;      /* while it trained, by step */
    struct history_point *epochs;      /* over each whole epoch */
    struct history_point *validations; /* after it */
    size_t points_len, epochs_len, validations_len;
    double steps, epochs_all; /* of the whole job; 0: not known */
};

/* Read the first `bytes` octets of the file; no file is an empty history. */
enum status history_read(struct history *out, const char *path, int64_t bytes, struct error *why);
void history_free(struct history *self);

#endif
