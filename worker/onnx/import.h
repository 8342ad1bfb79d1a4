/* import - an ONNX file becomes a graph
 *
 * Reads ModelProto of IR versions 1 to IMPORT_IR_NEWEST. Weights stay where they are in `bytes`. */
#ifndef CONVOY_WORKER_ONNX_IMPORT_H
#define CONVOY_WORKER_ONNX_IMPORT_H

#include "worker/graph/graph.h"
#include "worker/onnx/external.h"

#define IMPORT_IR_NEWEST 14 /* of onnx 1.23 */

/* `bytes` and `external` must stay as long as the graph lives. BAD_MODEL says where the file
 * breaks, or names every operator or feature that is missing. */
enum status onnx_import(struct graph **out, const void *bytes, size_t size,
                        struct external *external, struct error *why);

#endif
