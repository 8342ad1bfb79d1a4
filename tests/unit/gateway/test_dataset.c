/* dataset: every format recognised, indexed, read in any order; bad rows named, flaws told */
#include "tests/unit/common/testing.h"

#include "common/file.h"
#include "common/npy.h"
#include "gateway/dataset/dataset.h"

#include <zlib.h>

/* --- models ------------------------------------------------------------------------------------
 */
static struct signature one_input(enum dtype dtype, uint32_t rank, int64_t second, int64_t third,
                                  bool batchable)
{
    struct signature model = {.inputs_len = 1, .outputs_len = 1, .batchable = batchable};
    model.inputs[0] =
        (struct tensor){.name = "x", .dtype = dtype, .rank = rank, .dims = {-1, second, third}};
    return model;
}

static void index_file(const char *path, struct dataset_info *info, struct dataset_flaw *flaw)
{
    struct error why = {.status = STATUS_OK};
    if (dataset_index(path, info, flaw, &why) != STATUS_OK)
        fail_msg("%s", why.text);
}

static void write_file(const char *path, const void *bytes, size_t size)
{
    struct error why;
    assert_int_equal(file_write(path, bytes, size, false, &why), STATUS_OK);
}

static struct dataset_rows *read_rows(const char *path, const struct dataset_info *info,
                                      const struct signature *model, uint64_t first, uint32_t rows,
                                      const char *endpoint)
{
    struct dataset *dataset = NULL;
    struct dataset_rows *out = NULL;
    struct error why = {.status = STATUS_OK};
    struct dataset_ask ask = {.first = first, .rows = rows, .model = model, .endpoint = endpoint};
    if (dataset_open(&dataset, path, info, &why) != STATUS_OK ||
        dataset_read(dataset, &ask, &out, &why) != STATUS_OK)
        fail_msg("%s", why.text);
    dataset_close(&dataset);
    return out;
}

/* --- arrays ------------------------------------------------------------------------------------
 */
enum { ROWS = 50, WIDTH = 6 };

static void fill(uint8_t bytes[ROWS * WIDTH])
{
    for (unsigned i = 0; i < ROWS * WIDTH; i++)
        bytes[i] = (uint8_t)(i * 7);
}

static void write_npy(const char *path)
{
    uint8_t bytes[ROWS * WIDTH];
    struct error why;
    fill(bytes);
    struct tensor tensor = {.dtype = DTYPE_UINT8,
                            .rank = 3,
                            .dims = {ROWS, 2, 3},
                            .data = bytes,
                            .bytes = sizeof(bytes)};
    assert_int_equal(npy_write(path, &tensor, false, &why), STATUS_OK);
}

static void write_idx_gz(const char *path, size_t rows_missing)
{
    uint8_t head[16] = {0, 0, 8, 3, 0, 0, 0, ROWS, 0, 0, 0, 2, 0, 0, 0, 3}, bytes[ROWS * WIDTH];
    fill(bytes);
    gzFile file = gzopen(path, "wb");
    assert_non_null(file);
    gzwrite(file, head, sizeof(head));
    gzwrite(file, bytes, (unsigned)(sizeof(bytes) - rows_missing * WIDTH));
    gzclose(file);
}

static void arrays_of_each_format_are_read_from_any_row(void **state)
{
    (void)state;
    struct signature model = one_input(DTYPE_UINT8, 3, 2, 3, true);
    const char *npy = test_path("a.npy"), *gz = test_path("a.gz");
    uint8_t all[ROWS * WIDTH];
    fill(all);
    write_npy(npy);
    write_idx_gz(gz, 0);
    for (int i = 0; i < 2; i++) {
        struct dataset_info info;
        struct dataset_flaw flaw;
        const char *path = i ? gz : npy;
        index_file(path, &info, &flaw);
        assert_int_equal(info.format, i ? DATASET_IDX : DATASET_NPY);
        assert_int_equal(info.rows, ROWS);
        assert_int_equal(info.row_bytes, WIDTH);
        assert_string_equal(flaw.code, "");
        assert_int_equal(dataset_fits(&info, &model, NULL), STATUS_OK);
        for (uint32_t first = 0; first < ROWS; first += 13) {
            uint32_t rows = MIN(13, ROWS - first);
            struct dataset_rows *got = read_rows(path, &info, &model, first, rows, NULL);
            assert_false(got->alone);
            assert_int_equal(got->good_len, rows);
            assert_int_equal(got->inputs[0].dims[0], rows);
            assert_int_equal(got->inputs[0].dims[2], 3);
            assert_memory_equal(got->inputs[0].data, all + first * WIDTH, rows * WIDTH);
            char scratch[DATASET_SCRATCH], wanted[DATASET_SCRATCH];
            snprintf(wanted, sizeof(wanted), "%u", first);
            assert_string_equal(dataset_custom_id(got, 0, scratch), wanted);
            dataset_rows_free(&got);
            dataset_rows_free(&got);
        }
    }
    dataset_index_remove(gz);
}

static void model_that_is_not_batchable_gets_a_task_for_each_row(void **state)
{
    (void)state;
    struct signature model = one_input(DTYPE_UINT8, 3, 2, 3, false);
    const char *path = test_path("alone.npy");
    struct dataset_info info;
    struct dataset_flaw flaw;
    write_npy(path);
    index_file(path, &info, &flaw);
    struct dataset_rows *got = read_rows(path, &info, &model, 10, 3, NULL);
    assert_true(got->alone);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(got->inputs[i].dims[0], 1);
        assert_int_equal(got->inputs[i].bytes, WIDTH);
        assert_int_equal(*(uint8_t *)got->inputs[i].data, (uint8_t)((10 + i) * WIDTH * 7));
    }
    dataset_rows_free(&got);
}

static void wrong_type_and_shape_say_expected_and_got(void **state)
{
    (void)state;
    struct signature floats = one_input(DTYPE_FP32, 3, 2, 3, true);
    struct signature wider = one_input(DTYPE_UINT8, 3, 2, 4, true);
    struct dataset_info info;
    struct dataset_flaw flaw;
    struct error why;
    const char *path = test_path("unfit.npy");
    write_npy(path);
    index_file(path, &info, &flaw);
    assert_int_equal(dataset_fits(&info, &floats, &why), STATUS_INVALID);
    assert_why(&why, STATUS_INVALID, "expected elements of type FP32, the file has UINT8");
    assert_int_equal(dataset_fits(&info, &wider, &why), STATUS_INVALID);
    assert_why(&why, STATUS_INVALID, "expected a row of shape [2,4], got [2,3]");
}

static void axes_of_length_1_may_be_missing_in_a_row_or_be_too_many(void **state)
{
    (void)state;
    struct tensor out,
        input = {.name = "x", .dtype = DTYPE_UINT8, .rank = 4, .dims = {-1, 2, 3, 1}};
    struct error why;
    static const struct {
        int64_t dims[4];
        uint32_t rank;
        enum status status;
    } rows[] = {{{2, 3}, 2, STATUS_OK},         {{2, 3, 1}, 3, STATUS_OK},
                {{1, 2, 3, 1}, 4, STATUS_OK},   {{1, 2, 3}, 3, STATUS_OK},
                {{3, 2}, 2, STATUS_INVALID},    {{6}, 1, STATUS_INVALID},
                {{2, 3, 2}, 3, STATUS_INVALID}, {{2}, 1, STATUS_INVALID}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_int_equal(dataset_row_shape(&input, true, rows[i].dims, rows[i].rank, &out, &why),
                         rows[i].status);
        if (rows[i].status != STATUS_OK)
            continue;
        static const int64_t whole[] = {1, 2, 3, 1};
        assert_int_equal(out.rank, 4);
        assert_memory_equal(out.dims, whole, sizeof whole);
    }
    input.dims[3] = -1; /* open: nothing is guessed */
    assert_int_equal(dataset_row_shape(&input, true, rows[0].dims, 2, &out, &why), STATUS_INVALID);
}

static void files_that_are_cut_or_foreign_are_refused_at_once(void **state)
{
    (void)state;
    struct dataset_info info;
    struct dataset_flaw flaw;
    struct error why;
    const char *whole = test_path("whole.npy"), *cut = test_path("cut.npy");
    const char *gz = test_path("cut.gz"), *zip = test_path("foreign.zip");
    char *bytes = NULL;
    size_t size = 0;
    write_npy(whole);
    assert_int_equal(file_read(&bytes, &size, whole, MIB, &why), STATUS_OK);
    write_file(cut, bytes, size - 5);
    free(bytes);
    write_idx_gz(gz, 2);
    write_file(zip, "PK\x03\x04 something", 14);
    assert_int_equal(dataset_index(cut, &info, &flaw, &why), STATUS_INVALID);
    assert_why(&why, STATUS_INVALID, "300");
    assert_int_equal(dataset_index(gz, &info, &flaw, &why), STATUS_INVALID);
    assert_int_equal(dataset_index(zip, &info, &flaw, &why), STATUS_OK); /* text, not JSON */
    write_file(zip,
               "\x7f"
               "ELF\x02",
               5);
    assert_int_equal(dataset_index(zip, &info, &flaw, &why), STATUS_INVALID);
    assert_why(&why, STATUS_INVALID, "7f 45 4c 46");
}

/* --- JSON Lines --------------------------------------------------------------------------------
 */
static void lines_of_every_shape_give_the_same_row(void **state)
{
    (void)state;
    static const char text[] =
        "{\"custom_id\":\"a\",\"method\":\"POST\",\"url\":\"/m\",\"body\":{\"inputs\":[{\"name\":"
        "\"x\",\"datatype\":\"INT32\",\"shape\":[1,3],\"data\":[1,2,3]}]}}\n"
        "\n"
        "{\"inputs\":[{\"name\":\"x\",\"datatype\":\"INT32\",\"shape\":[1,3],\"data\":[[1,2,3]]}]}"
        "\n"
        "  [1,2,3]\r\n"
        "[[1,2,3]]\n"
        "{\"custom_id\":\"b\",\"data\":[1,2,3]}\n"
        "{\"body\":[1,2,3.0]}";
    struct signature model = one_input(DTYPE_INT32, 2, 3, 0, true);
    static const int32_t row[] = {1, 2, 3};
    struct dataset_info info;
    struct dataset_flaw flaw;
    char scratch[DATASET_SCRATCH];
    const char *path = test_path("shapes.jsonl");
    write_file(path, text, strlen(text));
    index_file(path, &info, &flaw);
    assert_int_equal(info.format, DATASET_JSONL);
    assert_int_equal(info.rows, 6);
    struct dataset_rows *got = read_rows(path, &info, &model, 0, 6, "/m");
    assert_int_equal(got->bad_len, 0);
    assert_int_equal(got->good_len, 6);
    assert_int_equal(got->inputs[0].dims[0], 6);
    for (int i = 0; i < 6; i++)
        assert_memory_equal((int32_t *)got->inputs[0].data + 3 * i, row, sizeof(row));
    assert_string_equal(dataset_custom_id(got, 0, scratch), "a");
    assert_string_equal(dataset_custom_id(got, 2, scratch), "2");
    assert_string_equal(dataset_custom_id(got, 4, scratch), "b");
    dataset_rows_free(&got);
}

static void bad_lines_are_named_and_good_ones_go_on(void **state)
{
    (void)state;
    static const struct {
        const char *line, *code, *text;
    } cases[] = {
        {"[1,2,3]", NULL, NULL},
        {"[1,2", "invalid_json_line", "line 2: not JSON: column"},
        {"[1,2]", "invalid_row", "expected a row of shape [3], got [2]"},
        {"[1,2,300]", "invalid_row", "element 2: expected a value of type UINT8, got 300"},
        {"[1,2.5,3]", "invalid_row", "element 1: expected a value of type UINT8, got 2.5"},
        {"[1,\"2\",3]", "invalid_row", "element 1"},
        {"{\"custom_id\":\"q\",\"url\":\"/n\",\"body\":[1,2,3]}", "url_mismatch", "/n"},
        {"{\"inputs\":[]}", "invalid_row", "input \"x\" is missing"},
        {"{\"inputs\":[{\"name\":\"y\"}]}", "invalid_row", "no input named \"y\""},
        {"{\"inputs\":[{\"name\":\"x\",\"datatype\":\"FP32\",\"shape\":[3],\"data\":[1,2,3]}]}",
         "invalid_row", "expected datatype UINT8, got FP32"},
        {"{\"inputs\":[{\"name\":\"x\",\"datatype\":\"UINT8\",\"shape\":[1,3],\"data\":[1,2]}]}",
         "invalid_row", "asks for 3 elements, got 2"},
        {"{\"inputs\":[{\"name\":\"x\",\"datatype\":\"UINT8\",\"shape\":[1,900000000000],"
         "\"data\":[1]}]}",
         "invalid_row", "expected a row of shape [3]"},
        {"7", "invalid_row", "expected a row of shape [3], got []"},
        {"[4,5,6]", NULL, NULL},
    };
    struct signature model = one_input(DTYPE_UINT8, 2, 3, 0, true);
    char *path = xstrdup(test_path("bad.jsonl")), *text = xstrdup("");
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char *more = xasprintf("%s%s\n", text, cases[i].line);
        free(text);
        text = more;
    }
    struct dataset_info info;
    struct dataset_flaw flaw;
    write_file(path, text, strlen(text));
    index_file(path, &info, &flaw);
    struct dataset_rows *got = read_rows(path, &info, &model, 0, ARRAY_LEN(cases), "/m");
    assert_int_equal(got->good_len, 2);
    assert_int_equal(got->good[1], ARRAY_LEN(cases) - 1);
    assert_memory_equal(got->inputs[0].data, "\1\2\3\4\5\6", 6);
    assert_int_equal(got->bad_len, ARRAY_LEN(cases) - 2);
    for (size_t i = 0; i < got->bad_len; i++) {
        assert_int_equal(got->bad[i].row, i + 1);
        assert_string_equal(got->bad[i].code, cases[i + 1].code);
        if (!strstr(got->bad[i].text, cases[i + 1].text))
            fail_msg("expected \"%s\" in: %s", cases[i + 1].text, got->bad[i].text);
    }
    assert_string_equal(got->custom_ids[6], "q");
    dataset_rows_free(&got);
    free(text);
    free(path);
}

static void rows_of_unequal_length_travel_one_by_one(void **state)
{
    (void)state;
    struct signature model = one_input(DTYPE_FP32, 2, -1, 0, true);
    struct dataset_info info;
    struct dataset_flaw flaw;
    const char *path = test_path("lengths.jsonl"), text[] = "[1]\n[2,3]\n[]\n";
    write_file(path, text, strlen(text));
    index_file(path, &info, &flaw);
    struct dataset_rows *got = read_rows(path, &info, &model, 0, 3, NULL);
    assert_true(got->alone);
    assert_int_equal(got->good_len, 3);
    for (int i = 0; i < 3; i++)
        assert_int_equal(got->inputs[i].dims[0], 1);
    assert_int_equal(got->inputs[1].dims[1], 2);
    assert_true(((float *)got->inputs[1].data)[1] == 3.0F);
    assert_int_equal(got->inputs[2].bytes, 0);
    dataset_rows_free(&got);
}

static void texts_and_two_inputs_come_through(void **state)
{
    (void)state;
    struct signature model = {.inputs_len = 2, .batchable = true};
    model.inputs[0] =
        (struct tensor){.name = "t", .dtype = DTYPE_BYTES, .rank = 2, .dims = {-1, 1}};
    model.inputs[1] = (struct tensor){.name = "n", .dtype = DTYPE_FP64, .rank = 1, .dims = {-1}};
    static const char text[] =
        "{\"inputs\":[{\"name\":\"n\",\"datatype\":\"FP64\",\"shape\":[1],\"data\":[0.5]},"
        "{\"name\":\"t\",\"datatype\":\"BYTES\",\"shape\":[1,1],\"data\":[\"h\\u00e9\"]}]}\n"
        "[1]\n";
    struct dataset_info info;
    struct dataset_flaw flaw;
    const char *path = test_path("two.jsonl");
    write_file(path, text, strlen(text));
    index_file(path, &info, &flaw);
    struct dataset_rows *got = read_rows(path, &info, &model, 0, 2, NULL);
    assert_int_equal(got->good_len, 1);
    assert_memory_equal(got->inputs[0].data, "\3\0\0\0h\xc3\xa9", 7);
    assert_int_equal(got->inputs[0].bytes, 7);
    assert_true(*(double *)got->inputs[1].data == 0.5);
    assert_non_null(strstr(got->bad[0].text, "the model has 2 inputs"));
    dataset_rows_free(&got);
}

static void custom_id_that_comes_twice_and_empty_files_are_flaws(void **state)
{
    (void)state;
    static const char twice[] = "{\"custom_id\":\"a\",\"x\":{\"custom_id\":\"b\"}}\n\n"
                                "{\"y\":[\"}\",{}],\"custom_id\":\"b\"}\n{\"custom_id\":\"a\"}\n";
    struct dataset_info info;
    struct dataset_flaw flaw;
    const char *path = test_path("twice.jsonl");
    write_file(path, twice, strlen(twice));
    index_file(path, &info, &flaw);
    assert_string_equal(flaw.code, "duplicate_custom_id");
    assert_int_equal(flaw.line, 4);
    assert_non_null(strstr(flaw.text, "\"a\" was used in line 1 already"));
    write_file(path, "\n \n", 3);
    index_file(path, &info, &flaw);
    assert_string_equal(flaw.code, "empty_file");
}

static void any_row_of_many_lines_is_found(void **state)
{
    (void)state;
    enum { LINES = 5000 };
    uint64_t seed = test_seed();
    struct signature model = one_input(DTYPE_INT64, 1, 0, 0, true);
    struct dataset_info info;
    struct dataset_flaw flaw;
    char *path = xstrdup(test_path("many.jsonl")), *text = xmalloc(LINES * 16), *at = text;
    for (int i = 0; i < LINES; i++)
        at += sprintf(at, "%s[%d]\n", test_random(&seed) % 5 ? "" : "\n", i);
    write_file(path, text, (size_t)(at - text));
    index_file(path, &info, &flaw);
    assert_int_equal(info.rows, LINES);
    for (int i = 0; i < 200; i++) {
        uint64_t first = test_random(&seed) % LINES;
        uint64_t wanted = 1 + test_random(&seed) % 300;
        uint32_t rows = (uint32_t)MIN(wanted, LINES - first);
        struct dataset_rows *got = read_rows(path, &info, &model, first, rows, NULL);
        assert_int_equal(got->good_len, rows);
        for (uint32_t r = 0; r < rows; r++)
            assert_int_equal(((int64_t *)got->inputs[0].data)[r], first + r);
        dataset_rows_free(&got);
    }
    free(path);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arrays_of_each_format_are_read_from_any_row),
        cmocka_unit_test(model_that_is_not_batchable_gets_a_task_for_each_row),
        cmocka_unit_test(wrong_type_and_shape_say_expected_and_got),
        cmocka_unit_test(axes_of_length_1_may_be_missing_in_a_row_or_be_too_many),
        cmocka_unit_test(files_that_are_cut_or_foreign_are_refused_at_once),
        cmocka_unit_test(lines_of_every_shape_give_the_same_row),
        cmocka_unit_test(bad_lines_are_named_and_good_ones_go_on),
        cmocka_unit_test(rows_of_unequal_length_travel_one_by_one),
        cmocka_unit_test(texts_and_two_inputs_come_through),
        cmocka_unit_test(custom_id_that_comes_twice_and_empty_files_are_flaws),
        cmocka_unit_test(any_row_of_many_lines_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, test_scratch_end);
}
