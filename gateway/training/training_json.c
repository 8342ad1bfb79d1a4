/* training_json - training jobs as the API shows them: what is committed, and what a worker said of
 * the segment that is under way */
#include "gateway/training/training.h"

#include "common/clock.h"

#include <math.h>
#include <string.h>

/* Unix seconds, or null for what has not happened. */
static json_t *seconds(int64_t wall_ms)
{
    return wall_ms > 0 ? json_integer(wall_ms / 1000) : json_null();
}

static json_t *parsed(const char *text)
{
    json_t *value = text && text[0] ? json_loads(text, JSON_DECODE_ANY, NULL) : NULL;
    return value ? value : json_null();
}

static json_t *text_or_null(const char *text)
{
    return text && text[0] ? json_string(text) : json_null();
}

static double number(const json_t *object, const char *key)
{
    return json_number_value(json_object_get(object, key));
}

/* --- how far it is ---------------------------------------------------------------------------- */
/* Seconds of computing that are left at this speed; negative: not known. */
static double eta_s(const json_t *now)
{
    double step = number(now, "step"), steps = number(now, "steps"), speed = number(now, "rows_s");
    double rows = number(now, "rows") * number(now, "epochs"); /* of the whole job */
    return steps > 0 && speed > 0 ? (steps - step) / steps * rows / speed : -1;
}

/* Rows a second over the last segment, where the worker has said nothing since. */
static void add_speed(json_t *now)
{
    double seconds = number(now, "seconds"), steps = number(now, "steps");
    double rows = number(now, "rows") * number(now, "epochs"), done = number(now, "steps_done");
    if (!json_object_get(now, "rows_s") && seconds > 0 && steps > 0 && done > 0)
        json_object_set_new(now, "rows_s", json_real(rows / steps * done / seconds));
}

static json_t *progress(const struct training *self)
{
    static const char *const kept[] = {"step", "steps", "epoch",    "epochs",
                                       "rows", "loss",  "accuracy", "rows_s"};
    json_t *now = parsed(self->shown->report), *out = json_object();
    if (!json_is_object(now)) {
        json_decref(now);
        now = json_object();
    }
    if (number(self->live, "step") > number(now, "step"))
        json_object_update(now, self->live);
    add_speed(now);
    for (size_t i = 0; i < ARRAY_LEN(kept); i++) {
        json_t *value = json_object_get(now, kept[i]);
        json_object_set_new(out, kept[i], value ? json_incref(value) : json_null());
    }
    double left = eta_s(now);
    bool runs = self->shown->state == TRAINING_IN_PROGRESS;
    json_object_set_new(out, "eta_s",
                        runs && left >= 0 ? json_real(round(left * 10) / 10) : json_null());
    json_decref(now);
    return out;
}

/* --- the object ------------------------------------------------------------------------------- */
static json_t *ours(const struct training *self)
{
    const struct ledger_training *record = self->shown;
    char hex[DIGEST_TEXT_SIZE];
    json_t *object = json_object(), *report = parsed(record->report);
    int64_t end_ms = record->ended_ms ? record->ended_ms : clock_wall_ms();
    json_object_set_new(object, "elapsed_s",
                        record->started_ms
                            ? json_real((double)MAX(end_ms - record->started_ms, 1) / 1000)
                            : json_null());
    json_object_set_new(object, "segments", json_integer(record->segments));
    json_object_set_new(object, "redelivered", json_integer(self->record.redelivered));
    json_object_set_new(object, "compute_s", json_real((double)record->compute_ns / 1e9));
    json_object_set_new(object, "numeric_mode", text_or_null(record->mode));
    json_object_set(object, "threads", json_object_get(report, "threads"));
    json_object_set(object, "parameters", json_object_get(report, "parameters"));
    json_object_set_new(object, "program", json_string(digest_text(hex, &record->program)));
    json_object_set_new(object, "waiting_for",
                        self->trouble.status != STATUS_OK && !training_terminal(self)
                            ? json_string(self->trouble.text)
                            : json_null());
    json_decref(report);
    return object;
}

static void add_times(json_t *object, const struct ledger_training *record)
{
    int64_t end = record->ended_ms;
    json_object_set_new(object, "created_at", seconds(record->created_ms));
    json_object_set_new(object, "in_progress_at", seconds(record->started_ms));
    json_object_set_new(object, "finalizing_at", seconds(record->finalizing_ms));
    json_object_set_new(object, "completed_at",
                        seconds(record->state == TRAINING_COMPLETED ? end : 0));
    json_object_set_new(object, "failed_at", seconds(record->state == TRAINING_FAILED ? end : 0));
    json_object_set_new(object, "cancelled_at",
                        seconds(record->state == TRAINING_CANCELLED ? end : 0));
}

json_t *training_json(const struct training *self)
{
    const struct ledger_training *record = self->shown;
    char id[ID_TEXT_SIZE];
    json_t *object = json_object(), *errors = parsed(record->errors);
    bool published = record->state == TRAINING_COMPLETED;
    json_object_set_new(object, "id", json_sprintf("train_%s", id_text(id, &record->id)));
    json_object_set_new(object, "object", json_string("training.job"));
    json_object_set_new(object, "name", json_string(record->name));
    json_object_set_new(object, "status",
                        json_string(training_state_text((enum training_state)record->state)));
    json_object_set_new(object, "source", json_string(record->source));
    json_object_set_new(object, "training", parsed(record->settings));
    json_object_set_new(object, "data", parsed(record->data));
    json_object_set_new(object, "progress", progress(self));
    json_object_set_new(object, "metrics", parsed(record->metrics));
    json_object_set_new(object, "model_version",
                        published ? json_sprintf("%lld", (long long)record->version) : json_null());
    json_object_set_new(
        object, "errors",
        json_is_array(errors) ? json_pack("{s:s, s:o}", "object", "list", "data", errors) : errors);
    add_times(object, record);
    json_object_set_new(object, "convoy", ours(self));
    return object;
}
