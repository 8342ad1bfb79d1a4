/* data - rows to learn from, with what each should give; read by number, never all in memory
 *
 * Inputs and labels are .npy arrays, mapped, whose first axis counts rows. Other formats are turned
 * into such arrays once, row by row: idx (plain or gzip), CSV and JSON Lines (data_text.h). They
 * stay beside the source, as SOURCE.rows and SOURCE.labels.rows, and are made anew when the source
 * is younger; a folder is read with the same options each time. One thread; two processes may make
 * them at once. */
#ifndef CONVOY_WORKER_PROGRAM_DATA_H
#define CONVOY_WORKER_PROGRAM_DATA_H

#include "common/npy.h"

struct data_options {
    const char *label_column; /* CSV: name or number from 1; NULL: the last one */
    const char *label_key;    /* JSON Lines; NULL: "label" */
    const char *input_key;    /* JSON Lines; NULL: "input" */
};

struct data {
    struct npy inputs, labels; /* mapped; first dims are equal */
    uint64_t rows;
};

/* `part` is a folder that holds inputs.* and, unless those have the labels in them, labels.*, one
 * file of each.
 * NOT_FOUND when there are no inputs. INVALID names the file, and the row or line. Close it after
 * any outcome. */
enum status data_open(struct data *out, const char *part, const struct data_options *options,
                      struct error *why);
void data_close(struct data *self);

/* Row number i of a pass over n rows in the order that (seed, pass) give: a permutation of 0..n-1
 * that needs no table. */
uint64_t data_shuffled(uint64_t i, uint64_t n, uint64_t seed, uint64_t pass);

#endif
