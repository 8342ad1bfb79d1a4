/* settings - how a network is trained: JSON against settings.def */
#ifndef CONVOY_WORKER_PROGRAM_SETTINGS_H
#define CONVOY_WORKER_PROGRAM_SETTINGS_H

#include <stdio.h>

#include "common/status.h"
#include "worker/kernels/update.h"
#include "worker/train/loss.h"

struct names_list {
    char **items;
    size_t len;
};

/* A field for each row, "group_key". */
struct settings {
#define NUMBER(group, key, fallback, least, most, what) double group##_##key;
#define COUNT(group, key, fallback, least, most, what)  double group##_##key;
#define CHOICE(group, key, fallback, choices, what)     int group##_##key;
#define FLAG(group, key, fallback, what)                bool group##_##key;
#define TEXT(group, key, what)                          char *group##_##key;
#define NAMES(group, key, what)                         struct names_list group##_##key;
#include "worker/program/settings.def"
};

/* `text` is an object or NULL for all defaults. INVALID names the key, what was expected and what
 * came. settings_free() after any outcome. */
enum status settings_read(struct settings *out, const char *text, struct error *why);
void settings_free(struct settings *self);

/* Places in the list of early_stopping.monitor. */
enum monitor {
    WATCH_NOTHING,
    WATCH_VALIDATION_LOSS,
    WATCH_VALIDATION_ACCURACY,
    WATCH_LOSS,
    WATCH_ACCURACY,
};
bool settings_watch_validation(const struct settings *self);
bool settings_watch_accuracy(const struct settings *self);

/* The optimiser with its constants; rate, t and scale belong to a step. */
struct update settings_optimiser(const struct settings *self);

/* The learning rate of step `number` (from 1) of `steps`, `epoch` steps long each. */
double settings_rate(const struct settings *self, uint64_t number, uint64_t steps, uint64_t epoch);

/* The table in Markdown, for TRAINING.md. */
void settings_page(FILE *to);

#endif
