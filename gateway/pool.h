/* pool - a few threads for everything that may wait for a disk or takes long
 *
 * The queue is bounded: a full pool refuses, and the caller answers BUSY or tries later. */
#ifndef CONVOY_GATEWAY_POOL_H
#define CONVOY_GATEWAY_POOL_H

#include "common/status.h"
#include "gateway/front.h"

struct pool;

struct pool *pool_new(struct front *front, uint32_t threads, size_t queue_max);

/* Finish what is queued and running, then end the threads. Completions are posted to the front as
 * usual, so destroy the pool before the front. NULL inside is fine. */
void pool_destroy(struct pool **self_p);

/* Run `work(arg)` on a thread of the pool, then `done(arg)` on the front thread (NULL: nothing).
 * BUSY, and nothing happens, when queue_max jobs wait. Any thread. */
enum status pool_submit(struct pool *self, void (*work)(void *arg), void (*done)(void *arg),
                        void *arg);

/* The same past the bound: for the next step of something that was let in already (a body's next
 * piece). Callers bound themselves. Any thread. */
void pool_continue(struct pool *self, void (*work)(void *arg), void (*done)(void *arg), void *arg);

#endif
