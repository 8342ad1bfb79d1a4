/* runs - see runs.h */
#include "tests/crash/runs.h"

#include "common/log.h"
#include "tests/crash/states.h"
#include "tests/unit/common/testing.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

struct verdict *runs_verdict(void)
{
    void *memory = mmap(NULL, sizeof(struct verdict), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(memory != MAP_FAILED);
    return memory;
}

void runs_path(char into[static 160], const char *name)
{
    const char *base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    snprintf(into, 160, "%s/convoy-crash-%d%s%s", base, (int)getpid(), *name ? "/" : "", name);
}

/* A child is none of cmocka's tests: what ends it shall end it. */
static pid_t fork_child(void)
{
    static const int caught[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGSYS, SIGABRT};
    fflush(NULL);
    pid_t child = fork();
    for (size_t i = 0; child == 0 && i < ARRAY_LEN(caught); i++)
        signal(caught[i], SIG_DFL);
    if (child == 0 && !getenv("CRASH_LOG")) /* thousands of starts have as much to say */
        (void)!freopen("/dev/null", "w", stderr);
    return child;
}

static int wait_for(pid_t child)
{
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

int runs_tape(struct disk_tape *tape, struct verdict *verdict, bool brief)
{
    states_remove(tape->root);
    text_copy(verdict->text, sizeof verdict->text, "");
    pid_t child = fork_child();
    if (child == 0) {
        disk_record(tape);
        unsigned wrong = script_run(tape->root, brief, verdict->text, sizeof verdict->text);
        disk_record(NULL);
        _exit(wrong ? 1 : 0);
    }
    return wait_for(child);
}

int runs_judge(const struct facts *facts, const char *root, struct verdict *verdict)
{
    verdict->right = false;
    text_copy(verdict->text, sizeof verdict->text, "");
    pid_t child = fork_child();
    if (child == 0) {
        verdict->right = facts_hold(facts, root, verdict->text, sizeof verdict->text);
        _exit(0);
    }
    return wait_for(child);
}

int runs_begin(void **state)
{
    char folder[160];
    (void)state;
    runs_path(folder, "");
    log_start("crash", LOG_LEVEL_ERROR);
    return mkdir(folder, 0700);
}

int runs_end(void **state)
{
    char folder[160];
    (void)state;
    runs_path(folder, "");
    states_remove(folder);
    return 0;
}
