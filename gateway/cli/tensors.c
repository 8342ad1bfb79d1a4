/* tensors - see tensors.h */
#include "gateway/cli/tensors.h"

#include "common/npy.h"
#include "gateway/cli/cli.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHOWN_ROWS   8 /* of a tensor that is printed */
#define SHOWN_VALUES 8 /* of a row: they fit 80 columns */

static double value_at(const struct tensor *t, uint64_t i)
{
    switch (t->dtype) {
    case DTYPE_FP32: {
        float value;
        memcpy(&value, (const char *)t->data + 4 * i, sizeof value);
        return (double)value;
    }
    case DTYPE_FP64: {
        double value;
        memcpy(&value, (const char *)t->data + 8 * i, sizeof value);
        return value;
    }
    case DTYPE_INT64: {
        int64_t value;
        memcpy(&value, (const char *)t->data + 8 * i, sizeof value);
        return (double)value;
    }
    case DTYPE_INT32: {
        int32_t value;
        memcpy(&value, (const char *)t->data + 4 * i, sizeof value);
        return value;
    }
    default:
        return ((const uint8_t *)t->data)[i * dtype_bytes(t->dtype)];
    }
}

static void print_tensor(const struct tensor *t)
{
    char shape[128];
    uint64_t count = 0;
    dims_count(t->dims, t->rank, &count);
    uint64_t rows = t->rank ? (uint64_t)t->dims[0] : 1;
    uint64_t per_row = rows ? count / rows : 0;
    printf("%s %s %s\n", t->name, dtype_name(t->dtype),
           dims_text(shape, sizeof shape, t->dims, t->rank));
    for (uint64_t r = 0; r < MIN(rows, (uint64_t)SHOWN_ROWS); r++) {
        printf("  %" PRIu64 ":", r);
        for (uint64_t i = 0; i < MIN(per_row, (uint64_t)SHOWN_VALUES); i++)
            printf(" %8.3g", value_at(t, r * per_row + i));
        puts(per_row > SHOWN_VALUES ? " ..." : "");
    }
    if (rows > SHOWN_ROWS)
        printf("  ... %" PRIu64 " rows in all; -o FILE.npy keeps them\n", rows);
}

void tensors_print(const struct client_outputs *outputs)
{
    for (uint32_t i = 0; i < outputs->len; i++)
        print_tensor(&outputs->tensors[i]);
}

enum status tensors_keep(const char *output, const struct client_outputs *outputs,
                         struct error *why)
{
    for (uint32_t i = 0; i < outputs->len; i++) {
        size_t stem = strlen(output);
        if (stem > 4 && strcmp(output + stem - 4, ".npy") == 0)
            stem -= 4;
        char *path = i ? xasprintf("%.*s.%u.npy", (int)stem, output, i) : xstrdup(output);
        enum status s = npy_write(path, &outputs->tensors[i], false, why);
        if (s == STATUS_OK && !cli_options.quiet)
            fprintf(stderr, "%s: %s written\n", path, outputs->tensors[i].name);
        free(path);
        if (s != STATUS_OK)
            return s;
    }
    return STATUS_OK;
}
