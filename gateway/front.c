/* front - posts of other threads and a heap of timers; see front.h */
#include "gateway/front.h"

#include "common/clock.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct post {
    void (*call)(void *arg);
    void *arg; /* for call */
};

struct posts {
    struct post *rows; /* in the order of posting */
    size_t len;        /* in use */
    size_t room;       /* allocated */
};

struct front {
    pthread_mutex_t lock;        /* guards `incoming` */
    struct posts incoming;       /* any thread adds */
    struct posts running;        /* the front thread's; swapped with incoming */
    int fd;                      /* eventfd: something is in `incoming` */
    struct front_timer **timers; /* binary heap by due_ns, places 1..len */
    size_t timers_len;           /* in use */
    size_t timers_room;          /* allocated */
    uint64_t now_ns;             /* of this turn */
};

struct front *front_new(void)
{
    struct front *self = xcalloc(1, sizeof *self);
    pthread_mutex_init(&self->lock, NULL);
    self->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (self->fd < 0)
        panic("no eventfd for the front thread");
    self->now_ns = clock_mono_ns();
    return self;
}

/* --- posts --------------------------------------------------------------------------------------
 */

void front_post(struct front *self, void (*call)(void *arg), void *arg)
{
    pthread_mutex_lock(&self->lock);
    struct posts *posts = &self->incoming;
    if (posts->len == posts->room) {
        posts->room = posts->room ? 2 * posts->room : 64;
        posts->rows = xrealloc(posts->rows, posts->room * sizeof *posts->rows);
    }
    bool first = posts->len == 0;
    posts->rows[posts->len++] = (struct post){call, arg};
    /* Under the lock: whoever takes these posts finds the count that belongs to them. */
    const uint64_t one = 1;
    if (first && write(self->fd, &one, sizeof one) != (ssize_t)sizeof one)
        panic("the front thread's eventfd does not take a count");
    pthread_mutex_unlock(&self->lock);
}

static bool run_posts(struct front *self)
{
    uint64_t ignored;
    pthread_mutex_lock(&self->lock);
    struct posts taken = self->incoming;
    self->incoming = self->running;
    self->incoming.len = 0;
    if (taken.len && read(self->fd, &ignored, sizeof ignored) < 0)
        panic("the front thread's eventfd lost its count");
    pthread_mutex_unlock(&self->lock);
    for (size_t i = 0; i < taken.len; i++)
        taken.rows[i].call(taken.rows[i].arg);
    bool any = taken.len > 0;
    taken.len = 0;
    self->running = taken;
    return any;
}

int front_fd(const struct front *self)
{
    return self->fd;
}

/* --- timers -------------------------------------------------------------------------------------
 */

static void place(struct front *self, size_t slot, struct front_timer *timer)
{
    self->timers[slot] = timer;
    timer->slot = slot;
}

static void sift(struct front *self, size_t slot)
{
    struct front_timer *timer = self->timers[slot];
    while (slot > 1 && self->timers[slot / 2]->due_ns > timer->due_ns) {
        place(self, slot, self->timers[slot / 2]);
        slot /= 2;
    }
    for (;;) {
        size_t child = 2 * slot;
        if (child < self->timers_len &&
            self->timers[child + 1]->due_ns < self->timers[child]->due_ns)
            child++;
        if (child > self->timers_len || self->timers[child]->due_ns >= timer->due_ns)
            break;
        place(self, slot, self->timers[child]);
        slot = child;
    }
    place(self, slot, timer);
}

void front_timer_clear(struct front *self, struct front_timer *timer)
{
    size_t slot = timer->slot;
    if (!slot)
        return;
    assert(slot <= self->timers_len && self->timers[slot] == timer);
    struct front_timer *last = self->timers[self->timers_len--];
    timer->slot = 0;
    if (last != timer) {
        place(self, slot, last);
        sift(self, slot);
    }
}

void front_timer_set(struct front *self, struct front_timer *timer, uint64_t due_ns,
                     void (*call)(void *arg), void *arg)
{
    timer->call = call;
    timer->arg = arg;
    timer->due_ns = due_ns;
    if (!timer->slot) {
        if (self->timers_len + 2 > self->timers_room) {
            self->timers_room = self->timers_room ? 2 * self->timers_room : 64;
            self->timers = xrealloc(self->timers, self->timers_room * sizeof *self->timers);
        }
        place(self, ++self->timers_len, timer);
    }
    sift(self, timer->slot);
}

uint64_t front_next_ns(const struct front *self)
{
    return self->timers_len ? self->timers[1]->due_ns : UINT64_MAX;
}

uint64_t front_now_ns(const struct front *self)
{
    return self->now_ns;
}

void front_turn(struct front *self, uint64_t now_ns)
{
    self->now_ns = now_ns;
    run_posts(self);
    /* A timer that sets itself for now must not hold the loop: one round at most. */
    for (size_t left = self->timers_len; left && front_next_ns(self) <= now_ns; left--) {
        struct front_timer *timer = self->timers[1];
        front_timer_clear(self, timer);
        timer->call(timer->arg);
    }
}

void front_destroy(struct front **self_p)
{
    struct front *self = *self_p;
    if (!self)
        return;
    while (run_posts(self))
        continue;
    close(self->fd);
    pthread_mutex_destroy(&self->lock);
    free(self->incoming.rows);
    free(self->running.rows);
    free(self->timers);
    free(self);
    *self_p = NULL;
}
