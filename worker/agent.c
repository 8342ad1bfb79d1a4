/* agent - life and loop; see agent.h and agent_self.h */
#include "worker/agent_self.h"

#include "common/clock.h"
#include "common/file.h"
#include "common/netopts.h"

#include <inttypes.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#define EXPIRE_NS   (10 * NS_PER_MS) /* how often queues are searched for tasks out of time */
#define UNLINKED_NS (20 * NS_PER_MS) /* between bites of the store's work without a broker */
#define IO_THREADS  1                /* loopback gigabytes a second; more would take cores */

/* --- life --------------------------------------------------------------------------------------
 */
static char *store_folder(const struct worker_params *params)
{
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (params->store[0])
        return xstrdup(params->store);
    if (cache && cache[0] == '/')
        return xasprintf("%s/convoy/store", cache);
    if (home && home[0] == '/')
        return xasprintf("%s/.cache/convoy/store", home);
    return xasprintf("/var/tmp/convoy-store-%u", (unsigned)getuid());
}

/* A node has the name that its fleet knows it by. */
static char *name_of(const struct agent *self)
{
    char host[128] = "worker";
    const struct curve_identity *identity = agent_join_identity(self->join);
    if (identity && identity->name[0])
        return xstrdup(identity->name);
    if (self->params->name[0])
        return xstrdup(self->params->name);
    gethostname(host, sizeof host - 1);
    return xasprintf("%s-%d", host, (int)getpid());
}

/* Cores that this process may use, shared with the other workers of the machine. */
static uint32_t threads_of(const struct worker_params *params)
{
    cpu_set_t cores;
    if (params->threads > 0)
        return params->threads;
    CPU_ZERO(&cores);
    if (sched_getaffinity(0, sizeof cores, &cores) != 0)
        return 1;
    return MAX((uint32_t)CPU_COUNT(&cores) / params->node_workers, 1u);
}

static enum status open_store(struct agent *self, struct error *why)
{
    char *folder = store_folder(self->params);
    const struct store_config config = {
        .folder = folder,
        .bytes_max = self->params->store_bytes,
        .patience_ms = self->params->fetch_ms,
    };
    enum status status = store_open(&self->store, &config, why);
    free(folder);
    return status;
}

static enum status open_runner(struct agent *self, struct error *why)
{
    enum status status = ring_create(&self->ring, why);
    if (status != STATUS_OK)
        return status;
    const struct runner_config config = {
        .ring = self->ring,
        .isa = self->params->isa,
        .threads = threads_of(self->params),
        .model_bytes_max = self->params->model_bytes,
    };
    self->runner = runner_new(&config);
    return agent_runner_open(self, why);
}

enum status agent_start(void **role, const void *params, struct daemon_run *run, struct error *why)
{
    struct agent *self = xcalloc(1, sizeof *self);
    *role = self;
    self->params = params;
    self->run = run;
    self->uuid = id_new();
    self->out = wire_out_new();
    self->tasks = tasks_new();
    TAILQ_INIT(&self->answered);
    TAILQ_INIT(&self->held);
    self->zmq = zmq_ctx_new();
    zmq_ctx_set(self->zmq, ZMQ_IO_THREADS, IO_THREADS);
    enum status status =
        agent_join_open(&self->join, self->params, self->zmq, daemon_signal_fd(run), why);
    self->name = name_of(self);
    if (status == STATUS_OK)
        status = open_store(self, why);
    if (status == STATUS_OK)
        status = open_runner(self, why);
    if (status != STATUS_OK)
        return status;
    agent_brokers_open(self, agent_join_brokers(self->join));
    return STATUS_OK;
}

void agent_stop(void **role)
{
    struct agent *self = *role;
    if (!self)
        return;
    if (self->tasks && tasks_count(self->tasks, TASK_HELD) > 0)
        LOG_WARN("results_unacknowledged", "results=%" PRIu64 " action=%s",
                 tasks_count(self->tasks, TASK_HELD), "their tasks will be computed again");
    agent_brokers_close(self);
    agent_join_close(&self->join);
    runner_destroy(&self->runner);
    for (uint32_t n = 0; self->ring && n < ring_depth(self->ring); n++) {
        struct flight *flight = &self->flights[(ring_oldest(self->ring) + n) % RING_SLOTS];
        for (size_t i = 0; i < flight->len; i++)
            if (flight->tasks[i]->state == TASK_GONE)
                task_free(flight->tasks[i]); /* the table has the others */
    }
    ring_destroy(&self->ring);
    store_close(&self->store);
    wire_in_clear(&self->in);
    wire_out_destroy(&self->out);
    task_spec_unref(self->last_spec);
    tasks_destroy(&self->tasks);
    agent_models_free(&self->models);
    if (self->zmq)
        zmq_ctx_term(self->zmq);
    free(self->name);
    free(self);
    *role = NULL;
}

/* --- drain -------------------------------------------------------------------------------------
 */
static void give_back_queue(struct agent *self, struct agent_model *model)
{
    struct batch_item *item, *next;
    for (item = TAILQ_FIRST(&model->queue.items); item; item = next) {
        struct task *task = (struct task *)(void *)((uint8_t *)item - offsetof(struct task, item));
        next = TAILQ_NEXT(item, link);
        agent_brokers_busy(self, task);
        agent_results_drop(self, task);
    }
}

static void start_drain(struct agent *self)
{
    uint64_t waiting =
        tasks_count(self->tasks, TASK_WAITING) + tasks_count(self->tasks, TASK_FETCHING);
    self->draining = true;
    for (size_t i = 0; i < self->models.len; i++)
        give_back_queue(self, self->models.list[i]);
    agent_brokers_drain(self);
    LOG_INFO("given_back", "tasks=%" PRIu64 " running=%" PRIu64 " results=%" PRIu64, waiting,
             tasks_count(self->tasks, TASK_RUNNING), tasks_count(self->tasks, TASK_HELD));
}

bool agent_drain(void *role)
{
    struct agent *self = role;
    if (!self->draining)
        start_drain(self);
    return tasks_count(self->tasks, TASK_RUNNING) == 0 &&
           tasks_count(self->tasks, TASK_WAITING) == 0 &&
           tasks_count(self->tasks, TASK_FETCHING) == 0 &&
           tasks_count(self->tasks, TASK_HELD) == 0 && agent_brokers_idle(self);
}

/* --- loop --------------------------------------------------------------------------------------
 */
static int wait_ms(struct agent *self, int timeout_ms)
{
    uint64_t soonest = agent_brokers_next_ns(self);
    soonest = MIN(soonest, agent_results_next_ns(self));
    soonest = MIN(soonest, agent_work_next_ns(self));
    soonest = MIN(soonest, agent_runner_next_ns(self));
    uint64_t now_ns = clock_mono_ns(), fetch_ns = store_next_ns(self->store);
    if (!agent_reach(self, NO_BROKER, 0)) /* nobody to ask */
        fetch_ns = MAX(fetch_ns, now_ns + UNLINKED_NS);
    soonest = MIN(soonest, fetch_ns);
    if (soonest <= now_ns)
        return 0;
    uint64_t ms = (soonest - now_ns + NS_PER_MS - 1) / NS_PER_MS;
    return timeout_ms < 0 || ms < (uint64_t)timeout_ms ? (int)MIN(ms, (uint64_t)1000) : timeout_ms;
}

static void wait_for_events(const struct agent *self, int timeout_ms)
{
    zmq_pollitem_t items[BROKERS_MAX * LINK_POLL_MAX + 4];
    size_t len = agent_brokers_poll(self, items);
    const int fds[] = {daemon_signal_fd(self->run), ring_bell_fd(self->ring),
                       runner_fd(self->runner), agent_join_fd(self->join)};
    for (size_t i = 0; i < ARRAY_LEN(fds); i++)
        if (fds[i] >= 0)
            items[len++] = (zmq_pollitem_t){.fd = fds[i], .events = ZMQ_POLLIN};
    zmq_poll(items, (int)len, timeout_ms);
}

enum status agent_step(void *role, int timeout_ms, struct error *why)
{
    struct agent *self = role;
    (void)why;
    wait_for_events(self, wait_ms(self, timeout_ms));
    self->now_ns = clock_mono_ns();
    agent_work_harvest(self); /* results first: they free what others wait for */
    agent_work_pump(self);    /* the runner has work before we talk */
    agent_brokers_step(self);
    if (agent_join_renewed(self->join))
        agent_brokers_rekey(self);
    agent_fetch_step(self);
    agent_runner_step(self);
    if (self->now_ns >= self->expire_ns) {
        agent_work_expire(self);
        self->expire_ns = self->now_ns + EXPIRE_NS;
    }
    agent_work_pump(self);
    agent_runner_note_begun(self);
    agent_brokers_flush(self);
    agent_results_flush(self);
    agent_session_credit(self);
    return STATUS_OK;
}
