/* params - defaults, file, environment and command line into a role's struct; see params.h */
#include "common/params.h"
#include "common/params_value.h"

#include "common/file.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define CONFIG_BYTES_MAX (256 * KIB) /* a configuration file is small; this is a wrong file */

/* Everything that one load works on. */
struct load {
    const struct param_group *groups; /* to fill */
    size_t ngroups;
    const char *config; /* from --config or CONVOY_CONFIG, NULL without */
    enum params_wish wish;
};

/* Where a parameter is: its row and the struct that has the field. */
struct place {
    const struct param *row; /* NULL: no such name */
    void *values;
};

/* Whether `word`, written with '-' or '_', is this name. */
static bool same_name(const char *name, const char *word, size_t length)
{
    if (strlen(name) != length)
        return false;
    for (size_t i = 0; i < length; i++)
        if (name[i] != (word[i] == '-' ? '_' : word[i]))
            return false;
    return true;
}

static struct place find(const struct load *load, const char *word, size_t length)
{
    for (size_t g = 0; g < load->ngroups; g++)
        for (size_t i = 0; i < load->groups[g].count; i++)
            if (same_name(load->groups[g].rows[i].name, word, length))
                return (struct place){&load->groups[g].rows[i], load->groups[g].values};
    return (struct place){NULL, NULL};
}

static void set_defaults(const struct load *load)
{
    for (size_t g = 0; g < load->ngroups; g++)
        for (size_t i = 0; i < load->groups[g].count; i++)
            param_set_default(&load->groups[g].rows[i], load->groups[g].values);
}

/* --- configuration file --- */
static char *trim(char *text)
{
    text += strspn(text, " \t\r");
    for (char *end = text + strlen(text); end > text && strchr(" \t\r", end[-1]);)
        *--end = '\0';
    return text;
}

/* A value may stand in double quotes, which keep spaces and '#'. */
static enum status unquote(char **value, struct error *why)
{
    char *text = *value;
    if (*text == '"') {
        char *end = strchr(text + 1, '"');
        if (!end)
            return fail(why, STATUS_INVALID, "the quotes are not closed");
        char *rest = trim(end + 1);
        if (*rest && *rest != '#')
            return fail(why, STATUS_INVALID, "expected nothing behind the quotes, got '%s'", rest);
        *end = '\0';
        *value = text + 1;
        return STATUS_OK;
    }
    for (char *at = text; *at; at++) /* a '#' ends the value only after a space */
        if (*at == '#' && (at == text || at[-1] == ' ' || at[-1] == '\t')) {
            *at = '\0';
            break;
        }
    *value = trim(text);
    return STATUS_OK;
}

static enum status read_line(const struct load *load, char *line, struct error *why)
{
    line = trim(line);
    if (*line == '\0' || *line == '#')
        return STATUS_OK;
    char *equals = strchr(line, '=');
    if (!equals)
        return fail(why, STATUS_INVALID, "expected 'name = value', got '%s'", line);
    *equals = '\0';
    char *name = trim(line);
    char *value = trim(equals + 1);
    struct place place = find(load, name, strlen(name));
    if (!place.row)
        return fail(why, STATUS_INVALID, "unknown parameter '%s'; --help lists them", name);
    enum status status = unquote(&value, why);
    return status == STATUS_OK ? param_set(place.row, place.values, value, why) : status;
}

static enum status read_config(const struct load *load, const char *path, struct error *why)
{
    char *bytes;
    size_t size;
    enum status status = file_read(&bytes, &size, path, CONFIG_BYTES_MAX, why);
    if (status != STATUS_OK) {
        fail_in(why, "configuration file");
        if (why)
            why->status = STATUS_INVALID; /* whatever ails the file: the configuration is wrong */
        return STATUS_INVALID;
    }
    if (memchr(bytes, '\0', size))
        status = fail(why, STATUS_INVALID, "%s: expected text, got a NUL octet", path);
    unsigned number = 0;
    char *rest = bytes;
    while (status == STATUS_OK && rest) {
        char *line = strsep(&rest, "\n");
        number++;
        status = read_line(load, line, why);
        if (status != STATUS_OK)
            fail_in(why, "%s:%u", path, number);
    }
    free(bytes);
    return status;
}

/* --- environment --- */
static enum status read_environment(const struct load *load, struct error *why)
{
    enum status status = STATUS_OK;
    for (size_t g = 0; g < load->ngroups && status == STATUS_OK; g++)
        for (size_t i = 0; i < load->groups[g].count && status == STATUS_OK; i++) {
            const struct param *row = &load->groups[g].rows[i];
            char *variable = xasprintf("CONVOY_%s", row->name);
            for (char *c = variable; *c; c++)
                *c = (char)toupper((unsigned char)*c);
            const char *value = getenv(variable);
            if (value)
                status = param_set(row, load->groups[g].values, value, why);
            if (status != STATUS_OK)
                fail_in(why, "environment variable %s", variable);
            free(variable);
        }
    return status;
}

/* --- command line --- */
static const struct {
    const char *name;
    enum params_wish wish;
} wishes[] = {
    {"help", PARAMS_HELP},
    {"version", PARAMS_VERSION},
    {"print_config", PARAMS_PRINT_CONFIG},
};

/* One option, cut into its parts. */
struct option_text {
    const char *word;  /* behind the dashes */
    size_t length;     /* of the name in it */
    const char *value; /* behind '=', or NULL */
};

static struct option_text cut_option(const char *argument)
{
    struct option_text option = {.word = argument + 2};
    option.length = strcspn(option.word, "=");
    if (option.word[option.length] == '=')
        option.value = option.word + option.length + 1;
    return option;
}

/* --help and its kin: true when it was one. */
static bool take_wish(struct load *load, const char *argument, struct option_text option)
{
    if (strcmp(argument, "-h") == 0) {
        load->wish = PARAMS_HELP;
        return true;
    }
    for (size_t i = 0; i < ARRAY_LEN(wishes); i++)
        if (!option.value && same_name(wishes[i].name, option.word, option.length)) {
            load->wish = wishes[i].wish;
            return true;
        }
    return false;
}

/* Find one option's parameter and value; *used gets 1 when the next argument is its value. */
static enum status resolve(const struct load *load, struct option_text *option, const char *next,
                           struct place *place, int *used, struct error *why)
{
    *place = find(load, option->word, option->length);
    if (!place->row && !option->value && strncmp(option->word, "no-", 3) == 0) {
        *place = find(load, option->word + 3, option->length - 3);
        option->value = "false";
        if (place->row && place->row->type != PARAM_bool)
            place->row = NULL;
    }
    if (!place->row)
        return fail(why, STATUS_INVALID, "unknown option; --help lists them");
    if (!option->value && place->row->type == PARAM_bool)
        option->value = "true";
    *used = !option->value;
    if (*used)
        option->value = next;
    if (!option->value)
        return fail(why, STATUS_INVALID, "a value must follow");
    return STATUS_OK;
}

static enum status take_option(struct load *load, struct option_text option, const char *next,
                               bool set, int *used, struct error *why)
{
    struct place place;
    if (same_name("config", option.word, option.length)) {
        *used = !option.value;
        load->config = option.value ? option.value : next;
        return load->config ? STATUS_OK : fail(why, STATUS_INVALID, "a file name must follow");
    }
    enum status status = resolve(load, &option, next, &place, used, why);
    if (status == STATUS_OK && set)
        status = param_set(place.row, place.values, option.value, why);
    if (status == STATUS_OK && set && place.row->type == PARAM_secret)
        memset((char *)(uintptr_t)option.value, '*', strlen(option.value)); /* argv is ours */
    return status;
}

/* Walk the arguments; without `set` only to learn what is wished and which file to read, because
 * the file's values come before the options'. */
static enum status read_arguments(struct load *load, int argc, char **argv, bool set,
                                  struct error *why)
{
    for (int i = 1; i < argc; i++) {
        int used = 0;
        if (strcmp(argv[i], "-h") != 0 && (strncmp(argv[i], "--", 2) != 0 || !argv[i][2]))
            return fail(why, STATUS_INVALID, "argument '%.200s': expected an option (--name value)",
                        argv[i]);
        struct option_text option = cut_option(argv[i]);
        if (take_wish(load, argv[i], option))
            continue;
        const char *next = i + 1 < argc ? argv[i + 1] : NULL;
        if (take_option(load, option, next, set, &used, why) != STATUS_OK)
            return fail_in(why, "option --%.*s", (int)MIN(option.length, (size_t)64), option.word);
        i += used;
    }
    return STATUS_OK;
}

enum status params_load(const struct param_group *groups, size_t ngroups, int argc, char **argv,
                        enum params_wish *wish, struct error *why)
{
    struct load load = {.groups = groups, .ngroups = ngroups, .wish = PARAMS_RUN};
    load.config = getenv("CONVOY_CONFIG");
    set_defaults(&load);
    enum status status = read_arguments(&load, argc, argv, false, why);
    *wish = status == STATUS_OK ? load.wish : PARAMS_WRONG_USAGE;
    if (status != STATUS_OK || load.wish == PARAMS_HELP || load.wish == PARAMS_VERSION)
        return status;
    if (load.config && *load.config)
        status = read_config(&load, load.config, why);
    if (status == STATUS_OK)
        status = read_environment(&load, why);
    if (status != STATUS_OK)
        return status;
    status = read_arguments(&load, argc, argv, true, why);
    if (status != STATUS_OK)
        *wish = PARAMS_WRONG_USAGE;
    return status;
}

enum status params_load_file(const struct param_group *groups, size_t ngroups, const char *path,
                             struct error *why)
{
    struct load load = {.groups = groups, .ngroups = ngroups};
    set_defaults(&load);
    return path ? read_config(&load, path, why) : STATUS_OK;
}

void params_free(const struct param_group *groups, size_t ngroups)
{
    for (size_t g = 0; g < ngroups; g++)
        for (size_t i = 0; i < groups[g].count; i++)
            param_clear(&groups[g].rows[i], groups[g].values);
}
