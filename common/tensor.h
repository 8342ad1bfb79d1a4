/* tensor - element types and the description of one dense, row-major tensor
 *
 * A tensor never owns its data or its name: whoever fills them keeps them alive. */
#ifndef CONVOY_COMMON_TENSOR_H
#define CONVOY_COMMON_TENSOR_H

#include "common/base.h"

#define TENSOR_RANK_MAX 8

enum dtype {
    DTYPE_NONE = 0,
#define DTYPE(name, code, onnx, bytes, oip, npy) DTYPE_##name = code,
#include "common/dtype.def"
#undef DTYPE
};

struct tensor {
    const char *name; /* as the model spells it; may be any text */
    enum dtype dtype;
    uint32_t rank;                 /* 0: a scalar with one element */
    int64_t dims[TENSOR_RANK_MAX]; /* >= 0; -1 where a signature leaves it open */
    void *data;                    /* bytes, little-endian; NULL in a signature */
    size_t bytes;                  /* of data */
};

/* Bytes of one element; 0 for BYTES and unknown types. */
size_t dtype_bytes(enum dtype dtype);

/* "FP32" and back; DTYPE_NONE when unknown. */
const char *dtype_name(enum dtype dtype);
enum dtype dtype_by_name(const char *oip_name);

/* ONNX's TensorProto.DataType and back; 0 and DTYPE_NONE when unknown. */
int dtype_onnx(enum dtype dtype);
enum dtype dtype_by_onnx(int onnx_type);

/* NumPy's descr ("<f4") and back; "" and DTYPE_NONE when NumPy has no such type. */
const char *dtype_npy(enum dtype dtype);
enum dtype dtype_by_npy(const char *descr);

/* True when the wire code names a type of the list. */
bool dtype_known(uint64_t code);

/* Product of the dims. False when it or its byte count leaves 2^62 or a dim is negative. */
bool dims_count(const int64_t *dims, uint32_t rank, uint64_t *count);
bool tensor_size(enum dtype dtype, const int64_t *dims, uint32_t rank, uint64_t *bytes);

/* "[3,224,-1]" for messages; cut to fit. Returns `into`. */
char *dims_text(char *into, size_t size, const int64_t *dims, uint32_t rank);

#endif
