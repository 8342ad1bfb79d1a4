/* oip: requests read against a signature, in every form; answers as they were asked for */
#include "tests/unit/common/testing.h"

#include "gateway/api/inflate.h"
#include "gateway/api/oip_reply.h"
#include "gateway/api/oip_request.h"

#include <zlib.h>

/* images UINT8 [-1,2,2] and scale FP32 [-1]; scores FP32 [-1,2] and label INT64 [-1]. */
static struct version *make_version(bool two_inputs)
{
    static const char both[] =
        "{\"inputs\":[{\"name\":\"images\",\"datatype\":\"UINT8\",\"shape\":[-1,2,2]},"
        "{\"name\":\"scale\",\"datatype\":\"FP32\",\"shape\":[-1]}],"
        "\"outputs\":[{\"name\":\"scores\",\"datatype\":\"FP32\",\"shape\":[-1,2],\"batch_axis\":0}"
        ","
        "{\"name\":\"label\",\"datatype\":\"INT64\",\"shape\":[-1],\"batch_axis\":0}],"
        "\"batchable\":true}";
    static const char single[] =
        "{\"inputs\":[{\"name\":\"images\",\"datatype\":\"UINT8\",\"shape\":[-1,2,2]}],"
        "\"outputs\":[{\"name\":\"scores\",\"datatype\":\"FP32\",\"shape\":[-1,2]},"
        "{\"name\":\"label\",\"datatype\":\"INT64\",\"shape\":[-1]}],\"batchable\":true}";
    struct error why;
    struct version *version = xcalloc(1, sizeof *version);
    const char *json = two_inputs ? both : single;
    text_copy(version->model, sizeof version->model, "m");
    version->number = 3;
    version->refs = 1;
    assert_int_equal(signature_parse(&version->signature, json, strlen(json), &why), STATUS_OK);
    return version;
}

struct read {
    struct version *version;
    struct bytes *body;
    struct oip_request request;
    struct error why;
    enum status status;
};

static struct read read_body(bool two_inputs, const void *octets, size_t size, uint64_t header)
{
    struct read out = {.version = make_version(two_inputs)};
    char *copy = xmalloc(size + 1);
    memcpy(copy, octets, size);
    copy[size] = '\0';
    out.body = bytes_take(copy, size);
    out.status = oip_request_read(&out.request, out.body, header, out.version, &out.why);
    return out;
}

static struct read read_json(bool two_inputs, const char *json)
{
    return read_body(two_inputs, json, strlen(json), OIP_NO_HEADER);
}

static void drop(struct read *read)
{
    oip_request_free(&read->request);
    oip_request_free(&read->request); /* twice is harmless */
    bytes_drop(&read->body);
    version_drop(&read->version);
}

#define PIXELS(list)                                                                               \
    "{\"name\":\"images\",\"shape\":[1,2,2],\"datatype\":\"UINT8\",\"data\":" list "}"
#define IMAGES PIXELS("[1,2,3,255]")
#define SCALE  "{\"data\":[0.5],\"name\":\"scale\",\"shape\":[1],\"datatype\":\"FP32\"}"

static void json_inputs_become_typed_tensors(void **state)
{
    struct read read = read_json(
        true, "{\"id\":\"q\",\"parameters\":{\"timeout\":1500,\"priority\":3},\"inputs\":[" IMAGES
              "," SCALE "],\"outputs\":[{\"name\":\"label\"},{\"name\":\"scores\",\"parameters\":"
              "{\"binary_data\":true}}]}");
    static const uint8_t images[] = {1, 2, 3, 255};
    const float scale = 0.5f;
    (void)state;
    if (read.status != STATUS_OK)
        fail_msg("%s", read.why.text);
    assert_int_equal(read.request.inputs_len, 2);
    assert_memory_equal(read.request.inputs[0].data, images, 4);
    assert_memory_equal(read.request.inputs[1].data, &scale, 4);
    assert_int_equal((uintptr_t)read.request.inputs[1].data % TENSOR_ALIGN, 0);
    assert_string_equal(read.request.id, "q");
    assert_int_equal(read.request.timeout_us, 1500);
    assert_int_equal(read.request.band, 2);
    assert_int_equal(read.request.rows, 1);
    assert_int_equal(read.request.outputs[0].index, 1);
    assert_false(read.request.outputs[0].binary);
    assert_true(read.request.outputs[1].binary);
    drop(&read);
}

static void binary_stays_in_the_body_and_mixes_with_json(void **state)
{
    static const char binary[] =
        "{\"inputs\":[{\"name\":\"images\",\"shape\":[1,2,2],\"datatype\":\"UINT8\",\"parameters\":"
        "{\"binary_data_size\":4}}],\"parameters\":{\"binary_data_output\":true}}\1\2\3\4";
    static const char mixed[] =
        "{\"inputs\":[" SCALE ",{\"name\":\"images\",\"shape\":[1,2,2],\"datatype\":\"UINT8\","
        "\"parameters\":{\"binary_data_size\":4}}]}\1\2\3\4";
    (void)state;
    struct read read = read_body(false, binary, sizeof binary - 1, sizeof binary - 5);
    assert_int_equal(read.status, STATUS_OK);
    assert_ptr_equal(read.request.inputs[0].data, (char *)read.body->data + sizeof binary - 5);
    assert_true(read.request.binary_default);
    drop(&read);
    read = read_body(true, mixed, sizeof mixed - 1, sizeof mixed - 5);
    assert_int_equal(read.status, STATUS_OK);
    assert_memory_equal(read.request.inputs[1].data, "\1\2\3\4", 4);
    drop(&read);
}

static void raw_body_is_the_one_input(void **state)
{
    (void)state;
    struct read read = read_body(false, "\1\2\3\4\5\6\7\10", 8, 0);
    assert_int_equal(read.status, STATUS_OK);
    assert_int_equal(read.request.inputs[0].dims[0], 2);
    assert_int_equal(read.request.rows, 2);
    assert_true(read.request.binary_default);
    drop(&read);
    read = read_body(false, "\1\2\3", 3, 0);
    assert_why(&read.why, STATUS_INVALID, "3 bytes does not fit input 'images' [-1,2,2]");
    drop(&read);
    read = read_body(true, "\1\2\3\4", 4, 0);
    assert_why(&read.why, STATUS_INVALID, "2 inputs");
    drop(&read);
}

static void every_refusal_says_what_was_expected_and_what_came(void **state)
{
    static const struct {
        const char *json;
        enum status status;
        const char *part;
    } rows[] = {
        {"", STATUS_INVALID, "no JSON"},
        {"[]", STATUS_INVALID, "must be a JSON object"},
        {"{\"inputs\":7}", STATUS_INVALID, "needs \"inputs\""},
        {"{\"inputs\":[]}", STATUS_INVALID, "expected 2 inputs but got 0 inputs for model 'm'"},
        {"{\"inputs\":[" IMAGES "]}", STATUS_INVALID, "its inputs are 'images', 'scale'"},
        {"{\"inputs\":[" IMAGES "," IMAGES "]}", STATUS_INVALID, "'images' is there twice"},
        {"{\"inputs\":[{\"name\":\"z\",\"shape\":[1],\"datatype\":\"FP32\",\"data\":[1]}]}",
         STATUS_INVALID, "unexpected inference input 'z' for model 'm'"},
        {"{\"inputs\":[{\"name\":\"scale\",\"shape\":[1],\"datatype\":\"FP64\",\"data\":[1]}]}",
         STATUS_INVALID, "expected FP32, got FP64"},
        {"{\"inputs\":[{\"name\":\"images\",\"shape\":[1,3,2],\"datatype\":\"UINT8\",\"data\":[1]}]"
         "}",
         STATUS_INVALID, "expected [-1,2,2] (-1: any), got [1,3,2]"},
        {"{\"inputs\":[{\"name\":\"images\",\"shape\":[-1,2,2],\"datatype\":\"UINT8\",\"data\":[]}]"
         "}",
         STATUS_INVALID, "\"shape\"[0]"},
        {"{\"inputs\":[" PIXELS("[1,2]") "," SCALE "]}", STATUS_INVALID, "expected 4 elements"},
        {"{\"inputs\":[" PIXELS("[1,2,3,300]") "," SCALE "]}", STATUS_INVALID, "element 3"},
        {"{\"inputs\":[" PIXELS("[1,2;3,4]") "," SCALE "]}", STATUS_INVALID, "expected ','"},
        {"{\"inputs\":[{\"name\":\"images\",\"shape\":[9000000000,2,2],\"datatype\":\"UINT8\","
         "\"data\":[1]}]}",
         STATUS_TOO_LARGE, "more than"},
        {"{\"inputs\":[{\"name\":\"images\",\"shape\":[1,2,2],\"datatype\":\"UINT8\"}]}",
         STATUS_INVALID, "neither \"data\""},
        {"{\"inputs\":[{\"name\":\"images\",\"shape\":[1,2,2],\"datatype\":\"UINT8\","
         "\"parameters\":"
         "{\"binary_data_size\":4}}]}",
         STATUS_INVALID, "only 0 bytes left"},
        {"{\"inputs\":[{\"name\":\"images\",\"shape\":[1,2,2],\"datatype\":\"UINT8\","
         "\"parameters\":"
         "{\"binary_data_size\":5}}]}",
         STATUS_INVALID, "need 4 bytes, but binary_data_size is 5"},
        {"{\"inputs\":[{\"name\":\"images\",\"shape\":[2,2,2],\"datatype\":\"UINT8\",\"data\":[1,2,"
         "3,4,"
         "5,6,7,8]}," SCALE "]}",
         STATUS_INVALID, "2 and 1 rows"},
        {"{\"inputs\":[" IMAGES "," SCALE "],\"outputs\":[{\"name\":\"x\"}]}", STATUS_INVALID,
         "its outputs are 'scores', 'label'"},
        {"{\"inputs\":[" IMAGES "," SCALE
         "],\"outputs\":[{\"name\":\"label\"},{\"name\":\"label\"}]}",
         STATUS_INVALID, "asked for twice"},
        {"{\"inputs\":[" IMAGES "," SCALE "],\"outputs\":[{\"name\":\"label\",\"parameters\":"
         "{\"classification\":2}}]}",
         STATUS_UNSUPPORTED, "classification"},
        {"{\"inputs\":[],\"parameters\":{\"sequence_id\":4}}", STATUS_UNSUPPORTED, "sequences"},
        {"{\"inputs\":[],\"parameters\":{\"timeout\":\"x\"}}", STATUS_INVALID, "microseconds"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct read read = read_json(true, rows[i].json);
        assert_why(&read.why, rows[i].status, rows[i].part);
        drop(&read);
    }
    struct read read = read_body(true, "{}", 2, 3);
    assert_why(&read.why, STATUS_INVALID, "the body has 2 octets");
    drop(&read);
}

/* One row: scores 0.25, 0.75 and label 1, as the fleet would hand them over. */
static struct fleet_result *make_result(void)
{
    static const float scores[] = {0.25f, 0.75f};
    static const int64_t label[] = {1};
    struct fleet_result *result = xcalloc(1, sizeof *result);
    result->outputs = xcalloc(2, sizeof *result->outputs);
    result->outputs_len = 2;
    result->outputs[0].tensor = (struct tensor){
        .name = "scores", .dtype = DTYPE_FP32, .rank = 2, .dims = {1, 2}, .bytes = 8};
    result->outputs[1].tensor =
        (struct tensor){.name = "label", .dtype = DTYPE_INT64, .rank = 1, .dims = {1}, .bytes = 8};
    const void *octets[] = {scores, label};
    for (int i = 0; i < 2; i++) {
        zmq_msg_t *frame = xcalloc(1, sizeof *frame);
        zmq_msg_init_size(frame, 8);
        memcpy(zmq_msg_data(frame), octets[i], 8);
        result->outputs[i].frames = frame;
        result->outputs[i].frames_len = 1;
    }
    return result;
}

static void free_result(struct fleet_result *result)
{
    for (size_t i = 0; i < result->outputs_len; i++) {
        zmq_msg_close(result->outputs[i].frames);
        free(result->outputs[i].frames);
    }
    fleet_result_free(&result);
}

static void answer_has_the_outputs_that_were_asked_for_in_their_form(void **state)
{
    struct fleet_result *result = make_result();
    struct oip_reply reply;
    struct error why;
    struct read read = read_json(true, "{\"id\":\"a\\\"b\",\"inputs\":[" IMAGES "," SCALE "]}");
    (void)state;
    assert_int_equal(oip_reply_make(&reply, &read.request, read.version, result, &why), STATUS_OK);
    static const char all[] =
        "{\"model_name\":\"m\",\"model_version\":\"3\",\"id\":\"a\\\"b\",\"outputs\":["
        "{\"name\":\"scores\",\"datatype\":\"FP32\",\"shape\":[1,2],\"data\":[0.25,0.75]},"
        "{\"name\":\"label\",\"datatype\":\"INT64\",\"shape\":[1],\"data\":[1]}]}";
    assert_int_equal(reply.head_size, sizeof all - 1);
    assert_memory_equal(reply.head, all, reply.head_size);
    assert_false(reply.binary);
    oip_reply_free(&reply);
    drop(&read);

    read = read_json(true, "{\"inputs\":[" IMAGES "," SCALE "],\"outputs\":[{\"name\":\"label\"},"
                           "{\"name\":\"scores\",\"parameters\":{\"binary_data\":true}}]}");
    assert_int_equal(oip_reply_make(&reply, &read.request, read.version, result, &why), STATUS_OK);
    static const char some[] =
        "{\"model_name\":\"m\",\"model_version\":\"3\",\"outputs\":["
        "{\"name\":\"label\",\"datatype\":\"INT64\",\"shape\":[1],\"data\":[1]},"
        "{\"name\":\"scores\",\"datatype\":\"FP32\",\"shape\":[1,2],\"parameters\":"
        "{\"binary_data_size\":8}}]}";
    assert_int_equal(reply.head_size, sizeof some - 1);
    assert_memory_equal(reply.head, some, reply.head_size);
    assert_int_equal(reply.pieces_len, 2);
    assert_int_equal(reply.pieces[1].size, 8);
    oip_reply_free(&reply);
    result->outputs[1].tensor.name = "other";
    assert_int_equal(oip_reply_make(&reply, &read.request, read.version, result, &why),
                     STATUS_INTERNAL);
    drop(&read);
    free_result(result);
}

static void packed_bodies_are_unpacked_within_the_limit(void **state)
{
    char *text = xmalloc(100000);
    uLongf size = compressBound(100000);
    struct bytes *plain = NULL, *packed = bytes_new(size);
    struct error why;
    (void)state;
    memset(text, 'a', 100000);
    assert_int_equal(compress(packed->data, &size, (Bytef *)text, 100000), Z_OK);
    packed->size = size;
    assert_int_equal(inflate_bytes(&plain, packed, 100000, &why), STATUS_OK);
    assert_int_equal(plain->size, 100000);
    assert_memory_equal(plain->data, text, 100000);
    bytes_drop(&plain);
    assert_int_equal(inflate_bytes(&plain, packed, 99999, &why), STATUS_TOO_LARGE);
    packed->size = size - 8;
    assert_int_equal(inflate_bytes(&plain, packed, 100000, &why), STATUS_INVALID);
    memset(packed->data, 7, packed->size);
    assert_int_equal(inflate_bytes(&plain, packed, 100000, &why), STATUS_INVALID);
    bytes_drop(&packed);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_inputs_become_typed_tensors),
        cmocka_unit_test(binary_stays_in_the_body_and_mixes_with_json),
        cmocka_unit_test(raw_body_is_the_one_input),
        cmocka_unit_test(every_refusal_says_what_was_expected_and_what_came),
        cmocka_unit_test(answer_has_the_outputs_that_were_asked_for_in_their_form),
        cmocka_unit_test(packed_bodies_are_unpacked_within_the_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
