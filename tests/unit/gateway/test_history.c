/* history and curve: what is committed is read, whatever follows it; the picture shows all of it */
#include "tests/unit/common/testing.h"

#include "common/file.h"
#include "gateway/training/curve.h"

#include <math.h>
#include <unistd.h>

static void append(const char *path, int64_t *bytes, const char *text)
{
    struct error why;
    json_t *report = json_loads(text, 0, NULL);
    assert_non_null(report);
    assert_int_equal(history_append(path, bytes, report, &why), STATUS_OK);
    json_decref(report);
}

static const char first[] =
    "{\"step\":2,\"steps\":8,\"epochs\":2,\"points\":[[1,2.0,0.1],[2,1.5]]}";
static const char second[] = "{\"step\":4,\"steps\":8,\"epochs\":2,\"points\":[[4,1.0,0.5]],"
                             "\"epoch_end\":{\"epoch\":1,\"loss\":1.25,\"accuracy\":0.4,"
                             "\"validation_loss\":1.125}}";

static void a_line_that_was_not_committed_is_written_over(void **state)
{
    struct error why;
    struct history history;
    int64_t bytes = 0, one, torn;
    char *path = xstrdup(test_path("history.jsonl"));
    (void)state;
    unlink(path);
    append(path, &bytes, first);
    torn = one = bytes;
    append(path, &torn,
           "{\"step\":3,\"points\":[[3,9,9],[3,9,9],[3,9,9],[3,9,9],[3,9,9],[3,9,9],"
           "[3,9,9],[3,9,9],[3,9,9],[3,9,9],[3,9,9],[3,9,9],[3,9,9],[3,9,9],[3,9,9]]}");
    append(path, &bytes, second);
    assert_int_equal(history_read(&history, path, bytes, &why), STATUS_OK);
    assert_int_equal(history.points_len, 3);
    assert_int_equal(history.epochs_len, 1);
    assert_int_equal(history.validations_len, 1);
    assert_true(history.points[2].step == 4 && history.points[2].loss == 1.0);
    assert_true(isnan(history.points[1].accuracy));
    assert_true(history.steps == 8 && history.epochs_all == 2);
    assert_true(history.validations[0].loss == 1.125 && isnan(history.validations[0].accuracy));
    history_free(&history);

    /* Nothing but what is committed is looked at. */
    assert_int_equal(history_read(&history, path, one, &why), STATUS_OK);
    assert_int_equal(history.points_len, 2);
    history_free(&history);
    free(path);
}

static void no_history_is_an_empty_picture(void **state)
{
    struct error why;
    struct history history;
    struct curve_text text = {0};
    (void)state;
    assert_int_equal(history_read(&history, test_path("nobody"), 0, &why), STATUS_OK);
    curve_text_set(&text, "%s/%d", "toy", 1);
    char *svg = curve_svg(&history, &text);
    assert_non_null(strstr(svg, "nothing has been measured yet"));
    assert_non_null(strstr(svg, "toy/1"));
    free(svg);
}

static size_t count_of(const char *text, const char *word)
{
    size_t n = 0;
    for (; (text = strstr(text, word)); text += strlen(word))
        n++;
    return n;
}

static void the_picture_has_two_diagrams_and_a_bounded_number_of_points(void **state)
{
    struct history history = {.steps = 5000, .epochs_all = 5};
    struct history_point ends[] = {{1000, 1.5, NAN}, {2000, 1.0, NAN}};
    struct curve_text text = {0};
    (void)state;
    history.points_len = 5000;
    history.points = xcalloc(history.points_len, sizeof *history.points);
    for (size_t i = 0; i < history.points_len; i++)
        history.points[i] = (struct history_point){(double)i, i == 7 ? INFINITY : 2, 0.5};
    history.validations = ends;
    history.validations_len = 2;
    curve_text_set(&text, "toy");
    char *svg = curve_svg(&history, &text);
    assert_int_equal(count_of(svg, ">loss</text>"), 1);
    assert_int_equal(count_of(svg, ">accuracy</text>"), 1);
    assert_int_equal(count_of(svg, "<circle"),
                     2); /* of the loss; there is no validation accuracy */
    assert_true(count_of(svg, "L") < 2 * 700);
    assert_null(strstr(svg, "nan"));
    assert_null(strstr(svg, "inf"));
    free(svg);
    free(history.points);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_that_was_not_committed_is_written_over),
        cmocka_unit_test(no_history_is_an_empty_picture),
        cmocka_unit_test(the_picture_has_two_diagrams_and_a_bounded_number_of_points),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
