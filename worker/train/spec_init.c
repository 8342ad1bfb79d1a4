/* spec_init - see spec_init.h
 *
 * Formulas: Keras's documentation of initializers. A fan counts what one number sees: for a kernel
 * of [window..., in, out] it is in (or out) times the window. A truncated normal is drawn again
 * beyond two standard deviations; what that takes from its variance is given back where the
 * variance is derived from a fan. */
#include "worker/train/spec_init.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "worker/train/spec.h"

#define NUMBER_MAX       1e30                /* all that is drawn has room in FP32 */
#define TRUNCATED_STDDEV 0.87962566103423978 /* of a normal within two standard deviations */

enum distribution { INIT_CONSTANT, INIT_UNIFORM, INIT_NORMAL, INIT_TRUNCATED, INIT_ORTHOGONAL };
enum fan { FAN_NONE, FAN_IN, FAN_AVERAGE };

struct init {
    const char *name, *class;
    enum distribution distribution;
    const char *args[2];
    double defaults[2];
    double scale;
    enum fan fan;
};

static const struct init inits[] = {
#define INIT(name, class, distribution, arg_a, default_a, arg_b, default_b, scale, fan)            \
    {#name, #class, INIT_##distribution, {arg_a, arg_b}, {default_a, default_b}, scale, FAN_##fan},
#include "worker/train/spec_inits.def"
#undef INIT
};

/* "RandomUniform" and "random_uniform"; "uniform" and "normal" are Keras's short names. */
static const struct init *find(const char *name)
{
    const char *full = strcmp(name, "uniform") == 0  ? "random_uniform"
                       : strcmp(name, "normal") == 0 ? "random_normal"
                                                     : name;
    for (size_t i = 0; i < ARRAY_LEN(inits); i++)
        if (strcmp(full, inits[i].name) == 0 || strcmp(full, inits[i].class) == 0)
            return &inits[i];
    return NULL;
}

static enum status unknown(const char *name, struct error *why)
{
    const char *names[ARRAY_LEN(inits)];
    for (size_t i = 0; i < ARRAY_LEN(inits); i++)
        names[i] = inits[i].name;
    const char *near = spec_nearest(name, names, ARRAY_LEN(names));
    return fail(why, STATUS_INVALID, "unknown initialiser \"%.60s\"; %s%s%s", name,
                near ? "did you mean \"" : "expected one as glorot_uniform, he_normal, orthogonal",
                near ? near : "", near ? "\"?" : ", zeros");
}

/* Arguments that change no number here; the seed is the whole model's. */
static bool is_ignored(const char *key)
{
    static const char *const ignored[] = {"type", "seed", "input_axes", "output_axes", "dtype"};
    for (size_t i = 0; i < ARRAY_LEN(ignored); i++)
        if (strcmp(key, ignored[i]) == 0)
            return true;
    return false;
}

enum status init_check(const json_t *given, json_t **out, struct error *why)
{
    const json_t *config = json_object_get(given, "config");
    const json_t *label = json_is_string(given) ? given
                          : json_object_get(given, "class_name")
                              ? json_object_get(given, "class_name")
                              : json_object_get(given, "type");
    if (!json_is_string(label))
        return fail(why, STATUS_INVALID,
                    "expected the name of an initialiser, or an object with its \"type\" and "
                    "arguments");
    const struct init *init = find(json_string_value(label));
    if (!init)
        return unknown(json_string_value(label), why);
    const json_t *args = config ? config : given;
    const char *key;
    json_t *value, *made = json_pack("{s:s}", "type", init->name);
    for (uint32_t i = 0; i < 2 && init->args[i]; i++)
        json_object_set_new(made, init->args[i], json_real(init->defaults[i]));
    json_object_foreach((json_t *)(uintptr_t)args, key, value)
    {
        bool known = json_object_get(made, key) != NULL && strcmp(key, "type") != 0;
        if (!known && (is_ignored(key) || (config == NULL && strcmp(key, "class_name") == 0)))
            continue;
        if (!known || !json_is_number(value) || fabs(json_number_value(value)) > NUMBER_MAX) {
            json_decref(made);
            return fail(why, STATUS_INVALID, "%s: %s \"%.60s\"%s", init->name,
                        known ? "expected a number from -1e30 to 1e30 for" : "unknown argument",
                        key, known ? "" : "; leave it out");
        }
        json_object_set_new(made, key, json_real(json_number_value(value)));
    }
    *out = made;
    return STATUS_OK;
}

/* --- numbers by place ---------------------------------------------------------------------------
 */

/* splitmix64 at place i of the sequence that starts at `key`. */
static uint64_t mix(uint64_t key, uint64_t i)
{
    uint64_t z = key + (i + 1) * UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/* FNV-1a of the name, stirred with seed and copy. */
static uint64_t make_key(uint64_t seed, const char *name, uint32_t copy)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (; *name; name++)
        hash = (hash ^ (uint8_t)*name) * UINT64_C(0x100000001b3);
    return mix(mix(seed, 0) ^ hash, copy);
}

/* In [0, 1). */
static double uniform(uint64_t key, uint64_t i)
{
    return (double)(mix(key, i) >> 11) * 0x1p-53;
}

/* Box and Muller, two places for each number. */
static double normal(uint64_t key, uint64_t i)
{
    return sqrt(-2 * log(1 - uniform(key, 2 * i))) * cos(2 * M_PI * uniform(key, 2 * i + 1));
}

/* Drawn again until it lies within two standard deviations; each element has a sequence to itself.
 */
static double truncated(uint64_t key, uint64_t i)
{
    uint64_t own = mix(key, i), draw = 0;
    double z;
    do
        z = normal(own, draw++);
    while (fabs(z) > 2);
    return z;
}

/* --- distributions ------------------------------------------------------------------------------
 */

static double fan_of(enum fan fan, const int64_t *dims, uint32_t rank)
{
    double in = rank ? (double)dims[0] : 1, out = in;
    if (rank >= 2) {
        double window = 1;
        for (uint32_t i = 0; i + 2 < rank; i++)
            window *= (double)dims[i];
        in = (double)dims[rank - 2] * window;
        out = (double)dims[rank - 1] * window;
    }
    return MAX(1, fan == FAN_IN ? in : (in + out) / 2);
}

/* Four sums side by side, which the processor adds at once. */
static double dot(const double *a, const double *b, size_t len)
{
    double sums[4] = {0, 0, 0, 0};
    size_t i = 0;
    for (; i + 4 <= len; i += 4)
        for (size_t k = 0; k < 4; k++)
            sums[k] += a[i + k] * b[i + k];
    for (; i < len; i++)
        sums[0] += a[i] * b[i];
    return sums[0] + sums[1] + (sums[2] + sums[3]);
}

/* v -= (v . q) q for each of the `done` unit rows in front of it; once more when that took so much
 * of v that rounding shows (Kahan: twice is enough). Then v becomes a unit row: the diagonal of R
 * is positive, as Keras asks. */
static void orthonormalise(double *rows, size_t done, size_t length)
{
    double *v = rows + done * length, before, norm = dot(v, v, length);
    do {
        before = norm;
        for (size_t r = 0; r < done; r++) {
            const double *q = rows + r * length;
            double along = dot(v, q, length);
            for (size_t i = 0; i < length; i++)
                v[i] -= along * q[i];
        }
        norm = dot(v, v, length);
    } while (norm < before / 2);
    for (size_t i = 0; i < length; i++)
        v[i] /= sqrt(norm);
}

/* As a matrix of all axes but the last by the last: whichever is fewer, rows or columns, are
 * orthonormal. */
static void fill_orthogonal(float *into, const int64_t *dims, uint32_t rank, double gain,
                            uint64_t key)
{
    size_t columns = rank ? (size_t)dims[rank - 1] : 1, rows = 1;
    for (uint32_t i = 0; i + 1 < rank; i++)
        rows *= (size_t)dims[i];
    size_t few = MIN(rows, columns), many = MAX(rows, columns);
    double *q = xmalloc(few * many * sizeof *q);
    for (size_t i = 0; i < few * many; i++)
        q[i] = normal(key, i);
    for (size_t r = 0; r < few; r++)
        orthonormalise(q, r, many);
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < columns; c++)
            into[r * columns + c] =
                (float)(gain * (rows < columns ? q[r * many + c] : q[c * many + r]));
    free(q);
}

void init_fill(float *into, const json_t *initializer, const int64_t *dims, uint32_t rank,
               uint64_t seed, const char *name, uint32_t copy)
{
    const struct init *init = find(json_string_value(json_object_get(initializer, "type")));
    uint64_t key = make_key(seed, name, copy), count = 1;
    double given[2];
    assert(init);
    for (uint32_t i = 0; i < 2; i++)
        given[i] = init->args[i] ? json_number_value(json_object_get(initializer, init->args[i]))
                                 : init->defaults[i];
    for (uint32_t i = 0; i < rank; i++)
        count *= (uint64_t)dims[i];
    if (init->distribution == INIT_ORTHOGONAL) {
        fill_orthogonal(into, dims, rank, given[0], key);
        return;
    }
    if (init->fan != FAN_NONE) {
        double variance = init->scale / fan_of(init->fan, dims, rank);
        double wide = init->distribution == INIT_UNIFORM ? sqrt(3 * variance)
                                                         : sqrt(variance) / TRUNCATED_STDDEV;
        given[0] = init->distribution == INIT_UNIFORM ? -wide : 0;
        given[1] = wide;
    }
    for (uint64_t i = 0; i < count; i++)
        switch (init->distribution) {
        case INIT_UNIFORM:
            into[i] = (float)(given[0] + (given[1] - given[0]) * uniform(key, i));
            break;
        case INIT_NORMAL:
            into[i] = (float)(given[0] + given[1] * normal(key, i));
            break;
        case INIT_TRUNCATED:
            into[i] = (float)(given[0] + given[1] * truncated(key, i));
            break;
        default:
            into[i] = (float)given[0];
        }
}
