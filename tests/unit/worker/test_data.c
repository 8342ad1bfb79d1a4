/* Data that are learnt from: idx and .npy become rows, once, and each pass has every row once.
 * SEED=n repeats a run. Texts: test_data_text.c. */
#include <fcntl.h>
#include <math.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <zlib.h>

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

/* A new part. */
static const char *make_part(const char *name)
{
    static char part[128];
    struct error why;
    snprintf(part, sizeof part, "%s/%s", folder, name);
    if (file_mkdirs(part, &why) != STATUS_OK)
        fail_msg("%s", why.text);
    return part;
}

static struct data opened(const char *part)
{
    const struct data_options none = {0};
    struct data data;
    struct error why;
    if (data_open(&data, part, &none, &why) != STATUS_OK)
        fail_msg("%s", why.text);
    return data;
}

/* --- arrays ----------------------------------------------------------------------------------- */
/* idx: two rows of 2 x 3 octets, and two 16-bit numbers, which it keeps big-endian. */
static const uint8_t inputs_idx[] = {0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 2,  0,  0,
                                     0, 3, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
static const uint8_t labels_idx[] = {0, 0, 0x0b, 1, 0, 0, 0, 2, 1, 2, 0xff, 0xfe};

static void check_arrays(const struct data *d)
{
    assert_int_equal(d->rows, 2);
    assert_true(d->inputs.dtype == DTYPE_UINT8 && d->inputs.rank == 3);
    assert_true(d->inputs.dims[0] == 2 && d->inputs.dims[1] == 2 && d->inputs.dims[2] == 3);
    assert_memory_equal(d->inputs.data, inputs_idx + 16, 12);
    assert_true(d->labels.dtype == DTYPE_INT16 && d->labels.rank == 1);
    assert_int_equal(((const int16_t *)d->labels.data)[0], 258);
    assert_int_equal(((const int16_t *)d->labels.data)[1], -2);
}

static void put_gz(const char *name, const void *bytes, unsigned size)
{
    char path[192];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    gzFile file = gzopen(path, "wb");
    assert_int_equal(gzwrite(file, bytes, size), size);
    assert_int_equal(gzclose(file), Z_OK);
}

static void arrays_are_known_by_their_contents(void **unused)
{
    const int16_t labels[] = {258, -2};
    struct error why;
    char path[192];
    (void)unused;
    const char *part = make_part("arrays");
    put_gz("arrays/inputs.anything", inputs_idx, sizeof inputs_idx);
    put("arrays/labels", labels_idx, sizeof labels_idx);
    struct data d = opened(part);
    check_arrays(&d);
    data_close(&d);
    /* .npy is mapped as it is: nothing is made of it */
    struct tensor t = {.dtype = DTYPE_INT16, .rank = 1, .dims = {2}, .bytes = sizeof labels};
    t.data = (void *)(uintptr_t)labels;
    part = make_part("npy");
    put("npy/inputs.idx", inputs_idx, sizeof inputs_idx);
    snprintf(path, sizeof path, "%s/labels.idx", part);
    assert_int_equal(npy_write(path, &t, false, &why), STATUS_OK);
    d = opened(part);
    check_arrays(&d);
    data_close(&d);
    data_close(&d); /* harmless */
    snprintf(path, sizeof path, "%s/labels.idx.rows", part);
    assert_int_equal(access(path, F_OK), -1);
}

static ino_t inode_of(const char *name)
{
    struct stat st;
    char path[192];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_int_equal(stat(path, &st), 0);
    return st.st_ino;
}

static void rows_are_made_once_and_anew_for_a_younger_source(void **unused)
{
    uint8_t other[sizeof inputs_idx];
    char path[192];
    (void)unused;
    const char *part = make_part("once");
    put("once/inputs.idx", inputs_idx, sizeof inputs_idx);
    put("once/labels.idx", labels_idx, sizeof labels_idx);
    /* what a killed process left is no source */
    put("once/inputs.idx.rows.part-0123456789abcdef", "", 0);
    put("once/labels.idx.labels.rows.part-0123456789abcdef", "", 0);
    struct data d = opened(part);
    check_arrays(&d);
    data_close(&d);
    ino_t made = inode_of("once/inputs.idx.rows"), labels = inode_of("once/labels.idx.rows");
    d = opened(part);
    data_close(&d);
    assert_true(inode_of("once/inputs.idx.rows") == made);
    memcpy(other, inputs_idx, sizeof other);
    other[16] = 200;
    put("once/inputs.idx", other, sizeof other);
    struct timespec times[2] = {{.tv_sec = time(NULL) + 60}, {.tv_sec = time(NULL) + 60}};
    snprintf(path, sizeof path, "%s/inputs.idx", part);
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
    d = opened(part);
    assert_int_equal(d.inputs.data[0], 200);
    data_close(&d);
    assert_true(inode_of("once/labels.idx.rows") == labels);
}

static void many_processes_may_make_them_at_once(void **unused)
{
    pid_t children[4];
    (void)unused;
    const char *part = make_part("race");
    put_gz("race/inputs.gz", inputs_idx, sizeof inputs_idx);
    put("race/labels", labels_idx, sizeof labels_idx);
    for (size_t i = 0; i < ARRAY_LEN(children); i++)
        if ((children[i] = fork()) == 0) {
            const struct data_options none = {0};
            struct data d;
            bool good = data_open(&d, part, &none, NULL) == STATUS_OK && d.rows == 2 &&
                        memcmp(d.inputs.data, inputs_idx + 16, 12) == 0;
            _exit(good ? 0 : 1);
        }
    for (size_t i = 0; i < ARRAY_LEN(children); i++) {
        int status = -1;
        assert_int_equal(waitpid(children[i], &status, 0), children[i]);
        assert_int_equal(status, 0);
    }
}

static void mistakes_in_arrays_are_told(void **unused)
{
    static const uint8_t three[] = {0, 0, 8, 1, 0, 0, 0, 3, 1, 2, 3};
    const struct data_options none = {0};
    struct data d;
    struct error why;
    (void)unused;
    const char *part = make_part("mistakes");
    assert_int_equal(data_open(&d, part, &none, &why), STATUS_NOT_FOUND);
    assert_why(&why, STATUS_NOT_FOUND, "mistakes: there are no inputs");
    put("mistakes/inputs.idx", inputs_idx, sizeof inputs_idx);
    data_open(&d, part, &none, &why);
    assert_why(&why, STATUS_INVALID, "there are inputs but no labels");
    put("mistakes/inputs.npy", inputs_idx, sizeof inputs_idx);
    data_open(&d, part, &none, &why);
    assert_why(&why, STATUS_INVALID, "mistakes: more than one file of inputs: inputs.");
    data_close(&d);
    char path[192];
    snprintf(path, sizeof path, "%s/inputs.npy", part);
    assert_int_equal(unlink(path), 0);
    put("mistakes/labels.idx", three, sizeof three);
    data_open(&d, part, &none, &why);
    assert_why(&why, STATUS_INVALID, "2 inputs, but 3 labels");
    assert_int_equal(d.rows, 0);
    data_close(&d);
    put("mistakes/labels.idx", "no idx at all", 13);
    struct timespec times[2] = {{.tv_sec = time(NULL) + 60}, {.tv_sec = time(NULL) + 60}};
    snprintf(path, sizeof path, "%s/labels.idx", part);
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
    data_open(&d, part, &none, &why);
    assert_why(&why, STATUS_INVALID, "labels.idx");
    data_close(&d);
}

/* --- order ------------------------------------------------------------------------------------ */
static void every_row_comes_once_in_each_pass(void **unused)
{
    static const uint64_t sizes[] = {1,  2,  3,   4,   5,    7,    8,    16,   17,    31,
                                     32, 64, 100, 127, 1000, 4096, 4097, 4099, 60000, 65536};
    (void)unused;
    for (size_t k = 0; k < ARRAY_LEN(sizes); k++) {
        uint64_t n = sizes[k], same = 0, beside = 0, before = 0;
        bool *seen = xcalloc(n, sizeof *seen);
        for (uint64_t i = 0; i < n; i++) {
            uint64_t row = data_shuffled(i, n, seed, 3);
            assert_true(row < n && !seen[row]);
            seen[row] = true;
            same += row == data_shuffled(i, n, seed, 4);
            beside += row == before + 1;
            before = row;
        }
        if (n >= 1000) /* another order in the next pass, and none that neighbours keep; 1 each */
            assert_true(same < 20 && beside < 20);
        free(seen);
    }
    for (uint64_t i = 0; i < 1000; i++) {
        uint64_t huge = UINT64_MAX - i;
        assert_true(data_shuffled(huge - 1, huge, seed, i) < huge);
    }
}

/* Where one row comes in many passes, by chi square: 20 standard deviations are never exceeded. */
static void a_row_may_come_anywhere(void **unused)
{
    static const uint64_t sizes[] = {2, 3, 10, 64, 100};
    (void)unused;
    for (size_t k = 0; k < ARRAY_LEN(sizes); k++)
        for (uint64_t i = 0; i < sizes[k]; i += sizes[k] / 2) {
            uint64_t n = sizes[k], passes = 200 * n, counts[100] = {0};
            double sum = 0, free_ones = (double)n - 1;
            for (uint64_t pass = 0; pass < passes; pass++)
                counts[data_shuffled(i, n, seed, pass)]++;
            for (uint64_t row = 0; row < n; row++)
                sum += ((double)counts[row] - 200) * ((double)counts[row] - 200) / 200;
            if (sum > free_ones + 20 * sqrt(2 * free_ones))
                fail_msg("row %" PRIu64 " of %" PRIu64 ": chi square %g", i, n, sum);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arrays_are_known_by_their_contents),
        cmocka_unit_test(rows_are_made_once_and_anew_for_a_younger_source),
        cmocka_unit_test(many_processes_may_make_them_at_once),
        cmocka_unit_test(mistakes_in_arrays_are_told),
        cmocka_unit_test(every_row_comes_once_in_each_pass),
        cmocka_unit_test(a_row_may_come_anywhere),
    };
    seed = test_seed();
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
