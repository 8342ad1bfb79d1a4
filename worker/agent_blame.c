/* agent_blame - whose fault it is that a runner died
 *
 * The runner writes into a batch which of its rows it computes. When it dies only tasks that own
 * some of those are suspects; whatever else was in the batch runs again as if nothing had happened.
 *
 * - Several tasks: each runs again by itself, nobody is charged.
 * - A task of one row: charged by CRASHED; the broker tries it once more, elsewhere.
 * - A task of several rows: those that were computed run again one by one (of more than STEPS, a
 *   few at a time first); the one that ends a runner again is named in a RESULT, its neighbours
 *   are not charged.
 * - No row yet: the model was being loaded again, it is the model's fault.
 *
 * So a row of a common batch ends three runners here at most: in the batch, in its task, alone. */
#include "worker/agent_self.h"

#include <inttypes.h>
#include <stdio.h>

/* Runners that one model may end in a row by being loaded. One that has been loaded before and is
 * loaded again by a new runner is hardly at fault: somebody else kills runners. */
#define LOADS_CRASHED_MAX   2
#define RELOADS_CRASHED_MAX 8
#define CRASHES_MAX         2 /* runners that a task may end, where we count */

#define STEPS 256 /* rows one by one are slow: no more pieces than this, each time */

void agent_blame_load(struct agent *self, struct agent_model *model, const char *how)
{
    struct error why;
    uint32_t most = model->state == MODEL_READY ? RELOADS_CRASHED_MAX : LOADS_CRASHED_MAX;
    if (++model->loads_crashed < most)
        return;
    fail(&why, STATUS_BAD_MODEL, "loading it ended the process that computes %u times: %s", most,
         how);
    agent_fetch_failed(self, model, &why);
}

/* Rows that the runner tells apart. */
static uint64_t rows_of(const struct task *task)
{
    bool cut = task->model->policy.batchable && task->item.rows > 0;
    return cut ? task->item.rows : 1;
}

static void name_row(struct agent *self, struct task *task, uint64_t row, const char *how)
{
    char text[512];
    snprintf(text, sizeof text,
             "row %" PRIu64 " of %" PRIu64 " ended the process that computed it, and did so again "
             "by itself: %s",
             row, rows_of(task), how);
    LOG_WARN("row_crashed", "task=%" PRIu64 " row=%" PRIu64 " how=%s", task->number, row, how);
    struct result *result = result_failed(STATUS_CRASHED, text);
    result->rows = task->rows;
    result->row = row;
    agent_results_add(self, task, result);
}

/* The broker counts, so that the task's next worker is another one. While none is there the task
 * runs again here, and its end is told when it has ended as many runners as it may. */
static void charge(struct agent *self, struct task *task, const char *how)
{
    struct agent_ids ids = {0};
    char text[512];
    struct upstream *leaser = agent_reach(self, task->via, 0);
    if (!leaser || task->crashes_untold > 0) {
        task->crashes_untold++;
        if (task->crashes + task->crashes_untold < CRASHES_MAX)
            agent_work_give_back(self, task, true);
        else
            name_row(self, task, 0, how);
        return;
    }
    snprintf(text, sizeof text, "the process that computed it was %s", how);
    agent_ids_add(&ids, &task->gateway, task->number);
    agent_results_drop(self, task);
    task_free(task);
    agent_ids_send(&ids, leaser->link, self->out, WIRE_CRASHED, STATUS_OK, text);
    agent_ids_free(&ids);
}

uint64_t agent_blame_step(const struct task *task)
{
    return (task->suspect_end - task->suspect_from + STEPS - 1) / STEPS;
}

/* Its rows [from, end) were computed, and if `certain` no other task's. */
static void judge(struct agent *self, struct task *task, uint64_t from, uint64_t end, bool certain,
                  const char *how)
{
    uint64_t rows = rows_of(task);
    bool before = task->suspect_from < task->suspect_end;
    bool inside = from >= task->suspect_from && end <= task->suspect_end;
    if (certain && rows == 1) {
        charge(self, task, how);
        return;
    }
    if (certain && inside && end - from == 1) {
        name_row(self, task, from, how);
        return;
    }
    if (certain) { /* in a second place: no part of it is to be trusted */
        task->suspect_from = before && !inside ? 0 : from;
        task->suspect_end = before && !inside ? rows : end;
    }
    agent_work_give_back(self, task, true);
}

static uint64_t rows_of_all(const struct flight *flight)
{
    uint64_t rows = 0;
    for (size_t i = 0; i < flight->len; i++)
        rows += rows_of(flight->tasks[i]);
    return rows;
}

/* Tasks of the batch with rows in `doing`. */
static size_t count_suspects(const struct flight *flight, struct ring_rows doing)
{
    size_t suspects = 0;
    uint64_t start = 0;
    for (size_t i = 0; i < flight->len; i++) {
        uint64_t end = start + rows_of(flight->tasks[i]);
        suspects += MAX(start, doing.from) < MIN(end, doing.end);
        start = end;
    }
    return suspects;
}

void agent_blame_batch(struct agent *self, struct flight *flight, const struct ring_batch *batch,
                       const char *how)
{
    uint64_t end = rows_of_all(flight);
    struct ring_rows doing = ring_doing(batch, end);
    size_t suspects = count_suspects(flight, doing);
    for (size_t i = flight->len; i-- > 0;) { /* youngest first: each goes to the front */
        struct task *task = flight->tasks[i];
        uint64_t start = end - rows_of(task);
        uint64_t from = MAX(start, doing.from), to = MIN(end, doing.end);
        if (from >= to || task->state == TASK_GONE)
            agent_work_give_back(self, task, false);
        else
            judge(self, task, from - start, to - start, suspects == 1, how);
        end = start;
    }
    if (suspects == 0)
        agent_blame_load(self, flight->model, how);
}
