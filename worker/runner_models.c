/* runner_models - see runner_models.h */
#include "worker/runner_models.h"

#include "common/clock.h"
#include "common/file.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct loaded {
    struct digest version;
    struct model *model; /* owns its mapping of the file */
    uint64_t file_bytes; /* of the model's file: its weights, more or less */
    uint64_t used;       /* turn of its last use */
};

struct runner_models {
    struct loaded list[RING_MODELS_MAX];
    size_t len;
    uint64_t bytes_max; /* of files and arenas together */
    uint64_t turn;      /* counts uses */
    uint64_t *ticks;    /* every model counts its operators here */
};

struct runner_models *runner_models_new(uint64_t bytes_max, uint64_t *ticks)
{
    struct runner_models *self = xcalloc(1, sizeof *self);
    self->bytes_max = bytes_max;
    self->ticks = ticks;
    return self;
}

void runner_models_destroy(struct runner_models **self_p)
{
    struct runner_models *self = *self_p;
    if (!self)
        return;
    for (size_t i = 0; i < self->len; i++)
        model_destroy(&self->list[i].model);
    free(self);
    *self_p = NULL;
}

static uint64_t bytes_used(const struct runner_models *self)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < self->len; i++)
        bytes += self->list[i].file_bytes + model_arena_bytes(self->list[i].model);
    return bytes;
}

static void evict_oldest(struct runner_models *self, struct ring_load *load)
{
    size_t oldest = 0;
    for (size_t i = 1; i < self->len; i++)
        if (self->list[i].used < self->list[oldest].used)
            oldest = i;
    load->evicted[load->evicted_len++] = self->list[oldest].version;
    model_destroy(&self->list[oldest].model);
    self->list[oldest] = self->list[--self->len];
}

/* The store's name of the file means nothing to whoever reads the reason. */
static void hide_path(struct error *why, const char *path)
{
    size_t length = strlen(path);
    if (strncmp(why->text, path, length) == 0 && strncmp(why->text + length, ": ", 2) == 0)
        memmove(why->text, why->text + length + 2, strlen(why->text + length + 2) + 1);
}

enum status runner_models_get(struct runner_models *self, const struct digest *version,
                              const char *path, struct model **model, struct ring_load *load,
                              struct error *why)
{
    struct stat info;
    uint64_t start_ns = clock_mono_ns();
    self->turn++;
    for (size_t i = 0; i < self->len; i++) {
        if (!digest_equal(&self->list[i].version, version))
            continue;
        self->list[i].used = self->turn;
        *model = self->list[i].model;
        load->resident = 1;
        return STATUS_OK;
    }
    if (stat(path, &info) != 0)
        return fail(why, STATUS_NOT_FOUND, "%s: the model's file is not in the store any more",
                    path);
    uint64_t bytes = (uint64_t)info.st_size;
    while (self->len > 0 &&
           (self->len == RING_MODELS_MAX || bytes_used(self) + bytes > self->bytes_max))
        evict_oldest(self, load);
    enum status status = model_load_file(model, path, why);
    if (status != STATUS_OK) {
        hide_path(why, path);
        return status;
    }
    model_tick_counter(*model, self->ticks);
    self->list[self->len++] = (struct loaded){*version, *model, bytes, self->turn};
    load->resident = 1;
    load->load_ns = clock_mono_ns() - start_ns;
    return STATUS_OK;
}

static json_t *describe(const struct tensor *value)
{
    json_t *shape = json_array();
    for (uint32_t d = 0; d < value->rank; d++)
        json_array_append_new(shape, json_integer(value->dims[d]));
    return json_pack("{s:s, s:s, s:o}", "name", value->name, "datatype", dtype_name(value->dtype),
                     "shape", shape);
}

char *runner_signature(const struct model *model)
{
    const struct signature *signature = model_signature(model);
    json_t *inputs = json_array(), *outputs = json_array();
    for (uint32_t i = 0; i < signature->inputs_len; i++)
        json_array_append_new(inputs, describe(&signature->inputs[i]));
    for (uint32_t i = 0; i < signature->outputs_len; i++) {
        json_t *output = describe(&signature->outputs[i]);
        json_object_set_new(output, "batch_axis", json_integer(signature->output_batch_axis[i]));
        json_array_append_new(outputs, output);
    }
    json_t *root = json_pack("{s:s, s:o, s:o, s:b}", "platform", "onnx", "inputs", inputs,
                             "outputs", outputs, "batchable", signature->batchable);
    char *text = json_dumps(root, JSON_COMPACT);
    json_decref(root);
    if (!text)
        panic("out of memory writing a signature");
    return text;
}
