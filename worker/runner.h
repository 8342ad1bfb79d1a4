/* runner - the child process that computes: started, watched and replaced by the agent
 *
 * The child is this program again with the hidden argument RUNNER_ARGUMENT; it shares the ring and
 * dies with the agent. It is executed afresh each time, never forked out of a process that has
 * OpenMP threads. Its end is seen through a descriptor within a millisecond. One thread. */
#ifndef CONVOY_WORKER_RUNNER_H
#define CONVOY_WORKER_RUNNER_H

#include "worker/ring.h"

#include <sys/types.h>

#define RUNNER_ARGUMENT "--runner"

struct runner_config {
    struct ring *ring;        /* shared with the child; reset before each start */
    const char *isa;          /* kernels: auto, avx2, generic */
    uint32_t threads;         /* OpenMP threads; 0: one per core that this process may use */
    uint64_t model_bytes_max; /* memory of loaded models before the longest unused go */
};

struct runner;

/* No process yet. */
struct runner *runner_new(const struct runner_config *config);
/* Kills and waits for the child; *self_p becomes NULL. NULL inside is fine. */
void runner_destroy(struct runner **self_p);

/* Empty the ring and start a child if there is none and its pause after the last death is over. */
enum status runner_start(struct runner *self, uint64_t now_ns, struct error *why);
bool runner_alive(const struct runner *self);
/* When runner_start may be called; 0 while alive. */
uint64_t runner_start_ns(const struct runner *self);
pid_t runner_pid(const struct runner *self);

/* Readable when the child has ended; -1 while there is none. */
int runner_fd(const struct runner *self);
/* True once after each end. `text` says how: "killed by signal 11 (Segmentation fault)". The pause
 * before the next start grows while children end without completing a batch. */
bool runner_ended(struct runner *self, uint64_t now_ns, char *text, size_t size);
/* End it now; runner_ended follows and says `why` instead. */
void runner_kill(struct runner *self, const char *why);

/* The child's main: argv[1] is RUNNER_ARGUMENT. Returns the exit status. */
int runner_main(int argc, char **argv);

#endif
