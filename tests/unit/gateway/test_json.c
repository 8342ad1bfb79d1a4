/* json: numbers exact both ways, lists checked against their shape, envelopes as jansson sees them
 */
#include "tests/unit/common/testing.h"

#include "gateway/api/number.h"
#include "gateway/api/oip_scan.h"

#include <float.h>
#include <jansson.h>
#include <math.h>

#define RANDOM_ROUNDS 50000

static enum status read_list(enum dtype dtype, const char *text, const int64_t *dims, uint32_t rank,
                             void *into, struct error *why)
{
    struct tensor tensor = {.name = "x", .dtype = dtype, .rank = rank};
    for (uint32_t i = 0; i < rank; i++)
        tensor.dims[i] = dims[i];
    why->status = STATUS_OK;
    return number_list_read(&tensor, text, text + strlen(text), into, why);
}

static enum status read_one(enum dtype dtype, const char *number, void *into, struct error *why)
{
    static const int64_t one[] = {1};
    char text[128];
    snprintf(text, sizeof text, "[%s]", number);
    return read_list(dtype, text, one, 1, into, why);
}

static void check_float(const char *text)
{
    struct error why;
    float got, wanted = strtof(text, NULL);
    double got_wide, wanted_wide = strtod(text, NULL);
    if (!isfinite(wanted))
        return;
    if (read_one(DTYPE_FP32, text, &got, &why) != STATUS_OK ||
        memcmp(&got, &wanted, sizeof got) != 0)
        fail_msg("%s: got %a, the C library says %a", text, (double)got, (double)wanted);
    assert_int_equal(read_one(DTYPE_FP64, text, &got_wide, &why), STATUS_OK);
    assert_memory_equal(&got_wide, &wanted_wide, sizeof got_wide);
}

static void any_decimal_becomes_the_float_that_the_c_library_gives(void **state)
{
    static const char *const awkward[] = {"0",
                                          "-0",
                                          "-0.0",
                                          "0.1",
                                          "1e-45",
                                          "1.17549435e-38",
                                          "1.1754942e-38",
                                          "3.4028235e38",
                                          "16777217",
                                          "16777219",
                                          "9007199254740993",
                                          "1.00000005960464477539",
                                          "1.000000059604644775390625",
                                          "1.0000000596046448",
                                          "0.000000000000000000000000000000000000011754942",
                                          "1e22",
                                          "1e23",
                                          "12345678901234567890123",
                                          "8.5899345920000001e9",
                                          "7.038531e-26",
                                          "1E+2",
                                          "5e-324"};
    char text[64];
    uint64_t seed = test_seed();
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(awkward); i++)
        check_float(awkward[i]);
    for (int i = 0; i < RANDOM_ROUNDS; i++) {
        uint64_t bits = test_random(&seed);
        int digits = (int)(bits % 18), power = (int)(bits >> 8 & 63) - 32;
        snprintf(text, sizeof text, "%s%.*f", bits & 128 ? "-" : "", (int)(bits >> 16 & 15),
                 (double)(int64_t)(test_random(&seed) >> 24) / pow(10, digits));
        check_float(text);
        snprintf(text, sizeof text, "%.*fe%d", digits % 10, (double)(bits >> 40) / 1e4, power);
        check_float(text);
    }
}

static void written_float_reads_back_to_the_same_bits(void **state)
{
    uint64_t seed = test_seed();
    (void)state;
    for (int i = 0; i < RANDOM_ROUNDS; i++) {
        char text[NUMBER_TEXT_MAX + 1];
        uint32_t bits = (uint32_t)test_random(&seed);
        if (i % 2) /* every second one where scores lie: 2^-20 to 2^12 */
            bits = (bits & 0x807fffff) | (107 + bits % 33) << 23;
        float value, back;
        memcpy(&value, &bits, sizeof value);
        if (!isfinite(value))
            continue;
        char *end = number_list_write(text, DTYPE_FP32, &value, 1);
        assert_in_range(end - text, 1, NUMBER_TEXT_MAX - 1);
        *end = '\0';
        back = strtof(text, NULL);
        if (memcmp(&value, &back, sizeof value) != 0)
            fail_msg("%a was written as %s", (double)value, text);
        assert_true(strlen(text) <= (size_t)snprintf(NULL, 0, "%.9g", (double)value) + 5);
    }
}

static void written_numbers_are_short_and_json(void **state)
{
    static const struct {
        float value;
        const char *text;
    } rows[] = {{0.1f, "0.1"},           {1, "1"},
                {-2.5f, "-2.5"},         {100, "100"},
                {0.00125f, "0.00125"},   {1e9f, "1e+09"},
                {123456.0f, "123456"},   {-0.0f, "-0.0"},
                {9999999.0f, "9999999"}, {0.3333333f, "0.3333333"},
                {INFINITY, "null"},      {NAN, "null"}};
    char text[256];
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        *number_list_write(text, DTYPE_FP32, &rows[i].value, 1) = '\0';
        assert_string_equal(text, rows[i].text);
    }
    const int64_t wide[] = {INT64_MIN, 0, INT64_MAX};
    *number_list_write(text, DTYPE_INT64, wide, 3) = '\0';
    assert_string_equal(text, "-9223372036854775808,0,9223372036854775807");
    const uint8_t flags[] = {1, 0};
    *number_list_write(text, DTYPE_BOOL, flags, 2) = '\0';
    assert_string_equal(text, "true,false");
    const uint16_t halves[] = {0x3c00, 0xc100, 0x0001, 0x7c00};
    *number_list_write(text, DTYPE_FP16, halves, 4) = '\0';
    assert_string_equal(text, "1,-2.5,5.96046448e-08,null");
    const uint16_t brains[] = {0x3f80, 0xc020};
    *number_list_write(text, DTYPE_BF16, brains, 2) = '\0';
    assert_string_equal(text, "1,-2.5");
}

static void integers_keep_to_their_type(void **state)
{
    static const struct {
        enum dtype dtype;
        const char *text;
        bool fits;
        int64_t value;
    } rows[] = {
        {DTYPE_UINT8, "255", true, 255},
        {DTYPE_UINT8, "256", false, 0},
        {DTYPE_UINT8, "-1", false, 0},
        {DTYPE_UINT8, "-0", true, 0},
        {DTYPE_INT8, "-128", true, -128},
        {DTYPE_INT8, "-129", false, 0},
        {DTYPE_INT8, "128", false, 0},
        {DTYPE_INT32, "3.0", true, 3},
        {DTYPE_INT32, "3.5", false, 0},
        {DTYPE_INT32, "3e2", true, 300},
        {DTYPE_INT64, "-9223372036854775808", true, INT64_MIN},
        {DTYPE_INT64, "9223372036854775807", true, INT64_MAX},
        {DTYPE_INT64, "9223372036854775808", false, 0},
        {DTYPE_INT64, "1e30", false, 0},
        {DTYPE_UINT64, "18446744073709551615", true, -1},
        {DTYPE_UINT64, "18446744073709551616", false, 0},
        {DTYPE_BOOL, "true", true, 1},
        {DTYPE_BOOL, "0", true, 0},
        {DTYPE_BOOL, "2", false, 0},
        {DTYPE_INT32, "true", false, 0},
        {DTYPE_INT32, "01", false, 0},
        {DTYPE_FP32, ".5", false, 0},
        {DTYPE_FP32, "1.", false, 0},
        {DTYPE_FP32, "0x10", false, 0},
        {DTYPE_FP32, "NaN", false, 0},
        {DTYPE_FP32, "1e", false, 0},
        {DTYPE_FP32, "1e39", false, 0},
        {DTYPE_FP32, "\"1\"", false, 0},
        {DTYPE_FP32, "null", false, 0},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct error why;
        int64_t into = rows[i].value < 0 ? -1 : 0;
        enum status s = read_one(rows[i].dtype, rows[i].text, &into, &why);
        if ((s == STATUS_OK) != rows[i].fits)
            fail_msg("%s as %s", rows[i].text, dtype_name(rows[i].dtype));
        if (rows[i].fits)
            assert_int_equal(into, rows[i].value);
        else
            assert_why(&why, STATUS_INVALID, "input 'x', element ");
    }
}

static void lists_are_flat_or_nested_like_the_shape_and_nothing_else(void **state)
{
    static const int64_t dims[] = {2, 3}, none[] = {2, 0}, scalar[] = {0};
    static const char *const good[] = {"[1,2,3,4,5,6]", " [ [1 , 2,3],\n[4,5,6] ] "};
    static const char *const bad[] = {"[1,2,3,4,5]",
                                      "[1,2,3,4,5,6,7]",
                                      "[[1,2],[3,4],[5,6]]",
                                      "[[1,2,3],[4,5,6],[7,8,9]]",
                                      "[[1,2,3,4],[5,6]]",
                                      "[[[1,2,3],[4,5,6]]]",
                                      "[1,[2,3],4,5,6]",
                                      "[]",
                                      "[[],[]]",
                                      "[[1,2,3],4,5,6]",
                                      "[1,2,3,4,5,6,]",
                                      "[,1,2,3,4,5,6]",
                                      "[1 2,3,4,5,6,7]",
                                      "[[1,2,3][4,5,6]]"};
    float into[9];
    struct error why;
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        const char *text = strchr(good[i], '[');
        memset(into, 0, sizeof into);
        if (read_list(DTYPE_FP32, text, dims, 2, into, &why) != STATUS_OK)
            fail_msg("%s: %s", text, why.text);
        for (int k = 0; k < 6; k++)
            assert_int_equal((int)into[k], k + 1);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        if (read_list(DTYPE_FP32, bad[i], dims, 2, into, &why) != STATUS_INVALID)
            fail_msg("taken: %s", bad[i]);
        assert_non_null(strstr(why.text, "'x'"));
    }
    assert_int_equal(read_list(DTYPE_FP32, "[]", none, 2, into, &why), STATUS_OK);
    assert_int_equal(read_list(DTYPE_FP32, "[[],[]]", none, 2, into, &why), STATUS_OK);
    assert_int_equal(read_list(DTYPE_FP32, "[7]", scalar, 0, into, &why), STATUS_OK);
    assert_int_equal((int)into[0], 7);
}

/* The envelope with its numbers put back must be what the whole text is to jansson. */
static void check_scan(const char *text)
{
    struct oip_scan scan;
    struct error why = {.status = STATUS_OK};
    json_t *whole = json_loads(text, 0, NULL);
    enum status s = oip_scan(&scan, text, strlen(text), &why);
    if (s != STATUS_OK) {
        json_t *inputs = json_object_get(whole, "inputs"), *input;
        size_t i;
        json_array_foreach(inputs, i, input)
        { /* valid JSON is refused for one reason only */
            json_t *data = json_object_get(input, "data");
            if (data && !json_is_array(data)) {
                json_decref(whole);
                return;
            }
        }
        if (whole && !strstr(text, "\"data\""))
            fail_msg("refused: %s: %s", text, why.text);
        json_decref(whole);
        return;
    }
    json_t *envelope = json_loads(scan.envelope, 0, NULL);
    for (size_t i = 0; i < scan.spans_len; i++) {
        assert_int_equal(scan.spans[i].from[0], '[');
        assert_int_equal(scan.spans[i].to[-1], ']');
    }
    if (whole && !envelope)
        fail_msg("%s became %s", text, scan.envelope);
    free(scan.envelope);
    json_decref(envelope);
    json_decref(whole);
}

static void scanner_agrees_with_jansson_on_damaged_requests(void **state)
{
    static const char good[] =
        "{\"id\":\"a]\\\"b\",\"inputs\":[{\"name\":\"data\",\"data\":[[1,2],[3,4e5]],\"shape\":[2,"
        "2]},"
        "{\"data\" : [\"]\"], \"name\":\"y\",\"parameters\":{\"data\":[1]}}],\"data\":[1],"
        "\"outputs\":[{\"name\":\"inputs\"}]}";
    static const char marks[] = "[]{}\",:\\ 1adt";
    char text[sizeof good];
    uint64_t seed = test_seed();
    struct oip_scan scan;
    struct error why;
    (void)state;
    assert_int_equal(oip_scan(&scan, good, strlen(good), &why), STATUS_OK);
    assert_int_equal(scan.spans_len, 2);
    assert_non_null(strstr(scan.envelope, "\"parameters\":{\"data\":[1]}"));
    free(scan.envelope);
    for (int i = 0; i < RANDOM_ROUNDS; i++) {
        memcpy(text, good, sizeof good);
        for (uint64_t n = test_random(&seed) % 4; n > 0; n--) {
            uint64_t r = test_random(&seed);
            text[r % (sizeof good - 1)] = marks[r / 1024 % (sizeof marks - 1)];
        }
        text[i % 7 ? sizeof good - 1 : test_random(&seed) % sizeof good] = '\0';
        check_scan(text);
    }
}

static void scanner_names_where_it_broke(void **state)
{
    static const char *const rows[][2] = {{"{\"a\": \"b", "closing quote"},
                                          {"{\"inputs\":[{\"data\":[1,2", "closing bracket"},
                                          {"{\"inputs\":[{\"data\":7}]}", "data"},
                                          {"{", "before its last"},
                                          {"]", "too many"},
                                          {"{\"inputs\":[{\"data\":{}}]}", "expected a list"}};
    struct oip_scan scan;
    struct error why;
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_int_equal(oip_scan(&scan, rows[i][0], strlen(rows[i][0]), &why), STATUS_INVALID);
        assert_why(&why, STATUS_INVALID, rows[i][1]);
        assert_null(scan.envelope);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_decimal_becomes_the_float_that_the_c_library_gives),
        cmocka_unit_test(written_float_reads_back_to_the_same_bits),
        cmocka_unit_test(written_numbers_are_short_and_json),
        cmocka_unit_test(integers_keep_to_their_type),
        cmocka_unit_test(lists_are_flat_or_nested_like_the_shape_and_nothing_else),
        cmocka_unit_test(scanner_agrees_with_jansson_on_damaged_requests),
        cmocka_unit_test(scanner_names_where_it_broke),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
