/* json_tensor - a JSON list of numbers, texts or lists of them as one dense tensor
 *
 * Numbers must fit the element type: 300 is no UINT8 and 1.5 no INT32. FP16 and BF16 have no JSON
 * form. Pure but for memory; any thread. */
#ifndef CONVOY_GATEWAY_DATASET_JSON_TENSOR_H
#define CONVOY_GATEWAY_DATASET_JSON_TENSOR_H

#include "common/status.h"
#include "common/tensor.h"

#include <jansson.h>

/* The shape that nested lists have; INVALID when they are deeper than a tensor may be. Whether all
 * lists of a level are equally long is checked by json_tensor_fill. */
enum status json_tensor_dims(const json_t *data, int64_t *dims, uint32_t *rank, struct error *why);

/* Read the elements into out->data (malloc) and out->bytes; out has name, type and shape. `data` is
 * flat or nested like the shape. INVALID says which element is wrong, or expected and got. */
enum status json_tensor_fill(struct tensor *out, const json_t *data, struct error *why);

#endif
