/* convoy train - a network and data in, a model version out: uploads, job, progress */
#include "gateway/cli/answer.h"
#include "gateway/cli/job.h"
#include "gateway/cli/model_files.h"
#include "gateway/cli/training_job.h"

#include "common/ids.h"
#include "common/train_flags.h"

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
    OPTION_DETACH,
    OPTION_KEY
};

enum { DATA, LABELS, VALIDATION, VALIDATION_LABELS, FILES };

struct arguments {
    const char *network;      /* FILE.json, FILE.onnx or NAME[/VERSION] */
    const char *name;         /* of the model; NULL: from the network */
    const char *files[FILES]; /* data; NULL where there is none */
    struct train_flags flags; /* the settings: they go to the worker, which knows what is allowed */
    bool detach;              /* do not wait */
    const char *key;          /* of the job, so that another run finds it; NULL: this run's own */
};

/* --- arguments ---------------------------------------------------------------------------------
 */
static void check(struct arguments *a, struct argp_state *state)
{
    if (!a->network || !a->files[DATA])
        argp_error(state, "a network and its data are needed: convoy train NETWORK --data FILE "
                          "--labels FILE --epochs N");
    if (!json_object_get(a->flags.settings, "epochs"))
        argp_error(state, "--epochs N is needed: how often to go through the data");
    if (a->files[VALIDATION_LABELS] && !a->files[VALIDATION])
        argp_error(state, "--validation-labels without --validation");
}

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct arguments *a = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &a->flags;
        return 0;
    case OPTION_DATA:
    case OPTION_LABELS:
    case OPTION_VALIDATION:
    case OPTION_VALIDATION_LABELS:
        a->files[key - OPTION_DATA] = argument;
        return 0;
    case 'n':
        a->name = argument;
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
    case ARGP_KEY_SUCCESS: /* behind the children */
        check(a, state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
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
    static const char *const sets[] = {"train", "validation"}, *const names[] = {"inputs",
                                                                                 "labels"};
    json_t *data = json_object();
    enum status s = STATUS_OK;
    for (size_t i = 0; i < FILES && s == STATUS_OK; i++) {
        char id[JOB_ID_SIZE];
        if (!a->files[i])
            continue;
        if (!json_object_get(data, sets[i / 2]))
            json_object_set_new(data, sets[i / 2], json_object());
        s = job_upload(client, a->files[i], "train", id, why);
        if (s == STATUS_OK)
            set_upload(json_object_get(data, sets[i / 2]), names[i % 2], id);
    }
    json_object_set_new(body, "data", data);
    return s;
}

static enum status create(struct client *client, const struct arguments *a,
                          char id[static JOB_ID_SIZE], struct error *why)
{
    char key[ID_TEXT_SIZE], *name = NULL;
    struct uuid uuid = id_random();
    json_t *answer = NULL, *body = json_pack("{s:O}", "training", a->flags.settings);
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
        {"name", 'n', "NAME", 0, "the model that it becomes a version of", 0},
        {"detach", OPTION_DETACH, NULL, 0, "start the job, print its id and leave", 0},
        {"idempotency-key", OPTION_KEY, "KEY", 0, "runs with the same KEY share one job", 0},
        {0},
    };
    const struct argp_child children[] = {
        {&train_flags_argp, 0, "How it learns:", 1}, cli_globals[0], {0}};
    const struct argp argp = {
        .options = options,
        .parser = parse,
        .args_doc = "NETWORK.json|MODEL.onnx|NAME[/VERSION]",
        .doc = "Train a network on the fleet as an asynchronous job that survives restarts; what "
               "comes of it is the next version of a model.\vNETWORK.json is a list of layers, or "
               "what Keras's model.to_json() gives. A model's file, or a version in the "
               "repository, goes on learning from where it is. Ctrl-C leaves the job running.",
        .children = children,
    };
    struct arguments a = {.flags.settings = json_object()};
    cli_parse(&argp, argc, argv, &a);
    int code = run(&a);
    json_decref(a.flags.settings);
    return code;
}
