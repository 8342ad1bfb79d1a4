/* spec_args - see spec_args.h */
#include "worker/train/spec_args.h"

#include <ctype.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "worker/train/spec_activation.h"
#include "worker/train/spec_init.h"

#define SPEC_NEAR_MAX 3  /* letters that differ; more is another word */
#define SPEC_WORD_MAX 40 /* letters that are compared */
#define GOT_MAX       80 /* bytes of a value in a message */

const struct spec_row spec_rows[] = {
#define LAYER(name, family, what) {#name, SPEC_FAMILY_##family, what},
#define ARG(name, type, default, what)
#include "worker/train/spec_layers.def"
#undef LAYER
#undef ARG
};
const size_t spec_rows_len = ARRAY_LEN(spec_rows);

static const struct spec_arg entries[] = {
#define LAYER(name, family, what)      {#name, SPEC_ARG_END, NULL, what},
#define ARG(name, type, default, what) {#name, SPEC_ARG_##type, default, what},
#include "worker/train/spec_layers.def"
#undef LAYER
#undef ARG
    {"", SPEC_ARG_END, NULL, ""},
};

const struct spec_arg *spec_args_common(size_t *len)
{
    for (*len = 0; entries[*len].type != SPEC_ARG_END; ++*len)
        continue;
    return entries;
}

const struct spec_arg *spec_args_of(enum spec_type type, size_t *len)
{
    const struct spec_arg *at = entries + (spec_args_common(len), *len) + 1;
    for (size_t i = 0; i < (size_t)type; at++)
        i += at->type == SPEC_ARG_END;
    for (*len = 0; at[*len].type != SPEC_ARG_END; ++*len)
        continue;
    return at;
}

const char *spec_type_name(enum spec_type type)
{
    assert((size_t)type < spec_rows_len);
    return spec_rows[type].name;
}

enum spec_family spec_family(enum spec_type type)
{
    assert((size_t)type < spec_rows_len);
    return spec_rows[type].family;
}

/* --- words that are near ------------------------------------------------------------------------
 */

/* Letters to insert, delete or change until one is the other; capitals count as small letters. */
static size_t distance(const char *a, const char *b)
{
    size_t row[SPEC_WORD_MAX + 1], a_len = strlen(a), b_len = strlen(b);
    if (a_len > SPEC_WORD_MAX || b_len > SPEC_WORD_MAX)
        return SIZE_MAX;
    for (size_t k = 0; k <= b_len; k++)
        row[k] = k;
    for (size_t i = 1; i <= a_len; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t k = 1; k <= b_len; k++) {
            bool same = tolower((unsigned char)a[i - 1]) == tolower((unsigned char)b[k - 1]);
            size_t changed = diagonal + !same;
            diagonal = row[k];
            row[k] = MIN(changed, MIN(row[k], row[k - 1]) + 1);
        }
    }
    return row[b_len];
}

const char *spec_nearest(const char *text, const char *const *names, size_t len)
{
    size_t best = SIZE_MAX;
    const char *near = NULL;
    for (size_t i = 0; i < len; i++) {
        size_t far = distance(text, names[i]);
        if (far < best) {
            best = far;
            near = names[i];
        }
    }
    return best <= MIN(SPEC_NEAR_MAX, strlen(text) / 2) ? near : NULL;
}

bool spec_type_find(const char *name, enum spec_type *type, struct error *why)
{
    const char *names[SPEC_TYPES_MAX];
    assert(spec_rows_len <= SPEC_TYPES_MAX);
    for (size_t i = 0; i < spec_rows_len; i++) {
        names[i] = spec_rows[i].name;
        if (strcmp(name, names[i]) == 0) {
            *type = (enum spec_type)i;
            return true;
        }
    }
    const char *near = spec_nearest(name, names, spec_rows_len);
    fail(why, STATUS_INVALID, "unknown layer \"%.60s\"; %s%s%s", name,
         near ? "did you mean \"" : "`convoy-run build --layers` lists those that there are",
         near ? near : "", near ? "\"?" : "");
    return false;
}

/* --- one argument -------------------------------------------------------------------------------
 */

/* What came, for a message. */
static const char *got(char *into, const json_t *value)
{
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
    text_copy(into, GOT_MAX, text ? text : "something else");
    free(text);
    return into;
}

static bool is_dim(const json_t *value, int64_t min)
{
    return json_is_integer(value) && json_integer_value(value) >= min &&
           json_integer_value(value) <= SPEC_DIM_MAX;
}

/* A list of 1 to SPEC_RANK_MAX sizes; `open` (or NULL) stands for one that is not known. */
static bool is_dims(const json_t *value, bool nulls, int64_t min)
{
    bool right = json_is_array(value) && json_array_size(value) >= 1 &&
                 json_array_size(value) <= SPEC_RANK_MAX;
    for (size_t i = 0; right && i < json_array_size(value); i++) {
        const json_t *dim = json_array_get(value, i);
        right = (nulls && json_is_null(dim)) ||
                (is_dim(dim, min) && (min >= 0 || json_integer_value(dim) != 0));
    }
    return right;
}

/* Axes of the window of a convolution or pooling; 0: it has none. */
static uint32_t window_rank(enum spec_type type)
{
    const char *name = spec_type_name(type);
    size_t len = strlen(name);
    return len > 2 && name[len - 1] == 'D' ? (uint32_t)(name[len - 2] - '0') : 0;
}

/* One size for each axis of the window, or NULL. */
static json_t *sizes(enum spec_type type, const json_t *value)
{
    uint32_t rank = window_rank(type);
    if (!is_dim(value, 1) && !(is_dims(value, false, 1) && json_array_size(value) == rank))
        return NULL;
    json_t *list = json_array();
    for (uint32_t i = 0; i < rank; i++)
        json_array_append(list, json_is_array(value) ? json_array_get(value, i)
                                                     : (json_t *)(uintptr_t)value);
    return list;
}

static bool is_one_of(const json_t *value, const char *const *words, size_t len)
{
    for (size_t i = 0; json_is_string(value) && i < len; i++)
        if (strcmp(json_string_value(value), words[i]) == 0)
            return true;
    return false;
}

/* "relu", null for linear, or what Keras 3 writes for a function. */
static json_t *activation(const json_t *value, struct error *why)
{
    const json_t *name = json_is_object(value) ? json_object_get(value, "config") : value;
    if (json_is_null(value))
        return json_string("linear");
    if (!json_is_string(name)) {
        fail(why, STATUS_INVALID, "expected the name of an activation");
        return NULL;
    }
    const struct activation *found = activation_find(json_string_value(name), why);
    return found ? json_string(found->name) : NULL;
}

/* "float32", or a policy of Keras 3 of that name. */
static bool is_float32(const json_t *value)
{
    const json_t *name = json_object_get(json_object_get(value, "config"), "name");
    const char *text = json_string_value(json_is_object(value) ? name : value);
    return json_is_null(value) || (text && strcmp(text, "float32") == 0);
}

static bool is_only(const struct spec_arg *arg, const json_t *value)
{
    json_t *wanted = json_loads(arg->fallback, JSON_DECODE_ANY, NULL);
    assert(wanted);
    bool same = json_is_number(wanted)
                    ? json_is_number(value) && json_number_value(wanted) == json_number_value(value)
                    : json_equal(wanted, value);
    json_decref(wanted);
    return same;
}

/* The words that a value may be, and how to say it. */
struct words {
    enum spec_arg_type type;
    const char *expected;
    const char *list[4];
    size_t len;
};

static const struct words words[] = {
    {SPEC_ARG_PADDING, "\"valid\" or \"same\"", {"valid", "same"}, 2},
    {SPEC_ARG_MERGE, "\"concat\", \"sum\", \"mul\" or \"ave\"", {"concat", "sum", "mul", "ave"}, 4},
    {SPEC_ARG_INPUT_TYPE,
     "\"float32\", \"uint8\", \"int32\" or \"int64\"",
     {"float32", "uint8", "int32", "int64"},
     4},
};

/* What is wrong with `value`, or NULL. */
static const char *expected(const struct spec_arg *arg, const json_t *value)
{
    double number = json_number_value(value);
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (arg->type == words[i].type)
            return is_one_of(value, words[i].list, words[i].len) ? NULL : words[i].expected;
    switch (arg->type) {
    case SPEC_ARG_DIM_OR_NULL:
        return json_is_null(value) || is_dim(value, 1) ? NULL : "a whole number of 1 or more";
    case SPEC_ARG_DIM:
        return is_dim(value, 1) ? NULL : "a whole number from 1 to 16777216";
    case SPEC_ARG_SHAPE:
        return is_dims(value, true, 1) ? NULL : "a list of 1 to 6 sizes, null where open";
    case SPEC_ARG_TARGET:
        return is_dims(value, false, -1) ? NULL : "a list of 1 to 6 sizes, one of them may be -1";
    case SPEC_ARG_BOOL:
        return json_is_boolean(value) ? NULL : "true or false";
    case SPEC_ARG_REAL:
        return json_is_number(value) && fabs(number) <= (double)FLT_MAX ? NULL : "a number of FP32";
    case SPEC_ARG_POSITIVE:
        return json_is_number(value) && number >= (double)FLT_MIN && number <= (double)FLT_MAX
                   ? NULL
                   : "a number of FP32 above 0";
    case SPEC_ARG_RATE:
        return json_is_number(value) && number >= 0 && number < 1 ? NULL
                                                                  : "a number from 0 to below 1";
    case SPEC_ARG_LAST_AXIS:
        return json_is_integer(value) || (is_dims(value, false, -1) && json_array_size(value) == 1)
                   ? NULL
                   : "one axis, the last: -1";
    case SPEC_ARG_FLOAT32:
        return is_float32(value) ? NULL : "\"float32\"";
    case SPEC_ARG_ONLY:
        return is_only(arg, value) ? NULL : arg->fallback;
    case SPEC_ARG_NAME:
        return json_is_null(value) || json_is_string(value) ? NULL : "a text";
    case SPEC_ARG_LAYER:
        return json_is_object(value) ? NULL : "an object with the type of a recurrent layer";
    default:
        return NULL;
    }
}

/* The value as it is kept, or NULL with a sentence behind "argument: ". */
static json_t *checked(const struct spec_arg *arg, enum spec_type type, json_t *value,
                       struct error *why)
{
    char text[GOT_MAX];
    json_t *made = NULL;
    if (arg->type == SPEC_ARG_INITIALIZER)
        return init_check(value, &made, why) == STATUS_OK ? made : NULL;
    if (arg->type == SPEC_ARG_ACTIVATION)
        return activation(value, why);
    if (arg->type == SPEC_ARG_SIZES_OR_NULL && json_is_null(value))
        return json_null();
    if (arg->type == SPEC_ARG_SIZES || arg->type == SPEC_ARG_SIZES_OR_NULL) {
        made = sizes(type, value);
        if (!made)
            fail(why, STATUS_INVALID, "expected a size of 1 or more%s, got %s",
                 window_rank(type) == 2 ? ", or a list of two" : ", or a list with one",
                 got(text, value));
        return made;
    }
    if (arg->type == SPEC_ARG_DIM_OR_NULL && json_array_size(value) == 1)
        value = json_array_get(value, 0); /* Keras writes output_shape as a list */
    const char *wanted = expected(arg, value);
    if (wanted) {
        fail(why, STATUS_INVALID, "%s %s, got %s",
             arg->type == SPEC_ARG_ONLY ? "supported is only" : "expected", wanted,
             got(text, value));
        return NULL;
    }
    return json_incref(value);
}

/* --- all arguments ------------------------------------------------------------------------------
 */

static enum status unknown(enum spec_type type, const char *key, struct error *why)
{
    const char *names[ARRAY_LEN(entries)];
    size_t len, common_len, known = 0;
    const struct spec_arg *own = spec_args_of(type, &len), *common = spec_args_common(&common_len);
    for (size_t i = 0; i < len; i++)
        names[known++] = own[i].name;
    for (size_t i = 0; i < common_len; i++)
        names[known++] = common[i].name;
    names[known++] = "inputs";
    names[known++] = "input_shape";
    const char *near = spec_nearest(key, names, known);
    return fail(why, STATUS_INVALID, "unknown argument \"%.60s\"; %s%s%s", key,
                near ? "did you mean \"" : "leave it out: worker/LAYERS.md has what there is",
                near ? near : "", near ? "\"?" : "");
}

static enum status fill(struct spec_call *call, const struct spec_arg *args, size_t len,
                        const json_t *given, struct error *why)
{
    for (size_t i = 0; i < len; i++) {
        json_t *value = json_object_get(given, args[i].name), *kept = NULL;
        if (json_object_get(call->args, args[i].name))
            continue; /* a layer's own dtype stands in front of everybody's */
        if (!value && !args[i].fallback)
            return fail(why, STATUS_INVALID, "%s is missing%s%s", args[i].name,
                        args[i].what[0] ? ": " : "", args[i].what);
        json_t *fallback = value ? NULL : json_loads(args[i].fallback, JSON_DECODE_ANY, NULL);
        assert(value || fallback);
        kept = checked(&args[i], call->type, value ? value : fallback, why);
        json_decref(fallback);
        if (!kept)
            return fail_in(why, "%s", args[i].name);
        json_object_set_new(call->args, args[i].name, kept);
    }
    return STATUS_OK;
}

enum status spec_args_check(struct spec_call *call, enum spec_type type, const json_t *given,
                            const char *const *skip, size_t skip_len, struct error *why)
{
    size_t len, common_len;
    const struct spec_arg *own = spec_args_of(type, &len), *common = spec_args_common(&common_len);
    const char *key;
    json_t *value;
    call->type = type;
    call->args = json_object();
    enum status s = fill(call, own, len, given, why);
    if (s == STATUS_OK)
        s = fill(call, common, common_len, given, why);
    json_object_foreach((json_t *)(uintptr_t)given, key, value)
    {
        bool known = json_object_get(call->args, key) != NULL;
        for (size_t i = 0; i < skip_len; i++)
            known = known || strcmp(key, skip[i]) == 0;
        if (s == STATUS_OK && !known)
            s = unknown(type, key, why);
    }
    return s;
}

/* --- reading them -------------------------------------------------------------------------------
 */

static const json_t *get(const struct spec_call *call, const char *arg)
{
    const json_t *value = json_object_get(call->args, arg);
    assert(value);
    return value;
}

int64_t spec_int(const struct spec_call *call, const char *arg)
{
    return json_integer_value(get(call, arg));
}

int64_t spec_int_at(const struct spec_call *call, const char *arg, uint32_t i)
{
    return json_integer_value(json_array_get(get(call, arg), i));
}

double spec_real(const struct spec_call *call, const char *arg)
{
    return json_number_value(get(call, arg));
}

bool spec_bool(const struct spec_call *call, const char *arg)
{
    return json_is_true(get(call, arg));
}

const char *spec_text(const struct spec_call *call, const char *arg)
{
    return json_string_value(get(call, arg));
}
