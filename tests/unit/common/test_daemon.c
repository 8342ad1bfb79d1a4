/* daemon: a small role in a child process, driven by signals and watched through pipes */
#include "testing.h"

#include "common/daemon.h"
#include "common/log.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sysexits.h>

/* What the role is told to do; set before the fork. */
static struct plot {
    enum status start; /* the answer of start */
    enum status step;  /* the answer of step */
    int drains;        /* asks until drain says done */
    int reloads;       /* times that reload has something to do */
    bool child;        /* start a child that ends with 7; its end drains */
} plot;

static int events[2]; /* the role writes one letter an event here */

struct role {
    struct daemon_run *run; /* for its descriptor */
    int asks;               /* how often drain was asked */
};

static void tell(char letter)
{
    if (write(events[1], &letter, 1) != 1)
        _exit(99);
}

static enum status role_start(void **role, const void *params, struct daemon_run *run,
                              struct error *why)
{
    const uint32_t *answer = params;
    struct role *self = xcalloc(1, sizeof *self);
    struct rlimit limit;
    self->run = run;
    *role = self;
    tell('a');
    if (plot.start != STATUS_OK)
        return fail(why, plot.start, "the plot says so");
    getrlimit(RLIMIT_NOFILE, &limit);
    if (*answer != 42 || limit.rlim_cur != limit.rlim_max)
        return fail(why, STATUS_INTERNAL, "parameters or limits are not there");
    daemon_endpoint(run, "control", "tcp://127.0.0.1:1");
    daemon_endpoint(run, "data", "tcp://127.0.0.1:2");
    if (plot.child && fork() == 0)
        _exit(7);
    return STATUS_OK;
}

static enum status role_step(void *role, int timeout_ms, struct error *why)
{
    struct role *self = role;
    struct pollfd item = {.fd = daemon_signal_fd(self->run), .events = POLLIN};
    if (plot.step != STATUS_OK)
        return fail(why, plot.step, "the plot says so");
    poll(&item, 1, timeout_ms);
    return STATUS_OK;
}

static bool role_drain(void *role)
{
    struct role *self = role;
    if (self->asks == 0)
        tell('d');
    if (self->asks == 2) /* two waits later: another signal did not stop us */
        tell('e');
    return self->asks++ >= plot.drains;
}

static bool role_reload(void *role)
{
    (void)role;
    tell('r');
    return plot.reloads-- > 0;
}

static void role_stop(void **role)
{
    free(*role);
    *role = NULL;
    tell('z');
}

static void role_child(void *role, pid_t pid, int wait_status)
{
    struct role *self = role;
    if (pid > 0 && WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == 7)
        tell('c');
    daemon_drain(self->run);
}

#define PARAMS_STRUCT struct role_params
struct role_params {
    uint32_t answer;
};
static const struct param rows[] = {PARAM_ROW(answer, u32, 42, 0, 100, "", "The answer.")};

/* Run the role in a child with these options; ready gets the reading end of its ready pipe. */
static pid_t run(int *ready, char *first, char *second)
{
    static const struct daemon role = {
        .name = "tester",
        .purpose = "Tests.",
        .params = rows,
        .nparams = ARRAY_LEN(rows),
        .params_bytes = sizeof(struct role_params),
        .start = role_start,
        .step = role_step,
        .drain = role_drain,
        .stop = role_stop,
    };
    static const char *const fd_option = "--ready-fd=%d";
    int pipes[2];
    assert_int_equal(pipe(events), 0);
    assert_int_equal(pipe(pipes), 0);
    pid_t pid = fork();
    if (pid == 0) {
        char text[32];
        struct daemon copy = role;
        char *argv[] = {(char[]){"tester"}, text, first, second, NULL};
        snprintf(text, sizeof text, fd_option, pipes[1]);
        copy.child = plot.child ? role_child : NULL;
        copy.reload = plot.reloads ? role_reload : NULL;
        int null = open("/dev/null", O_WRONLY);
        dup2(null, STDERR_FILENO);
        dup2(null, STDOUT_FILENO);
        _exit(daemon_main(&copy, first ? (second ? 4 : 3) : 2, argv));
    }
    close(pipes[1]);
    close(events[1]);
    *ready = pipes[0];
    return pid;
}

/* All that comes until the other side closes. */
static const char *all(int fd)
{
    static char text[512];
    size_t used = 0;
    ssize_t got;
    while ((got = read(fd, text + used, sizeof text - 1 - used)) > 0)
        used += (size_t)got;
    text[used] = '\0';
    close(fd);
    return text;
}

static char next_event(void)
{
    char letter;
    return read(events[0], &letter, 1) == 1 ? letter : '\0';
}

static int exit_status(pid_t pid)
{
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void first_signal_drains_then_stops(void **state)
{
    (void)state;
    static const int numbers[] = {SIGTERM, SIGINT, SIGHUP};
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        int ready;
        plot = (struct plot){.drains = 0};
        pid_t pid = run(&ready, NULL, NULL);
        assert_string_equal(all(ready), "control=tcp://127.0.0.1:1 data=tcp://127.0.0.1:2\n");
        kill(pid, numbers[i]);
        assert_int_equal(exit_status(pid), EX_OK);
        assert_string_equal(all(events[0]), "adz");
    }
}

static void hangup_reloads_and_drains_where_there_is_nothing_to_reload(void **state)
{
    (void)state;
    int ready;
    plot = (struct plot){.reloads = 2};
    pid_t pid = run(&ready, NULL, NULL);
    all(ready);
    assert_int_equal(next_event(), 'a');
    for (int i = 0; i < 3; i++) {
        kill(pid, SIGHUP);
        assert_int_equal(next_event(), 'r');
    }
    assert_int_equal(exit_status(pid), EX_OK);
    assert_string_equal(all(events[0]), "dz");
}

static void same_signal_again_stops_at_once(void **state)
{
    (void)state;
    int ready;
    plot = (struct plot){.drains = 1000000};
    pid_t pid = run(&ready, NULL, NULL);
    all(ready);
    kill(pid, SIGTERM);
    assert_int_equal(next_event(), 'a');
    assert_int_equal(next_event(), 'd');
    kill(pid, SIGINT); /* as Ctrl-C with a parent that passes it on: still draining */
    assert_int_equal(next_event(), 'e');
    kill(pid, SIGINT);
    assert_int_equal(exit_status(pid), EX_OK);
    assert_string_equal(all(events[0]), "z");
}

static void drain_is_given_up_after_its_time(void **state)
{
    (void)state;
    int ready;
    plot = (struct plot){.drains = 1000000};
    pid_t pid = run(&ready, (char[]){"--drain-ms=20ms"}, NULL);
    all(ready);
    kill(pid, SIGTERM);
    assert_int_equal(exit_status(pid), EX_OK);
    assert_string_equal(all(events[0]), "adz");
}

static void wrong_arguments_and_configuration_have_their_exit_status(void **state)
{
    (void)state;
    static char *const options[][2] = {{"--nope", NULL},
                                       {"--answer", "101"},
                                       {"--ready-fd", "77777"},
                                       {"--config", "/nowhere"},
                                       {"--log-level", "loud1"}};
    static const int statuses[] = {EX_USAGE, EX_USAGE, EX_USAGE, EX_CONFIG, EX_CONFIG};
    for (size_t i = 0; i < ARRAY_LEN(options); i++) {
        int ready;
        plot = (struct plot){.drains = 0};
        pid_t pid = run(&ready, options[i][0], options[i][1]);
        assert_int_equal(exit_status(pid), statuses[i]);
        assert_string_equal(all(ready), "");
        assert_string_equal(all(events[0]), ""); /* never started */
    }
}

static void failed_start_is_cleaned_up_and_never_ready(void **state)
{
    (void)state;
    static const struct {
        enum status status;
        int code;
    } cases[] = {{STATUS_UNAVAILABLE, EX_TEMPFAIL},
                 {STATUS_STORAGE_FULL, EX_TEMPFAIL},
                 {STATUS_INVALID, EX_CONFIG},
                 {STATUS_INTERNAL, EX_SOFTWARE}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int ready;
        plot = (struct plot){.start = cases[i].status};
        pid_t pid = run(&ready, NULL, NULL);
        assert_int_equal(exit_status(pid), cases[i].code);
        assert_string_equal(all(ready), "");
        assert_string_equal(all(events[0]), "az");
    }
}

static void failed_step_ends_as_a_bug(void **state)
{
    (void)state;
    int ready;
    plot = (struct plot){.step = STATUS_IO};
    pid_t pid = run(&ready, NULL, NULL);
    assert_int_equal(exit_status(pid), EX_SOFTWARE);
    close(ready);
    assert_string_equal(all(events[0]), "az");
}

static void ended_child_is_told_and_role_may_end_itself(void **state)
{
    (void)state;
    int ready;
    plot = (struct plot){.child = true};
    pid_t pid = run(&ready, NULL, NULL);
    assert_int_equal(exit_status(pid), EX_OK);
    close(ready);
    assert_string_equal(all(events[0]), "acdz");
}

static const char *datagram(int listener)
{
    static char text[64];
    ssize_t got = recv(listener, text, sizeof text - 1, 0);
    text[MAX(got, 0)] = '\0';
    return text;
}

static void systemd_hears_of_ready_and_stopping(void **state)
{
    (void)state;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int ready, listener = socket(AF_UNIX, SOCK_DGRAM, 0);
    text_copy(address.sun_path, sizeof address.sun_path, test_path("notify"));
    assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof address), 0);
    setenv("NOTIFY_SOCKET", address.sun_path, 1);
    setenv("WATCHDOG_USEC", "2000", 1);
    plot = (struct plot){.drains = 0};
    pid_t pid = run(&ready, NULL, NULL);
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
    assert_string_equal(datagram(listener), "READY=1");
    assert_string_equal(datagram(listener), "WATCHDOG=1"); /* comes without any signal */
    kill(pid, SIGTERM);
    const char *text;
    do
        text = datagram(listener);
    while (strcmp(text, "WATCHDOG=1") == 0);
    assert_string_equal(text, "STOPPING=1");
    assert_int_equal(exit_status(pid), EX_OK);
    close(ready);
    close(events[0]);
    close(listener);
}

static void dead_parent_drains_its_child(void **state)
{
    (void)state;
    int ready, passed[2];
    plot = (struct plot){.drains = 0};
    assert_int_equal(pipe(passed), 0);
    pid_t middle = fork();
    if (middle == 0) {
        char option[48];
        snprintf(option, sizeof option, "--die-with-parent=%d", (int)getpid());
        run(&ready, option, NULL);
        all(ready);
        /* Our descriptors of the event pipe go to the test: a path under /proc does it. */
        char text[64];
        int length = snprintf(text, sizeof text, "/proc/%d/fd/%d", (int)getpid(), events[0]);
        if (write(passed[1], text, (size_t)length) != length)
            _exit(1);
        for (;;)
            pause();
    }
    char path[64] = "";
    assert_true(read(passed[0], path, sizeof path - 1) > 0);
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    kill(middle, SIGKILL);
    waitpid(middle, NULL, 0);
    assert_string_equal(all(fd), "adz");
    close(passed[0]);
    close(passed[1]);
    pid_t pid = run(&ready, (char[]){"--die-with-parent=1"}, NULL); /* we are not process 1 */
    assert_int_equal(exit_status(pid), EX_TEMPFAIL);
    close(ready);
    close(events[0]);
}

static void help_version_and_configuration_end_with_0(void **state)
{
    (void)state;
    static char *const wishes[] = {"--help", "--version", "--print-config"};
    for (size_t i = 0; i < ARRAY_LEN(wishes); i++) {
        int ready;
        pid_t pid = run(&ready, wishes[i], NULL);
        assert_int_equal(exit_status(pid), EX_OK);
        close(ready);
        assert_string_equal(all(events[0]), "");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_signal_drains_then_stops),
        cmocka_unit_test(hangup_reloads_and_drains_where_there_is_nothing_to_reload),
        cmocka_unit_test(same_signal_again_stops_at_once),
        cmocka_unit_test(drain_is_given_up_after_its_time),
        cmocka_unit_test(wrong_arguments_and_configuration_have_their_exit_status),
        cmocka_unit_test(failed_start_is_cleaned_up_and_never_ready),
        cmocka_unit_test(failed_step_ends_as_a_bug),
        cmocka_unit_test(ended_child_is_told_and_role_may_end_itself),
        cmocka_unit_test(systemd_hears_of_ready_and_stopping),
        cmocka_unit_test(dead_parent_drains_its_child),
        cmocka_unit_test(help_version_and_configuration_end_with_0),
    };
    return cmocka_run_group_tests(tests, NULL, test_scratch_end);
}
