/* slab: pieces of any size, counted holders, a limit, and memory that is used again */
#include "tests/unit/common/testing.h"

#include "worker/ops/slab.h"

#define PIECES 64

static void pieces_do_not_overlap_whatever_the_order_of_taking_and_releasing(void **state)
{
    (void)state;
    uint64_t seed = test_seed();
    struct slab *s = slab_new(64 * MIB);
    uint8_t *piece[PIECES] = {NULL};
    size_t bytes[PIECES] = {0};
    for (int turn = 0; turn < 20000; turn++) {
        size_t i = test_random(&seed) % PIECES;
        if (piece[i]) {
            for (size_t k = 0; k < bytes[i]; k++)
                assert_int_equal(piece[i][k], (uint8_t)i);
            slab_release(s, piece[i]);
            piece[i] = NULL;
            continue;
        }
        bytes[i] = test_random(&seed) % (1u << test_random(&seed) % 15);
        piece[i] = slab_take(s, bytes[i]);
        assert_non_null(piece[i]);
        assert_int_equal((uintptr_t)piece[i] % TENSOR_ALIGN, 0);
        memset(piece[i], (int)i, bytes[i]);
    }
    slab_reset(s);
    assert_int_equal(slab_bytes(s), 0);
    slab_destroy(&s);
}

static void a_piece_returns_when_its_last_holder_lets_go(void **state)
{
    (void)state;
    struct slab *s = slab_new(1000);
    void *piece = slab_take(s, 640);
    slab_hold(piece);
    assert_false(slab_last(piece));
    slab_release(s, piece);
    assert_true(slab_last(piece));
    assert_null(slab_take(s, 640));
    slab_release(s, piece);
    assert_int_equal(slab_bytes(s), 0);
    assert_ptr_equal(slab_take(s, 600), piece);
    slab_destroy(&s);
}

static void nothing_is_given_beyond_the_limit_and_idle_pieces_make_room(void **state)
{
    (void)state;
    struct slab *s = slab_new(4096);
    assert_null(slab_take(s, 4097));
    assert_null(slab_take(s, SIZE_MAX));
    void *small = slab_take(s, 2048);
    slab_release(s, small);
    void *large = slab_take(s, 4096); /* 2048 idle bytes of another size stand aside */
    assert_non_null(large);
    assert_null(slab_take(s, 1));
    assert_int_equal(slab_peak(s), 4096);
    slab_destroy(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_do_not_overlap_whatever_the_order_of_taking_and_releasing),
        cmocka_unit_test(a_piece_returns_when_its_last_holder_lets_go),
        cmocka_unit_test(nothing_is_given_beyond_the_limit_and_idle_pieces_make_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
