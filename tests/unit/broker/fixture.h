/* fixture - a core with peers that say exactly what a test wants, for tests of broker/core
 *
 * Peers are numbered from 1; peer n's control connection is 10 n, its data connection 10 n + 1.
 * Time stands unless a test moves it. Actions stay in the core until forget(). */
#ifndef CONVOY_TESTS_UNIT_BROKER_FIXTURE_H
#define CONVOY_TESTS_UNIT_BROKER_FIXTURE_H

#include "broker/core/core.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define MS         UINT64_C(1000000)
#define BEAT       (1000 * MS)
#define CONTROL(n) ((uint64_t)(n)*10)
#define DATA(n)    ((uint64_t)(n)*10 + 1)

struct fixture {
    struct core *core;
    struct core_limits limits;
    uint64_t now;
    bool warm;        /* workers say that they have model 1 loaded */
    const char *mode; /* numeric mode that workers tell; NULL: none */
    uint32_t minor;   /* version that they speak */
};

static inline struct uuid peer_id(uint32_t n)
{
    return (struct uuid){{(uint8_t)n, (uint8_t)(n >> 8), 7}};
}

static inline void restart(struct fixture *f)
{
    core_destroy(&f->core, NULL);
    f->core = core_new(&f->limits, 1, f->now);
}

static inline int set_up(void **state)
{
    struct fixture *f = xcalloc(1, sizeof(*f));
    f->limits = core_limits_default;
    f->limits.tasks_max = 1000;
    f->limits.done_max = 1000;
    f->limits.sessions_max = 16;
    f->now = 5000 * MS;
    restart(f);
    f->now += 2 * BEAT; /* past the time in which resent tasks are held back */
    *state = f;
    return 0;
}

static inline int tear_down(void **state)
{
    struct fixture *f = *state;
    core_check(f->core);
    core_destroy(&f->core, NULL);
    free(f);
    return 0;
}

/* --- looking at actions --------------------------------------------------------------------------
 */

static inline void forget(struct fixture *f)
{
    core_check(f->core);
    core_taken(f->core);
}

static inline size_t count(const struct fixture *f, enum action_kind kind, uint64_t conn)
{
    const struct core_out *out = core_out(f->core);
    size_t found = 0;
    for (size_t i = 0; i < out->actions_len; i++)
        found += out->actions[i].kind == kind && (conn == 0 || out->actions[i].conn == conn);
    return found;
}

/* The last one; the test fails if there is none. conn 0: any. */
static inline const struct action *last(const struct fixture *f, enum action_kind kind,
                                        uint64_t conn)
{
    const struct core_out *out = core_out(f->core);
    for (size_t i = out->actions_len; i-- > 0;)
        if (out->actions[i].kind == kind && (conn == 0 || out->actions[i].conn == conn))
            return &out->actions[i];
    fail_msg("action %d to %lu is missing", (int)kind, (unsigned long)conn);
    return NULL;
}

/* How often the task is among the ids (or the rows) of such actions. */
static inline size_t named(const struct fixture *f, enum action_kind kind, uint64_t conn,
                           uint64_t number)
{
    const struct core_out *out = core_out(f->core);
    size_t found = 0;
    for (size_t i = 0; i < out->actions_len; i++) {
        const struct action *action = &out->actions[i];
        if (action->kind != kind || (conn && action->conn != conn))
            continue;
        for (uint32_t k = 0; k < action->len; k++)
            if (kind == ACTION_DISPATCH)
                found += out->rows[action->first + k].number == number;
            else
                found += number - out->ranges[action->first + k].first <
                         out->ranges[action->first + k].count;
    }
    return found;
}

static inline size_t dispatched(const struct fixture *f, uint32_t worker)
{
    const struct core_out *out = core_out(f->core);
    size_t found = 0;
    for (size_t i = 0; i < out->actions_len; i++)
        if (out->actions[i].kind == ACTION_DISPATCH && out->actions[i].conn == DATA(worker))
            found += out->actions[i].len;
    return found;
}

/* --- peers
 * ---------------------------------------------------------------------------------------- */

/* Ids of `gateway`, from `first` on, as one set; ranges live until the next call. */
static inline struct core_set ids(uint32_t gateway, uint64_t first, uint64_t len)
{
    static struct task_range ranges[16];
    static size_t turn;
    struct task_range *range = &ranges[turn++ % ARRAY_LEN(ranges)];
    *range = (struct task_range){first, len};
    return (struct core_set){peer_id(gateway), range, len ? 1 : 0};
}

static inline void tie(struct fixture *f, uint32_t n, uint64_t incarnation)
{
    struct uuid uuid = peer_id(n);
    core_attach(f->core, f->now, DATA(n), &uuid, incarnation,
                last(f, ACTION_WELCOME, CONTROL(n))->token);
}

static inline void hello(struct fixture *f, enum core_role role, uint32_t n, uint64_t incarnation,
                         struct core_set list)
{
    static const struct digest models[] = {{{1}}};
    struct core_hello message = {.role = role,
                                 .uuid = peer_id(n),
                                 .incarnation = incarnation,
                                 .name = "peer",
                                 .slots = 1,
                                 .mode = f->mode ? f->mode : "",
                                 .minor = f->minor,
                                 .models = models,
                                 .models_len = f->warm ? 1 : 0,
                                 .lists = &list,
                                 .lists_len = list.len ? 1 : 0};
    core_hello(f->core, f->now, CONTROL(n), &message);
}

static inline void open_gateway(struct fixture *f, uint32_t n)
{
    hello(f, CORE_GATEWAY, n, 1, ids(n, 1, 0));
    tie(f, n, 1);
    forget(f);
}

static inline void open_worker_with(struct fixture *f, uint32_t n, struct core_set held)
{
    hello(f, CORE_WORKER, n, 1, held);
    tie(f, n, 1);
}

static inline void open_worker(struct fixture *f, uint32_t n, uint64_t credit)
{
    open_worker_with(f, n, ids(n, 1, 0));
    core_credit(f->core, CONTROL(n), credit, 1000000);
    forget(f);
}

static inline void tick(struct fixture *f)
{
    core_tick(f->core, f->now);
}

/* Move time in steps small enough that the broker does not seem to have stood still. */
static inline void pass(struct fixture *f, uint64_t ns)
{
    for (uint64_t end = f->now + ns; f->now < end;) {
        f->now = MIN(f->now + 100 * MS, end);
        tick(f);
    }
}

/* HEARTBEAT without a list that promises the next one. */
static inline void beat_slowly(struct fixture *f, uint32_t n, uint32_t next_ms)
{
    struct core_beat message = {.next_ms = next_ms};
    core_heard(f->core, f->now, CONTROL(n));
    core_heartbeat(f->core, f->now, CONTROL(n), &message);
    tick(f);
}

static inline void beat(struct fixture *f, uint32_t n, struct core_set list)
{
    struct core_beat message = {.lists = &list, .lists_len = list.len ? 1 : 0};
    core_heard(f->core, f->now, CONTROL(n));
    core_heartbeat(f->core, f->now, CONTROL(n), &message);
    tick(f);
}

/* A heartbeat with all models that the worker has; 0: none. */
static inline void beat_models(struct fixture *f, uint32_t n, uint8_t model)
{
    struct digest models[] = {{{model}}};
    struct core_set list = ids(1, 1, 0);
    struct core_beat message = {
        .models = models, .models_len = model ? 1 : 0, .lists = &list, .lists_len = 0};
    core_heard(f->core, f->now, CONTROL(n));
    core_heartbeat(f->core, f->now, CONTROL(n), &message);
    tick(f);
}

static inline void submit_task(struct fixture *f, uint32_t gateway, struct core_task task,
                               uint8_t model)
{
    static int body;
    struct core_submit message = {{{model}}, "", 1, 0, &task, 1, false};
    task.body = &body;
    task.bytes = task.bytes ? task.bytes : 100;
    core_submit(f->core, f->now, DATA(gateway), &message);
}

static inline void submit(struct fixture *f, uint32_t gateway, uint64_t number)
{
    submit_task(f, gateway, (struct core_task){.number = number, .rows = 1}, 1);
}

static inline uint64_t result(struct fixture *f, uint32_t worker, uint32_t gateway, uint64_t number,
                              uint64_t compute_ns)
{
    struct uuid uuid = peer_id(gateway);
    struct core_result message = {number, STATUS_OK, 1, compute_ns};
    return core_result(f->core, DATA(worker), &uuid, &message, 1);
}

static inline void ack(struct fixture *f, uint32_t gateway, uint32_t worker, uint64_t number)
{
    struct uuid uuid = peer_id(worker);
    struct core_set set = ids(gateway, number, 1);
    core_result_ack(f->core, CONTROL(gateway), &set, 1, &uuid);
}

static inline void crash(struct fixture *f, uint32_t worker, uint32_t gateway, uint64_t number)
{
    struct core_set set = ids(gateway, number, 1);
    core_crashed(f->core, CONTROL(worker), &set, 1, "signal 11");
    tick(f);
}

static inline void nack(struct fixture *f, uint32_t worker, uint32_t gateway, uint64_t number,
                        enum status status)
{
    struct core_set set = ids(gateway, number, 1);
    core_nack(f->core, f->now, CONTROL(worker), &set, 1, status, "because", 0);
    tick(f);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

#endif
