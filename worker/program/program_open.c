/* program_open - a folder becomes a trainer and its data: see program.h */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "worker/kernels/cpu.h"
#include "worker/onnx/import.h"
#include "worker/train/build.h"
#include "worker/program/program_parts.h"

#define PATH_ROOM 4096

/* --- the network ------------------------------------------------------------------------------ */
/* What does not learn: whole constants by name, and columns of some behind the first. */
struct frozen {
    char **names;
    size_t len, room;
    struct trainer_columns *columns; /* names are the spec's: theirs here are owned */
    size_t columns_len;
};

static void freeze(struct frozen *f, const char *name)
{
    if (f->len == f->room) {
        f->room = MAX(16, 2 * f->room);
        f->names = xrealloc(f->names, f->room * sizeof *f->names);
    }
    f->names[f->len++] = xstrdup(name);
}

static void frozen_free(struct frozen *f)
{
    while (f->len)
        free(f->names[--f->len]);
    free(f->names);
    while (f->columns_len)
        free((char *)(uintptr_t)f->columns[--f->columns_len].name);
    free(f->columns);
}

/* Of a layer that learns, only what stands for a parameter that it has not: its running statistics
 * are to move. */
static void freeze_param(struct frozen *f, const struct spec_param *p, bool learns)
{
    if (!p->trainable && (!learns || p->stand_in))
        freeze(f, p->name);
    if (p->layout != SPEC_GATES_BIAS)
        return;
    f->columns = xrealloc(f->columns, (f->columns_len + 1) * sizeof *f->columns);
    f->columns[f->columns_len++] =
        (struct trainer_columns){xstrdup(p->name), (size_t)p->onnx_dims[p->onnx_rank - 1] / 2};
}

/* A list of layers becomes the model's bytes. */
static enum status build(struct program *self, const char *path, struct frozen *frozen,
                         struct error *why)
{
    struct spec *spec;
    enum status s = spec_load(&spec, path, why);
    if (s != STATUS_OK)
        return s;
    build_model(spec, (uint64_t)self->settings.program_seed, &self->model, &self->model_size);
    for (uint32_t i = 0; i < spec->layers_len; i++) {
        const struct spec_layer *layer = &spec->layers[i];
        for (uint32_t k = 0; k < layer->params_len; k++)
            freeze_param(frozen, &layer->params[k], spec_bool(&layer->call, "trainable"));
    }
    spec_destroy(&spec);
    return STATUS_OK;
}

static enum status read_network(struct program *self, const char *folder, struct frozen *frozen,
                                struct error *why)
{
    char path[PATH_ROOM];
    snprintf(path, sizeof path, "%s/network.json", folder);
    if (access(path, R_OK) == 0)
        return build(self, path, frozen, why);
    snprintf(path, sizeof path, "%s/model.onnx", folder);
    return file_read((char **)&self->model, &self->model_size, path, ARRAY_BYTES_MAX, why);
}

static enum status take_input(struct program *self, struct error *why)
{
    const struct graph *g = self->graph;
    if (g->inputs_len != 1)
        return fail(why, STATUS_UNSUPPORTED,
                    "the network has %u inputs; one that is trained has one", g->inputs_len);
    const struct value *v = &g->values[g->inputs[0]];
    if (!v->rank)
        return fail(why, STATUS_UNSUPPORTED, "input \"%.200s\" has no axis for rows", v->name);
    self->input = v->name;
    self->input_dtype = v->dtype;
    self->input_rank = v->rank;
    memcpy(self->input_dims, v->dims, sizeof self->input_dims);
    return STATUS_OK;
}

/* --- what does not learn --------------------------------------------------------------------- */
/* "conv2d" names the layer's "conv2d/kernel" and "conv2d/bias"; a parameter's whole name, itself.
 */
static bool names(const char *prefix, const char *name)
{
    size_t len = strlen(prefix);
    return strncmp(prefix, name, len) == 0 && (!name[len] || name[len] == '/');
}

static enum status freeze_named(const struct program *self, struct frozen *frozen,
                                struct error *why)
{
    const struct names_list *list = &self->settings.program_frozen;
    for (size_t i = 0; i < list->len; i++) {
        size_t before = frozen->len;
        for (uint32_t v = 0; v < self->graph->values_len; v++)
            if (self->graph->values[v].kind == VALUE_CONST &&
                names(list->items[i], self->graph->values[v].name))
                freeze(frozen, self->graph->values[v].name);
        if (frozen->len == before)
            return fail(why, STATUS_INVALID,
                        "training setting \"frozen\": no layer or parameter is named \"%.200s\"",
                        list->items[i]);
    }
    return STATUS_OK;
}

/* --- the trainer ------------------------------------------------------------------------------ */
/* What labels and the last operator ask for, unless the settings say. */
static enum loss_kind choose_loss(const struct program *self)
{
    const struct graph *g = self->graph;
    const struct value *v = g->outputs_len ? &g->values[g->outputs[0]] : NULL;
    const struct node *last = v && v->kind == VALUE_MADE ? g->nodes[v->maker] : NULL;
    const char *end = last ? last->op->name : "";
    if (self->settings.program_loss >= 0)
        return (enum loss_kind)self->settings.program_loss;
    if (strcmp(end, "Sigmoid") == 0)
        return LOSS_BINARY_CROSSENTROPY;
    if (program_integers(self->train.labels.dtype))
        return LOSS_SPARSE_CROSSENTROPY;
    return strcmp(end, "Softmax") == 0 ? LOSS_CROSSENTROPY : LOSS_MSE;
}

static size_t offset_of(const struct program *self, const char *name)
{
    const struct graph *g = self->graph;
    for (uint32_t v = 0; v < g->values_len; v++) {
        const uint8_t *raw = g->values[v].raw;
        if (strcmp(g->values[v].name, name) == 0 && raw >= self->model &&
            raw < self->model + self->model_size)
            return (size_t)(raw - self->model);
    }
    return SIZE_MAX;
}

/* Where each parameter stands in the file, so that it can be written back. */
static enum status find_places(struct program *self, struct error *why)
{
    const struct trainer_param *params = trainer_params(self->trainer, &self->places_len);
    self->places = xcalloc(MAX(1, self->places_len), sizeof *self->places);
    for (size_t i = 0; i < self->places_len; i++) {
        self->places[i] = (struct place){&params[i], offset_of(self, params[i].name)};
        if (self->places[i].at == SIZE_MAX)
            return fail(why, STATUS_UNSUPPORTED,
                        "parameter \"%.200s\" is not stored as raw FP32 inside the model's file",
                        params[i].name);
    }
    return STATUS_OK;
}

static enum status make_trainer(struct program *self, const struct frozen *frozen,
                                struct error *why)
{
    struct graph *graph = self->graph;
    self->loss = choose_loss(self);
    if (settings_watch_accuracy(&self->settings) && !program_has_accuracy(self))
        return fail(why, STATUS_INVALID,
                    "training setting \"early_stopping.monitor\" watches the accuracy, but %s has "
                    "none; watch the loss",
                    loss_name(self->loss));
    struct trainer_options options = {
        .loss = self->loss,
        .optimiser = settings_optimiser(&self->settings),
        .clip_norm = (float)self->settings.program_clip_norm,
        .seed = (uint64_t)self->settings.program_seed,
        .frozen = (const char *const *)frozen->names,
        .frozen_len = frozen->len,
        .columns = frozen->columns,
        .columns_len = frozen->columns_len,
    };
    enum status s = trainer_new(&self->trainer, &graph, &options, why);
    if (s != STATUS_OK)
        self->graph = NULL;
    return s == STATUS_OK ? find_places(self, why) : s;
}

/* --- the data --------------------------------------------------------------------------------- */
static enum status open_part(struct program *self, const char *folder, const char *part,
                             struct data *data, struct error *why)
{
    char path[PATH_ROOM];
    struct data_options options = {
        .label_column = self->settings.program_label_column,
        .label_key = self->settings.program_label_key,
        .input_key = self->settings.program_input_key,
    };
    snprintf(path, sizeof path, "%s/%s", folder, part);
    enum status s = data_open(data, path, &options, why);
    return s == STATUS_OK ? program_check_rows(self, part, &data->inputs, why) : s;
}

static enum status open_data(struct program *self, const char *folder, struct error *why)
{
    uint64_t batch = (uint64_t)self->settings.program_batch;
    enum status s = open_part(self, folder, "train", &self->train, why);
    if (s != STATUS_OK)
        return s;
    if (self->train.rows < batch)
        return fail(why, STATUS_INVALID,
                    "train/inputs: %" PRIu64 " rows are less than one batch of %" PRIu64
                    "; take a smaller batch or more data",
                    self->train.rows, batch);
    s = open_part(self, folder, "validation", &self->validation, why);
    if (s == STATUS_OK && !self->validation.rows)
        return fail(why, STATUS_INVALID, "validation/inputs: there are no rows");
    if (s == STATUS_NOT_FOUND)
        s = STATUS_OK;
    if (s == STATUS_OK && settings_watch_validation(&self->settings) && !self->validation.rows)
        return fail(why, STATUS_INVALID,
                    "training setting \"early_stopping.monitor\" watches the validation, but there "
                    "are no validation data");
    return s;
}

/* --- all together ----------------------------------------------------------------------------- */
static void identify(struct program *self, const char *settings)
{
    struct digester d;
    digest_start(&d);
    digest_add(&d, self->model, self->model_size);
    if (settings)
        digest_add(&d, settings, strlen(settings));
    digest_add(&d, &self->train.rows, sizeof self->train.rows);
    digest_add(&d, &self->validation.rows, sizeof self->validation.rows);
    self->identity = digest_end(&d);
}

static void take_sizes(struct program *self)
{
    uint64_t batch = (uint64_t)self->settings.program_batch;
    uint64_t few = MIN(batch, self->validation.rows),
             in = batch * program_elements(&self->train.inputs),
             out = batch * program_elements(&self->train.labels);
    if (few) { /* where steps are open, its rows may be longer */
        in = MAX(in, few * program_elements(&self->validation.inputs));
        out = MAX(out, few * program_elements(&self->validation.labels));
    }
    assert(batch > 0); /* settings.def */
    self->batch_inputs = xaligned(in * dtype_bytes(self->input_dtype));
    self->batch_target = xaligned(out * sizeof(int64_t));
    self->epoch_steps = (self->train.rows + batch - 1) / batch;
    self->steps = self->epoch_steps * (uint64_t)self->settings.program_epochs;
    self->at.best = NAN;
}

static enum status open_all(struct program *self, const char *folder, const char *settings,
                            struct frozen *frozen, struct error *why)
{
    enum status s = settings_read(&self->settings, settings, why);
    if (s == STATUS_OK)
        s = read_network(self, folder, frozen, why);
    if (s == STATUS_OK)
        s = onnx_import(&self->graph, self->model, self->model_size, NULL, why);
    if (s == STATUS_OK)
        s = take_input(self, why);
    if (s == STATUS_OK)
        s = freeze_named(self, frozen, why);
    if (s == STATUS_OK)
        s = open_data(self, folder, why);
    if (s == STATUS_OK)
        s = make_trainer(self, frozen, why);
    if (s == STATUS_OK)
        s = program_check_labels(self, "train", &self->train.labels, why);
    if (s == STATUS_OK && self->validation.rows)
        s = program_check_labels(self, "validation", &self->validation.labels, why);
    return s;
}

/* Names in the folder, not where the folder happens to be. */
static void leave_out(struct error *why, const char *folder)
{
    size_t len = strlen(folder);
    for (char *at; why && len && (at = strstr(why->text, folder)) && at[len] == '/';)
        memmove(at, at + len + 1, strlen(at + len + 1) + 1);
}

enum status program_open(struct program **out, const char *folder, const char *settings,
                         struct error *why)
{
    struct program *self = xcalloc(1, sizeof *self);
    struct frozen frozen = {0};
    self->magic = PROGRAM_MAGIC;
    enum status s = open_all(self, folder, settings, &frozen, why);
    if (s == STATUS_OK) {
        take_sizes(self);
        identify(self, settings);
    } else {
        leave_out(why, folder);
        program_destroy(&self);
    }
    frozen_free(&frozen);
    *out = self;
    return s;
}

void program_destroy(struct program **self_p)
{
    struct program *self = *self_p;
    if (!self)
        return;
    assert(self->magic == PROGRAM_MAGIC);
    if (self->trainer)
        trainer_destroy(&self->trainer); /* and its graph */
    else
        graph_destroy(&self->graph);
    data_close(&self->train);
    data_close(&self->validation);
    settings_free(&self->settings);
    free(self->places);
    free(self->points);
    free(self->batch_inputs);
    free(self->batch_target);
    free(self->model);
    self->magic = 0;
    free(self);
    *self_p = NULL;
}
