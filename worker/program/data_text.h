/* data_text - rows of CSV and JSON Lines as .npy arrays
 *
 * Read twice, line by line: first for the shape and the kind of labels, then for the numbers.
 * Inputs become FP32; labels INT64 where all are whole numbers, else FP32.
 *
 *    CSV          columns of numbers; a first line that has none is a header. One column is the
 * label JSON Lines   {"input": numbers, nested as the shape is, "label": a number or a list of
 * them} */
#ifndef CONVOY_WORKER_PROGRAM_DATA_TEXT_H
#define CONVOY_WORKER_PROGRAM_DATA_TEXT_H

#include "worker/program/data.h"

/* Whether the file's name says that it is one. */
bool data_text_is(const char *path);

/* Write `inputs`, and `labels` (a path, or NULL where they stand in a file of their own). `whole`:
 * this is that file: every column, or the value of each line, is the label. INVALID names file and
 * line. */
enum status data_text_convert(const char *path, const struct data_options *options, bool whole,
                              const char *inputs, const char *labels, struct error *why);

#endif
