/* test_core_nonsense - peers that follow no protocol: the core keeps its own promises
 *
 * Random events with random connections, roles, ids and numbers, most of them absurd. After each
 * the whole state is checked; every body must come back exactly once. The seed is printed;
 * NONSENSE_SEED=n replays it. */
#include "tests/unit/broker/fixture.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#define EVENTS 60000
#define PEERS  12 /* more than there may be sessions */

static uint64_t chaos;

static uint64_t pick(uint64_t below)
{
    chaos += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t z = (chaos ^ (chaos >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (z ^ (z >> 31)) % below;
}

static uint64_t odd_number(void)
{
    static const uint64_t odd[] = {0, 1, UINT32_MAX, UINT64_MAX, UINT64_MAX / 2, 1000};
    return pick(4) ? pick(60) : odd[pick(ARRAY_LEN(odd))];
}

struct nonsense {
    struct fixture f;
    struct task_range ranges[8];
    struct core_set sets[3];
    size_t sets_len;
    uint64_t tokens[PEERS];       /* last told to each */
    uint64_t incarnations[PEERS]; /* last said by each */
    int bodies;                   /* handed over and not released */
};

/* Sets as the shell lets them through: ascending, disjoint, not past the end. */
static void make_sets(struct nonsense *n)
{
    size_t used = 0;
    n->sets_len = pick(ARRAY_LEN(n->sets) + 1);
    for (size_t i = 0; i < n->sets_len; i++) {
        uint64_t first = 1 + pick(40);
        size_t len = pick(3);
        n->sets[i] = (struct core_set){peer_id((uint32_t)pick(PEERS)), &n->ranges[used], len};
        for (size_t k = 0; k < len; k++) {
            uint64_t count = pick(50) ? 1 + pick(10) : UINT64_MAX / 4;
            n->ranges[used++] = (struct task_range){first, count};
            first += count + 1 + pick(5);
        }
    }
}

static void learn(struct nonsense *n)
{
    const struct core_out *out = core_out(n->f.core);
    for (size_t i = 0; i < out->actions_len; i++)
        if (out->actions[i].kind == ACTION_WELCOME)
            n->tokens[(out->actions[i].conn / 10 - 1) % PEERS] = out->actions[i].token;
}

static void say_hello(struct nonsense *n, uint32_t peer, uint64_t conn)
{
    struct digest models[2] = {{{(uint8_t)pick(4)}}, {{(uint8_t)pick(4)}}};
    struct core_hello hello = {.role = pick(2) ? CORE_WORKER : CORE_GATEWAY,
                               .uuid = peer_id(peer),
                               .incarnation = pick(4),
                               .name = "x",
                               .mode = "",
                               .cores = (uint32_t)odd_number(),
                               .slots = (uint32_t)pick(5),
                               .models = models,
                               .models_len = pick(3),
                               .lists = n->sets,
                               .lists_len = n->sets_len};
    core_hello(n->f.core, n->f.now, conn, &hello);
    n->incarnations[peer] = hello.incarnation;
    learn(n);
}

static void say_tie(struct nonsense *n, uint32_t peer)
{
    struct uuid uuid = peer_id(peer);
    core_attach(n->f.core, n->f.now, DATA(peer + 1), &uuid,
                pick(10) ? n->incarnations[peer] : pick(4), n->tokens[peer]);
}

static void say_submit(struct nonsense *n, uint64_t conn)
{
    static const char *const tenants[] = {NULL, "", "acme", "lab", "many words"};
    struct core_task tasks[4];
    size_t len = 1 + pick(4);
    for (size_t i = 0; i < len; i++) {
        tasks[i] = (struct core_task){.number = 1 + pick(50),
                                      .bytes = pick(5000),
                                      .map_bytes = (uint32_t)pick(70000),
                                      .frames = (uint32_t)pick(257),
                                      .attempt = (uint32_t)pick(20),
                                      .crashes = (uint32_t)pick(3),
                                      .budget_ms = (uint32_t)pick(2000),
                                      .rows = (uint32_t)odd_number(),
                                      .band = (uint32_t)pick(4),
                                      .flags = (uint32_t)pick(8),
                                      .tenant = tenants[pick(ARRAY_LEN(tenants))],
                                      .share = (uint32_t)odd_number(),
                                      .body = n};
        n->bodies++;
    }
    struct core_submit submit = {
        {{(uint8_t)pick(4)}}, pick(2) ? "" : "avx2/fast", 1 + (uint32_t)pick(2), 0, tasks, len,
        pick(20) == 0};
    core_submit(n->f.core, n->f.now, conn, &submit);
}

static void say_result(struct nonsense *n, uint64_t conn)
{
    struct core_result results[3];
    struct uuid gateway = peer_id((uint32_t)pick(PEERS));
    size_t len = 1 + pick(3);
    for (size_t i = 0; i < len; i++)
        results[i] = (struct core_result){1 + pick(50), pick(2) ? STATUS_OK : STATUS_BUSY,
                                          (uint32_t)odd_number(), odd_number()};
    core_result(n->f.core, conn, &gateway, results, len);
}

static void say_beat(struct nonsense *n, uint64_t conn)
{
    struct digest models[2] = {{{(uint8_t)pick(4)}}, {{(uint8_t)pick(4)}}};
    struct core_beat beat = {.lists = n->sets,
                             .lists_len = n->sets_len,
                             .models = pick(2) ? models : NULL,
                             .models_len = pick(3),
                             .running = odd_number()};
    core_heartbeat(n->f.core, n->f.now, conn, &beat);
}

static void say_about_ids(struct nonsense *n, uint64_t conn)
{
    static const enum status statuses[] = {STATUS_BUSY, STATUS_BAD_MODEL, STATUS_NO_MODEL};
    struct core *core = n->f.core;
    struct uuid worker = peer_id((uint32_t)pick(PEERS));
    switch (pick(5)) {
    case 0:
        core_started(core, conn, n->sets, n->sets_len);
        break;
    case 1:
        core_nack(core, n->f.now, conn, n->sets, n->sets_len, statuses[pick(3)], "no",
                  (uint32_t)pick(100));
        break;
    case 2:
        core_crashed(core, conn, n->sets, n->sets_len, "bang");
        break;
    case 3:
        core_cancel(core, conn, n->sets, n->sets_len);
        break;
    default:
        core_result_ack(core, conn, n->sets, n->sets_len, pick(2) ? &worker : NULL);
        break;
    }
}

static void one_event(struct nonsense *n)
{
    uint32_t peer = (uint32_t)pick(PEERS);
    uint64_t conn = pick(2) ? CONTROL(peer + 1) : DATA(peer + 1);
    struct core *core = n->f.core;
    make_sets(n);
    switch (pick(8) ? pick(8) : pick(2) ? 12 : pick(14)) {
    case 0:
        core_credit(core, conn, odd_number(), odd_number() * 100);
        break;
    case 1:
    case 2:
        say_submit(n, conn);
        break;
    case 3:
        say_result(n, conn);
        break;
    case 4:
        say_beat(n, conn);
        break;
    case 5:
        say_about_ids(n, conn);
        break;
    case 6:
        core_heard(core, n->f.now, conn);
        break;
    case 7:
        n->f.now += pick(100) ? pick(20 * MS) : pick(5000 * MS);
        core_tick(core, n->f.now);
        break;
    case 8:
        core_closed(core, n->f.now, conn);
        break;
    case 9:
        core_drain(core, conn);
        break;
    case 10:
        core_goodbye(core, n->f.now, conn);
        break;
    case 11:
        core_expel(core, n->f.now, conn, STATUS_MALFORMED, "nonsense");
        break;
    case 12:
        say_hello(n, peer, CONTROL(peer + 1));
        if (pick(4))
            say_tie(n, peer);
        break;
    default:
        say_tie(n, peer);
        break;
    }
}

/* Bodies are counted, and what goes out must be within bounds. */
static void take_actions(struct nonsense *n)
{
    const struct core_out *out = core_out(n->f.core);
    for (size_t i = 0; i < out->actions_len; i++) {
        const struct action *action = &out->actions[i];
        if (action->kind == ACTION_RELEASE)
            n->bodies--;
        if (action->kind == ACTION_DISPATCH)
            assert_in_range(action->len, 1, CORE_TASKS_MAX);
        else
            assert_in_range(action->len, 0, CORE_RANGES_MAX);
        assert_true(n->bodies >= 0);
    }
    core_taken(n->f.core);
}

static void no_nonsense_breaks_the_core(void **state)
{
    const char *given = getenv("NONSENSE_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 10) : (uint64_t)time(NULL);
    struct nonsense n = {.f.limits = core_limits_default};
    (void)state;
    printf("seed %" PRIu64 "\n", seed);
    chaos = seed;
    n.f.limits.sessions_max = 8;
    n.f.limits.tasks_max = 64;
    n.f.limits.done_max = 16;
    n.f.limits.queues_max = 5;
    n.f.limits.queue_bytes_max = 100000;
    n.f.limits.gateway_keep_ms = 2000;
    n.f.core = core_new(&n.f.limits, seed, n.f.now);
    for (int i = 0; i < EVENTS; i++) {
        one_event(&n);
        take_actions(&n);
        core_check(n.f.core);
    }
    const struct core_counters *counters = core_counters(n.f.core);
    assert_true(counters->tasks_dispatched > 100); /* it was not all refused */
    assert_true(counters->sessions_opened > 100);
    n.f.now += 1000000 * MS; /* everybody goes away: nothing may be left */
    for (int i = 0; i < 100; i++) {
        n.f.now += 200 * MS;
        core_tick(n.f.core, n.f.now);
        take_actions(&n);
    }
    core_check(n.f.core);
    assert_true(core_idle(n.f.core));
    assert_int_equal(core_done(n.f.core), 0);
    assert_int_equal(n.bodies, 0);
    core_destroy(&n.f.core, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(no_nonsense_breaks_the_core)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
