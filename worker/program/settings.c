/* settings - see settings.h */
#include "worker/program/settings.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "worker/train/spec.h"

enum kind { KIND_NUMBER, KIND_COUNT, KIND_CHOICE, KIND_FLAG, KIND_TEXT, KIND_NAMES };

struct row {
    const char *group, *key;
    enum kind kind;
    size_t at; /* in struct settings */
    double fallback, least, most;
    const char *choices, *what;
};

#define AT(group, key) offsetof(struct settings, group##_##key)
static const struct row rows[] = {
#define NUMBER(group, key, fallback, least, most, what)                                            \
    {#group, #key, KIND_NUMBER, AT(group, key), fallback, least, most, NULL, what},
#define COUNT(group, key, fallback, least, most, what)                                             \
    {#group, #key, KIND_COUNT, AT(group, key), fallback, least, most, NULL, what},
#define CHOICE(group, key, fallback, choices, what)                                                \
    {#group, #key, KIND_CHOICE, AT(group, key), fallback, 0, 0, choices, what},
#define FLAG(group, key, fallback, what)                                                           \
    {#group, #key, KIND_FLAG, AT(group, key), fallback, 0, 0, NULL, what},
#define TEXT(group, key, what)  {#group, #key, KIND_TEXT, AT(group, key), 0, 0, 0, NULL, what},
#define NAMES(group, key, what) {#group, #key, KIND_NAMES, AT(group, key), 0, 0, 0, NULL, what},
#include "worker/program/settings.def"
};

#define KEYS_MAX  32 /* of a group */
#define NAMES_MAX 4096

static bool top(const struct row *r)
{
    return strcmp(r->group, "program") == 0;
}

/* --- one value ------------------------------------------------------------------------------- */
/* Place of `text` in "a|b|c"; -1: none. */
static int choice_find(const char *choices, const char *text)
{
    size_t len = strlen(text);
    for (int i = 0;; i++) {
        size_t here = strcspn(choices, "|");
        if (here == len && strncmp(choices, text, len) == 0)
            return i;
        if (!choices[here])
            return -1;
        choices += here + 1;
    }
}

/* "optimizer.learning_rate", or the key alone where it stands in the object itself. */
static const char *full_name(const struct row *r, char into[static 96])
{
    snprintf(into, 96, "%s%s%s", top(r) ? "" : r->group, top(r) ? "" : ".", r->key);
    return into;
}

static enum status wrong(const struct row *r, const json_t *value, struct error *why)
{
    char name[96], *came = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
    enum status s = STATUS_INVALID;
    full_name(r, name);
    switch (r->kind) {
    case KIND_NUMBER:
    case KIND_COUNT:
        fail(why, s, "training setting \"%s\" is %.100s; expected a %snumber from %g to %g", name,
             came, r->kind == KIND_COUNT ? "whole " : "", r->least, r->most);
        break;
    case KIND_CHOICE:
        fail(why, s, "training setting \"%s\" is %.100s; expected one of %s", name, came,
             r->choices);
        break;
    default:
        fail(why, s, "training setting \"%s\" is %.100s; expected %s", name, came,
             r->kind == KIND_FLAG   ? "true or false"
             : r->kind == KIND_TEXT ? "a text"
                                    : "a list of names");
    }
    free(came);
    return s;
}

static bool take_names(struct names_list *list, const json_t *value)
{
    size_t len = json_array_size(value);
    if (!json_is_array(value) || len > NAMES_MAX)
        return false;
    list->items = xcalloc(MAX(1, len), sizeof *list->items);
    for (; list->len < len; list->len++) {
        const char *text = json_string_value(json_array_get(value, list->len));
        if (!text)
            return false;
        list->items[list->len] = xstrdup(text);
    }
    return true;
}

static bool take_number(const struct row *r, const json_t *value, double *into)
{
    double x = json_number_value(value);
    if (!json_is_number(value) || !(x >= r->least && x <= r->most) ||
        (r->kind == KIND_COUNT && x != floor(x)))
        return false;
    *into = x;
    return true;
}

static enum status take(struct settings *self, const struct row *r, const json_t *value,
                        struct error *why)
{
    void *field = (char *)self + r->at;
    const char *text = json_string_value(value);
    bool good = false;
    switch (r->kind) {
    case KIND_NUMBER:
    case KIND_COUNT:
        good = take_number(r, value, field);
        break;
    case KIND_CHOICE:
        good = text && (*(int *)field = choice_find(r->choices, text)) >= 0;
        break;
    case KIND_FLAG:
        good = json_is_boolean(value);
        *(bool *)field = json_is_true(value);
        break;
    case KIND_TEXT:
        good = text != NULL;
        if (good) {
            free(*(char **)field);
            *(char **)field = xstrdup(text);
        }
        break;
    case KIND_NAMES:
        good = take_names(field, value);
        break;
    }
    return good ? STATUS_OK : wrong(r, value, why);
}

static void put_default(struct settings *self, const struct row *r)
{
    void *field = (char *)self + r->at;
    if (r->kind == KIND_NUMBER || r->kind == KIND_COUNT)
        *(double *)field = r->fallback;
    else if (r->kind == KIND_CHOICE)
        *(int *)field = (int)r->fallback;
    else if (r->kind == KIND_FLAG)
        *(bool *)field = r->fallback > 0;
}

/* --- the object ------------------------------------------------------------------------------ */
static bool is_group(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (!top(&rows[i]) && strcmp(rows[i].group, name) == 0)
            return true;
    return false;
}

static enum status unknown(const char *group, const char *key, struct error *why)
{
    const char *names[KEYS_MAX + 8];
    size_t len = 0;
    bool outer = strcmp(group, "program") == 0;
    for (size_t i = 0; i < ARRAY_LEN(rows) && len < ARRAY_LEN(names); i++) {
        if (strcmp(rows[i].group, group) == 0)
            names[len++] = rows[i].key;
        else if (outer && (!i || strcmp(rows[i].group, rows[i - 1].group) != 0))
            names[len++] = rows[i].group;
    }
    const char *near = spec_nearest(key, names, len);
    return fail(why, STATUS_INVALID, "unknown training setting \"%s%s%.100s\"%s%s%s",
                outer ? "" : group, outer ? "" : ".", key, near ? "; did you mean \"" : "",
                near ? near : "", near ? "\"?" : "");
}

static enum status take_group(struct settings *self, const char *group, json_t *object,
                              struct error *why)
{
    const char *key;
    json_t *value;
    if (!json_is_object(object))
        return fail(why, STATUS_INVALID, "training setting \"%s\": expected an object", group);
    json_object_foreach(object, key, value)
    {
        enum status s = STATUS_NOT_FOUND;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++)
            if (strcmp(rows[i].group, group) == 0 && strcmp(rows[i].key, key) == 0)
                s = take(self, &rows[i], value, why);
        if (s == STATUS_NOT_FOUND && strcmp(group, "program") == 0 && is_group(key)) {
            /* "adam" is short for {"type": "adam"} */
            json_t *all =
                json_is_string(value) ? json_pack("{sO}", "type", value) : json_incref(value);
            s = take_group(self, key, all, why);
            json_decref(all);
        }
        if (s == STATUS_NOT_FOUND)
            s = unknown(group, key, why);
        if (s != STATUS_OK)
            return s;
    }
    return STATUS_OK;
}

enum status settings_read(struct settings *out, const char *text, struct error *why)
{
    json_error_t error;
    *out = (struct settings){0};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        put_default(out, &rows[i]);
    if (!text)
        return STATUS_OK;
    json_t *root = json_loads(text, JSON_REJECT_DUPLICATES, &error);
    if (!root)
        return fail(why, STATUS_INVALID, "training settings, line %d: %s", error.line, error.text);
    enum status s = take_group(out, "program", root, why);
    json_decref(root);
    return s;
}

void settings_free(struct settings *self)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        void *field = (char *)self + rows[i].at;
        if (rows[i].kind == KIND_TEXT)
            free(*(char **)field);
        if (rows[i].kind != KIND_NAMES)
            continue;
        struct names_list *list = field;
        while (list->len)
            free(list->items[--list->len]);
        free(list->items);
    }
    *self = (struct settings){0};
}

void settings_page(FILE *to)
{
    fprintf(to, "| setting | default | what it says |\n| --- | --- | --- |\n");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct row *r = &rows[i];
        char name[96], fallback[64] = "";
        full_name(r, name);
        if ((r->kind == KIND_NUMBER || r->kind == KIND_COUNT) && !isnan(r->fallback))
            snprintf(fallback, sizeof fallback, "%g", r->fallback);
        else if (r->kind == KIND_FLAG)
            snprintf(fallback, sizeof fallback, "%s", r->fallback > 0 ? "true" : "false");
        fprintf(to, "| `%s` | %s | %s", name, fallback, r->what);
        for (const char *c = r->choices, *sep = ": "; c; sep = ", ") {
            int len = (int)strcspn(c, "|");
            fprintf(to, "%s`%.*s`", sep, len, c);
            c = c[len] ? c + len + 1 : NULL;
        }
        fprintf(to, " |\n");
    }
}

bool settings_watch_validation(const struct settings *self)
{
    return self->early_stopping_monitor == WATCH_VALIDATION_LOSS ||
           self->early_stopping_monitor == WATCH_VALIDATION_ACCURACY;
}

bool settings_watch_accuracy(const struct settings *self)
{
    return self->early_stopping_monitor == WATCH_VALIDATION_ACCURACY ||
           self->early_stopping_monitor == WATCH_ACCURACY;
}

/* --- what a step needs ------------------------------------------------------------------------ */
enum { SGD, ADAM, ADAMW, RMSPROP };
enum { CONSTANT, EXPONENTIAL, COSINE, STEPWISE };

struct update settings_optimiser(const struct settings *self)
{
    static const enum update_kind kinds[] = {UPDATE_SGD, UPDATE_ADAM, UPDATE_ADAMW, UPDATE_RMSPROP};
    int type = self->optimizer_type;
    bool adam = type == ADAM || type == ADAMW;
    double decay = self->optimizer_weight_decay;
    return (struct update){
        .kind = kinds[type],
        .beta1 = (float)(adam ? self->optimizer_beta_1 : self->optimizer_momentum),
        .beta2 = (float)(adam ? self->optimizer_beta_2 : self->optimizer_rho),
        .epsilon = (float)self->optimizer_epsilon,
        .decay = (float)(!isnan(decay)   ? decay
                         : type == ADAMW ? 0.004
                                         : 0),
        .nesterov = self->optimizer_nesterov,
        .limit = (float)self->program_clip_value,
    };
}

double settings_rate(const struct settings *self, uint64_t number, uint64_t steps, uint64_t epoch)
{
    double rate = self->optimizer_learning_rate, t = (double)(number - 1);
    double warm = self->schedule_warmup_steps, every = self->schedule_decay_steps;
    if (isnan(rate))
        rate = self->optimizer_type == SGD ? 0.01 : 0.001;
    if (t < warm)
        return rate * (t + 1) / warm;
    t -= warm;
    switch (self->schedule_type) {
    case EXPONENTIAL:
    case STEPWISE:
        t /= every > 0 ? every : (double)MAX(1, epoch);
        return rate *
               pow(self->schedule_decay_rate, self->schedule_type == STEPWISE ? floor(t) : t);
    case COSINE: {
        double length = every > 0 ? every : fmax(1, (double)steps - warm);
        double part = (1 + cos(acos(-1) * fmin(1, t / length))) / 2;
        return rate * (self->schedule_alpha + (1 - self->schedule_alpha) * part);
    }
    default:
        return rate;
    }
}
