/* trainings - training jobs over HTTP: create, list, look, cancel, events, curve, history */
#include "gateway/api/events.h"
#include "gateway/api/jobs_api.h"
#include "gateway/api/training_request.h"
#include "gateway/training/curve.h"
#include "gateway/training/training.h"

#include "common/clock.h"
#include "common/file.h"
#include "common/limits.h"
#include "gateway/counters.h"

#include <stdlib.h>
#include <string.h>

/* --- creating --------------------------------------------------------------------------------- */
/* A reply that waits for the disk. */
struct creation {
    struct http_request *request; /* to be replied */
    struct trainings *trainings;
    struct uuid id; /* of the job */
};

static void created(void *arg, enum status status, const struct error *why)
{
    struct creation *self = arg;
    struct training *training = trainings_find(self->trainings, &self->id);
    if (status == STATUS_OK && training) {
        count(COUNT_trainings_created_total, 1);
        http_reply_json(self->request, 200, training_json(training));
    } else {
        if (training) {
            program_pin(training, false);
            trainings_forget(self->trainings, training);
        }
        http_reply_error(self->request, why, NULL);
    }
    free(self);
}

/* The same octets at the same places, whichever uploads they are. */
static bool same_data(const char *a, const char *b)
{
    size_t i;
    json_t *entry, *one = json_loads(a, 0, NULL), *other = json_loads(b, 0, NULL);
    json_array_foreach(one, i, entry) json_object_del(entry, "file");
    json_array_foreach(other, i, entry) json_object_del(entry, "file");
    bool same = json_equal(one, other);
    json_decref(one);
    json_decref(other);
    return same;
}

static void reply_again(struct http_request *request, const struct training *before,
                        const struct ledger_training *asked)
{
    const struct ledger_training *record = &before->record;
    const char *other = strcmp(record->name, asked->name) != 0           ? "name"
                        : strcmp(record->source, asked->source) != 0     ? "network"
                        : strcmp(record->settings, asked->settings) != 0 ? "training"
                        : !same_data(record->data, asked->data)          ? "data"
                                                                         : NULL;
    char id[ID_TEXT_SIZE];
    if (other)
        http_reply_fail(request, STATUS_CONFLICT,
                        "Idempotency-Key: this key belongs to train_%s, which was asked for with "
                        "another %s; use a new key",
                        id_text(id, &record->id), other);
    else if (!before->created)
        http_reply_fail(request, STATUS_BUSY, "the job of this Idempotency-Key is being made");
    else
        http_reply_json(request, 200, training_json(before));
}

static enum status admit(const struct trainings *self, struct error *why)
{
    if (self->draining)
        return fail(why, STATUS_UNAVAILABLE, "the gateway is ending; try again when it is back");
    if (ledger_full(self->config.ledger))
        return fail(why, STATUS_STORAGE_FULL, "the gateway's disk is full");
    if (self->all.len >= TRAININGS_MAX)
        return fail(why, STATUS_STORAGE_FULL, "the gateway has %d training jobs on record",
                    TRAININGS_MAX);
    return STATUS_OK;
}

/* The version to go on from: one reference; NULL when it is not asked for. */
static enum status find_version(struct training_request *self, struct version **out)
{
    char name[MODEL_NAME_MAX + 1] = "";
    const char *model = json_string_value(json_object_get(self->body, "model"));
    *out = NULL;
    if (!model)
        return STATUS_OK;
    const char *slash = strchr(model, '/');
    size_t len = slash ? (size_t)(slash - model) : strlen(model);
    memcpy(name, model, MIN(len, sizeof name - 1));
    self->param = "model";
    return repository_find(self->trainings->config.repository, name, slash ? slash + 1 : NULL, out,
                           self->why);
}

static void create(struct training_request *self, struct http_request *request,
                   struct version *version)
{
    struct trainings *trainings = self->trainings;
    struct creation *creation = xcalloc(1, sizeof *creation);
    self->record->id = id_new();
    self->record->created_ms = clock_wall_ms();
    struct training *training = trainings_add(trainings, self->record);
    *creation =
        (struct creation){.request = request, .trainings = trainings, .id = training->record.id};
    program_pin(training, true);
    program_make(training, json_incref(self->network), version, created, creation);
}

static void trainings_create(struct http_request *request, void *owner)
{
    struct trainings *trainings = owner;
    struct ledger_training record = {.state = TRAINING_QUEUED};
    struct error why = {.status = STATUS_OK};
    struct version *version = NULL;
    struct training_request asked = {.trainings = trainings,
                                     .record = &record,
                                     .caller = http_caller(request),
                                     .data = json_array(),
                                     .why = &why};
    enum status s = training_request_read(&asked, request);
    if (!asked.before && s == STATUS_OK) {
        asked.param = NULL;
        s = admit(trainings, &why);
        if (s == STATUS_OK)
            s = find_version(&asked, &version);
    }
    if (s != STATUS_OK)
        http_reply_error(request, &why, asked.param);
    else if (asked.before)
        reply_again(request, asked.before, &record);
    else
        create(&asked, request, version);
    json_decref(asked.body);
    json_decref(asked.data);
    ledger_record_clear(LEDGER_training, &record);
}

/* --- the rest --------------------------------------------------------------------------------- */
/* What {id} names; NULL: NOT_FOUND has been replied. */
static struct training *find(struct trainings *self, struct http_request *request)
{
    const char *text = http_capture(request, "id");
    struct uuid id;
    struct training *training = api_read_id(&id, "train_", text) ? trainings_find(self, &id) : NULL;
    if (training && training->created &&
        http_caller_sees(http_caller(request), training->record.tenant))
        return training;
    http_reply_fail(request, STATUS_NOT_FOUND,
                    "there is no training job \"%s\"; GET /v1/training/jobs lists them", text);
    return NULL;
}

static void trainings_list(struct http_request *request, void *owner)
{
    const struct trainings *self = owner;
    struct uuid last;
    bool paged = api_read_id(&last, "train_", http_query(request, "after")), more = false;
    size_t limit = 0;
    if (!api_limit(request, 20, 100, &limit))
        return;
    json_t *data = json_array();
    for (size_t i = self->all.len; i > 0 && !more; i--) {
        const struct training *training = trainings_at(self, i - 1);
        if (!training->created ||
            !http_caller_sees(http_caller(request), training->record.tenant) ||
            (paged && id_compare(&training->record.id, &last) >= 0))
            continue;
        more = json_array_size(data) == limit;
        if (!more)
            json_array_append_new(data, training_json(training));
    }
    http_reply_json(request, 200, api_list_json(data, more));
}

static void trainings_get(struct http_request *request, void *owner)
{
    const struct training *training = find(owner, request);
    if (training)
        http_reply_json(request, 200, training_json(training));
}

static void cancelled(void *arg, enum status status, const struct error *why)
{
    struct creation *self = arg;
    const struct training *training = trainings_find(self->trainings, &self->id);
    if (status == STATUS_OK && training)
        http_reply_json(self->request, 200, training_json(training));
    else
        http_reply_error(self->request, why, NULL);
    free(self);
}

static void trainings_cancel(struct http_request *request, void *owner)
{
    struct training *training = find(owner, request);
    if (!training)
        return;
    if (!training_event(training, TRAINING_CANCEL)) {
        http_reply_fail(request, STATUS_CONFLICT,
                        "the training job is %s and cannot be cancelled any more",
                        training_state_text((enum training_state)training->record.state));
        return;
    }
    struct creation *reply = xcalloc(1, sizeof *reply);
    *reply = (struct creation){
        .request = request, .trainings = training->all, .id = training->record.id};
    training_save(training, cancelled, reply);
}

/* --- curve and history ------------------------------------------------------------------------ */
struct reading {
    struct http_request *request; /* to be replied */
    struct trainings *trainings;  /* counted */
    char *path;                   /* of the history */
    int64_t bytes;                /* committed */
    bool curve;                   /* else the file as it is */
    struct curve_text text;       /* for the curve */
    struct bytes *body;           /* made */
    struct error why;             /* or why not */
};

static enum status read_history(struct reading *self, struct error *why)
{
    struct file_map map = {.bytes = NULL};
    enum status s = self->bytes ? file_map(&map, self->path, why) : STATUS_OK;
    if (s != STATUS_OK)
        return s;
    self->body = bytes_new(MIN(map.size, (size_t)self->bytes));
    if (self->body->size && map.bytes)
        memcpy(self->body->data, map.bytes, self->body->size);
    file_unmap(&map);
    return STATUS_OK;
}

static void read_work(void *arg)
{
    struct reading *self = arg;
    char *svg = NULL;
    if (!self->curve) {
        self->why.status = read_history(self, &self->why);
        return;
    }
    self->why.status = curve_of_file(&svg, self->path, self->bytes, &self->text, &self->why);
    if (self->why.status == STATUS_OK)
        self->body = bytes_take(svg, strlen(svg));
}

static void read_done(void *arg)
{
    struct reading *self = arg;
    trainings_end(self->trainings);
    if (self->why.status != STATUS_OK) {
        http_reply_error(self->request, &self->why, NULL);
    } else {
        http_reply_header(self->request, "Cache-Control", "no-store");
        http_reply_bytes(self->request, 200, self->curve ? "image/svg+xml" : "application/jsonl",
                         self->body);
    }
    free(self->path);
    free(self);
}

static void read_reply(struct http_request *request, struct trainings *trainings, bool curve)
{
    const struct training *training = find(trainings, request);
    if (!training)
        return;
    struct reading *reading = xcalloc(1, sizeof *reading);
    *reading = (struct reading){.request = request,
                                .trainings = trainings,
                                .path = training_path(training, "history.jsonl"),
                                .bytes = training->shown->history_bytes,
                                .curve = curve};
    curve_text_set(&reading->text, "%s", training->record.name);
    trainings_begin(trainings);
    pool_continue(trainings->config.pool, read_work, read_done, reading);
}

static void trainings_curve(struct http_request *request, void *owner)
{
    read_reply(request, owner, true);
}

static void trainings_history(struct http_request *request, void *owner)
{
    read_reply(request, owner, false);
}

/* --- events ----------------------------------------------------------------------------------- */
static struct watcher **events_watchers(void *owner, const struct uuid *id)
{
    struct trainings *self = owner;
    return self->closed ? NULL : &trainings_find(self, id)->watchers;
}

static json_t *events_show(void *owner, const struct uuid *id)
{
    return training_json(trainings_find(owner, id));
}

static bool events_over(void *owner, const struct uuid *id)
{
    return training_over(trainings_find(owner, id));
}

static bool events_ending(void *owner)
{
    const struct trainings *self = owner;
    return self->draining;
}

static void trainings_events(struct http_request *request, void *owner)
{
    static const struct events_kind kind = {"training", events_watchers, events_show, events_over,
                                            events_ending};
    const struct training *training = find(owner, request);
    if (training)
        events_reply(request, &kind, owner, &training->record.id);
}

#define JOBS "/v1/training/jobs"
static const struct http_route routes[] = {
    {HTTP_POST, JOBS, SCOPE_TRAIN, HTTP_BODY_MEMORY, trainings_create, NULL, NULL},
    {HTTP_GET, JOBS, SCOPE_TRAIN, HTTP_BODY_NONE, trainings_list, NULL, NULL},
    {HTTP_GET, JOBS "/{id}", SCOPE_TRAIN, HTTP_BODY_NONE, trainings_get, NULL, NULL},
    {HTTP_GET, JOBS "/{id}/events", SCOPE_TRAIN, HTTP_BODY_NONE, trainings_events, NULL, NULL},
    {HTTP_GET, JOBS "/{id}/curve.svg", SCOPE_TRAIN, HTTP_BODY_NONE, trainings_curve, NULL, NULL},
    {HTTP_GET, JOBS "/{id}/history", SCOPE_TRAIN, HTTP_BODY_NONE, trainings_history, NULL, NULL},
    {HTTP_POST, JOBS "/{id}/cancel", SCOPE_TRAIN, HTTP_BODY_NONE, trainings_cancel, NULL, NULL},
};

void trainings_routes(struct trainings *self, struct http_server *http)
{
    http_server_routes(http, routes, ARRAY_LEN(routes), self);
}
