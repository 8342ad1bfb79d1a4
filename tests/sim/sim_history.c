/* sim_history - what is true of each task, whatever the programs believe, and the invariants
 *
 *   I1  what was promised ends exactly once
 *   I2  nothing is computed and no result comes that nobody asked for
 *   I3  one result is committed, and it is the task's own
 *   I4  what was cancelled has no result afterwards
 *   I5  attempts and crashed runners of a task are bounded, whatever dies meanwhile
 *   I6  a request that is repeated under its key is one task
 *   I8  tables stay within their bounds: each role's check, after each of its turns
 *
 * I7, who floods the fleet leaves the others their share, is a property of a fleet that is full and
 * undisturbed: history_share(), over a run without faults. */
#include "tests/sim/sim.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Together with others, by itself, and once more on another worker: so a task ends three runners,
 * twice as many where its gateway is away so long that nobody can be told, and two more where a
 * worker that was taken for dead computes it as well. Each fault since the first one may cost a
 * round, since the report may have gone with whoever had to pass it on. */
#define DEATHS_MAX   8
#define DEATHS_ROUND 3
#define STARTS_SLACK 24

uint64_t history_input(uint32_t gateway, uint32_t sequence)
{
    return (uint64_t)gateway << 32 | sequence;
}

uint64_t history_output(uint64_t input)
{
    return (input ^ input >> 29) * UINT64_C(0xbf58476d1ce4e5b9) + 1;
}

uint32_t history_add(struct sim *self, uint32_t gateway, const struct fact *fact)
{
    struct history *history = &self->histories[gateway];
    if (history->len == history->room) {
        history->room = MAX(history->room * 2, 1024U);
        history->facts = xrealloc(history->facts, history->room * sizeof(struct fact));
    }
    if (history->len == 0) { /* number 0 names no task */
        history->facts[history->len++] = (struct fact){.state = FACT_NONE};
        history->first = 1;
    }
    history->facts[history->len] = *fact;
    history->open += fact->state == FACT_PROMISED ? 1 : 0;
    return history->len++;
}

struct fact *history_find(struct sim *self, uint32_t gateway, uint32_t sequence)
{
    struct history *history = gateway < GATEWAYS ? &self->histories[gateway] : NULL;
    if (history && sequence > 0 && sequence < history->len)
        return &history->facts[sequence];
    sim_violate(self, "I2 task %u/%u was never asked for", gateway, sequence);
    return NULL;
}

void history_end(struct sim *self, uint32_t gateway, uint32_t sequence, enum fact_state state)
{
    struct history *history = &self->histories[gateway];
    struct fact *fact = &history->facts[sequence];
    assert(fact->state == FACT_PROMISED);
    fact->state = state;
    history->open--;
    while (history->first < history->len && history->facts[history->first].state != FACT_PROMISED)
        history->first++;
    self->totals.cancelled += state == FACT_CANCELLED ? 1 : 0;
    self->totals.vanished += state == FACT_VANISHED ? 1 : 0;
}

/* --- computing ----------------------------------------------------------------------------------
 */

void history_start(struct sim *self, uint32_t gateway, uint32_t sequence)
{
    struct fact *fact = history_find(self, gateway, sequence);
    if (!fact)
        return;
    self->totals.doubled += fact->running++ > 0 ? 1 : 0;
    fact->starts++;
    self->totals.computed++;
    if (fact->poison)
        sim_note(self, "%s begins poison %u/%u", sim_name(self->current), gateway, sequence);
    self->totals.starts_max = MAX(self->totals.starts_max, fact->starts);
    if (fact->starts > ATTEMPTS_MAX + STARTS_SLACK)
        sim_violate(self, "I5 task %u/%u was started %u times", gateway, sequence, fact->starts);
}

void history_stop(struct sim *self, uint32_t gateway, uint32_t sequence, bool died)
{
    struct fact *fact = history_find(self, gateway, sequence);
    if (!fact)
        return;
    uint64_t excuses = self->totals.faults + self->totals.lost;
    fact->running--;
    if (died && fact->deaths++ == 0)
        fact->excuses = excuses;
    if (fact->poison)
        sim_note(self, "%s is done with poison %u/%u: %s", sim_name(self->current), gateway,
                 sequence, died ? "its runner died" : "stopped");
    self->totals.deaths_max = MAX(self->totals.deaths_max, fact->deaths);
    if (fact->deaths > DEATHS_MAX + DEATHS_ROUND * (excuses - fact->excuses))
        sim_violate(self, "I5 task %u/%u ended %u runners", gateway, sequence, fact->deaths);
}

/* --- results -----------------------------------------------------------------------------------
 */

void history_answer(struct sim *self, uint32_t gateway, uint32_t sequence, enum status status,
                    const uint64_t *output)
{
    struct fact *fact = history_find(self, gateway, sequence);
    if (!fact)
        return;
    if (fact->state == FACT_CANCELLED)
        sim_violate(self, "I4 task %u/%u was cancelled and has a result", gateway, sequence);
    if (fact->state == FACT_COMMITTED)
        sim_violate(self, "I3 task %u/%u has a second result", gateway, sequence);
    if (status == STATUS_OK &&
        (!output || *output != history_output(history_input(gateway, sequence))))
        sim_violate(self, "I3 task %u/%u has somebody else's result", gateway, sequence);
    if (status == STATUS_OK && fact->poison)
        sim_violate(self, "I3 task %u/%u is poison and has a result", gateway, sequence);
    if (status == STATUS_OK && fact->starts == 0)
        sim_violate(self, "I2 task %u/%u has a result and was never computed", gateway, sequence);
    if (status == STATUS_DEADLINE && fact->budget_ms == 0)
        sim_violate(self, "I1 task %u/%u has no deadline and missed it", gateway, sequence);
    if (status != STATUS_OK && status != STATUS_DEADLINE && status != STATUS_CRASHED &&
        status != STATUS_NO_MODEL && fact->durable)
        sim_violate(self, "I1 task %u/%u ended with %s", gateway, sequence, status_name(status));
}

void history_commit(struct sim *self, uint32_t gateway, uint32_t sequence, enum status status)
{
    struct fact *fact = history_find(self, gateway, sequence);
    if (!fact)
        return;
    if (++fact->commits > 1)
        sim_violate(self, "I3 task %u/%u was committed twice", gateway, sequence);
    if (fact->state != FACT_PROMISED)
        return;
    fact->outcome = status;
    self->totals.committed++;
    self->totals.rows[fact->tenant] += fact->rows;
    self->totals.answered_failed += status != STATUS_OK ? 1 : 0;
    history_end(self, gateway, sequence, FACT_COMMITTED);
}

/* No two tasks under one key. */
static void check_keys(struct sim *self, uint32_t gateway)
{
    const struct history *history = &self->histories[gateway];
    uint64_t last = 0;
    for (uint32_t n = 1; n < history->len; n++)
        last = MAX(last, history->facts[n].key);
    uint8_t *seen = xcalloc(last + 1, 1);
    for (uint32_t n = 1; n < history->len; n++) {
        uint64_t key = history->facts[n].key;
        if (key > 0 && seen[key]++ > 0)
            sim_violate(self, "I6 two tasks of gateway %u have the key %" PRIu64, gateway, key);
    }
    free(seen);
}

void history_share(struct sim *self, const uint64_t before[static TENANTS])
{
    uint64_t rows[TENANTS], all = 0;
    for (size_t i = 0; i < TENANTS; i++)
        all += rows[i] = self->totals.rows[i] - before[i];
    for (size_t i = 0; i < TENANTS; i++)
        if (rows[i] * TENANTS * 10 < all * 9)
            sim_violate(self, "I7 tenant %zu has %" PRIu64 " of %" PRIu64 " rows", i, rows[i], all);
}

void history_settled(struct sim *self)
{
    for (uint32_t i = 0; i < GATEWAYS; i++)
        check_keys(self, i);
    for (uint32_t i = 0; i < GATEWAYS; i++)
        for (uint32_t n = 1; n < self->histories[i].len; n++) {
            const struct fact *fact = &self->histories[i].facts[n];
            bool promised = fact->state == FACT_PROMISED || fact->state == FACT_COMMITTED;
            if (fact->state == FACT_PROMISED)
                sim_note(self, "open: %u/%u attempt %u crashes %u starts %u running %u", i, n,
                         fact->attempt, fact->crashes, fact->starts, fact->running);
            if (fact->commits != (promised ? 1 : 0))
                sim_violate(self, "I1 task %u/%u has %u results, expected %d", i, n, fact->commits,
                            promised);
        }
}
