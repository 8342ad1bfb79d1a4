/* world - the gateway's own modules in this process, as gateway/main.c puts them together
 *
 * All that keeps a promise is the real thing: identity, ledger, registry of files and jobs, reader,
 * writer, dead letters, training jobs, repository, HTTP. Two things stand in: a fleet whose one
 * worker gives row x the answer {3 x[0], -x[0]} (fleet.c) and trains in steps that are only written
 * down (toy.h), and a clock that runs ahead (clock.c). One thread drives it all; replies and
 * acknowledgements are marked on the tape when the gateway decides to send them (marks.c). */
#ifndef CONVOY_TESTS_CRASH_WORLD_H
#define CONVOY_TESTS_CRASH_WORLD_H

#include "gateway/dataset/job.h"
#include "gateway/gateway.h"

struct world {
    struct gateway gateway;
    struct gateway_params params;
    char root[160]; /* the data folder */
};

/* Start in `root`; fails as the gateway would. */
enum status world_open(struct world *self, const char *root, struct error *why);
void world_close(struct world *self);

/* One turn of the loop; when nobody has anything to do, time goes on to the next timer. */
void world_turn(struct world *self);

/* Turn until `wanted` is true or nothing has changed for a long time; false then. */
bool world_until(struct world *self, bool (*wanted)(struct world *self, void *arg), void *arg);

struct answer {
    int code;     /* HTTP status; 0: no answer came */
    json_t *body; /* the caller's; NULL: no JSON */
};

/* One request with a body of `size` octets and an Idempotency-Key (NULL: none). */
struct answer world_ask(struct world *self, const char *method, const char *path, const char *key,
                        const void *body, size_t size);

/* --- clock.c */
void clock_skip(uint64_t ns);

/* --- fleet.c */
/* The worker answers only so many more tasks; UINT32_MAX: all. */
void fleet_allow(struct fleet *self, uint32_t tasks);

/* fleet_step() has something to do. */
bool fleet_busy(const struct fleet *self);

#endif
