/* convoy models - list, add, remove and inspect models */
#include "gateway/cli/answer.h"
#include "gateway/cli/model_files.h"
#include "gateway/cli/progress.h"
#include "gateway/cli/table.h"
#include "gateway/cli/verbs.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VERSION_MAX 999999999L /* highest version number */

struct arguments {
    struct verb_words words; /* first; id: add: FILE.onnx or FOLDER; rm: NAME[/VERSION] */
    const char *name;        /* --name; NULL: from the file */
    unsigned long version;   /* --version; 0: the next one */
};

/* A version as the repository's index shows it. */
struct entry {
    char state[16];        /* READY, LOADING, UNAVAILABLE; "" when it is not there */
    char reason[1024];     /* why it is not READY */
    unsigned long highest; /* version of this model; 0: none */
};

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct arguments *a = state->input;
    switch (key) {
    case 'n':
        a->name = argument;
        return 0;
    case 'v':
        a->version = (unsigned long)verbs_number(state, "--version", argument, 1, VERSION_MAX);
        return 0;
    default:
        return verbs_parse(key, argument, state, &a->words);
    }
}

static enum status ask_index(struct client *client, json_t **answer, struct error *why)
{
    return client_call(client, "POST", "/v2/repository/index", NULL, NULL, answer, why);
}

/* --- list ---------------------------------------------------------------------------------------
 */

static void print_models(const json_t *list)
{
    const json_t *entry;
    size_t i;
    struct table *table = table_new("NAME", "VERSION", "STATE", "REASON", NULL);
    json_array_foreach(list, i, entry)
    {
        table_cell(table, "%s", answer_text(entry, "name"));
        table_cell(table, "%s", answer_text(entry, "version"));
        table_cell(table, "%s", answer_text(entry, "state"));
        table_cell(table, "%s", answer_text(entry, "reason"));
    }
    table_print(table, stdout);
    table_destroy(&table);
    if (json_array_size(list) == 0)
        puts("no models yet; `convoy models add FILE.onnx` adds one");
}

static enum status models_list(struct client *client, void *arguments, struct error *why)
{
    json_t *answer;
    (void)arguments;
    enum status s = ask_index(client, &answer, why);
    if (s != STATUS_OK)
        return s;
    if (cli_options.json)
        answer_print(answer);
    else
        print_models(answer);
    json_decref(answer);
    return STATUS_OK;
}

/* --- add ----------------------------------------------------------------------------------------
 */

static enum status look(struct client *client, const char *name, unsigned long version,
                        struct entry *out, struct error *why)
{
    json_t *answer, *entry;
    size_t i;
    *out = (struct entry){0};
    enum status s = ask_index(client, &answer, why);
    if (s != STATUS_OK)
        return s;
    json_array_foreach(answer, i, entry)
    {
        unsigned long number = strtoul(answer_text(entry, "version"), NULL, 10);
        if (strcmp(answer_text(entry, "name"), name) != 0)
            continue;
        out->highest = MAX(out->highest, number);
        if (number != version)
            continue;
        text_copy(out->state, sizeof out->state, answer_text(entry, "state"));
        text_copy(out->reason, sizeof out->reason, answer_text(entry, "reason"));
    }
    json_decref(answer);
    return STATUS_OK;
}

static void on_upload(void *arg, uint64_t done, uint64_t total)
{
    progress_show(arg, done, total, 0, NULL);
}

static char *version_path(const char *name, unsigned long version)
{
    char *escaped = client_escape(name);
    char *path = version ? xasprintf("/v2/repository/models/%s/versions/%lu", escaped, version)
                         : xasprintf("/v2/repository/models/%s", escaped);
    free(escaped);
    return path;
}

static enum status upload(struct client *client, const struct model_files *files, const char *name,
                          unsigned long version, struct error *why)
{
    struct progress progress;
    enum status s = STATUS_OK;
    char *base = version_path(name, version);
    for (size_t i = 0; i < files->len && s == STATUS_OK; i++) {
        json_t *answer;
        char *escaped = client_escape(files->files[i].path);
        char *path = xasprintf("%s/files/%s", base, escaped);
        progress_start(&progress, "upload", true);
        s = client_upload(client, path, files->files[i].local, on_upload, &progress, &answer, why);
        progress_clear(&progress);
        json_decref(answer);
        free(path);
        free(escaped);
    }
    free(base);
    return s;
}

static enum status remove_version(struct client *client, const char *name, unsigned long version,
                                  struct error *why)
{
    json_t *answer;
    char *path = version_path(name, version);
    enum status s = client_call(client, "DELETE", path, NULL, NULL, &answer, why);
    json_decref(answer);
    free(path);
    return s;
}

/* Let the gateway look at the model's folder; how that went stands in the index. */
static enum status load(struct client *client, const char *name, unsigned long version,
                        struct entry *entry, struct error *why)
{
    json_t *answer;
    char *base = version_path(name, 0);
    char *path = xasprintf("%s/load", base);
    enum status s = client_call(client, "POST", path, NULL, NULL, &answer, why);
    json_decref(answer);
    free(path);
    free(base);
    if (s == STATUS_UNAVAILABLE || s == STATUS_CANCELLED)
        return s;
    return look(client, name, version, entry, why);
}

static void signature_rows(struct table *table, const char *kind, const json_t *tensors)
{
    const json_t *tensor, *dim;
    size_t i, d;
    json_array_foreach(tensors, i, tensor)
    {
        char shape[256] = "[";
        size_t used = 1;
        json_array_foreach(json_object_get(tensor, "shape"), d, dim)
        {
            json_int_t value = json_integer_value(dim);
            const char *comma = d ? "," : "";
            if (used < sizeof shape - 32)
                used += (size_t)(value < 0 ? snprintf(shape + used, 32, "%s?", comma)
                                           : snprintf(shape + used, 32, "%s%lld", comma,
                                                      (long long)value));
        }
        table_cell(table, "  %s", kind);
        table_cell(table, "%s", answer_text(tensor, "name"));
        table_cell(table, "%s", answer_text(tensor, "datatype"));
        table_cell(table, "%s]", shape);
    }
}

static enum status show_added(struct client *client, const char *name, unsigned long version,
                              struct error *why)
{
    json_t *answer;
    char *after = xasprintf("/versions/%lu", version);
    enum status s = answer_ask(client, "GET", "/v2/models/", name, after, &answer, why);
    free(after);
    if (s != STATUS_OK)
        return s;
    if (cli_options.json) {
        answer_print(answer);
    } else {
        struct table *table = table_new("  ", "NAME", "TYPE", "SHAPE", NULL);
        signature_rows(table, "input", json_object_get(answer, "inputs"));
        signature_rows(table, "output", json_object_get(answer, "outputs"));
        printf("%s/%lu is ready\n", name, version);
        table_print(table, stdout);
        table_destroy(&table);
    }
    json_decref(answer);
    return STATUS_OK;
}

/* What the workers found. A version that cannot run is not kept. */
static enum status conclude(struct client *client, const char *name, unsigned long version,
                            const struct entry *entry, struct error *why)
{
    struct error removing;
    if (strcmp(entry->state, "READY") == 0)
        return show_added(client, name, version, why);
    if (strcmp(entry->state, "UNAVAILABLE") == 0) {
        if (remove_version(client, name, version, &removing) != STATUS_OK)
            cli_fail(&removing);
        return fail(why, STATUS_BAD_MODEL, "%s/%lu was not added: %s", name, version,
                    entry->reason);
    }
    fprintf(stderr,
            "%s: %s/%lu was added, but nobody has looked at it yet; it becomes ready when a "
            "worker is there (`convoy workers`)\n",
            cli_command, name, version);
    return STATUS_OK;
}

static enum status add_files(struct client *client, const struct arguments *a, const char *name,
                             const struct model_files *files, struct error *why)
{
    struct entry entry;
    enum status s = look(client, name, a->version, &entry, why);
    unsigned long version = a->version ? a->version : entry.highest + 1;
    if (s == STATUS_OK && a->version && entry.state[0])
        s = fail(why, STATUS_CONFLICT,
                 "%s/%lu is there already and versions never change; leave out --version for the "
                 "next one (%lu)",
                 name, version, entry.highest + 1);
    if (s == STATUS_OK)
        s = upload(client, files, name, version, why);
    if (s == STATUS_OK)
        s = load(client, name, version, &entry, why);
    return s == STATUS_OK ? conclude(client, name, version, &entry, why) : s;
}

static enum status models_add(struct client *client, void *arguments, struct error *why)
{
    const struct arguments *a = arguments;
    struct model_files files;
    enum status s = model_files_find(&files, a->words.id, why);
    if (s != STATUS_OK)
        return s;
    char *name = a->name ? xstrdup(a->name) : model_files_name(a->words.id);
    s = add_files(client, a, name, &files, why);
    free(name);
    model_files_free(&files);
    return s;
}

/* --- rm -----------------------------------------------------------------------------------------
 */

static enum status models_rm(struct client *client, void *arguments, struct error *why)
{
    struct arguments *a = arguments;
    char *name = xstrdup(a->words.id), *slash = strchr(name, '/'), *end = NULL;
    unsigned long version = 0;
    enum status s = STATUS_OK;
    if (slash) {
        *slash = '\0';
        version = strtoul(slash + 1, &end, 10);
    }
    if (slash && (*end || version < 1 || version > (unsigned long)VERSION_MAX)) {
        fprintf(stderr, "%s rm: \"%s\" is no NAME/VERSION, where VERSION is a number\n",
                cli_command, a->words.id);
        a->words.code = CLI_EXIT_USAGE;
    } else {
        s = remove_version(client, name, version, why);
        if (s == STATUS_OK && !cli_options.quiet)
            printf("%s was removed\n", a->words.id);
    }
    free(name);
    return s;
}

/* --- the command --------------------------------------------------------------------------------
 */

/* The engine looks at the file; no gateway takes part. */
static int models_inspect(char **argv)
{
    static char inspect[] = "--inspect";
    argv[1] = inspect;
    return cli_engine(argv);
}

int cli_models(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"name", 'n', "NAME", 0, "add: the model's name (the file's, without .onnx)", 0},
        {"version", 'v', "N", 0, "add: its version (1, or the highest + 1)", 0},
        {0},
    };
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .args_doc = "list\nadd FILE.onnx|FOLDER\nrm NAME[/VERSION]\ninspect FILE.onnx [--shape "
                    "NAME=1,3,224,224]",
        .doc = "Look at the models, add one, remove one, or look into a file.\vA FOLDER holds "
               "model.onnx and the "
               "files that belong to it, such as weights outside of it. A model that cannot run is "
               "not added; the reason is named and the exit code is 3.",
        .children = cli_globals,
    };
    static const struct verb verbs[] = {{"list", NULL, false, models_list, 0},
                                        {"add", "FILE.onnx or a folder", false, models_add, 0},
                                        {"rm", "NAME or NAME/VERSION", false, models_rm, 0}};
    struct arguments a = {.version = 0};
    if (argc > 1 && strcmp(argv[1], "inspect") == 0)
        return models_inspect(argv);
    cli_parse(&argp, argc, argv, &a);
    return verbs_run(verbs, ARRAY_LEN(verbs), &a);
}
