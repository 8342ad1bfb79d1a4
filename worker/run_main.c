/* convoy-run - run an ONNX model on this machine, without a fleet
 *
 * Exit status, as `convoy help` has them: 0 it ran; 2 the command line is wrong; 3 the model cannot
 * run (its operators are named); 5 an input is wrong; 6 this machine has no room or no rights. */
#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/npy.h"
#include "worker/run_build.h"
#include "worker/run_report.h"
#include "worker/run_texts.h"
#include "worker/run_train.h"

#define EXIT_USAGE 2
#define EXIT_MODEL 3
#define EXIT_INPUT 5
#define EXIT_LOCAL 6
#define REPEAT_MAX 1000000

enum key { KEY_ISA = 256, KEY_PROFILE, KEY_JSON, KEY_INSPECT, KEY_OPERATORS, KEY_SHAPE };

struct options {
    const char *model;
    const char *inputs[MODEL_VALUES_MAX]; /* NAME=FILE */
    uint32_t inputs_len;
    const char *shapes[MODEL_VALUES_MAX]; /* NAME=DIM,DIM,... */
    uint32_t shapes_len;
    const char *dir;
    const char *isa;
    uint32_t threads; /* 0: one per core */
    uint32_t batch;   /* rows per piece; 0: all */
    uint32_t repeat;
    bool profile, json, inspect, operators;
};

static const struct argp_option options_list[] = {
    {"input", 'i', "NAME=FILE", 0,
     "Input NAME from a .npy file, texts from a .json one; split at the last '='", 0},
    {"output-dir", 'o', "DIR", 0, "Write outputs to DIR/000.npy, ... and DIR/outputs.json", 0},
    {"threads", 't', "N", 0, "Threads for kernels (default: one per core)", 0},
    {"batch", 'b', "N", 0,
     "Rows computed at once where rows are independent (default 32; 0: all). Same bytes.", 0},
    {"repeat", 'r', "K", 0, "Run K times and report the fastest and the median", 0},
    {"isa", KEY_ISA, "NAME", 0,
     "Instruction set: auto (default, or what CONVOY_ISA says), avx512, avx2, generic; "
     "/strict behind it: no Winograd",
     0},
    {"profile", KEY_PROFILE, NULL, 0, "Print the time spent in each node", 0},
    {"json", KEY_JSON, NULL, 0, "Print JSON instead of text", 0},
    {"inspect", KEY_INSPECT, NULL, 0,
     "Tell what the file holds and what a run would cost; run nothing", 0},
    {"shape", KEY_SHAPE, "NAME=D,D,...", 0, "With --inspect: the cost at this shape of an input",
     0},
    {"operators", KEY_OPERATORS, NULL, 0, "Print the operators of this engine as Markdown", 0},
    {0},
};

static uint32_t number(struct argp_state *state, const char *text, const char *name, uint32_t max)
{
    char *end;
    unsigned long value = strtoul(text, &end, 10);
    if (!*text || *end || text[0] == '-' || value > max)
        argp_error(state, "--%s takes a number from 0 to %u, not \"%s\"", name, max, text);
    return (uint32_t)value;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct options *o = state->input;
    switch (key) {
    case 'i':
        if (o->inputs_len == MODEL_VALUES_MAX)
            argp_error(state, "more than %d inputs", MODEL_VALUES_MAX);
        o->inputs[o->inputs_len++] = arg;
        return 0;
    case 'o':
        o->dir = arg;
        return 0;
    case 't':
        o->threads = number(state, arg, "threads", 1024);
        return 0;
    case 'b':
        o->batch = number(state, arg, "batch", INT32_MAX);
        return 0;
    case 'r':
        o->repeat = number(state, arg, "repeat", REPEAT_MAX);
        return 0;
    case KEY_ISA:
        o->isa = arg;
        return 0;
    case KEY_PROFILE:
        o->profile = true;
        return 0;
    case KEY_JSON:
        o->json = true;
        return 0;
    case KEY_INSPECT:
        o->inspect = true;
        return 0;
    case KEY_SHAPE:
        if (o->shapes_len == MODEL_VALUES_MAX)
            argp_error(state, "more than %d shapes", MODEL_VALUES_MAX);
        o->shapes[o->shapes_len++] = arg;
        return 0;
    case KEY_OPERATORS:
        o->operators = true;
        return 0;
    case ARGP_KEY_ARG:
        if (o->model)
            argp_error(state, "one model at a time: \"%s\" is too much", arg);
        o->model = arg;
        return 0;
    case ARGP_KEY_END:
        if (o->operators)
            return 0;
        if (!o->model)
            argp_error(state, "name a model: convoy-run FILE.onnx ...");
        if (!o->inspect && !o->dir)
            argp_error(state, "say where outputs go: --output-dir DIR (or --inspect)");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* One input as it lies in its file, and aligned. */
struct given {
    char *name;
    struct npy npy;
    void *copy; /* NULL when the map is aligned already */
};

static enum status open_input(struct given *g, const char *pair, struct tensor *t,
                              struct error *why)
{
    const char *equals = strrchr(pair, '=');
    if (!equals || equals == pair || !equals[1])
        return fail(why, STATUS_INVALID, "--input \"%.200s\" is not NAME=FILE", pair);
    g->name = xstrdup(pair);
    g->name[equals - pair] = '\0';
    if (strlen(equals) > 5 && strcmp(equals + strlen(equals) - 5, ".json") == 0) {
        *t = (struct tensor){.name = g->name};
        enum status read = texts_load(equals + 1, t, why);
        g->copy = t->data;
        return read;
    }
    enum status s = npy_map(&g->npy, equals + 1, why);
    if (s != STATUS_OK)
        return s;
    *t = (struct tensor){.name = g->name, .dtype = g->npy.dtype, .rank = g->npy.rank};
    memcpy(t->dims, g->npy.dims, sizeof t->dims);
    t->bytes = (size_t)g->npy.data_bytes;
    t->data = (void *)(uintptr_t)g->npy.data; /* read only, as the engine promises */
    if ((uintptr_t)t->data % TENSOR_ALIGN == 0)
        return STATUS_OK;
    t->data = g->copy = xaligned(t->bytes);
    memcpy(g->copy, g->npy.data, t->bytes);
    return STATUS_OK;
}

static void close_inputs(struct given *given, uint32_t len)
{
    for (uint32_t i = 0; i < len; i++) {
        free(given[i].name);
        free(given[i].copy);
        npy_close(&given[i].npy);
    }
}

static double now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static enum status run_all(const struct options *o, struct model *model, struct batches *batches,
                           struct run_times *times, struct error *why)
{
    uint32_t repeat = MAX(o->repeat, 1);
    double *us = xcalloc(repeat, sizeof *us);
    enum status s = STATUS_OK;
    model_profile(model, o->profile);
    for (uint32_t i = 0; i < repeat && s == STATUS_OK; i++) {
        double start = now_us();
        s = batches_run(batches, why);
        us[i] = now_us() - start;
    }
    qsort(us, repeat, sizeof *us, ascending);
    times->us_min = us[0];
    times->us_median = us[repeat / 2];
    free(us);
    return s;
}

/* Order the inputs as the signature does; the engine itself checks the rest. */
static enum status in_order(const struct model *model, const struct tensor *given, uint32_t len,
                            struct tensor *sorted, struct error *why)
{
    const struct signature *s = model_signature(model);
    if (len != s->inputs_len)
        return fail(why, STATUS_INVALID,
                    "the model takes %u inputs; %u were given (--inspect lists "
                    "them)",
                    s->inputs_len, len);
    for (uint32_t i = 0; i < s->inputs_len; i++) {
        uint32_t k = 0;
        while (k < len && strcmp(given[k].name, s->inputs[i].name) != 0)
            k++;
        if (k == len)
            return fail(why, STATUS_INVALID,
                        "input \"%.200s\" is missing: add --input '%.200s=FILE.npy'",
                        s->inputs[i].name, s->inputs[i].name);
        sorted[i] = given[k];
    }
    return STATUS_OK;
}

static enum status compute(const struct options *o, struct model *model, struct run_times *times,
                           struct error *why)
{
    struct given given[MODEL_VALUES_MAX] = {0};
    struct tensor tensors[MODEL_VALUES_MAX], sorted[MODEL_VALUES_MAX];
    struct batches *batches = NULL;
    enum status s = STATUS_OK;
    for (uint32_t i = 0; i < o->inputs_len && s == STATUS_OK; i++)
        s = open_input(&given[i], o->inputs[i], &tensors[i], why);
    if (s == STATUS_OK)
        s = in_order(model, tensors, o->inputs_len, sorted, why);
    if (s == STATUS_OK) {
        batches = batches_new(model, sorted, o->batch);
        s = run_all(o, model, batches, times, why);
    }
    if (s == STATUS_OK)
        s = report_outputs(model, batches, times, o->dir, o->json, o->profile, why);
    if (s == STATUS_OK && o->profile && !o->json)
        report_profile(model);
    batches_destroy(&batches);
    close_inputs(given, o->inputs_len);
    return s;
}

int main(int argc, char **argv)
{
    static const struct argp argp = {
        options_list,
        parse,
        "FILE.onnx\nbuild SPEC.json -o MODEL.onnx\ntrain NETWORK.json --data FILE --labels FILE -o "
        "MODEL.onnx",
        "Run an ONNX model on this machine, without a fleet; make one of a list of layers "
        "(convoy-run build --help); or train one (convoy-run train --help).\v"
        "Exit status: 0 it ran, 2 wrong command line, 3 the model cannot "
        "run, 5 wrong input, 6 no room or no rights on this machine.",
        NULL,
        NULL,
        NULL};
    const char *isa = getenv("CONVOY_ISA"); /* as convoy-worker reads its parameter */
    struct options o = {.isa = isa ? isa : "auto", .batch = RUN_BATCH_DEFAULT, .repeat = 1};
    struct run_times times = {0, 0, 0};
    struct model *model = NULL;
    struct error why = {STATUS_OK, ""};
    argp_err_exit_status = EXIT_USAGE;
    argp_program_version = "convoy-run " CONVOY_VERSION;
    if (argc > 1 && strcmp(argv[1], "build") == 0) {
        argv[1] = "convoy-run build"; /* what its messages begin with */
        return run_build(argc - 1, argv + 1);
    }
    if (argc > 1 && strcmp(argv[1], "train") == 0) {
        argv[1] = "convoy-run train";
        return run_train(argc - 1, argv + 1);
    }
    argp_parse(&argp, argc, argv, 0, NULL, &o);
    if (o.operators) {
        report_operators();
        return EXIT_SUCCESS;
    }
    enum status s = engine_start(o.isa, o.threads, &why);
    double start = now_us();
    if (s == STATUS_OK && o.inspect)
        s = report_inspect(o.model, o.shapes, o.shapes_len, o.json, &why);
    else if (s == STATUS_OK)
        s = model_load_file(&model, o.model, &why);
    times.load_ms = (now_us() - start) / 1e3;
    if (s == STATUS_OK && !o.inspect)
        s = compute(&o, model, &times, &why);
    model_destroy(&model);
    if (s == STATUS_OK)
        return EXIT_SUCCESS;
    fprintf(stderr, "convoy-run: %s\n", why.text);
    if (s == STATUS_BAD_MODEL)
        return EXIT_MODEL;
    return s == STATUS_IO || s == STATUS_STORAGE_FULL ? EXIT_LOCAL : EXIT_INPUT;
}
