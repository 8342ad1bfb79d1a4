/* body - what the broker keeps of a task besides what it decides by: frames and opaque fields
 *
 * Frames are taken over from the received message by reference and shared with each DISPATCH; the
 * octets are never copied here. Tasks of one SUBMIT share the model's name and mode. One thread. */
#ifndef CONVOY_BROKER_BODY_H
#define CONVOY_BROKER_BODY_H

#include "common/wire.h"

struct body_head;

struct body {
    struct body_head *head; /* of the SUBMIT */
    uint32_t frames_len;
    uint32_t spec_len;   /* octets of SPEC; 0: none */
    const uint8_t *spec; /* behind the frames */
    const char *tenant;  /* "" none */
    const char *traceparent;
    uint64_t bytes; /* of the frames */
    zmq_msg_t frames[];
};

/* What the tasks of `in`, a SUBMIT or INSPECT, have in common. The caller owns one reference. */
struct body_head *body_head_new(const struct wire_in *in);
void body_head_drop(struct body_head *self);
const char *body_mode(const struct body_head *self);
uint32_t body_kind(const struct body_head *self);

/* Task `index` of `in`, whose frames begin at `frame`: they are moved out of `in`. */
struct body *body_take(struct wire_in *in, size_t index, size_t frame, struct body_head *head);

/* Free it; for the core's RELEASE. */
void body_free(void *body);

/* Write what a DISPATCH needs: once for the message, then for each task inside its open map. */
void body_put_head(const struct body *self, struct wire_out *out);
void body_put(struct body *self, struct wire_out *out);

/* Octets that it takes in a DISPATCH's map, at most. */
uint32_t body_map_bytes(const struct body *self);

#endif
