/* bench_models - one whole model by our engine and by onnxruntime, interleaved; `make bench-models`
 *
 *   bench_models --threads N --onnxruntime LIBRARY [--isa NAME] [--seconds S]
 *                GOAL NAME BATCH MODEL.onnx INPUT=FILE.npy...
 *
 * Prints one JSON object: what models.py makes tables of. Both outputs are compared first. */
#include <argp.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/npy.h"
#include "tests/bench/ort.h"
#include "tests/bench/peak.h"
#include "tests/bench/sampling.h"
#include "worker/engine.h"

#define TOLERANCE 1e-3 /* of an output's largest value */

enum { GOAL, NAME, BATCH, MODEL, INPUTS, WORDS_MAX = INPUTS + MODEL_VALUES_MAX };

struct options {
    uint32_t threads;
    const char *isa, *library;
    double seconds;
    char *words[WORDS_MAX];
    uint32_t words_len;
};

struct contest {
    struct model *model;
    struct ort_session *session;
    struct npy files[MODEL_VALUES_MAX];
    struct tensor inputs[MODEL_VALUES_MAX];
    struct tensor outputs[MODEL_VALUES_MAX]; /* of our last run */
    struct tensor theirs[MODEL_VALUES_MAX];
    uint32_t inputs_len, outputs_len;
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct options *o = state->input;
    switch (key) {
    case 't':
        o->threads = (uint32_t)strtoul(arg, NULL, 10);
        return 0;
    case 'i':
        o->isa = arg;
        return 0;
    case 's':
        o->seconds = strtod(arg, NULL);
        return 0;
    case 'o':
        o->library = arg;
        return 0;
    case ARGP_KEY_ARG:
        if (o->words_len == WORDS_MAX)
            argp_error(state, "too many inputs");
        o->words[o->words_len++] = arg;
        return 0;
    case ARGP_KEY_END:
        if (o->words_len <= INPUTS || !o->library)
            argp_error(state, "goal, name, batch, model, inputs and a library are needed");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* All of these end the process when they fail. */
static void must(enum status status, const struct error *why)
{
    if (status == STATUS_OK)
        return;
    fprintf(stderr, "bench_models: %s\n", why->text);
    exit(1);
}

static void open_input(struct contest *c, char *pair)
{
    struct error why = {STATUS_OK, ""};
    char *equals = strrchr(pair, '=');
    struct npy *npy = &c->files[c->inputs_len];
    if (!equals) {
        fprintf(stderr, "bench_models: \"%s\" is not NAME=FILE\n", pair);
        exit(2);
    }
    *equals = '\0';
    must(npy_map(npy, equals + 1, &why), &why);
    struct tensor t = {.name = pair, .dtype = npy->dtype, .rank = npy->rank};
    memcpy(t.dims, npy->dims, sizeof t.dims);
    t.bytes = (size_t)npy->data_bytes;
    t.data = xaligned(t.bytes);
    memcpy(t.data, npy->data, t.bytes);
    c->inputs[c->inputs_len++] = t;
}

static void run_ours(void *arg)
{
    struct contest *c = arg;
    struct error why = {STATUS_OK, ""};
    must(model_run(c->model, c->inputs, c->inputs_len, c->outputs, &why), &why);
}

static void run_theirs(void *arg)
{
    const struct contest *c = arg;
    ort_run(c->session);
}

static void open_all(struct contest *c, const struct options *o)
{
    struct error why = {STATUS_OK, ""};
    must(engine_start(o->isa, o->threads, &why), &why);
    must(model_load_file(&c->model, o->words[MODEL], &why), &why);
    for (uint32_t i = INPUTS; i < o->words_len; i++)
        open_input(c, o->words[i]);
    c->outputs_len = model_signature(c->model)->outputs_len;
    run_ours(c);
    for (uint32_t i = 0; i < c->outputs_len; i++) {
        c->theirs[i] = c->outputs[i];
        c->theirs[i].data = xaligned(c->outputs[i].bytes);
    }
    ort_start(o->library);
    c->session = ort_open(o->words[MODEL], (int)o->threads);
    ort_bind(c->session, c->inputs, c->inputs_len, c->theirs, c->outputs_len);
    run_theirs(c);
}

static void close_all(struct contest *c)
{
    ort_close(&c->session);
    model_destroy(&c->model);
    for (uint32_t i = 0; i < c->inputs_len; i++) {
        free(c->inputs[i].data);
        npy_close(&c->files[i]);
    }
    for (uint32_t i = 0; i < c->outputs_len; i++)
        free(c->theirs[i].data);
}

/* Largest difference as a part of the largest value; of other types than FP32 all or nothing. */
static double difference(const struct tensor *a, const struct tensor *b)
{
    const float *x = a->data, *y = b->data;
    double largest = 0, apart = 0;
    if (a->dtype != DTYPE_FP32)
        return memcmp(a->data, b->data, a->bytes) == 0 ? 0 : INFINITY;
    for (size_t i = 0; i < a->bytes / sizeof(float); i++) {
        largest = fmax(largest, fabs((double)x[i]));
        apart = fmax(apart, fabs((double)x[i] - (double)y[i]));
    }
    return isfinite(largest) && largest > 0 ? apart / largest : INFINITY;
}

static void check(const struct contest *c, const char *name)
{
    for (uint32_t i = 0; i < c->outputs_len; i++) {
        double apart = difference(&c->outputs[i], &c->theirs[i]);
        if (apart <= TOLERANCE)
            continue;
        fprintf(stderr, "bench_models: %s: output \"%s\" differs by %g of the largest\n", name,
                c->outputs[i].name, apart);
        exit(1);
    }
}

static void measure(struct contest *c, const struct options *o)
{
    struct error why = {STATUS_OK, ""};
    struct model_cost cost;
    struct body bodies[] = {
        {.run = run_ours, .arg = c}, {.run = run_theirs, .arg = c}, {.run = peak_run}};
    must(model_cost(c->model, c->inputs, c->inputs_len, &cost, &why), &why);
    double flops = cost.data_nodes ? 0 : 2 * (double)cost.macs; /* 0: not known before the run */
    sampling_run(bodies, ARRAY_LEN(bodies), o->threads, o->seconds * 2);
    printf("{\"goal_id\": \"%s\", \"work\": \"%s\", \"batch\": %s, \"threads\": %u, "
           "\"flops\": %.0f, \"peak_gflops\": %.1f, \"contenders\": {"
           "\"ours\": {\"us_min\": %.3f, \"us_median\": %.3f}, "
           "\"onnxruntime\": {\"us_min\": %.3f, \"us_median\": %.3f}}}\n",
           o->words[GOAL], o->words[NAME], o->words[BATCH], o->threads, flops,
           peak_flops() / bodies[2].us_min * 1e-3, bodies[0].us_min, bodies[0].us_median,
           bodies[1].us_min, bodies[1].us_median);
}

int main(int argc, char **argv)
{
    static const struct argp_option list[] = {
        {"threads", 't', "N", 0, NULL, 0},
        {"isa", 'i', "NAME", 0, NULL, 0},
        {"seconds", 's', "S", 0, NULL, 0},
        {"onnxruntime", 'o', "LIBRARY", 0, NULL, 0},
        {0},
    };
    struct options o = {.threads = 1, .isa = "auto", .seconds = 2};
    struct contest contest = {0};
    argp_parse(&(struct argp){.options = list, .parser = parse}, argc, argv, 0, NULL, &o);
    open_all(&contest, &o);
    check(&contest, o.words[NAME]);
    measure(&contest, &o);
    close_all(&contest);
    return 0;
}
