/* rows - see rows.h */
#include "tests/crash/rows.h"

#include "common/file.h"
#include "common/npy.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool bad_line(long row)
{
    return row == 1 || row == 5 || row == 10;
}

static bool fails(bool lines, long row)
{
    return lines ? bad_line(row) || row == ROWS_LINES_DEADLY : row == ROWS_ARRAY_DEADLY;
}

size_t rows_array(uint8_t *into)
{
    const int64_t dims[] = {ROWS_ARRAY, 4};
    size_t used = npy_make_header(into, DTYPE_FP32, 2, dims);
    for (int i = 0; i < ROWS_ARRAY; i++) {
        const float row[] = {(float)i, (float)i + 1, 0, i == ROWS_ARRAY_DEADLY ? ROWS_DEADLY : 0};
        memcpy(into + used, row, sizeof row);
        used += sizeof row;
    }
    return used;
}

size_t rows_lines(char *into)
{
    size_t used = 0;
    for (int i = 0; i < ROWS_LINES; i++)
        used += (size_t)sprintf(into + used, bad_line(i) ? "[%d,%d]\n" : "[%d,%d,0,%d]\n", i, i + 1,
                                i == ROWS_LINES_DEADLY ? ROWS_DEADLY : 0);
    return used;
}

void rows_job(char into[static 512], const char *file, const char *format, int chunk_rows)
{
    snprintf(into, 512,
             "{\"input_file_id\":\"%s\",\"endpoint\":\"/v2/models/echo/infer\","
             "\"completion_window\":\"24h\",\"output_format\":\"%s\",\"chunk_rows\":%d}",
             file, format, chunk_rows);
}

bool rows_ended(const char *status)
{
    static const char *const ends[] = {"completed", "failed", "cancelled", "expired"};
    for (size_t i = 0; i < ARRAY_LEN(ends); i++)
        if (strcmp(status, ends[i]) == 0)
            return true;
    return false;
}

/* --- checking --------------------------------------------------------------------------------- */
enum fate { NOTHING, ANSWERED, IN_ERRORS };

struct table {
    enum fate fates[ROWS_ARRAY]; /* by row */
    long rows;                   /* of the data set */
    char *text;                  /* what is wrong */
    size_t size;                 /* of `text` */
};

static bool wrong(struct table *self, const char *what, long row)
{
    snprintf(self->text, self->size, "%s (row %ld)", what, row);
    return false;
}

static bool fated(struct table *self, long row, enum fate fate)
{
    if (row < 0 || row >= self->rows)
        return wrong(self, "a row that does not exist", row);
    if (self->fates[row] != NOTHING)
        return wrong(self, "a row comes twice", row);
    self->fates[row] = fate;
    return true;
}

static bool read_errors(struct table *self, const char *text)
{
    long last = -1;
    while (*text) {
        const char *end = strchr(text, '\n');
        json_t *line = end ? json_loadb(text, (size_t)(end - text), 0, NULL) : NULL;
        json_t *rows = json_object_get(line, "rows");
        long row = (long)json_integer_value(json_object_get(line, "row"));
        long len = rows ? (long)json_integer_value(rows) : 1;
        json_decref(line);
        if (!line)
            return wrong(self, "a line of the error file is no JSON, after row", last);
        if (row <= last)
            return wrong(self, "the error file is out of order", row);
        for (long i = 0; i < len; i++)
            if (!fated(self, row + i, IN_ERRORS))
                return false;
        last = row;
        text = end + 1;
    }
    return true;
}

static bool read_lines(struct table *self, const char *text)
{
    for (long last = -1; *text;) {
        const char *end = strchr(text, '\n');
        json_t *line = end ? json_loadb(text, (size_t)(end - text), 0, NULL) : NULL;
        const char *id = json_string_value(json_object_get(line, "custom_id"));
        json_t *body = json_object_get(json_object_get(line, "response"), "body");
        json_t *y = json_array_get(json_object_get(body, "outputs"), 0);
        json_t *data = json_object_get(y, "data");
        long row = id ? atol(id) : -1;
        bool right = json_number_value(json_array_get(data, 0)) == 3.0 * (double)row &&
                     json_number_value(json_array_get(data, 1)) == -(double)row;
        json_decref(line);
        if (!line || !right || row <= last)
            return wrong(self, "a line of the output is not as it must be", row);
        if (!fated(self, row, ANSWERED))
            return false;
        last = row;
        text = end + 1;
    }
    return true;
}

static bool read_array(struct table *self, const char *path)
{
    struct npy npy;
    struct error why = {.status = STATUS_OK};
    if (npy_map(&npy, path, &why) != STATUS_OK)
        return wrong(self, why.text, -1);
    bool right =
        npy.rank == 2 && npy.dims[0] == self->rows && npy.dims[1] == 2 && npy.dtype == DTYPE_FP32;
    for (long i = 0; right && i < self->rows; i++) {
        float pair[2];
        memcpy(pair, npy.data + 8 * i, sizeof pair);
        if (self->fates[i] == IN_ERRORS)
            right = isnan(pair[0]) && isnan(pair[1]);
        else
            right = fated(self, i, ANSWERED) && pair[0] == 3 * (float)i && pair[1] == -(float)i;
        if (!right)
            wrong(self, "a row of the array is not as it must be", i);
    }
    npy_close(&npy);
    return right || self->text[0] ? right : wrong(self, "the array has another shape", -1);
}

bool rows_right(const struct rows_files *files, char *text, size_t size)
{
    struct table table = {
        .rows = files->lines ? ROWS_LINES : ROWS_ARRAY, .text = text, .size = size};
    char *errors = NULL, *output = NULL;
    size_t errors_size = 0, output_size = 0;
    struct error why = {.status = STATUS_OK};
    long answered = 0, failed = 0;
    text[0] = '\0';
    if (file_read(&errors, &errors_size, files->errors, MIB, &why) != STATUS_OK ||
        file_read(&output, &output_size, files->output, MIB, &why) != STATUS_OK) {
        free(errors);
        return wrong(&table, why.text, -1);
    }
    bool nothing = files->some && output_size == 0; /* cancelled before the first answer */
    bool right = read_errors(&table, errors);
    if (right && !nothing)
        right = files->npy ? read_array(&table, files->output) : read_lines(&table, output);
    free(errors);
    free(output);
    for (long i = 0; i < table.rows && right; i++) {
        answered += table.fates[i] == ANSWERED;
        failed += table.fates[i] == IN_ERRORS;
        if (table.fates[i] == NOTHING)
            right = wrong(&table, "a row is lost", i);
        else if (!files->some && (table.fates[i] == IN_ERRORS) != fails(files->lines, i))
            right = wrong(&table, "a row has the other fate", i);
    }
    if (right && (answered != files->completed || failed != files->failed))
        right = wrong(&table, "the counts are not those of the files", answered);
    return right;
}
