/* tensor - tables from dtype.def and checked sizes; see tensor.h */
#include "common/tensor.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const struct row {
    int onnx;
    size_t bytes;
    const char *oip;
    const char *npy;
} rows[] = {
#define DTYPE(name, code, onnx, bytes, oip, npy) [code] = {onnx, bytes, oip, npy},
#include "common/dtype.def"
#undef DTYPE
};

bool dtype_known(uint64_t code)
{
    return code > 0 && code < ARRAY_LEN(rows);
}

size_t dtype_bytes(enum dtype dtype)
{
    return dtype_known(dtype) ? rows[dtype].bytes : 0;
}

const char *dtype_name(enum dtype dtype)
{
    return dtype_known(dtype) ? rows[dtype].oip : "NONE";
}

int dtype_onnx(enum dtype dtype)
{
    return dtype_known(dtype) ? rows[dtype].onnx : 0;
}

const char *dtype_npy(enum dtype dtype)
{
    return dtype_known(dtype) ? rows[dtype].npy : "";
}

enum dtype dtype_by_name(const char *oip_name)
{
    for (size_t code = 1; code < ARRAY_LEN(rows); code++)
        if (strcmp(rows[code].oip, oip_name) == 0)
            return (enum dtype)code;
    return DTYPE_NONE;
}

enum dtype dtype_by_onnx(int onnx_type)
{
    for (size_t code = 1; code < ARRAY_LEN(rows); code++)
        if (rows[code].onnx == onnx_type)
            return (enum dtype)code;
    return DTYPE_NONE;
}

enum dtype dtype_by_npy(const char *descr)
{
    for (size_t code = 1; code < ARRAY_LEN(rows); code++)
        if (rows[code].npy[0] && strcmp(rows[code].npy, descr) == 0)
            return (enum dtype)code;
    return DTYPE_NONE;
}

bool dims_count(const int64_t *dims, uint32_t rank, uint64_t *count)
{
    const uint64_t limit = (uint64_t)1 << 62;
    uint64_t product = 1;
    bool zero = false;
    for (uint32_t i = 0; i < rank; i++) {
        if (dims[i] < 0)
            return false;
        if (dims[i] == 0) {
            zero = true;
            continue;
        }
        if (product > limit / (uint64_t)dims[i])
            return false;
        product *= (uint64_t)dims[i];
    }
    *count = zero ? 0 : product;
    return true;
}

bool tensor_size(enum dtype dtype, const int64_t *dims, uint32_t rank, uint64_t *bytes)
{
    uint64_t count;
    if (!dims_count(dims, rank, &count))
        return false;
    if (count > ((uint64_t)1 << 62) / 8)
        return false;
    *bytes = count * dtype_bytes(dtype);
    return true;
}

char *dims_text(char *into, size_t size, const int64_t *dims, uint32_t rank)
{
    size_t used = 0;
    assert(size > 2);
    into[0] = '\0';
    for (uint32_t i = 0; i <= rank && used < size; i++) {
        int n = i == rank
                    ? snprintf(into + used, size - used, rank ? "]" : "[]")
                    : snprintf(into + used, size - used, "%c%" PRId64, i ? ',' : '[', dims[i]);
        used += (size_t)n;
    }
    return into;
}
