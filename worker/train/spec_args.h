/* spec_args - arguments of a layer against spec_layers.def
 *
 * What is given is checked and what is not is filled in, so that whoever reads them later asks no
 * questions. */
#ifndef CONVOY_WORKER_TRAIN_SPEC_ARGS_H
#define CONVOY_WORKER_TRAIN_SPEC_ARGS_H

#include "worker/train/spec.h"

enum spec_arg_type {
    SPEC_ARG_END,  /* no argument: a layer's row ends those of the one before it */
    SPEC_ARG_NAME, /* of a layer */
    SPEC_ARG_DIM,  /* 1 to SPEC_DIM_MAX */
    SPEC_ARG_DIM_OR_NULL,
    SPEC_ARG_SIZES, /* one DIM for each axis of the window, or one for all */
    SPEC_ARG_SIZES_OR_NULL,
    SPEC_ARG_SHAPE,  /* sizes; null where open */
    SPEC_ARG_TARGET, /* sizes; one may be -1 */
    SPEC_ARG_BOOL,
    SPEC_ARG_REAL,
    SPEC_ARG_POSITIVE,  /* a number above 0 */
    SPEC_ARG_RATE,      /* 0 to less than 1 */
    SPEC_ARG_LAST_AXIS, /* a number, or a list with one */
    SPEC_ARG_PADDING,
    SPEC_ARG_MERGE,
    SPEC_ARG_ACTIVATION,  /* a name; null: linear */
    SPEC_ARG_INITIALIZER, /* a name, or an object with its arguments */
    SPEC_ARG_INPUT_TYPE,
    SPEC_ARG_FLOAT32,
    SPEC_ARG_LAYER,  /* an object with the type and arguments of a recurrent layer */
    SPEC_ARG_ONLY,   /* the default and nothing else */
    SPEC_ARG_UNUSED, /* anything; it changes no number */
};

struct spec_arg {
    const char *name;
    enum spec_arg_type type;
    const char *fallback; /* JSON; NULL: must be given */
    const char *what;
};

struct spec_row {
    const char *name;
    enum spec_family family;
    const char *what;
};

/* The list, by type. */
#define SPEC_TYPES_MAX 64
extern const struct spec_row spec_rows[];
extern const size_t spec_rows_len;

/* Arguments of a type, or of every type. */
const struct spec_arg *spec_args_of(enum spec_type type, size_t *len);
const struct spec_arg *spec_args_common(size_t *len);

/* The type of that name. False with a sentence that names what is near. */
bool spec_type_find(const char *name, enum spec_type *type, struct error *why);

/* Check `given` (an object; the keys in `skip` are not arguments) and make call->args. */
enum status spec_args_check(struct spec_call *call, enum spec_type type, const json_t *given,
                            const char *const *skip, size_t skip_len, struct error *why);

#endif
