/* run_report - what convoy-run tells a person or a program */
#ifndef CONVOY_WORKER_RUN_REPORT_H
#define CONVOY_WORKER_RUN_REPORT_H

#include <jansson.h>

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

/* What the file holds and what a run of it costs, on stdout, as JSON or for a person. `shapes`
 * are texts NAME=1,3,224,224 for inputs with open dims. A model that cannot run is described all
 * the same, as far as its file goes; the status then says why it cannot. */
enum status report_inspect(const char *path, const char *const *shapes, uint32_t shapes_len,
                           bool json, struct error *why);

/* Names are any bytes; JSON holds UTF-8 only, so others become "?". */
json_t *report_text_json(const char *text);

/* Name, dtype and shape. */
json_t *report_tensor_json(const struct tensor *t);

/* On stdout; takes the reference. */
void report_print_json(json_t *j);

/* Every operator of the engine on stdout, as the Markdown of worker/OPERATORS.md. */
void report_operators(void);

#endif
