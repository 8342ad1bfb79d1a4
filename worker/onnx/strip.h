/* strip - an ONNX file without its tensor bytes, so that reading it copies no weights
 *
 * protobuf-c copies every field. The pre-pass rewrites the message: each TensorProto.raw_data that
 * the engine may read becomes a reference of STRIP_REF_BYTES bytes into the original, and so do
 * float_data and double_data of more than STRIP_TYPED_BYTES, which the file holds in the same
 * bytes: their reference stands in raw_data, too. Messages that the engine never reads (training,
 * documentation) are left out. Nesting is limited on the way, so that the recursive decoder behind
 * it cannot run out of stack. */
#ifndef CONVOY_WORKER_ONNX_STRIP_H
#define CONVOY_WORKER_ONNX_STRIP_H

#include "common/status.h"

#define STRIP_REF_BYTES   24
#define STRIP_TYPED_BYTES 1024

/* A piece of the original. */
struct strip_ref {
    uint64_t offset, length;
    uint64_t field; /* of TensorProto that it was: STRIP_RAW_DATA, STRIP_FLOATS or STRIP_DOUBLES */
};
#define STRIP_FLOATS   4
#define STRIP_RAW_DATA 9
#define STRIP_DOUBLES  10

/* Rewrite the ModelProto in `bytes`. *out is the caller's to free(). BAD_MODEL says at which offset
 * the file breaks. */
enum status onnx_strip(const void *bytes, size_t size, uint8_t **out, size_t *out_size,
                       struct error *why);

/* The reference that stands in a raw_data field: false when it is none or leaves the file of
 * `file_size` bytes. */
bool strip_ref(const void *raw_data, size_t raw_size, size_t file_size, struct strip_ref *out);

#endif
