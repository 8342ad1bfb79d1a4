/* contender - one who can do a kind of work: our kernels, or a peer
 *
 * All run on the caller's thread and as many more as their start was told. What is made once for a
 * model (packing of weights, formats that the contender likes best) is done by open and not
 * measured. */
#ifndef CONVOY_TESTS_BENCH_CONTENDER_H
#define CONVOY_TESTS_BENCH_CONTENDER_H

#include "tests/bench/work.h"

struct contender {
    const char *name; /* in tables and files */
    enum work_kind kind;
    /* Get ready for `w`; NULL when it cannot do that. One run does the work *times times: 1, but
     * where a call would cost too much by itself. */
    void *(*open)(const struct work *w, size_t *times);
    void (*run)(void *self);
    /* Write what the last run computed, in ONNX's layout, when *times is 1. */
    void (*output)(void *self, float *y);
    void (*close)(void *self);
};

#define CONTENDER(name) extern const struct contender name;
#include "tests/bench/contenders.def"
#undef CONTENDER

/* Once, before any open of theirs. `models` is the folder of the ONNX models, `library` the path of
 * libonnxruntime. */
void onednn_start(int threads);
void onnxruntime_start(const char *library, const char *models, int threads);
void openblas_start(int threads);

#endif
