/* log: fields, quoting, cutting, repetition */
#include "testing.h"

#include "common/log.h"

#include <fcntl.h>
#include <sys/stat.h>

static void every_conversion_prints_as_printf_does(void **state)
{
    (void)state;
    char ours[512], theirs[512];
#define SAME(...)                                                                                  \
    do {                                                                                           \
        log_fields(ours, sizeof ours, __VA_ARGS__);                                                \
        snprintf(theirs, sizeof theirs, __VA_ARGS__);                                              \
        assert_string_equal(ours, theirs);                                                         \
    } while (0)
    SAME("a=%d b=%i c=%u", -5, 7, 4000000000u);
    SAME("a=%ld b=%lld c=%zd d=%jd", -5L, INT64_MIN + 0LL, (ssize_t)-9, (intmax_t)3);
    SAME("a=%lu b=%llu c=%zu d=%ju", 5UL, UINT64_MAX + 0ULL, (size_t)9, UINTMAX_MAX);
    SAME("a=%" PRIu64 " b=%" PRId64 " c=%" PRIu32, UINT64_MAX, INT64_MIN, UINT32_MAX);
    SAME("a=%hhu b=%hd c=%08x d=%X e=%#x", (uint8_t)200, (short)-3, 0xBEEFu, 0xBEEFu, 1u);
    SAME("a=%.3f b=%g c=%e d=%.*f", 3.14159, 0.1, 1e30, 2, 2.5);
    SAME("a=%c b=%5u c=%-5u|", 'x', 42u, 42u);
    SAME("a=%s b=%.3s c=%.*s d=100%%", "plain", "abcdef", 2, "xyz");
    SAME("a=%p", (void *)ours);
#undef SAME
}

static void peers_text_cannot_forge_fields_or_lines(void **state)
{
    (void)state;
    char text[256];
    log_fields(text, sizeof text, "model=%s n=%u", "a level=error\nevent=x", 1u);
    assert_string_equal(text, "model=\"a level=error\\nevent=x\" n=1");
    log_fields(text, sizeof text, "model=%s", "say \"hi\" \\ \x1b[2J\x7f");
    assert_string_equal(text, "model=\"say \\\"hi\\\" \\\\ \\x1b[2J\\x7f\"");
    const char *volatile nothing = NULL; /* hidden from the compiler, which would refuse it */
    log_fields(text, sizeof text, "a=%s b=%s", "", nothing);
    assert_string_equal(text, "a=\"\" b=(null)");
    log_fields(text, sizeof text, "a=%s", "caf\xc3\xa9");
    assert_string_equal(text, "a=caf\xc3\xa9");
}

static void long_text_is_cut_and_ended(void **state)
{
    (void)state;
    char text[12];
    assert_int_equal(log_fields(text, sizeof text, "a=%s", "0123456789abcdef"), 11);
    assert_string_equal(text, "a=012345678");
}

/* What `say` writes to stderr, into a static buffer. */
static char *captured(void (*say)(void))
{
    static char text[4 * LOG_LINE_MAX];
    int pipes[2], old = dup(STDERR_FILENO);
    assert_int_equal(pipe2(pipes, O_NONBLOCK), 0);
    dup2(pipes[1], STDERR_FILENO);
    say();
    dup2(old, STDERR_FILENO);
    close(old);
    close(pipes[1]);
    ssize_t got = read(pipes[0], text, sizeof text - 1);
    close(pipes[0]);
    text[MAX(got, 0)] = '\0';
    return text;
}

static void say_levels(void)
{
    log_start("tester", LOG_LEVEL_INFO);
    LOG_DEBUG("hidden", "a=%d", 1);
    LOG_INFO("shown");
    LOG_INFO("shown", "a=%d", 2);
}

static void line_has_time_level_role_event_and_fields(void **state)
{
    (void)state;
    char *text = captured(say_levels);
    char *second = strchr(text, '\n');
    assert_non_null(second);
    *second++ = '\0';
    assert_memory_equal(text, "time=2", 6);
    assert_string_equal(strstr(text, " level"), " level=info role=tester event=shown");
    assert_string_equal(strstr(second, " level"), " level=info role=tester event=shown a=2\n");
    assert_null(strstr(text, "hidden"));
}

static void say_repeats(void)
{
    for (int i = 0; i < 5; i++)
        LOG_WARN("full", "queue=%s", "a");
    LOG_WARN("full", "queue=%s", "b");
    for (int i = 0; i < 3; i++)
        LOG_INFO("turn", "queue=%s", "a");
    log_flush();
}

static void say_to_the_journal(void)
{
    char stream[64];
    struct stat info;
    fstat(STDERR_FILENO, &info);
    snprintf(stream, sizeof stream, "%ju:%ju", (uintmax_t)info.st_dev, (uintmax_t)info.st_ino);
    setenv("JOURNAL_STREAM", stream, 1);
    log_start("tester", LOG_LEVEL_INFO);
    LOG_ERROR("bad");
    setenv("JOURNAL_STREAM", "1:1", 1); /* inherited, but stderr is something else now */
    log_start("tester", LOG_LEVEL_INFO);
    LOG_INFO("good");
    unsetenv("JOURNAL_STREAM");
}

static void priority_stands_in_front_only_in_the_journal(void **state)
{
    (void)state;
    char *text = captured(say_to_the_journal);
    assert_memory_equal(text, "<3>time=", 8);
    assert_memory_equal(strchr(text, '\n') + 1, "time=", 5);
}

static int times(const char *text, const char *part)
{
    int n = 0;
    for (; (text = strstr(text, part)); text++)
        n++;
    return n;
}

static void same_warning_is_counted_and_written_once(void **state)
{
    (void)state;
    char *text = captured(say_repeats);
    assert_int_equal(times(text, "event=full queue=a"), 1);
    assert_int_equal(times(text, "event=full queue=b"), 1);
    assert_int_equal(times(text, "event=turn queue=a"), 3); /* information is never held back */
    assert_int_equal(times(text, "event=repeated what=full times=4\n"), 1);
    assert_int_equal(times(text, "\n"), 6);
}

static void say_many(void)
{
    for (int i = 0; i < 40; i++) /* more than are remembered */
        LOG_WARN("odd", "n=%d", i);
    char big[2 * LOG_LINE_MAX];
    memset(big, 'x', sizeof big);
    big[sizeof big - 1] = '\0';
    LOG_ERROR("big", "text=%s", big);
    log_flush();
}

static void different_warnings_are_all_written_and_lines_are_bounded(void **state)
{
    (void)state;
    char *text = captured(say_many);
    assert_int_equal(times(text, "event=odd"), 40);
    char *last = strstr(text, "event=big");
    assert_non_null(last);
    assert_true(strlen(last) < LOG_LINE_MAX);
    assert_int_equal(last[strlen(last) - 1], '\n');
}

static void levels_have_names(void **state)
{
    (void)state;
    enum log_level level = LOG_LEVEL_INFO;
    assert_true(log_level_parse(&level, "debug"));
    assert_int_equal(level, LOG_LEVEL_DEBUG);
    assert_false(log_level_parse(&level, "loud"));
    assert_int_equal(level, LOG_LEVEL_DEBUG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_conversion_prints_as_printf_does),
        cmocka_unit_test(peers_text_cannot_forge_fields_or_lines),
        cmocka_unit_test(long_text_is_cut_and_ended),
        cmocka_unit_test(line_has_time_level_role_event_and_fields),
        cmocka_unit_test(priority_stands_in_front_only_in_the_journal),
        cmocka_unit_test(same_warning_is_counted_and_written_once),
        cmocka_unit_test(different_warnings_are_all_written_and_lines_are_bounded),
        cmocka_unit_test(levels_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
