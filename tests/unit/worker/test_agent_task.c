/* agent_task: states by the table, ids found and listed, SPECs checked, results in one block */
#include "tests/unit/common/testing.h"

#include "worker/agent_task.h"

#include <stdatomic.h>

static const struct uuid a = {{1, 2, 3}}, b = {{4, 5, 6}};

static struct task *put(struct tasks *tasks, const struct uuid *gateway, uint64_t number)
{
    zmq_msg_t frame;
    zmq_msg_init_size(&frame, 10);
    struct task *task = tasks_add(tasks, gateway, number, NULL, &frame, 1);
    zmq_msg_close(&frame);
    return task;
}

static void answer(struct tasks *tasks, struct task *task)
{
    task->result = result_failed(STATUS_INVALID, "no");
    assert_true(tasks_step(tasks, task, TASK_ANSWER));
}

static void the_states_follow_their_table(void **state)
{
    struct tasks *tasks = tasks_new();
    struct task *task = put(tasks, &a, 7);
    (void)state;
    assert_int_equal(task->state, TASK_FETCHING);
    assert_false(tasks_step(tasks, task, TASK_PICK));
    assert_true(tasks_step(tasks, task, TASK_READY));
    assert_false(tasks_step(tasks, task, TASK_GIVE_BACK));
    assert_true(tasks_step(tasks, task, TASK_PICK));
    assert_int_equal(tasks_count(tasks, TASK_RUNNING), 1);
    assert_true(tasks_step(tasks, task, TASK_GIVE_BACK));
    assert_true(tasks_step(tasks, task, TASK_PICK));
    answer(tasks, task);
    assert_int_equal(tasks_count(tasks, TASK_HELD), 1);
    assert_true(tasks_held_bytes(tasks) > 0);
    assert_int_equal(task->frames_len, 0); /* inputs are not kept */
    assert_false(tasks_step(tasks, task, TASK_ANSWER));
    assert_ptr_equal(tasks_find(tasks, &a, 7), task);
    assert_true(tasks_step(tasks, task, TASK_DROP));
    assert_null(tasks_find(tasks, &a, 7));
    assert_int_equal(tasks_held_bytes(tasks), 0);
    assert_false(tasks_step(tasks, task, TASK_ANSWER)); /* late: after a REVOKE */
    task_free(task);
    tasks_destroy(&tasks);
    tasks_destroy(&tasks);
}

static void a_revoked_id_can_come_again_while_the_runner_still_has_the_old_task(void **state)
{
    struct tasks *tasks = tasks_new();
    struct task *old = put(tasks, &a, 7);
    (void)state;
    tasks_step(tasks, old, TASK_READY);
    tasks_step(tasks, old, TASK_PICK);
    tasks_step(tasks, old, TASK_DROP);
    struct task *new = put(tasks, &a, 7);
    assert_ptr_equal(tasks_find(tasks, &a, 7), new);
    assert_false(tasks_step(tasks, old, TASK_GIVE_BACK));
    task_free(old);
    assert_ptr_equal(tasks_find(tasks, &a, 7), new);
    tasks_destroy(&tasks);
}

static void ids_are_listed_by_gateway_as_long_as_their_tasks_live(void **state)
{
    struct tasks *tasks = tasks_new();
    uint64_t seed = test_seed();
    bool in_a[3000] = {false};
    struct uuid gateway;
    (void)state;
    for (uint64_t n = 1; n < 3000; n++) {
        in_a[n] = test_random(&seed) % 2;
        if (in_a[n])
            put(tasks, &a, n);
        put(tasks, &b, n);
    }
    assert_int_equal(tasks_gateways(tasks), 2);
    for (uint64_t n = 1; n < 3000; n++) {
        struct task *task = tasks_find(tasks, &b, n);
        assert_int_equal(tasks_find(tasks, &a, n) != NULL, in_a[n]);
        tasks_step(tasks, task, TASK_DROP);
        task_free(task);
    }
    assert_int_equal(tasks_gateways(tasks), 1);
    const struct taskset *set = tasks_of(tasks, 0, &gateway);
    assert_true(id_equal(&gateway, &a));
    for (uint64_t n = 1; n < 3000; n++)
        assert_int_equal(taskset_contains(set, n), in_a[n]);
    tasks_destroy(&tasks);
}

struct visit {
    struct tasks *tasks;
    uint64_t seen;
    uint64_t sum;
};

static void drop_even(void *owner, struct task *task)
{
    struct visit *visit = owner;
    visit->seen++;
    visit->sum += task->number;
    if (task->number % 2)
        return;
    tasks_step(visit->tasks, task, TASK_DROP);
    task_free(task);
}

static void a_huge_range_visits_only_what_is_there(void **state)
{
    struct tasks *tasks = tasks_new();
    struct visit visit = {.tasks = tasks};
    (void)state;
    for (uint64_t n = 10; n < 20; n++)
        put(tasks, &a, n);
    put(tasks, &a, UINT64_C(1) << 60);
    tasks_each(tasks, &a, 0, UINT64_MAX, drop_even, &visit);
    assert_int_equal(visit.seen, 11);
    tasks_each(tasks, &a, 12, 5, drop_even, &visit);
    assert_int_equal(visit.seen, 11 + 2); /* 13 and 15 */
    tasks_each(tasks, &b, 0, UINT64_MAX, drop_even, &visit);
    assert_int_equal(visit.seen, 13);
    tasks_destroy(&tasks);
}

/* SPEC as a peer packs it. */
static void pack_spec(msgpack_sbuffer *into, const struct tensor *tensors, size_t len)
{
    msgpack_packer pk;
    msgpack_sbuffer_init(into);
    msgpack_packer_init(&pk, into, msgpack_sbuffer_write);
    msgpack_pack_map(&pk, 1);
    msgpack_pack_uint64(&pk, KEY_TENSORS);
    msgpack_pack_array(&pk, len);
    for (size_t i = 0; i < len; i++) {
        msgpack_pack_map(&pk, 4);
        msgpack_pack_uint64(&pk, KEY_NAME);
        msgpack_pack_str(&pk, strlen(tensors[i].name));
        msgpack_pack_str_body(&pk, tensors[i].name, strlen(tensors[i].name));
        msgpack_pack_uint64(&pk, KEY_DTYPE);
        msgpack_pack_uint64(&pk, tensors[i].dtype);
        msgpack_pack_uint64(&pk, KEY_DIMS);
        msgpack_pack_array(&pk, tensors[i].rank);
        for (uint32_t d = 0; d < tensors[i].rank; d++)
            msgpack_pack_uint64(&pk, (uint64_t)tensors[i].dims[d]);
        msgpack_pack_uint64(&pk, KEY_BYTES);
        msgpack_pack_uint64(&pk, tensors[i].bytes);
    }
}

static enum status read_one(const struct tensor *tensor, struct task_spec **spec,
                            struct task_spec *last, struct error *why)
{
    msgpack_sbuffer packed;
    pack_spec(&packed, tensor, 1);
    enum status status = task_spec_read(spec, packed.data, packed.size, last, why);
    msgpack_sbuffer_destroy(&packed);
    return status;
}

static void equal_specs_are_shared_and_bad_ones_say_why(void **state)
{
    struct tensor good = {.name = "x", .dtype = DTYPE_FP32, .rank = 2, .dims = {3, 4}, .bytes = 48};
    struct tensor bad;
    struct task_spec *one, *two, *none;
    struct error why;
    (void)state;
    assert_int_equal(read_one(&good, &one, NULL, &why), STATUS_OK);
    assert_int_equal(one->rows, 3);
    assert_string_equal(one->inputs[0].name, "x");
    assert_int_equal(read_one(&good, &two, one, &why), STATUS_OK);
    assert_ptr_equal(one, two);
    bad = good;
    bad.bytes = 44;
    assert_int_equal(read_one(&bad, &none, one, &why), STATUS_INVALID);
    assert_why(&why, STATUS_INVALID, "FP32 of [3,4] takes 48 bytes, got 44");
    bad = good;
    bad.dtype = 200;
    assert_int_equal(read_one(&bad, &none, one, &why), STATUS_INVALID);
    bad = good;
    bad.dims[0] = INT64_MIN; /* 2^63 on the wire */
    assert_int_equal(read_one(&bad, &none, one, &why), STATUS_INVALID);
    assert_int_not_equal(task_spec_read(&none, "\x91\x01", 2, one, &why), STATUS_OK);
    assert_int_not_equal(task_spec_read(&none, "", 0, one, &why), STATUS_OK);
    assert_null(none);
    task_spec_unref(one);
    task_spec_unref(two);
}

static void frames_must_hold_each_tensor_apart(void **state)
{
    struct tensor two[] = {
        {.name = "x", .dtype = DTYPE_UINT8, .rank = 1, .dims = {1500000}, .bytes = 1500000},
        {.name = "y", .dtype = DTYPE_UINT8, .rank = 1, .dims = {8}, .bytes = 8}};
    static const size_t good[] = {MIB, 1500000 - MIB, 8}, merged[] = {MIB, 1500008 - MIB},
                        shifted[] = {MIB, 1499999 - MIB, 9}, more[] = {MIB, 1500000 - MIB, 8, 1};
    static const struct {
        const size_t *sizes;
        size_t len;
        enum status wanted;
    } cases[] = {{good, 3, STATUS_OK},
                 {good, 2, STATUS_MALFORMED},
                 {merged, 2, STATUS_MALFORMED},
                 {shifted, 3, STATUS_MALFORMED},
                 {more, 4, STATUS_MALFORMED}};
    struct task_spec *spec;
    struct error why;
    msgpack_sbuffer packed;
    (void)state;
    pack_spec(&packed, two, 2);
    assert_int_equal(task_spec_read(&spec, packed.data, packed.size, NULL, &why), STATUS_OK);
    assert_int_equal(spec->rows, 0);
    for (size_t c = 0; c < ARRAY_LEN(cases); c++) {
        zmq_msg_t frames[4];
        for (size_t i = 0; i < cases[c].len; i++)
            zmq_msg_init_size(&frames[i], cases[c].sizes[i]);
        assert_int_equal(task_spec_fits(spec, frames, cases[c].len, &why), cases[c].wanted);
        for (size_t i = 0; i < cases[c].len; i++)
            zmq_msg_close(&frames[i]);
    }
    msgpack_sbuffer_destroy(&packed);
    task_spec_unref(spec);
}

static void a_result_is_a_copy_of_its_own(void **state)
{
    float values[3] = {1, 2, 3};
    char name[] = "scores";
    struct tensor output = {.name = name,
                            .dtype = DTYPE_FP32,
                            .rank = 1,
                            .dims = {3},
                            .data = values,
                            .bytes = sizeof values};
    (void)state;
    struct result *result = result_new(&output, 1);
    values[1] = -1;
    name[0] = '?';
    assert_string_equal(result->outputs[0].name, "scores");
    assert_true(((float *)result->outputs[0].data)[1] == 2.0f);
    assert_int_equal((uintptr_t)result->outputs[0].data % TENSOR_ALIGN, 0);
    assert_int_equal(result->bytes, sizeof values);
    atomic_fetch_add(&result->refs, 1);
    result_unref(result);
    assert_int_equal(result->status, STATUS_OK);
    result_unref(result);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_states_follow_their_table),
        cmocka_unit_test(a_revoked_id_can_come_again_while_the_runner_still_has_the_old_task),
        cmocka_unit_test(ids_are_listed_by_gateway_as_long_as_their_tasks_live),
        cmocka_unit_test(a_huge_range_visits_only_what_is_there),
        cmocka_unit_test(equal_specs_are_shared_and_bad_ones_say_why),
        cmocka_unit_test(frames_must_hold_each_tensor_apart),
        cmocka_unit_test(a_result_is_a_copy_of_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
