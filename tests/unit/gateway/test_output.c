/* output: rows at their place or in order, errors beside them, and cut back to what was recorded */
#include "tests/unit/common/testing.h"

#include "common/file.h"
#include "common/npy.h"
#include "gateway/dataset/output.h"
#include "gateway/dataset/slice.h"

#include <jansson.h>
#include <math.h>

static struct signature model = {.inputs_len = 1, .outputs_len = 1, .batchable = true};

/* --- chunks made by hand -----------------------------------------------------------------------
 */
struct made {
    struct dataset_rows rows;
    uint32_t good[8];
    struct dataset_bad bad[8];
    struct fleet_output output;
    struct fleet_result result;
    struct fleet_result *results[8];
    zmq_msg_t frame;
    struct output_chunk chunk;
};

/* Rows first .. first + rows; those in `bad` (a bit each) are bad. The answer to row i is {i, -i}.
 */
static void make(struct made *self, uint64_t first, uint32_t rows, unsigned bad)
{
    float values[16];
    memset(self, 0, sizeof(*self));
    self->rows =
        (struct dataset_rows){.first = first, .rows = rows, .good = self->good, .bad = self->bad};
    for (uint32_t i = 0; i < rows; i++) {
        if (bad & 1U << i) {
            self->bad[self->rows.bad_len++] =
                (struct dataset_bad){i, (char *)"invalid_row", (char *)"it is \"bad\""};
            continue;
        }
        values[2 * self->rows.good_len] = (float)(first + i);
        values[2 * self->rows.good_len + 1] = -(float)(first + i);
        self->good[self->rows.good_len++] = i;
    }
    size_t bytes = self->rows.good_len * 2 * sizeof(float);
    zmq_msg_init_size(&self->frame, bytes);
    memcpy(zmq_msg_data(&self->frame), values, bytes);
    self->output = (struct fleet_output){.tensor = {.name = "y",
                                                    .dtype = DTYPE_FP32,
                                                    .rank = 2,
                                                    .dims = {self->rows.good_len, 2},
                                                    .bytes = bytes},
                                         .frames = &self->frame,
                                         .frames_len = 1};
    self->result = (struct fleet_result){
        .id = 77, .rows = self->rows.good_len, .outputs = &self->output, .outputs_len = 1};
    self->results[0] = &self->result;
    self->chunk = (struct output_chunk){.rows = &self->rows, .results = self->results};
}

static struct output *open_output(const char *name, bool npy, uint64_t rows,
                                  const struct output_state *recorded)
{
    char *path = xstrdup(test_path(name)), *errors = xasprintf("%s.errors", path);
    struct output *output = NULL;
    struct error why = {.status = STATUS_OK};
    struct output_config config = {.path = path,
                                   .error_path = errors,
                                   .npy = npy,
                                   .rows = rows,
                                   .batch = "b",
                                   .model = "m",
                                   .version = "1",
                                   .signature = &model};
    if (recorded) {
        config.bytes = recorded->bytes;
        config.error_bytes = recorded->error_bytes;
        config.dtype = recorded->dtype;
        config.rank = recorded->rank;
        memcpy(config.dims, recorded->dims, sizeof(config.dims));
    }
    if (output_open(&output, &config, &why) != STATUS_OK)
        fail_msg("%s", why.text);
    free(path);
    free(errors);
    return output;
}

static void write_one(struct output *output, uint64_t first, uint32_t rows, unsigned bad)
{
    struct made made;
    struct output_chunk *chunks[] = {&made.chunk};
    struct error why = {.status = STATUS_OK};
    make(&made, first, rows, bad);
    if (output_write(output, chunks, 1, &why) != STATUS_OK)
        fail_msg("%s", why.text);
    assert_int_equal(made.chunk.completed + made.chunk.failed, rows);
    assert_int_equal(made.chunk.completed, made.rows.good_len);
    zmq_msg_close(&made.frame);
}

static void finish(struct output *output)
{
    struct output_end end;
    struct error why = {.status = STATUS_OK};
    if (output_finish(output, &end, &why) != STATUS_OK)
        fail_msg("%s", why.text);
}

static char *whole(const char *name)
{
    char *bytes = NULL;
    size_t size = 0;
    struct error why;
    assert_int_equal(file_read(&bytes, &size, test_path(name), MIB, &why), STATUS_OK);
    return bytes;
}

/* --- tests -------------------------------------------------------------------------------------
 */
static void array_is_whole_whatever_the_order_of_chunks(void **state)
{
    (void)state;
    struct output *output = open_output("o.npy", true, 12, NULL);
    write_one(output, 8, 4, 2); /* row 9 is bad */
    write_one(output, 0, 4, 0);
    struct output_state recorded = output_state(output);
    output_close(&output);
    output = open_output("o.npy", true, 12, &recorded); /* a restart in between */
    write_one(output, 4, 4, 1);                         /* row 4 is bad */
    finish(output);
    output_close(&output);
    output_close(&output);
    struct npy npy;
    struct error why = {.status = STATUS_OK};
    if (npy_map(&npy, test_path("o.npy"), &why) != STATUS_OK)
        fail_msg("%s", why.text);
    assert_int_equal(npy.dims[0], 12);
    assert_int_equal(npy.dims[1], 2);
    for (int i = 0; i < 12; i++) {
        float pair[2];
        memcpy(pair, npy.data + 8 * i, sizeof(pair));
        if (i == 4 || i == 9)
            assert_true(isnan(pair[0]) && isnan(pair[1]));
        else
            assert_true(pair[0] == (float)i && pair[1] == -(float)i);
    }
    npy_close(&npy);
    char *errors = whole("o.npy.errors");
    assert_memory_equal(errors, "{\"row\":4,", 9); /* in the order of rows, not of commits */
    assert_non_null(strstr(errors, "\n{\"row\":9,"));
    free(errors);
}

static void lines_are_cut_back_to_what_was_recorded(void **state)
{
    (void)state;
    struct output *output = open_output("o.jsonl", false, 6, NULL);
    write_one(output, 0, 2, 0);
    struct output_state recorded = output_state(output);
    write_one(output, 2, 4, 5); /* on the disk, but no ledger knows */
    output_close(&output);
    output = open_output("o.jsonl", false, 6, &recorded);
    write_one(output, 2, 4, 5);
    finish(output);
    output_close(&output);
    char *text = whole("o.jsonl"), *rest = text;
    static const int rows[] = {0, 1, 3, 5};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char *line = strsep(&rest, "\n"), id[8];
        json_t *object = json_loads(line, 0, NULL);
        json_t *body = json_object_get(json_object_get(object, "response"), "body");
        json_t *y = json_array_get(json_object_get(body, "outputs"), 0);
        snprintf(id, sizeof(id), "%d", rows[i]);
        assert_string_equal(json_string_value(json_object_get(object, "custom_id")), id);
        assert_true(json_is_null(json_object_get(object, "error")));
        assert_int_equal(json_integer_value(json_array_get(json_object_get(y, "shape"), 0)), 1);
        assert_true(json_number_value(json_array_get(json_object_get(y, "data"), 1)) == -rows[i]);
        json_decref(object);
    }
    assert_string_equal(rest, "");
    free(text);
    char *errors = whole("o.jsonl.errors"), *second = strchr(errors, '\n') + 1;
    json_t *object = json_loadb(errors, (size_t)(second - errors), 0, NULL);
    assert_int_equal(json_integer_value(json_object_get(object, "row")), 2);
    assert_string_equal(
        json_string_value(json_object_get(json_object_get(object, "error"), "message")),
        "it is \"bad\"");
    json_decref(object);
    free(errors);
}

static void rows_written_off_are_one_line_and_a_gap(void **state)
{
    (void)state;
    struct error why;
    struct output *output = open_output("off.npy", true, 8, NULL);
    write_one(output, 0, 2, 0);
    output_write_off(output, 2, 6, "batch_cancelled", "not scored");
    assert_int_equal(output_write_noted(output, &why), STATUS_OK);
    finish(output);
    output_close(&output);
    struct npy npy;
    float last;
    assert_int_equal(npy_map(&npy, test_path("off.npy"), &why), STATUS_OK);
    memcpy(&last, npy.data + 7 * 8, sizeof(last));
    assert_true(isnan(last));
    npy_close(&npy);
    char *errors = whole("off.npy.errors");
    assert_non_null(strstr(errors, "{\"row\":2,\"rows\":6,"));
    free(errors);
}

static void answer_of_another_shape_fails_its_row_only(void **state)
{
    (void)state;
    struct made made;
    struct output *output = open_output("shape.npy", true, 4, NULL);
    struct output_chunk *chunks[] = {&made.chunk};
    struct error why = {.status = STATUS_OK};
    write_one(output, 0, 2, 0);
    make(&made, 2, 2, 0);
    made.output.tensor.rank = 3;
    made.output.tensor.dims[1] = 1;
    made.output.tensor.dims[2] = 2;
    assert_int_equal(output_write(output, chunks, 1, &why), STATUS_OK);
    assert_int_equal(made.chunk.failed, 2);
    zmq_msg_close(&made.frame);
    finish(output);
    output_close(&output);
    char *errors = whole("shape.npy.errors");
    assert_non_null(strstr(errors, "the answer is FP32 [1,2], but earlier rows are FP32 [2]"));
    free(errors);
}

static void rows_are_cut_out_along_any_axis(void **state)
{
    (void)state;
    enum { A = 3, B = 4, C = 2 };
    int32_t data[A * B * C], row[A * B * C];
    for (int i = 0; i < A * B * C; i++)
        data[i] = i;
    struct tensor tensor = {.name = "t",
                            .dtype = DTYPE_INT32,
                            .rank = 3,
                            .dims = {A, B, C},
                            .data = data,
                            .bytes = sizeof(data)};
    for (uint32_t axis = 0; axis < 3; axis++) {
        struct slice slice;
        struct error why;
        uint64_t rows = (uint64_t)tensor.dims[axis];
        assert_int_equal(slice_make(&slice, &tensor, axis, rows, &why), STATUS_OK);
        assert_int_equal(slice.rank, 2);
        for (uint64_t r = 0; r < rows; r++) {
            slice_copy(&slice, data, r, row);
            size_t at = 0;
            for (uint64_t i = 0; i < A * B * C; i++) {
                uint64_t index[] = {i / (B * C), i / C % B, i % C};
                if (index[axis] == r)
                    assert_int_equal(row[at++], data[i]);
            }
            assert_int_equal(at * sizeof(int32_t), slice.row_bytes);
        }
        assert_int_equal(slice_make(&slice, &tensor, axis, rows + 1, &why), STATUS_INVALID);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(array_is_whole_whatever_the_order_of_chunks),
        cmocka_unit_test(lines_are_cut_back_to_what_was_recorded),
        cmocka_unit_test(rows_written_off_are_one_line_and_a_gap),
        cmocka_unit_test(answer_of_another_shape_fails_its_row_only),
        cmocka_unit_test(rows_are_cut_out_along_any_axis),
    };
    return cmocka_run_group_tests(tests, NULL, test_scratch_end);
}
