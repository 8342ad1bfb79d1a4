/* ort - a model in onnxruntime, whose library is loaded when the program runs
 *
 * Every function ends the process with a message when it fails. */
#ifndef CONVOY_TESTS_BENCH_ORT_H
#define CONVOY_TESTS_BENCH_ORT_H

#include "common/tensor.h"

struct ort_session;

/* Once: load libonnxruntime. */
void ort_start(const char *library);

/* Open a model: all graph optimisations, `threads` threads, one operator after another. */
struct ort_session *ort_open(const char *path, int threads);

/* Once a session: what its runs read, and where they write. Names and data must stay. */
void ort_bind(struct ort_session *self, const struct tensor *inputs, size_t inputs_len,
              const struct tensor *outputs, size_t outputs_len);

void ort_run(struct ort_session *self);

/* *self_p becomes NULL; NULL inside is fine. */
void ort_close(struct ort_session **self_p);

#endif
