/* agent_progress - how far the segment of a training is that the runner computes: told now and then
 *
 * News, not state: what cannot be sent is not kept. */
#include "worker/agent_self.h"

#include "common/clock.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define PROGRESS_NS (250 * NS_PER_MS) /* between two of one task */

/* NULL where the runner has gone wild and a number is none. */
static char *body_of(const struct ring_progress *now)
{
    json_t *root = json_pack("{sI, sI, sI, sI, sI, sf, sf}", "step", (json_int_t)now->step, "steps",
                             (json_int_t)now->steps, "epoch", (json_int_t)now->epoch, "epochs",
                             (json_int_t)now->epochs, "rows", (json_int_t)now->rows, "loss",
                             now->loss, "rows_s", now->rows_s);
    if (root && now->accuracy >= 0)
        json_object_set_new(root, "accuracy", json_real(now->accuracy));
    char *text = root ? json_dumps(root, JSON_COMPACT) : NULL;
    json_decref(root);
    return text;
}

static void send_progress(struct agent *self, const struct task *task,
                          const struct ring_progress *now)
{
    struct upstream *to = agent_reach(self, task->via, 0);
    char *text = to ? body_of(now) : NULL;
    if (!text)
        return;
    wire_begin(self->out, WIRE_PROGRESS);
    wire_put_uuid(self->out, KEY_GATEWAY, &task->gateway);
    wire_put_u64(self->out, KEY_TASK, task->number);
    wire_put_u64(self->out, KEY_DONE_ROWS, now->step);
    wire_body_bytes(self->out, text, strlen(text));
    link_send(to->link, self->out);
    free(text);
}

void agent_progress_step(struct agent *self, const struct flight *flight)
{
    struct ring_progress now;
    if (flight->kind != RING_TRAIN || flight->len != 1 || !flight->begun ||
        self->now_ns < self->progress_ns || flight->tasks[0]->state != TASK_RUNNING)
        return;
    bool news = ring_told(self->ring, &now);
    if (self->progress_of != self->watched) { /* perhaps the last word of the batch before */
        self->progress_of = self->watched;
        news = false;
    }
    if (!news)
        return;
    self->progress_ns = self->now_ns + PROGRESS_NS;
    send_progress(self, flight->tasks[0], &now);
}
