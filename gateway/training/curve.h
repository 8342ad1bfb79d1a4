/* curve - loss and accuracy of a training job as a picture
 *
 * Two diagrams over epochs, in SVG 1.1 without scripts: loss, and accuracy where there is any; each
 * with what was measured while it trained, over each whole epoch, and on the validation data. */
#ifndef CONVOY_GATEWAY_TRAINING_CURVE_H
#define CONVOY_GATEWAY_TRAINING_CURVE_H

#include "gateway/training/history.h"

/* What stands above the diagrams: letters, digits and ._-/ only. */
struct curve_text {
    char title[160];
};
void curve_text_set(struct curve_text *self, const char *format, ...) PRINTF_LIKE(2, 3);

/* The picture as text; free() it. Any thread. */
char *curve_svg(const struct history *history, const struct curve_text *text);

/* The same of the first `bytes` octets of a history; in the pool. */
enum status curve_of_file(char **svg, const char *path, int64_t bytes,
                          const struct curve_text *text, struct error *why);

#endif
