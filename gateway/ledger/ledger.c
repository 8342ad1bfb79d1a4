#include "gateway/ledger/ledger.h"
#include "common/clock.h"
#include "common/file.h"
#include "common/log.h"
#include "gateway/ledger/store.h"

#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* After STORAGE_FULL, how often we try to take the reserve back. */
#define RESERVE_RETRY_MS 500
/* Exit status of a process whose disk failed: EX_IOERR of sysexits.h. */
#define EXIT_DISK 74
/* Named text that holds the epoch of whoever owns the ledger. */
#define EPOCH_NAME "ledger/epoch"

struct edit {
    enum ledger_table table; /* where */
    bool put;                /* or remove */
    void *record;            /* owned copy; for remove only its keys count */
};

struct ledger_change {
    struct edit *edits;         /* in the order given */
    size_t len, room;           /* used and allocated */
    ledger_done *done;          /* NULL: nobody waits */
    void *arg;                  /* for done */
    struct ledger *ledger;      /* once handed over */
    enum status status;         /* once decided */
    struct error why;           /* when status is not OK */
    struct ledger_change *next; /* in a queue */
};

struct queue {
    struct ledger_change *head, *tail; /* FIFO */
};

struct ledger {
    struct ledger_config config; /* its folder is ours */
    struct store *store;         /* used by the thread; by the opener before it starts */
    char *reserve_path;          /* the reserve file's name */
    pthread_t thread;            /* commits */
    bool running;                /* the thread was started */
    pthread_mutex_t mutex;       /* guards what follows */
    pthread_cond_t work;         /* something waits, or ending */
    pthread_cond_t idle;         /* nothing waits and nothing is being committed */
    struct queue waiting;        /* changes to commit */
    struct queue done;           /* only without post: completions to call */
    bool busy;                   /* the thread commits */
    bool ending;                 /* finish and leave */
    atomic_bool full;            /* the reserve is given up */
    atomic_ullong transactions;  /* committed */
    atomic_ullong changes;       /* in them */
    uint64_t retry_ns;           /* thread only: when to try for the reserve again */
};

static void queue_put(struct queue *self, struct ledger_change *change)
{
    change->next = NULL;
    if (self->tail)
        self->tail->next = change;
    else
        self->head = change;
    self->tail = change;
}

static struct ledger_change *queue_take(struct queue *self)
{
    struct ledger_change *change = self->head;
    if (change) {
        self->head = change->next;
        if (!self->head)
            self->tail = NULL;
    }
    return change;
}

/* --- changes ---------------------------------------------------------------------------------- */
struct ledger_change *ledger_change_new(void)
{
    return xcalloc(1, sizeof(struct ledger_change));
}

void ledger_change_destroy(struct ledger_change **self_p)
{
    struct ledger_change *self = *self_p;
    if (!self)
        return;
    for (size_t i = 0; i < self->len; i++)
        ledger_record_destroy(self->edits[i].table, &self->edits[i].record);
    free(self->edits);
    free(self);
    *self_p = NULL;
}

static void add_edit(struct ledger_change *self, enum ledger_table table, bool put,
                     const void *record)
{
    if (self->len == self->room) {
        self->room = self->room ? 2 * self->room : 4;
        self->edits = xrealloc(self->edits, self->room * sizeof(*self->edits));
    }
    self->edits[self->len++] = (struct edit){table, put, ledger_record_copy(table, record)};
}

void ledger_put(struct ledger_change *self, enum ledger_table table, const void *record)
{
    add_edit(self, table, true, record);
}

void ledger_remove(struct ledger_change *self, enum ledger_table table, const void *record)
{
    add_edit(self, table, false, record);
}

void ledger_put_meta(struct ledger_change *self, const char *name, const char *value)
{
    char *name_copy = xstrdup(name), *value_copy = xstrdup(value);
    struct ledger_meta record = {.name = name_copy, .value = value_copy};
    ledger_put(self, LEDGER_meta, &record);
    ledger_record_clear(LEDGER_meta, &record);
}

/* --- the reserve ------------------------------------------------------------------------------ */
static enum status reserve_take(struct ledger *self)
{
    if (self->config.reserve_bytes == 0)
        return STATUS_OK;
    int fd = open(self->reserve_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return STATUS_STORAGE_FULL;
    int code = posix_fallocate(fd, 0, (off_t)self->config.reserve_bytes);
    close(fd);
    if (code == 0)
        return STATUS_OK;
    unlink(self->reserve_path);
    return STATUS_STORAGE_FULL;
}

static void reserve_release(struct ledger *self)
{
    if (!atomic_exchange(&self->full, true))
        LOG_ERROR("storage_full", "folder=%s action=%s", self->config.folder,
                  "release the reserve, refuse new jobs until there is room");
    unlink(self->reserve_path);
    self->retry_ns = clock_mono_ns() + RESERVE_RETRY_MS * NS_PER_MS;
}

static void reserve_retry(struct ledger *self)
{
    if (!atomic_load(&self->full) || clock_mono_ns() < self->retry_ns)
        return;
    self->retry_ns = clock_mono_ns() + RESERVE_RETRY_MS * NS_PER_MS;
    if (reserve_take(self) == STATUS_OK) {
        atomic_store(&self->full, false);
        LOG_INFO("storage_free", "folder=%s", self->config.folder);
    }
}

/* --- the thread ------------------------------------------------------------------------------- */
_Noreturn static void die(const struct error *why)
{
    LOG_ERROR("ledger_failed", "why=%s action=%s", why->text,
              "end now with nothing acknowledged; the next start reads what was committed");
    log_flush();
    _exit(EXIT_DISK);
}

/* Another gateway that opened this ledger after us has raised the incarnation: we own nothing. */
static enum status check_epoch(struct ledger *self, struct error *why)
{
    char *text = NULL;
    enum status status = store_meta(self->store, EPOCH_NAME, &text, why);
    if (status == STATUS_OK && strtoull(text, NULL, 10) != self->config.epoch)
        status = fail(why, STATUS_CONFLICT,
                      "ledger in %s: its epoch is %s, ours is %" PRIu64
                      ": another gateway has taken it over",
                      self->config.folder, text, self->config.epoch);
    free(text);
    return status;
}

static void stamp(struct ledger *self, struct edit *edit)
{
    const struct ledger_layout *layout = ledger_layout(edit->table);
    for (size_t i = 0; i < layout->columns_len; i++) {
        char *field = (char *)edit->record + layout->columns[i].offset;
        if (layout->columns[i].type == LEDGER_OWNER)
            memcpy(field, &self->config.gateway, sizeof(self->config.gateway));
        else if (layout->columns[i].type == LEDGER_EPOCH)
            *(int64_t *)(void *)field = (int64_t)self->config.epoch;
    }
}

static enum status apply(struct ledger *self, struct ledger_change *change, struct error *why)
{
    enum status status = STATUS_OK;
    for (size_t i = 0; i < change->len && status == STATUS_OK; i++) {
        struct edit *edit = &change->edits[i];
        stamp(self, edit);
        status = edit->put ? store_put(self->store, edit->table, edit->record, why)
                           : store_remove(self->store, edit->table, edit->record, why);
    }
    return status;
}

/* Commit the changes from `first` up to `end` (not included) as one transaction. */
static enum status transact(struct ledger *self, struct ledger_change *first,
                            struct ledger_change *end, struct error *why)
{
    enum status status = store_begin(self->store, why);
    if (status == STATUS_OK)
        status = check_epoch(self, why);
    unsigned long long count = 0;
    for (struct ledger_change *c = first; c != end && status == STATUS_OK; c = c->next, count++)
        status = apply(self, c, why);
    if (status == STATUS_OK)
        status = store_commit(self->store, why);
    if (status == STATUS_OK) {
        atomic_fetch_add(&self->transactions, 1);
        atomic_fetch_add(&self->changes, count);
        return status;
    }
    store_rollback(self->store);
    if (status != STATUS_STORAGE_FULL)
        die(why);
    return status;
}

/* When the disk is full for all of them it may still take them one by one from the reserve. */
static void transact_singly(struct ledger *self, struct ledger_change *first)
{
    reserve_release(self);
    for (struct ledger_change *c = first; c; c = c->next)
        c->status = transact(self, c, c->next, &c->why);
}

static void call_done(void *arg)
{
    struct ledger_change *change = arg;
    if (change->done)
        change->done(change->arg, change->status, &change->why);
    ledger_change_destroy(&change);
}

static void complete(struct ledger *self, struct ledger_change *first)
{
    while (first) {
        struct ledger_change *change = first;
        first = change->next;
        if (self->config.post) {
            self->config.post(self->config.context, call_done, change);
            continue;
        }
        pthread_mutex_lock(&self->mutex);
        queue_put(&self->done, change);
        pthread_mutex_unlock(&self->mutex);
    }
}

/* Wait for changes, with the lock held; while the reserve is missed, not for long. */
static void wait_for_work(struct ledger *self)
{
    if (!atomic_load(&self->full)) {
        pthread_cond_wait(&self->work, &self->mutex);
        return;
    }
    struct timespec until = {.tv_sec = (time_t)(self->retry_ns / NS_PER_S),
                             .tv_nsec = (long)(self->retry_ns % NS_PER_S)};
    pthread_cond_timedwait(&self->work, &self->mutex, &until);
    reserve_retry(self);
}

static void *ledger_thread(void *arg)
{
    struct ledger *self = arg;
    pthread_mutex_lock(&self->mutex);
    for (;;) {
        while (!self->waiting.head && !self->ending)
            wait_for_work(self);
        struct ledger_change *first = self->waiting.head;
        if (!first)
            break;
        self->waiting = (struct queue){NULL, NULL};
        self->busy = true;
        pthread_mutex_unlock(&self->mutex);

        struct error why = {.status = STATUS_OK};
        if (transact(self, first, NULL, &why) == STATUS_STORAGE_FULL)
            transact_singly(self, first);
        complete(self, first);

        pthread_mutex_lock(&self->mutex);
        self->busy = false;
        if (!self->waiting.head)
            pthread_cond_broadcast(&self->idle);
    }
    pthread_mutex_unlock(&self->mutex);
    return NULL;
}

void ledger_commit(struct ledger *self, struct ledger_change **change_p, ledger_done *done,
                   void *arg)
{
    struct ledger_change *change = *change_p;
    *change_p = NULL;
    change->ledger = self;
    change->done = done;
    change->arg = arg;
    pthread_mutex_lock(&self->mutex);
    assert(!self->ending);
    queue_put(&self->waiting, change);
    pthread_cond_signal(&self->work);
    pthread_mutex_unlock(&self->mutex);
}

void ledger_run_done(struct ledger *self)
{
    assert(!self->config.post);
    pthread_mutex_lock(&self->mutex);
    while (self->waiting.head || self->busy)
        pthread_cond_wait(&self->idle, &self->mutex);
    struct ledger_change *change = NULL;
    while ((change = queue_take(&self->done))) {
        pthread_mutex_unlock(&self->mutex);
        call_done(change);
        pthread_mutex_lock(&self->mutex);
    }
    pthread_mutex_unlock(&self->mutex);
}

/* --- life ------------------------------------------------------------------------------------- */
/* From now on what an older life of this gateway still wants to commit is refused. */
static enum status raise_epoch(struct ledger *self, struct error *why)
{
    char *held = NULL;
    enum status status = store_begin(self->store, why);
    if (status == STATUS_OK)
        status = store_meta(self->store, EPOCH_NAME, &held, why);
    if (status == STATUS_OK && strtoull(held, NULL, 10) > self->config.epoch)
        status = fail(why, STATUS_CONFLICT,
                      "ledger in %s: its epoch is %s, ours is %" PRIu64
                      ": another gateway has taken it over",
                      self->config.folder, held, self->config.epoch);
    if (status == STATUS_OK) {
        char name[] = EPOCH_NAME, text[32];
        snprintf(text, sizeof(text), "%" PRIu64, self->config.epoch);
        struct ledger_meta record = {.name = name, .value = text};
        status = store_put(self->store, LEDGER_meta, &record, why);
    }
    if (status == STATUS_OK)
        status = store_commit(self->store, why);
    else
        store_rollback(self->store);
    free(held);
    return status;
}

enum status ledger_open(struct ledger **out, const struct ledger_config *config, struct error *why)
{
    struct ledger *self = xcalloc(1, sizeof(*self));
    self->config = *config;
    self->config.folder = xstrdup(config->folder);
    self->reserve_path = xasprintf("%s/reserve", config->folder);
    pthread_mutex_init(&self->mutex, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&self->work, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_cond_init(&self->idle, NULL);
    char *path = xasprintf("%s/ledger.sqlite", config->folder);
    enum status status = file_mkdirs(config->folder, why);
    if (status == STATUS_OK)
        status = store_open(&self->store, path, config->bytes_max, why);
    if (status == STATUS_OK)
        status = raise_epoch(self, why);
    if (status == STATUS_OK) /* SQLite does it, too, and does not look whether it failed */
        status = file_sync_folder_of(path, why);
    free(path);
    if (status == STATUS_OK) {
        if (reserve_take(self) != STATUS_OK)
            reserve_release(self);
        int code = pthread_create(&self->thread, NULL, ledger_thread, self);
        if (code != 0)
            panic("cannot start the ledger's thread: %s", strerror(code));
        self->running = true;
    } else {
        ledger_close(&self);
    }
    *out = self;
    return status;
}

void ledger_close(struct ledger **self_p)
{
    struct ledger *self = *self_p;
    if (!self)
        return;
    if (self->running) {
        pthread_mutex_lock(&self->mutex);
        self->ending = true;
        pthread_cond_signal(&self->work);
        pthread_mutex_unlock(&self->mutex);
        pthread_join(self->thread, NULL);
    }
    struct ledger_change *change = NULL;
    while ((change = queue_take(&self->done)))
        ledger_change_destroy(&change);
    store_close(&self->store);
    pthread_mutex_destroy(&self->mutex);
    pthread_cond_destroy(&self->work);
    pthread_cond_destroy(&self->idle);
    free((char *)self->config.folder);
    free(self->reserve_path);
    free(self);
    *self_p = NULL;
}

bool ledger_full(const struct ledger *self)
{
    return atomic_load(&self->full);
}

enum status ledger_load(struct ledger *self, enum ledger_table table, bool open_only,
                        ledger_each *each, void *context, struct error *why)
{
    return store_each(self->store, table, open_only, each, context, why);
}

enum status ledger_meta(struct ledger *self, const char *name, char **value, struct error *why)
{
    return store_meta(self->store, name, value, why);
}

void ledger_counters(const struct ledger *self, uint64_t *transactions, uint64_t *changes)
{
    *transactions = atomic_load(&self->transactions);
    *changes = atomic_load(&self->changes);
}
