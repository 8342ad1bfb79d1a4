/* data_text - see data_text.h */
#include "worker/program/data_text.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/limits.h"

/* Numbers of one line: those of the row, then those of its label. */
struct line {
    double *numbers;
    size_t len, room;
    size_t label_from;             /* numbers from here on are the label's */
    uint32_t rank;                 /* of the row, and of its shape */
    int64_t dims[TENSOR_RANK_MAX]; /* [0] is left for the rows */
};

struct reader {
    const char *path;
    const struct data_options *options;
    bool json, whole;
    FILE *file;
    char *text; /* the line */
    size_t room;
    uint64_t number;     /* of the line, from 1 */
    size_t label_column; /* CSV: from 0 */
    bool begun;          /* the first line is known */
    struct line line;
};

bool data_text_is(const char *path)
{
    const char *dot = strrchr(path, '.');
    return dot && (strcasecmp(dot, ".csv") == 0 || strcasecmp(dot, ".jsonl") == 0);
}

static enum status wrong(const struct reader *r, struct error *why, const char *text)
{
    return fail(why, STATUS_INVALID, "%s, line %" PRIu64 ": %s", r->path, r->number, text);
}

static void put(struct line *line, double number)
{
    if (line->len == line->room) {
        line->room = MAX(64, 2 * line->room);
        line->numbers = xrealloc(line->numbers, line->room * sizeof *line->numbers);
    }
    line->numbers[line->len++] = number;
}

/* --- CSV ----------------------------------------------------------------------------------------
 */
/* The next field of a line, unquoted, ended by NUL; NULL: there is none. */
static char *next_field(char **at)
{
    char *from = *at, *to;
    if (!from)
        return NULL;
    if (*from != '"') {
        char *comma = strchr(from, ',');
        *at = comma ? comma + 1 : NULL;
        if (comma)
            *comma = '\0';
        return from;
    }
    char *field = to = ++from;
    for (; *from && (*from != '"' || from[1] == '"'); from++) {
        from += *from == '"';
        *to++ = *from;
    }
    char *comma = strchr(from, ',');
    *at = comma ? comma + 1 : NULL;
    *to = '\0';
    return field;
}

static bool number_of(const char *text, double *out)
{
    char *end;
    *out = strtod(text, &end);
    while (*end == ' ' || *end == '\t')
        end++;
    return end != text && !*end && isfinite(*out);
}

/* A header, or the first row: which column is the label. True for a header. */
static enum status read_header(struct reader *r, bool *header, struct error *why)
{
    const char *wanted = r->options->label_column;
    char *copy = xstrdup(r->text), *at = copy, *end;
    size_t columns = 0, found = SIZE_MAX;
    double number;
    *header = true;
    for (const char *field; (field = next_field(&at)); columns++) {
        *header = *header && !number_of(field, &number);
        if (wanted && strcmp(field, wanted) == 0)
            found = columns;
    }
    free(copy);
    unsigned long place = wanted ? strtoul(wanted, &end, 10) : columns;
    if ((!wanted || !*end) && place >= 1 && place <= columns)
        found = found == SIZE_MAX ? place - 1 : found;
    if (found == SIZE_MAX)
        return fail(why, STATUS_INVALID, "%s: no column \"%.100s\" among its %zu", r->path, wanted,
                    columns);
    if (columns < 2 && !r->whole)
        return fail(why, STATUS_INVALID, "%s: one column; expected numbers and a label", r->path);
    r->label_column = found;
    return STATUS_OK;
}

static enum status take_csv(struct reader *r, struct error *why)
{
    struct line *line = &r->line;
    char *at = r->text;
    double number, label = 0;
    size_t column = 0;
    for (const char *field; (field = next_field(&at)); column++) {
        if (!number_of(field, &number))
            return wrong(r, why, "a column is no number");
        if (column == r->label_column && !r->whole)
            label = number;
        else
            put(line, number);
    }
    line->rank = 2;
    line->dims[1] = (int64_t)line->len;
    line->label_from = r->whole ? 0 : line->len;
    if (!r->whole) {
        if (column <= r->label_column)
            return wrong(r, why, "it has no column for the label");
        put(line, label);
    }
    return STATUS_OK;
}

/* --- JSON Lines ---------------------------------------------------------------------------------
 */
/* Numbers of nested lists; the first way down gives the shape, all others must have it. */
static bool take_numbers(struct line *line, const json_t *value, uint32_t depth, bool shape)
{
    size_t len = json_array_size(value), i;
    const json_t *one;
    if (json_is_number(value)) {
        put(line, json_number_value(value));
        return shape ? (line->rank = depth, true) : line->rank == depth;
    }
    if (!json_is_array(value) || !len || depth >= TENSOR_RANK_MAX)
        return false;
    if (shape)
        line->dims[depth] = (int64_t)len;
    else if (line->dims[depth] != (int64_t)len)
        return false;
    json_array_foreach(value, i,
                       one) if (!take_numbers(line, one, depth + 1, shape && i == 0)) return false;
    return true;
}

static enum status take_json(struct reader *r, struct error *why)
{
    struct line *line = &r->line;
    json_error_t error;
    const char *input = r->options->input_key ? r->options->input_key : "input";
    const char *label = r->options->label_key ? r->options->label_key : "label";
    json_t *root = json_loads(r->text, JSON_DECODE_ANY, &error);
    enum status s = root ? STATUS_OK : wrong(r, why, error.text);
    bool object = json_is_object(root);
    struct line labels = {0};
    if (s == STATUS_OK && !r->whole && !take_numbers(line, json_object_get(root, input), 1, true))
        s = wrong(r, why,
                  "expected numbers, nested as lists of equal lengths, under its input key");
    line->label_from = line->len;
    if (s == STATUS_OK &&
        !take_numbers(&labels, object ? json_object_get(root, label) : root, 1, true))
        s = wrong(r, why, "expected a number, or a list of them, as its label");
    for (size_t i = 0; i < labels.len; i++)
        put(line, labels.numbers[i]);
    free(labels.numbers);
    json_decref(root);
    return s;
}

/* --- lines
 * ---------------------------------------------------------------------------------------- */
/* NOT_FOUND: no more. */
static enum status next_line(struct reader *r, struct error *why)
{
    for (;;) {
        errno = 0;
        ssize_t len = getline(&r->text, &r->room, r->file);
        if (len < 0)
            return errno ? file_fail(why, "read", r->path) : STATUS_NOT_FOUND;
        r->number++;
        if (len > (ssize_t)LINES_LINE_MAX)
            return wrong(r, why, "the line is too long");
        while (len > 0 && strchr("\r\n", r->text[len - 1]))
            r->text[--len] = '\0';
        bool header = false;
        if (len && !r->json && !r->begun) {
            enum status s = read_header(r, &header, why);
            if (s != STATUS_OK)
                return s;
        }
        r->begun = r->begun || len > 0;
        if (!len || header)
            continue;
        r->line.len = 0;
        return r->json ? take_json(r, why) : take_csv(r, why);
    }
}

static enum status open_reader(struct reader *r, struct error *why)
{
    const char *dot = strrchr(r->path, '.');
    r->json = strcasecmp(dot, ".jsonl") == 0;
    r->number = 0;
    r->begun = false;
    r->file = fopen(r->path, "r");
    return r->file ? STATUS_OK : file_fail(why, "open", r->path);
}

static void close_reader(struct reader *r)
{
    if (r->file)
        fclose(r->file);
    r->file = NULL;
    free(r->text);
    free(r->line.numbers);
    r->text = NULL;
    r->room = 0;
    r->line = (struct line){0};
}

/* What all lines have in common. */
struct shape {
    uint32_t rank;
    int64_t dims[TENSOR_RANK_MAX];
    size_t len, labels; /* numbers of a row, of a label */
    bool whole_numbers; /* as labels */
    uint64_t rows;
};

static enum status survey(struct reader *r, struct shape *shape, struct error *why)
{
    enum status s = open_reader(r, why);
    *shape = (struct shape){.whole_numbers = true};
    while (s == STATUS_OK && (s = next_line(r, why)) == STATUS_OK) {
        const struct line *line = &r->line;
        size_t labels = line->len - line->label_from;
        if (!shape->rows) {
            shape->rank = line->rank;
            memcpy(shape->dims, line->dims, sizeof shape->dims);
            shape->len = line->label_from;
            shape->labels = labels;
        }
        if (line->label_from != shape->len || labels != shape->labels ||
            (shape->len && memcmp(shape->dims, line->dims, line->rank * sizeof *line->dims) != 0))
            s = wrong(r, why, "it has another number of values than the lines before");
        for (size_t i = line->label_from; i < line->len; i++)
            shape->whole_numbers = shape->whole_numbers &&
                                   line->numbers[i] == floor(line->numbers[i]) &&
                                   fabs(line->numbers[i]) < 1e15;
        shape->rows++;
    }
    close_reader(r);
    if (s == STATUS_NOT_FOUND)
        s = shape->rows ? STATUS_OK : fail(why, STATUS_INVALID, "%s: it has no rows", r->path);
    return s;
}

static enum status open_writer(struct npy_writer **out, const char *path, const struct shape *shape,
                               bool labels, struct error *why)
{
    int64_t dims[TENSOR_RANK_MAX] = {(int64_t)shape->rows, (int64_t)shape->labels};
    uint32_t rank = shape->labels > 1 ? 2 : 1;
    *out = NULL;
    if (!labels) {
        rank = shape->rank;
        memcpy(dims + 1, shape->dims + 1, sizeof dims - sizeof dims[0]);
    }
    return path ? npy_writer_open(out, path,
                                  labels && shape->whole_numbers ? DTYPE_INT64 : DTYPE_FP32, rank,
                                  dims, why)
                : STATUS_OK;
}

static enum status put_numbers(struct npy_writer *to, const double *numbers, size_t len, bool whole,
                               struct error *why)
{
    for (size_t i = 0; i < len; i++) {
        float real = (float)numbers[i];
        int64_t integer = (int64_t)numbers[i];
        enum status s = whole ? npy_writer_put(to, &integer, sizeof integer, why)
                              : npy_writer_put(to, &real, sizeof real, why);
        if (s != STATUS_OK)
            return s;
    }
    return STATUS_OK;
}

static enum status copy(struct reader *r, const struct shape *shape, struct npy_writer *inputs,
                        struct npy_writer *labels, struct error *why)
{
    enum status s = open_reader(r, why);
    while (s == STATUS_OK && (s = next_line(r, why)) == STATUS_OK) {
        const struct line *line = &r->line;
        if (inputs)
            s = put_numbers(inputs, line->numbers, line->label_from, false, why);
        if (s == STATUS_OK && labels)
            s = put_numbers(labels, line->numbers + line->label_from, line->len - line->label_from,
                            shape->whole_numbers, why);
    }
    close_reader(r);
    return s == STATUS_NOT_FOUND ? STATUS_OK : s;
}

enum status data_text_convert(const char *path, const struct data_options *options, bool whole,
                              const char *inputs, const char *labels, struct error *why)
{
    struct reader r = {.path = path, .options = options, .whole = whole};
    struct npy_writer *writers[2] = {NULL, NULL};
    struct shape shape;
    enum status s = survey(&r, &shape, why);
    if (s == STATUS_OK)
        s = open_writer(&writers[0], inputs, &shape, false, why);
    if (s == STATUS_OK)
        s = open_writer(&writers[1], labels, &shape, true, why);
    if (s == STATUS_OK)
        s = copy(&r, &shape, writers[0], writers[1], why);
    for (size_t i = 0; i < ARRAY_LEN(writers); i++) {
        if (s == STATUS_OK && writers[i])
            s = npy_writer_end(&writers[i], false, why);
        npy_writer_abort(&writers[i]);
    }
    return s;
}
