/* body - one allocation per task: the structure, its frames, its opaque octets; see body.h */
#include "broker/body.h"

#include <stdlib.h>
#include <string.h>

#define NAME_SIZE    256
#define MODE_SIZE    33
#define TEXT_SIZE    65  /* TENANT and TRACEPARENT, by wire.def, and NUL */
#define MAP_OVERHEAD 192 /* keys and numbers of a task, with room */

struct body_head {
    uint32_t refs;
    uint32_t kind;
    struct digest model;
    char name[NAME_SIZE];
    char mode[MODE_SIZE];
};

struct body_head *body_head_new(const struct wire_in *in)
{
    struct body_head *self = xmalloc(sizeof(*self));
    self->refs = 1;
    self->kind = (uint32_t)wire_u64(in->map, KEY_KIND);
    if (in->type == WIRE_INSPECT)
        self->kind = WIRE_KIND_INSPECT;
    else if (self->kind == 0)
        self->kind = WIRE_KIND_INFER;
    self->model = wire_digest(in->map, KEY_MODEL);
    wire_text(in->map, KEY_MODEL_NAME, self->name, sizeof(self->name));
    wire_text(in->map, KEY_MODE, self->mode, sizeof(self->mode));
    return self;
}

void body_head_drop(struct body_head *self)
{
    if (--self->refs == 0)
        free(self);
}

const char *body_mode(const struct body_head *self)
{
    return self->mode;
}

uint32_t body_kind(const struct body_head *self)
{
    return self->kind;
}

struct body *body_take(struct wire_in *in, size_t index, size_t frame, struct body_head *head)
{
    struct wire_map task = wire_at(in->map, KEY_TASKS, index);
    size_t frames = (size_t)wire_u64(task, KEY_FRAMES), spec_len;
    const void *spec = wire_bytes(task, KEY_SPEC, &spec_len);
    char tenant[TEXT_SIZE], traceparent[TEXT_SIZE];
    size_t tenant_size = strlen(wire_text(task, KEY_TENANT, tenant, sizeof(tenant))) + 1;
    size_t trace_size =
        strlen(wire_text(task, KEY_TRACEPARENT, traceparent, sizeof(traceparent))) + 1;
    size_t frames_size = frames * sizeof(zmq_msg_t);
    struct body *self = xmalloc(sizeof(*self) + frames_size + spec_len + tenant_size + trace_size);
    char *behind = (char *)self->frames + frames_size;
    *self = (struct body){.head = head,
                          .frames_len = (uint32_t)frames,
                          .spec_len = (uint32_t)spec_len,
                          .spec = (uint8_t *)behind,
                          .tenant = behind + spec_len,
                          .traceparent = behind + spec_len + tenant_size};
    if (spec_len > 0)
        memcpy(behind, spec, spec_len);
    memcpy(behind + spec_len, tenant, tenant_size);
    memcpy(behind + spec_len + tenant_size, traceparent, trace_size);
    for (size_t i = 0; i < frames; i++) {
        zmq_msg_init(&self->frames[i]);
        zmq_msg_move(&self->frames[i], &in->bodies[frame + i]);
        self->bytes += zmq_msg_size(&self->frames[i]);
    }
    head->refs++;
    return self;
}

void body_free(void *body)
{
    struct body *self = body;
    for (size_t i = 0; i < self->frames_len; i++)
        zmq_msg_close(&self->frames[i]);
    body_head_drop(self->head);
    free(self);
}

uint32_t body_map_bytes(const struct body *self)
{
    return MAP_OVERHEAD + self->spec_len +
           (uint32_t)(strlen(self->tenant) + strlen(self->traceparent));
}

void body_put_head(const struct body *self, struct wire_out *out)
{
    const struct body_head *head = self->head;
    wire_put_digest(out, KEY_MODEL, &head->model);
    if (head->name[0])
        wire_put_text(out, KEY_MODEL_NAME, head->name);
    if (head->mode[0])
        wire_put_text(out, KEY_MODE, head->mode);
    wire_put_u64(out, KEY_KIND, head->kind);
}

void body_put(struct body *self, struct wire_out *out)
{
    wire_put_u64(out, KEY_FRAMES, self->frames_len);
    if (self->spec_len > 0)
        wire_put_bytes(out, KEY_SPEC, self->spec, self->spec_len);
    if (self->tenant[0])
        wire_put_text(out, KEY_TENANT, self->tenant);
    if (self->traceparent[0])
        wire_put_text(out, KEY_TRACEPARENT, self->traceparent);
    for (size_t i = 0; i < self->frames_len; i++)
        wire_body_share(out, &self->frames[i]);
}
