/* program_rows - rows of data as a network takes them: whether they fit, and one batch of them */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "worker/program/program_parts.h"

bool program_integers(enum dtype t)
{
    return t == DTYPE_UINT8 || t == DTYPE_INT8 || t == DTYPE_INT16 || t == DTYPE_UINT16 ||
           t == DTYPE_INT32 || t == DTYPE_UINT32 || t == DTYPE_INT64;
}

/* --- what fits -------------------------------------------------------------------------------- */
uint64_t program_elements(const struct npy *array)
{
    uint64_t n = 1;
    for (uint32_t i = 1; i < array->rank; i++)
        n *= (uint64_t)array->dims[i];
    return n;
}

static int64_t whole_at(const struct npy *from, uint64_t i)
{
    switch (from->dtype) {
    case DTYPE_UINT8:
    case DTYPE_BOOL:
        return from->data[i];
    case DTYPE_INT8:
        return ((const int8_t *)from->data)[i];
    case DTYPE_INT16:
        return ((const int16_t *)from->data)[i];
    case DTYPE_UINT16:
        return ((const uint16_t *)from->data)[i];
    case DTYPE_INT32:
        return ((const int32_t *)from->data)[i];
    case DTYPE_UINT32:
        return ((const uint32_t *)from->data)[i];
    default:
        return ((const int64_t *)from->data)[i];
    }
}

static double number_at(const struct npy *from, uint64_t i)
{
    return from->dtype == DTYPE_FP32   ? (double)((const float *)from->data)[i]
           : from->dtype == DTYPE_FP64 ? ((const double *)from->data)[i]
                                       : (double)whole_at(from, i);
}

/* Numbers that an integer input cannot hold as they are, such as 1.5: the first one's row is named.
 * Texts become FP32, so numbers of letters and words come so. */
static enum status check_whole(const struct program *self, const char *part,
                               const struct npy *inputs, struct error *why)
{
    uint64_t each = program_elements(inputs), n = npy_rows(inputs) * each;
    double most = self->input_dtype == DTYPE_INT32 ? 0x7fffffff : 0x1p53;
    for (uint64_t i = 0; i < n; i++) {
        double x = number_at(inputs, i);
        if (!(fabs(x) <= most && x == floor(x)))
            return fail(why, STATUS_INVALID,
                        "%s/inputs: row %" PRIu64
                        " has %.17g; the network's input \"%.200s\" takes "
                        "%s",
                        part, i / each, x, self->input, dtype_name(self->input_dtype));
    }
    return STATUS_OK;
}

/* Rows fit where types can be converted and shapes are equal, or have as many numbers. */
enum status program_check_rows(const struct program *self, const char *part,
                               const struct npy *inputs, struct error *why)
{
    uint64_t wanted = 1;
    bool open = false, same = inputs->rank == self->input_rank;
    char text[2][128];
    for (uint32_t i = 1; i < self->input_rank; i++) {
        open |= self->input_dims[i] < 0;
        wanted *= self->input_dims[i] < 0 ? 1 : (uint64_t)self->input_dims[i];
        same = same && (self->input_dims[i] < 0 || self->input_dims[i] == inputs->dims[i]);
    }
    if (open ? !same : wanted != program_elements(inputs))
        return fail(why, STATUS_INVALID,
                    "%s/inputs: a row is %s; the network's input \"%.200s\" takes %s", part,
                    dims_text(text[0], sizeof text[0], inputs->dims + 1, inputs->rank - 1),
                    self->input,
                    dims_text(text[1], sizeof text[1], self->input_dims + 1, self->input_rank - 1));
    bool whole = program_integers(inputs->dtype), fits = inputs->dtype == self->input_dtype;
    bool real = inputs->dtype == DTYPE_FP32 || inputs->dtype == DTYPE_FP64;
    bool wide = inputs->dtype == DTYPE_UINT32 || inputs->dtype == DTYPE_INT64;
    bool integer = self->input_dtype == DTYPE_INT32 || self->input_dtype == DTYPE_INT64;
    if (self->input_dtype == DTYPE_FP32)
        fits |= whole || real || inputs->dtype == DTYPE_BOOL;
    else if (integer)
        fits |= whole || real;
    if (!fits)
        return fail(why, STATUS_INVALID, "%s/inputs: rows are %s; the network's input takes %s",
                    part, dtype_name(inputs->dtype), dtype_name(self->input_dtype));
    if (integer && (real || (wide && self->input_dtype == DTYPE_INT32)))
        return check_whole(self, part, inputs, why);
    return STATUS_OK;
}

/* Numbers that are learnt. The cross-entropies take shares. */
static enum status check_targets(const struct program *self, const char *part,
                                 const struct npy *labels, struct error *why)
{
    uint64_t each = program_elements(labels), n = npy_rows(labels) * each;
    bool real = labels->dtype == DTYPE_FP32 || labels->dtype == DTYPE_FP64;
    if (!real && !program_integers(labels->dtype) && labels->dtype != DTYPE_BOOL)
        return fail(why, STATUS_INVALID, "%s/labels are %s; %s takes FP32, FP64, BOOL or integers",
                    part, dtype_name(labels->dtype), loss_name(self->loss));
    for (uint64_t i = 0; self->loss != LOSS_MSE && i < n; i++) {
        double x = number_at(labels, i);
        if (!(x >= 0 && x <= 1))
            return fail(why, STATUS_INVALID,
                        "%s/labels: row %" PRIu64 " has %.17g; %s takes numbers from 0 to 1", part,
                        i / each, x, loss_name(self->loss));
    }
    return STATUS_OK;
}

enum status program_check_labels(const struct program *self, const char *part,
                                 const struct npy *labels, struct error *why)
{
    const struct tensor *declared = self->graph->declared;
    int64_t classes = declared && declared->rank ? declared->dims[declared->rank - 1] : -1;
    uint64_t each = program_elements(labels), n = npy_rows(labels) * each;
    if (!loss_takes_labels(self->loss))
        return check_targets(self, part, labels, why);
    if (!program_integers(labels->dtype))
        return fail(why, STATUS_INVALID, "%s/labels are %s; %s takes integers", part,
                    dtype_name(labels->dtype), loss_name(self->loss));
    for (uint64_t i = 0; classes > 0 && i < n; i++) {
        int64_t label = whole_at(labels, i);
        if (label < 0 || label >= classes)
            return fail(why, STATUS_INVALID,
                        "%s/labels: row %" PRIu64 " has label %" PRId64 "; the network has %" PRId64
                        " outputs, so expected 0 to %" PRId64,
                        part, i / each, label, classes, classes - 1);
    }
    return STATUS_OK;
}

/* --- one batch -------------------------------------------------------------------------------- */
#define CONVERT(from_type, to_type)                                                                \
    for (uint64_t i = 0; i < n; i++)                                                               \
    ((to_type *)into)[i] = (to_type)((const from_type *)from)[i]
#define CONVERT_TO(to_type)                                                                        \
    switch (dtype) {                                                                               \
    case DTYPE_UINT8:                                                                              \
    case DTYPE_BOOL:                                                                               \
        CONVERT(uint8_t, to_type);                                                                 \
        break;                                                                                     \
    case DTYPE_INT8:                                                                               \
        CONVERT(int8_t, to_type);                                                                  \
        break;                                                                                     \
    case DTYPE_INT16:                                                                              \
        CONVERT(int16_t, to_type);                                                                 \
        break;                                                                                     \
    case DTYPE_UINT16:                                                                             \
        CONVERT(uint16_t, to_type);                                                                \
        break;                                                                                     \
    case DTYPE_INT32:                                                                              \
        CONVERT(int32_t, to_type);                                                                 \
        break;                                                                                     \
    case DTYPE_UINT32:                                                                             \
        CONVERT(uint32_t, to_type);                                                                \
        break;                                                                                     \
    case DTYPE_INT64:                                                                              \
        CONVERT(int64_t, to_type);                                                                 \
        break;                                                                                     \
    case DTYPE_FP64:                                                                               \
        CONVERT(double, to_type);                                                                  \
        break;                                                                                     \
    default:                                                                                       \
        CONVERT(float, to_type);                                                                   \
        break;                                                                                     \
    }

/* n elements of `dtype` as FP32 or INT64, or another type as it is. */
static void convert(void *into, enum dtype to, const void *from, enum dtype dtype, uint64_t n)
{
    if (to == dtype)
        memcpy(into, from, n * dtype_bytes(to));
    else if (to == DTYPE_FP32)
        CONVERT_TO(float)
    else if (to == DTYPE_INT32)
        CONVERT_TO(int32_t)
    else
        CONVERT_TO(int64_t)
}

uint64_t program_batch(struct program *self, const struct data *data, uint64_t from, uint64_t pass,
                       bool shuffled, struct tensor *inputs, struct tensor *target)
{
    uint64_t rows = MIN((uint64_t)self->settings.program_batch, data->rows - from);
    uint64_t in = program_elements(&data->inputs), out = program_elements(&data->labels);
    bool flat = self->loss == LOSS_SPARSE_CROSSENTROPY; /* a label for each step of a row */
    enum dtype to = loss_takes_labels(self->loss) ? DTYPE_INT64 : DTYPE_FP32;
    for (uint64_t i = 0; i < rows; i++) {
        uint64_t row = from + i;
        if (shuffled)
            row = data_shuffled(row, data->rows, (uint64_t)self->settings.program_seed, pass);
        convert((char *)self->batch_inputs + i * in * dtype_bytes(self->input_dtype),
                self->input_dtype, data->inputs.data + row * npy_row_bytes(&data->inputs),
                data->inputs.dtype, in);
        convert((char *)self->batch_target + i * out * dtype_bytes(to), to,
                data->labels.data + row * npy_row_bytes(&data->labels), data->labels.dtype, out);
    }
    *inputs = (struct tensor){.name = self->input,
                              .dtype = self->input_dtype,
                              .rank = self->input_rank,
                              .data = self->batch_inputs,
                              .bytes = rows * in * dtype_bytes(self->input_dtype)};
    inputs->dims[0] = (int64_t)rows;
    for (uint32_t i = 1; i < self->input_rank; i++)
        inputs->dims[i] = self->input_dims[i] < 0 ? data->inputs.dims[i] : self->input_dims[i];
    *target = (struct tensor){.dtype = to,
                              .rank = flat ? 1 : 2,
                              .dims = {(int64_t)(flat ? rows * out : rows), (int64_t)out},
                              .data = self->batch_target,
                              .bytes = rows * out * dtype_bytes(to)};
    return rows;
}
