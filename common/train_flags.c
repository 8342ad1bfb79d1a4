#include "common/train_flags.h"

#include <stdlib.h>

enum {
    FREEZE = 0x2800,
    NO_SHUFFLE,
    SETTINGS,
#define FLAG(id, ...) FLAG_##id,
#include "common/train_flags.def"
#undef FLAG
};

/* What an option takes. */
enum kind { WHOLE, NUMBER, TEXT };
#define TAKES_WHOLE  "N"
#define TAKES_NUMBER "X"
#define TAKES_TEXT   "NAME"

static const struct flag {
    int key;
    const char *option;
    enum kind kind;
    const char *group, *name;
} flags[] = {
#define FLAG(id, letter, option, kind, group, name, help)                                          \
    {(letter) ? (letter) : FLAG_##id, option, kind, group, name},
#include "common/train_flags.def"
#undef FLAG
};

static const struct argp_option options[] = {
#define FLAG(id, letter, option, kind, group, name, help)                                          \
    {option, (letter) ? (letter) : FLAG_##id, TAKES_##kind, 0, help, 0},
#include "common/train_flags.def"
#undef FLAG
    {"freeze", FREEZE, "PREFIX", 0, "layers that stay as they are; repeatable", 0},
    {"no-shuffle", NO_SHUFFLE, NULL, 0, "rows in the order of the file", 0},
    {"settings", SETTINGS, "FILE.json", 0, "all of these and more as JSON; options win", 0},
    {0},
};

/* "sgd" as an optimizer is short for {"type": "sgd"}. */
static json_t *group_of(json_t *settings, const char *group)
{
    json_t *found = group ? json_object_get(settings, group) : settings;
    if (json_is_object(found))
        return found;
    found = json_is_string(found) ? json_pack("{s:O}", "type", found) : json_object();
    json_object_set_new(settings, group, found);
    return found;
}

static void set(const struct flag *to, json_t *settings, const char *text, struct argp_state *state)
{
    char *end = NULL;
    json_t *value;
    if (to->kind == TEXT)
        value = json_string(text);
    else if (to->kind == WHOLE)
        value = json_integer(strtoll(text, &end, 10));
    else
        value = json_real(strtod(text, &end));
    if (!value || (end && (end == text || *end))) {
        json_decref(value);
        argp_error(state, "--%s is \"%s\", expected %s", to->option, text,
                   to->kind == TEXT    ? "a text in UTF-8"
                   : to->kind == WHOLE ? "a whole number"
                                       : "a number");
        return;
    }
    json_object_set_new(group_of(settings, to->group), to->name, value);
}

/* What the file says and no option does. */
static void add_file(struct train_flags *self, struct argp_state *state)
{
    json_error_t at;
    const char *group;
    json_t *value, *given = json_load_file(self->file, JSON_REJECT_DUPLICATES, &at);
    if (!json_is_object(given)) {
        argp_error(state, "--settings %s: expected a JSON object; line %d: %s", self->file, at.line,
                   given ? "something else" : at.text);
        json_decref(given);
        return;
    }
    json_object_foreach(self->settings, group, value)
    {
        if (json_is_object(value))
            group_of(given, group);
    }
    json_object_update_recursive(given, self->settings);
    json_decref(self->settings);
    self->settings = given;
}

/* --patience alone is about the loss of the validation data. */
static void add_monitor(json_t *settings)
{
    json_t *stopping = json_object_get(settings, "early_stopping");
    if (json_object_get(stopping, "patience") && !json_object_get(stopping, "monitor"))
        json_object_set_new(stopping, "monitor", json_string("validation_loss"));
}

static error_t parse(int key, char *text, struct argp_state *state)
{
    struct train_flags *self = state->input;
    json_t *list;
    switch (key) {
    case FREEZE:
        list = json_object_get(self->settings, "frozen");
        if (!list)
            json_object_set_new(self->settings, "frozen", list = json_array());
        json_array_append_new(list, json_string(text));
        return 0;
    case NO_SHUFFLE:
        json_object_set_new(self->settings, "shuffle", json_false());
        return 0;
    case SETTINGS:
        self->file = text;
        return 0;
    case ARGP_KEY_END:
        if (self->file)
            add_file(self, state);
        add_monitor(self->settings);
        return 0;
    default:
        for (size_t i = 0; i < ARRAY_LEN(flags); i++)
            if (flags[i].key == key) {
                set(&flags[i], self->settings, text, state);
                return 0;
            }
        return ARGP_ERR_UNKNOWN;
    }
}

const struct argp train_flags_argp = {.options = options, .parser = parse};
