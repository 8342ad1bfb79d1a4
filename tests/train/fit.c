/* fit - train a list of layers on rows of texts, as few words as a script of PyTorch takes
 *
 *    fit NETWORK.json FOLDER --epochs N --batch N --seed N --threads N --rate R
 *
 * FOLDER holds train and test, each as NAME.inputs (INT32 rows, as the network's input has them)
 * and NAME.labels (a byte each). Adam as Keras has it, sparse categorical cross-entropy. Prints one
 * line of JSON: rows per second of training, and accuracy and loss on the test rows behind it. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "worker/engine.h"
#include "worker/onnx/import.h"
#include "worker/train/build.h"
#include "worker/train/trainer.h"

struct names {
    size_t len, width;
    int32_t *inputs;
    uint8_t *labels;
};

struct options {
    uint64_t epochs, batch, seed, threads;
    double rate;
};

_Noreturn static void quit(const char *what, const char *text)
{
    fprintf(stderr, "fit: %s: %s\n", what, text);
    exit(1);
}

static void *read_all(const char *folder, const char *name, size_t *bytes)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "rb");
    if (!f || fseek(f, 0, SEEK_END) != 0)
        quit(path, "cannot be read");
    *bytes = (size_t)ftell(f);
    rewind(f);
    void *data = xaligned(*bytes);
    if (fread(data, 1, *bytes, f) != *bytes)
        quit(path, "ends early");
    fclose(f);
    return data;
}

static struct names read_rows(const char *folder, const char *name, size_t width)
{
    char file[64];
    struct names r = {.width = width};
    size_t bytes;
    snprintf(file, sizeof file, "%s.labels", name);
    r.labels = read_all(folder, file, &r.len);
    snprintf(file, sizeof file, "%s.inputs", name);
    r.inputs = read_all(folder, file, &bytes);
    if (!r.len || bytes != r.len * width * sizeof(int32_t))
        quit(file, "does not fit its labels");
    return r;
}

/* splitmix64: G. Steele and others, Fast Splittable Pseudorandom Number Generators, 2014. */
static uint64_t next(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/* Biases that Keras has once and ONNX twice. */
static size_t half_biases(const struct spec *spec, struct trainer_columns *out, size_t max)
{
    size_t n = 0;
    for (uint32_t i = 0; i < spec->layers_len; i++)
        for (uint32_t k = 0; k < spec->layers[i].params_len; k++) {
            const struct spec_param *p = &spec->layers[i].params[k];
            size_t columns = (size_t)p->onnx_dims[p->onnx_rank - 1] / 2;
            if (p->layout == SPEC_GATES_BIAS && n < max)
                out[n++] = (struct trainer_columns){p->name, columns};
        }
    return n;
}

static struct trainer *trainer_of(const struct spec *spec, const struct options *o)
{
    struct trainer_columns columns[16];
    struct trainer_options options = {.loss = LOSS_SPARSE_CROSSENTROPY, .seed = o->seed};
    struct graph *graph;
    struct trainer *t;
    struct error why;
    uint8_t *file; /* stays mapped as long as the trainer */
    size_t size;
    options.optimiser =
        (struct update){.kind = UPDATE_ADAM, .beta1 = 0.9f, .beta2 = 0.999f, .epsilon = 1e-7f};
    options.columns = columns;
    options.columns_len = half_biases(spec, columns, ARRAY_LEN(columns));
    build_model(spec, o->seed, &file, &size);
    if (onnx_import(&graph, file, size, NULL, &why) != STATUS_OK ||
        trainer_new(&t, &graph, &options, &why) != STATUS_OK)
        quit("network", why.text);
    return t;
}

/* Rows order[0..n-1] as a batch. */
static void gather(const struct names *from, const size_t *order, size_t n, struct tensor *inputs,
                   struct tensor *labels)
{
    for (size_t i = 0; i < n; i++) {
        memcpy((int32_t *)inputs->data + i * from->width, from->inputs + order[i] * from->width,
               from->width * sizeof(int32_t));
        ((uint8_t *)labels->data)[i] = from->labels[order[i]];
    }
    inputs->dims[0] = labels->dims[0] = (int64_t)n;
    inputs->bytes = n * from->width * sizeof(int32_t);
    labels->bytes = n;
}

static void run_all(struct trainer *t, const struct names *train, const struct names *test,
                    const struct options *o)
{
    struct tensor inputs = {NULL, DTYPE_INT32, 2, {0, (int64_t)train->width}, NULL, 0};
    struct tensor labels = {NULL, DTYPE_UINT8, 1, {0}, NULL, 0};
    struct trainer_result result = {0};
    struct error why;
    size_t *order = xcalloc(MAX(train->len, test->len), sizeof *order), correct = 0;
    uint64_t state = o->seed, step = 0;
    double loss = 0;
    inputs.data = xaligned(o->batch * train->width * sizeof(int32_t));
    labels.data = xaligned(o->batch);
    for (size_t i = 0; i < train->len; i++)
        order[i] = i;
    uint64_t begun = clock_mono_ns();
    for (uint64_t epoch = 0; epoch < o->epochs; epoch++) {
        for (size_t i = train->len; i > 1; i--) { /* Fisher and Yates */
            size_t k = (size_t)(next(&state) % i), kept = order[i - 1];
            order[i - 1] = order[k];
            order[k] = kept;
        }
        for (size_t i = 0; i < train->len; i += o->batch) {
            gather(train, order + i, MIN(o->batch, train->len - i), &inputs, &labels);
            if (trainer_step(t, &inputs, 1, &labels, ++step, o->rate, &result, &why) != STATUS_OK)
                quit("step", why.text);
        }
    }
    double seconds = (double)(clock_mono_ns() - begun) / 1e9;
    for (size_t i = 0; i < test->len; i++)
        order[i] = i;
    for (size_t i = 0; i < test->len; i += o->batch) {
        gather(test, order + i, MIN(o->batch, test->len - i), &inputs, &labels);
        if (trainer_evaluate(t, &inputs, 1, &labels, &result, &why) != STATUS_OK)
            quit("test", why.text);
        correct += result.correct;
        loss += result.loss * (double)result.rows;
    }
    printf("{\"rows_s\": %.1f, \"accuracy\": %.5f, \"loss\": %.5f}\n",
           (double)(train->len * o->epochs) / seconds, (double)correct / (double)test->len,
           loss / (double)test->len);
    free(order);
    free(inputs.data);
    free(labels.data);
}

static void read_options(int argc, char **argv, struct options *o)
{
    *o = (struct options){.epochs = 1, .batch = 32, .threads = 1, .rate = 0.001};
    for (int i = 3; i + 1 < argc; i += 2) {
        uint64_t *number = strcmp(argv[i], "--epochs") == 0    ? &o->epochs
                           : strcmp(argv[i], "--batch") == 0   ? &o->batch
                           : strcmp(argv[i], "--seed") == 0    ? &o->seed
                           : strcmp(argv[i], "--threads") == 0 ? &o->threads
                                                               : NULL;
        if (number)
            *number = strtoull(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--rate") == 0)
            o->rate = strtod(argv[i + 1], NULL);
        else
            quit(argv[i], "unknown option");
    }
    if (!o->batch)
        quit("--batch", "expected 1 or more");
}

int main(int argc, char **argv)
{
    struct options o;
    struct spec *spec;
    struct error why;
    if (argc < 3 || argc % 2 == 0)
        quit("usage", "fit NETWORK.json FOLDER [--epochs N] [--batch N] [--seed N] [--threads N] "
                      "[--rate R]");
    read_options(argc, argv, &o);
    if (engine_start("auto", (uint32_t)o.threads, &why) != STATUS_OK ||
        spec_load(&spec, argv[1], &why) != STATUS_OK)
        quit(argv[1], why.text);
    size_t width = (size_t)spec->layers[0].shape.dims[0];
    struct names train = read_rows(argv[2], "train", width),
                 test = read_rows(argv[2], "test", width);
    struct trainer *t = trainer_of(spec, &o);
    run_all(t, &train, &test, &o);
    trainer_destroy(&t);
    spec_destroy(&spec);
    free(train.inputs);
    free(train.labels);
    free(test.inputs);
    free(test.labels);
    return 0;
}
