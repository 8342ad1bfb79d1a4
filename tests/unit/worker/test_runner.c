/* runner: a real child process computes, dies, is described and replaced
 *
 * The child is this test program itself, started with the runner's hidden argument. */
#include "tests/unit/common/testing.h"

#include "common/clock.h"
#include "worker/runner.h"

#include <poll.h>
#include <signal.h>

#define WAIT_MS 60000

struct fixture {
    struct ring *ring;
    struct runner *runner;
};

static void open_fixture(struct fixture *f, const char *isa)
{
    struct error why = {0};
    if (ring_create(&f->ring, &why) != STATUS_OK)
        fail_msg("%s", why.text);
    const struct runner_config config = {
        .ring = f->ring, .isa = isa, .threads = 1, .model_bytes_max = 64 * MIB};
    f->runner = runner_new(&config);
}

static void close_fixture(struct fixture *f)
{
    runner_destroy(&f->runner);
    ring_destroy(&f->ring);
}

/* Start a child and wait until it has said what it can do. */
static void start(struct fixture *f)
{
    struct error why = {0};
    if (runner_start(f->runner, runner_start_ns(f->runner), &why) != STATUS_OK)
        fail_msg("%s", why.text);
    while (ring_state(f->ring) == RING_STARTING) {
        struct pollfd fds[] = {{.fd = ring_bell_fd(f->ring), .events = POLLIN},
                               {.fd = runner_fd(f->runner), .events = POLLIN}};
        assert_true(poll(fds, 2, WAIT_MS) > 0);
        assert_false(fds[1].revents && ring_state(f->ring) == RING_STARTING);
    }
}

static void wait_end(struct fixture *f, char *text, size_t size)
{
    struct pollfd fd = {.fd = runner_fd(f->runner), .events = POLLIN};
    assert_int_equal(poll(&fd, 1, WAIT_MS), 1);
    assert_true(runner_ended(f->runner, clock_mono_ns(), text, size));
    assert_false(runner_ended(f->runner, clock_mono_ns(), text, size));
    assert_false(runner_alive(f->runner));
    assert_int_equal(runner_fd(f->runner), -1);
}

/* Send the load of a file and wait for its answer. */
static struct ring_task *load(struct fixture *f, const char *path, struct ring_batch **batch)
{
    struct ring_batch *sent = ring_next(f->ring);
    sent->kind = RING_LOAD;
    sent->tasks_len = 1;
    sent->path_at = ring_take_text(sent, path);
    sent->tasks_at = ring_take(sent, sizeof(struct ring_task));
    struct ring_task *task = ring_at(sent, sent->tasks_at, 1, sizeof *task);
    memset(task, 0, sizeof *task);
    text_copy((char *)sent->model.bytes, sizeof sent->model.bytes, path);
    ring_submit(f->ring);
    while (!(*batch = ring_finished(f->ring))) {
        struct pollfd fd = {.fd = ring_bell_fd(f->ring), .events = POLLIN};
        assert_int_equal(poll(&fd, 1, WAIT_MS), 1);
    }
    return task;
}

static void a_child_loads_a_model_and_tells_its_signature(void **state)
{
    struct fixture f;
    struct ring_batch *batch;
    struct tensor json;
    (void)state;
    open_fixture(&f, "generic");
    start(&f);
    assert_int_equal(ring_state(f.ring), RING_READY);
    assert_int_equal(ring_threads(f.ring), 1);
    struct ring_task *task = load(&f, "tests/data/fashion_cnn.onnx", &batch);
    assert_int_equal(task->status, STATUS_OK);
    assert_true(ring_tensor(batch, ring_at(batch, task->outputs_at, 1, 1), &json));
    char *text = strndup(json.data, json.bytes);
    assert_non_null(strstr(text, "\"batchable\":true"));
    assert_non_null(strstr(text, "\"datatype\":\"UINT8\""));
    free(text);
    ring_release(f.ring);
    task = load(&f, "tests/data/bad/half.onnx", &batch);
    assert_int_equal(task->status, STATUS_BAD_MODEL);
    assert_true(strlen(ring_text(batch, task->text_at)) > 0);
    assert_null(strstr(ring_text(batch, task->text_at), "half.onnx"));
    ring_release(f.ring);
    task = load(&f, "tests/data/no such file", &batch);
    assert_int_equal(task->status, STATUS_NOT_FOUND);
    close_fixture(&f);
}

static void a_killed_child_is_described_and_replaced(void **state)
{
    struct fixture f;
    struct ring_batch *batch;
    char text[256];
    (void)state;
    open_fixture(&f, "auto");
    start(&f);
    assert_int_equal(load(&f, "tests/data/fashion_cnn.onnx", &batch)->status, STATUS_OK);
    ring_release(f.ring);
    kill(runner_pid(f.runner), SIGABRT);
    wait_end(&f, text, sizeof text);
    assert_non_null(strstr(text, "signal 6"));
    assert_true(runner_start_ns(f.runner) <= clock_mono_ns()); /* it had worked: at once */
    start(&f);
    assert_int_equal(load(&f, "tests/data/fashion_cnn.onnx", &batch)->status, STATUS_OK);
    runner_kill(f.runner, "killed because of this test");
    wait_end(&f, text, sizeof text);
    assert_string_equal(text, "killed because of this test");
    close_fixture(&f);
}

static void children_that_do_nothing_but_die_come_back_ever_later(void **state)
{
    struct fixture f;
    char text[256];
    uint64_t pause_ns = 0;
    (void)state;
    open_fixture(&f, "auto");
    for (int round = 0; round < 4; round++) {
        start(&f);
        kill(runner_pid(f.runner), SIGKILL);
        wait_end(&f, text, sizeof text);
        uint64_t now_ns = clock_mono_ns(), next_ns = runner_start_ns(f.runner);
        if (round > 0)
            assert_true(next_ns > now_ns && next_ns - now_ns > pause_ns);
        pause_ns = next_ns - MIN(now_ns, next_ns);
        struct error why;
        assert_int_equal(runner_start(f.runner, now_ns, &why), STATUS_OK);
        assert_int_equal(runner_alive(f.runner), next_ns <= now_ns);
    }
    close_fixture(&f);
}

static void kernels_that_are_not_there_are_refused_with_a_reason(void **state)
{
    struct fixture f;
    char text[256];
    (void)state;
    open_fixture(&f, "no-such-isa");
    start(&f);
    assert_int_equal(ring_state(f.ring), RING_REFUSED);
    assert_non_null(strstr(ring_refusal(f.ring, text, sizeof text), "no-such-isa"));
    wait_end(&f, text, sizeof text);
    close_fixture(&f);
}

static void a_stray_start_of_the_child_ends_by_itself(void **state)
{
    (void)state;
    char *too_few[] = {"test", RUNNER_ARGUMENT, NULL};
    assert_int_equal(runner_main(2, too_few), 64);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_child_loads_a_model_and_tells_its_signature),
        cmocka_unit_test(a_killed_child_is_described_and_replaced),
        cmocka_unit_test(children_that_do_nothing_but_die_come_back_ever_later),
        cmocka_unit_test(kernels_that_are_not_there_are_refused_with_a_reason),
        cmocka_unit_test(a_stray_start_of_the_child_ends_by_itself),
    };
    if (argc > 1 && strcmp(argv[1], RUNNER_ARGUMENT) == 0)
        return runner_main(argc, argv);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
