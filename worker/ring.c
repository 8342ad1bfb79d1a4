/* ring - see ring.h; the memory layout and the two doorbells */
#include "worker/ring.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define RING_MAGIC    0x52563143u /* "C1VR" */
#define CONTROL_BYTES ((uint64_t)4096)
#define RING_BYTES    (CONTROL_BYTES + RING_SLOTS * RING_SLOT_BYTES)
/* About 20 us on a 3 GHz core: a little more than a futex wake-up costs. */
#define SPINS_MAX 500

/* Words that both sides touch while the other may run: only through __atomic. */
struct control {
    uint32_t magic;            /* RING_MAGIC: memory of this program's making */
    uint32_t submitted;        /* agent: batches handed over; the runner's futex */
    uint32_t begun;            /* runner: batches begun */
    uint32_t completed;        /* runner: batches done */
    uint32_t asleep;           /* runner: 1 while it waits in the kernel */
    uint32_t state;            /* runner: enum ring_state */
    uint32_t stop[RING_SLOTS]; /* agent: leave this slot's batch */
    uint32_t threads;          /* runner, before READY */
    uint64_t ticks;            /* runner: operators started */
    uint32_t telling;          /* runner: odd while it writes `progress` */
    struct ring_progress progress;
    char mode[64];                /* runner, before READY */
    char refusal[ERROR_TEXT_MAX]; /* runner, before REFUSED */
};

static_assert(sizeof(struct control) <= CONTROL_BYTES, "control block fits its page");
static_assert(sizeof(struct ring_batch) <= CONTROL_BYTES, "a batch's head is small");

struct ring {
    struct control *control; /* start of the shared memory */
    int memory_fd;           /* the memfd */
    int bell_fd;             /* eventfd: runner to agent */
    uint32_t submitted;      /* agent: batches handed over; the runner may spoil the shared one */
    uint32_t released;       /* agent: batches done with */
    uint32_t told;           /* agent: `telling` of what it took last */
};

static uint32_t load(const uint32_t *word)
{
    return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

static void store(uint32_t *word, uint32_t value)
{
    __atomic_store_n(word, value, __ATOMIC_SEQ_CST);
}

static struct ring_batch *slot(const struct ring *self, uint32_t number)
{
    uint64_t index = number % RING_SLOTS;
    return (struct ring_batch *)(void *)((uint8_t *)self->control + CONTROL_BYTES +
                                         index * RING_SLOT_BYTES);
}

static enum status map(struct ring *self, struct error *why)
{
    void *memory = mmap(NULL, RING_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE,
                        self->memory_fd, 0);
    if (memory == MAP_FAILED)
        return fail(why, STATUS_IO, "cannot map %" PRIu64 " bytes of shared memory: %s", RING_BYTES,
                    strerror(errno));
    self->control = memory;
    return STATUS_OK;
}

enum status ring_create(struct ring **out, struct error *why)
{
    struct ring *self = xcalloc(1, sizeof *self);
    enum status status = STATUS_OK;
    self->bell_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    self->memory_fd = memfd_create("convoy-ring", MFD_CLOEXEC);
    if (self->bell_fd < 0 || self->memory_fd < 0 || ftruncate(self->memory_fd, RING_BYTES) != 0)
        status =
            fail(why, STATUS_IO, "cannot make shared memory for the runner: %s", strerror(errno));
    if (status == STATUS_OK)
        status = map(self, why);
    if (status == STATUS_OK)
        ring_reset(self);
    else
        ring_destroy(&self);
    *out = self;
    return status;
}

enum status ring_attach(struct ring **out, int memory_fd, int bell_fd, struct error *why)
{
    struct ring *self = xcalloc(1, sizeof *self);
    struct stat info;
    enum status status = STATUS_OK;
    self->bell_fd = bell_fd;
    self->memory_fd = memory_fd;
    if (fstat(memory_fd, &info) != 0 || (uint64_t)info.st_size != RING_BYTES)
        status = fail(why, STATUS_INVALID, "descriptor %d is no ring of an agent", memory_fd);
    if (status == STATUS_OK)
        status = map(self, why);
    if (status == STATUS_OK && self->control->magic != RING_MAGIC)
        status = fail(why, STATUS_INVALID, "descriptor %d is no ring of this version", memory_fd);
    if (status != STATUS_OK)
        ring_destroy(&self);
    *out = self;
    return status;
}

void ring_destroy(struct ring **self_p)
{
    struct ring *self = *self_p;
    if (!self)
        return;
    if (self->control)
        munmap(self->control, RING_BYTES);
    if (self->memory_fd >= 0)
        close(self->memory_fd);
    if (self->bell_fd >= 0)
        close(self->bell_fd);
    free(self);
    *self_p = NULL;
}

int ring_memory_fd(const struct ring *self)
{
    return self->memory_fd;
}

int ring_bell_fd(const struct ring *self)
{
    return self->bell_fd;
}

/* --- the agent's side ------------------------------------------------------------------------ */
void ring_reset(struct ring *self)
{
    uint64_t rung;
    memset(self->control, 0, sizeof *self->control);
    self->control->magic = RING_MAGIC;
    self->submitted = 0;
    self->released = 0;
    while (read(self->bell_fd, &rung, sizeof rung) > 0)
        ;
}

/* Give back what a large batch touched, so that idle slots stay small. */
static void shrink(struct ring *self, uint32_t number, uint64_t used)
{
    uint64_t start = CONTROL_BYTES + number % RING_SLOTS * RING_SLOT_BYTES + RING_KEEP_BYTES;
    if (used > RING_KEEP_BYTES)
        fallocate(self->memory_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)start,
                  (off_t)(RING_SLOT_BYTES - RING_KEEP_BYTES));
}

struct ring_batch *ring_next(struct ring *self)
{
    uint32_t number = self->submitted;
    if (number - self->released >= RING_SLOTS)
        return NULL;
    struct ring_batch *batch = slot(self, number);
    memset(batch, 0, sizeof *batch);
    batch->used = sizeof *batch;
    store(&self->control->stop[number % RING_SLOTS], 0);
    return batch;
}

static void futex_wake(uint32_t *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0);
}

uint32_t ring_submit(struct ring *self)
{
    uint32_t number = self->submitted++;
    assert(number - self->released < RING_SLOTS);
    store(&self->control->submitted, self->submitted);
    if (__atomic_load_n(&self->control->asleep, __ATOMIC_SEQ_CST))
        futex_wake(&self->control->submitted);
    return number;
}

uint32_t ring_depth(const struct ring *self)
{
    return self->submitted - self->released;
}

uint32_t ring_completed(const struct ring *self)
{
    /* A runner that went wild may have written anything: never more than was submitted. */
    uint32_t ahead = load(&self->control->completed) - self->released;
    return self->released + MIN(ahead, ring_depth(self));
}

uint32_t ring_pending(const struct ring *self)
{
    return self->submitted - ring_completed(self);
}

struct ring_batch *ring_finished(struct ring *self)
{
    uint64_t rung;
    if (ring_completed(self) != self->released)
        return slot(self, self->released);
    /* Clear the bell, then look again: a completion between the two rings once more. */
    if (read(self->bell_fd, &rung, sizeof rung) < 0)
        return NULL;
    return ring_completed(self) != self->released ? slot(self, self->released) : NULL;
}

void ring_release(struct ring *self)
{
    assert(ring_depth(self) > 0);
    shrink(self, self->released, slot(self, self->released)->used);
    self->released++;
}

struct ring_batch *ring_front(struct ring *self)
{
    assert(ring_depth(self) > 0);
    return slot(self, self->released);
}

uint32_t ring_oldest(const struct ring *self)
{
    return self->released;
}

uint32_t ring_begun(const struct ring *self)
{
    uint32_t ahead = load(&self->control->begun) - self->released;
    return self->released + MIN(ahead, ring_depth(self));
}

void ring_stop(struct ring *self, uint32_t number)
{
    assert(number - self->released < RING_SLOTS);
    store(&self->control->stop[number % RING_SLOTS], 1);
}

enum ring_state ring_state(const struct ring *self)
{
    uint32_t state = load(&self->control->state);
    return state == RING_READY || state == RING_REFUSED ? (enum ring_state)state : RING_STARTING;
}

uint32_t ring_threads(const struct ring *self)
{
    return self->control->threads;
}

static char *shared_text(const char *from, size_t from_size, char *into, size_t size)
{
    size_t length = MIN(strnlen(from, from_size), size - 1);
    memcpy(into, from, length);
    into[length] = '\0';
    return into;
}

char *ring_mode(const struct ring *self, char *into, size_t size)
{
    return shared_text(self->control->mode, sizeof self->control->mode, into, size);
}

char *ring_refusal(const struct ring *self, char *into, size_t size)
{
    return shared_text(self->control->refusal, sizeof self->control->refusal, into, size);
}

uint64_t ring_ticks(const struct ring *self)
{
    return __atomic_load_n(&self->control->ticks, __ATOMIC_RELAXED);
}

bool ring_told(struct ring *self, struct ring_progress *progress)
{
    uint32_t before = load(&self->control->telling);
    if (before == self->told || before % 2 == 1)
        return false;
    *progress = self->control->progress;
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    if (load(&self->control->telling) != before)
        return false;
    self->told = before;
    return true;
}

/* --- the runner's side ----------------------------------------------------------------------- */
static void ring_bell(struct ring *self)
{
    uint64_t one = 1;
    /* It can only fail when 2^64 - 2 completions wait: the agent is dead then. */
    if (write(self->bell_fd, &one, sizeof one) < 0 && errno != EAGAIN)
        panic("runner: the agent's bell is gone: %s", strerror(errno));
}

void ring_ready(struct ring *self, const char *mode, uint32_t threads)
{
    text_copy(self->control->mode, sizeof self->control->mode, mode);
    self->control->threads = threads;
    store(&self->control->state, RING_READY);
    ring_bell(self);
}

void ring_refuse(struct ring *self, const char *text)
{
    text_copy(self->control->refusal, sizeof self->control->refusal, text);
    store(&self->control->state, RING_REFUSED);
    ring_bell(self);
}

static void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
}

struct ring_batch *ring_wait(struct ring *self)
{
    struct control *control = self->control;
    uint32_t number = control->begun;
    for (uint32_t spins = 0; load(&control->submitted) == number && spins < SPINS_MAX; spins++)
        relax();
    while (load(&control->submitted) == number) {
        store(&control->asleep, 1);
        if (__atomic_load_n(&control->submitted, __ATOMIC_SEQ_CST) == number)
            syscall(SYS_futex, &control->submitted, FUTEX_WAIT, number, NULL, NULL, 0);
        store(&control->asleep, 0);
    }
    store(&control->begun, number + 1);
    return slot(self, number);
}

void ring_complete(struct ring *self)
{
    store(&self->control->completed, self->control->completed + 1);
    ring_bell(self);
}

const uint32_t *ring_stop_flag(const struct ring *self)
{
    return &self->control->stop[(self->control->begun - 1) % RING_SLOTS];
}

uint64_t *ring_tick_counter(struct ring *self)
{
    return &self->control->ticks;
}

void ring_tell(struct ring *self, const struct ring_progress *progress)
{
    uint32_t before = load(&self->control->telling);
    store(&self->control->telling, before + 1);
    __atomic_thread_fence(__ATOMIC_RELEASE);
    self->control->progress = *progress;
    store(&self->control->telling, before + 2);
}
