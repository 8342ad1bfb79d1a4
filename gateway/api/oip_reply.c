/* oip_reply - writing the answer to an inference request; see oip_reply.h */
#include "gateway/api/oip_reply.h"

#include "gateway/api/number.h"
#include "gateway/dataset/json_text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define AT_ONCE ((size_t)4096) /* elements between two looks at the buffer */

struct text {
    char *at;    /* malloc */
    size_t size; /* octets used */
    size_t room; /* octets allocated */
};

static char *reserve(struct text *self, size_t size)
{
    if (self->size + size > self->room) {
        self->room = MAX(2 * self->room, self->size + size);
        self->at = xrealloc(self->at, self->room);
    }
    return self->at + self->size;
}

static void add(struct text *self, const char *text)
{
    size_t size = strlen(text);
    memcpy(reserve(self, size), text, size);
    self->size += size;
}

/* With quotes, escaped where JSON needs it. */
static void add_string(struct text *self, const char *text)
{
    bool plain = true;
    for (const unsigned char *c = (const unsigned char *)text; *c && plain; c++)
        plain = *c >= 0x20 && *c < 0x7f && *c != '"' && *c != '\\';
    if (plain) {
        add(self, "\"");
        add(self, text);
        add(self, "\"");
        return;
    }
    json_t *string = json_string(text);
    char *quoted = string ? json_dumps(string, JSON_ENCODE_ANY) : NULL;
    add(self, quoted ? quoted : "\"?\"");
    free(quoted);
    json_decref(string);
}

static void add_number(struct text *self, int64_t number)
{
    self->size += (size_t)snprintf(reserve(self, 24), 24, "%" PRId64, number);
}

/* A text may lie in two frames. */
static void add_texts(struct text *self, const struct fleet_output *output)
{
    struct json_text list = {0};
    char *whole = xmalloc(output->tensor.bytes + 1);
    size_t used = 0;
    for (size_t f = 0; f < output->frames_len; f++) {
        size_t size = zmq_msg_size(&output->frames[f]);
        memcpy(whole + used, zmq_msg_data(&output->frames[f]), size);
        used += size;
    }
    json_text_elements(&list, DTYPE_BYTES, whole, used);
    memcpy(reserve(self, list.size), list.text + 1, list.size - 2); /* without its brackets */
    self->size += list.size - 2;
    free(whole);
    json_text_free(&list);
}

static void add_elements(struct text *self, const struct fleet_output *output)
{
    size_t step = dtype_bytes(output->tensor.dtype);
    if (!step) {
        add_texts(self, output);
        return;
    }
    for (size_t f = 0; f < output->frames_len; f++) {
        const char *at = zmq_msg_data(&output->frames[f]);
        size_t left = zmq_msg_size(&output->frames[f]) / step;
        while (left) {
            size_t count = MIN(left, AT_ONCE);
            char *into = reserve(self, NUMBER_TEXT_MAX * count + 1);
            if (self->at[self->size - 1] != '[')
                *into++ = ',';
            self->size =
                (size_t)(number_list_write(into, output->tensor.dtype, at, count) - self->at);
            at += count * step;
            left -= count;
        }
    }
}

/* --- which outputs, and how ---------------------------------------------------------------------
 */

static size_t wanted_len(const struct oip_request *request, const struct version *version)
{
    return request->outputs_len ? request->outputs_len : version->signature.outputs_len;
}

static const struct fleet_output *find(const struct fleet_result *result, const char *name)
{
    for (size_t i = 0; i < result->outputs_len; i++)
        if (strcmp(result->outputs[i].tensor.name, name) == 0)
            return &result->outputs[i];
    return NULL;
}

static const struct fleet_output *wanted(const struct oip_request *request,
                                         const struct version *version,
                                         const struct fleet_result *result, size_t i, bool *binary)
{
    size_t index = request->outputs_len ? request->outputs[i].index : i;
    *binary = request->outputs_len ? request->outputs[i].binary : request->binary_default;
    return find(result, version->signature.outputs[index].name);
}

uint64_t oip_reply_numbers(const struct oip_request *request, const struct fleet_result *result)
{
    uint64_t bytes = 0;
    bool any_json = !request->binary_default;
    for (size_t i = 0; i < request->outputs_len; i++)
        any_json = any_json || !request->outputs[i].binary;
    for (size_t i = 0; any_json && i < result->outputs_len; i++)
        bytes += result->outputs[i].tensor.bytes;
    return bytes;
}

/* --- the answer ---------------------------------------------------------------------------------
 */

static void add_output(struct text *self, const struct fleet_output *output, bool binary)
{
    const struct tensor *tensor = &output->tensor;
    add(self, "{\"name\":");
    add_string(self, tensor->name);
    add(self, ",\"datatype\":\"");
    add(self, dtype_name(tensor->dtype));
    add(self, "\",\"shape\":[");
    for (uint32_t i = 0; i < tensor->rank; i++) {
        if (i)
            add(self, ",");
        add_number(self, tensor->dims[i]);
    }
    if (binary) {
        add(self, "],\"parameters\":{\"binary_data_size\":");
        add_number(self, (int64_t)tensor->bytes);
        add(self, "}}");
    } else {
        add(self, "],\"data\":[");
        add_elements(self, output);
        add(self, "]}");
    }
}

static void add_pieces(struct oip_reply *out, const struct fleet_output *output)
{
    size_t len = out->pieces_len + output->frames_len;
    out->pieces = xrealloc(out->pieces, (len + 1) * sizeof *out->pieces);
    for (size_t f = 0; f < output->frames_len; f++)
        out->pieces[out->pieces_len++] =
            (struct http_piece){zmq_msg_data(&output->frames[f]), zmq_msg_size(&output->frames[f])};
}

enum status oip_reply_make(struct oip_reply *out, const struct oip_request *request,
                           const struct version *version, const struct fleet_result *result,
                           struct error *why)
{
    struct text text = {0};
    enum status s = STATUS_OK;
    memset(out, 0, sizeof *out);
    out->pieces = xcalloc(1, sizeof *out->pieces);
    out->pieces_len = 1;
    add(&text, "{\"model_name\":\"");
    add(&text, version->model);
    add(&text, "\",\"model_version\":\"");
    add_number(&text, version->number);
    add(&text, "\"");
    if (request->id) {
        add(&text, ",\"id\":");
        add_string(&text, request->id);
    }
    add(&text, ",\"outputs\":[");
    for (size_t i = 0; s == STATUS_OK && i < wanted_len(request, version); i++) {
        bool binary;
        const struct fleet_output *output = wanted(request, version, result, i, &binary);
        if (!output)
            s = fail(why, STATUS_INTERNAL, "the result lacks output %zu of the model's signature",
                     i);
        if (s == STATUS_OK && i)
            add(&text, ",");
        if (s == STATUS_OK)
            add_output(&text, output, binary);
        if (s == STATUS_OK && binary)
            add_pieces(out, output);
        out->binary = out->binary || binary;
    }
    add(&text, "]}");
    out->head = text.at;
    out->head_size = text.size;
    out->pieces[0] = (struct http_piece){out->head, out->head_size};
    if (s != STATUS_OK)
        oip_reply_free(out);
    return s;
}

void oip_reply_free(struct oip_reply *self)
{
    free(self->head);
    free(self->pieces);
    memset(self, 0, sizeof *self);
}
