/* convoy train - a network and data in, a model version out: uploads, job, progress */
#include "gateway/cli/answer.h"
#include "gateway/cli/job.h"
#include "gateway/cli/model_files.h"
#include "gateway/cli/training_job.h"

#include "common/ids.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Options with a long name only. */
enum {
    OPTION_DATA = 0x2000,
    OPTION_LABELS,
    OPTION_VALIDATION,
    OPTION_VALIDATION_LABELS,
    OPTION_EPOCHS,
    OPTION_BATCH,
    OPTION_SEED,
    OPTION_THREADS,
    OPTION_LOSS,
    OPTION_OPTIMIZER,
    OPTION_LEARNING_RATE,
    OPTION_MOMENTUM,
    OPTION_WEIGHT_DECAY,
    OPTION_CLIP_NORM,
    OPTION_FREEZE,
    OPTION_PATIENCE,
    OPTION_NO_SHUFFLE,
    OPTION_LABEL_COLUMN,
    OPTION_LABEL_KEY,
    OPTION_SETTINGS,
    OPTION_DETACH,
    OPTION_KEY
};

enum { DATA, LABELS, VALIDATION, VALIDATION_LABELS, FILES };

struct arguments {
    const char *network;       /* FILE.json, FILE.onnx or NAME[/VERSION] */
    const char *name;          /* of the model; NULL: from the network */
    const char *files[FILES];  /* data; NULL where there is none */
    const char *settings_file; /* --settings; NULL: none */
    json_t *settings;          /* of the options, over those of the file */
    bool detach;               /* do not wait */
    const char *key;           /* of the job, so that another run finds it; NULL: this run's own */
};

/* --- settings ----------------------------------------------------------------------------------
 * They go to the worker as they are: what is allowed it knows, and says. */
static const struct setting {
    int option;       /* of the command line */
    char kind;        /* 'i' whole number, 'f' number, 's' text */
    const char *in;   /* the object that it is in; NULL: the settings themselves */
    const char *name; /* there */
} settings[] = {
    {OPTION_EPOCHS, 'i', NULL, "epochs"},
    {OPTION_BATCH, 'i', NULL, "batch"},
    {OPTION_SEED, 'i', NULL, "seed"},
    {OPTION_THREADS, 'i', NULL, "threads"},
    {OPTION_LOSS, 's', NULL, "loss"},
    {OPTION_OPTIMIZER, 's', "optimizer", "type"},
    {OPTION_LEARNING_RATE, 'f', "optimizer", "learning_rate"},
    {OPTION_MOMENTUM, 'f', "optimizer", "momentum"},
    {OPTION_WEIGHT_DECAY, 'f', "optimizer", "weight_decay"},
    {OPTION_CLIP_NORM, 'f', NULL, "clip_norm"},
    {OPTION_PATIENCE, 'i', "early_stopping", "patience"},
    {OPTION_LABEL_COLUMN, 's', NULL, "label_column"},
    {OPTION_LABEL_KEY, 's', NULL, "label_key"},
};

static json_t *object_in(json_t *object, const char *name)
{
    if (!name)
        return object;
    if (!json_is_object(json_object_get(object, name)))
        json_object_set_new(object, name, json_object());
    return json_object_get(object, name);
}

static void set(struct arguments *a, const struct setting *to, const char *argument,
                struct argp_state *state)
{
    char *end = NULL;
    json_t *value;
    if (to->kind == 's')
        value = json_string(argument);
    else if (to->kind == 'i')
        value = json_integer(strtoll(argument, &end, 10));
    else
        value = json_real(strtod(argument, &end));
    if (end && (end == argument || *end))
        argp_error(state, "\"%s\" is no %snumber", argument, to->kind == 'i' ? "whole " : "");
    if (!value)
        argp_error(state, "\"%s\" cannot be told: it is no text in UTF-8, or not finite", argument);
    json_object_set_new(object_in(a->settings, to->in), to->name, value);
}

static void read_settings(struct arguments *a, struct argp_state *state)
{
    const char *file = a->settings_file;
    json_error_t at;
    json_t *given = json_load_file(file, 0, &at);
    if (!json_is_object(given))
        argp_error(state, "--settings %s: expected a JSON object; line %d: %s", file, at.line,
                   given ? "something else" : at.text);
    json_object_update_recursive(given, a->settings); /* options win */
    json_decref(a->settings);
    a->settings = given;
}

/* --- arguments ---------------------------------------------------------------------------------
 */
static error_t parse_setting(int key, char *argument, struct argp_state *state)
{
    struct arguments *a = state->input;
    for (size_t i = 0; i < ARRAY_LEN(settings); i++) {
        if (settings[i].option != key)
            continue;
        set(a, &settings[i], argument, state);
        return 0;
    }
    return ARGP_ERR_UNKNOWN;
}

static void check(struct arguments *a, struct argp_state *state)
{
    if (!a->network || !a->files[DATA])
        argp_error(state, "a network and its data are needed: convoy train NETWORK --data FILE "
                          "--labels FILE --epochs N");
    if (!json_object_get(a->settings, "epochs"))
        argp_error(state, "--epochs N is needed: how often to go through the data");
    if (a->files[VALIDATION_LABELS] && !a->files[VALIDATION])
        argp_error(state, "--validation-labels without --validation");
}

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct arguments *a = state->input;
    switch (key) {
    case OPTION_DATA:
    case OPTION_LABELS:
    case OPTION_VALIDATION:
    case OPTION_VALIDATION_LABELS:
        a->files[key - OPTION_DATA] = argument;
        return 0;
    case 'n':
        a->name = argument;
        return 0;
    case OPTION_FREEZE:
        if (!json_object_get(a->settings, "frozen"))
            json_object_set_new(a->settings, "frozen", json_array());
        json_array_append_new(json_object_get(a->settings, "frozen"), json_string(argument));
        return 0;
    case OPTION_NO_SHUFFLE:
        json_object_set_new(a->settings, "shuffle", json_false());
        return 0;
    case OPTION_SETTINGS:
        a->settings_file = argument;
        return 0;
    case OPTION_DETACH:
        a->detach = true;
        return 0;
    case OPTION_KEY:
        a->key = argument;
        return 0;
    case ARGP_KEY_ARG:
        if (a->network)
            argp_error(state, "one network; \"%s\" is too much", argument);
        a->network = argument;
        return 0;
    case ARGP_KEY_END:
        if (a->settings_file)
            read_settings(a, state);
        check(a, state);
        return 0;
    default:
        return parse_setting(key, argument, state);
    }
}

/* --- the request -------------------------------------------------------------------------------
 */
static bool ends_in(const char *text, const char *end)
{
    size_t size = strlen(text), tail = strlen(end);
    return size > tail && strcmp(text + size - tail, end) == 0;
}

static void set_upload(json_t *object, const char *name, const char *id)
{
    json_object_set_new(object, name, json_string(id));
}

/* A list of layers, Keras's or ours; a model's file; or what is in the repository. *name gets the
 * model's name where it says one; free() it. */
static enum status add_network(struct client *client, const struct arguments *a, json_t *body,
                               char **name, struct error *why)
{
    json_error_t at;
    char id[JOB_ID_SIZE];
    const char *slash = strchr(a->network, '/');
    if (ends_in(a->network, ".json")) {
        json_t *network = json_load_file(a->network, 0, &at);
        const char *own = answer_text(network, "name");
        if (!own[0])
            own = answer_text(json_object_get(network, "config"), "name");
        if (!json_is_object(network)) {
            json_decref(network);
            return fail(why, STATUS_INVALID, "%s: expected a JSON object of layers; line %d: %s",
                        a->network, at.line, network ? "something else" : at.text);
        }
        *name = own[0] ? xstrdup(own) : NULL;
        json_object_set_new(body, "network", network);
        return STATUS_OK;
    }
    if (ends_in(a->network, ".onnx") || access(a->network, R_OK) == 0) {
        enum status s = job_upload(client, a->network, "train", id, why);
        if (s == STATUS_OK)
            set_upload(body, "network", id);
        *name = model_files_name(a->network);
        return s;
    }
    json_object_set_new(body, "model", json_string(a->network));
    *name = slash ? strndup(a->network, (size_t)(slash - a->network)) : xstrdup(a->network);
    return STATUS_OK;
}

static enum status add_data(struct client *client, const struct arguments *a, json_t *body,
                            struct error *why)
{
    static const struct {
        const char *set, *name;
    } places[FILES] = {{"train", "inputs"},
                       {"train", "labels"},
                       {"validation", "inputs"},
                       {"validation", "labels"}};
    json_t *data = object_in(body, "data");
    enum status s = STATUS_OK;
    for (size_t i = 0; i < FILES && s == STATUS_OK; i++) {
        char id[JOB_ID_SIZE];
        if (!a->files[i])
            continue;
        s = job_upload(client, a->files[i], "train", id, why);
        if (s == STATUS_OK)
            set_upload(object_in(data, places[i].set), places[i].name, id);
    }
    return s;
}

static enum status create(struct client *client, const struct arguments *a,
                          char id[static JOB_ID_SIZE], struct error *why)
{
    char key[ID_TEXT_SIZE], *name = NULL;
    struct uuid uuid = id_random();
    json_t *answer = NULL, *body = json_pack("{s:O}", "training", a->settings);
    enum status s = add_network(client, a, body, &name, why);
    if (s == STATUS_OK)
        json_object_set_new(body, "name", json_string(a->name ? a->name : name ? name : "model"));
    if (s == STATUS_OK)
        s = add_data(client, a, body, why);
    if (s == STATUS_OK)
        s = client_call(client, "POST", TRAINING_JOBS, body, a->key ? a->key : id_text(key, &uuid),
                        &answer, why);
    if (s == STATUS_OK)
        text_copy(id, JOB_ID_SIZE, answer_text(answer, "id"));
    json_decref(answer);
    json_decref(body);
    free(name);
    return s;
}

/* --- the command -------------------------------------------------------------------------------
 */
static int run(const struct arguments *a)
{
    struct error why;
    struct client *client;
    json_t *job = NULL;
    char id[JOB_ID_SIZE];
    cli_catch_interrupts();
    enum status s = cli_connect_present(&client, &why);
    if (s != STATUS_OK)
        return cli_fail(&why);
    s = create(client, a, id, &why);
    bool running = s == STATUS_OK;
    if (running && a->detach) {
        puts(id);
        client_destroy(&client);
        return CLI_EXIT_OK;
    }
    if (running)
        s = training_follow(client, id, &job, &why);
    client_destroy(&client);
    int code = s == STATUS_OK ? training_conclude(job) : CLI_EXIT_OK;
    json_decref(job);
    if (s == STATUS_OK)
        return code;
    if (running)
        training_say_how_to_go_on(id);
    return cli_fail(&why);
}

int cli_train(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"data", OPTION_DATA, "FILE", 0, "what to learn from: idx, idx.gz, .npy, .csv, .jsonl", 0},
        {"labels", OPTION_LABELS, "FILE", 0, "its labels; in .csv and .jsonl they may be inside",
         0},
        {"validation", OPTION_VALIDATION, "FILE", 0, "data to measure on after each epoch", 0},
        {"validation-labels", OPTION_VALIDATION_LABELS, "FILE", 0, "its labels", 0},
        {"epochs", OPTION_EPOCHS, "N", 0, "how often to go through the data", 0},
        {"name", 'n', "NAME", 0, "the model that it becomes a version of", 0},
        {"batch", OPTION_BATCH, "N", 0, "rows of a step (32)", 1},
        {"seed", OPTION_SEED, "N", 0, "of initial weights, order and dropout (0)", 1},
        {"optimizer", OPTION_OPTIMIZER, "NAME", 0, "sgd, adam, adamw or rmsprop (adam)", 1},
        {"learning-rate", OPTION_LEARNING_RATE, "X", 0, "the optimizer's own if not given", 1},
        {"momentum", OPTION_MOMENTUM, "X", 0, "of sgd and rmsprop", 1},
        {"weight-decay", OPTION_WEIGHT_DECAY, "X", 0, "how much weights shrink by themselves", 1},
        {"loss", OPTION_LOSS, "NAME", 0, "as Keras calls it; by network and labels if not given",
         1},
        {"clip-norm", OPTION_CLIP_NORM, "X", 0, "longest gradient of a step", 1},
        {"patience", OPTION_PATIENCE, "N", 0, "end after N epochs without progress", 1},
        {"freeze", OPTION_FREEZE, "PREFIX", 0, "layers that stay as they are; repeatable", 1},
        {"threads", OPTION_THREADS, "N", 0, "of the worker (as many as it has)", 1},
        {"no-shuffle", OPTION_NO_SHUFFLE, NULL, 0, "rows in the order of the file", 1},
        {"label-column", OPTION_LABEL_COLUMN, "NAME", 0, "of a .csv (its last)", 1},
        {"label-key", OPTION_LABEL_KEY, "KEY", 0, "of .jsonl objects (label)", 1},
        {"settings", OPTION_SETTINGS, "FILE.json", 0, "all of these and more as JSON", 1},
        {"detach", OPTION_DETACH, NULL, 0, "start the job, print its id and leave", 2},
        {"idempotency-key", OPTION_KEY, "KEY", 0, "runs with the same KEY share one job", 2},
        {0},
    };
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .args_doc = "NETWORK.json|MODEL.onnx|NAME[/VERSION]",
        .doc = "Train a network on the fleet as an asynchronous job that survives restarts; what "
               "comes of it is the next version of a model.\vNETWORK.json is a list of layers, or "
               "what Keras's model.to_json() gives. A model's file, or a version in the "
               "repository, goes on learning from where it is. Ctrl-C leaves the job running.",
        .children = cli_globals,
    };
    struct arguments a = {.settings = json_object()};
    cli_parse(&argp, argc, argv, &a);
    int code = run(&a);
    json_decref(a.settings);
    return code;
}
