/* params_manual - --help and --print-config, made from the list of parameters; see params.h */
#include "common/params_value.h"

#include <stdlib.h>
#include <string.h>

#define CONFIG_COLUMNS 98 /* of a comment in the example file */
#define HELP_COLUMNS   80

/* "--queue-jobs-max N" as an option is spelled. */
static void print_option(FILE *out, const struct param *row)
{
    static const char *const placeholders[] = {
        [PARAM_u32] = " N",      [PARAM_u64] = " N",       [PARAM_ms] = " TIME",
        [PARAM_bytes] = " SIZE", [PARAM_bool] = "",        [PARAM_text] = " TEXT",
        [PARAM_path] = " PATH",  [PARAM_secret] = " TEXT",
    };
    fputs("  --", out);
    if (row->type == PARAM_bool)
        fputs("[no-]", out);
    for (const char *c = row->name; *c; c++)
        fputc(*c == '_' ? '-' : *c, out);
    fprintf(out, "%s\n", placeholders[row->type]);
}

/* "(default 5s, from 100ms to 1h)" */
static void print_limits(FILE *out, const struct param *row)
{
    char *value = param_default_text(row);
    fputc('(', out);
    if (row->text || row->type == PARAM_bool) {
        fprintf(out, "default %s", *value ? value : "none");
    } else {
        char *low = param_number_text(row->type, row->min);
        char *high = param_number_text(row->type, row->max);
        fprintf(out, "default %s%s%s, from %s to %s", value, *row->unit ? " " : "", row->unit, low,
                high);
        free(low);
        free(high);
    }
    fputc(')', out);
    free(value);
}

/* Words as lines of at most `columns`, each behind `margin`. */
static void print_words(FILE *out, const char *margin, size_t columns, const char *text)
{
    size_t column = 0;
    while (*(text += strspn(text, " "))) {
        size_t len = strcspn(text, " ");
        if (!column || column + 1 + len > columns) {
            fprintf(out, "%s%s", column ? "\n" : "", margin);
            column = strlen(margin);
        }
        column += (size_t)fprintf(out, " %.*s", (int)len, text);
        text += len;
    }
    fputc('\n', out);
}

/* What a parameter is, and its limits behind it. */
static void print_meaning(FILE *out, const struct param *row)
{
    char *text = NULL;
    size_t size = 0;
    FILE *words = open_memstream(&text, &size);
    if (!words)
        abort(); /* out of memory */
    fprintf(words, "%s ", row->help);
    print_limits(words, row);
    fclose(words);
    print_words(out, "       ", HELP_COLUMNS, text);
    free(text);
}

void params_print_help(FILE *out, const char *program, const char *purpose,
                       const struct param_group *groups, size_t ngroups)
{
    fprintf(out, "Usage: %s [OPTION...]\n%s\n", program, purpose);
    for (size_t g = 0; g < ngroups; g++) {
        fprintf(out, "\n%s:\n", groups[g].title);
        for (size_t i = 0; i < groups[g].count; i++) {
            const struct param *row = &groups[g].rows[i];
            print_option(out, row);
            print_meaning(out, row);
        }
    }
    fputs("\nGeneral:\n"
          "  --config FILE\n        Read lines 'name = value' from FILE (CONVOY_CONFIG does too).\n"
          "  --print-config\n        Print such a file with the values in force, and end.\n"
          "  --version\n        Print the version, and end.\n"
          "  -h, --help\n        Print this, and end.\n"
          "\nEach option may also be written --name=value, stand in the file as name = value,\n"
          "or in the environment as CONVOY_NAME; the command line wins, then the\nenvironment.\n",
          out);
}

/* "name = value", as a comment when it is the default. */
static void print_setting(FILE *out, const struct param *row, const void *values)
{
    char *value = param_value_text(row, values), *usual = param_default_text(row);
    const char *quotes = row->text ? "\"" : "";
    fprintf(out, "%s%s = %s%s%s\n", strcmp(value, usual) == 0 ? "#" : "", row->name, quotes, value,
            quotes);
    free(usual);
    free(value);
}

void params_print_config(FILE *out, const struct param_group *groups, size_t ngroups)
{
    for (size_t g = 0; g < ngroups; g++) {
        fprintf(out, "%s# --- %s ---\n", g ? "\n" : "", groups[g].title);
        for (size_t i = 0; i < groups[g].count; i++) {
            const struct param *row = &groups[g].rows[i];
            fputc('\n', out);
            print_words(out, "#", CONFIG_COLUMNS, row->help);
            fputs("# ", out);
            print_limits(out, row);
            fputc('\n', out);
            print_setting(out, row, groups[g].values);
        }
    }
}
