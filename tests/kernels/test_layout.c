/* Where elements lie: plain to blocked and back, and any permutation of axes. */
#include "tests/kernels/check.h"

#include "worker/kernels/layout.h"
#include "worker/kernels/par.h"
#include "worker/kernels/transpose.h"

static void blocked_maps_hold_each_channel_and_zeros(void)
{
    for (int i = 0; i < 100; i++) {
        struct maps m = {random_between(0, 3), random_between(1, 20), random_between(0, 6),
                         random_between(1, 20)};
        size_t plain = layout_elements(LAYOUT_PLAIN, m), len = layout_elements(LAYOUT_BLOCKED, m);
        size_t blocks = layout_blocks(m.c), plane = m.h * m.w;
        float *x = check_random(plain), *blocked = check_alloc(len), *back = check_alloc(plain);
        layout_to_blocked(m, x, blocked);
        for (size_t k = 0; k < len; k++) {
            size_t image = k / (blocks * plane * LANES), pixel = k / LANES % plane;
            size_t channel = k / (plane * LANES) % blocks * LANES + k % LANES;
            float want = channel < m.c ? x[(image * m.c + channel) * plane + pixel] : 0;
            assert_true(blocked[k] == want);
        }
        layout_to_plain(m, blocked, back);
        check_same_bytes("there and back", back, x, plain);
        for (size_t k = 0; k < len; k++)
            blocked[k] += 1;
        layout_clear_tail(m, blocked);
        for (size_t k = 0; k < len; k++) {
            size_t channel = k / (plane * LANES) % blocks * LANES + k % LANES;
            assert_true(channel < m.c || blocked[k] == 0);
        }
        check_free(x, plain);
        check_free(blocked, len);
        check_free(back, plain);
    }
}

static void check_permutation(size_t ndim, const size_t *dims, const size_t *perm, size_t bytes)
{
    size_t n = 1, in_step[TRANSPOSE_DIMS_MAX] = {0}, step = 1;
    for (size_t i = ndim; i-- > 0; step *= dims[i]) {
        in_step[i] = step;
        n *= dims[i];
    }
    uint8_t *in = xmalloc(n * bytes), *out = xmalloc(n * bytes);
    for (size_t i = 0; i < n * bytes; i++)
        in[i] = (uint8_t)random_bits();
    transpose_run(ndim, dims, perm, bytes, in, out);
    for (size_t o = 0; o < n; o++) {
        size_t left = o, from = 0;
        for (size_t i = ndim; i-- > 0; left /= dims[perm[i]])
            from += left % dims[perm[i]] * in_step[perm[i]];
        assert_memory_equal(out + o * bytes, in + from * bytes, bytes);
    }
    free(in);
    free(out);
}

static void any_permutation_of_any_element_moves_each_element(void **state)
{
    (void)state;
    for (int i = 0; i < 300; i++) {
        size_t ndim = random_between(0, 5), dims[5], perm[5];
        for (size_t k = 0; k < ndim; k++) {
            dims[k] = random_bits() % 4 ? random_between(1, 9) : random_between(0, 40) % 37;
            perm[k] = k;
        }
        for (size_t k = ndim; k > 1; k--) {
            size_t other = random_between(0, k - 1), swap = perm[k - 1];
            perm[k - 1] = perm[other];
            perm[other] = swap;
        }
        check_permutation(ndim, dims, perm, (size_t)1 << random_between(0, 3));
    }
    check_permutation(2, (size_t[]){300, 500}, (size_t[]){1, 0}, 4);
    check_permutation(4, (size_t[]){2, 40, 30, 33}, (size_t[]){0, 2, 3, 1}, 4);
    check_permutation(4, (size_t[]){2, 40, 30, 33}, (size_t[]){0, 3, 1, 2}, 4);
}

static void layouts(void **state)
{
    (void)state;
    with_each_isa(blocked_maps_hold_each_channel_and_zeros, 2);
}

struct tally {
    uint32_t seen[1000];
    size_t slots;
};

static void count_items(void *arg, size_t slot, size_t begin, size_t end)
{
    struct tally *tally = arg;
    assert(slot < tally->slots);
    for (size_t i = begin; i < end; i++)
        __atomic_add_fetch(&tally->seen[i], 1, __ATOMIC_RELAXED);
}

static void each_item_runs_once_on_any_number_of_threads(void **state)
{
    (void)state;
    for (uint32_t threads = 1; threads <= 5; threads++)
        for (size_t items = 0; items <= 1000; items += items < 12 ? 1 : 247) {
            struct tally tally = {.slots = threads};
            kernels_set_threads(threads);
            assert_int_equal(par_slots(), threads);
            par_for(items, 1e9, count_items, &tally);
            for (size_t i = 0; i < 1000; i++)
                assert_int_equal(tally.seen[i], i < items);
        }
}

/* Adds the smallest normal halves: zero if denormals are flushed. */
static void halve(void *arg, size_t slot, size_t begin, size_t end)
{
    volatile float *values = arg;
    (void)slot;
    for (size_t i = begin; i < end; i++)
        values[i] = values[i] * 0.5f;
}

static void denormals_are_flushed_inside_and_kept_outside(void **state)
{
    (void)state;
    for (uint32_t threads = 1; threads <= 2; threads++) {
        float values[8];
        kernels_set_threads(threads);
        for (size_t i = 0; i < 8; i++)
            values[i] = 1.17549435e-38f;
        par_for(8, 1e9, halve, values);
        for (size_t i = 0; i < 8; i++)
            assert_true(values[i] == 0);
        volatile float after = 1.17549435e-38f;
        after = after * 0.5f;
        assert_true(after > 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layouts),
        cmocka_unit_test(any_permutation_of_any_element_moves_each_element),
        cmocka_unit_test(each_item_runs_once_on_any_number_of_threads),
        cmocka_unit_test(denormals_are_flushed_inside_and_kept_outside),
    };
    check_seed();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
