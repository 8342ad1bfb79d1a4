/* spec_shapes - what comes out of a layer, and its parameters */
#ifndef CONVOY_WORKER_TRAIN_SPEC_SHAPES_H
#define CONVOY_WORKER_TRAIN_SPEC_SHAPES_H

#include "worker/train/spec.h"

/* Fill shape and params of `layer`, whose inputs are done. INVALID says what it expected. */
enum status spec_infer(const struct spec *spec, struct spec_layer *layer, struct error *why);

/* Axes of a layer's window: 1 for Conv1D, 2 for MaxPooling2D, ... */
uint32_t spec_window_rank(const struct spec_layer *layer);

/* Gates of LSTM, GRU or SimpleRNN: 4, 3 or 1. */
uint32_t spec_gates(enum spec_type cell);

/* "[28, 28, 1]", "?" where open. */
char *spec_shape_text(char *into, size_t size, const struct spec_shape *shape);

#endif
