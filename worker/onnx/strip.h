/* strip - an ONNX file without its tensor bytes, so that reading it copies no weights
 *
 * protobuf-c copies every bytes field. The pre-pass rewrites the message: each TensorProto.raw_data
 * that the engine may read becomes a reference of STRIP_REF_BYTES bytes into the original. Messages
 * that the engine never reads (training, documentation) are left out. Nesting is limited on the
 * way, so that the recursive decoder behind it cannot run out of stack. */
#ifndef CONVOY_WORKER_ONNX_STRIP_H
#define CONVOY_WORKER_ONNX_STRIP_H

#include "common/status.h"

#define STRIP_REF_BYTES 16

/* Rewrite the ModelProto in `bytes`. *out is the caller's to free(). BAD_MODEL says at which offset
 * the file breaks. */
enum status onnx_strip(const void *bytes, size_t size, uint8_t **out, size_t *out_size,
                       struct error *why);

/* Where the reference that stands in a raw_data field points to: false when it is no such
 * reference or leaves the file of `file_size` bytes. */
bool strip_ref(const void *raw_data, size_t raw_size, size_t file_size, size_t *offset,
               size_t *length);

#endif
