/* convoy dead - list, show, retry and drop dead letters */
#include "gateway/cli/answer.h"
#include "gateway/cli/table.h"
#include "gateway/cli/tensors.h"
#include "gateway/cli/verbs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define DEAD "/v1/dead"
#define PAGE 1000 /* letters of one answer */

/* Characters in the table, which has 80 columns with a date and four gaps. */
#define ID_WIDTH    8
#define MODEL_WIDTH 12 /* and its version */
#define ROW_WIDTH   9
#define CAUSE_WIDTH 28

struct arguments {
    struct verb_words words; /* first */
    const char *output;      /* show: the input, retry: the outputs, go there */
    const char *version;     /* retry: of the model; NULL: the one that it ended */
    long limit;              /* list: the newest so many */
};

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct arguments *a = state->input;
    switch (key) {
    case 'o':
        a->output = argument;
        return 0;
    case 'm':
        a->version = argument;
        return 0;
    case 'n':
        a->limit = verbs_number(state, "--limit", argument, 1, PAGE);
        return 0;
    default:
        return verbs_parse(key, argument, state, &a->words);
    }
}

static long long number_of(const json_t *object, const char *name)
{
    return json_integer_value(json_object_get(object, name));
}

/* "/v1/dead/ID" and what follows; free() it. */
static char *path_of(const char *id, const char *rest)
{
    char *escaped = client_escape(id), *path = xasprintf(DEAD "/%s%s", escaped, rest);
    free(escaped);
    return path;
}

/* `more` is what else the query says, from its & on. */
static enum status list_page(struct client *client, long limit, const char *more, json_t **answer,
                             struct error *why)
{
    char path[96];
    snprintf(path, sizeof path, DEAD "?limit=%ld%s", limit, more);
    return client_get(client, path, answer, why);
}

/* --- list --------------------------------------------------------------------------------------
 */
/* The last digits of an id: the first ones are time and look all the same. */
static const char *short_id(const json_t *letter)
{
    const char *id = answer_text(letter, "id");
    size_t len = strlen(id);
    return len > ID_WIDTH ? id + len - ID_WIDTH : id;
}

static void date_text(char *into, size_t size, const json_t *letter, const char *name)
{
    time_t at = (time_t)number_of(letter, name);
    struct tm local;
    localtime_r(&at, &local);
    strftime(into, size, "%Y-%m-%d %H:%M:%S", &local);
}

static bool is_answered(const json_t *letter)
{
    return strcmp(answer_text(letter, "status"), "answered") == 0;
}

/* What ended the process, without where and how that was found out. */
static const char *short_cause(const json_t *letter)
{
    static const char was[] = "the process that computed it was ";
    const char *cause = answer_text(letter, "cause"), *at = cause;
    for (const char *next; (next = strstr(at, ": "));)
        at = next + 2;
    return strncmp(at, was, sizeof was - 1) == 0 ? at + sizeof was - 1 : at;
}

static void cell_row(struct table *table, const json_t *letter)
{
    const char *custom_id = answer_text(letter, "custom_id");
    const json_t *row = json_object_get(letter, "row");
    if (*custom_id)
        table_cell(table, "%.*s", ROW_WIDTH, custom_id);
    else if (json_is_integer(row))
        table_cell(table, "%lld", (long long)json_integer_value(row));
    else
        table_cell(table, "-");
}

static void print_letters(const json_t *list)
{
    size_t i;
    json_t *letter;
    struct table *table = table_new("ID", "DIED", "MODEL", "ROW", "CAUSE", NULL);
    json_array_foreach(list, i, letter)
    {
        table_cell(table, "%s", short_id(letter));
        table_date(table, number_of(letter, "created_at"), "-");
        table_cell(table, "%.*s/%.4s", MODEL_WIDTH, answer_text(letter, "model"),
                   answer_text(letter, "model_version"));
        cell_row(table, letter);
        table_cell(table, "%.*s", CAUSE_WIDTH,
                   is_answered(letter) ? "answered" : short_cause(letter));
    }
    if (json_array_size(list) == 0)
        puts("no dead letters: no row or request has ended two runners");
    table_print(table, stdout);
    table_destroy(&table);
}

static enum status dead_list(struct client *client, void *arguments, struct error *why)
{
    const struct arguments *a = arguments;
    json_t *answer;
    enum status s = list_page(client, a->limit, "", &answer, why);
    if (s != STATUS_OK)
        return s;
    if (cli_options.json)
        answer_print(answer);
    else
        print_letters(json_object_get(answer, "data"));
    if (!cli_options.json && !cli_options.quiet &&
        json_is_true(json_object_get(answer, "has_more")))
        fprintf(stderr, "there are older ones; -n N shows more\n");
    json_decref(answer);
    return STATUS_OK;
}

/* --- show --------------------------------------------------------------------------------------
 */
static void print_origin(const json_t *letter)
{
    const char *batch = answer_text(letter, "batch_id"),
               *custom_id = answer_text(letter, "custom_id");
    const json_t *row = json_object_get(letter, "row");
    printf("%-9s", "from");
    if (json_is_integer(row))
        printf("row %lld of ", (long long)json_integer_value(row));
    if (*batch)
        printf("the job %s\n", batch);
    else
        printf("the request %s\n", answer_text(letter, "request_id"));
    if (*custom_id)
        printf("%-9s%s\n", "custom_id", custom_id);
}

static void print_inputs(const json_t *letter)
{
    size_t i;
    json_t *input;
    json_array_foreach(json_object_get(letter, "inputs"), i, input)
    {
        char *shape = json_dumps(json_object_get(input, "shape"), JSON_COMPACT);
        printf("%-9s%s %s %s\n", i ? "" : "input", answer_text(input, "name"),
               answer_text(input, "datatype"), shape ? shape : "");
        free(shape);
    }
    if (json_is_true(json_object_get(letter, "input_kept")))
        printf("%-9s%lld octets; convoy dead show %s -o IN.npy saves it\n", "kept",
               number_of(letter, "input_bytes"), short_id(letter));
    else
        printf("%-9sno: %s\n", "kept", answer_text(letter, "input_note"));
}

static void print_letter(const json_t *letter)
{
    char died[32], retried[32], answered[32];
    date_text(died, sizeof died, letter, "created_at");
    date_text(retried, sizeof retried, letter, "retried_at");
    date_text(answered, sizeof answered, letter, "answered_at");
    printf("%-9s%s\n", "id", answer_text(letter, "id"));
    printf("%-9s%s\n", "died", died);
    if (*answer_text(letter, "tenant"))
        printf("%-9s%s\n", "tenant", answer_text(letter, "tenant"));
    printf("%-9s%s/%s\n", "model", answer_text(letter, "model"),
           answer_text(letter, "model_version"));
    print_origin(letter);
    printf("%-9s%s\n", "cause", answer_text(letter, "cause"));
    if (*answer_text(letter, "worker"))
        printf("%-9s%s\n", "worker", answer_text(letter, "worker"));
    printf("%-9s%lld\n", "attempts", number_of(letter, "attempts"));
    if (number_of(letter, "retries") > 0)
        printf("%-9s%lld in vain, the last at %s\n", "retries", number_of(letter, "retries"),
               retried);
    print_inputs(letter);
    if (is_answered(letter))
        printf("%-9s%s; convoy dead retry %s gives the answer again\n", "answered", answered,
               short_id(letter));
}

static bool is_npy(const char *path)
{
    size_t len = strlen(path);
    return len > 4 && strcmp(path + len - 4, ".npy") == 0;
}

/* The input as .npy, or under any other name as it is: the body of an inference request. */
static enum status save_input(struct client *client, const struct arguments *a, struct error *why)
{
    char *path = path_of(a->words.id, "/input");
    struct client_outputs inputs = {0};
    enum status s;
    if (is_npy(a->output)) {
        s = client_tensors(client, "GET", path, "inputs", &inputs, why);
        if (s == STATUS_OK)
            s = tensors_keep(a->output, &inputs, why);
        client_outputs_free(&inputs);
    } else {
        s = client_download(client, path, a->output, NULL, NULL, why);
        if (s == STATUS_OK && !cli_options.quiet)
            fprintf(stderr, "%s: written, the body of an inference request\n", a->output);
    }
    free(path);
    return s;
}

static enum status dead_show(struct client *client, void *arguments, struct error *why)
{
    const struct arguments *a = arguments;
    json_t *answer;
    char *path = path_of(a->words.id, "");
    enum status s = client_get(client, path, &answer, why);
    free(path);
    if (s != STATUS_OK)
        return s;
    if (cli_options.json)
        answer_print(answer);
    else
        print_letter(answer);
    json_decref(answer);
    return a->output ? save_input(client, a, why) : STATUS_OK;
}

/* --- retry and drop ----------------------------------------------------------------------------
 */
static enum status retry_one(struct client *client, const struct arguments *a, const char *id,
                             struct error *why)
{
    char *version = a->version ? client_escape(a->version) : NULL;
    char *rest = version ? xasprintf("/retry?version=%s", version) : xstrdup("/retry");
    char *path = path_of(id, rest);
    struct client_outputs outputs;
    enum status s = client_tensors(client, "POST", path, "outputs", &outputs, why);
    if (s == STATUS_OK && a->output)
        s = tensors_keep(a->output, &outputs, why);
    else if (s == STATUS_OK)
        tensors_print(&outputs);
    client_outputs_free(&outputs);
    free(path);
    free(rest);
    free(version);
    return s;
}

static enum status drop_one(struct client *client, const struct arguments *a, const char *id,
                            struct error *why)
{
    json_t *answer;
    char *path = path_of(id, "");
    (void)a;
    enum status s = client_call(client, "DELETE", path, NULL, NULL, &answer, why);
    free(path);
    if (s == STATUS_OK && cli_options.json)
        answer_print(answer);
    else if (s == STATUS_OK && !cli_options.quiet)
        printf("%s dropped\n", answer_text(answer, "id"));
    if (s == STATUS_OK)
        json_decref(answer);
    return s;
}

typedef enum status letter_call(struct client *client, const struct arguments *a, const char *id,
                                struct error *why);

/* One after the other, the newest first; those that fail are told of, and the rest goes on. */
static enum status each(struct client *client, const struct arguments *a, letter_call *call,
                        struct error *why)
{
    size_t i, failed = 0;
    json_t *answer, *letter;
    struct error one;
    enum status s = list_page(client, PAGE, call == retry_one ? "&status=dead" : "", &answer, why);
    if (s != STATUS_OK)
        return s;
    const json_t *list = json_object_get(answer, "data");
    json_array_foreach(list, i, letter)
    {
        if (cli_interrupted(NULL)) {
            s = fail(why, STATUS_CANCELLED, "interrupted");
            break;
        }
        if (!cli_options.quiet && call == retry_one)
            printf("%s\n", answer_text(letter, "id"));
        if (call(client, a, answer_text(letter, "id"), &one) == STATUS_OK)
            continue;
        failed++;
        fprintf(stderr, "%s: %s: %s\n", cli_command, short_id(letter), one.text);
    }
    if (s == STATUS_OK && failed > 0)
        s = fail(why, STATUS_INVALID, "%zu of %zu dead letters failed", failed,
                 json_array_size(list));
    json_decref(answer);
    return s;
}

static enum status dead_retry(struct client *client, void *arguments, struct error *why)
{
    const struct arguments *a = arguments;
    return a->words.all ? each(client, a, retry_one, why) : retry_one(client, a, a->words.id, why);
}

static enum status dead_drop(struct client *client, void *arguments, struct error *why)
{
    const struct arguments *a = arguments;
    return a->words.all ? each(client, a, drop_one, why) : drop_one(client, a, a->words.id, why);
}

/* --- the command -------------------------------------------------------------------------------
 */
int cli_dead(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"output", 'o', "FILE", 0,
         "show: save the input there; retry: the outputs. NAME.npy: as arrays, further ones as "
         "NAME.1.npy, ...; any other name (show): as the body of an inference request",
         0},
        {"model-version", 'm', "N", 0, "retry: by this version of the model (the same as before)",
         0},
        {"limit", 'n', "N", 0, "list: the newest N letters (100)", 0},
        {"all", VERBS_OPTION_ALL, NULL, 0,
         "retry: every letter without an answer, drop: every letter; up to 1000", 0},
        {0},
    };
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .args_doc = "list\nshow ID [-o FILE]\nretry ID|--all\ndrop ID|--all",
        .doc =
            "Dead letters: rows of jobs and online requests that ended two of the processes that "
            "compute, and are not tried again by themselves. Each is kept with its cause and its "
            "input. ID is the whole id or its last 8 digits. retry: computes it again, prints or "
            "saves the answer, and the letter keeps it: a further retry gives the same answer. "
            "drop: forgets letter, input and answer.",
        .children = cli_globals,
    };
    static const struct verb verbs[] = {{"list", NULL, false, dead_list, 0},
                                        {"show", "a letter's ID", false, dead_show, 0},
                                        {"retry", "a letter's ID", true, dead_retry, 0},
                                        {"drop", "a letter's ID", true, dead_drop, 0}};
    struct arguments a = {.limit = 100};
    cli_parse(&argp, argc, argv, &a);
    if (a.words.all && a.output) {
        fprintf(stderr, "%s: --all goes without -o\n", cli_command);
        return CLI_EXIT_USAGE;
    }
    return verbs_run(verbs, ARRAY_LEN(verbs), &a);
}
