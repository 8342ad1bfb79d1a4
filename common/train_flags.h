/* train_flags - options of the command line that are settings of a training program
 *
 * `convoy train` and `convoy-run train` take the same ones, as an argp child: they become the JSON
 * object that the program reads (worker/program/settings.def). --settings FILE gives any of them;
 * an option wins over the file, wherever it stands. */
#ifndef CONVOY_COMMON_TRAIN_FLAGS_H
#define CONVOY_COMMON_TRAIN_FLAGS_H

#include "common/base.h"

#include <argp.h>
#include <jansson.h>

struct train_flags {
    json_t *settings; /* to be json_object() first; whole from ARGP_KEY_SUCCESS on; the caller's */
    const char *file; /* NULL: none */
};

/* Its input is a struct train_flags: a parent sets it at ARGP_KEY_INIT. */
extern const struct argp train_flags_argp;

#endif
