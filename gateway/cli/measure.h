/* measure - loss and accuracy of a model's outputs beside the labels
 *
 * Labels are whole numbers of classes, one for each row of outputs (or each position of a row), or
 * as many numbers as the outputs have. Pure but for reading. */
#ifndef CONVOY_GATEWAY_CLI_MEASURE_H
#define CONVOY_GATEWAY_CLI_MEASURE_H

#include "common/status.h"

/* One array as numbers. */
struct measure_array {
    double *values; /* row after row */
    uint64_t rows;  /* the first axis */
    uint64_t each;  /* values of a row */
    bool whole;     /* elements are integers */
};

/* A .npy, idx or idx.gz file; INVALID when it is none of these, or no numbers. */
enum status measure_read(struct measure_array *out, const char *path, struct error *why);
void measure_free(struct measure_array *self);

struct measures {
    const char *loss_name; /* as Keras calls it */
    double loss;           /* mean over what was measured */
    double accuracy;       /* NAN where there are no classes */
    uint64_t rows;         /* measured: with an answer */
};

/* INVALID when labels do not belong to such outputs; the text says what was expected and came. */
enum status measure(struct measures *out, const struct measure_array *outputs,
                    const struct measure_array *labels, struct error *why);

#endif
