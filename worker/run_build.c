/* run_build - see run_build.h */
#include "worker/run_build.h"

#include <argp.h>
#include <stdlib.h>
#include <string.h>

#include "common/file.h"
#include "worker/train/build.h"

#define EXIT_USAGE 2
#define EXIT_INPUT 5
#define EXIT_LOCAL 6

enum key { KEY_SEED = 256, KEY_SUMMARY, KEY_JSON, KEY_LAYERS };

struct options {
    const char *spec, *model;
    uint64_t seed;
    bool summary, json, layers;
};

static const struct argp_option options_list[] = {
    {"output", 'o', "MODEL.onnx", 0, "Write the model there, parameters drawn afresh", 0},
    {"seed", KEY_SEED, "N", 0, "Draw other parameters (default 0); the same seed, the same bytes",
     0},
    {"summary", KEY_SUMMARY, NULL, 0, "Only print layers, shapes and parameters", 0},
    {"json", KEY_JSON, NULL, 0, "Print them as JSON", 0},
    {"layers", KEY_LAYERS, NULL, 0, "Print all layers and their arguments as Markdown", 0},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct options *o = state->input;
    char *end;
    switch (key) {
    case 'o':
        o->model = arg;
        return 0;
    case KEY_SEED:
        o->seed = strtoull(arg, &end, 10);
        if (!*arg || *end || *arg == '-' || o->seed > INT64_MAX)
            argp_error(state, "--seed takes a number from 0 to 9223372036854775807, not \"%s\"",
                       arg);
        return 0;
    case KEY_SUMMARY:
        o->summary = true;
        return 0;
    case KEY_JSON:
        o->json = true;
        return 0;
    case KEY_LAYERS:
        o->layers = true;
        return 0;
    case ARGP_KEY_ARG:
        if (o->spec)
            argp_error(state, "one specification at a time: \"%s\" is too much", arg);
        o->spec = arg;
        return 0;
    case ARGP_KEY_END:
        if (!o->layers && !o->spec)
            argp_error(state, "name a specification: convoy-run build SPEC.json -o MODEL.onnx");
        if (!o->layers && !o->summary == !o->model)
            argp_error(state, "say what to do: either --output MODEL.onnx or --summary");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static enum status write_model(const struct spec *spec, const struct options *o, struct error *why)
{
    uint8_t *bytes;
    size_t size;
    build_model(spec, o->seed, &bytes, &size);
    enum status s = file_write(o->model, bytes, size, false, why);
    free(bytes);
    return s;
}

int run_build(int argc, char **argv)
{
    static const struct argp argp = {
        options_list,
        parse,
        "SPEC.json",
        "Make an ONNX model of a list of layers, or of what Keras's model.to_json() gives.\v"
        "worker/TRAINING.md shows how a network is written, worker/LAYERS.md has all layers.\n\n"
        "Exit status: 0 it is there, 2 wrong command line, 5 the specification is wrong (its layer "
        "is named), 6 no room or no rights on this machine.",
        NULL,
        NULL,
        NULL};
    struct options o = {0};
    struct spec *spec = NULL;
    struct error why = {STATUS_OK, ""};
    argp_parse(&argp, argc, argv, 0, NULL, &o);
    if (o.layers) {
        build_layers_page(stdout);
        return EXIT_SUCCESS;
    }
    enum status s = spec_load(&spec, o.spec, &why);
    if (s == STATUS_OK && o.model)
        s = write_model(spec, &o, &why);
    if (s == STATUS_OK && o.json) {
        json_t *j = build_summary_json(spec);
        json_dumpf(j, stdout, JSON_INDENT(2));
        putchar('\n');
        json_decref(j);
    } else if (s == STATUS_OK) {
        build_summary(spec, stdout);
    }
    spec_destroy(&spec);
    if (s == STATUS_OK)
        return EXIT_SUCCESS;
    fprintf(stderr, "convoy-run build: %s\n", why.text);
    return s == STATUS_IO || s == STATUS_STORAGE_FULL ? EXIT_LOCAL : EXIT_INPUT;
}
