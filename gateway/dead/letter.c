/* letter - see letter.h */
#include "gateway/dead/letter.h"

#include "common/clock.h"
#include "common/file.h"
#include "common/log.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* --- making ------------------------------------------------------------------------------------
 */
static json_t *input_json(const struct tensor *input)
{
    json_t *shape = json_array();
    for (uint32_t i = 0; i < input->rank; i++)
        json_array_append_new(shape, json_integer(input->dims[i]));
    return json_pack("{s:s,s:s,s:o}", "name", input->name, "datatype", dtype_name(input->dtype),
                     "shape", shape);
}

/* {"inputs":[...],"parameters":{"binary_data_output":true}} */
static char *head_text(const json_t *inputs, const struct letter_about *about)
{
    size_t i;
    json_t *input, *list = json_deep_copy(inputs);
    json_array_foreach(list, i, input) json_object_set_new(
        input, "parameters",
        json_pack("{s:I}", "binary_data_size", (json_int_t)about->inputs[i].bytes));
    json_t *head =
        json_pack("{s:o,s:{s:b}}", "inputs", list, "parameters", "binary_data_output", 1);
    char *text = json_dumps(head, JSON_COMPACT);
    json_decref(head);
    return text;
}

static void take_input(struct letter *self, const struct letter_about *about)
{
    json_t *inputs = json_array();
    self->owner = about->owner ? bytes_ref(about->owner) : NULL;
    self->pieces = xcalloc(about->inputs_len + 1, sizeof(*self->pieces));
    self->sizes = xcalloc(about->inputs_len + 1, sizeof(*self->sizes));
    for (size_t i = 0; i < about->inputs_len; i++) {
        json_array_append_new(inputs, input_json(&about->inputs[i]));
        self->pieces[self->pieces_len] = about->inputs[i].data;
        self->sizes[self->pieces_len++] = about->inputs[i].bytes;
    }
    self->head = head_text(inputs, about);
    self->record.inputs = json_dumps(inputs, JSON_COMPACT);
    json_decref(inputs);
}

struct letter *letter_new(const char *folder, uint64_t bytes_max, const struct letter_about *about)
{
    char id[ID_TEXT_SIZE];
    struct letter *self = xcalloc(1, sizeof(*self));
    struct ledger_dead *record = &self->record;
    record->id = id_new();
    record->created_ms = clock_wall_ms();
    record->model_id = about->model_id;
    record->batch = about->batch;
    record->row = about->row;
    record->worker = about->worker;
    record->attempts = about->attempts;
    ledger_text_set(&record->tenant, about->tenant ? about->tenant : "");
    ledger_text_set(&record->model, about->model);
    ledger_text_set(&record->version, about->version);
    ledger_text_set(&record->custom_id, about->custom_id ? about->custom_id : "");
    ledger_text_set(&record->request, about->request ? about->request : "");
    ledger_text_set(&record->cause, about->cause);
    ledger_text_set(&record->note, "");
    text_clean(record->request);
    text_clean(record->cause);
    take_input(self, about);
    self->path = xasprintf("%s/%s", folder, id_text(id, &record->id));
    self->bytes_max = bytes_max;
    return self;
}

static void let_input_go(struct letter *self)
{
    free(self->head);
    free(self->pieces);
    free(self->sizes);
    self->head = NULL;
    self->pieces = NULL;
    self->sizes = NULL;
    bytes_drop(&self->owner);
}

void letter_free(struct letter **self_p)
{
    struct letter *self = *self_p;
    if (!self)
        return;
    let_input_go(self);
    ledger_record_clear(LEDGER_dead, &self->record);
    free(self->path);
    free(self);
    *self_p = NULL;
}

/* --- the file ----------------------------------------------------------------------------------
 */
void letter_without(struct letter *self, const char *why)
{
    char id[ID_TEXT_SIZE];
    LOG_WARN("dead_letter_without_input", "id=%s why=%s", id_text(id, &self->record.id), why);
    ledger_text_set(&self->record.note, why);
    let_input_go(self);
}

static char *body_of(const struct letter *self, size_t size)
{
    char *body = xmalloc(size + 1), *at = body + strlen(self->head);
    memcpy(body, self->head, strlen(self->head));
    for (size_t i = 0; i < self->pieces_len; i++) {
        if (self->sizes[i] > 0)
            memcpy(at, self->pieces[i], self->sizes[i]);
        at += self->sizes[i];
    }
    return body;
}

void letter_write(struct letter *self)
{
    struct error why;
    char text[160];
    if (!self->head)
        return;
    size_t size = strlen(self->head);
    for (size_t i = 0; i < self->pieces_len; i++)
        size += self->sizes[i];
    if (size > self->bytes_max) {
        snprintf(text, sizeof(text),
                 "the input has %zu octets, and dead letters may have %" PRIu64 " together", size,
                 self->bytes_max);
        letter_without(self, text);
        return;
    }
    char *body = body_of(self, size);
    if (file_write_private(self->path, body, size, &why) == STATUS_OK) {
        self->record.input_bytes = (int64_t)size;
        self->record.head_bytes = (int64_t)strlen(self->head);
        self->record.sha256 = digest_of(body, size);
        let_input_go(self);
    } else {
        unlink(self->path);
        letter_without(self, why.text);
    }
    free(body);
}

enum status letter_read(struct bytes **out, const char *path, int64_t bytes,
                        const struct digest *sha256, struct error *why)
{
    char *body;
    size_t size;
    enum status status = file_read(&body, &size, path, (size_t)bytes, why);
    if (status == STATUS_TOO_LARGE)
        status = why->status = STATUS_IO;
    if (status != STATUS_OK)
        return status;
    struct digest digest = digest_of(body, size);
    if (size == (size_t)bytes && digest_equal(&digest, sha256)) {
        *out = bytes_take(body, size);
        return STATUS_OK;
    }
    free(body);
    return fail(why, STATUS_IO, "%s: it was altered since it was written", path);
}
