/* params: where values come from, which win, and what is refused with which words */
#include "testing.h"

#include "common/file.h"
#include "common/params.h"

struct test_params {
#define PARAM PARAM_FIELD
#include "test_params.def"
#undef PARAM
};

#define PARAMS_STRUCT struct test_params
static const struct param rows[] = {
#define PARAM PARAM_ROW
#include "test_params.def"
#undef PARAM
};
#undef PARAMS_STRUCT

static struct test_params values;
static const struct param_group group[] = {{"Test", rows, ARRAY_LEN(rows), &values}};
static struct error why;
static enum params_wish wish;

/* Load with these arguments, the last of which is NULL. */
static enum status load(char *first, ...)
{
    char *argv[16] = {"program"};
    int argc = 1;
    va_list more;
    va_start(more, first);
    for (char *word = first; word; word = va_arg(more, char *))
        argv[argc++] = word;
    va_end(more);
    return params_load(group, 1, argc, argv, &wish, &why);
}

static int clean(void **state)
{
    (void)state;
    params_free(group, 1);
    params_free(group, 1); /* twice is harmless */
    unsetenv("CONVOY_CONFIG");
    unsetenv("CONVOY_LEASE_MS");
    unsetenv("CONVOY_LABEL");
    return 0;
}

static char *config_file(const char *text)
{
    const char *path = test_path("test.conf");
    assert_int_equal(file_write(path, text, strlen(text), false, &why), STATUS_OK);
    return (char *)(uintptr_t)path;
}

static void defaults_hold_without_arguments(void **state)
{
    (void)state;
    assert_int_equal(load(NULL), STATUS_OK);
    assert_int_equal(wish, PARAMS_RUN);
    assert_int_equal(values.queue_jobs_max, 1024);
    assert_int_equal(values.lease_ms, 5000);
    assert_int_equal(values.cache_max, 64 * MIB);
    assert_false(values.verbose);
    assert_true(values.colour);
    assert_string_equal(values.label, "none");
    assert_string_equal(values.store, "/var/lib/x");
}

static void options_are_read_in_every_spelling(void **state)
{
    (void)state;
    assert_int_equal(load("--queue-jobs-max", "7", "--lease-ms=10s", "--cache_max=4KiB",
                          "--verbose", "--no-colour", "--label=", "--big=18446744073709551615",
                          NULL),
                     STATUS_OK);
    assert_int_equal(values.queue_jobs_max, 7);
    assert_int_equal(values.lease_ms, 10000);
    assert_int_equal(values.cache_max, 4096);
    assert_true(values.verbose);
    assert_false(values.colour);
    assert_string_equal(values.label, "");
    assert_true(values.big == UINT64_MAX);
    assert_int_equal(load("--label", "a", "--label", "b", "--verbose=off", NULL), STATUS_OK);
    assert_string_equal(values.label, "b"); /* the last one wins */
    assert_false(values.verbose);
}

static void secrets_are_struck_out_of_the_command_line(void **state)
{
    (void)state;
    char behind[] = "cvt1_one", joined[] = "--token=cvt1_two";
    assert_int_equal(load("--token", behind, "--label", "kept", NULL), STATUS_OK);
    assert_string_equal(values.token, "cvt1_one");
    assert_string_equal(behind, "********");
    assert_int_equal(load(joined, NULL), STATUS_OK);
    assert_string_equal(values.token, "cvt1_two");
    assert_string_equal(joined, "--token=********");
}

static void units_of_time_and_size_are_understood(void **state)
{
    (void)state;
    static const struct {
        char *text;
        uint32_t ms;
    } times[] = {{"250ms", 250}, {"2s", 2000}, {"5m", 300000}, {"1h", 3600000}, {"123", 123}};
    static const struct {
        char *text;
        uint64_t bytes;
    } sizes[] = {{"4096", 4096}, {"5000B", 5000}, {"64KiB", 65536}, {"2GiB", 2048 * MIB}};
    for (size_t i = 0; i < ARRAY_LEN(times); i++) {
        assert_int_equal(load("--lease-ms", times[i].text, NULL), STATUS_OK);
        assert_int_equal(values.lease_ms, times[i].ms);
    }
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        assert_int_equal(load("--cache-max", sizes[i].text, NULL), STATUS_OK);
        assert_int_equal(values.cache_max, sizes[i].bytes);
    }
}

static void wrong_options_are_refused_and_named(void **state)
{
    (void)state;
    static const struct {
        char *option, *value;
        const char *part;
    } bad[] = {
        {"--queue-jobs-max", "0", "expected 1 to 1048576 jobs, got 0"},
        {"--queue-jobs-max", "1048577", "option --queue-jobs-max: queue_jobs_max: expected"},
        {"--queue-jobs-max", "-1", "expected a number, got '-1'"},
        {"--queue-jobs-max", "", "expected a number, got ''"},
        {"--queue-jobs-max", " 5", "expected a number"},
        {"--queue-jobs-max", "5 ", "expected a number"},
        {"--queue-jobs-max", "0x10", "expected a number"},
        {"--queue-jobs-max", "5KiB", "expected a number"},
        {"--big", "18446744073709551616", "expected a number"},
        {"--lease-ms", "50ms", "expected 100ms to 1h, got 50ms"},
        {"--lease-ms", "10 s", "expected a time like 250ms"},
        {"--lease-ms", "99999999999999999999s", "expected a time"},
        {"--lease-ms", "5124095576030432h", "expected a time"}, /* passes 2^64 in ms */
        {"--cache-max", "1.5MiB", "expected a size like"},
        {"--label", "123456789", "expected a text of 0 to 8 bytes, got 9"},
        {"--label", "a\nb", "control characters"},
        {"--store", "", "expected a path of 1 to 4096 bytes, got 0"},
        {"--nope", "1", "option --nope: unknown option"},
        {"--no-label", NULL, "unknown option"},
        {"--no-colour=true", NULL, "unknown option"},
        {"--verbose=maybe", NULL, "expected true or false, got 'maybe'"},
        {"--label", NULL, "option --label: a value must follow"},
        {"--config", NULL, "option --config: a file name must follow"},
        {"stray", NULL, "argument 'stray': expected an option"},
        {"--", NULL, "argument '--'"},
        {"-x", NULL, "argument '-x'"},
        {"--verbose", "yes", "argument 'yes'"},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_int_equal(load(bad[i].option, bad[i].value, NULL), STATUS_INVALID);
        assert_why(&why, STATUS_INVALID, bad[i].part);
    }
}

static void file_then_environment_then_option_win(void **state)
{
    (void)state;
    char *path = config_file("# a comment\n"
                             "\n"
                             "lease_ms = 1s\r\n"
                             "  label=\"a # b\"   # quoted\n"
                             "queue-jobs-max = 9 # hyphens are fine\n"
                             "store = /a#b\n"
                             "verbose = yes");
    assert_int_equal(load("--config", path, NULL), STATUS_OK);
    assert_int_equal(values.lease_ms, 1000);
    assert_string_equal(values.label, "a # b");
    assert_string_equal(values.store, "/a#b");
    assert_int_equal(values.queue_jobs_max, 9);
    assert_true(values.verbose);
    setenv("CONVOY_CONFIG", path, 1);
    setenv("CONVOY_LEASE_MS", "2s", 1);
    setenv("CONVOY_LABEL", "env", 1);
    assert_int_equal(load("--label=option", NULL), STATUS_OK);
    assert_int_equal(values.lease_ms, 2000);
    assert_string_equal(values.label, "option");
    assert_int_equal(values.queue_jobs_max, 9);
    setenv("CONVOY_LEASE_MS", "soon", 1);
    assert_int_equal(load(NULL), STATUS_INVALID);
    assert_why(&why, STATUS_INVALID, "environment variable CONVOY_LEASE_MS: lease_ms: expected");
}

static void wrong_file_lines_are_refused_with_their_number(void **state)
{
    (void)state;
    static const struct {
        const char *text, *part;
    } bad[] = {
        {"lease_ms = 1s\nnope = 1\n", "test.conf:2: unknown parameter 'nope'"},
        {"\n\nlease_ms = 1\n", "test.conf:3: lease_ms: expected 100ms to 1h, got 1"},
        {"lease_ms\n", "test.conf:1: expected 'name = value', got 'lease_ms'"},
        {"lease_ms =\n", "test.conf:1: lease_ms: expected a time like"},
        {"= 5\n", "test.conf:1: unknown parameter ''"},
        {"label = \"open\n", "test.conf:1: the quotes are not closed"},
        {"label = \"a\" b\n", "test.conf:1: expected nothing behind the quotes, got 'b'"},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_int_equal(load("--config", config_file(bad[i].text), NULL), STATUS_INVALID);
        assert_why(&why, STATUS_INVALID, bad[i].part);
    }
    assert_int_equal(load("--config=/nowhere/x", NULL), STATUS_INVALID);
    assert_why(&why, STATUS_INVALID, "/nowhere/x: cannot open");
    assert_int_equal(file_write(test_path("nul.conf"), "a\0b", 3, false, &why), STATUS_OK);
    assert_int_equal(load("--config", test_path("nul.conf"), NULL), STATUS_INVALID);
    assert_why(&why, STATUS_INVALID, "NUL");
}

static void wishes_are_told(void **state)
{
    (void)state;
    assert_int_equal(load("--help", NULL), STATUS_OK);
    assert_int_equal(wish, PARAMS_HELP);
    assert_int_equal(load("-h", NULL), STATUS_OK);
    assert_int_equal(wish, PARAMS_HELP);
    assert_int_equal(load("--version", NULL), STATUS_OK);
    assert_int_equal(wish, PARAMS_VERSION);
    assert_int_equal(load("--lease-ms=1s", "--print-config", NULL), STATUS_OK);
    assert_int_equal(wish, PARAMS_PRINT_CONFIG);
    assert_int_equal(values.lease_ms, 1000);
}

static char *printed(bool help)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    if (help)
        params_print_help(out, "convoy-test", "Tests.", group, 1);
    else
        params_print_config(out, group, 1);
    fclose(out);
    return text;
}

static void printed_file_reads_back_to_the_same_values(void **state)
{
    (void)state;
    assert_int_equal(
        load("--label=a # b", "--lease-ms=90s", "--big=0", "--verbose", "--cache-max=5000", NULL),
        STATUS_OK);
    char *text = printed(false);
    char *path = config_file(text);
    params_free(group, 1);
    assert_int_equal(params_load_file(group, 1, path, &why), STATUS_OK);
    assert_string_equal(values.label, "a # b");
    assert_int_equal(values.lease_ms, 90000);
    assert_int_equal(values.cache_max, 5000);
    assert_true(values.verbose);
    char *again = printed(false);
    assert_string_equal(text, again);
    assert_non_null(strstr(text, "\n# Jobs waiting per model before BUSY.\n"
                                 "# (default 1024 jobs, from 1 to 1048576)\n"
                                 "#queue_jobs_max = 1024\n"));
    assert_non_null(strstr(text, "\nlabel = \"a # b\"\n"));
    assert_non_null(strstr(text, "\nlease_ms = 90s\n"));
    free(text);
    free(again);
}

static void manual_names_every_parameter_with_default_and_limits(void **state)
{
    (void)state;
    char *text = printed(true);
    for (char *line = text, *end; (end = strchr(line, '\n')); line = end + 1)
        assert_in_range(end - line, 0, 80);
    for (char *c = text; *c; c++)
        if (strncmp(c, "\n        ", 9) == 0)
            memmove(c, c + 8, strlen(c + 8) + 1); /* long ones take several lines */
    assert_non_null(strstr(text, "  --queue-jobs-max N Jobs waiting per model before BUSY. "
                                 "(default 1024 jobs, from 1 to 1048576)\n"));
    assert_non_null(strstr(text, "  --cache-max SIZE "));
    assert_non_null(strstr(text, "(default 64MiB, from 4KiB to 16GiB)"));
    assert_non_null(strstr(text, "  --[no-]colour In colour. (default true)\n"));
    assert_non_null(strstr(text, "(default 5s, from 100ms to 1h)"));
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_non_null(strstr(text, rows[i].help));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(defaults_hold_without_arguments, clean),
        cmocka_unit_test_teardown(options_are_read_in_every_spelling, clean),
        cmocka_unit_test_teardown(secrets_are_struck_out_of_the_command_line, clean),
        cmocka_unit_test_teardown(units_of_time_and_size_are_understood, clean),
        cmocka_unit_test_teardown(wrong_options_are_refused_and_named, clean),
        cmocka_unit_test_teardown(file_then_environment_then_option_win, clean),
        cmocka_unit_test_teardown(wrong_file_lines_are_refused_with_their_number, clean),
        cmocka_unit_test_teardown(wishes_are_told, clean),
        cmocka_unit_test_teardown(printed_file_reads_back_to_the_same_values, clean),
        cmocka_unit_test_teardown(manual_names_every_parameter_with_default_and_limits, clean),
    };
    return cmocka_run_group_tests(tests, NULL, test_scratch_end);
}
