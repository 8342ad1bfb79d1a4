/* agent_model - see agent_model.h */
#include "worker/agent_model.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

struct agent_model *agent_models_find(const struct agent_models *self, const struct digest *version)
{
    for (size_t i = 0; i < self->len; i++)
        if (digest_equal(&self->list[i]->version, version))
            return self->list[i];
    return NULL;
}

static void model_free(struct agent_model *model)
{
    free(model->name);
    free(model->path);
    free(model->signature);
    free(model->settings);
    free(model);
}

void agent_models_remove(struct agent_models *self, struct agent_model *model)
{
    size_t i = 0;
    assert(model->queue.len == 0 && model->running == 0);
    while (self->list[i] != model)
        i++;
    self->list[i] = self->list[--self->len];
    model_free(model);
}

void agent_models_free(struct agent_models *self)
{
    while (self->len > 0)
        model_free(self->list[--self->len]);
}

static struct agent_model *longest_idle(const struct agent_models *self)
{
    struct agent_model *best = NULL;
    for (size_t i = 0; i < self->len; i++) {
        struct agent_model *model = self->list[i];
        bool idle = model->queue.len == 0 && model->running == 0;
        if (idle && (!best || model->used_ns < best->used_ns))
            best = model;
    }
    return best;
}

struct agent_model *agent_models_add(struct agent_models *self, const struct digest *version,
                                     const char *name, bool *evicted,
                                     struct digest *evicted_version)
{
    char text[DIGEST_TEXT_SIZE];
    *evicted = false;
    if (self->len == AGENT_MODELS_MAX) {
        struct agent_model *victim = longest_idle(self);
        if (!victim)
            return NULL;
        *evicted = true;
        *evicted_version = victim->version;
        agent_models_remove(self, victim);
    }
    struct agent_model *model = xcalloc(1, sizeof *model);
    model->version = *version;
    model->name = xstrdup(name[0] ? name : digest_text(text, version));
    batch_queue_init(&model->queue);
    self->list[self->len++] = model;
    return model;
}

void agent_model_program(struct agent_model *self, char *path, char *settings)
{
    free(self->path);
    free(self->settings);
    self->path = path;
    self->settings = settings;
    self->policy = (struct batch_policy){.rows_max = 1, .tasks_max = 1, .bytes_max = UINT64_MAX};
    self->resident = true; /* there is no model to be loaded for it */
    self->state = MODEL_READY;
}

static const struct manifest_axis *axis_said(const struct manifest *manifest, const char *output)
{
    for (size_t i = 0; i < manifest->axes_len; i++)
        if (strcmp(manifest->axes[i].output, output) == 0)
            return &manifest->axes[i];
    return NULL;
}

/* One axis for each output; each output that config names must be there. */
static enum status take_axes(struct agent_model *self, const json_t *outputs,
                             const struct manifest *manifest, struct error *why)
{
    size_t used = 0;
    self->axes_len = (uint32_t)MIN(json_array_size(outputs), ARRAY_LEN(self->axes));
    for (uint32_t i = 0; i < self->axes_len; i++) {
        const json_t *output = json_array_get(outputs, i);
        const char *name = json_string_value(json_object_get(output, "name"));
        json_int_t axis = json_integer_value(json_object_get(output, "batch_axis"));
        const struct manifest_axis *said = axis_said(manifest, name ? name : "");
        self->axes[i] = said ? said->axis : (uint32_t)axis;
        used += said != NULL;
    }
    if (used != manifest->axes_len)
        return fail(why, STATUS_BAD_MODEL,
                    "config: batching.output_batch_axis names %s, of which the model has %zu of "
                    "%zu: use the outputs' names",
                    manifest->axes[0].output, used, manifest->axes_len);
    return STATUS_OK;
}

enum status agent_model_ready(struct agent_model *self, const char *signature, size_t size,
                              const struct manifest *manifest,
                              const struct batch_defaults *defaults, struct error *why)
{
    json_error_t error;
    json_t *root = json_loadb(signature, size, 0, &error);
    if (!root)
        return fail(why, STATUS_INTERNAL, "the runner's signature is no JSON: %s", error.text);
    uint64_t rows_max = manifest->rows_max ? manifest->rows_max : defaults->rows_max;
    bool independent = json_is_true(json_object_get(root, "batchable")) || manifest->axes_len > 0;
    enum status status = take_axes(self, json_object_get(root, "outputs"), manifest, why);
    json_decref(root);
    if (status != STATUS_OK)
        return status;
    self->policy = (struct batch_policy){
        .batchable = independent,
        .rows_max = (uint32_t)rows_max,
        .tasks_max = manifest->rows_max == 1 ? 1 : defaults->tasks_max,
        .bytes_max = defaults->bytes_max,
        .delay_ns = manifest->delay_ns != UINT64_MAX ? manifest->delay_ns : defaults->delay_ns,
    };
    free(self->signature);
    self->signature = xmalloc(size + 1);
    memcpy(self->signature, signature, size);
    self->signature[size] = '\0';
    self->signature_size = size;
    self->state = MODEL_READY;
    return STATUS_OK;
}
