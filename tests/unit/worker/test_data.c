/* Data that are learnt from: texts become rows, mistakes name their line, and each pass has every
 * row once. SEED=n repeats a run. */
#include "common/file.h"
#include "tests/unit/common/testing.h"
#include "worker/program/data.h"

static uint64_t seed;
static char folder[64];

static void put(const char *name, const void *bytes, size_t size)
{
    char path[128];
    struct error why;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    if (file_write(path, bytes, size, false, &why) != STATUS_OK)
        fail_msg("%s", why.text);
}

static int make_folder(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/convoy-data-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    char command[128];
    (void)state;
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command); /* NOLINT(cert-env33-c): a path of our own making */
}

static struct data texts(const char *name, const char *text, const char *labels,
                         const struct data_options *options)
{
    struct data data;
    struct error why;
    char part[128], file[128];
    snprintf(part, sizeof part, "%s/texts", folder);
    file_mkdirs(part, &why);
    snprintf(file, sizeof file, "texts/inputs%s", name);
    put(file, text, strlen(text));
    if (labels)
        put("texts/labels.csv", labels, strlen(labels));
    enum status s = data_open(&data, part, options, &why);
    snprintf(part, sizeof part, "rm -rf %s/texts", folder);
    assert_int_equal(system(part), 0); /* NOLINT(cert-env33-c): a path of our own making */
    if (s != STATUS_OK) {
        data_close(&data);
        print_message("%s\n", why.text);
        data.rows = 0;
    }
    return data;
}

static void texts_become_rows(void **unused)
{
    const struct data_options none = {0}, kind = {.label_column = "kind"},
                              third = {.label_column = "3"};
    (void)unused;
    struct data d = texts(".csv", "a,\"b\"\"c\",kind\n1,2.5,7\n\n3,-4e1,8\r\n", NULL, &none);
    assert_int_equal(d.rows, 2);
    assert_true(d.inputs.dtype == DTYPE_FP32 && d.labels.dtype == DTYPE_INT64);
    assert_true(d.inputs.rank == 2 && d.inputs.dims[1] == 2 && d.labels.rank == 1);
    assert_true(((const float *)d.inputs.data)[3] == -40 &&
                ((const int64_t *)d.labels.data)[1] == 8);
    data_close(&d);
    d = texts(".csv", "kind,a,b\n0.5,2,7\n1,4,8\n", NULL, &kind);
    assert_true(d.rows == 2 && d.labels.dtype == DTYPE_FP32);
    assert_true(((const float *)d.labels.data)[0] == 0.5f &&
                ((const float *)d.inputs.data)[0] == 2);
    data_close(&d);
    d = texts(".csv", "1,2,3\n4,5,6\n", NULL, &third);
    assert_true(d.rows == 2 && ((const int64_t *)d.labels.data)[0] == 3);
    data_close(&d);
    d = texts(".csv", "1,2,3\n4,5,6\n", "label\n1\n0\n", &none);
    assert_true(d.rows == 2 && d.inputs.dims[1] == 3 && ((const int64_t *)d.labels.data)[1] == 0);
    data_close(&d);
    d = texts(".jsonl",
              "{\"input\": [[1, 2], [3, 4], [5, 6]], \"label\": 1}\n"
              "{\"label\": 0, \"input\": [[7, 8], [9, 10], [11, 12]]}\n",
              NULL, &none);
    assert_true(d.rows == 2 && d.inputs.rank == 3 && d.inputs.dims[1] == 3 &&
                d.inputs.dims[2] == 2);
    assert_true(((const float *)d.inputs.data)[11] == 12);
    data_close(&d);
}

static void mistakes_in_texts_name_the_line(void **unused)
{
    static const struct {
        const char *name, *text, *said;
    } wrong[] = {
        {".csv", "1,2,3\n4,x,6\n", "line 2: a column is no number"},
        {".csv", "1,2,3\n4,5\n", "line 2: it has "},
        {".csv", "", "it has no rows"},
        {".csv", "1\n2\n", "one column"},
        {".jsonl", "{\"input\": [1, 2], \"label\": 1}\n{\"input\": [1], \"label\": 1}\n",
         "line 2: it has another number of values"},
        {".jsonl", "{\"input\": [[1, 2], [3]], \"label\": 1}\n", "line 1: expected numbers"},
        {".jsonl", "{\"input\": [1, 2]}\n", "line 1: expected a number"},
        {".jsonl", "nothing\n", "line 1"},
    };
    const struct data_options none = {0};
    (void)unused;
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        struct data data;
        struct error why = {0};
        char part[128], file[128];
        snprintf(part, sizeof part, "%s/wrong%zu", folder, i);
        file_mkdirs(part, &why);
        snprintf(file, sizeof file, "wrong%zu/inputs%s", i, wrong[i].name);
        put(file, wrong[i].text, strlen(wrong[i].text));
        assert_int_equal(data_open(&data, part, &none, &why), STATUS_INVALID);
        if (!strstr(why.text, wrong[i].said))
            fail_msg("\"%s\"; expected \"%s\"", why.text, wrong[i].said);
        data_close(&data);
    }
}

static void every_row_comes_once_in_each_pass(void **unused)
{
    static const uint64_t sizes[] = {1, 2, 3, 4, 5, 17, 64, 100, 1000, 4096, 4099};
    (void)unused;
    for (size_t k = 0; k < ARRAY_LEN(sizes); k++) {
        uint64_t n = sizes[k], same = 0;
        bool *seen = xcalloc(n, sizeof *seen);
        for (uint64_t i = 0; i < n; i++) {
            uint64_t row = data_shuffled(i, n, seed, 3);
            assert_true(row < n && !seen[row]);
            seen[row] = true;
            same += row == data_shuffled(i, n, seed, 4);
        }
        if (n >= 1000)
            assert_true(same < 20); /* another order in the next pass */
        free(seen);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_become_rows),
        cmocka_unit_test(mistakes_in_texts_name_the_line),
        cmocka_unit_test(every_row_comes_once_in_each_pass),
    };
    seed = test_seed();
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
