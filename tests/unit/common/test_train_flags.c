/* The options that `convoy train` and `convoy-run train` share: what JSON they become. */
#include <unistd.h>

#include "common/file.h"
#include "common/train_flags.h"
#include "tests/unit/common/testing.h"

static error_t parse(int key, char *text, struct argp_state *state)
{
    (void)text;
    if (key != ARGP_KEY_INIT)
        return ARGP_ERR_UNKNOWN;
    state->child_inputs[0] = state->input;
    return 0;
}

/* Words, apart by blanks, behind the program's name; `file` is what SETTINGS says. */
static void check(const char *words, const char *file, const char *expected)
{
    static const struct argp_child children[] = {{&train_flags_argp, 0, NULL, 0}, {0}};
    static const struct argp argp = {.parser = parse, .children = children};
    char name[] = "/tmp/convoy-flags-XXXXXX", program[] = "test", *argv[32] = {program};
    int argc = 1, fd = mkstemp(name);
    struct error why;
    assert_true(fd >= 0);
    close(fd);
    if (file)
        assert_int_equal(file_write(name, file, strlen(file), false, &why), STATUS_OK);
    char *copy = xstrdup(words), *rest = copy;
    for (char *word; (word = strsep(&rest, " "));)
        if (*word)
            argv[argc++] = strcmp(word, "SETTINGS") == 0 ? name : word;
    struct train_flags flags = {.settings = json_object()};
    assert_int_equal(argp_parse(&argp, argc, argv, ARGP_NO_EXIT, NULL, &flags), 0);
    char *got = json_dumps(flags.settings, JSON_COMPACT | JSON_SORT_KEYS);
    assert_string_equal(got, expected);
    free(got);
    free(copy);
    json_decref(flags.settings);
    unlink(name);
}

static void options_become_settings(void **state)
{
    (void)state;
    check("", NULL, "{}");
    check("--epochs 5 -b 64 --no-shuffle --loss mse", NULL,
          "{\"batch\":64,\"epochs\":5,\"loss\":\"mse\",\"shuffle\":false}");
    check("--optimizer sgd --momentum 0.5", NULL,
          "{\"optimizer\":{\"momentum\":0.5,\"type\":\"sgd\"}}");
    check("--freeze conv2d --freeze dense", NULL, "{\"frozen\":[\"conv2d\",\"dense\"]}");
}

static void options_win_over_the_file_wherever_they_stand(void **state)
{
    static const char file[] = "{\"epochs\": 9, \"batch\": 8, \"optimizer\": {\"type\": \"sgd\", "
                               "\"momentum\": 0.5}, \"frozen\": [\"a\"]}";
    static const char both[] = "{\"batch\":8,\"epochs\":2,\"frozen\":[\"b\"],\"optimizer\":{"
                               "\"learning_rate\":0.5,\"momentum\":0.5,\"type\":\"sgd\"}}";
    (void)state;
    check("--epochs 2 --learning-rate 0.5 --freeze b --settings SETTINGS", file, both);
    check("--settings SETTINGS --freeze b --learning-rate 0.5 --epochs 2", file, both);
    check("--learning-rate 0.5 --settings SETTINGS", "{\"optimizer\": \"rmsprop\"}",
          "{\"optimizer\":{\"learning_rate\":0.5,\"type\":\"rmsprop\"}}");
}

static void patience_watches_the_validation_loss_unless_told(void **state)
{
    (void)state;
    check("--patience 3", NULL,
          "{\"early_stopping\":{\"monitor\":\"validation_loss\",\"patience\":3}}");
    check("--patience 3 --settings SETTINGS", "{\"early_stopping\": {\"monitor\": \"accuracy\"}}",
          "{\"early_stopping\":{\"monitor\":\"accuracy\",\"patience\":3}}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_become_settings),
        cmocka_unit_test(options_win_over_the_file_wherever_they_stand),
        cmocka_unit_test(patience_watches_the_validation_loss_unless_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
