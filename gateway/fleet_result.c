/* fleet_result - the outcome of a task as an object of its own, with its frames */
#include "gateway/fleet_private.h"

#include "common/log.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a result owns besides itself. */
struct fleet_store {
    zmq_msg_t *frames; /* moved out of the message */
    size_t frames_len; /* how many */
    char *names;       /* of the outputs */
};

void fleet_result_free(struct fleet_result **self_p)
{
    struct fleet_result *self = *self_p;
    if (!self)
        return;
    if (self->store) {
        for (size_t i = 0; i < self->store->frames_len; i++)
            zmq_msg_close(&self->store->frames[i]);
        free(self->store->frames);
        free(self->store->names);
        free(self->store);
    }
    free(self->outputs);
    free(self);
    *self_p = NULL;
}

void fleet_output_gather(const struct fleet_output *output, void *into)
{
    bool whole = wire_gather(output->frames, output->frames_len, into, output->tensor.bytes);
    assert(whole); /* fleet_result_read looked */
}

struct fleet_result *fleet_result_made(const struct task *task, enum status status,
                                       const char *text)
{
    struct fleet_result *self = xcalloc(1, sizeof *self);
    self->id = task->id;
    self->status = status;
    text_copy(self->text, sizeof self->text, text);
    self->attempt = task->what.attempt;
    self->rows = task->what.rows;
    self->row = -1;
    return self;
}

/* Move the frames out of the message. */
static void own_frames(struct fleet_result *self, zmq_msg_t *frames, size_t frames_len)
{
    self->store = xcalloc(1, sizeof *self->store);
    self->store->frames = xcalloc(frames_len + 1, sizeof *frames);
    self->store->frames_len = frames_len;
    for (size_t i = 0; i < frames_len; i++) {
        zmq_msg_init(&self->store->frames[i]);
        zmq_msg_move(&self->store->frames[i], &frames[i]);
    }
}

static uint64_t octets(zmq_msg_t *frames, size_t len)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < len; i++)
        sum += zmq_msg_size(&frames[i]);
    return sum;
}

static enum status read_output(struct fleet_result *self, struct wire_map map, char **name,
                               size_t *at, struct error *why)
{
    struct fleet_output *output = &self->outputs[self->outputs_len];
    struct tensor *tensor = &output->tensor;
    size_t name_len;
    const void *text = wire_bytes(map, KEY_NAME, &name_len);
    uint64_t dtype = wire_u64(map, KEY_DTYPE), expected;
    tensor->name = *name;
    memcpy(*name, text, name_len);
    (*name)[name_len] = '\0';
    *name += name_len + 1;
    if (!dtype_known(dtype))
        return fail(why, STATUS_INTERNAL, "output %s has the unknown type %" PRIu64, tensor->name,
                    dtype);
    tensor->dtype = (enum dtype)dtype;
    tensor->rank = (uint32_t)wire_len(map, KEY_DIMS);
    tensor->bytes = (size_t)wire_u64(map, KEY_BYTES);
    for (uint32_t i = 0; i < tensor->rank; i++)
        tensor->dims[i] = (int64_t)wire_number(map, KEY_DIMS, i);
    if (dtype_bytes(tensor->dtype) &&
        (!tensor_size(tensor->dtype, tensor->dims, tensor->rank, &expected) ||
         expected != tensor->bytes))
        return fail(why, STATUS_INTERNAL, "output %s has %zu bytes, which is not its shape's size",
                    tensor->name, tensor->bytes);
    output->frames = self->store->frames + *at;
    output->frames_len = wire_frames_of(tensor->bytes);
    if (output->frames_len > self->store->frames_len - *at ||
        octets(output->frames, output->frames_len) != tensor->bytes)
        return fail(why, STATUS_INTERNAL, "the frames of output %s do not add up to %zu bytes",
                    tensor->name, tensor->bytes);
    *at += output->frames_len;
    self->outputs_len++;
    return STATUS_OK;
}

static enum status read_outputs(struct fleet_result *self, const void *spec, size_t spec_size,
                                struct error *why)
{
    struct wire_unpacked arena = {0};
    struct wire_map map;
    size_t at = 0;
    enum status s = wire_unpack(spec, spec_size, WIRE_SPEC, &arena, &map, why);
    if (s == STATUS_OK) {
        size_t len = wire_len(map, KEY_TENSORS);
        char *name = self->store->names = xmalloc(spec_size + len + 1);
        self->outputs = xcalloc(len + 1, sizeof *self->outputs);
        for (size_t i = 0; i < len && s == STATUS_OK; i++)
            s = read_output(self, wire_at(map, KEY_TENSORS, i), &name, &at, why);
        if (s == STATUS_OK && at != self->store->frames_len)
            s = fail(why, STATUS_INTERNAL, "%zu frames belong to no output",
                     self->store->frames_len - at);
    }
    wire_unpacked_free(&arena);
    return s;
}

/* INSPECT returns one frame of JSON. */
static enum status read_inspected(struct fleet_result *self, struct error *why)
{
    if (self->store->frames_len != 1)
        return fail(why, STATUS_INTERNAL, "a signature came in %zu frames, expected 1",
                    self->store->frames_len);
    size_t size = zmq_msg_size(&self->store->frames[0]);
    self->outputs = xcalloc(1, sizeof *self->outputs);
    self->outputs[0].tensor = (struct tensor){.name = "signature",
                                              .dtype = DTYPE_UINT8,
                                              .rank = 1,
                                              .dims = {(int64_t)size},
                                              .bytes = size};
    self->outputs[0].frames = self->store->frames;
    self->outputs[0].frames_len = 1;
    self->outputs_len = 1;
    return STATUS_OK;
}

struct fleet_result *fleet_result_read(const struct wire_in *in, struct wire_map map,
                                       zmq_msg_t *frames, size_t frames_len,
                                       const struct task *task)
{
    struct error why;
    uint64_t status = wire_u64(map, KEY_STATUS);
    char text[ERROR_TEXT_MAX];
    wire_text(map, KEY_TEXT, text, sizeof text);
    struct fleet_result *self =
        fleet_result_made(task, status_known(status) ? (enum status)status : STATUS_INTERNAL, text);
    self->worker = wire_uuid(in->map, KEY_WORKER);
    self->model = wire_digest(in->map, KEY_MODEL);
    wire_text(in->map, KEY_MODE, self->mode, sizeof self->mode);
    self->attempt = (uint32_t)wire_u64(map, KEY_ATTEMPT);
    self->again = (wire_u64(map, KEY_FLAGS) & WIRE_FLAG_AGAIN) != 0;
    self->compute_ns = wire_u64(map, KEY_COMPUTE_NS);
    self->queue_ns = wire_u64(map, KEY_QUEUE_NS);
    self->has_digest = wire_has(map, KEY_DIGEST);
    if (self->has_digest)
        self->digest = wire_digest(map, KEY_DIGEST);
    if (self->status != STATUS_OK) {
        if (wire_has(map, KEY_ROW) && wire_u64(map, KEY_ROW) < self->rows)
            self->row = (int64_t)wire_u64(map, KEY_ROW);
        if (!self->text[0])
            text_copy(self->text, sizeof self->text, status_advice(self->status));
        return self;
    }
    size_t spec_size;
    const void *spec = wire_bytes(map, KEY_SPEC, &spec_size);
    own_frames(self, frames, frames_len);
    enum status s = task->what.kind == WIRE_KIND_INSPECT
                        ? read_inspected(self, &why)
                        : read_outputs(self, spec, spec_size, &why);
    if (s != STATUS_OK) {
        LOG_WARN("result_damaged", "task=%" PRIu64 " why=%s", self->id, why.text);
        self->status = STATUS_INTERNAL;
        self->outputs_len = 0;
        snprintf(self->text, sizeof self->text, "the worker's result makes no sense: %.900s",
                 why.text);
    }
    return self;
}
