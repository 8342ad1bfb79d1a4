/* fleet - in place of gateway/fleet*.c: one worker without a broker; see world.h
 *
 * A deadly row ends the runner of a job's task. An online request with it is computed, as if the
 * worker had been mended. A segment of training that begins with other octets than the worker gave
 * is refused. */
#include "tests/crash/world.h"

#include "common/clock.h"
#include "tests/crash/disk.h"
#include "tests/crash/rows.h"
#include "tests/crash/toy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TASKS_MAX   4096
#define OUTPUTS_MAX 2

static const char signature[] =
    "{\"inputs\":[{\"name\":\"x\",\"datatype\":\"FP32\",\"shape\":[-1,4]}],"
    "\"outputs\":[{\"name\":\"y\",\"datatype\":\"FP32\",\"shape\":[-1,2],\"batch_axis\":0}],"
    "\"batchable\":true}";

struct fleet_store {
    zmq_msg_t frames[OUTPUTS_MAX]; /* the octets of each output */
};

struct task {
    uint64_t id;
    const struct fleet_calls *calls;
    void *arg;
    struct fleet_result *result; /* NULL: only expected, its data is not here */
    bool asked;                  /* unknown() was called */
};

/* A segment of training that was computed. */
struct segment {
    uint64_t task;
    char program[DIGEST_TEXT_SIZE];
    long step; /* that it came to */
};

struct fleet {
    struct task tasks[TASKS_MAX]; /* submitted or expected, without a callback yet */
    size_t len;                   /* how many */
    uint64_t next;                /* number of the next task */
    uint32_t allowed;             /* tasks that will be answered */
    struct segment segments[64];  /* the last ones, in a ring */
    size_t segments_len;          /* ever */
};

struct fleet *fleet_new(const struct fleet_config *config)
{
    struct fleet *self = xcalloc(1, sizeof *self);
    self->next = config->incarnation << 40 | 1;
    self->allowed = UINT32_MAX;
    return self;
}

void fleet_destroy(struct fleet **self_p)
{
    struct fleet *self = *self_p;
    for (size_t i = 0; self && i < self->len; i++)
        fleet_result_free(&self->tasks[i].result);
    free(self);
    *self_p = NULL;
}

void fleet_allow(struct fleet *self, uint32_t tasks)
{
    self->allowed = tasks;
}

/* --- results ---------------------------------------------------------------------------------- */
void fleet_result_free(struct fleet_result **self_p)
{
    struct fleet_result *self = *self_p;
    if (!self)
        return;
    for (size_t i = 0; i < self->outputs_len; i++)
        zmq_msg_close(&self->store->frames[i]);
    free(self->store);
    free(self->outputs);
    free(self);
    *self_p = NULL;
}

void fleet_output_gather(const struct fleet_output *output, void *into)
{
    memcpy(into, zmq_msg_data(output->frames), output->tensor.bytes);
}

static struct fleet_result *result_new(uint64_t id)
{
    struct fleet_result *self = xcalloc(1, sizeof *self);
    self->id = id;
    self->store = xcalloc(1, sizeof *self->store);
    self->outputs = xcalloc(OUTPUTS_MAX, sizeof *self->outputs);
    self->worker.bytes[0] = 1;
    self->compute_ns = NS_PER_MS;
    text_copy(self->mode, sizeof self->mode, "generic/strict");
    return self;
}

/* One more output; what `data` points to is copied. */
static void put_output(struct fleet_result *self, struct tensor tensor)
{
    assert(self->outputs_len < OUTPUTS_MAX);
    zmq_msg_t *frame = &self->store->frames[self->outputs_len];
    zmq_msg_init_size(frame, tensor.bytes);
    memcpy(zmq_msg_data(frame), tensor.data, tensor.bytes);
    tensor.data = NULL;
    self->outputs[self->outputs_len++] =
        (struct fleet_output){.tensor = tensor, .frames = frame, .frames_len = 1};
}

static void put_octets(struct fleet_result *self, const char *name, const void *octets, size_t size)
{
    put_output(self, (struct tensor){.name = name,
                                     .dtype = DTYPE_UINT8,
                                     .rank = 1,
                                     .dims = {(int64_t)size},
                                     .data = (void *)(uintptr_t)octets,
                                     .bytes = size});
}

/* An online request's tensors lie as they came. */
static float number(const struct fleet_task *what, size_t index)
{
    float value;
    memcpy(&value, (const char *)what->inputs[0].data + index * sizeof value, sizeof value);
    return value;
}

static struct fleet_result *infer(uint64_t id, const struct fleet_task *what)
{
    float y[2 * 64];
    assert(what->rows <= 64);
    for (uint32_t i = 0; i < what->rows; i++) {
        y[2 * i] = 3 * number(what, 4 * i);
        y[2 * i + 1] = -number(what, 4 * i);
    }
    struct fleet_result *self = result_new(id);
    self->rows = what->rows;
    put_output(self, (struct tensor){.name = "y",
                                     .dtype = DTYPE_FP32,
                                     .rank = 2,
                                     .dims = {what->rows, 2},
                                     .data = y,
                                     .bytes = what->rows * 2 * sizeof(float)});
    return self;
}

/* Its row `row` ended two runners. */
static struct fleet_result *crashed(uint64_t id, uint32_t row)
{
    struct fleet_result *self = result_new(id);
    self->status = STATUS_CRASHED;
    self->row = row;
    self->attempt = 2;
    text_copy(self->text, sizeof self->text, "the runner was killed");
    return self;
}

static struct fleet_result *compute(uint64_t id, const struct fleet_task *what)
{
    for (uint32_t i = 0; what->calls->unknown && i < what->rows; i++)
        if (number(what, 4 * i + 3) == ROWS_DEADLY)
            return crashed(id, i);
    return infer(id, what);
}

static struct fleet_result *inspect(uint64_t id)
{
    struct fleet_result *self = result_new(id);
    put_octets(self, "signature", signature, sizeof signature - 1);
    return self;
}

/* The text of a report as a tensor of type BYTES. */
static void put_report(struct fleet_result *self, long step)
{
    json_t *report = toy_report(step);
    char *text = json_dumps(report, JSON_COMPACT);
    uint32_t len = (uint32_t)strlen(text);
    char *octets = xmalloc(sizeof len + len);
    memcpy(octets, &len, sizeof len);
    memcpy(octets + sizeof len, text, len);
    put_output(self, (struct tensor){.name = "report",
                                     .dtype = DTYPE_BYTES,
                                     .rank = 1,
                                     .dims = {1},
                                     .data = octets,
                                     .bytes = sizeof len + len});
    free(octets);
    free(text);
    json_decref(report);
}

/* One step from the checkpoint, or from nothing. */
static struct fleet_result *train(struct fleet *fleet, uint64_t id, const struct fleet_task *what)
{
    struct fleet_result *self = result_new(id);
    struct segment *segment = &fleet->segments[fleet->segments_len++ % ARRAY_LEN(fleet->segments)];
    const struct tensor *from = what->inputs_len > 1 ? &what->inputs[1] : NULL;
    segment->task = id;
    digest_text(segment->program, &what->model);
    segment->step = from ? toy_step(segment->program, from->data, from->bytes) + 1 : 1;
    if (segment->step == 0) {
        self->status = STATUS_INVALID;
        text_copy(self->text, sizeof self->text, "this is no checkpoint of the program");
        return self;
    }
    char *octets = toy_octets(segment->program, segment->step);
    put_report(self, segment->step);
    put_octets(self, segment->step == TOY_STEPS ? "model" : "checkpoint", octets, strlen(octets));
    free(octets);
    return self;
}

static struct fleet_result *result_of(struct fleet *self, uint64_t id,
                                      const struct fleet_task *what)
{
    return what->kind == WIRE_KIND_INSPECT ? inspect(id)
           : what->kind == WIRE_KIND_TRAIN ? train(self, id, what)
                                           : compute(id, what);
}

/* --- tasks ------------------------------------------------------------------------------------ */
static struct task *find(struct fleet *self, uint64_t id)
{
    for (size_t i = 0; i < self->len; i++)
        if (self->tasks[i].id == id)
            return &self->tasks[i];
    return NULL;
}

static void drop(struct fleet *self, const struct task *task)
{
    size_t at = (size_t)(task - self->tasks);
    memmove(self->tasks + at, self->tasks + at + 1, (--self->len - at) * sizeof *task);
}

static struct task *add(struct fleet *self, uint64_t id, const struct fleet_calls *calls, void *arg)
{
    assert(self->len < TASKS_MAX);
    struct task *task = &self->tasks[self->len++];
    *task = (struct task){.id = id, .calls = calls, .arg = arg};
    return task;
}

enum status fleet_submit(struct fleet *self, const struct fleet_task *what, uint64_t *id,
                         struct error *why)
{
    (void)why;
    uint64_t number = what->id ? what->id : self->next++;
    struct task *task = find(self, number);
    if (!task)
        task = add(self, number, what->calls, what->arg);
    task->result = result_of(self, number, what);
    struct bytes *owner = what->owner;
    bytes_drop(&owner);
    if (id)
        *id = number;
    return STATUS_OK;
}

uint64_t fleet_next_ids(struct fleet *self, uint32_t count)
{
    uint64_t first = self->next;
    self->next += count;
    return first;
}

void fleet_expect(struct fleet *self, uint64_t id, const struct fleet_calls *calls, void *arg)
{
    (void)add(self, id, calls, arg);
}

void fleet_cancel(struct fleet *self, uint64_t id)
{
    struct task *task = find(self, id);
    if (!task)
        return;
    fleet_result_free(&task->result);
    drop(self, task);
}

void fleet_commit(struct fleet *self, uint64_t id)
{
    char segment[DIGEST_TEXT_SIZE + 24] = "";
    for (size_t i = 0; i < MIN(self->segments_len, ARRAY_LEN(self->segments)); i++)
        if (self->segments[i].task == id)
            snprintf(segment, sizeof segment, " %s %ld", self->segments[i].program,
                     self->segments[i].step);
    disk_mark("acknowledged %llu%s", (unsigned long long)id, segment);
}

/* Index of the newest task that can be helped on; `len` when none can. */
static size_t ready(const struct fleet *self)
{
    for (size_t i = self->len; i-- > 0;) {
        const struct task *task = &self->tasks[i];
        if (task->result ? self->allowed > 0 || !task->calls->unknown : !task->asked)
            return i;
    }
    return self->len;
}

bool fleet_busy(const struct fleet *self)
{
    return ready(self) < self->len;
}

/* The newest first, so that chunks come back in another order than they went; one a turn. */
void fleet_step(struct fleet *self, uint64_t now_ns)
{
    size_t i = ready(self);
    (void)now_ns;
    if (i == self->len)
        return;
    struct task task = self->tasks[i];
    if (!task.result) {
        self->tasks[i].asked = true;
        task.calls->unknown(task.arg, task.id);
        return;
    }
    if (task.calls->unknown && self->allowed != UINT32_MAX)
        self->allowed--;
    drop(self, &self->tasks[i]);
    if (task.calls->started)
        task.calls->started(task.arg, task.id);
    task.calls->result(task.arg, task.result);
}

struct fleet_view fleet_view(const struct fleet *self)
{
    return (struct fleet_view){
        .up = true, .brokers_up = 1, .brokers = 1, .workers = 1, .tasks = self->len};
}

void fleet_serve_blobs(struct fleet *self, void (*get)(void *arg, const struct fleet_blob *want),
                       void *arg)
{
    (void)self;
    (void)get;
    (void)arg;
}

void fleet_blob_chunk(struct fleet *self, const struct fleet_blob *want, uint64_t total,
                      struct bytes *bytes, const struct error *why)
{
    (void)self;
    (void)want;
    (void)total;
    (void)bytes;
    (void)why;
}

void fleet_listen(struct fleet *self, void (*changed)(void *arg), void *arg)
{
    (void)self;
    (void)changed;
    (void)arg;
}
