/* ring: batches in order, slots reused, doorbells heard, nothing believed that does not fit */
#include "tests/unit/common/testing.h"

#include "worker/ring.h"

#include <poll.h>
#include <pthread.h>

static struct ring *agent_side(void)
{
    struct ring *ring = NULL;
    struct error why = {0};
    if (ring_create(&ring, &why) != STATUS_OK)
        fail_msg("%s", why.text);
    return ring;
}

/* The same memory as a second process sees it. */
static struct ring *runner_side(struct ring *agent)
{
    struct ring *ring = NULL;
    struct error why = {0};
    if (ring_attach(&ring, dup(ring_memory_fd(agent)), dup(ring_bell_fd(agent)), &why))
        fail_msg("%s", why.text);
    return ring;
}

static bool rings(struct ring *ring)
{
    struct pollfd bell = {.fd = ring_bell_fd(ring), .events = POLLIN};
    return poll(&bell, 1, 0) == 1;
}

static void batches_come_and_go_in_order(void **state)
{
    struct ring *agent = agent_side(), *runner = runner_side(agent);
    (void)state;
    for (uint32_t n = 0; n < 3 * RING_SLOTS; n++) {
        struct ring_batch *batch = ring_next(agent);
        batch->tasks_len = n;
        assert_int_equal(ring_submit(agent), n);
        assert_null(ring_finished(agent));
        assert_int_equal(ring_pending(agent), 1);
        assert_int_equal(ring_wait(runner)->tasks_len, n);
        assert_int_equal(ring_begun(agent), n + 1);
        assert_int_equal(ring_completed(agent), n);
        ring_complete(runner);
        assert_true(rings(agent));
        assert_int_equal(ring_finished(agent)->tasks_len, n);
        ring_release(agent);
        assert_null(ring_finished(agent));
        assert_false(rings(agent));
    }
    ring_destroy(&runner);
    ring_destroy(&agent);
    ring_destroy(&agent);
}

static void a_full_ring_has_no_next_slot(void **state)
{
    struct ring *agent = agent_side(), *runner = runner_side(agent);
    (void)state;
    for (uint32_t n = 0; n < RING_SLOTS; n++) {
        assert_non_null(ring_next(agent));
        ring_submit(agent);
    }
    assert_null(ring_next(agent));
    ring_wait(runner);
    ring_complete(runner);
    assert_null(ring_next(agent)); /* completed, but not read yet */
    assert_non_null(ring_finished(agent));
    ring_release(agent);
    assert_non_null(ring_next(agent));
    ring_destroy(&runner);
    ring_destroy(&agent);
}

static void a_reset_ring_is_empty_for_the_next_runner(void **state)
{
    struct ring *agent = agent_side(), *first = runner_side(agent);
    char text[64];
    (void)state;
    assert_int_equal(ring_state(agent), RING_STARTING);
    ring_ready(first, "avx2/fast", 3);
    assert_int_equal(ring_state(agent), RING_READY);
    assert_string_equal(ring_mode(agent, text, sizeof text), "avx2/fast");
    assert_int_equal(ring_threads(agent), 3);
    ring_next(agent);
    ring_submit(agent);
    ring_wait(first);
    ring_stop(agent, 0);
    assert_int_equal(*ring_stop_flag(first), 1);
    ring_destroy(&first);
    ring_reset(agent);
    assert_int_equal(ring_depth(agent), 0);
    assert_int_equal(ring_state(agent), RING_STARTING);
    assert_false(rings(agent));
    struct ring *second = runner_side(agent);
    ring_next(agent)->kind = RING_LOAD;
    ring_submit(agent);
    assert_int_equal(ring_wait(second)->kind, RING_LOAD);
    assert_int_equal(*ring_stop_flag(second), 0);
    ring_refuse(second, "no such kernels");
    assert_int_equal(ring_state(agent), RING_REFUSED);
    assert_string_equal(ring_refusal(agent, text, sizeof text), "no such kernels");
    ring_destroy(&second);
    ring_destroy(&agent);
}

static void a_stop_holds_for_its_batch_only(void **state)
{
    struct ring *agent = agent_side(), *runner = runner_side(agent);
    (void)state;
    for (uint32_t n = 0; n < 2 * RING_SLOTS; n++) {
        ring_next(agent);
        ring_submit(agent);
        if (n % 2)
            ring_stop(agent, n);
        ring_wait(runner);
        assert_int_equal(*ring_stop_flag(runner), n % 2);
        ring_complete(runner);
        assert_non_null(ring_finished(agent));
        ring_release(agent);
    }
    ring_destroy(&runner);
    ring_destroy(&agent);
}

static void memory_in_a_slot_is_aligned_bounded_and_checked(void **state)
{
    struct ring *agent = agent_side();
    struct ring_batch *batch = ring_next(agent);
    struct ring_value value;
    struct tensor tensor = {.name = "image", .dtype = DTYPE_UINT8, .rank = 2, .dims = {3, 5}}, back;
    (void)state;
    uint64_t text = ring_take_text(batch, "hello");
    uint64_t place = ring_take(batch, 15);
    assert_string_equal(ring_text(batch, text), "hello");
    assert_int_equal(place % TENSOR_ALIGN, 0);
    assert_true(ring_describe(batch, &value, &tensor));
    value.data_at = place;
    value.bytes = 15;
    assert_true(ring_tensor(batch, &value, &back));
    assert_string_equal(back.name, "image");
    assert_int_equal(back.bytes, 15);
    assert_ptr_equal(back.data, (uint8_t *)batch + place);
    assert_int_equal(ring_take(batch, RING_SLOT_BYTES), 0);
    assert_int_equal(ring_take(batch, UINT64_MAX - 64), 0);
    assert_null(ring_at(batch, place, RING_SLOT_BYTES, 1));
    assert_null(ring_at(batch, place, UINT64_MAX, 16));
    assert_null(ring_at(batch, 0, 1, 1));
    assert_null(ring_at(batch, RING_SLOT_BYTES + 1, 0, 1));
    assert_string_equal(ring_text(batch, RING_SLOT_BYTES), "");
    const struct ring_value good = value;
#define SPOILT(field, to)                                                                          \
    do {                                                                                           \
        value = good;                                                                              \
        value.field = to;                                                                          \
        assert_false(ring_tensor(batch, &value, &back));                                           \
    } while (0)
    SPOILT(dtype, 99);
    SPOILT(rank, TENSOR_RANK_MAX + 1);
    SPOILT(dims[0], -3);
    SPOILT(dims[0], 4);
    SPOILT(dims[1], INT64_MAX);
    SPOILT(bytes, 16);
    SPOILT(data_at, RING_SLOT_BYTES - 8);
    SPOILT(data_at, place + 1);
    SPOILT(name_at, 0);
    ring_destroy(&agent);
}

#define MANY 2000

static void *echo(void *runner)
{
    for (uint32_t n = 0; n < MANY; n++) {
        struct ring_batch *batch = ring_wait(runner);
        batch->inputs_len = batch->tasks_len + 1;
        ring_complete(runner);
    }
    return NULL;
}

/* Both sides at full speed, with sleeps in between: a lost wake-up would hang here. */
static void two_sides_never_miss_each_other(void **state)
{
    struct ring *agent = agent_side(), *runner = runner_side(agent);
    pthread_t thread;
    uint32_t sent = 0, got = 0;
    (void)state;
    pthread_create(&thread, NULL, echo, runner);
    while (got < MANY) {
        struct ring_batch *batch;
        while (sent < MANY && ring_pending(agent) < 2 && (batch = ring_next(agent))) {
            batch->tasks_len = sent++;
            ring_submit(agent);
        }
        struct pollfd bell = {.fd = ring_bell_fd(agent), .events = POLLIN};
        assert_int_equal(poll(&bell, 1, 60000), 1);
        while ((batch = ring_finished(agent))) {
            assert_int_equal(batch->tasks_len, got);
            assert_int_equal(batch->inputs_len, got + 1);
            ring_release(agent);
            got++;
        }
    }
    pthread_join(thread, NULL);
    ring_destroy(&runner);
    ring_destroy(&agent);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(batches_come_and_go_in_order),
        cmocka_unit_test(a_full_ring_has_no_next_slot),
        cmocka_unit_test(a_reset_ring_is_empty_for_the_next_runner),
        cmocka_unit_test(a_stop_holds_for_its_batch_only),
        cmocka_unit_test(memory_in_a_slot_is_aligned_bounded_and_checked),
        cmocka_unit_test(two_sides_never_miss_each_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
