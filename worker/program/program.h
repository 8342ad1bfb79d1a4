/* program - a training program: a network, how it is trained, and the data, in one folder
 *
 *   network.json or model.onnx      a list of layers (spec.h), or an ONNX network to start from
 *   train/inputs.*  train/labels.*            rows and what they should give, see data.h
 *   validation/inputs.*  validation/labels.*  none, or both
 *
 * It runs in pieces, each from a checkpoint to the next, on whatever machine: the state after step
 * n depends on the folder, the settings, the numeric mode and the number of threads, and not on
 * where the pieces were cut. One thread at a time uses a program. */
#ifndef CONVOY_WORKER_PROGRAM_PROGRAM_H
#define CONVOY_WORKER_PROGRAM_PROGRAM_H

#include <jansson.h>

#include "common/status.h"

struct program;

/* How far it is; loss and accuracy are means over the epoch so far. Every number is finite. */
struct program_progress {
    uint64_t step, steps;   /* done since the beginning; of the whole program */
    uint64_t epoch, epochs; /* the one under way, from 1 */
    uint64_t rows;          /* of an epoch */
    double loss, accuracy;  /* accuracy is negative where the loss has none */
    double rows_s;          /* of this piece */
};

/* May be all zero. */
struct program_watch {
    const volatile uint32_t *stop; /* not 0: leave before the next step, CANCELLED */
    uint64_t *ticks;               /* grows with each step and each batch of validation */
    void (*progress)(void *arg, const struct program_progress *now); /* after each step */
    void *arg;
};

/* What a program gives, from program_open() on. */
struct program_sizes {
    uint64_t parameters;
    size_t checkpoint, model; /* octets */
};

/* Reads the folder, converting data that are not mapped as they are into files beside them.
 * `settings` is JSON, see settings.def; NULL: all defaults. INVALID, BAD_MODEL or UNSUPPORTED name
 * the layer, the key, or the file and its row. The engine must have been started; the number of
 * threads is taken from it unless the settings or a checkpoint say another one. */
enum status program_open(struct program **out, const char *folder, const char *settings,
                         struct error *why);
void program_destroy(struct program **self_p);

/* Go on from there. INVALID for one of another program, mode or build. */
enum status program_restore(struct program *self, const void *checkpoint, size_t size,
                            struct error *why);

/* At least one step, then on until `budget_ms` have gone or an epoch ends (its validation belongs
 * to it). Nothing when program_done(). INVALID names the step whose loss is not finite, or the row
 * whose label is out of range. After a failure only program_restore and program_destroy. */
enum status program_run(struct program *self, uint64_t budget_ms, const struct program_watch *watch,
                        struct error *why);

bool program_done(const struct program *self); /* all epochs are over, or it stopped early */

struct program_sizes program_sizes(const struct program *self);

/* The whole state, to be freed by free(); ends with a crc32c. */
void program_checkpoint(const struct program *self, uint8_t **bytes, size_t *size);

/* Of the last program_run, for the caller to decref: {"step", "steps", "epoch", "epochs", "rows",
 * "seconds" (of the steps, without validation), "points": [[step, loss, accuracy], ...],
 * "epoch_end": {"epoch", "loss", "accuracy", "validation_loss", "validation_accuracy",
 * "stopped_early"}, "done", "mode", "threads", "parameters"}. What there is not is absent. */
json_t *program_report(const struct program *self);

/* The network as it is now, as an ONNX file's bytes, to be freed by free(). */
enum status program_model(const struct program *self, uint8_t **bytes, size_t *size,
                          struct error *why);

#endif
