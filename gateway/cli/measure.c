#include "gateway/cli/measure.h"

#include "common/idx.h"
#include "common/npy.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LEAST    1e-7 /* of a probability, as Keras's epsilon: its logarithm is finite */
#define IDX_ROWS 4096 /* read at once */

/* --- reading -----------------------------------------------------------------------------------
 */
static double element(enum dtype dtype, const uint8_t *at)
{
    switch (dtype) {
#define CASE(type, c_type)                                                                         \
    case DTYPE_##type: {                                                                           \
        c_type value;                                                                              \
        memcpy(&value, at, sizeof value);                                                          \
        return (double)value;                                                                      \
    }
        CASE(UINT8, uint8_t)
        CASE(INT8, int8_t)
        CASE(UINT16, uint16_t)
        CASE(INT16, int16_t)
        CASE(UINT32, uint32_t)
        CASE(INT32, int32_t)
        CASE(UINT64, uint64_t)
        CASE(INT64, int64_t)
        CASE(FP32, float)
        CASE(FP64, double)
        CASE(BOOL, uint8_t)
#undef CASE
    default:
        return NAN;
    }
}

static enum status take(struct measure_array *out, enum dtype dtype, uint64_t rows,
                        uint64_t row_bytes, const char *path, struct error *why)
{
    size_t size = dtype_bytes(dtype);
    uint8_t probe[8] = {0};
    if (size == 0 || isnan(element(dtype, probe)) || rows == 0)
        return fail(why, STATUS_INVALID, "%s: expected rows of numbers, got %" PRIu64 " of type %s",
                    path, rows, dtype_name(dtype));
    out->rows = rows;
    out->each = row_bytes / size;
    out->whole = dtype != DTYPE_FP32 && dtype != DTYPE_FP64;
    out->values = xcalloc((size_t)(rows * out->each) + 1, sizeof *out->values);
    return STATUS_OK;
}

static void convert(struct measure_array *out, enum dtype dtype, const uint8_t *bytes,
                    uint64_t first, uint64_t rows)
{
    for (uint64_t i = 0; i < rows * out->each; i++)
        out->values[first * out->each + i] = element(dtype, bytes + i * dtype_bytes(dtype));
}

static enum status read_npy(struct measure_array *out, const char *path, struct error *why)
{
    struct npy npy;
    enum status s = npy_map(&npy, path, why);
    if (s != STATUS_OK)
        return s;
    s = take(out, npy.dtype, npy_rows(&npy), npy_row_bytes(&npy), path, why);
    if (s == STATUS_OK)
        convert(out, npy.dtype, npy.data, 0, out->rows);
    npy_close(&npy);
    return s;
}

static enum status read_idx(struct measure_array *out, const char *path, struct error *why)
{
    struct idx *idx = NULL;
    uint64_t at = 0, rows = 1;
    enum status s = idx_open(&idx, path, why);
    if (s != STATUS_OK)
        return s;
    s = take(out, idx_dtype(idx), idx_rows(idx), idx_row_bytes(idx), path, why);
    uint8_t *buffer = xmalloc((size_t)(IDX_ROWS * idx_row_bytes(idx)) + 1);
    for (; s == STATUS_OK && rows > 0 && at < out->rows; at += rows) {
        s = idx_read(idx, buffer, IDX_ROWS, &rows, why);
        if (s == STATUS_OK)
            convert(out, idx_dtype(idx), buffer, at, rows);
    }
    free(buffer);
    idx_close(&idx);
    return s;
}

enum status measure_read(struct measure_array *out, const char *path, struct error *why)
{
    char begin[6] = "";
    *out = (struct measure_array){.values = NULL};
    FILE *file = fopen(path, "rb");
    size_t size = file ? fread(begin, 1, sizeof begin, file) : 0;
    if (file)
        fclose(file);
    bool npy = size == sizeof begin && memcmp(begin, "\x93NUMPY", sizeof begin) == 0;
    enum status s = npy ? read_npy(out, path, why) : read_idx(out, path, why);
    if (s != STATUS_OK)
        measure_free(out);
    return s;
}

void measure_free(struct measure_array *self)
{
    free(self->values);
    self->values = NULL;
}

/* --- measuring ---------------------------------------------------------------------------------
 */
static uint64_t largest(const double *values, uint64_t len)
{
    uint64_t best = 0;
    for (uint64_t i = 1; i < len; i++)
        if (values[i] > values[best])
            best = i;
    return best;
}

/* Softmax has been at it: what is in a row is not negative and makes 1. */
static bool are_probabilities(const double *values, uint64_t len)
{
    double sum = 0;
    for (uint64_t i = 0; i < len; i++) {
        if (!(values[i] >= 0))
            return false;
        sum += values[i];
    }
    return fabs(sum - 1) < 1e-3;
}

/* -log of the probability of a class, by softmax where it has not been taken yet. */
static double surprise(const double *values, uint64_t len, uint64_t class)
{
    double sum = 0, high = values[largest(values, len)];
    if (are_probabilities(values, len))
        return -log(fmax(values[class], LEAST));
    for (uint64_t i = 0; i < len; i++)
        sum += exp(values[i] - high);
    return log(sum) + high - values[class];
}

struct sum {
    double loss;    /* of what was measured */
    uint64_t right; /* classes */
    uint64_t n;     /* positions */
};

/* A class by its number. */
static enum status add_class(struct sum *sum, const double *values, uint64_t classes, double label,
                             struct error *why)
{
    if (classes == 1) { /* probability of the class 1 */
        double p = fmin(fmax(values[0], LEAST), 1 - LEAST);
        sum->loss -= label > 0.5 ? log(p) : log(1 - p);
        sum->right += (values[0] > 0.5) == (label > 0.5);
    } else if (!(label >= 0 && label < (double)classes)) {
        return fail(why, STATUS_INVALID, "a label is %.0f: the model has the classes 0 to %" PRIu64,
                    label, classes - 1);
    } else {
        sum->loss += surprise(values, classes, (uint64_t)label);
        sum->right += largest(values, classes) == (uint64_t)label;
    }
    sum->n++;
    return STATUS_OK;
}

static void add_squares(struct sum *sum, const double *values, const double *labels, uint64_t len)
{
    double squares = 0;
    for (uint64_t i = 0; i < len; i++)
        squares += (values[i] - labels[i]) * (values[i] - labels[i]);
    sum->loss += squares / (double)len;
    sum->n++;
}

/* One of them is 1, the others are 0. */
static bool is_one_hot(const double *labels, uint64_t len)
{
    uint64_t ones = 0;
    for (uint64_t i = 0; i < len; i++) {
        if (labels[i] != 0 && labels[i] != 1)
            return false;
        ones += labels[i] == 1;
    }
    return len > 1 && ones == 1;
}

static bool answered(const double *values, uint64_t len)
{
    for (uint64_t i = 0; i < len; i++)
        if (isnan(values[i]))
            return false;
    return true;
}

static bool all_one_hot(const struct measure_array *labels)
{
    for (uint64_t r = 0; r < labels->rows; r++)
        if (!is_one_hot(labels->values + r * labels->each, labels->each))
            return false;
    return true;
}

enum status measure(struct measures *out, const struct measure_array *outputs,
                    const struct measure_array *labels, struct error *why)
{
    struct sum sum = {0};
    bool same = labels->each == outputs->each && !(labels->whole && labels->each == 1);
    bool dense = same && all_one_hot(labels), squares = same && !dense;
    bool parts = labels->each > 0 && outputs->each % labels->each == 0;
    if (labels->rows != outputs->rows || !parts || (!same && !labels->whole))
        return fail(why, STATUS_INVALID,
                    "the labels are %" PRIu64 " rows of %" PRIu64 " %snumbers, the outputs %" PRIu64
                    " rows of %" PRIu64 ": expected as many rows, and classes as whole numbers or "
                    "as many numbers as the outputs have",
                    labels->rows, labels->each, labels->whole ? "whole " : "", outputs->rows,
                    outputs->each);
    uint64_t positions = same ? 1 : labels->each, classes = outputs->each / positions;
    *out = (struct measures){.loss_name = squares        ? "mean_squared_error"
                                          : dense        ? "categorical_crossentropy"
                                          : classes == 1 ? "binary_crossentropy"
                                                         : "sparse_categorical_crossentropy"};
    enum status s = STATUS_OK;
    for (uint64_t r = 0; r < outputs->rows && s == STATUS_OK; r++) {
        const double *values = outputs->values + r * outputs->each;
        const double *wanted = labels->values + r * labels->each;
        if (!answered(values, outputs->each))
            continue;
        out->rows++;
        if (squares)
            add_squares(&sum, values, wanted, outputs->each);
        for (uint64_t p = 0; !squares && p < positions && s == STATUS_OK; p++)
            s = add_class(&sum, values + p * classes, classes,
                          dense ? (double)largest(wanted, classes) : wanted[p], why);
    }
    out->loss = sum.n ? sum.loss / (double)sum.n : NAN;
    out->accuracy = sum.n && !squares ? (double)sum.right / (double)sum.n : NAN;
    return s;
}
