/* The engine's contract: what it says of a model, what it refuses, and what a run costs. */
#include "tests/unit/common/testing.h"

#include "common/npy.h"
#include "worker/engine.h"
#include "worker/run_batches.h"

#define CNN "tests/data/fashion_cnn.onnx"

/* --- allocations are counted through the C library's own names; sanitizers bring their own --- */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define COUNTS_ALLOCATIONS 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define COUNTS_ALLOCATIONS 0
#endif
#endif
#ifndef COUNTS_ALLOCATIONS
#define COUNTS_ALLOCATIONS 1
#endif

static uint64_t allocations;

#if COUNTS_ALLOCATIONS
extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);

void *malloc(size_t bytes)
{
    __atomic_fetch_add(&allocations, 1, __ATOMIC_RELAXED);
    return __libc_malloc(bytes);
}

void *calloc(size_t count, size_t bytes)
{
    __atomic_fetch_add(&allocations, 1, __ATOMIC_RELAXED);
    return __libc_calloc(count, bytes);
}

void *realloc(void *old, size_t bytes)
{
    __atomic_fetch_add(&allocations, 1, __ATOMIC_RELAXED);
    return __libc_realloc(old, bytes);
}

void *aligned_alloc(size_t align, size_t bytes)
{
    __atomic_fetch_add(&allocations, 1, __ATOMIC_RELAXED);
    return __libc_memalign(align, bytes);
}
#endif

static struct model *load(const char *path)
{
    struct model *m;
    struct error why;
    if (model_load_file(&m, path, &why) != STATUS_OK)
        fail_msg("%s", why.text);
    return m;
}

/* An .npy file as an aligned tensor; free its data. */
static struct tensor read_tensor(const char *path, const char *name)
{
    struct npy npy;
    struct error why;
    if (npy_map(&npy, path, &why) != STATUS_OK)
        fail_msg("%s", why.text);
    struct tensor t = {.name = name, .dtype = npy.dtype, .rank = npy.rank};
    memcpy(t.dims, npy.dims, sizeof t.dims);
    t.bytes = (size_t)npy.data_bytes;
    t.data = xaligned(t.bytes);
    memcpy(t.data, npy.data, t.bytes);
    npy_close(&npy);
    return t;
}

static void the_signature_says_what_goes_in_and_out(void **state)
{
    (void)state;
    struct model *m = load(CNN);
    const struct signature *s = model_signature(m);
    assert_int_equal(s->inputs_len, 1);
    assert_string_equal(s->inputs[0].name, "images");
    assert_int_equal(s->inputs[0].dtype, DTYPE_UINT8);
    assert_int_equal(s->inputs[0].dims[0], -1);
    assert_int_equal(s->inputs[0].dims[2], 28);
    assert_int_equal(s->outputs[0].dtype, DTYPE_FP32);
    assert_int_equal(s->outputs[0].dims[1], 10);
    assert_true(s->batchable);
    assert_int_equal(s->output_batch_axis[0], 0);
    model_destroy(&m);
    model_destroy(&m); /* twice is harmless */
    m = load("tests/data/lstm_bidirectional.onnx");
    assert_true(model_signature(m)->batchable);
    assert_int_equal(model_signature(m)->output_batch_axis[0], 1);
    model_destroy(&m);
}

static void wrong_inputs_are_refused_with_expected_and_got(void **state)
{
    (void)state;
    struct model *m = load(CNN);
    struct tensor in = read_tensor("tests/data/fashion_cnn/input.npy", "images"), out[1], two[2];
    struct error why;
    struct tensor bad = in;
    bad.name = "pictures";
    assert_int_equal(model_run(m, &bad, 1, out, &why), STATUS_INVALID);
    assert_why(&why, STATUS_INVALID, "\"images\" is missing");
    bad = in;
    bad.dtype = DTYPE_INT8;
    assert_int_equal(model_run(m, &bad, 1, out, &why), STATUS_INVALID);
    assert_why(&why, STATUS_INVALID, "INT8; expected UINT8");
    bad = in;
    bad.dims[1] = 27;
    assert_int_equal(model_run(m, &bad, 1, out, &why), STATUS_INVALID);
    assert_why(&why, STATUS_INVALID, "[8,27,28]; expected [-1,28,28]");
    bad = in;
    bad.bytes--;
    assert_int_equal(model_run(m, &bad, 1, out, &why), STATUS_INVALID);
    two[0] = two[1] = in;
    assert_int_equal(model_run(m, two, 2, out, &why), STATUS_INVALID);
    assert_why(&why, STATUS_INVALID, "given twice");
    two[1].name = "more";
    assert_int_equal(model_run(m, two, 2, out, &why), STATUS_INVALID);
    assert_why(&why, STATUS_INVALID, "no input \"more\"");
    free(in.data);
    model_destroy(&m);
}

static void an_index_out_of_range_in_a_tensor_is_refused(void **state)
{
    (void)state;
    struct model *m = load("tests/data/embedding_gru.onnx");
    struct tensor in = read_tensor("tests/data/embedding_gru/input.npy", "tokens"), out[1];
    struct error why;
    ((int64_t *)in.data)[3] = 30;
    assert_int_equal(model_run(m, &in, 1, out, &why), STATUS_INVALID);
    assert_why(&why, STATUS_INVALID, "index 30 (element ");
    free(in.data);
    model_destroy(&m);
}

static void a_repeated_shape_allocates_nothing(void **state)
{
    (void)state;
    static const char *const names[][3] = {
        {CNN, "tests/data/fashion_cnn/input.npy", "images"},
        {"tests/data/lstm_bidirectional.onnx", "tests/data/lstm_bidirectional/input.npy",
         "features"},
        {"tests/data/gru_lbr1.onnx", "tests/data/gru_lbr1/input.npy", "features"},
        {"tests/data/rnn_plain.onnx", "tests/data/rnn_plain/input.npy", "features"},
        {"tests/data/embedding_gru.onnx", "tests/data/embedding_gru/input.npy", "tokens"},
    };
    if (!COUNTS_ALLOCATIONS)
        skip();
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct model *m = load(names[i][0]);
        struct tensor in = read_tensor(names[i][1], names[i][2]), out[1];
        struct tensor less = in;
        struct error why;
        less.dims[0] = 2; /* two plans in turn: the cache holds both */
        less.bytes = in.bytes / (size_t)in.dims[0] * 2;
        uint64_t before = allocations;
        assert_int_equal(model_run(m, &in, 1, out, &why), STATUS_OK);
        assert_int_equal(model_run(m, &less, 1, out, &why), STATUS_OK);
        assert_true(allocations > before); /* the counter works */
        before = allocations;
        for (unsigned k = 0; k < 10; k++) {
            assert_int_equal(model_run(m, &in, 1, out, &why), STATUS_OK);
            assert_int_equal(model_run(m, &less, 1, out, &why), STATUS_OK);
        }
        if (allocations != before)
            fail_msg("%s: %lu allocations in 20 runs", names[i][0],
                     (unsigned long)(allocations - before));
        free(in.data);
        model_destroy(&m);
    }
}

static void many_shapes_in_turn_are_bounded_and_right(void **state)
{
    (void)state;
    struct model *m = load("tests/data/gru_lbr1.onnx");
    float *zeros = xaligned(64 * 40 * 5 * sizeof *zeros);
    struct error why;
    size_t arena = 0;
    memset(zeros, 0, 64 * 40 * 5 * sizeof *zeros);
    for (int64_t round = 0; round < 2; round++)
        for (int64_t n = 64; n >= 1; n--) {
            struct tensor in = {"features", DTYPE_FP32, 3, {n, 1 + n % 40, 5}, zeros, 0}, out[1];
            in.bytes = (size_t)(n * (1 + n % 40) * 5) * sizeof(float);
            assert_int_equal(model_run(m, &in, 1, out, &why), STATUS_OK);
            assert_int_equal(out[0].dims[0], n);
            if (round == 0)
                arena = model_arena_bytes(m);
        }
    assert_int_equal(model_arena_bytes(m), arena);
    free(zeros);
    model_destroy(&m);
}

static void pieces_of_a_batch_give_the_bytes_of_the_whole(void **state)
{
    (void)state;
    static const char *const names[][3] = {
        {CNN, "tests/data/fashion_cnn/input.npy", "images"},
        {"tests/data/lstm_bidirectional.onnx", "tests/data/lstm_bidirectional/input.npy",
         "features"},
    };
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct model *m = load(names[i][0]);
        struct tensor in = read_tensor(names[i][1], names[i][2]);
        struct error why;
        struct batches *whole = batches_new(m, &in, 0);
        assert_int_equal(batches_run(whole, &why), STATUS_OK);
        struct tensor want = *batches_output(whole, 0);
        void *bytes = xmalloc(want.bytes);
        memcpy(bytes, want.data, want.bytes);
        for (uint32_t rows = 1; rows <= (uint32_t)in.dims[0]; rows++) {
            struct batches *pieces = batches_new(m, &in, rows);
            assert_int_equal(batches_run(pieces, &why), STATUS_OK);
            const struct tensor *got = batches_output(pieces, 0);
            assert_int_equal(got->bytes, want.bytes);
            assert_memory_equal(got->dims, want.dims, want.rank * sizeof want.dims[0]);
            assert_memory_equal(got->data, bytes, want.bytes);
            batches_destroy(&pieces);
        }
        free(bytes);
        batches_destroy(&whole);
        free(in.data);
        model_destroy(&m);
    }
}

static void one_and_two_threads_give_the_same_bytes(void **state)
{
    (void)state;
    struct error why;
    struct tensor out[1];
    void *bytes[2];
    size_t size = 0;
    struct tensor in = read_tensor("tests/data/fashion_cnn/input.npy", "images");
    for (uint32_t threads = 1; threads <= 2; threads++) {
        assert_int_equal(engine_start("auto", threads, &why), STATUS_OK);
        assert_int_equal(engine_threads(), threads);
        struct model *m = load(CNN);
        assert_int_equal(model_run(m, &in, 1, out, &why), STATUS_OK);
        size = out[0].bytes;
        bytes[threads - 1] = xmalloc(size);
        memcpy(bytes[threads - 1], out[0].data, size);
        model_destroy(&m);
    }
    assert_memory_equal(bytes[0], bytes[1], size);
    free(bytes[0]);
    free(bytes[1]);
    free(in.data);
}

static void a_stop_flag_ends_a_run_and_ticks_count_nodes(void **state)
{
    (void)state;
    struct model *m = load(CNN);
    struct tensor in = read_tensor("tests/data/fashion_cnn/input.npy", "images"), out[1];
    struct error why;
    uint32_t stop = 0;
    uint64_t ticks = 0;
    model_stop_flag(m, &stop);
    model_tick_counter(m, &ticks);
    assert_int_equal(model_run(m, &in, 1, out, &why), STATUS_OK);
    uint64_t all = ticks;
    assert_true(all >= 8);
    stop = 1;
    assert_int_equal(model_run(m, &in, 1, out, &why), STATUS_CANCELLED);
    assert_int_equal(ticks, all);
    free(in.data);
    model_destroy(&m);
}

static void an_unknown_instruction_set_is_refused_with_the_choices(void **state)
{
    (void)state;
    struct error why;
    assert_int_equal(engine_start("mmx", 1, &why), STATUS_INVALID);
    assert_why(&why, STATUS_INVALID, "generic");
    assert_non_null(strstr(engine_mode(), "/fast"));
    assert_int_equal(engine_start("auto/sloppy", 1, &why), STATUS_INVALID);
    assert_int_equal(engine_start("auto/strict", 1, &why), STATUS_OK);
    assert_non_null(strstr(engine_mode(), "/strict"));
    assert_int_equal(engine_start("auto", 1, &why), STATUS_OK);
    assert_non_null(strstr(engine_mode(), "/fast"));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_signature_says_what_goes_in_and_out),
        cmocka_unit_test(wrong_inputs_are_refused_with_expected_and_got),
        cmocka_unit_test(an_index_out_of_range_in_a_tensor_is_refused),
        cmocka_unit_test(a_repeated_shape_allocates_nothing),
        cmocka_unit_test(many_shapes_in_turn_are_bounded_and_right),
        cmocka_unit_test(pieces_of_a_batch_give_the_bytes_of_the_whole),
        cmocka_unit_test(one_and_two_threads_give_the_same_bytes),
        cmocka_unit_test(a_stop_flag_ends_a_run_and_ticks_count_nodes),
        cmocka_unit_test(an_unknown_instruction_set_is_refused_with_the_choices),
    };
    struct error why;
    if (engine_start("auto", 2, &why) != STATUS_OK)
        panic("%s", why.text);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
