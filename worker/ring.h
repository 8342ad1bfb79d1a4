/* ring - batches on their way to the runner and back, in memory that agent and runner share
 *
 * One memfd: a control block, then RING_SLOTS slots of RING_SLOT_BYTES. It is sparse: memory is
 * taken as it is touched and most of it given back when a slot is used again, so a slot needs no
 * growing. Batches go first in, first out; batch number n lives in slot n % RING_SLOTS.
 *
 *   agent:  ring_next -> fill -> ring_submit               ring_finished -> read -> ring_release
 *   runner:                       ring_wait -> compute -> ring_complete
 *
 * A slot belongs to the agent, then to the runner between submit and complete, then to the agent.
 * The runner sleeps on a futex after a short spin; the agent hears of completions through an
 * eventfd. The agent trusts nothing that it reads back: a runner may have gone wild before it died,
 * so every offset goes through ring_at(). One thread on each side. */
#ifndef CONVOY_WORKER_RING_H
#define CONVOY_WORKER_RING_H

#include "common/digest.h"
#include "common/status.h"
#include "common/tensor.h"

#define RING_SLOTS      4u                    /* one computed, one next, two being filled or read */
#define RING_SLOT_BYTES ((uint64_t)256 * MIB) /* two messages' bodies, twice */
#define RING_KEEP_BYTES ((uint64_t)16 * MIB)  /* memory that an idle slot keeps */
#define RING_TASKS_MAX  256                   /* tasks in one batch */
#define RING_VALUES_MAX 64                    /* inputs or outputs of one model */
#define RING_MODELS_MAX 64                    /* loaded at the same time */

enum ring_kind {
    RING_RUN = 1,   /* compute the tasks */
    RING_LOAD = 2,  /* load the model; task 0's only output is the signature as JSON */
    RING_TRAIN = 3, /* compute a segment of a training; one task, see runner_train.h */
};

enum ring_state { RING_STARTING, RING_READY, RING_REFUSED };

/* A tensor of a batch; places are octets from the slot's start, 0: nowhere. */
struct ring_value {
    uint64_t name_at; /* text ended by NUL */
    uint64_t data_at; /* on a TENSOR_ALIGN boundary; anything when bytes is 0 */
    uint64_t bytes;   /* of data */
    uint32_t dtype;   /* enum dtype */
    uint32_t rank;
    int64_t dims[TENSOR_RANK_MAX]; /* outermost first */
};

struct ring_task {
    uint64_t rows;        /* agent: rows that follow those of the tasks before it */
    uint64_t outputs_at;  /* runner: struct ring_value[outputs_len] */
    uint64_t text_at;     /* runner: why it failed, ended by NUL */
    uint64_t bytes;       /* runner: octets of all outputs */
    uint64_t compute_ns;  /* runner: this task's share of the kernels' time */
    uint32_t outputs_len; /* runner */
    uint32_t status;      /* runner: enum status */
    uint8_t digest[32];   /* runner: BLAKE2b-256 over the output octets in order */
};

/* What it took to have the batch's model in memory. */
struct ring_load {
    uint64_t load_ns;     /* 0: it was there */
    uint32_t resident;    /* 1: it is there now */
    uint32_t evicted_len; /* versions that went to make room */
    struct digest evicted[RING_MODELS_MAX];
};

/* The first octets of a slot. */
struct ring_batch {
    uint32_t kind;       /* enum ring_kind */
    uint32_t batchable;  /* inputs hold the rows of all tasks on axis 0; 0: one task, as it is */
    uint32_t rows_max;   /* rows computed at once; larger batches are cut */
    uint32_t tasks_len;  /* 1..RING_TASKS_MAX */
    uint32_t inputs_len; /* 0..RING_VALUES_MAX */
    uint32_t axes_len;   /* output axes said by the model's config; 0: the engine knows */
    uint32_t axes[RING_VALUES_MAX]; /* axis of each output that holds the rows */
    uint64_t tasks_at;              /* struct ring_task[tasks_len] */
    uint64_t inputs_at;             /* struct ring_value[inputs_len] */
    uint64_t path_at;               /* the model's file, a program's folder; ended by NUL */
    uint64_t settings_at;           /* RING_TRAIN: the program's settings, JSON ended by NUL */
    uint64_t used;                  /* first free octet of the slot */
    uint64_t small_from;            /* agent: rows from here on ... */
    uint64_t small_end;             /* ... to here are computed ... */
    uint64_t small_rows;            /* ... so many at once: a runner died there; 0: none */
    uint64_t doing_from;            /* runner: rows from here on ... */
    uint64_t doing_end;             /* ... to here are being computed; equal: none yet */
    struct digest model;            /* the version */
    struct ring_load load;          /* runner */
};

/* How far the segment of a training is that the runner computes. */
struct ring_progress {
    uint64_t step, steps, epoch, epochs, rows;
    double loss, accuracy, rows_s; /* accuracy is negative where there is none */
};

struct ring;

/* Agent: make memory and doorbell. IO when the system gives none. */
enum status ring_create(struct ring **out, struct error *why);
/* Runner: take both over from descriptors; INVALID when they are not of this program's making. */
enum status ring_attach(struct ring **out, int memory_fd, int bell_fd, struct error *why);
/* Unmap and close; *self_p becomes NULL. NULL inside is fine. */
void ring_destroy(struct ring **self_p);

int ring_memory_fd(const struct ring *self);
int ring_bell_fd(const struct ring *self); /* agent: readable after a completion */

/* --- the agent's side ------------------------------------------------------------------------ */
/* Empty the ring for a new runner. The old one must be gone. */
void ring_reset(struct ring *self);
/* The slot to fill, cleared, or NULL while all are in use. */
struct ring_batch *ring_next(struct ring *self);
/* Hand the slot of the last ring_next over; returns the batch's number. */
uint32_t ring_submit(struct ring *self);
/* Batches submitted and not released. */
uint32_t ring_depth(const struct ring *self);
/* Batches submitted and not completed. */
uint32_t ring_pending(const struct ring *self);
/* The oldest batch if it is completed, else NULL. Clears the bell when nothing is left. */
struct ring_batch *ring_finished(struct ring *self);
void ring_release(struct ring *self);
/* The oldest batch that is not released, done or not: to look at what a dead runner left. */
struct ring_batch *ring_front(struct ring *self);
/* Number of the oldest batch that is not released. */
uint32_t ring_oldest(const struct ring *self);
/* Batches that the runner has begun, ever; equal to completions while it is idle. */
uint32_t ring_begun(const struct ring *self);
uint32_t ring_completed(const struct ring *self);
/* Ask the runner to leave batch `number` at its next operator, or not to begin it. */
void ring_stop(struct ring *self, uint32_t number);
/* What the runner said at its start; `threads` and `mode` once READY, `why` once REFUSED. */
enum ring_state ring_state(const struct ring *self);
uint32_t ring_threads(const struct ring *self);
char *ring_mode(const struct ring *self, char *into, size_t size);
char *ring_refusal(const struct ring *self, char *into, size_t size);
/* Operators started since ring_reset. */
uint64_t ring_ticks(const struct ring *self);
/* What ring_tell said last; false when that is nothing new, or is being written right now. */
bool ring_told(struct ring *self, struct ring_progress *progress);

/* --- the runner's side ----------------------------------------------------------------------- */
void ring_ready(struct ring *self, const char *mode, uint32_t threads);
void ring_refuse(struct ring *self, const char *text);
/* Wait for the next batch; it counts as begun. */
struct ring_batch *ring_wait(struct ring *self);
void ring_complete(struct ring *self);
/* The words that the engine reads and writes while it computes the batch begun last. */
const uint32_t *ring_stop_flag(const struct ring *self);
uint64_t *ring_tick_counter(struct ring *self);
void ring_tell(struct ring *self, const struct ring_progress *progress);

/* --- both: memory inside a slot --------------------------------------------------------------- */
/* Take `bytes` on a TENSOR_ALIGN boundary from the owned slot; its place, or 0 when it is full.
 * The memory is not cleared. */
uint64_t ring_take(struct ring_batch *batch, uint64_t bytes);
/* Which rows the runner was computing when it died, inside [0, rows); equal: none. */
struct ring_rows {
    uint64_t from, end;
};
struct ring_rows ring_doing(const struct ring_batch *batch, uint64_t rows);
/* Runner: say which rows are computed from now on. */
void ring_do(struct ring_batch *batch, uint64_t from, uint64_t end);
/* Copy a text in, ended by NUL; 0 when the slot is full. */
uint64_t ring_take_text(struct ring_batch *batch, const char *text);
/* Where `count` elements of `bytes` octets at `place` are; NULL unless all lie inside the slot. */
void *ring_at(struct ring_batch *batch, uint64_t place, uint64_t count, uint64_t bytes);
/* The text there, "" for place 0, for one without an end or outside the slot. */
const char *ring_text(struct ring_batch *batch, uint64_t place);
/* Append a tensor's description; data_at and bytes are the caller's to set. False: slot full. */
bool ring_describe(struct ring_batch *batch, struct ring_value *value, const struct tensor *tensor);
/* View a value as a tensor. False unless its type, shape, size, name and place fit each other. */
bool ring_tensor(struct ring_batch *batch, const struct ring_value *value, struct tensor *tensor);

#endif
