/* run_report - what convoy-run tells a person or a program */
#ifndef CONVOY_WORKER_RUN_REPORT_H
#define CONVOY_WORKER_RUN_REPORT_H

#include "worker/run_batches.h"

/* Times of one call of convoy-run. */
struct run_times {
    double load_ms;
    double us_min;
    double us_median;
};

/* Write DIR/000.npy, ... and DIR/outputs.json; the same JSON goes to stdout when `json` (with the
 * time per node when `profile`), otherwise one line per output. */
enum status report_outputs(const struct model *model, const struct batches *batches,
                           const struct run_times *times, const char *dir, bool json, bool profile,
                           struct error *why);

/* Time per node on stdout, longest first. */
void report_profile(const struct model *model);

/* Inputs, outputs, operators, batching on stdout, as JSON or for a person. */
void report_signature(const struct model *model, bool json);

/* Every operator of the engine on stdout, as the Markdown of worker/OPERATORS.md. */
void report_operators(void);

#endif
