/* external - files beside a model that hold its tensors' data
 *
 * A model names them by relative paths, and a model is not trusted: no absolute path, no "..", and
 * nothing outside of the model's folder, also not by a symbolic link. Files are mapped read-only,
 * each once, and stay so until the end of this object, which must outlive the graph. */
#ifndef CONVOY_WORKER_ONNX_EXTERNAL_H
#define CONVOY_WORKER_ONNX_EXTERNAL_H

#include "onnx.pb-c.h"

#include "common/status.h"

#define EXTERNAL_FILES_MAX 1024
#define EXTERNAL_PATH_MAX  1024

struct external;

/* For the model in file `path`; NULL: a model without a file, all of whose references are refused.
 */
struct external *external_new(const char *path);

/* The `bytes` bytes of `t`, which has its data elsewhere. `what` names it in messages. */
enum status external_find(struct external *self, const Onnx__TensorProto *t, size_t bytes,
                          const char *what, const uint8_t **data, struct error *why);

/* Bytes of all files mapped so far. */
size_t external_bytes(const struct external *self);

void external_destroy(struct external **self_p);

#endif
