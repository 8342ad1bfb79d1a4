/* agent_results - results on their way to gateways, kept and sent again until acknowledged */
#include "worker/agent_self.h"

#include "common/clock.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <string.h>

#define RESEND_FIRST_NS  (3 * NS_PER_S)  /* a gateway commits in less, most of the time */
#define RESEND_MAX_NS    (10 * NS_PER_S) /* a gateway that comes back later waits at most so long */
#define LOOK_NS          (500 * NS_PER_MS) /* how often to look for what is due again */
#define MESSAGES_MAX     64                /* sent in one turn */
#define BORROW_MIN       (8 * KIB)         /* below, copying is cheaper than counting references */
#define MAP_MAX          (200 * KIB) /* our estimate of a message's map; 256 KiB are allowed */
#define TASK_MAP_BYTES   256         /* a TASK without texts and SPEC, at most */
#define TENSOR_MAP_BYTES 128         /* a TENSOR without its name, at most */
#define SPEC_MAX         (60 * KIB)  /* our estimate of a SPEC; 64 KiB are allowed */

static struct task *task_of(struct batch_item *item)
{
    return (struct task *)(void *)((uint8_t *)item - offsetof(struct task, item));
}

static size_t spec_bytes(const struct result *result)
{
    size_t bytes = 0;
    for (uint32_t i = 0; i < result->outputs_len; i++)
        bytes += strlen(result->outputs[i].name) + TENSOR_MAP_BYTES;
    return bytes;
}

static size_t frames_of(const struct result *result)
{
    size_t frames = 0;
    for (uint32_t i = 0; i < result->outputs_len; i++)
        frames += wire_frames_of(result->outputs[i].bytes);
    return frames;
}

/* A result that no message can carry becomes one that says so. */
static struct result *sendable(struct result *result)
{
    char text[160];
    if (result->bytes <= WIRE_MESSAGE_MAX && spec_bytes(result) <= SPEC_MAX &&
        frames_of(result) <= WIRE_FRAMES_MAX)
        return result;
    snprintf(text, sizeof text,
             "the outputs take %" PRIu64 " bytes in %zu frames; a message carries %d in %d: "
             "send fewer rows at once",
             result->bytes, frames_of(result), WIRE_MESSAGE_MAX, WIRE_FRAMES_MAX);
    result_unref(result);
    return result_failed(STATUS_TOO_LARGE, text);
}

void agent_results_add(struct agent *self, struct task *task, struct result *result)
{
    task->result = sendable(result);
    if (!tasks_step(self->tasks, task, TASK_ANSWER)) {
        task_free(task); /* revoked while the runner had it */
        return;
    }
    task->model = NULL;
    task->held_ns = self->now_ns;
    task->pause_ns = RESEND_FIRST_NS;
    task->to_send = true;
    TAILQ_INSERT_TAIL(&self->answered, &task->item, link);
}

void agent_results_drop(struct agent *self, struct task *task)
{
    enum task_state state = task->state;
    if (state == TASK_HELD)
        TAILQ_REMOVE(task->to_send ? &self->answered : &self->held, &task->item, link);
    else if (state != TASK_RUNNING)
        agent_work_unqueue(task);
    tasks_step(self->tasks, task, TASK_DROP);
    if (state != TASK_RUNNING)
        task_free(task); /* else the harvest does */
}

void agent_results_again(struct agent *self, struct task *task)
{
    if (task->to_send)
        return;
    TAILQ_REMOVE(&self->held, &task->item, link);
    TAILQ_INSERT_TAIL(&self->answered, &task->item, link);
    task->to_send = true;
}

void agent_results_all_again(struct agent *self, uint32_t broker)
{
    struct batch_item *item, *next;
    for (item = TAILQ_FIRST(&self->held); item; item = next) {
        struct task *task = task_of(item);
        next = TAILQ_NEXT(item, link);
        bool lost = task->sent_via == broker || task->sent_via == NO_BROKER ||
                    !upstream_up(self->upstreams[task->sent_via]);
        if (lost)
            agent_results_again(self, task);
    }
}

/* --- sending ---------------------------------------------------------------------------------- */
static void put_task(struct wire_out *out, struct task *task)
{
    struct result *result = task->result;
    wire_map_open(out);
    wire_put_u64(out, KEY_TASK, task->number);
    wire_put_u64(out, KEY_STATUS, result->status);
    if (result->text[0])
        wire_put_text(out, KEY_TEXT, result->text);
    wire_put_u64(out, KEY_ATTEMPT, MIN(task->attempt, 1000u));
    wire_put_u64(out, KEY_ROWS, result->rows);
    wire_put_u64(out, KEY_FLAGS, task->again ? WIRE_FLAG_AGAIN : 0);
    wire_put_u64(out, KEY_FRAMES, frames_of(result));
    wire_put_u64(out, KEY_COMPUTE_NS, result->compute_ns);
    wire_put_u64(out, KEY_QUEUE_NS, result->queue_ns);
    wire_put_u64(out, KEY_BYTES, result->bytes);
    if (result->row != UINT64_MAX)
        wire_put_u64(out, KEY_ROW, result->row);
    if (result->has_digest)
        wire_put_digest(out, KEY_DIGEST, &result->digest);
    if (result->status == STATUS_OK)
        wire_put_spec(out, result->outputs, result->outputs_len);
    wire_map_close(out);
}

static void put_bodies(struct wire_out *out, struct result *result)
{
    for (uint32_t i = 0; i < result->outputs_len; i++) {
        const struct tensor *output = &result->outputs[i];
        if (output->bytes < BORROW_MIN) {
            wire_body_bytes(out, output->data, output->bytes);
        } else {
            atomic_fetch_add(&result->refs, 1);
            wire_body_borrow(out, output->data, output->bytes, result_unref, result);
        }
    }
}

/* How far one message goes. */
struct load {
    size_t tasks;
    size_t frames;
    size_t map;
    uint64_t bytes;
};

/* Whether the result still fits; counts it then. */
static bool fits(struct load *load, const struct result *result)
{
    struct load more = {
        .tasks = load->tasks + 1,
        .frames = load->frames + frames_of(result),
        .map = load->map + TASK_MAP_BYTES + strlen(result->text) + spec_bytes(result),
        .bytes = load->bytes + result->bytes,
    };
    if (load->tasks > 0 && (more.tasks > WIRE_TASKS_MAX || more.frames > WIRE_FRAMES_MAX ||
                            more.map > MAP_MAX || more.bytes > WIRE_MESSAGE_MAX))
        return false;
    *load = more;
    return true;
}

/* The first time the way that the task came; then, since its gateway may not be there, each time
 * another one. */
static struct upstream *way_of(struct agent *self, const struct task *task)
{
    return agent_reach(self, task->via, task->sends);
}

/* The next results of one gateway and model in one message; they move on to `held`. False when
 * nobody takes them. */
static bool send_some(struct agent *self)
{
    struct task *batch[WIRE_TASKS_MAX];
    size_t count = 0;
    struct load load = {0};
    struct batch_item *item;
    const struct task *first = task_of(TAILQ_FIRST(&self->answered));
    struct upstream *way = way_of(self, first);
    if (!way)
        return false;
    wire_begin(self->out, WIRE_RESULT);
    wire_put_uuid(self->out, KEY_GATEWAY, &first->gateway);
    wire_put_uuid(self->out, KEY_WORKER, &self->uuid);
    wire_put_digest(self->out, KEY_MODEL, &first->version);
    wire_put_text(self->out, KEY_MODE, self->mode);
    wire_list_open(self->out, KEY_TASKS);
    while ((item = TAILQ_FIRST(&self->answered))) {
        struct task *task = task_of(item);
        if (!id_equal(&task->gateway, &first->gateway) ||
            !digest_equal(&task->version, &first->version) || way_of(self, task) != way ||
            !fits(&load, task->result))
            break;
        put_task(self->out, task);
        TAILQ_REMOVE(&self->answered, item, link);
        TAILQ_INSERT_TAIL(&self->held, item, link);
        task->to_send = false;
        task->sent_via = way->index;
        task->sends++;
        task->resend_ns = self->now_ns + task->pause_ns;
        task->pause_ns = MIN(2 * task->pause_ns, RESEND_MAX_NS);
        batch[count++] = task;
    }
    wire_list_close(self->out);
    for (size_t i = 0; i < count; i++)
        put_bodies(self->out, batch[i]->result);
    return link_send(way->link, self->out) == STATUS_OK;
}

/* Results that nobody acknowledged: again, or, after too long, no more. */
static void look_at_held(struct agent *self)
{
    struct batch_item *item, *next;
    uint64_t keep_ns = self->params->result_keep_ms * NS_PER_MS;
    uint64_t dropped = 0;
    for (item = TAILQ_FIRST(&self->held); item; item = next) {
        struct task *task = task_of(item);
        next = TAILQ_NEXT(item, link);
        if (self->now_ns > task->held_ns + keep_ns) {
            agent_results_drop(self, task);
            dropped++;
        } else if (self->now_ns >= task->resend_ns && agent_reach(self, NO_BROKER, 0)) {
            agent_results_again(self, task);
        }
    }
    if (dropped > 0)
        LOG_WARN("results_dropped", "results=%" PRIu64 " reason=%s keep_ms=%u", dropped,
                 "never acknowledged", self->params->result_keep_ms);
}

void agent_results_flush(struct agent *self)
{
    if (self->now_ns >= self->resend_ns) {
        look_at_held(self);
        self->resend_ns = self->now_ns + LOOK_NS;
    }
    for (int i = 0; i < MESSAGES_MAX && !TAILQ_EMPTY(&self->answered); i++)
        if (!send_some(self))
            return; /* they are HELD: sent again when due */
}

uint64_t agent_results_next_ns(struct agent *self)
{
    if (!TAILQ_EMPTY(&self->answered) && agent_reach(self, NO_BROKER, 0))
        return 0;
    return TAILQ_EMPTY(&self->held) ? UINT64_MAX : self->resend_ns;
}
