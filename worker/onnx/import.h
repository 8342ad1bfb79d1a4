/* import - an ONNX file becomes a graph
 *
 * Reads ModelProto of IR versions 1 to IMPORT_IR_NEWEST. Weights stay where they are in `bytes`. */
#ifndef CONVOY_WORKER_ONNX_IMPORT_H
#define CONVOY_WORKER_ONNX_IMPORT_H

#include "worker/graph/graph.h"

#define IMPORT_IR_NEWEST 14 /* of onnx 1.23 */

/* `bytes` must stay mapped as long as the graph lives. BAD_MODEL says where the file breaks, or
 * names every operator or feature that is missing. */
enum status onnx_import(struct graph **out, const void *bytes, size_t size, struct error *why);

#endif
