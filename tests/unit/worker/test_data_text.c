/* Texts that are learnt from: CSV and JSON Lines become rows, and mistakes name their line. */
#include <dirent.h>

#include "common/file.h"
#include "common/limits.h"
#include "tests/unit/common/testing.h"
#include "worker/program/data.h"

static const char *make_part(void)
{
    static unsigned parts;
    char name[32];
    struct error why;
    snprintf(name, sizeof name, "texts%u", parts++);
    const char *part = test_path(name);
    if (file_mkdirs(part, &why) != STATUS_OK)
        fail_msg("%s", why.text);
    return part;
}

static void put(const char *part, const char *name, const char *ending, const void *bytes,
                size_t size)
{
    struct error why;
    char *path = xasprintf("%s/%s%s", part, name, ending);
    if (file_write(path, bytes, size, false, &why) != STATUS_OK)
        fail_msg("%s", why.text);
    free(path);
}

/* A part with these files; `labels` NULL: they are in the inputs. */
static enum status open_texts(struct data *out, const char *ending, const char *inputs,
                              const char *labels, const struct data_options *options,
                              struct error *why)
{
    const char *part = make_part();
    put(part, "inputs", ending, inputs, strlen(inputs));
    if (labels)
        put(part, "labels", ending, labels, strlen(labels));
    return data_open(out, part, options, why);
}

static const struct {
    const char *ending, *inputs, *labels; /* files */
    struct data_options options;
    int64_t shapes[2][4]; /* of inputs and labels; 0: no such axis */
    double numbers[2][6]; /* of the first two rows */
    enum dtype labels_dtype;
} good[] = {
    /* a header; quotes; an empty line; lines that end as on Windows, and the last not at all */
    {".csv",
     "a,\"b\"\"c\",kind\n1,2.5,7\n\n\"3\",-4e1,8\r\n",
     NULL,
     {0},
     {{2, 2}, {2}},
     {{1, 2.5, 3, -40}, {7, 8}},
     DTYPE_INT64},
    {".CSV",
     "\xEF\xBB\xBF"
     "kind,a,\"b,c\"\r\n0.5,2,7\r\n1,4, 8 ",
     NULL,
     {.label_column = "kind"},
     {{2, 2}, {2}},
     {{2, 7, 4, 8}, {0.5, 1}},
     DTYPE_FP32},
    {".csv",
     "a,b,c\n1,2,3\n4,5,6\n", /* a number where there are names */
     NULL,
     {.label_column = "1"},
     {{2, 2}, {2}},
     {{2, 3, 5, 6}, {1, 4}},
     DTYPE_INT64},
    {".csv",
     "7,0,1\n3,5,1\n", /* no header: 1 is the place, not what stands there */
     NULL,
     {.label_column = "1"},
     {{2, 2}, {2}},
     {{0, 1, 5, 1}, {7, 3}},
     DTYPE_INT64},
    {".csv",
     "1,1e15\n2,-2\n", /* as large as FP32 only */
     NULL,
     {0},
     {{2, 1}, {2}},
     {{1, 2}, {1e15f, -2}},
     DTYPE_FP32},
    {".csv",
     "1,999999999999999\n2,-3\n",
     NULL,
     {0},
     {{2, 1}, {2}},
     {{1, 2}, {999999999999999, -3}},
     DTYPE_INT64},
    {".csv",
     "1,2,3\n4,5,6\n",
     "label\n1\n0\n",
     {.label_column = "other"},
     {{2, 3}, {2}},
     {{1, 2, 3, 4, 5, 6}, {1, 0}},
     DTYPE_INT64},
    {".csv", "1\n2\n", "1,0\n0,0.5\n", {0}, {{2, 1}, {2, 2}}, {{1, 2}, {1, 0, 0, 0.5}}, DTYPE_FP32},
    {".jsonl",
     "{\"input\": [[1], [2], [3]], \"label\": 1}\n"
     "\n{\"label\": 0, \"more\": null, \"input\": [[4], [5], [6.5]]}",
     NULL,
     {0},
     {{2, 3, 1}, {2}},
     {{1, 2, 3, 4, 5, 6.5}, {1, 0}},
     DTYPE_INT64},
    {".jsonl",
     "{\"x\": 1, \"y\": [1, 2]}\n{\"x\": 2, \"y\": [3, 4.5]}\n",
     NULL,
     {.input_key = "x", .label_key = "y"},
     {{2}, {2, 2}},
     {{1, 2}, {1, 2, 3, 4.5}},
     DTYPE_FP32},
    {".jsonl",
     "{\"input\": [[1], [2]], \"label\": \"a\"}\n[[3], [4]]\n",
     "{\"label\": 5}\n6\n",
     {0},
     {{2, 2, 1}, {2}},
     {{1, 2, 3, 4}, {5, 6}},
     DTYPE_INT64},
};

/* The array of good[i] that has this place in it. */
static void check_array(const struct npy *array, size_t i, size_t k)
{
    uint64_t len = array->data_bytes / dtype_bytes(array->dtype);
    for (uint32_t axis = 0; axis < 4; axis++)
        if ((axis < array->rank ? array->dims[axis] : 0) != good[i].shapes[k][axis])
            fail_msg("good[%zu]: array %zu, axis %u", i, k, axis);
    for (uint64_t n = 0; n < len; n++) {
        double got = array->dtype == DTYPE_FP32 ? (double)((const float *)array->data)[n]
                                                : (double)((const int64_t *)array->data)[n];
        if (got != good[i].numbers[k][n])
            fail_msg("good[%zu]: array %zu has %g", i, k, got);
    }
}

static void texts_become_rows(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        struct data d;
        struct error why;
        if (open_texts(&d, good[i].ending, good[i].inputs, good[i].labels, &good[i].options,
                       &why) != STATUS_OK)
            fail_msg("good[%zu]: %s", i, why.text);
        assert_int_equal(d.inputs.dtype, DTYPE_FP32);
        if (d.labels.dtype != good[i].labels_dtype)
            fail_msg("good[%zu]: labels are %s", i, dtype_name(d.labels.dtype));
        check_array(&d.inputs, i, 0);
        check_array(&d.labels, i, 1);
        data_close(&d);
    }
}

static const struct {
    const char *ending, *inputs, *labels, *column, *said;
} bad[] = {
    {".csv", "1,2,3\n\n4,x,6\n", NULL, NULL,
     "inputs.csv, line 3: column 2: expected a number, got \"x\""},
    {".csv", "1,2,3\n4,,6\n", NULL, NULL, "line 2: column 2: expected a number, got \"\""},
    {".csv", "1,2,3\n4,\"5\"5,6\n", NULL, NULL, "column 2: expected a number, got \"\"5\"5\""},
    {".csv", "1,2,3\n4,5,\"6\n", NULL, NULL, "column 3: expected a number, got \"\"6\""},
    {".csv", "1,nan\n", NULL, NULL, "column 2: expected a number"},
    {".csv", "1,2\n1,1e39\n", NULL, NULL, "line 2: column 2: a number is out of the range"},
    {".csv", "a,b,c\n1,2,3\n4,5\n", NULL, NULL, "line 3: expected 3 columns, got 2"},
    {".csv", "1,2\n4,5,6\n", NULL, NULL, "line 2: expected 2 columns, got 3"},
    {".csv", "", NULL, NULL, "inputs.csv: it has no rows"},
    {".csv", "a,b\n\n", NULL, NULL, "inputs.csv: it has no rows"},
    {".csv", "1\n2\n", NULL, NULL, "line 1: one column"},
    {".csv", "1,2\n", NULL, "kind", "no column \"kind\" among its 2; the line is no header"},
    {".csv", "a,b\n1,2\n", NULL, "kind", "no column \"kind\" among its 2"},
    {".csv", "a,b\n1,2\n", NULL, "0", "no column \"0\""},
    {".csv", "1,2\n", NULL, "3", "no column \"3\" among its 2"},
    {".csv", "a,a\n1,2\n", NULL, "a", "2 columns are called \"a\""},
    {".csv", "1,2\n3,4\n", "1\nx\n", NULL, "labels.csv, line 2: column 1: expected a number"},
    {".csv", "1,2\n3,4\n", "1\n", NULL, "2 inputs, but 1 labels"},
    {".jsonl", "{\"input\": [1, 2], \"label\": 1}\n{\"input\": [1], \"label\": 1}\n", NULL, NULL,
     "inputs.jsonl, line 2: its input is [1]; the lines before have [2]"},
    {".jsonl", "{\"input\": [[1], [2]], \"label\": 1}\n{\"input\": [1, 2], \"label\": 1}\n", NULL,
     NULL, "line 2: its input is [2]; the lines before have [2,1]"},
    {".jsonl", "{\"input\": 1, \"label\": [1, 2]}\n{\"input\": 1, \"label\": 1}\n", NULL, NULL,
     "line 2: its label is []; the lines before have [2]"},
    {".jsonl", "{\"input\": [[1, 2], [3]], \"label\": 1}\n", NULL, NULL,
     "line 1: input: its lists have different lengths"},
    {".jsonl", "{\"input\": [1, [2]], \"label\": 1}\n", NULL, NULL, "different lengths"},
    {".jsonl", "{\"input\": [[1], 2], \"label\": 1}\n", NULL, NULL, "different lengths"},
    {".jsonl", "{\"input\": [[[[[[[[1]]]]]]]], \"label\": 1}\n", NULL, NULL, "nested too deep"},
    {".jsonl", "{\"input\": [], \"label\": 1}\n", NULL, NULL, "input: expected a number"},
    {".jsonl", "{\"input\": [1], \"label\": \"a\"}\n", NULL, NULL, "label: expected a number"},
    {".jsonl", "{\"input\": [1e39], \"label\": 1}\n", NULL, NULL, "out of the range of FP32"},
    {".jsonl", "{\"input\": [1, 2]}\n", NULL, NULL, "line 1: no key \"label\""},
    {".jsonl", "{\"input\": 1, \"label\": 1, \"label\": 2}\n", NULL, NULL,
     "line 1: no JSON: duplicate object key"},
    {".jsonl", "{\"label\": 1}\n", NULL, NULL, "line 1: no key \"input\""},
    {".jsonl", "[1, 2]\n", NULL, NULL, "expected an object with \"input\" and \"label\""},
    {".jsonl", "1\n", "1\nnothing\n", NULL, "labels.jsonl, line 2: no JSON: "},
};

static void mistakes_in_texts_name_the_line(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        const struct data_options options = {.label_column = bad[i].column};
        struct data d;
        struct error why = {0};
        open_texts(&d, bad[i].ending, bad[i].inputs, bad[i].labels, &options, &why);
        assert_why(&why, STATUS_INVALID, bad[i].said);
        assert_int_equal(d.rows, 0);
        data_close(&d);
    }
}

static void lines_are_bounded_and_leave_nothing(void **unused)
{
    const struct data_options none = {0};
    size_t size = DATA_LINE_MAX + 10;
    char *text = xmalloc(size);
    struct data d;
    struct error why;
    (void)unused;
    const char *part = make_part();
    memset(text, '1', size);
    memcpy(text, "1,2\n", 4);
    put(part, "inputs", ".csv", text, size);
    data_open(&d, part, &none, &why);
    assert_why(&why, STATUS_INVALID, "inputs.csv, line 2: it is longer than 16777216 octets");
    for (size_t i = 0; i + 1 < 2 * (DATA_NUMBERS_MAX + 2); i += 2)
        memcpy(text + i, "1,", 2);
    put(part, "inputs", ".csv", text, (size_t)2 * (DATA_NUMBERS_MAX + 2) - 1);
    data_open(&d, part, &none, &why);
    assert_why(&why, STATUS_INVALID, "line 1: column 4194305: it has too many numbers");
    put(part, "inputs", ".csv", "1,2\n1,\0002\n", 9);
    data_open(&d, part, &none, &why);
    assert_why(&why, STATUS_INVALID, "line 2: it has an octet 0");
    free(text);
    unsigned files = 0;
    DIR *dir = opendir(part); /* no draft of what failed */
    for (struct dirent *e; (e = readdir(dir));)
        files += e->d_name[0] != '.';
    closedir(dir);
    assert_int_equal(files, 1);
}

/* More than the writer keeps at once: every number of them. */
static void long_texts_keep_every_number(void **unused)
{
    enum { TEXT_ROWS = 3000, COLUMNS = 31 };
    const struct data_options none = {0};
    char *text = xmalloc((size_t)TEXT_ROWS * COLUMNS * 8 + 1), *at = text;
    struct data d;
    struct error why;
    (void)unused;
    for (unsigned i = 0; i < TEXT_ROWS * COLUMNS; i++)
        at += sprintf(at, "%u%c", i, (i + 1) % COLUMNS ? ',' : '\n');
    assert_int_equal(open_texts(&d, ".csv", text, NULL, &none, &why), STATUS_OK);
    assert_int_equal(d.rows, TEXT_ROWS);
    for (unsigned i = 0, row = 0; row < TEXT_ROWS; row++, i++) {
        for (unsigned k = 0; k + 1 < COLUMNS; k++, i++)
            assert_true(((const float *)d.inputs.data)[row * (COLUMNS - 1) + k] == (float)i);
        assert_int_equal(((const int64_t *)d.labels.data)[row], i);
    }
    data_close(&d);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_become_rows),
        cmocka_unit_test(mistakes_in_texts_name_the_line),
        cmocka_unit_test(lines_are_bounded_and_leave_nothing),
        cmocka_unit_test(long_texts_keep_every_number),
    };
    return cmocka_run_group_tests(tests, NULL, test_scratch_end);
}
