/* file: whole, replaced, mapped, missing */
#include "testing.h"

#include "common/file.h"

#include <fcntl.h>
#include <sys/stat.h>

static void written_file_reads_back_whole(void **state)
{
    (void)state;
    struct error why;
    char *bytes;
    size_t size;
    for (int sync = 0; sync < 2; sync++) {
        assert_int_equal(file_write(test_path("a"), "one\0two", 7, sync, &why), STATUS_OK);
        assert_int_equal(file_read(&bytes, &size, test_path("a"), 7, &why), STATUS_OK);
        assert_int_equal(size, 7);
        assert_memory_equal(bytes, "one\0two", 8); /* NUL at the end */
        free(bytes);
    }
    size = 9;
    assert_int_equal(file_write(test_path("empty"), "", 0, false, &why), STATUS_OK);
    assert_int_equal(file_read(&bytes, &size, test_path("empty"), 0, &why), STATUS_OK);
    assert_int_equal(size, 0);
    free(bytes);
}

static void secret_is_for_its_owner_alone(void **state)
{
    (void)state;
    struct error why;
    struct stat info;
    assert_int_equal(file_write(test_path("secret"), "old", 3, false, &why), STATUS_OK);
    assert_int_equal(file_write_private(test_path("secret"), "new", 3, &why), STATUS_OK);
    assert_int_equal(stat(test_path("secret"), &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
}

static void long_file_is_read_whole_and_bound_is_exact(void **state)
{
    (void)state;
    struct error why;
    char *bytes, *out = xcalloc(100000, 1);
    size_t size;
    out[99999] = 'z';
    assert_int_equal(file_write(test_path("long"), out, 100000, false, &why), STATUS_OK);
    assert_int_equal(file_read(&bytes, &size, test_path("long"), 100000, &why), STATUS_OK);
    assert_int_equal(size, 100000);
    assert_memory_equal(bytes, out, size);
    free(bytes);
    assert_int_equal(file_read(&bytes, &size, test_path("long"), 99999, &why), STATUS_TOO_LARGE);
    assert_why(&why, STATUS_TOO_LARGE, "99999");
    assert_int_equal(file_read(&bytes, &size, test_path("long"), SIZE_MAX, &why), STATUS_OK);
    assert_int_equal(size, 100000);
    free(bytes);
    free(out);
}

static void missing_file_is_not_found_and_named(void **state)
{
    (void)state;
    struct error why;
    struct file_map map;
    char *bytes;
    size_t size;
    assert_int_equal(file_read(&bytes, &size, test_path("none"), 10, &why), STATUS_NOT_FOUND);
    assert_why(&why, STATUS_NOT_FOUND, test_path("none"));
    assert_int_equal(file_map(&map, test_path("none"), &why), STATUS_NOT_FOUND);
    assert_int_equal(file_map(&map, test_path(""), &why), STATUS_INVALID); /* a folder */
    file_unmap(&map);
    assert_int_equal(file_write(test_path("none/x"), "", 0, false, &why), STATUS_NOT_FOUND);
}

static void draft_leaves_the_old_file_until_commit(void **state)
{
    (void)state;
    struct error why;
    struct file_draft draft;
    char *bytes;
    size_t size;
    const char *path = test_path("draft");
    assert_int_equal(file_write(path, "old", 3, false, &why), STATUS_OK);
    assert_int_equal(file_draft_open(&draft, path, &why), STATUS_OK);
    assert_int_equal(file_pwrite_all(draft.fd, "new!", 4, 0, path, &why), STATUS_OK);
    char *temp = xstrdup(draft.temp);
    assert_int_equal(file_read(&bytes, &size, path, 10, &why), STATUS_OK);
    assert_string_equal(bytes, "old");
    free(bytes);
    assert_int_equal(file_draft_commit(&draft, true, &why), STATUS_OK);
    assert_int_equal(file_read(&bytes, &size, path, 10, &why), STATUS_OK);
    assert_string_equal(bytes, "new!");
    free(bytes);
    file_draft_abort(&draft); /* harmless */
    assert_int_equal(file_draft_open(&draft, path, &why), STATUS_OK);
    free(temp);
    temp = xstrdup(draft.temp);
    file_draft_abort(&draft);
    file_draft_abort(&draft);
    assert_int_equal(access(temp, F_OK), -1);
    assert_int_equal(access(path, F_OK), 0);
    free(temp);
}

static void folders_are_made_with_their_parents(void **state)
{
    (void)state;
    struct error why;
    const char *deep = test_path("x//y/z/");
    assert_int_equal(file_mkdirs(deep, &why), STATUS_OK);
    assert_int_equal(file_mkdirs(deep, &why), STATUS_OK);
    assert_int_equal(access(test_path("x/y/z"), F_OK), 0);
    assert_int_equal(file_mkdirs("/", &why), STATUS_OK);
    assert_int_equal(file_write(test_path("plain"), "", 0, false, &why), STATUS_OK);
    assert_int_equal(file_mkdirs(test_path("plain"), &why), STATUS_IO);
    assert_why(&why, STATUS_IO, "no folder");
    assert_int_equal(file_mkdirs(test_path("plain/below"), &why), STATUS_IO);
}

static void short_file_says_expected_and_got(void **state)
{
    (void)state;
    struct error why;
    char into[8];
    assert_int_equal(file_write(test_path("five"), "12345", 5, false, &why), STATUS_OK);
    int fd = open(test_path("five"), O_RDONLY);
    assert_int_equal(file_pread_all(fd, into, 3, 2, "five", &why), STATUS_OK);
    assert_memory_equal(into, "345", 3);
    assert_int_equal(file_pread_all(fd, into, 4, 2, "five", &why), STATUS_IO);
    assert_why(&why, STATUS_IO, "expected 4 bytes at 2, got 3");
    close(fd);
}

static void map_shows_the_bytes_and_closes_twice(void **state)
{
    (void)state;
    struct error why;
    struct file_map map;
    assert_int_equal(file_write(test_path("map"), "abc", 3, false, &why), STATUS_OK);
    assert_int_equal(file_map(&map, test_path("map"), &why), STATUS_OK);
    assert_int_equal(map.size, 3);
    assert_memory_equal(map.bytes, "abc", 3);
    file_unmap(&map);
    file_unmap(&map);
    assert_int_equal(file_write(test_path("map"), "", 0, false, &why), STATUS_OK);
    assert_int_equal(file_map(&map, test_path("map"), &why), STATUS_OK);
    assert_null(map.bytes);
    file_unmap(&map);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(written_file_reads_back_whole),
        cmocka_unit_test(secret_is_for_its_owner_alone),
        cmocka_unit_test(long_file_is_read_whole_and_bound_is_exact),
        cmocka_unit_test(missing_file_is_not_found_and_named),
        cmocka_unit_test(draft_leaves_the_old_file_until_commit),
        cmocka_unit_test(folders_are_made_with_their_parents),
        cmocka_unit_test(short_file_says_expected_and_got),
        cmocka_unit_test(map_shows_the_bytes_and_closes_twice),
    };
    return cmocka_run_group_tests(tests, NULL, test_scratch_end);
}
