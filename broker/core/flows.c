/* flows - who waits: tasks of one tenant for one queue, and whose turn it is
 *
 * Three accounts one inside the other share the workers' estimated time: bands by weight, tenants
 * in a band by share, flows of a tenant alike (start-time fair queueing; Goyal, Vin, Cheng 1996).
 * An account says how much time its members got, over their share; the least goes next. */
#include "broker/core/state.h"

#include <string.h>

/* Time that an account may be behind the others: what nobody could take is no saving beyond it. */
#define LAG_MAX_NS UINT64_C(1000000000)

/* Shares of interactive, high, normal and batch while all of them wait. */
static const uint64_t weights[CORE_BANDS] = {64, 16, 4, 1};

/* --- tables -------------------------------------------------------------------------------------
 */

struct flow_key {
    uint32_t queue, tenant;
};

bool flow_same(const void *owner, uint32_t id, const void *key);
bool tenant_same(const void *owner, uint32_t id, const void *key);

bool flow_same(const void *owner, uint32_t id, const void *key)
{
    const struct flow *flow = &((const struct core *)owner)->flows[id];
    const struct flow_key *want = key;
    return flow->queue == want->queue && flow->tenant == want->tenant;
}

bool tenant_same(const void *owner, uint32_t id, const void *key)
{
    return strcmp(((const struct core *)owner)->tenants[id].name, key) == 0;
}

static uint64_t flow_hash(const struct core *self, uint32_t queue, uint32_t tenant)
{
    return map_mix(self->seed ^ ((uint64_t)queue << 32 | tenant));
}

static uint64_t tenant_hash(const struct core *self, const char *name)
{
    uint64_t hash = self->seed;
    for (const char *c = name; *c; c++)
        hash = map_mix(hash ^ (uint8_t)*c);
    return hash;
}

/* A slot never used, or one whose flow has no task any more. */
static uint32_t take_flow(struct core *self)
{
    if (self->flows_high < self->limits.flows_max)
        return self->flows_high++;
    for (uint32_t slot = 0; slot < self->flows_high; slot++) {
        const struct flow *flow = &self->flows[slot];
        if (flow->refs > 0)
            continue;
        map_remove(&self->by_flow, flow_hash(self, flow->queue, flow->tenant), slot);
        self->tenants[flow->tenant].flows--;
        return slot;
    }
    return NONE;
}

/* There are as many slots for tenants as for flows, and the caller has one of those in hand: so a
 * tenant without a flow is found when no fresh slot is left. */
static uint32_t take_tenant(struct core *self)
{
    if (self->tenants_high < self->limits.flows_max)
        return self->tenants_high++;
    uint32_t slot = 0;
    while (self->tenants[slot].flows > 0)
        slot++;
    assert(slot < self->tenants_high);
    map_remove(&self->by_tenant, tenant_hash(self, self->tenants[slot].name), slot);
    return slot;
}

static uint32_t tenant_for(struct core *self, const char *name)
{
    uint64_t hash = tenant_hash(self, name);
    uint32_t slot = map_find(&self->by_tenant, hash, name);
    if (slot != NONE)
        return slot;
    slot = take_tenant(self);
    self->tenants[slot] = (struct tenant){.share = 1};
    text_copy(self->tenants[slot].name, sizeof(self->tenants[slot].name), name);
    map_put(&self->by_tenant, hash, slot);
    return slot;
}

uint32_t flow_for(struct core *self, uint32_t queue, const char *tenant, uint32_t share)
{
    char name[CORE_TENANT_SIZE];
    text_copy(name, sizeof(name), tenant ? tenant : "");
    uint32_t owner = map_find(&self->by_tenant, tenant_hash(self, name), name), slot = NONE;
    struct flow_key key = {queue, owner};
    if (owner != NONE)
        slot = map_find(&self->by_flow, flow_hash(self, queue, owner), &key);
    if (slot == NONE && (slot = take_flow(self)) != NONE) {
        owner = tenant_for(self, name);
        self->flows[slot] = (struct flow){.queue = queue, .tenant = owner};
        for (size_t band = 0; band < CORE_BANDS; band++)
            self->flows[slot].tasks[band] = list_empty();
        self->tenants[owner].flows++;
        map_put(&self->by_flow, flow_hash(self, queue, owner), slot);
    }
    if (slot != NONE)
        self->tenants[owner].share = MIN(MAX(share, 1), CORE_SHARE_MAX);
    return slot;
}

/* --- accounts -----------------------------------------------------------------------------------
 */

/* Idle time is no saving: who comes back starts where the others are. */
static void join(struct account *self, const struct account *parent)
{
    if (self->waiting++ == 0)
        self->served = MAX(self->served, parent->floor);
}

static uint64_t standing(const struct account *self, const struct account *parent)
{
    return MAX(self->served, parent->floor > LAG_MAX_NS ? parent->floor - LAG_MAX_NS : 0);
}

static void charge(struct account *self, struct account *parent, uint64_t cost)
{
    self->served = standing(self, parent);
    parent->floor = MAX(parent->floor, self->served);
    self->served += cost;
}

void flow_add(struct core *self, struct task *task, bool front)
{
    struct flow *flow = &self->flows[task->flow];
    struct tenant *tenant = &self->tenants[flow->tenant];
    join(&self->bands[task->band], &self->all);
    join(&tenant->bands[task->band], &self->bands[task->band]);
    join(&flow->bands[task->band], &tenant->bands[task->band]);
    list_add(self, &flow->tasks[task->band], task_slot(self, task), front);
    if (flow->waiting++ == 0) {
        self->active[self->active_len++] = task->flow;
        flow->active = self->active_len;
    }
}

void flow_take(struct core *self, struct task *task)
{
    struct flow *flow = &self->flows[task->flow];
    self->bands[task->band].waiting--;
    self->tenants[flow->tenant].bands[task->band].waiting--;
    flow->bands[task->band].waiting--;
    list_remove(self, &flow->tasks[task->band], task_slot(self, task));
    if (--flow->waiting > 0)
        return;
    uint32_t last = self->active[--self->active_len];
    self->active[flow->active - 1] = last;
    self->flows[last].active = flow->active;
    flow->active = 0;
}

/* --- turns --------------------------------------------------------------------------------------
 */

/* What is compared, in this order; the smallest is next. */
struct rank {
    uint64_t of_band, band, of_tenant, of_flow;
};

static bool before(const struct rank *a, const struct rank *b)
{
    if (a->of_band != b->of_band)
        return a->of_band < b->of_band;
    if (a->band != b->band)
        return a->band < b->band;
    return a->of_tenant != b->of_tenant ? a->of_tenant < b->of_tenant : a->of_flow < b->of_flow;
}

struct flow *flow_next(struct core *self, uint32_t *band)
{
    struct flow *best = NULL;
    struct rank least = {0};
    for (uint32_t i = 0; i < self->active_len; i++) {
        struct flow *flow = &self->flows[self->active[i]];
        const struct tenant *tenant = &self->tenants[flow->tenant];
        for (uint32_t b = 0; b < CORE_BANDS; b++) {
            if (flow->tasks[b].len == 0 || flow->blocked[b] == self->round)
                continue;
            struct rank rank = {standing(&self->bands[b], &self->all), b,
                                standing(&tenant->bands[b], &self->bands[b]),
                                standing(&flow->bands[b], &tenant->bands[b])};
            if (best && !before(&rank, &least))
                continue;
            best = flow;
            least = rank;
            *band = b;
        }
    }
    return best;
}

/* Rounded up: nothing is free, or the first would always be next. */
static uint64_t over(uint64_t cost, uint64_t share)
{
    return cost / share + (cost > 0 ? 1 : 0);
}

void flow_charge(struct core *self, struct flow *flow, uint32_t band, uint64_t cost)
{
    struct tenant *tenant = &self->tenants[flow->tenant];
    charge(&self->bands[band], &self->all, over(cost, weights[band]));
    charge(&tenant->bands[band], &self->bands[band], over(cost, tenant->share));
    charge(&flow->bands[band], &tenant->bands[band], cost);
}
