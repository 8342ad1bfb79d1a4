/* pool - a bounded queue of work, a few threads; see pool.h */
#include "gateway/pool.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/queue.h>

struct job {
    STAILQ_ENTRY(job) link;
    void (*work)(void *arg); /* on a thread of the pool */
    void (*done)(void *arg); /* posted to the front; may be NULL */
    void *arg;               /* for both */
};

struct pool {
    struct front *front;        /* where completions go */
    pthread_mutex_t lock;       /* guards the rest */
    pthread_cond_t filled;      /* a job was queued, or the end came */
    STAILQ_HEAD(, job) waiting; /* oldest first */
    size_t waiting_len;         /* how many wait */
    size_t queue_max;           /* refusal point of pool_submit */
    bool ending;                /* finish the queue, then end */
    uint32_t threads_len;       /* how many run */
    pthread_t *threads;         /* joined at the end */
};

static void *thread_main(void *arg)
{
    struct pool *self = arg;
    pthread_mutex_lock(&self->lock);
    for (;;) {
        while (STAILQ_EMPTY(&self->waiting) && !self->ending)
            pthread_cond_wait(&self->filled, &self->lock);
        struct job *job = STAILQ_FIRST(&self->waiting);
        if (!job)
            break;
        STAILQ_REMOVE_HEAD(&self->waiting, link);
        self->waiting_len--;
        pthread_mutex_unlock(&self->lock);
        job->work(job->arg);
        if (job->done)
            front_post(self->front, job->done, job->arg);
        free(job);
        pthread_mutex_lock(&self->lock);
    }
    pthread_mutex_unlock(&self->lock);
    return NULL;
}

struct pool *pool_new(struct front *front, uint32_t threads, size_t queue_max)
{
    struct pool *self = xcalloc(1, sizeof *self);
    self->front = front;
    self->queue_max = queue_max;
    pthread_mutex_init(&self->lock, NULL);
    pthread_cond_init(&self->filled, NULL);
    STAILQ_INIT(&self->waiting);
    self->threads = xcalloc(threads, sizeof *self->threads);
    for (uint32_t i = 0; i < threads; i++) {
        if (pthread_create(&self->threads[i], NULL, thread_main, self) != 0)
            panic("cannot start thread %u of the pool", i);
        self->threads_len++;
    }
    return self;
}

static enum status put(struct pool *self, size_t bound, void (*work)(void *arg),
                       void (*done)(void *arg), void *arg)
{
    struct job *job = xmalloc(sizeof *job);
    *job = (struct job){.work = work, .done = done, .arg = arg};
    pthread_mutex_lock(&self->lock);
    bool fits = self->waiting_len < bound;
    if (fits) {
        STAILQ_INSERT_TAIL(&self->waiting, job, link);
        self->waiting_len++;
        pthread_cond_signal(&self->filled);
    }
    pthread_mutex_unlock(&self->lock);
    if (!fits)
        free(job);
    return fits ? STATUS_OK : STATUS_BUSY;
}

enum status pool_submit(struct pool *self, void (*work)(void *arg), void (*done)(void *arg),
                        void *arg)
{
    return put(self, self->queue_max, work, done, arg);
}

void pool_continue(struct pool *self, void (*work)(void *arg), void (*done)(void *arg), void *arg)
{
    put(self, SIZE_MAX, work, done, arg);
}

void pool_destroy(struct pool **self_p)
{
    struct pool *self = *self_p;
    if (!self)
        return;
    pthread_mutex_lock(&self->lock);
    self->ending = true;
    pthread_cond_broadcast(&self->filled);
    pthread_mutex_unlock(&self->lock);
    for (uint32_t i = 0; i < self->threads_len; i++)
        pthread_join(self->threads[i], NULL);
    pthread_cond_destroy(&self->filled);
    pthread_mutex_destroy(&self->lock);
    free(self->threads);
    free(self);
    *self_p = NULL;
}
