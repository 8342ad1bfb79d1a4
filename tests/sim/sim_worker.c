/* sim_worker - the worker's own start, step, drain and stop; its store always has the model */
#include "tests/sim/sim_runner.h"

#include "common/clock.h"
#include "worker/agent_self.h"

#include <stdlib.h>
#include <string.h>

#define WINDOW   24 /* unfinished tasks */
#define RESULTS  96 /* that wait for their gateways */
#define FETCH_MS 30
#define FAILS    50 /* one fetch in so many */

struct worker_sim {
    void *role; /* NULL while it is dead */
    struct worker_params params;
};

static struct agent *agent_of(const struct process *process)
{
    return ((const struct worker_sim *)process->state)->role;
}

struct runner *worker_runner(const struct process *process);

struct runner *worker_runner(const struct process *process)
{
    return agent_of(process)->runner;
}

/* --- who it serves ------------------------------------------------------------------------------
 */

struct agent_join {
    struct broker_list brokers;
};

enum status agent_join_open(struct agent_join **out, const struct worker_params *params, void *zmq,
                            int stop_fd, struct error *why)
{
    (void)params, (void)zmq, (void)stop_fd;
    *out = xcalloc(1, sizeof **out);
    return brokers_parse(&(*out)->brokers, "tcp://127.0.0.1:7700,tcp://127.0.0.1:7710", why);
}

void agent_join_close(struct agent_join **self_p)
{
    free(*self_p);
    *self_p = NULL;
}

const struct broker_list *agent_join_brokers(const struct agent_join *self)
{
    return &self->brokers;
}

const struct curve_identity *agent_join_identity(const struct agent_join *self)
{
    (void)self;
    return NULL;
}

void agent_join_learnt(struct agent_join *self, const struct broker_address *address)
{
    (void)self, (void)address;
}

void agent_join_moved(struct agent_join *self, const char *old_endpoint,
                      const struct broker_address *now)
{
    (void)self, (void)old_endpoint, (void)now;
}

void agent_join_rotate(struct agent_join *self, const struct wire_in *in, const char *enrol_at,
                       const struct broker_address *from)
{
    (void)self, (void)in, (void)enrol_at, (void)from;
}

int agent_join_fd(const struct agent_join *self)
{
    (void)self;
    return -1;
}

bool agent_join_renewed(struct agent_join *self)
{
    (void)self;
    return false;
}

/* --- its store: a model is there after a while, or cannot be had
 * ----------------------------------
 */

struct store {
    uint64_t ready_ns[MODELS + 1]; /* 0: not wanted */
    bool fails[MODELS + 1];
    struct manifest manifest;
};

enum status store_open(struct store **out, const struct store_config *config, struct error *why)
{
    (void)config, (void)why;
    *out = xcalloc(1, sizeof **out);
    (*out)->manifest = (struct manifest){.rows_max = 32, .delay_ns = 2 * MS};
    return STATUS_OK;
}

void store_close(struct store **self_p)
{
    free(*self_p);
    *self_p = NULL;
}

enum status store_want(struct store *self, const struct digest *id, const struct uuid *gateway,
                       uint64_t now_ns)
{
    (void)gateway;
    self->ready_ns[id->bytes[0]] = now_ns + sim_random(sim_it, FETCH_MS) * MS;
    self->fails[id->bytes[0]] = sim_rough(sim_it) && sim_chance(sim_it, FAILS);
    return STATUS_OK;
}

void store_forget(struct store *self, const struct digest *id)
{
    self->ready_ns[id->bytes[0]] = 0;
}

enum store_state store_state(const struct store *self, const struct digest *id, struct error *why)
{
    if (self->ready_ns[id->bytes[0]] == 0)
        return STORE_ABSENT;
    if (self->ready_ns[id->bytes[0]] > clock_mono_ns())
        return STORE_WORKING;
    if (!self->fails[id->bytes[0]])
        return STORE_READY;
    fail(why, STATUS_UNAVAILABLE, "nobody has it");
    return STORE_FAILED;
}

const struct manifest *store_manifest(const struct store *self, const struct digest *id)
{
    (void)id;
    return &self->manifest;
}

char *store_model_path(const struct store *self, const struct digest *id)
{
    (void)self, (void)id;
    return xstrdup("model.onnx");
}

enum status store_program_path(const struct store *self, const struct digest *id, char **path,
                               struct error *why)
{
    (void)self, (void)id, (void)path;
    return fail(why, STATUS_INTERNAL, "no training programs are simulated");
}

void store_touch(struct store *self, const struct digest *id)
{
    (void)self, (void)id;
}

uint64_t store_fetched(const struct store *self, const struct digest *id)
{
    (void)self, (void)id;
    return 0;
}

bool store_step(struct store *self, uint64_t now_ns)
{
    (void)self, (void)now_ns;
    return false;
}

uint64_t store_next_ns(const struct store *self)
{
    uint64_t next_ns = UINT64_MAX, now_ns = clock_mono_ns();
    for (size_t i = 0; i <= MODELS; i++)
        if (self->ready_ns[i] > now_ns)
            next_ns = MIN(next_ns, self->ready_ns[i]);
    return next_ns;
}

bool store_next_request(struct store *self, uint64_t now_ns, struct store_request *request)
{
    (void)self, (void)now_ns, (void)request;
    return false;
}

void store_chunk(struct store *self, const struct digest *blob, uint64_t offset, uint64_t total,
                 enum status status, const char *text, const void *bytes, size_t size,
                 uint64_t now_ns)
{
    (void)self, (void)blob, (void)offset, (void)total, (void)status, (void)text, (void)bytes;
    (void)size, (void)now_ns;
}

void store_link_lost(struct store *self, uint64_t now_ns)
{
    (void)self, (void)now_ns;
}

/* --- life --------------------------------------------------------------------------------------
 */

static void birth(struct process *process)
{
    struct error why;
    struct worker_sim *self = process->state;
    if (!self) {
        self = process->state = xcalloc(1, sizeof *self);
        self->params = (struct worker_params){
#define PARAM(name, type, value, min, max, unit, help) .name = (value),
#include "worker/params.def"
#undef PARAM
        };
        self->params.store = "store";
        self->params.threads = 1;
        self->params.window_tasks = WINDOW;
        self->params.results_tasks = RESULTS;
        self->params.stall_ms = 1500;
    }
    if (agent_start(&self->role, &self->params, NULL, &why) != STATUS_OK)
        panic("a worker does not start: %s", why.text);
}

static void turn(struct process *process)
{
    struct error why;
    struct worker_sim *self = process->state;
    if (agent_step(self->role, 0, &why) != STATUS_OK)
        sim_violate(process->sim, "I1 a worker ends by itself: %s", why.text);
    runner_look(agent_of(process)->runner);
}

static uint64_t next_ns(struct process *process)
{
    struct agent *agent = agent_of(process);
    uint64_t next_ns = MIN(agent_brokers_next_ns(agent), agent_results_next_ns(agent));
    next_ns = MIN(next_ns, agent_work_next_ns(agent));
    next_ns = MIN(next_ns, agent_runner_next_ns(agent));
    return MIN(next_ns, store_next_ns(agent->store));
}

static uint64_t held(const struct process *process)
{
    const struct tasks *tasks = agent_of(process)->tasks;
    return tasks_count(tasks, TASK_FETCHING) + tasks_count(tasks, TASK_WAITING) +
           tasks_count(tasks, TASK_RUNNING) + tasks_count(tasks, TASK_HELD);
}

static bool drained(struct process *process)
{
    return process->draining ? agent_drain(agent_of(process)) : held(process) == 0;
}

static void death(struct process *process)
{
    struct worker_sim *self = process->state;
    agent_stop(&self->role);
}

static void end(struct process *process)
{
    free(process->state);
}

static void check(struct process *process)
{
    const struct agent *agent = agent_of(process);
    uint64_t all = held(process), results = tasks_count(agent->tasks, TASK_HELD);
    /* Credit is never taken back: a broker may use what it was given while it was the only one. */
    if (all - results > WINDOW * (BROKERS + 1) || results > RESULTS + 2 * WINDOW)
        sim_violate(process->sim, "I8 %s has %lu tasks and %lu results", sim_name(process),
                    (unsigned long)(all - results), (unsigned long)results);
}

const struct sim_role sim_worker = {birth, turn, next_ns, drained, death, check, end};
