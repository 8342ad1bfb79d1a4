/* batches - dataset jobs in the shape of the OpenAI batch API: create, list, look, cancel */
#include "gateway/api/events.h"
#include "gateway/api/jobs_api.h"

#include "common/clock.h"
#include "gateway/counters.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define BODY_MAX     (256 * KIB) /* octets of a request to create a batch */
#define PAIRS_MAX    16          /* of metadata, as OpenAI's */
#define KEY_MAX      64
#define VALUE_MAX    512
#define WINDOW_MAX_S (14 * 86400) /* completion_window */
#define CHUNK_MAX    1000000      /* chunk_rows */

/* --- reading the request ---------------------------------------------------------------------- */
struct asked {
    struct ledger_batch *record;      /* being filled */
    json_t *body;                     /* what the client sent */
    const struct http_caller *caller; /* who asks */
    const char *param;                /* the field that is wrong */
    struct error *why;                /* and why */
};

static const char *text_of(const struct asked *self, const char *name)
{
    const char *text = json_string_value(json_object_get(self->body, name));
    return text ? text : "";
}

/* "/v2/models/NAME/infer" or "/v2/models/NAME/versions/V/infer". */
static bool parse_endpoint(const char *endpoint, char **model, char **version)
{
    static const char prefix[] = "/v2/models/", suffix[] = "/infer", between[] = "/versions/";
    size_t size = strlen(endpoint), head = sizeof(prefix) - 1, tail = sizeof(suffix) - 1;
    if (size <= head + tail || strncmp(endpoint, prefix, head) != 0 ||
        strcmp(endpoint + size - tail, suffix) != 0)
        return false;
    *model = strndup(endpoint + head, size - head - tail);
    char *cut = strstr(*model, between);
    *version = xstrdup(cut ? cut + sizeof(between) - 1 : "");
    if (cut)
        *cut = '\0';
    return true;
}

static enum status read_endpoint(struct asked *self)
{
    const char *endpoint = text_of(self, "endpoint");
    self->param = "endpoint";
    if (!parse_endpoint(endpoint, &self->record->model, &self->record->version))
        return fail(self->why, STATUS_INVALID,
                    "endpoint: expected /v2/models/NAME/infer or /v2/models/NAME/versions/V/infer, "
                    "got \"%s\"",
                    endpoint);
    ledger_text_set(&self->record->endpoint, endpoint);
    return STATUS_OK;
}

static enum status read_input_file(struct asked *self)
{
    const char *text = text_of(self, "input_file_id");
    self->param = "input_file_id";
    if (!api_read_id(&self->record->input_file, "file-", text))
        return fail(self->why, STATUS_INVALID,
                    "input_file_id: expected file-UUID as POST /v1/files says it, got \"%.80s\"",
                    text);
    return STATUS_OK;
}

static enum status find_model(struct asked *self, struct jobs *jobs)
{
    struct version *version = NULL;
    self->param = "endpoint";
    enum status status = repository_find(jobs->config.repository, self->record->model,
                                         self->record->version, &version, self->why);
    version_drop(&version);
    /* A model that is loading is no error: the batch waits in "validating". */
    return status == STATUS_UNAVAILABLE ? STATUS_OK : status;
}

static enum status find_input(struct asked *self, struct jobs *jobs)
{
    const struct file *file = jobs_file(jobs, &self->record->input_file);
    self->param = "input_file_id";
    if (!file || !http_caller_sees(self->caller, file->record.tenant))
        return fail(self->why, STATUS_INVALID,
                    "input_file_id: there is no file \"%s\"; upload it by POST /v1/files",
                    text_of(self, "input_file_id"));
    if (!id_is_zero(&file->record.batch))
        return fail(self->why, STATUS_INVALID,
                    "input_file_id: this file is the output of a batch; download it and upload it "
                    "with purpose \"batch\"");
    return STATUS_OK;
}

/* "24h", "90m", "7d", "3600s". */
static enum status read_window(struct asked *self)
{
    const char *text = json_object_get(self->body, "completion_window")
                           ? text_of(self, "completion_window")
                           : "24h";
    char *end = NULL;
    unsigned long long number = isdigit((unsigned char)text[0]) ? strtoull(text, &end, 10) : 0;
    uint64_t unit = 0;
    self->param = "completion_window";
    if (end && end[0] && !end[1])
        unit = end[0] == 's'   ? 1
               : end[0] == 'm' ? 60
               : end[0] == 'h' ? 3600
               : end[0] == 'd' ? 86400
                               : 0;
    if (unit == 0 || number == 0 || number > WINDOW_MAX_S / unit)
        return fail(self->why, STATUS_INVALID,
                    "completion_window: expected a time such as \"24h\", \"30m\" or \"7d\", at "
                    "most 14d, got \"%.40s\"",
                    text);
    ledger_text_set(&self->record->window, text);
    self->record->created_ms = clock_wall_ms();
    self->record->expires_ms = self->record->created_ms + (int64_t)(number * unit * 1000);
    return STATUS_OK;
}

static enum status read_metadata(struct asked *self)
{
    json_t *metadata = json_object_get(self->body, "metadata");
    const char *key;
    json_t *value;
    self->param = "metadata";
    if (!metadata || json_is_null(metadata))
        return STATUS_OK;
    if (!json_is_object(metadata) || json_object_size(metadata) > PAIRS_MAX)
        return fail(self->why, STATUS_INVALID, "metadata: expected an object of at most %d texts",
                    PAIRS_MAX);
    json_object_foreach(metadata, key, value)
    {
        if (!json_is_string(value) || strlen(key) > KEY_MAX ||
            json_string_length(value) > VALUE_MAX)
            return fail(self->why, STATUS_INVALID,
                        "metadata: \"%.64s\": keys have at most %d characters, values are texts of "
                        "at most %d",
                        key, KEY_MAX, VALUE_MAX);
    }
    free(self->record->metadata);
    self->record->metadata = json_dumps(metadata, JSON_COMPACT | JSON_SORT_KEYS);
    return STATUS_OK;
}

static enum status read_options(struct asked *self)
{
    const char *format = text_of(self, "output_format");
    json_t *rows = json_object_get(self->body, "chunk_rows");
    self->param = "output_format";
    if (!format[0])
        format = "jsonl";
    if (strcmp(format, "jsonl") != 0 && strcmp(format, "npy") != 0)
        return fail(self->why, STATUS_INVALID,
                    "output_format: expected \"jsonl\" or \"npy\", got \"%.40s\"", format);
    ledger_text_set(&self->record->output_format, format);
    ledger_text_set(&self->record->output_name, text_of(self, "output_name"));
    self->param = "chunk_rows";
    if (rows && !json_is_null(rows) &&
        (!json_is_integer(rows) || json_integer_value(rows) < 1 ||
         json_integer_value(rows) > CHUNK_MAX))
        return fail(self->why, STATUS_INVALID, "chunk_rows: expected a number from 1 to %d",
                    CHUNK_MAX);
    self->record->chunk_rows = json_integer_value(rows);
    return STATUS_OK;
}

static void no_texts_missing(struct ledger_batch *record)
{
    char **texts[] = {&record->tenant,       &record->endpoint,    &record->model,
                      &record->version,      &record->metadata,    &record->errors,
                      &record->idempotency,  &record->mode,        &record->window,
                      &record->output_shape, &record->output_name, &record->output_format};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        if (!*texts[i])
            *texts[i] = xstrdup("");
    }
}

/* What the request says, whatever is there. */
static enum status read_batch(struct asked *self)
{
    enum status status = read_input_file(self);
    if (status == STATUS_OK)
        status = read_endpoint(self);
    if (status == STATUS_OK)
        status = read_window(self);
    if (status == STATUS_OK)
        status = read_metadata(self);
    if (status == STATUS_OK)
        status = read_options(self);
    no_texts_missing(self->record);
    return status;
}

/* --- creating --------------------------------------------------------------------------------- */
/* A reply that waits for the ledger. */
struct creation {
    struct http_request *request; /* to be replied */
    struct jobs *jobs;
    struct uuid id; /* of the job */
};

static void created(void *arg, enum status status, const struct error *why)
{
    struct creation *self = arg;
    struct job *job = jobs_job(self->jobs, &self->id);
    if (status == STATUS_OK && job) {
        count(COUNT_jobs_created_total, 1);
        http_reply_json(self->request, 200, job_json(job));
    } else {
        struct file *file = job ? jobs_file(self->jobs, &job->record.input_file) : NULL;
        if (file)
            file->pins--;
        if (job)
            jobs_forget_job(self->jobs, job);
        http_reply_error(self->request, why, NULL);
    }
    free(self);
}

/* The batch that this tenant made with the same key before, if it did. */
static struct job *find_by_key(struct jobs *jobs, const struct ledger_batch *asked)
{
    for (size_t i = jobs->all.len; asked->idempotency[0] && i > 0; i--) {
        const struct ledger_batch *record = &jobs_job_at(jobs, i - 1)->record;
        if (strcmp(record->idempotency, asked->idempotency) == 0 &&
            strcmp(record->tenant, asked->tenant) == 0)
            return jobs_job_at(jobs, i - 1);
    }
    return NULL;
}

/* The same upload, or another one with the same octets. */
static bool same_input(const struct jobs *jobs, const struct uuid *a, const struct uuid *b)
{
    const struct file *x = jobs_file(jobs, a), *y = jobs_file(jobs, b);
    return id_equal(a, b) || (x && y && x->record.bytes == y->record.bytes &&
                              digest_equal(&x->record.sha256, &y->record.sha256));
}

/* The first field in which two requests differ; NULL: they are the same. */
static const char *difference(const struct jobs *jobs, const struct ledger_batch *a,
                              const struct ledger_batch *b)
{
    return !same_input(jobs, &a->input_file, &b->input_file) ? "input_file_id"
           : strcmp(a->endpoint, b->endpoint) != 0           ? "endpoint"
           : strcmp(a->window, b->window) != 0               ? "completion_window"
           : strcmp(a->metadata, b->metadata) != 0           ? "metadata"
           : strcmp(a->output_format, b->output_format) != 0 ? "output_format"
           : strcmp(a->output_name, b->output_name) != 0     ? "output_name"
           : a->chunk_rows != b->chunk_rows                  ? "chunk_rows"
                                                             : NULL;
}

static void reply_again(struct jobs *jobs, struct http_request *request, const struct job *job,
                        const struct ledger_batch *asked)
{
    char id[ID_TEXT_SIZE];
    const char *other = difference(jobs, &job->record, asked);
    if (other)
        http_reply_fail(request, STATUS_CONFLICT,
                        "Idempotency-Key: this key belongs to batch_%s, which was asked for with "
                        "another %s; use a new key",
                        id_text(id, &job->record.id), other);
    else if (!job->created)
        http_reply_fail(request, STATUS_BUSY, "the batch of this Idempotency-Key is being made");
    else
        http_reply_json(request, 200, job_json(job));
}

static void create(struct jobs *jobs, struct http_request *request, struct ledger_batch *record)
{
    struct creation *creation = xcalloc(1, sizeof(*creation));
    struct file *file = jobs_file(jobs, &record->input_file);
    record->id = id_new();
    struct job *job = jobs_add_job(jobs, record);
    file->pins++;
    *creation = (struct creation){.request = request, .jobs = jobs, .id = job->record.id};
    job_save(job, created, creation);
}

static enum status admit(struct jobs *jobs, struct error *why)
{
    if (jobs->draining)
        return fail(why, STATUS_UNAVAILABLE, "the gateway is ending; try again when it is back");
    if (ledger_full(jobs->ledger))
        return fail(why, STATUS_STORAGE_FULL, "the gateway's disk is full");
    if (jobs->all.len >= JOBS_MAX)
        return fail(why, STATUS_STORAGE_FULL, "the gateway has %d batches on record", JOBS_MAX);
    return STATUS_OK;
}

/* Reads the body and the key; nothing is looked up. */
static enum status read_request(struct asked *self, struct http_request *request)
{
    enum status status = api_read_key(request, &self->record->idempotency, self->why);
    if (status != STATUS_OK)
        return status;
    self->body = api_read_body(request, BODY_MAX, self->why);
    if (!self->body)
        return self->why->status;
    ledger_text_set(&self->record->tenant, self->caller->tenant);
    return read_batch(self);
}

void batches_create(struct http_request *request, void *owner)
{
    struct jobs *jobs = owner;
    struct ledger_batch record = {.state = JOB_VALIDATING};
    struct error why = {.status = STATUS_OK};
    struct asked asked = {.record = &record, .caller = http_caller(request), .why = &why};
    enum status status = read_request(&asked, request);
    struct job *before = status == STATUS_OK ? find_by_key(jobs, &record) : NULL;
    if (!before && status == STATUS_OK) { /* a request that is repeated asks for nothing new */
        asked.param = NULL;
        status = admit(jobs, &why);
        if (status == STATUS_OK)
            status = find_input(&asked, jobs);
        if (status == STATUS_OK)
            status = find_model(&asked, jobs);
    }
    if (status != STATUS_OK)
        http_reply_error(request, &why, asked.param);
    else if (before)
        reply_again(jobs, request, before, &record);
    else
        create(jobs, request, &record);
    json_decref(asked.body);
    ledger_record_clear(LEDGER_batch, &record);
}

/* --- the rest --------------------------------------------------------------------------------- */
void batches_list(struct http_request *request, void *owner)
{
    struct jobs *jobs = owner;
    struct uuid last;
    bool paged = api_read_id(&last, "batch_", http_query(request, "after")), more = false;
    size_t limit = 0;
    if (!api_limit(request, 20, 100, &limit))
        return;
    json_t *data = json_array();
    for (size_t i = jobs->all.len; i > 0 && !more; i--) {
        const struct job *job = jobs_job_at(jobs, i - 1);
        if (!job->created || !http_caller_sees(http_caller(request), job->record.tenant) ||
            (paged && id_compare(&job->record.id, &last) >= 0))
            continue;
        more = json_array_size(data) == limit;
        if (!more)
            json_array_append_new(data, job_json(job));
    }
    http_reply_json(request, 200, api_list_json(data, more));
}

void batches_get(struct http_request *request, void *owner)
{
    struct job *job = api_job(owner, request);
    if (job)
        http_reply_json(request, 200, job_json(job));
}

static void cancelled(void *arg, enum status status, const struct error *why)
{
    struct creation *self = arg;
    struct job *job = jobs_job(self->jobs, &self->id);
    if (status == STATUS_OK && job)
        http_reply_json(self->request, 200, job_json(job));
    else
        http_reply_error(self->request, why, NULL);
    free(self);
}

void batches_cancel(struct http_request *request, void *owner)
{
    struct jobs *jobs = owner;
    struct job *job = api_job(jobs, request);
    if (!job)
        return;
    if (!job_event(job, JOB_CANCEL)) {
        http_reply_fail(request, STATUS_CONFLICT,
                        "the batch is %s and cannot be cancelled any more",
                        job_state_text((enum job_state)job->record.state));
        return;
    }
    struct creation *reply = xcalloc(1, sizeof(*reply));
    *reply = (struct creation){.request = request, .jobs = jobs, .id = job->record.id};
    job_save(job, cancelled, reply);
}

/* --- events ----------------------------------------------------------------------------------- */
static struct watcher **events_watchers(void *owner, const struct uuid *id)
{
    struct jobs *jobs = owner;
    return jobs->closed ? NULL : &jobs_job(jobs, id)->watchers;
}

static json_t *events_show(void *owner, const struct uuid *id)
{
    return job_json(jobs_job(owner, id));
}

static bool events_over(void *owner, const struct uuid *id)
{
    return job_over(jobs_job(owner, id));
}

static bool events_ending(void *owner)
{
    const struct jobs *jobs = owner;
    return jobs->draining;
}

void batches_events(struct http_request *request, void *owner)
{
    static const struct events_kind kind = {"batch", events_watchers, events_show, events_over,
                                            events_ending};
    const struct job *job = api_job(owner, request);
    if (job)
        events_reply(request, &kind, owner, &job->record.id);
}
