/* The second run of a model with inputs of the same shapes takes nothing from the heap: every way
 * into the C library's heap is counted, in all threads. */
#include <errno.h>
#include <glob.h>

#include "tests/unit/common/testing.h"
#include "tests/unit/worker/op_cases.h"
#include "worker/engine.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define COUNTS 0 /* the sanitizer has a heap of its own */
#elif defined(__has_feature)
#define COUNTS (!__has_feature(address_sanitizer) && !__has_feature(thread_sanitizer))
#else
#define COUNTS 1
#endif

static bool counting;
static size_t taken;

#if COUNTS
static void count(void)
{
    if (__atomic_load_n(&counting, __ATOMIC_RELAXED))
        __atomic_fetch_add(&taken, 1, __ATOMIC_RELAXED);
}

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);
void *__libc_memalign(size_t align, size_t size);
int posix_memalign(void **out, size_t align, size_t size);

/* The C library's headers name parameters as only it may.
 * NOLINTBEGIN(readability-inconsistent-declaration-parameter-name) */
void *malloc(size_t size)
{
    count();
    return __libc_malloc(size);
}

void *calloc(size_t len, size_t size)
{
    count();
    return __libc_calloc(len, size);
}

void *realloc(void *old, size_t size)
{
    count();
    return __libc_realloc(old, size);
}

void *aligned_alloc(size_t align, size_t size)
{
    count();
    return __libc_memalign(align, size);
}

int posix_memalign(void **out, size_t align, size_t size)
{
    count();
    *out = __libc_memalign(align, size);
    return *out ? 0 : ENOMEM;
}
/* NOLINTEND(readability-inconsistent-declaration-parameter-name) */
#endif

/* How often two further runs of a model that has run once take memory. */
static size_t taken_by_runs(struct model *m, const struct tensor *inputs, uint32_t len)
{
    struct tensor outputs[MODEL_VALUES_MAX];
    struct error why;
    if (model_run(m, inputs, len, outputs, &why) != STATUS_OK)
        fail_msg("%s", why.text);
    taken = 0;
    __atomic_store_n(&counting, true, __ATOMIC_RELAXED);
    enum status first = model_run(m, inputs, len, outputs, &why);
    enum status second = model_run(m, inputs, len, outputs, &why);
    __atomic_store_n(&counting, false, __ATOMIC_RELAXED);
    assert_int_equal(first, STATUS_OK);
    assert_int_equal(second, STATUS_OK);
    return taken;
}

static void the_heap_is_counted(void **state)
{
    (void)state;
    if (!COUNTS)
        skip();
    taken = 0;
    counting = true;
    free(xmalloc(8));
    free(xcalloc(1, 8));
    free(xaligned(64));
    counting = false;
    assert_int_equal(taken, 3);
}

/* Models whose weights are inputs or computed pack them in each run. */
static bool packs_in_run(const char *name)
{
    return strstr(name, "from the model") != NULL;
}

static void cases_run_without_the_heap(void **state)
{
    glob_t files;
    (void)state;
    if (!COUNTS)
        skip();
    assert_int_equal(glob("tests/data/ops/*.cases", 0, NULL, &files), 0);
    for (size_t f = 0; f < files.gl_pathc; f++) {
        struct op_cases *cases = op_cases_read(files.gl_pathv[f]);
        for (size_t i = 0; i < cases->len; i++) {
            struct op_case *k = &cases->list[i];
            struct model *m;
            struct error why;
            if (model_load(&m, k->model, k->model_size, &why) != STATUS_OK)
                fail_msg("%s: %s", k->name, why.text);
            for (uint32_t n = 0; n < k->inputs_len; n++)
                k->inputs[n].name = model_signature(m)->inputs[n].name;
            size_t times = taken_by_runs(m, k->inputs, k->inputs_len);
            if (times && !packs_in_run(k->name))
                fail_msg("%s: %zu allocations in two runs", k->name, times);
            model_destroy(&m);
        }
        op_cases_free(&cases);
    }
    globfree(&files);
}

static void models_run_without_the_heap(void **state)
{
    glob_t files;
    (void)state;
    if (!COUNTS)
        skip();
    assert_int_equal(glob("tests/data/*.onnx", 0, NULL, &files), 0);
    for (size_t f = 0; f < files.gl_pathc; f++) {
        struct model *m;
        struct tensor inputs[MODEL_VALUES_MAX];
        struct error why;
        assert_int_equal(model_load_file(&m, files.gl_pathv[f], &why), STATUS_OK);
        const struct signature *s = model_signature(m);
        for (uint32_t i = 0; i < s->inputs_len; i++) {
            uint64_t bytes;
            inputs[i] = s->inputs[i];
            for (uint32_t d = 0; d < inputs[i].rank; d++)
                inputs[i].dims[d] = inputs[i].dims[d] < 0 ? 8 : inputs[i].dims[d];
            assert_true(tensor_size(inputs[i].dtype, inputs[i].dims, inputs[i].rank, &bytes));
            inputs[i].bytes = (size_t)bytes;
            inputs[i].data = xaligned(inputs[i].bytes);
            memset(inputs[i].data, 0, inputs[i].bytes);
        }
        assert_int_equal(taken_by_runs(m, inputs, s->inputs_len), 0);
        for (uint32_t i = 0; i < s->inputs_len; i++)
            free(inputs[i].data);
        model_destroy(&m);
    }
    assert_true(files.gl_pathc >= 5);
    globfree(&files);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_heap_is_counted),
        cmocka_unit_test(cases_run_without_the_heap),
        cmocka_unit_test(models_run_without_the_heap),
    };
    struct error why;
    if (engine_start("auto", 2, &why) != STATUS_OK)
        panic("%s", why.text);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
