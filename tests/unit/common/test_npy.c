/* npy: headers as NumPy 2.4 writes them, every truncation, every refusal, writing */
#include "testing.h"

#include "common/npy.h"

static struct error why;

/* What numpy.save wrote for these arrays (NumPy 2.4.6), without the padding. */
static const struct {
    enum dtype dtype;
    uint32_t rank;
    int64_t dims[TENSOR_RANK_MAX];
    const char *header;
} numpy[] = {
    {DTYPE_FP32, 2, {3, 4}, "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }"},
    {DTYPE_INT64, 0, {0}, "{'descr': '<i8', 'fortran_order': False, 'shape': (), }"},
    {DTYPE_UINT8, 1, {5}, "{'descr': '|u1', 'fortran_order': False, 'shape': (5,), }"},
    {DTYPE_BOOL,
     8,
     {0, 2, 1, 1, 1, 1, 1, 12345},
     "{'descr': '|b1', 'fortran_order': False, 'shape': (0, 2, 1, 1, 1, 1, 1, 12345), }"},
};

/* A whole file over `header` with `data` bytes of 0, 1, 2...; free() it. */
static uint8_t *build(const char *header, unsigned version, size_t data, size_t *size)
{
    size_t prefix = version == 1 ? 10 : 12, length = strlen(header);
    uint8_t *bytes = xcalloc(prefix + length + data + 1, 1);
    memcpy(bytes, "\x93NUMPY", 6);
    bytes[6] = (uint8_t)version;
    for (size_t i = 8; i < prefix; i++)
        bytes[i] = (uint8_t)(length >> (8 * (i - 8)));
    memcpy(bytes + prefix, header, length);
    for (size_t i = 0; i < data; i++)
        bytes[prefix + length + i] = (uint8_t)i;
    *size = prefix + length + data;
    return bytes;
}

static void headers_are_those_of_numpy(void **state)
{
    (void)state;
    uint8_t ours[NPY_WRITE_HEADER_MAX];
    for (size_t i = 0; i < ARRAY_LEN(numpy); i++) {
        size_t size = npy_make_header(ours, numpy[i].dtype, numpy[i].rank, numpy[i].dims);
        assert_int_equal(size, 128);
        assert_memory_equal(ours, "\x93NUMPY\x01\x00\x76\x00", 10);
        assert_memory_equal(ours + 10, numpy[i].header, strlen(numpy[i].header));
        for (size_t k = 10 + strlen(numpy[i].header); k < 127; k++)
            assert_int_equal(ours[k], ' ');
        assert_int_equal(ours[127], '\n');
    }
    int64_t few[] = {1, 1000}, many[] = {INT64_MAX, 1000};
    assert_int_equal(npy_make_header(ours, DTYPE_FP64, 2, few),
                     npy_make_header(ours, DTYPE_FP64, 2, many));
    assert_int_equal(npy_make_header(ours, DTYPE_BYTES, 2, few), 0);
    assert_int_equal(npy_make_header(ours, DTYPE_BF16, 2, few), 0);
}

static void numpys_files_of_every_version_are_read(void **state)
{
    (void)state;
    for (unsigned version = 1; version <= 3; version++)
        for (size_t i = 0; i < ARRAY_LEN(numpy); i++) {
            uint64_t bytes;
            size_t size;
            struct npy npy;
            assert_true(tensor_size(numpy[i].dtype, numpy[i].dims, numpy[i].rank, &bytes));
            uint8_t *file = build(numpy[i].header, version, bytes, &size);
            assert_int_equal(npy_over(&npy, file, size, &why), STATUS_OK);
            assert_int_equal(npy.dtype, numpy[i].dtype);
            assert_int_equal(npy.rank, numpy[i].rank);
            assert_memory_equal(npy.dims, numpy[i].dims, npy.rank * sizeof *npy.dims);
            assert_int_equal(npy.data_bytes, bytes);
            assert_ptr_equal(npy.data, file + size - bytes);
            npy_close(&npy);
            free(file);
        }
}

static void rows_are_counted_along_the_first_axis(void **state)
{
    (void)state;
    size_t size;
    struct npy npy;
    uint8_t *file = build(numpy[0].header, 1, 48, &size);
    assert_int_equal(npy_over(&npy, file, size, &why), STATUS_OK);
    assert_int_equal(npy_rows(&npy), 3);
    assert_int_equal(npy_row_bytes(&npy), 16);
    free(file);
    file = build(numpy[1].header, 1, 8, &size);
    assert_int_equal(npy_over(&npy, file, size, &why), STATUS_OK);
    assert_int_equal(npy_rows(&npy), 1);
    assert_int_equal(npy_row_bytes(&npy), 8);
    free(file);
    file = build(numpy[3].header, 1, 0, &size);
    assert_int_equal(npy_over(&npy, file, size, &why), STATUS_OK);
    assert_int_equal(npy_rows(&npy), 0);
    assert_int_equal(npy_row_bytes(&npy), 24690);
    free(file);
}

static void truncation_at_every_byte_says_expected_and_got(void **state)
{
    (void)state;
    for (unsigned version = 1; version <= 2; version++) {
        size_t size;
        struct npy npy;
        uint8_t *file = build(numpy[0].header, version, 48, &size);
        for (size_t cut = 0; cut < size; cut++) {
            char got[32];
            uint8_t *part = xmalloc(cut); /* exactly so many, for the sanitizer to watch */
            memcpy(part, file, cut);
            snprintf(got, sizeof got, "got %zu", cut);
            assert_int_equal(npy_over(&npy, part, cut, &why), STATUS_INVALID);
            assert_why(&why, STATUS_INVALID, got);
            assert_why(&why, STATUS_INVALID, "expected");
            free(part);
        }
        assert_int_equal(npy_over(&npy, file, size, &why), STATUS_OK);
        assert_int_equal(npy_over(&npy, file, size + 1, &why), STATUS_INVALID); /* one left over */
        free(file);
    }
}

static void what_cannot_be_read_is_refused_with_the_reason(void **state)
{
    (void)state;
    static const struct {
        const char *header, *part;
    } bad[] = {
        {"{'descr': '<f4', 'fortran_order': True, 'shape': (3, 4), }", "ascontiguousarray"},
        {"{'descr': '<f4', 'fortran_order': Maybe, 'shape': (3, 4), }", "True or False"},
        {"{'descr': '>f4', 'fortran_order': False, 'shape': (3, 4), }", "astype('<f4')"},
        {"{'descr': '<c8', 'fortran_order': False, 'shape': (3, 4), }", "'<c8' is not supported"},
        {"{'descr': '|O', 'fortran_order': False, 'shape': (3, 4), }", "'|O' is not supported"},
        {"{'descr': '', 'fortran_order': False, 'shape': (3, 4), }", "'' is not supported"},
        {"{'descr': '<f4\x01', 'fortran_order': False, 'shape': (3, 4), }", "other signs"},
        {"{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (3,), }", "structured"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (3, -4), }", "whole numbers"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (3 4), }", "a ')' is missing"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': 3, }", "a '(' is missing"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4)", "a '}' is missing"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (3,,), }", "whole numbers"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,1), }",
         "at most 8 axes"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,), }",
         "larger than any file"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296), }",
         "more bytes than any file"},
        {"{'descr': '<f4', 'fortran_order': False, }", "lacks one of"},
        {"{'descr': '<f4', 'descr': '<f4', 'shape': (3,), }", "repeated entry 'descr'"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (3,), 'x': 1, }", "entry 'x'"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (3,), } x", "behind its dictionary"},
        {"{'descr': '<f4, 'fortran_order': False", "a ',' is missing"},
        {"{descr: 1}", "no quoted text"},
        {"", "a '{' is missing"},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        size_t size;
        struct npy npy;
        uint8_t *file = build(bad[i].header, 1, 48, &size);
        assert_int_equal(npy_over(&npy, file, size, &why), STATUS_INVALID);
        if (strcmp(bad[i].part, "a ',' is missing") != 0) /* any reason will do there */
            assert_why(&why, STATUS_INVALID, bad[i].part);
        free(file);
    }
}

static void wrong_magic_version_and_length_are_refused(void **state)
{
    (void)state;
    size_t size;
    struct npy npy;
    uint8_t *file = build(numpy[0].header, 2, 48, &size);
    file[0] = 'P';
    assert_int_equal(npy_over(&npy, file, size, &why), STATUS_INVALID);
    assert_why(&why, STATUS_INVALID, "no .npy file");
    file[0] = 0x93;
    file[6] = 4;
    assert_int_equal(npy_over(&npy, file, size, &why), STATUS_INVALID);
    assert_why(&why, STATUS_INVALID, "got 4.0");
    file[6] = 2;
    file[11] = 0xFF;
    assert_int_equal(npy_over(&npy, file, size, &why), STATUS_INVALID);
    assert_why(&why, STATUS_INVALID, "at most 65536 bytes");
    free(file);
}

static void other_spellings_of_the_header_are_understood(void **state)
{
    (void)state;
    static const char *const same[] = {
        "{\"shape\":(3,4),\"descr\":\"<f4\",\"fortran_order\":False}",
        " {  'fortran_order' : False , 'shape' : ( 3 , 4 , ) , 'descr' : '<f4' , } \n",
    };
    struct npy npy;
    size_t size;
    for (size_t i = 0; i < ARRAY_LEN(same); i++) {
        uint8_t *file = build(same[i], 1, 48, &size);
        assert_int_equal(npy_over(&npy, file, size, &why), STATUS_OK);
        assert_int_equal(npy.dims[1], 4);
        free(file);
    }
    uint8_t *file = build("{'descr': '<u1', 'fortran_order': False, 'shape': (2,), }", 1, 2, &size);
    assert_int_equal(npy_over(&npy, file, size, &why), STATUS_OK);
    assert_int_equal(npy.dtype, DTYPE_UINT8);
    free(file);
}

/* The verdict does not matter, but the reader stays inside its bytes (watched by the sanitizer). */
static void damaged_headers_never_leave_their_bytes(void **state)
{
    (void)state;
    uint64_t seed = test_seed();
    for (int round = 0; round < 20000; round++) {
        size_t size;
        struct npy npy;
        uint8_t *file = build(numpy[round % 4].header, 1 + (unsigned)round % 3, 0, &size);
        uint8_t *exact = xmalloc(size);
        memcpy(exact, file, size);
        for (uint64_t n = 1 + test_random(&seed) % 4; n > 0; n--)
            exact[test_random(&seed) % size] = (uint8_t)test_random(&seed);
        if (npy_over(&npy, exact, size, &why) != STATUS_OK)
            assert_int_equal(why.status, STATUS_INVALID);
        free(exact);
        free(file);
    }
}

static void written_arrays_of_every_type_read_back(void **state)
{
    (void)state;
    static const int64_t dims[] = {2, 3};
    uint8_t data[48];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * 5);
    for (unsigned code = 1; dtype_known(code); code++) {
        struct tensor tensor = {.dtype = (enum dtype)code, .rank = 2, .dims = {2, 3}, .data = data};
        struct npy npy;
        tensor.bytes = 6 * dtype_bytes(tensor.dtype);
        enum status status = npy_write(test_path("x.npy"), &tensor, code % 2, &why);
        if (!*dtype_npy(tensor.dtype)) {
            assert_int_equal(status, STATUS_UNSUPPORTED);
            assert_why(&why, STATUS_UNSUPPORTED, dtype_name(tensor.dtype));
            continue;
        }
        assert_int_equal(status, STATUS_OK);
        assert_int_equal(npy_map(&npy, test_path("x.npy"), &why), STATUS_OK);
        assert_int_equal(npy.dtype, code);
        assert_memory_equal(npy.dims, dims, sizeof dims);
        assert_memory_equal(npy.data, data, tensor.bytes);
        assert_int_equal(npy.data_offset % 64, 0);
        npy_close(&npy);
        npy_close(&npy); /* twice is harmless */
    }
}

static void open_ended_writer_counts_its_rows(void **state)
{
    (void)state;
    static const int64_t dims[] = {-1, 2};
    const char *path = test_path("open.npy");
    struct npy_writer *writer;
    struct npy npy;
    uint32_t row[2] = {1, 2};
    for (int rows = 0; rows < 13; rows += 12) {
        unlink(path);
        assert_int_equal(npy_writer_open(&writer, path, DTYPE_UINT32, 2, dims, &why), STATUS_OK);
        for (int i = 0; i < rows; i++) {
            row[0] = (uint32_t)i;
            assert_int_equal(npy_writer_put(writer, row, 5, &why), STATUS_OK); /* any split */
            assert_int_equal(npy_writer_put(writer, (char *)row + 5, 3, &why), STATUS_OK);
        }
        assert_int_equal(access(path, F_OK), -1); /* not there before its end */
        assert_int_equal(npy_writer_end(&writer, false, &why), STATUS_OK);
        assert_null(writer);
        assert_int_equal(npy_map(&npy, path, &why), STATUS_OK);
        assert_int_equal(npy_rows(&npy), rows);
        if (rows)
            assert_memory_equal(npy.data + 11 * sizeof row, row, sizeof row);
        npy_close(&npy);
    }
}

static void missing_and_excess_bytes_make_no_file(void **state)
{
    (void)state;
    static const int64_t fixed[] = {2, 2}, open[] = {-1, 2}, huge[] = {INT64_MAX, 9};
    const char *path = test_path("never.npy");
    struct npy_writer *writer;
    assert_int_equal(npy_writer_open(&writer, path, DTYPE_UINT8, 2, fixed, &why), STATUS_OK);
    assert_int_equal(npy_writer_put(writer, "12345", 5, &why), STATUS_TOO_LARGE);
    assert_int_equal(npy_writer_put(writer, "123", 3, &why), STATUS_OK);
    assert_int_equal(npy_writer_put(writer, "45", 2, &why), STATUS_TOO_LARGE);
    assert_int_equal(npy_writer_end(&writer, false, &why), STATUS_INVALID);
    assert_why(&why, STATUS_INVALID, "expected 4 bytes of data, got 3");
    assert_int_equal(npy_writer_open(&writer, path, DTYPE_UINT8, 2, open, &why), STATUS_OK);
    assert_int_equal(npy_writer_put(writer, "123", 3, &why), STATUS_OK);
    assert_int_equal(npy_writer_end(&writer, false, &why), STATUS_INVALID);
    assert_why(&why, STATUS_INVALID, "whole rows of 2 bytes, got 3");
    assert_int_equal(npy_writer_open(&writer, path, DTYPE_UINT8, 2, huge, &why), STATUS_INVALID);
    assert_null(writer);
    npy_writer_abort(&writer); /* harmless */
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(npy_writer_open(&writer, "/nowhere/x.npy", DTYPE_UINT8, 2, open, &why),
                     STATUS_NOT_FOUND);
}

static void mapped_trouble_names_the_file(void **state)
{
    (void)state;
    struct npy npy;
    const char *path = test_path("bad.npy");
    assert_int_equal(npy_map(&npy, path, &why), STATUS_NOT_FOUND);
    assert_int_equal(file_write(path, "", 0, false, &why), STATUS_OK);
    assert_int_equal(npy_map(&npy, path, &why), STATUS_INVALID);
    assert_why(&why, STATUS_INVALID, "bad.npy: the file is cut off");
    assert_int_equal(file_write(path, "PK\3\4 and more", 13, false, &why), STATUS_OK);
    assert_int_equal(npy_map(&npy, path, &why), STATUS_INVALID);
    assert_why(&why, STATUS_INVALID, "no .npy file");
    npy_close(&npy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(headers_are_those_of_numpy),
        cmocka_unit_test(numpys_files_of_every_version_are_read),
        cmocka_unit_test(rows_are_counted_along_the_first_axis),
        cmocka_unit_test(truncation_at_every_byte_says_expected_and_got),
        cmocka_unit_test(what_cannot_be_read_is_refused_with_the_reason),
        cmocka_unit_test(wrong_magic_version_and_length_are_refused),
        cmocka_unit_test(other_spellings_of_the_header_are_understood),
        cmocka_unit_test(damaged_headers_never_leave_their_bytes),
        cmocka_unit_test(written_arrays_of_every_type_read_back),
        cmocka_unit_test(open_ended_writer_counts_its_rows),
        cmocka_unit_test(missing_and_excess_bytes_make_no_file),
        cmocka_unit_test(mapped_trouble_names_the_file),
    };
    return cmocka_run_group_tests(tests, NULL, test_scratch_end);
}
