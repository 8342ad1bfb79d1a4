/* pending: tasks by id, in line by band, and what the broker has to know of */
#include "tests/unit/common/testing.h"

#include "gateway/pending.h"

static const struct fleet_calls no_calls;

static struct task *add_for(struct pending *pending, uint64_t id, uint32_t band, bool patient,
                            const char *tenant)
{
    struct bytes *bytes = bytes_new(8);
    const struct tensor input = {
        .name = "x", .dtype = DTYPE_FP64, .rank = 1, .dims = {1}, .data = bytes->data, .bytes = 8};
    const struct fleet_task what = {.id = id,
                                    .model_name = "m/1",
                                    .kind = WIRE_KIND_INFER,
                                    .inputs = &input,
                                    .inputs_len = 1,
                                    .owner = bytes,
                                    .band = band,
                                    .rows = 1,
                                    .tenant = tenant,
                                    .patient = patient,
                                    .calls = &no_calls};
    return pending_add(pending, &what);
}

static struct task *add(struct pending *pending, uint64_t id, uint32_t band, bool patient)
{
    return add_for(pending, id, band, patient, NULL);
}

static void tasks_are_found_by_id_while_the_table_grows(void **state)
{
    struct pending pending;
    uint64_t seed = test_seed();
    (void)state;
    pending_init(&pending, NULL);
    for (uint64_t id = 1; id <= 5000; id++)
        add(&pending, id * 3, 0, id % 2);
    assert_int_equal(pending.len, 5000);
    assert_int_equal(pending.patient, 2500);
    assert_int_equal(pending.online_bytes, 2500 * 8);
    for (int i = 0; i < 4000; i++) {
        uint64_t id = test_random(&seed) % 15003;
        struct task *task = pending_find(&pending, id);
        bool there = task != NULL;
        if (there && task->id != id)
            fail_msg("asked for %" PRIu64, id);
        if (there)
            pending_remove(&pending, task);
        assert_null(pending_find(&pending, id));
    }
    pending_free(&pending);
    assert_int_equal(pending.len, 0);
    assert_int_equal(pending.online_bytes, 0);
}

static void copies_keep_what_the_caller_frees(void **state)
{
    struct pending pending;
    char name[] = "input", model[] = "m/1";
    const struct tensor input = {.name = name, .dtype = DTYPE_UINT8, .rank = 1, .dims = {0}};
    const struct fleet_task what = {
        .id = 9, .model_name = model, .inputs = &input, .inputs_len = 1, .calls = &no_calls};
    (void)state;
    pending_init(&pending, NULL);
    struct task *task = pending_add(&pending, &what);
    memset(name, 'z', sizeof name - 1);
    memset(model, 'z', sizeof model - 1);
    assert_string_equal(task->what.inputs[0].name, "input");
    assert_string_equal(task->what.model_name, "m/1");
    assert_null(task->what.tenant);
    pending_free(&pending);
}

static void lower_bands_go_first_and_resent_ones_go_in_front(void **state)
{
    struct pending pending;
    (void)state;
    pending_init(&pending, NULL);
    assert_null(pending_first(&pending));
    struct task *batch = add(&pending, 1, 3, true), *old = add(&pending, 2, 0, false),
                *young = add(&pending, 3, 0, false);
    pending_line_up(&pending, batch, false);
    pending_line_up(&pending, old, false);
    pending_line_up(&pending, young, false);
    assert_int_equal(pending.waiting, 3);
    assert_ptr_equal(pending_first(&pending), old);
    pending_move(&pending, old, TASK_SENT);
    assert_ptr_equal(pending_first(&pending), young);
    pending_line_up(&pending, old, true);
    assert_ptr_equal(pending_first(&pending), old);
    pending_move(&pending, old, TASK_SENT);
    pending_move(&pending, young, TASK_SENT);
    assert_ptr_equal(pending_first(&pending), batch);
    pending_remove(&pending, batch);
    assert_int_equal(pending.waiting, 0);
    pending_free(&pending);
}

/* Send `len` tasks; how many of them were lab's, whose ids begin at 1000. */
static int sent_of_lab(struct pending *pending, int len)
{
    int lab = 0;
    for (int i = 0; i < len; i++) {
        struct task *task = pending_first(pending);
        lab += task->id >= 1000;
        pending_move(pending, task, TASK_SENT);
    }
    return lab;
}

static void line_up(struct pending *pending, uint64_t first, uint64_t len, const char *tenant)
{
    for (uint64_t id = first; id < first + len; id++)
        pending_line_up(pending, add_for(pending, id, 3, true, tenant), false);
}

static void tenants_take_turns_by_their_shares(void **state)
{
    struct pending pending;
    struct shares *shares = NULL;
    struct error why;
    (void)state;
    assert_int_equal(shares_parse(&shares, "acme=3", &why), STATUS_OK);
    pending_init(&pending, shares);
    line_up(&pending, 1, 200, "acme");
    assert_int_equal(sent_of_lab(&pending, 20), 0); /* nobody else is there */
    line_up(&pending, 1000, 100, "lab");
    assert_in_range(sent_of_lab(&pending, 80), 19, 21); /* being late has saved nothing */
    line_up(&pending, 500, 1, NULL);
    assert_in_range(sent_of_lab(&pending, 5), 1, 2);
    assert_int_equal(pending_find(&pending, 500)->state, TASK_SENT);
    pending_free(&pending);
    shares_destroy(&shares);
}

static void broker_is_asked_for_what_it_has_had_time_to_hear_of(void **state)
{
    struct pending pending;
    struct taskset set = taskset_make(16);
    (void)state;
    pending_init(&pending, NULL);
    struct task *waiting = add(&pending, 1, 0, false), *fresh = add(&pending, 2, 0, false),
                *sent = add(&pending, 3, 0, false), *accepted = add(&pending, 4, 0, false),
                *done = add(&pending, 5, 0, false);
    add(&pending, 6, 0, true); /* expected since the restart */
    pending_line_up(&pending, waiting, false);
    fresh->state = sent->state = TASK_SENT;
    fresh->sent_ns = 200;
    sent->sent_ns = 100;
    accepted->state = TASK_ACCEPTED;
    accepted->sent_ns = 300;
    done->state = TASK_DONE;
    fresh->broker = sent->broker = accepted->broker = 0;
    pending_awaited(&pending, 0, 150, &set);
    assert_int_equal(set.count, 3);
    assert_true(taskset_contains(&set, 3) && taskset_contains(&set, 4) &&
                taskset_contains(&set, 6));
    pending_awaited(&pending, 0, UINT64_MAX, &set);
    assert_int_equal(set.count, 4);
    assert_true(taskset_contains(&set, 2));
    pending_awaited(&pending, 1, UINT64_MAX, &set);
    assert_int_equal(set.count, 1); /* any broker may know what was expected */
    assert_true(taskset_contains(&set, 6));
    taskset_free(&set);
    pending_free(&pending);
}

static void inputs_are_released_once_and_with_the_result(void **state)
{
    struct pending pending;
    (void)state;
    pending_init(&pending, NULL);
    struct task *task = add(&pending, 1, 0, false);
    struct bytes *held = bytes_ref(task->what.owner);
    pending_drop_inputs(&pending, task);
    assert_int_equal(held->refs, 1);
    assert_int_equal(pending.online_bytes, 0);
    pending_drop_inputs(&pending, task);
    pending_remove(&pending, task);
    bytes_drop(&held);
    assert_null(held);
    bytes_drop(&held); /* twice is harmless */
    pending_free(&pending);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tasks_are_found_by_id_while_the_table_grows),
        cmocka_unit_test(copies_keep_what_the_caller_frees),
        cmocka_unit_test(lower_bands_go_first_and_resent_ones_go_in_front),
        cmocka_unit_test(tenants_take_turns_by_their_shares),
        cmocka_unit_test(broker_is_asked_for_what_it_has_had_time_to_hear_of),
        cmocka_unit_test(inputs_are_released_once_and_with_the_result),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
