/* data_text - see data_text.h */
#include "worker/program/data_text.h"

#include <errno.h>
#include <float.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/limits.h"

#define WRITE_BYTES (64 * KIB)
#define WHOLE_MAX   1e15 /* whole numbers from here on are FP32, as those with a fraction */

/* What one line has for one array. */
struct values {
    double *numbers;
    size_t len, room;
    uint32_t rank;                 /* of the array */
    int64_t dims[TENSOR_RANK_MAX]; /* of a row, from [1] on */
};

/* An array in the making; nothing happens where there is no writer. */
struct array {
    struct npy_writer *writer;
    enum dtype dtype; /* FP32 or INT64 */
    size_t used;      /* octets that wait in `bytes` */
    uint8_t bytes[WRITE_BYTES];
};

struct reader {
    const char *path;
    const struct data_options *options;
    const char *made[2]; /* inputs and labels, as below; NULL: not wanted */
    FILE *file;
    bool json;
    char *text; /* the line, ended by NUL */
    size_t len, room;
    uint64_t number, rows;  /* of this line, from 1; of rows until now */
    size_t columns;         /* CSV: 0 until the first line is known */
    size_t label_column;    /* CSV: from 0; SIZE_MAX: none */
    struct values now[2];   /* of this line */
    struct values first[2]; /* shapes alone: those that all must have */
    struct array *inputs;   /* FP32 */
    struct array *labels;   /* FP32, used when not all are whole */
    struct array *whole;    /* INT64, given up when one is not */
};

enum { INPUTS, LABELS };

static const char *const part_names[] = {"input", "label"};

bool data_text_is(const char *path)
{
    const char *dot = strrchr(path, '.');
    return dot && (strcasecmp(dot, ".csv") == 0 || strcasecmp(dot, ".jsonl") == 0);
}

static enum status wrong(const struct reader *r, struct error *why, const char *format, ...)
    PRINTF_LIKE(3, 4);

static enum status wrong(const struct reader *r, struct error *why, const char *format, ...)
{
    char text[256];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return fail(why, STATUS_INVALID, "%s, line %" PRIu64 ": %s", r->path, r->number, text);
}

/* What is wrong with the number; NULL: nothing. */
static const char *put(struct values *to, double number)
{
    if (!(fabs(number) <= (double)FLT_MAX))
        return "a number is out of the range of FP32";
    if (to->len == DATA_NUMBERS_MAX)
        return "it has too many numbers";
    if (to->len == to->room) {
        to->room = MAX(64, 2 * to->room);
        to->numbers = xrealloc(to->numbers, to->room * sizeof *to->numbers);
    }
    to->numbers[to->len++] = number;
    return NULL;
}

/* --- CSV -------------------------------------------------------------------------------------- */
/* The end of a field that begins with a quote: its closing quote, before a comma or the end; NULL:
 * it has none. */
static char *closing_quote(char *from)
{
    for (char *at = from + 1; *at; at++)
        if (*at == '"' && at[1] == '"')
            at++;
        else if (*at == '"')
            return !at[1] || at[1] == ',' ? at : NULL;
    return NULL;
}

/* The next field of a line, ended by NUL, and unquoted where quotes are right; NULL: no more. */
static char *next_field(char **at)
{
    char *from = *at;
    if (!from)
        return NULL;
    char *close = *from == '"' ? closing_quote(from) : NULL;
    char *end = close ? close + 1 : from + strcspn(from, ",");
    *at = *end ? end + 1 : NULL;
    *end = '\0';
    if (!close)
        return from;
    char *to = ++from;
    for (char *in = from; in < close; in++) {
        in += *in == '"'; /* the first of two */
        *to++ = *in;
    }
    *to = '\0';
    return from;
}

static bool number_of(const char *text, double *out)
{
    const char *digit = text;
    uint64_t whole = 0;
    for (; *digit >= '0' && *digit <= '9' && digit - text < 15; digit++)
        whole = 10 * whole + (uint64_t)(*digit - '0');
    *out = (double)whole;
    if (digit != text && !*digit)
        return true; /* most numbers are like that */
    char *end;
    *out = strtod(text, &end);
    while (*end == ' ' || *end == '\t')
        end++;
    return end != text && !*end && isfinite(*out);
}

/* Which column is the label: a name of the header, or a number from 1. */
static enum status find_label(struct reader *r, bool header, size_t named, struct error *why)
{
    const char *wanted = r->options->label_column;
    char *end;
    unsigned long place = wanted ? strtoul(wanted, &end, 10) : r->columns;
    r->label_column = named;
    if (!r->made[INPUTS] || !r->made[LABELS])
        r->label_column = SIZE_MAX; /* all columns are one, or the other */
    else if (r->columns < 2)
        return wrong(r, why, "one column; expected numbers and a label, with commas between them");
    else if (named == SIZE_MAX && (!wanted || !*end) && place >= 1 && place <= r->columns)
        r->label_column = place - 1;
    else if (named == SIZE_MAX)
        return wrong(r, why, "no column \"%.60s\" among its %zu%s", wanted, r->columns,
                     header ? "" : "; the line is no header, so give the column's number");
    return STATUS_OK;
}

/* The first line: how many columns there are, and whether it only names them. */
static enum status take_first(struct reader *r, bool *header, struct error *why)
{
    const char *wanted = r->options->label_column;
    char *copy = xstrdup(r->text), *at = copy;
    size_t named = SIZE_MAX, times = 0;
    double number;
    *header = true;
    for (const char *field; (field = next_field(&at)); r->columns++) {
        *header = *header && !number_of(field, &number);
        if (wanted && strcmp(field, wanted) == 0) {
            named = r->columns;
            times++;
        }
    }
    free(copy);
    if (*header && times > 1)
        return wrong(r, why, "%zu columns are called \"%.60s\"", times, wanted);
    return find_label(r, *header, *header ? named : SIZE_MAX, why);
}

static enum status take_csv(struct reader *r, struct error *why)
{
    struct values *inputs = &r->now[INPUTS], *labels = &r->now[LABELS];
    char *at = r->text;
    const char *problem = NULL;
    size_t column = 0;
    double number;
    for (const char *field; !problem && (field = next_field(&at)); column++) {
        if (!number_of(field, &number))
            return wrong(r, why, "column %zu: expected a number, got \"%.60s\"", column + 1, field);
        bool label = !r->made[INPUTS] || column == r->label_column;
        problem = put(label ? labels : inputs, number);
    }
    if (problem)
        return wrong(r, why, "column %zu: %s", column, problem);
    if (column != r->columns)
        return wrong(r, why, "expected %zu columns, got %zu", r->columns, column);
    inputs->rank = 2;
    inputs->dims[1] = (int64_t)inputs->len;
    labels->rank = labels->len > 1 ? 2 : 1;
    labels->dims[1] = (int64_t)labels->len;
    return STATUS_OK;
}

/* --- JSON Lines ------------------------------------------------------------------------------- */
/* Numbers of nested lists. The first way down gives the shape, all others must have it. What is
 * wrong, or NULL. */
static const char *take_numbers(struct values *to, const json_t *value, uint32_t depth, bool first)
{
    static const char *const uneven = "its lists have different lengths";
    const char *problem = NULL;
    size_t len = json_array_size(value);
    if (json_is_number(value)) {
        if (first)
            to->rank = depth;
        return to->rank == depth ? put(to, json_number_value(value)) : uneven;
    }
    if (!json_is_array(value) || !len)
        return "expected a number, or a list of them";
    if (depth == TENSOR_RANK_MAX)
        return "its lists are nested too deep";
    if (first)
        to->dims[depth] = (int64_t)len;
    else if (depth >= to->rank || to->dims[depth] != (int64_t)len)
        return uneven;
    for (size_t i = 0; i < len && !problem; i++)
        problem = take_numbers(to, json_array_get(value, i), depth + 1, first && i == 0);
    return problem;
}

static enum status take_json(struct reader *r, struct error *why)
{
    const struct data_options *o = r->options;
    const char *keys[] = {o->input_key ? o->input_key : "input",
                          o->label_key ? o->label_key : "label"};
    bool both = r->made[INPUTS] && r->made[LABELS];
    json_error_t error;
    json_t *root = json_loadb(r->text, r->len, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &error);
    enum status s = STATUS_OK;
    if (!root)
        return wrong(r, why, "no JSON: %s", error.text);
    if (both && !json_is_object(root))
        s = wrong(r, why, "expected an object with \"%.60s\" and \"%.60s\"", keys[0], keys[1]);
    for (size_t i = 0; i < ARRAY_LEN(keys) && s == STATUS_OK; i++) {
        const json_t *value = json_is_object(root) ? json_object_get(root, keys[i]) : root;
        const char *problem = NULL;
        if (r->made[i] && !value)
            s = wrong(r, why, "no key \"%.60s\"", keys[i]);
        else if (r->made[i])
            problem = take_numbers(&r->now[i], value, 1, true);
        if (problem)
            s = wrong(r, why, "%s: %s", part_names[i], problem);
    }
    json_decref(root);
    return s;
}

/* --- lines ------------------------------------------------------------------------------------ */
/* A line without its end, as it stands in the file. NOT_FOUND: no more. */
static enum status read_line(struct reader *r, struct error *why)
{
    int c;
    r->len = 0;
    r->number++;
    errno = 0;
    while ((c = getc_unlocked(r->file)) != EOF && c != '\n') {
        if (!c)
            return wrong(r, why, "it has an octet 0: this is no text");
        if (r->len == DATA_LINE_MAX)
            return wrong(r, why, "it is longer than %zu octets", (size_t)DATA_LINE_MAX);
        if (r->len + 1 >= r->room) {
            r->room = MAX(4 * KIB, 2 * r->room);
            r->text = xrealloc(r->text, r->room);
        }
        r->text[r->len++] = (char)c;
    }
    if (ferror(r->file))
        return file_fail(why, "read", r->path);
    if (c == EOF && !r->len)
        return STATUS_NOT_FOUND;
    if (r->len && r->text[r->len - 1] == '\r')
        r->len--;
    if (r->len)
        r->text[r->len] = '\0';
    return STATUS_OK;
}

/* UTF-8's byte order mark, which some programs put in front. */
static void drop_mark(struct reader *r)
{
    if (r->number != 1 || r->len < 3 || memcmp(r->text, "\xEF\xBB\xBF", 3) != 0)
        return;
    r->len -= 3;
    memmove(r->text, r->text + 3, r->len + 1);
}

/* The numbers of the next line that has any. NOT_FOUND: no more. */
static enum status next_row(struct reader *r, struct error *why)
{
    for (;;) {
        bool header = false;
        enum status s = read_line(r, why);
        if (s != STATUS_OK)
            return s;
        drop_mark(r);
        if (!r->len)
            continue;
        if (!r->json && !r->columns)
            s = take_first(r, &header, why);
        if (s != STATUS_OK)
            return s;
        if (header)
            continue;
        r->now[INPUTS].len = r->now[LABELS].len = 0;
        return r->json ? take_json(r, why) : take_csv(r, why);
    }
}

/* --- arrays ----------------------------------------------------------------------------------- */
static enum status open_array(struct array **out, const char *path, enum dtype dtype,
                              const struct values *shape, struct error *why)
{
    int64_t dims[TENSOR_RANK_MAX];
    memcpy(dims, shape->dims, sizeof dims);
    dims[0] = -1;
    *out = xcalloc(1, sizeof **out);
    (*out)->dtype = dtype;
    return npy_writer_open(&(*out)->writer, path, dtype, shape->rank, dims, why);
}

static enum status flush(struct array *to, struct error *why)
{
    size_t used = to->used;
    to->used = 0;
    return npy_writer_put(to->writer, to->bytes, used, why);
}

static enum status write_numbers(struct array *to, const struct values *from, struct error *why)
{
    enum status s = STATUS_OK;
    size_t each = dtype_bytes(to->dtype);
    for (size_t i = 0; i < from->len && s == STATUS_OK; i++) {
        float real = (float)from->numbers[i];
        int64_t whole = to->dtype == DTYPE_INT64 ? (int64_t)from->numbers[i] : 0;
        memcpy(to->bytes + to->used, to->dtype == DTYPE_INT64 ? (void *)&whole : &real, each);
        to->used += each;
        if (to->used == WRITE_BYTES)
            s = flush(to, why);
    }
    return s;
}

static enum status end_array(struct array *from, struct error *why)
{
    enum status s = flush(from, why);
    return s == STATUS_OK ? npy_writer_end(&from->writer, false, why) : s;
}

static void drop_array(struct array **self_p)
{
    if (*self_p)
        npy_writer_abort(&(*self_p)->writer);
    free(*self_p);
    *self_p = NULL;
}

static bool all_whole(const struct values *v)
{
    for (size_t i = 0; i < v->len; i++)
        if (v->numbers[i] != floor(v->numbers[i]) || fabs(v->numbers[i]) >= WHOLE_MAX)
            return false;
    return true;
}

/* The first row gives the shapes. */
static enum status open_arrays(struct reader *r, struct error *why)
{
    enum status s = STATUS_OK;
    for (size_t i = 0; i < ARRAY_LEN(r->first); i++) {
        r->first[i].rank = r->now[i].rank;
        memcpy(r->first[i].dims, r->now[i].dims, sizeof r->now[i].dims);
    }
    if (r->made[INPUTS])
        s = open_array(&r->inputs, r->made[INPUTS], DTYPE_FP32, &r->first[INPUTS], why);
    if (r->made[LABELS] && s == STATUS_OK)
        s = open_array(&r->labels, r->made[LABELS], DTYPE_FP32, &r->first[LABELS], why);
    if (r->made[LABELS] && s == STATUS_OK)
        s = open_array(&r->whole, r->made[LABELS], DTYPE_INT64, &r->first[LABELS], why);
    return s;
}

static enum status check_shapes(const struct reader *r, struct error *why)
{
    char text[2][96];
    for (size_t i = 0; i < ARRAY_LEN(r->first); i++) {
        const struct values *now = &r->now[i], *first = &r->first[i];
        uint32_t rank = now->rank;
        if (r->made[i] &&
            (rank != first->rank || (rank > 1 && memcmp(now->dims + 1, first->dims + 1,
                                                        (rank - 1) * sizeof *now->dims) != 0)))
            return wrong(r, why, "its %s is %s; the lines before have %s", part_names[i],
                         dims_text(text[0], sizeof text[0], now->dims + 1, rank - 1),
                         dims_text(text[1], sizeof text[1], first->dims + 1, first->rank - 1));
    }
    return STATUS_OK;
}

static enum status write_row(struct reader *r, struct error *why)
{
    enum status s = r->rows ? check_shapes(r, why) : open_arrays(r, why);
    if (r->whole && !all_whole(&r->now[LABELS]))
        drop_array(&r->whole);
    if (r->inputs && s == STATUS_OK)
        s = write_numbers(r->inputs, &r->now[INPUTS], why);
    if (r->labels && s == STATUS_OK)
        s = write_numbers(r->labels, &r->now[LABELS], why);
    if (r->whole && s == STATUS_OK)
        s = write_numbers(r->whole, &r->now[LABELS], why);
    r->rows++;
    return s;
}

/* --- all together ----------------------------------------------------------------------------- */
static enum status convert(struct reader *r, struct error *why)
{
    enum status s;
    do {
        s = next_row(r, why);
        if (s == STATUS_OK)
            s = write_row(r, why);
    } while (s == STATUS_OK);
    if (s != STATUS_NOT_FOUND)
        return s;
    if (!r->rows)
        return fail(why, STATUS_INVALID, "%s: it has no rows", r->path);
    s = r->inputs ? end_array(r->inputs, why) : STATUS_OK;
    if (s == STATUS_OK && r->labels)
        s = end_array(r->whole ? r->whole : r->labels, why);
    return s;
}

enum status data_text_convert(const char *path, const struct data_options *options,
                              const char *inputs, const char *labels, struct error *why)
{
    struct reader r = {.path = path, .options = options, .made = {inputs, labels}};
    r.json = strcasecmp(strrchr(path, '.'), ".jsonl") == 0;
    r.file = fopen(path, "rb");
    enum status s = r.file ? convert(&r, why) : file_fail(why, "open", path);
    if (r.file)
        fclose(r.file);
    drop_array(&r.inputs);
    drop_array(&r.labels);
    drop_array(&r.whole);
    free(r.text);
    free(r.now[INPUTS].numbers);
    free(r.now[LABELS].numbers);
    return s;
}
