/* data_text - rows of CSV and JSON Lines as .npy arrays
 *
 * CSV: columns of numbers, some of them in quotes; a first line without any number is a header, and
 * empty lines do not count. One column is the label. JSON Lines: an object in each line, with the
 * input (numbers, nested as the shape is) under one key and the label (a number, or a list of them)
 * under another. Every line has the same shape. Inputs become FP32; labels INT64 where all are
 * whole numbers below 1e15, else FP32. Read once, line by line; limits.def says how long one may
 * be. */
#ifndef CONVOY_WORKER_PROGRAM_DATA_TEXT_H
#define CONVOY_WORKER_PROGRAM_DATA_TEXT_H

#include "worker/program/data.h"

/* Whether the file's name says that it is one. */
bool data_text_is(const char *path);

/* Write both arrays, or only one (the other path is NULL). Then it has a file of its own: every
 * column belongs to it, and a line of JSON may also be the value itself. INVALID names file and
 * line. */
enum status data_text_convert(const char *path, const struct data_options *options,
                              const char *inputs, const char *labels, struct error *why);

#endif
