/* front - the front thread's loop: work handed over by other threads, and timers
 *
 * The front thread owns every connection, the link to the broker and all state of the gateway that
 * has no owner of its own. It never blocks: files, SQLite, gzip and large JSON go to the pool or to
 * the ledger's thread, which hand their completion back with front_post(). */
#ifndef CONVOY_GATEWAY_FRONT_H
#define CONVOY_GATEWAY_FRONT_H

#include "common/base.h"

struct front;

struct front *front_new(void);

/* Calls that are still waiting are run first, so that nobody's memory is lost. NULL is fine. */
void front_destroy(struct front **self_p);

/* Run `call(arg)` on the front thread, soon, in the order of posting. Any thread; never fails: the
 * poster bounds how much it has under way. */
void front_post(struct front *self, void (*call)(void *arg), void *arg);

/* A timer that lives inside its owner's struct; zero it before first use. Front thread only. */
struct front_timer {
    uint64_t due_ns; /* monotonic */
    size_t slot;     /* private: place in the heap, from 1; 0: not set */
    void (*call)(void *arg);
    void *arg; /* for call */
};

/* (Re)arm: one call of `call(arg)` at or after `due_ns`. */
void front_timer_set(struct front *self, struct front_timer *timer, uint64_t due_ns,
                     void (*call)(void *arg), void *arg);

/* Harmless when it is not set. Call it before the timer's memory goes. */
void front_timer_clear(struct front *self, struct front_timer *timer);

/* The time of this turn of the loop: good for all decisions within it. Front thread. */
uint64_t front_now_ns(const struct front *self);

/* --- for main's loop ----------------------------------------------------------------------------
 */

/* Readable when posts wait. */
int front_fd(const struct front *self);

/* The next timer's moment; UINT64_MAX: none. */
uint64_t front_next_ns(const struct front *self);

/* Run the posts that wait and the timers that are due; what they add runs in the next turn. */
void front_turn(struct front *self, uint64_t now_ns);

#endif
