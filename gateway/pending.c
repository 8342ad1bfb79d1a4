/* pending - table, list and lines of tasks; see pending.h */
#include "gateway/pending.h"

#include <stdlib.h>
#include <string.h>

#define BUCKETS_MIN 1024
#define ROW_COST    SHARE_MAX /* of a row, so that it can be divided by any share */

void pending_init(struct pending *self, const struct shares *shares)
{
    *self = (struct pending){.buckets_len = BUCKETS_MIN, .shares = shares};
    self->buckets = xcalloc(BUCKETS_MIN, sizeof *self->buckets);
    TAILQ_INIT(&self->all);
}

struct tenant *pending_tenant(struct pending *self, const char *name)
{
    struct tenant *tenant, **end = &self->tenants;
    const char *wanted = name ? name : "";
    for (; (tenant = *end); end = &tenant->next)
        if (strcmp(tenant->name, wanted) == 0)
            return tenant;
    *end = tenant = xcalloc(1, sizeof *tenant);
    tenant->name = xstrdup(wanted);
    tenant->share = shares_of(self->shares, wanted);
    for (int band = 0; band < BANDS; band++)
        TAILQ_INIT(&tenant->lines[band]);
    return tenant;
}

/* --- the table ----------------------------------------------------------------------------------
 */

/* Ids are given in a row, so their low bits spread them evenly. */
static struct task **bucket(const struct pending *self, uint64_t id)
{
    return &self->buckets[id & (self->buckets_len - 1)];
}

struct task *pending_find(const struct pending *self, uint64_t id)
{
    struct task *task = *bucket(self, id);
    while (task && task->id != id)
        task = task->next;
    return task;
}

static void insert(struct pending *self, struct task *task)
{
    struct task **head = bucket(self, task->id);
    task->next = *head;
    *head = task;
}

static void grow(struct pending *self)
{
    struct task *task;
    free(self->buckets);
    self->buckets_len *= 2;
    self->buckets = xcalloc(self->buckets_len, sizeof *self->buckets);
    TAILQ_FOREACH(task, &self->all, all)
    insert(self, task);
}

/* --- tasks --------------------------------------------------------------------------------------
 */

static size_t text_room(const char *text)
{
    return text ? strlen(text) + 1 : 0;
}

static const char *keep(char **at, const char *text)
{
    if (!text)
        return NULL;
    size_t size = strlen(text) + 1;
    char *copy = memcpy(*at, text, size);
    *at += size;
    return copy;
}

/* Copy what the caller may free: inputs, names and texts, in one block. */
static void copy_what(struct task *task, const struct fleet_task *what)
{
    size_t room = what->inputs_len * sizeof *what->inputs;
    for (size_t i = 0; i < what->inputs_len; i++)
        room += text_room(what->inputs[i].name);
    room += text_room(what->model_name) + text_room(what->mode) + text_room(what->tenant) +
            text_room(what->traceparent);
    free(task->store);
    task->store = xmalloc(room + 1);
    task->what = *what;
    struct tensor *inputs = task->store;
    char *at = (char *)(inputs + what->inputs_len);
    task->bytes = task->frames = 0;
    task->map_bytes = 160 + (uint32_t)(room - what->inputs_len * sizeof *inputs);
    for (size_t i = 0; i < what->inputs_len; i++) {
        inputs[i] = what->inputs[i];
        inputs[i].name = keep(&at, what->inputs[i].name);
        task->bytes += inputs[i].bytes;
        task->frames += (uint32_t)wire_frames_of(inputs[i].bytes);
        task->map_bytes += 32 + 9 * inputs[i].rank;
    }
    task->what.inputs = inputs;
    task->what.model_name = keep(&at, what->model_name);
    task->what.mode = keep(&at, what->mode);
    task->what.tenant = keep(&at, what->tenant);
    task->what.traceparent = keep(&at, what->traceparent);
    task->what.band = MIN(what->band, (uint32_t)BANDS - 1);
}

static void account(struct pending *self, const struct task *task, int sign)
{
    uint64_t online = task->what.patient ? 0 : task->bytes;
    self->online_bytes += sign > 0 ? online : 0 - online;
    task->tenant->online_bytes += sign > 0 ? online : 0 - online;
}

struct task *pending_add(struct pending *self, const struct fleet_task *what)
{
    struct task *task = xcalloc(1, sizeof *task);
    assert(what->id && !pending_find(self, what->id));
    task->id = what->id;
    task->state = TASK_EXPECTED;
    task->broker = task->via = NO_BROKER;
    copy_what(task, what);
    task->tenant = pending_tenant(self, what->tenant);
    task->tenant->online += what->patient ? 0 : 1;
    TAILQ_INSERT_TAIL(&self->all, task, all);
    self->len++;
    self->patient += what->patient;
    account(self, task, 1);
    if (self->len > self->buckets_len)
        grow(self); /* inserts every task of the list */
    else
        insert(self, task);
    return task;
}

void pending_supply(struct pending *self, struct task *task, const struct fleet_task *what)
{
    assert(task->state == TASK_EXPECTED && what->id == task->id);
    bool patient = task->what.patient;
    account(self, task, -1);
    task->tenant->online -= patient ? 0 : 1;
    copy_what(task, what);
    task->what.patient = patient;
    task->tenant = pending_tenant(self, what->tenant);
    task->tenant->online += patient ? 0 : 1;
    account(self, task, 1);
}

void pending_drop_inputs(struct pending *self, struct task *task)
{
    account(self, task, -1);
    task->bytes = 0;
    task->what.inputs_len = 0;
    bytes_drop(&task->what.owner);
}

/* --- lines --------------------------------------------------------------------------------------
 */

void pending_line_up(struct pending *self, struct task *task, bool front)
{
    struct tenant *tenant = task->tenant;
    struct task_list *line = &tenant->lines[task->what.band];
    assert(task->state != TASK_WAITING && task->state != TASK_DONE);
    if (TAILQ_EMPTY(line)) /* idle time is no saving */
        tenant->served[task->what.band] =
            MAX(tenant->served[task->what.band], self->floor[task->what.band]);
    task->state = TASK_WAITING;
    self->waiting++;
    if (front)
        TAILQ_INSERT_HEAD(line, task, line);
    else
        TAILQ_INSERT_TAIL(line, task, line);
}

void pending_move(struct pending *self, struct task *task, enum task_state state)
{
    struct tenant *tenant = task->tenant;
    uint32_t band = task->what.band;
    if (task->state == TASK_WAITING) {
        TAILQ_REMOVE(&tenant->lines[band], task, line);
        self->waiting--;
    }
    if (state == TASK_SENT) {
        self->floor[band] = MAX(self->floor[band], tenant->served[band]);
        tenant->served[band] += MAX(task->what.rows, 1) * ROW_COST / tenant->share;
    }
    task->state = state;
}

struct task *pending_first(const struct pending *self)
{
    for (int band = 0; self->waiting > 0 && band < BANDS; band++) {
        const struct tenant *best = NULL;
        for (const struct tenant *one = self->tenants; one; one = one->next)
            if (!TAILQ_EMPTY(&one->lines[band]) &&
                (!best || one->served[band] < best->served[band]))
                best = one;
        if (best)
            return TAILQ_FIRST(&best->lines[band]);
    }
    return NULL;
}

void pending_remove(struct pending *self, struct task *task)
{
    assert(!task->deadline.slot);
    pending_move(self, task, TASK_DONE);
    pending_drop_inputs(self, task);
    struct task **at = bucket(self, task->id);
    while (*at != task)
        at = &(*at)->next;
    *at = task->next;
    TAILQ_REMOVE(&self->all, task, all);
    self->len--;
    self->patient -= task->what.patient;
    task->tenant->online -= task->what.patient ? 0 : 1;
    free(task->store);
    free(task);
}

void pending_awaited(const struct pending *self, uint32_t broker, uint64_t before_ns,
                     struct taskset *set)
{
    const struct task *task;
    taskset_clear(set);
    TAILQ_FOREACH(task, &self->all, all)
    {
        bool there =
            task->broker == broker && (task->state == TASK_ACCEPTED ||
                                       (task->state == TASK_SENT && task->sent_ns < before_ns));
        bool known = there || task->state == TASK_EXPECTED;
        if (known && taskset_add(set, task->id) != STATUS_OK)
            return; /* more ranges than fit: the rest comes next time */
    }
}

void pending_free(struct pending *self)
{
    struct task *task;
    while ((task = TAILQ_FIRST(&self->all)))
        pending_remove(self, task);
    for (struct tenant *tenant; (tenant = self->tenants);) {
        self->tenants = tenant->next;
        free(tenant->name);
        free(tenant);
    }
    free(self->buckets);
    self->buckets = NULL;
}
