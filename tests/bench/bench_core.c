/* bench_core - events per second of the broker's core alone, no network
 *
 *   bench_core [WORKERS [TASKS]]
 *
 * One gateway queues TASKS tasks (100,000), WORKERS workers (2) take, start and answer them in
 * bundles as they come, the gateway acknowledges. An event is one task in one message: SUBMIT,
 * STARTED, RESULT, RESULT_ACK. Afterwards the same with one task on its way at a time, and then
 * only what choosing workers for IN_FLIGHT tasks and making their DISPATCHes takes. All workers
 * have the model and IN_FLIGHT is below the least number of workers that is compared, so with any
 * number of them each task goes to an idle worker of its own. */
#include "broker/core/core.h"
#include "common/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define CREDIT      512
#define WORKERS_MAX 16000
#define IN_FLIGHT   8

struct bench {
    struct core *core;
    uint32_t workers;
    uint64_t now_ns; /* virtual: the core must not wait */
    uint64_t events;
    uint64_t taken[WORKERS_MAX + 1];
    uint64_t answered; /* tasks */
};

static const struct digest model = {{1}};

static struct uuid peer_id(uint32_t n)
{
    return (struct uuid){{1, (uint8_t)n, (uint8_t)(n >> 8)}};
}

static void open_peer(struct bench *self, uint32_t n, enum core_role role)
{
    struct uuid uuid = peer_id(n);
    struct core_hello hello = {
        .role = role, .uuid = uuid, .incarnation = 1, .name = "", .mode = "", .slots = 1};
    if (role == CORE_WORKER) {
        hello.models = &model;
        hello.models_len = 1;
    }
    core_hello(self->core, self->now_ns, n * 2 + 2, &hello);
    const struct core_out *out = core_out(self->core);
    core_attach(self->core, self->now_ns, n * 2 + 3, &uuid, 1,
                out->actions[out->actions_len - 1].token);
    if (role == CORE_WORKER)
        core_credit(self->core, n * 2 + 2, CREDIT, UINT64_C(1) << 40);
    core_taken(self->core);
}

static void submit(struct bench *self, uint64_t first, size_t len)
{
    struct core_task tasks[CORE_TASKS_MAX];
    for (size_t i = 0; i < len; i++)
        tasks[i] = (struct core_task){
            .number = first + i, .bytes = 3136, .frames = 1, .rows = 1, .band = 3, .body = self};
    struct core_submit submit = {model, "", 1, 0, tasks, len, false};
    core_submit(self->core, self->now_ns, 3, &submit);
    self->events += len;
}

/* What the workers and the gateway do with one DISPATCH. */
static void answer(struct bench *self, const struct dispatch_row *rows, size_t len, uint64_t conn)
{
    struct core_result results[CORE_TASKS_MAX];
    struct task_range ranges[CORE_TASKS_MAX];
    struct uuid gateway = peer_id(0), worker = peer_id((uint32_t)(conn / 2 - 1));
    struct core_set set = {gateway, ranges, 0};
    for (size_t i = 0; i < len; i++) {
        results[i] = (struct core_result){rows[i].number, STATUS_OK, 1, 1000};
        if (set.len && ranges[set.len - 1].first + ranges[set.len - 1].count == rows[i].number)
            ranges[set.len - 1].count++;
        else
            ranges[set.len++] = (struct task_range){rows[i].number, 1};
    }
    core_started(self->core, conn - 1, &set, 1);
    core_result(self->core, conn, &gateway, results, len);
    core_result_ack(self->core, 2, &set, 1, &worker);
    self->taken[conn / 2 - 1] += len;
    core_credit(self->core, conn - 1, self->taken[conn / 2 - 1] + CREDIT, UINT64_C(1) << 40);
    self->events += 3 * len;
    self->answered += len;
}

/* Let time pass and answer what was dispatched. */
static void turn(struct bench *self)
{
    self->now_ns += 1000;
    core_tick(self->core, self->now_ns);
    const struct core_out *out = core_out(self->core);
    size_t len = out->actions_len, rows_len = out->rows_len;
    struct action *actions = xcalloc(len + 1, sizeof(struct action));
    struct dispatch_row *rows = xcalloc(rows_len + 1, sizeof(struct dispatch_row));
    for (size_t i = 0; i < len; i++)
        actions[i] = out->actions[i];
    for (size_t i = 0; i < rows_len; i++)
        rows[i] = out->rows[i];
    core_taken(self->core);
    for (size_t i = 0; i < len; i++)
        if (actions[i].kind == ACTION_DISPATCH)
            answer(self, rows + actions[i].first, actions[i].len, actions[i].conn);
    core_taken(self->core);
    free(actions);
    free(rows);
}

static void report(const struct bench *self, const char *what, uint64_t start_ns)
{
    double seconds = (double)(clock_mono_ns() - start_ns) / 1e9;
    printf("%s workers %u events %" PRIu64 " events_per_s %.0f tasks_per_s %.0f\n", what,
           self->workers, self->events, (double)self->events / seconds,
           (double)self->answered / seconds);
}

/* Nanoseconds of core_tick() for each task that it places, while workers come and go from work. */
static void dispatch(struct bench *self, uint64_t first, uint64_t tasks)
{
    uint64_t spent_ns = 0, placed = 0;
    for (uint64_t n = first; n < first + tasks; n += IN_FLIGHT) {
        submit(self, n, IN_FLIGHT);
        core_taken(self->core);
        uint64_t start_ns = clock_mono_ns();
        core_tick(self->core, self->now_ns);
        spent_ns += clock_mono_ns() - start_ns;
        placed += core_out(self->core)->rows_len;
        turn(self);
    }
    printf("dispatch workers %u ns %.0f\n", self->workers, (double)spent_ns / (double)placed);
}

int main(int argc, char **argv)
{
    static struct bench self;
    self = (struct bench){.workers = argc > 1 ? (uint32_t)atoi(argv[1]) : 2, .now_ns = 1};
    uint64_t tasks = argc > 2 ? strtoull(argv[2], NULL, 10) : 100000;
    struct core_limits limits = core_limits_default;
    limits.gateway_tasks = limits.tasks_max = (uint32_t)tasks;
    limits.gateway_bytes = limits.queue_bytes_max = tasks * 4096;
    self.workers = MIN(self.workers, WORKERS_MAX);
    limits.sessions_max = MAX(limits.sessions_max, self.workers + 2);
    self.core = core_new(&limits, 1, self.now_ns);
    open_peer(&self, 0, CORE_GATEWAY);
    for (uint32_t n = 1; n <= self.workers; n++)
        open_peer(&self, n, CORE_WORKER);
    uint64_t start_ns = clock_mono_ns();
    for (uint64_t n = 1; n <= tasks; n += CORE_TASKS_MAX)
        submit(&self, n, (size_t)MIN(CORE_TASKS_MAX, tasks + 1 - n));
    core_taken(self.core);
    while (self.answered < tasks)
        turn(&self);
    report(&self, "queued", start_ns);
    self.events = self.answered = 0;
    start_ns = clock_mono_ns();
    for (uint64_t n = tasks + 1; n <= 2 * tasks; n++) {
        submit(&self, n, 1);
        turn(&self);
    }
    report(&self, "single", start_ns);
    dispatch(&self, 2 * tasks + 1, tasks);
    core_destroy(&self.core, NULL);
    return 0;
}
