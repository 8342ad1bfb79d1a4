/* agent_result - what comes in as a SPEC and goes out as a result; see agent_task.h */
#include "worker/agent_task.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* --- SPEC ------------------------------------------------------------------------------------- */
static enum status read_tensor(struct wire_map map, struct tensor *tensor, char *name,
                               struct error *why)
{
    uint64_t bytes = 0;
    size_t name_size;
    const char *text = wire_bytes(map, KEY_NAME, &name_size);
    memcpy(name, text, name_size);
    name[name_size] = '\0';
    *tensor = (struct tensor){.name = name,
                              .dtype = (enum dtype)wire_u64(map, KEY_DTYPE),
                              .rank = (uint32_t)wire_len(map, KEY_DIMS),
                              .bytes = (size_t)wire_u64(map, KEY_BYTES)};
    if (!dtype_known(tensor->dtype))
        return fail(why, STATUS_INVALID, "input %s: element type %d is not known", name,
                    (int)tensor->dtype);
    for (uint32_t d = 0; d < tensor->rank; d++) {
        uint64_t dim = wire_number(map, KEY_DIMS, d);
        tensor->dims[d] = dim > INT64_MAX ? -1 : (int64_t)dim;
    }
    if (!tensor_size(tensor->dtype, tensor->dims, tensor->rank, &bytes) ||
        (tensor->dtype != DTYPE_BYTES && bytes != tensor->bytes)) {
        char dims[128];
        return fail(why, STATUS_INVALID, "input %s: %s of %s takes %" PRIu64 " bytes, got %zu",
                    name, dtype_name(tensor->dtype),
                    dims_text(dims, sizeof dims, tensor->dims, tensor->rank), bytes, tensor->bytes);
    }
    return STATUS_OK;
}

/* Octets of the names, each with its end. */
static size_t names_size(struct wire_map map)
{
    size_t total = 0, size;
    for (size_t i = 0; i < wire_len(map, KEY_TENSORS); i++) {
        wire_bytes(wire_at(map, KEY_TENSORS, i), KEY_NAME, &size);
        total += size + 1;
    }
    return total;
}

enum status task_spec_read(struct task_spec **out, const void *packed, size_t size,
                           struct task_spec *last, struct error *why)
{
    struct wire_unpacked arena = {0};
    struct wire_map map;
    *out = NULL;
    if (last && last->packed_size == size && memcmp(last->packed, packed, size) == 0) {
        last->refs++;
        *out = last;
        return STATUS_OK;
    }
    enum status status = wire_unpack(packed, size, WIRE_SPEC, &arena, &map, why);
    if (status != STATUS_OK) {
        wire_unpacked_free(&arena);
        return status;
    }
    size_t len = wire_len(map, KEY_TENSORS);
    struct task_spec *self =
        xcalloc(1, sizeof *self + len * sizeof self->inputs[0] + names_size(map));
    char *name = (char *)&self->inputs[len];
    self->refs = 1;
    for (size_t i = 0; i < len && status == STATUS_OK; i++) {
        status = read_tensor(wire_at(map, KEY_TENSORS, i), &self->inputs[i], name, why);
        self->bytes += self->inputs[i].bytes;
        self->inputs_len++;
        name += strlen(name) + 1;
    }
    wire_unpacked_free(&arena);
    if (status == STATUS_OK && self->bytes > WIRE_MESSAGE_MAX)
        status = fail(why, STATUS_TOO_LARGE, "the inputs take %" PRIu64 " bytes, at most %d",
                      self->bytes, WIRE_MESSAGE_MAX);
    self->rows = batch_rows(self->inputs, self->inputs_len);
    self->packed = xmalloc(size);
    self->packed_size = size;
    memcpy(self->packed, packed, size);
    if (status != STATUS_OK) {
        task_spec_unref(self);
        return status;
    }
    *out = self;
    return STATUS_OK;
}

enum status task_spec_fits(const struct task_spec *self, zmq_msg_t *frames, size_t frames_len,
                           struct error *why)
{
    size_t frame = 0;
    for (uint32_t i = 0; i < self->inputs_len; i++) {
        size_t expected = wire_frames_of(self->inputs[i].bytes), got = 0;
        for (size_t end = frame + expected; frame < end && frame < frames_len; frame++)
            got += zmq_msg_size(&frames[frame]);
        if (got != self->inputs[i].bytes)
            return fail(why, STATUS_MALFORMED, "input %s: its frames hold %zu bytes, expected %zu",
                        self->inputs[i].name, got, self->inputs[i].bytes);
    }
    if (frame != frames_len)
        return fail(why, STATUS_MALFORMED, "expected %zu body frames, got %zu", frame, frames_len);
    return STATUS_OK;
}

void task_spec_unref(struct task_spec *self)
{
    if (!self || --self->refs > 0)
        return;
    free(self->packed);
    free(self);
}

/* --- results ---------------------------------------------------------------------------------- */
struct result *result_failed(enum status status, const char *text)
{
    size_t text_size = MIN(strlen(text) + 1, (size_t)ERROR_TEXT_MAX);
    struct result *self = xcalloc(1, sizeof *self + text_size);
    text_copy((char *)(self + 1), text_size, text);
    atomic_init(&self->refs, 1);
    self->status = status;
    self->row = UINT64_MAX;
    self->text = (const char *)(self + 1);
    self->size = sizeof *self + text_size;
    return self;
}

static size_t aligned(size_t size)
{
    return (size + TENSOR_ALIGN - 1) / TENSOR_ALIGN * TENSOR_ALIGN;
}

struct result *result_new(const struct tensor *outputs, uint32_t outputs_len)
{
    size_t head = sizeof(struct result) + outputs_len * sizeof outputs[0];
    size_t names = 0, data = 0;
    for (uint32_t i = 0; i < outputs_len; i++) {
        names += strlen(outputs[i].name) + 1;
        data += aligned(outputs[i].bytes);
    }
    size_t size = aligned(head + names) + data;
    struct result *self = xaligned(size);
    *self =
        (struct result){.text = "", .size = size, .row = UINT64_MAX, .outputs_len = outputs_len};
    atomic_init(&self->refs, 1);
    self->outputs = (struct tensor *)(self + 1);
    char *name = (char *)self + head;
    uint8_t *bytes = (uint8_t *)self + aligned(head + names);
    for (uint32_t i = 0; i < outputs_len; i++) {
        self->outputs[i] = outputs[i];
        size_t length = strlen(outputs[i].name) + 1;
        self->outputs[i].name = memcpy(name, outputs[i].name, length);
        self->outputs[i].data = bytes;
        if (outputs[i].bytes > 0)
            memcpy(bytes, outputs[i].data, outputs[i].bytes);
        self->bytes += outputs[i].bytes;
        name += length;
        bytes += aligned(outputs[i].bytes);
    }
    return self;
}

void result_unref(void *result)
{
    struct result *self = result;
    if (atomic_fetch_sub(&self->refs, 1) == 1)
        free(self);
}
