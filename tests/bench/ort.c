/* ort - a model in onnxruntime, whose library is loaded when the program runs; see ort.h
 *
 * The Python package brings no header. The C API is a table of functions that only grows at its
 * end, so a place in it is a fact of the interface: those used here are listed below. */
#include "tests/bench/ort.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

#define API_VERSION 16 /* any that has all of these */

/* Objects of the library: opaque. */
typedef void ort_object;

/* Place in the table, name, result, parameters. */
#define FUNCTIONS(F)                                                                               \
    F(2, message, const char *, (const ort_object *status))                                        \
    F(3, env_new, ort_object *, (int severity, const char *log_id, ort_object **out))              \
    F(7, session_new, ort_object *,                                                                \
      (const ort_object *env, const char *path, const ort_object *options, ort_object **out))      \
    F(9, run, ort_object *,                                                                        \
      (ort_object * session, const ort_object *options, const char *const *input_names,            \
       const ort_object *const *inputs, size_t inputs_len, const char *const *output_names,        \
       size_t outputs_len, ort_object **outputs))                                                  \
    F(10, options_new, ort_object *, (ort_object * *out))                                          \
    F(13, options_mode, ort_object *, (ort_object * options, int parallel))                        \
    F(23, options_optimise, ort_object *, (ort_object * options, int level))                       \
    F(24, options_threads, ort_object *, (ort_object * options, int threads))                      \
    F(25, options_operators, ort_object *, (ort_object * options, int at_a_time))                  \
    F(49, value_new, ort_object *,                                                                 \
      (const ort_object *memory, void *data, size_t bytes, const int64_t *dims, size_t rank,       \
       int type, ort_object **out))                                                                \
    F(69, memory_new, ort_object *, (int allocator, int type, ort_object **out))                   \
    F(95, session_free, void, (ort_object * session))                                              \
    F(96, value_free, void, (ort_object * value))                                                  \
    F(100, options_free, void, (ort_object * options))

enum { SEQUENTIAL = 0, OPTIMISE_ALL = 99, LOG_ERRORS = 3, ARENA = 1, MEMORY_DEFAULT = 0 };

#define MEMBER(place, name, result, parameters) result(*name) parameters;
static struct {
    FUNCTIONS(MEMBER)
} api;
#undef MEMBER

static ort_object *env, *cpu_memory;

struct values {
    const char **names;
    ort_object **values;
    size_t len;
};

struct ort_session {
    ort_object *session;
    struct values in, out;
};

static void must(ort_object *status)
{
    if (!status)
        return;
    fprintf(stderr, "onnxruntime: %s\n", api.message(status));
    exit(1);
}

void ort_start(const char *library)
{
    struct base {
        void *const *(*get_api)(uint32_t version);
        const char *(*version)(void);
    };
    void *file = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    const struct base *(*get_base)(void) = NULL;
    if (file)
        *(void **)&get_base = dlsym(file, "OrtGetApiBase");
    void *const *table = get_base ? get_base()->get_api(API_VERSION) : NULL;
    if (!table) {
        fprintf(stderr, "onnxruntime: %s\n", file ? "no such C API" : dlerror());
        exit(1);
    }
#define TAKE(place, name, result, parameters) *(void **)&api.name = table[place];
    FUNCTIONS(TAKE)
#undef TAKE
    must(api.env_new(LOG_ERRORS, "bench", &env));
    must(api.memory_new(ARENA, MEMORY_DEFAULT, &cpu_memory));
}

struct ort_session *ort_open(const char *path, int threads)
{
    struct ort_session *self = xcalloc(1, sizeof *self);
    ort_object *options;
    must(api.options_new(&options));
    must(api.options_mode(options, SEQUENTIAL));
    must(api.options_optimise(options, OPTIMISE_ALL));
    must(api.options_threads(options, threads));
    must(api.options_operators(options, 1));
    must(api.session_new(env, path, options, &self->session));
    api.options_free(options);
    return self;
}

static void bind(struct values *to, const struct tensor *tensors, size_t len)
{
    to->len = len;
    to->names = xcalloc(len, sizeof *to->names);
    to->values = xcalloc(len, sizeof *to->values);
    for (size_t i = 0; i < len; i++) {
        const struct tensor *t = &tensors[i];
        to->names[i] = t->name;
        must(api.value_new(cpu_memory, t->data, t->bytes, t->dims, t->rank, dtype_onnx(t->dtype),
                           &to->values[i]));
    }
}

void ort_bind(struct ort_session *self, const struct tensor *inputs, size_t inputs_len,
              const struct tensor *outputs, size_t outputs_len)
{
    bind(&self->in, inputs, inputs_len);
    bind(&self->out, outputs, outputs_len);
}

void ort_run(struct ort_session *self)
{
    must(api.run(self->session, NULL, self->in.names, (const ort_object *const *)self->in.values,
                 self->in.len, self->out.names, self->out.len, self->out.values));
}

static void values_free(struct values *self)
{
    for (size_t i = 0; i < self->len; i++)
        api.value_free(self->values[i]);
    free(self->names);
    free(self->values);
}

void ort_close(struct ort_session **self_p)
{
    struct ort_session *self = *self_p;
    if (!self)
        return;
    values_free(&self->in);
    values_free(&self->out);
    api.session_free(self->session);
    free(self);
    *self_p = NULL;
}
