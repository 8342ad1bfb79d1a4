/* agent_runner - the runner's life as the agent sees it: starts, deaths, stalls, stops */
#include "worker/agent_self.h"

#include "common/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#define WATCH_NS     (20 * NS_PER_MS) /* how often to look at a batch that is computed */
#define START_MAX_MS 30000            /* for a runner to say that it is ready */
#define LOAD_PATIENCE                                                                              \
    4 /* a load starts no operator, nor does a training that                                       \
reads its data: this many times stall_ms */

enum status agent_runner_open(struct agent *self, struct error *why)
{
    char text[ERROR_TEXT_MAX];
    uint64_t end_ns = clock_mono_ns() + START_MAX_MS * NS_PER_MS;
    enum status status = runner_start(self->runner, clock_mono_ns(), why);
    while (status == STATUS_OK && ring_state(self->ring) == RING_STARTING) {
        zmq_pollitem_t items[] = {{.fd = ring_bell_fd(self->ring), .events = ZMQ_POLLIN},
                                  {.fd = runner_fd(self->runner), .events = ZMQ_POLLIN}};
        zmq_poll(items, (int)ARRAY_LEN(items), 1000);
        if (ring_state(self->ring) == RING_STARTING &&
            runner_ended(self->runner, clock_mono_ns(), text, sizeof text))
            return fail(why, STATUS_UNAVAILABLE, "the runner process %s at its start", text);
        if (clock_mono_ns() > end_ns)
            return fail(why, STATUS_UNAVAILABLE, "the runner process is not ready after %d ms",
                        START_MAX_MS);
    }
    if (status == STATUS_OK && ring_state(self->ring) == RING_REFUSED)
        status = fail(why, STATUS_INVALID, "%s", ring_refusal(self->ring, text, sizeof text));
    if (status != STATUS_OK)
        return status;
    ring_mode(self->ring, self->mode, sizeof self->mode);
    self->threads = ring_threads(self->ring);
    LOG_INFO("runner_started", "pid=%d threads=%u mode=%s", (int)runner_pid(self->runner),
             self->threads, self->mode);
    return STATUS_OK;
}

uint64_t agent_runner_ticks(const struct agent *self)
{
    return self->ticks_before + ring_ticks(self->ring);
}

uint64_t agent_runner_stalled_ms(const struct agent *self)
{
    return ring_pending(self->ring) > 0 && self->ticks_ns > 0
               ? (self->now_ns - MIN(self->now_ns, self->ticks_ns)) / NS_PER_MS
               : 0;
}

static struct flight *flight_of(struct agent *self, uint32_t number)
{
    return &self->flights[number % RING_SLOTS];
}

/* The oldest batch that is not done is computed, or will be in a microsecond. */
void agent_runner_note_begun(struct agent *self)
{
    uint32_t end = ring_oldest(self->ring) + ring_depth(self->ring);
    uint32_t computed = ring_completed(self->ring);
    uint64_t now_ns = clock_mono_ns();
    for (uint32_t n = ring_oldest(self->ring); n != end && n != computed + 1; n++) {
        struct flight *flight = flight_of(self, n);
        if (flight->begun)
            continue;
        flight->begun = true;
        self->watched = n;
        self->ticks_seen = agent_runner_ticks(self);
        self->ticks_ns = now_ns;
        for (size_t i = 0; i < flight->len; i++) {
            flight->tasks[i]->begun_ns = now_ns;
            if (flight->tasks[i]->state != TASK_GONE)
                agent_brokers_started(self, flight->tasks[i]);
        }
    }
}

/* --- deaths ------------------------------------------------------------------------------------
 */
static void bury(struct agent *self, pid_t pid, const char *how)
{
    agent_work_harvest(self);
    uint32_t oldest = ring_oldest(self->ring), end = oldest + ring_depth(self->ring);
    bool computing = ring_begun(self->ring) != oldest;
    size_t tasks = computing ? flight_of(self, oldest)->len : 0;
    LOG_WARN("runner_crashed", "pid=%d how=%s tasks=%zu model=%s", (int)pid, how, tasks,
             computing ? flight_of(self, oldest)->model->name : "");
    for (uint32_t n = end; n != oldest; n--) { /* youngest first: each goes to the front */
        struct flight *flight = flight_of(self, n - 1);
        bool guilty = computing && n - 1 == oldest;
        flight->model->running--;
        flight->model->load_sent = false;
        if (guilty && flight->kind != RING_LOAD)
            agent_blame_batch(self, flight, ring_front(self->ring), how);
        for (size_t i = flight->len; i-- > 0 && !guilty;)
            agent_work_give_back(self, flight->tasks[i], false);
        if (guilty && flight->kind == RING_LOAD)
            agent_blame_load(self, flight->model, how);
    }
    self->ticks_before += ring_ticks(self->ring);
    ring_reset(self->ring);
}

/* --- watching ----------------------------------------------------------------------------------
 */
/* A batch whose tasks are all revoked or out of time need not be finished. */
static void stop_unwanted(struct agent *self)
{
    uint32_t end = ring_oldest(self->ring) + ring_depth(self->ring);
    for (uint32_t n = ring_oldest(self->ring); n != end; n++) {
        struct flight *flight = flight_of(self, n);
        bool wanted = flight->kind == RING_LOAD;
        for (size_t i = 0; i < flight->len; i++)
            wanted |= flight->tasks[i]->state != TASK_GONE &&
                      flight->tasks[i]->deadline_ns > self->now_ns;
        if (wanted || flight->stopped)
            continue;
        flight->stopped = true;
        ring_stop(self->ring, n);
    }
}

static void kill_stalled(struct agent *self)
{
    char text[128];
    uint64_t ticks = agent_runner_ticks(self);
    const struct flight *flight = flight_of(self, self->watched);
    bool loads = flight->kind != RING_RUN || ring_ticks(self->ring) == 0;
    uint64_t patience_ms = self->params->stall_ms * (uint64_t)(loads ? LOAD_PATIENCE : 1);
    if (ticks != self->ticks_seen) {
        self->ticks_seen = ticks;
        self->ticks_ns = self->now_ns;
    }
    if (agent_runner_stalled_ms(self) < patience_ms)
        return;
    snprintf(text, sizeof text, "killed because it stalled: no operator started for %" PRIu64 " ms",
             patience_ms);
    runner_kill(self->runner, text);
    self->ticks_ns = self->now_ns; /* once; its end is seen in a moment */
}

void agent_runner_step(struct agent *self)
{
    char how[256];
    struct error why;
    pid_t pid = runner_pid(self->runner);
    if (runner_ended(self->runner, self->now_ns, how, sizeof how))
        bury(self, pid, how);
    if (!runner_alive(self->runner) && self->now_ns >= runner_start_ns(self->runner)) {
        if (runner_start(self->runner, self->now_ns, &why) != STATUS_OK)
            LOG_ERROR("runner_not_started", "text=%s", why.text);
        else
            LOG_INFO("runner_started", "pid=%d", (int)runner_pid(self->runner));
    }
    if (ring_pending(self->ring) == 0 || self->now_ns < self->watch_ns)
        return;
    self->watch_ns = self->now_ns + WATCH_NS;
    stop_unwanted(self);
    kill_stalled(self);
    agent_progress_step(self, flight_of(self, self->watched));
}

uint64_t agent_runner_next_ns(const struct agent *self)
{
    if (!runner_alive(self->runner))
        return runner_start_ns(self->runner);
    return ring_pending(self->ring) > 0 ? self->watch_ns : UINT64_MAX;
}
