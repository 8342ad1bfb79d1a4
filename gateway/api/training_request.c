/* training_request - see training_request.h */
#include "gateway/api/training_request.h"

#include "common/limits.h"

#include <stdlib.h>
#include <string.h>

static const char *text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text ? text : "";
}

static void set_json(char **field, const json_t *value)
{
    char *text = json_dumps(value, JSON_COMPACT | JSON_SORT_KEYS);
    ledger_text_set(field, text ? text : "");
    free(text);
}

/* The end of an upload's name that says how to read it: ".csv"; "" where its octets say so. */
static const char *extension(const char *name)
{
    static const char *const known[] = {".idx", ".gz", ".npy", ".csv", ".jsonl"};
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot && i < ARRAY_LEN(known); i++)
        if (strcasecmp(dot, known[i]) == 0)
            return known[i];
    return "";
}

/* What this tenant made with the same key before, if it did. */
static const struct training *find_by_key(const struct trainings *self,
                                          const struct ledger_training *asked)
{
    for (size_t i = self->all.len; asked->idempotency[0] && i > 0; i--) {
        const struct training *training = trainings_at(self, i - 1);
        if (strcmp(training->record.idempotency, asked->idempotency) == 0 &&
            strcmp(training->record.tenant, asked->tenant) == 0)
            return training;
    }
    return NULL;
}

/* The entry of an upload that the job before had at this place, and that has been deleted since;
 * the caller's. */
static json_t *remembered(const struct training_request *self, const struct uuid *id,
                          const char *path)
{
    size_t i;
    char text[ID_TEXT_SIZE];
    json_t *entry, *found = NULL;
    json_t *list = self->before ? json_loads(self->before->record.data, 0, NULL) : NULL;
    id_text(text, id);
    json_array_foreach(list, i, entry)
    {
        if (!found && strcmp(text_of(entry, "file"), text) == 0 &&
            strncmp(text_of(entry, "path"), path, strlen(path)) == 0)
            found = json_incref(entry);
    }
    json_decref(list);
    return found;
}

/* Add the upload that `value` names to the program's files, at `path` and its extension. */
static enum status add_upload(struct training_request *self, const json_t *value, const char *path,
                              bool named)
{
    struct uuid id;
    char text[ID_TEXT_SIZE], hex[DIGEST_TEXT_SIZE];
    const char *name = json_string_value(value);
    bool known = api_read_id(&id, "file-", name);
    struct file *file = known ? jobs_file(self->trainings->config.jobs, &id) : NULL;
    json_t *entry = known && !file ? remembered(self, &id, path) : NULL;
    if (entry) {
        json_array_append_new(self->data, entry);
        return STATUS_OK;
    }
    if (!file || !http_caller_sees(self->caller, file->record.tenant))
        return fail(self->why, STATUS_INVALID,
                    "%s: there is no file \"%.80s\"; upload it by POST /v1/files with purpose "
                    "\"train\"",
                    self->param, name ? name : "");
    if (!id_is_zero(&file->record.batch))
        return fail(self->why, STATUS_INVALID,
                    "%s: this file is the output of a batch; download it and upload it again",
                    self->param);
    json_array_append_new(
        self->data, json_pack("{s:o, s:s, s:I, s:s}", "path",
                              json_sprintf("%s%s", path, named ? extension(file->record.name) : ""),
                              "file", id_text(text, &id), "bytes", (json_int_t)file->record.bytes,
                              "sha256", digest_text(hex, &file->record.sha256)));
    return STATUS_OK;
}

/* {"inputs": "file-...", "labels": "file-..."}; the labels may be in the inputs' file. */
static enum status read_set(struct training_request *self, const char *set, bool needed)
{
    static const struct {
        const char *param;
        const char *path;
    } names[] = {{"data.train", "train"}, {"data.validation", "validation"}};
    size_t which = strcmp(set, "train") == 0 ? 0 : 1;
    const json_t *object = json_object_get(json_object_get(self->body, "data"), set);
    self->param = names[which].param;
    if (!object || json_is_null(object))
        return needed ? fail(self->why, STATUS_INVALID,
                             "data.train: expected {\"inputs\": \"file-...\", \"labels\": "
                             "\"file-...\"}, ids as POST /v1/files says them")
                      : STATUS_OK;
    char *path = xasprintf("%s/inputs", names[which].path);
    enum status s = add_upload(self, json_object_get(object, "inputs"), path, true);
    free(path);
    if (s != STATUS_OK || !json_object_get(object, "labels"))
        return s;
    path = xasprintf("%s/labels", names[which].path);
    s = add_upload(self, json_object_get(object, "labels"), path, true);
    free(path);
    return s;
}

/* The network: a list of layers, an upload, or a version that goes on learning. */
static enum status read_source(struct training_request *self)
{
    json_t *network = json_object_get(self->body, "network");
    const char *model = json_string_value(json_object_get(self->body, "model"));
    self->param = "network";
    if (!network == !model || (network && !json_is_object(network) && !json_is_string(network)))
        return fail(self->why, STATUS_INVALID,
                    "network: expected a list of layers as an object, or the id of an uploaded "
                    ".onnx file; or instead of it \"model\": \"NAME\" or \"NAME/VERSION\"");
    char *source;
    if (model) {
        source = xasprintf("model %.120s", model);
    } else if (json_is_string(network)) {
        if (add_upload(self, network, "model.onnx", false) != STATUS_OK)
            return self->why->status;
        source = xasprintf("file %s", text_of(json_array_get(self->data, 0), "sha256"));
    } else {
        char hex[DIGEST_TEXT_SIZE], *text = json_dumps(network, JSON_COMPACT | JSON_SORT_KEYS);
        struct digest digest = digest_of(text, text ? strlen(text) : 0);
        self->network = network;
        source = xasprintf("network %s", digest_text(hex, &digest));
        free(text);
    }
    ledger_text_set(&self->record->source, source);
    free(source);
    return STATUS_OK;
}

static enum status read_name(struct training_request *self)
{
    self->param = "name";
    ledger_text_set(&self->record->name, text_of(self->body, "name"));
    return model_name_check(self->record->name, self->why) == STATUS_OK
               ? STATUS_OK
               : fail(self->why, STATUS_INVALID,
                      "name: \"%.120s\": give the model that it becomes "
                      "a version of: letters, digits, '.', '_' and '-'",
                      self->record->name);
}

static enum status read_settings(struct training_request *self)
{
    json_t *settings = json_object_get(self->body, "training");
    self->param = "training";
    if (!json_is_object(settings))
        return fail(self->why, STATUS_INVALID,
                    "training: expected an object such as {\"epochs\": 5, \"batch\": 32, "
                    "\"optimizer\": {\"type\": \"adam\"}}");
    set_json(&self->record->settings, settings);
    size_t size = strlen(self->record->settings);
    return size <= TRAINING_SETTINGS_MAX ? STATUS_OK
                                         : fail(self->why, STATUS_INVALID,
                                                "training: %zu octets of settings; expected at "
                                                "most %d",
                                                size, TRAINING_SETTINGS_MAX);
}

enum status training_request_read(struct training_request *self, struct http_request *request)
{
    struct ledger_training *record = self->record;
    char **empty[] = {&record->mode,   &record->report,   &record->metrics, &record->errors,
                      &record->source, &record->settings, &record->name};
    for (size_t i = 0; i < ARRAY_LEN(empty); i++)
        ledger_text_set(empty[i], "");
    ledger_text_set(&record->tenant, self->caller->tenant);
    enum status s = api_read_key(request, &record->idempotency, self->why);
    if (s != STATUS_OK)
        return s;
    self->before = find_by_key(self->trainings, record);
    self->body = api_read_body(request, TRAINING_BODY_MAX, self->why);
    s = self->body ? read_name(self) : self->why->status;
    if (s == STATUS_OK)
        s = read_source(self);
    if (s == STATUS_OK)
        s = read_settings(self);
    if (s == STATUS_OK)
        s = read_set(self, "train", true);
    if (s == STATUS_OK)
        s = read_set(self, "validation", false);
    set_json(&record->data, self->data);
    return s;
}
