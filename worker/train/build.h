/* build - a network of layers becomes an ONNX model with fresh parameters
 *
 * Opset 17, IR version 8, fp32; a row goes in and comes out as Keras has it, channels last. Inside,
 * images and steps have their channels first, as ONNX's convolutions want them; a Transpose stands
 * wherever the two meet. Dropout stays in the graph as ONNX's Dropout, which does nothing when a
 * model runs.
 *
 * Initializers are named "layer/role" ("dense_1/kernel"), nodes "layer/Operator". What a trainer
 * has to know besides stands in the model's metadata under BUILD_METADATA, as JSON; TRAINING.md
 * describes it. */
#ifndef CONVOY_WORKER_TRAIN_BUILD_H
#define CONVOY_WORKER_TRAIN_BUILD_H

#include <stdio.h>

#include "worker/train/spec.h"

#define BUILD_METADATA "convoy.training"

/* The ONNX file's bytes, to be freed by free(). The same spec and seed give the same bytes. */
void build_model(const struct spec *spec, uint64_t seed, uint8_t **bytes, size_t *size);

/* Layers with their shapes and parameters, as Keras's model.summary() has them. */
void build_summary(const struct spec *spec, FILE *to);

/* The same for programs: {"name", "layers": [{"index", "name", "type", ...}], "parameters"}. */
json_t *build_summary_json(const struct spec *spec);

/* The page worker/LAYERS.md, from the tables. */
void build_layers_page(FILE *to);

#endif
