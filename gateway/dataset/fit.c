/* fit - does a row have the type and shape that a model's input asks for? */
#include "gateway/dataset/dataset.h"

#include <string.h>

static bool dims_match(const int64_t *wanted, const int64_t *dims, uint32_t rank)
{
    for (uint32_t i = 0; i < rank; i++) {
        if (wanted[i] >= 0 && wanted[i] != dims[i])
            return false;
    }
    return true;
}

/* Apart from axes of length 1: a grey picture is [28,28] in its file and [28,28,1] in a network. */
static bool dims_match_but_ones(const int64_t *wanted, uint32_t wanted_rank, const int64_t *dims,
                                uint32_t rank)
{
    for (uint32_t i = 0, k = 0;; i++, k++) {
        while (i < wanted_rank && wanted[i] == 1)
            i++;
        while (k < rank && dims[k] == 1)
            k++;
        if (i == wanted_rank || k == rank)
            return i == wanted_rank && k == rank;
        if (wanted[i] != dims[k])
            return false;
    }
}

enum status dataset_row_shape(const struct tensor *input, bool batchable, const int64_t *dims,
                              uint32_t rank, struct tensor *out, struct error *why)
{
    *out = *input;
    bool rows_axis = input->rank > 0 && (input->dims[0] < 0 || input->dims[0] == 1);
    if (rows_axis && input->rank == rank + 1 && dims_match(input->dims + 1, dims, rank)) {
        out->dims[0] = 1;
        memcpy(out->dims + 1, dims, rank * sizeof(*dims));
        return STATUS_OK;
    }
    bool whole = input->rank == rank && (!batchable || (rank > 0 && dims[0] == 1));
    if (whole && dims_match(input->dims, dims, rank)) {
        memcpy(out->dims, dims, rank * sizeof(*dims));
        return STATUS_OK;
    }
    if (rows_axis && dims_match_but_ones(input->dims + 1, input->rank - 1, dims, rank)) {
        out->dims[0] = 1;
        return STATUS_OK;
    }
    char expected[128], got[128];
    bool row_axis = input->rank > 0 && (batchable || input->dims[0] == 1);
    dims_text(expected, sizeof(expected), input->dims + row_axis, input->rank - row_axis);
    return fail(why, STATUS_INVALID, "input \"%s\": expected a row of shape %s, got %s",
                input->name, expected, dims_text(got, sizeof(got), dims, rank));
}

enum status dataset_fits(const struct dataset_info *info, const struct signature *model,
                         struct error *why)
{
    if (info->format == DATASET_JSONL)
        return STATUS_OK;
    if (model->inputs_len != 1)
        return fail(why, STATUS_INVALID,
                    "the model has %u inputs and the file has one array; give the rows as JSON "
                    "Lines, each {\"inputs\":[...]} with every input",
                    model->inputs_len);
    const struct tensor *input = &model->inputs[0];
    if (input->dtype != info->dtype)
        return fail(why, STATUS_INVALID,
                    "input \"%s\": expected elements of type %s, the file has %s; convert the file",
                    input->name, dtype_name(input->dtype), dtype_name(info->dtype));
    struct tensor shape;
    return dataset_row_shape(input, model->batchable, info->dims, info->rank, &shape, why);
}
