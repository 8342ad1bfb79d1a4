/* idx: plain and compressed, every truncation, damage, seeking, byte order */
#include "testing.h"

#include "common/file.h"
#include "common/idx.h"

#include <zlib.h>

static struct error why;

/* 5 rows of 3 x 4 octets. */
#define ROWS      5
#define ROW_BYTES 12
static uint8_t images[4 + 3 * 4 + ROWS * ROW_BYTES];

static int make_images(void **state)
{
    static const uint8_t header[] = {0, 0, 8, 3, 0, 0, 0, ROWS, 0, 0, 0, 3, 0, 0, 0, 4};
    (void)state;
    memcpy(images, header, sizeof header);
    for (size_t i = sizeof header; i < sizeof images; i++)
        images[i] = (uint8_t)(i * 7);
    return 0;
}

static const uint8_t *image(uint64_t row)
{
    return images + 16 + row * ROW_BYTES;
}

/* Write bytes as they are, or compressed, and give the path. */
static const char *plain_file(const void *bytes, size_t size)
{
    const char *path = test_path("plain.idx");
    assert_int_equal(file_write(path, bytes, size, false, &why), STATUS_OK);
    return path;
}

static const char *gz_file(const void *bytes, size_t size)
{
    const char *path = test_path("images.gz");
    gzFile out = gzopen(path, "wb");
    assert_int_equal(gzwrite(out, bytes, (unsigned)size), size);
    assert_int_equal(gzclose(out), Z_OK);
    return path;
}

/* Open and read all rows, two at a time; *same gets whether they are those of `images`. */
static enum status read_rows(const char *path, bool *same)
{
    struct idx *idx;
    uint64_t rows = 0, next = 0;
    uint8_t two[2 * ROW_BYTES];
    *same = true;
    why.status = STATUS_OK;
    enum status status = idx_open(&idx, path, &why);
    if (status == STATUS_OK && idx_row_bytes(idx) != ROW_BYTES) {
        idx_close(&idx); /* damage in an axis that still fits the size */
        *same = false;
        return STATUS_OK;
    }
    while (status == STATUS_OK) {
        status = idx_read(idx, two, 2, &rows, &why);
        if (status != STATUS_OK || rows == 0)
            break;
        *same = *same && next + rows <= ROWS && !memcmp(two, image(next), rows * ROW_BYTES);
        next += rows;
    }
    *same = *same && next == ROWS;
    idx_close(&idx);
    assert_null(idx);
    return status;
}

static void plain_and_compressed_rows_are_the_same(void **state)
{
    (void)state;
    static const int64_t dims[] = {ROWS, 3, 4};
    bool same;
    for (int compressed = 0; compressed < 2; compressed++) {
        const char *path =
            compressed ? gz_file(images, sizeof images) : plain_file(images, sizeof images);
        struct idx *idx;
        assert_int_equal(idx_open(&idx, path, &why), STATUS_OK);
        assert_int_equal(idx_dtype(idx), DTYPE_UINT8);
        assert_int_equal(idx_rank(idx), 3);
        assert_memory_equal(idx_dims(idx), dims, sizeof dims);
        assert_int_equal(idx_rows(idx), ROWS);
        idx_close(&idx);
        idx_close(&idx); /* twice is harmless */
        assert_int_equal(read_rows(path, &same), STATUS_OK);
        assert_true(same);
    }
}

static void plain_truncation_at_every_byte_is_refused(void **state)
{
    (void)state;
    bool same;
    for (size_t cut = 0; cut < sizeof images; cut++) {
        assert_int_equal(read_rows(plain_file(images, cut), &same), STATUS_INVALID);
        if (cut >= 16) {
            char got[64];
            snprintf(got, sizeof got, "expected %zu bytes by its header, got %zu", sizeof images,
                     cut);
            assert_why(&why, STATUS_INVALID, got);
        }
    }
    uint8_t longer[sizeof images + 1] = {0};
    memcpy(longer, images, sizeof images);
    assert_int_equal(read_rows(plain_file(longer, sizeof longer), &same), STATUS_INVALID);
    assert_int_equal(read_rows(gz_file(longer, sizeof longer), &same), STATUS_INVALID);
    assert_why(&why, STATUS_INVALID, "bytes behind the last one");
}

static void compressed_truncation_at_every_byte_is_refused(void **state)
{
    (void)state;
    char *bytes;
    size_t size;
    bool same;
    assert_int_equal(file_read(&bytes, &size, gz_file(images, sizeof images), 4096, &why),
                     STATUS_OK);
    for (size_t cut = 0; cut < size; cut++)
        assert_int_equal(read_rows(plain_file(bytes, cut), &same), STATUS_INVALID);
    free(bytes);
    /* What is inside may be cut as well. */
    for (size_t cut = 0; cut < sizeof images; cut++)
        assert_int_equal(read_rows(gz_file(images, cut), &same), STATUS_INVALID);
    assert_why(&why, STATUS_INVALID, "truncated");
}

static void damaged_compressed_file_never_gives_wrong_rows(void **state)
{
    (void)state;
    char *bytes;
    size_t size;
    bool same;
    uint64_t seed = test_seed();
    assert_int_equal(file_read(&bytes, &size, gz_file(images, sizeof images), 4096, &why),
                     STATUS_OK);
    for (size_t at = 0; at < size; at++) {
        char kept = bytes[at];
        bytes[at] = (char)(kept ^ (1 << test_random(&seed) % 8));
        enum status status = read_rows(plain_file(bytes, size), &same);
        if (status == STATUS_OK)
            assert_true(same); /* the octets of time and system in gzip's header do not matter */
        else
            assert_int_equal(status, STATUS_INVALID);
        bytes[at] = kept;
    }
    free(bytes);
}

static void wrong_headers_are_refused_with_the_reason(void **state)
{
    (void)state;
    static const struct {
        uint8_t header[16];
        const char *part;
    } bad[] = {
        {{1, 0, 8, 1, 0, 0, 0, 1}, "no idx file"},
        {{0, 0, 7, 1, 0, 0, 0, 1}, "expected an idx type"},
        {{0, 0, 8, 0, 0, 0, 0, 1}, "expected 1 to 8 axes, got 0"},
        {{0, 0, 8, 9, 0, 0, 0, 1}, "expected 1 to 8 axes, got 9"},
        {{0, 0, 8, 3, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255}, "more bytes"},
    };
    bool same;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        for (int compressed = 0; compressed < 2; compressed++) {
            const char *path =
                compressed ? gz_file(bad[i].header, 16) : plain_file(bad[i].header, 16);
            assert_int_equal(read_rows(path, &same), STATUS_INVALID);
            assert_why(&why, STATUS_INVALID, bad[i].part);
        }
    /* 4 GiB claimed by a few compressed bytes: found before anybody makes room for a row. */
    static const uint8_t claim[] = {0, 0, 8, 2, 0, 0, 0, 1, 255, 255, 255, 255};
    assert_int_equal(read_rows(gz_file(claim, sizeof claim), &same), STATUS_INVALID);
    assert_why(&why, STATUS_INVALID, "cannot hold");
    assert_int_equal(read_rows(test_path("none"), &same), STATUS_NOT_FOUND);
    assert_int_equal(read_rows(test_path(""), &same), STATUS_INVALID);
}

static void seeking_goes_both_ways(void **state)
{
    (void)state;
    static const uint64_t order[] = {3, 0, 4, 4, 1, 2, 0};
    for (int compressed = 0; compressed < 2; compressed++) {
        struct idx *idx;
        uint64_t rows;
        uint8_t row[ROW_BYTES];
        assert_int_equal(idx_open(&idx,
                                  compressed ? gz_file(images, sizeof images)
                                             : plain_file(images, sizeof images),
                                  &why),
                         STATUS_OK);
        for (size_t i = 0; i < ARRAY_LEN(order); i++) {
            assert_int_equal(idx_seek(idx, order[i], &why), STATUS_OK);
            assert_int_equal(idx_read(idx, row, 1, &rows, &why), STATUS_OK);
            assert_int_equal(rows, 1);
            assert_memory_equal(row, image(order[i]), ROW_BYTES);
        }
        assert_int_equal(idx_seek(idx, ROWS, &why), STATUS_OK);
        assert_int_equal(idx_read(idx, row, 1, &rows, &why), STATUS_OK);
        assert_int_equal(rows, 0);
        idx_close(&idx);
    }
}

static void wide_elements_become_little_endian(void **state)
{
    (void)state;
    static const uint8_t floats[] = {0, 0, 0x0D, 1, 0, 0, 0, 2, 0x3F, 0x80, 0, 0, 0xC0, 0, 0, 0};
    static const uint8_t shorts[] = {0, 0, 0x0B, 1, 0, 0, 0, 2, 0x01, 0x02, 0xFF, 0xFE};
    struct idx *idx;
    uint64_t rows;
    float two[2];
    int16_t pair[2];
    assert_int_equal(idx_open(&idx, plain_file(floats, sizeof floats), &why), STATUS_OK);
    assert_int_equal(idx_dtype(idx), DTYPE_FP32);
    assert_int_equal(idx_read(idx, two, 9, &rows, &why), STATUS_OK);
    assert_int_equal(rows, 2);
    assert_true(two[0] == 1.0f && two[1] == -2.0f);
    idx_close(&idx);
    assert_int_equal(idx_open(&idx, plain_file(shorts, sizeof shorts), &why), STATUS_OK);
    assert_int_equal(idx_read(idx, pair, 2, &rows, &why), STATUS_OK);
    assert_int_equal(pair[0], 258);
    assert_int_equal(pair[1], -2);
    idx_close(&idx);
}

static void no_rows_are_read_as_none(void **state)
{
    (void)state;
    static const uint8_t none[] = {0, 0, 8, 2, 0, 0, 0, 0, 0, 0, 0, 4};
    struct idx *idx;
    uint64_t rows = 9;
    uint8_t row[4];
    assert_int_equal(idx_open(&idx, gz_file(none, sizeof none), &why), STATUS_OK);
    assert_int_equal(idx_rows(idx), 0);
    assert_int_equal(idx_row_bytes(idx), 4);
    assert_int_equal(idx_read(idx, row, 1, &rows, &why), STATUS_OK);
    assert_int_equal(rows, 0);
    idx_close(&idx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_and_compressed_rows_are_the_same),
        cmocka_unit_test(plain_truncation_at_every_byte_is_refused),
        cmocka_unit_test(compressed_truncation_at_every_byte_is_refused),
        cmocka_unit_test(damaged_compressed_file_never_gives_wrong_rows),
        cmocka_unit_test(wrong_headers_are_refused_with_the_reason),
        cmocka_unit_test(seeking_goes_both_ways),
        cmocka_unit_test(wide_elements_become_little_endian),
        cmocka_unit_test(no_rows_are_read_as_none),
    };
    return cmocka_run_group_tests(tests, make_images, test_scratch_end);
}
