/* runner_child - the process that computes: takes batches from the ring until it is killed
 *
 * It has no socket and no log of its own; what is to be told goes back through the ring. A model
 * that crashes it costs this process and nothing else. */
#include "worker/runner.h"

#include "worker/runner_batch.h"
#include "worker/runner_models.h"
#include "worker/runner_train.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

enum { ARG_MEMORY = 2, ARG_BELL, ARG_PARENT, ARG_ISA, ARG_THREADS, ARG_BYTES, ARGS };

struct child {
    struct ring *ring; /* shared with the agent */
    struct runner_models *models;
    struct runner_scratch scratch;
    struct runner_train *train;
    struct model *model; /* of the batch being computed */
};

/* A terminal's Ctrl-C and a service manager's SIGTERM reach the whole group: the agent decides when
 * its runner ends, so that a drain can finish what runs. */
static void follow_the_agent(pid_t parent)
{
    signal(SIGINT, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prctl(PR_SET_NAME, "convoy-runner");
    if (getppid() != parent)
        _exit(0); /* it died before the line above */
}

static enum status run_model(void *model, const struct tensor *inputs, uint32_t inputs_len,
                             struct tensor *outputs, struct error *why)
{
    return model_run(model, inputs, inputs_len, outputs, why);
}

static void compute(struct child *self, struct ring_batch *batch)
{
    uint32_t axes[RING_VALUES_MAX];
    const struct signature *signature = model_signature(self->model);
    struct runner_model model = {.model = self->model,
                                 .run = run_model,
                                 .outputs_len = signature->outputs_len,
                                 .axes = axes};
    for (uint32_t i = 0; i < signature->outputs_len && i < RING_VALUES_MAX; i++)
        axes[i] = i < batch->axes_len ? batch->axes[i] : signature->output_batch_axis[i];
    runner_batch(batch, &model, &self->scratch);
}

/* The answer to RING_LOAD: the signature as the only output of the only task. */
static void tell_signature(struct child *self, struct ring_batch *batch)
{
    char *text = runner_signature(self->model);
    size_t size = strlen(text);
    struct ring_task *task = ring_at(batch, batch->tasks_at, 1, sizeof *task);
    struct tensor json = {.name = "signature",
                          .dtype = DTYPE_UINT8,
                          .rank = 1,
                          .dims = {(int64_t)size},
                          .bytes = size};
    task->outputs_at = ring_take(batch, sizeof(struct ring_value));
    struct ring_value *value = ring_at(batch, task->outputs_at, 1, sizeof *value);
    bool fits = value && ring_describe(batch, value, &json);
    if (fits) {
        value->bytes = size;
        value->data_at = ring_take(batch, size);
        fits = value->data_at != 0;
    }
    if (fits) {
        memcpy((uint8_t *)batch + value->data_at, text, size);
        task->outputs_len = 1;
        task->bytes = size;
    } else {
        runner_batch_fail(batch, STATUS_TOO_LARGE, "the model's signature is too long");
    }
    free(text);
}

static void serve(struct child *self)
{
    struct ring_batch *batch = ring_wait(self->ring);
    struct error why = {0};
    const uint32_t *stop = ring_stop_flag(self->ring);
    enum status status = STATUS_OK;
    if (__atomic_load_n(stop, __ATOMIC_RELAXED))
        status = fail(&why, STATUS_CANCELLED, "stopped before it began");
    if (status == STATUS_OK && batch->kind != RING_TRAIN)
        status = runner_models_get(self->models, &batch->model, ring_text(batch, batch->path_at),
                                   &self->model, &batch->load, &why);
    if (status != STATUS_OK) {
        runner_batch_fail(batch, status, why.text);
    } else if (batch->kind == RING_LOAD) {
        tell_signature(self, batch);
    } else if (batch->kind == RING_TRAIN) {
        runner_train(self->train, batch);
    } else {
        model_stop_flag(self->model, stop);
        compute(self, batch);
        model_stop_flag(self->model, NULL);
    }
    ring_complete(self->ring);
}

int runner_main(int argc, char **argv)
{
    struct child self = {0};
    struct error why = {0};
    if (argc != ARGS) {
        fprintf(stderr, "%s: %s is for convoy-worker itself\n", argv[0], RUNNER_ARGUMENT);
        return 64;
    }
    follow_the_agent((pid_t)strtol(argv[ARG_PARENT], NULL, 10));
    if (ring_attach(&self.ring, (int)strtol(argv[ARG_MEMORY], NULL, 10),
                    (int)strtol(argv[ARG_BELL], NULL, 10), &why) != STATUS_OK) {
        fprintf(stderr, "%s: %s\n", argv[0], why.text);
        return 70;
    }
    uint32_t threads = (uint32_t)strtoul(argv[ARG_THREADS], NULL, 10);
    if (engine_start(argv[ARG_ISA], threads, &why) != STATUS_OK) {
        ring_refuse(self.ring, why.text);
        return 78;
    }
    self.models =
        runner_models_new(strtoull(argv[ARG_BYTES], NULL, 10), ring_tick_counter(self.ring));
    self.train = runner_train_new(self.ring);
    ring_ready(self.ring, engine_mode(), engine_threads());
    for (;;)
        serve(&self);
}
