/* run_texts - tensors of texts as JSON files: arrays in arrays, as deep as the tensor has axes
 *
 * NumPy's files have no texts of any length. Texts in JSON are UTF-8; others are refused. */
#ifndef CONVOY_WORKER_RUN_TEXTS_H
#define CONVOY_WORKER_RUN_TEXTS_H

#include "common/status.h"
#include "common/tensor.h"

/* Fill all of *t but its name; t->data is the caller's to free(). INVALID when the file is no JSON,
 * or no array whose rows are alike. */
enum status texts_load(const char *path, struct tensor *t, struct error *why);

enum status texts_save(const char *path, const struct tensor *t, struct error *why);

#endif
