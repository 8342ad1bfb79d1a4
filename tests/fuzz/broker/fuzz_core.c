/* fuzz_core - events in any order and with any numbers: the broker's core keeps its own promises
 *
 * Input: events, each an octet that names it and what it reads on. After each the whole state is
 * checked; a body is a piece of memory that must come back exactly once. Sets of ids are ascending
 * and disjoint, as whoever decodes messages lets them through. */
#include <stdlib.h>

#include "broker/core/core.h"
#include "common/clock.h"
#include "tests/fuzz/fuzz.h"

#define PEERS      6    /* more than there may be sessions */
#define EVENTS_MAX 4000 /* of one input */
#define RANGES_MAX 4    /* of a set */
#define SETS_MAX   2

struct input {
    const uint8_t *at, *end;
};

static uint8_t octet(struct input *in)
{
    return in->at < in->end ? *in->at++ : 0;
}

/* Mostly small, sometimes absurd. */
static uint64_t number(struct input *in)
{
    uint64_t value = octet(in);
    if (value < 0xf0)
        return value;
    return value < 0xf8 ? UINT64_C(1) << (value & 7) * 8 : UINT64_MAX >> (value & 7) * 8;
}

struct run {
    struct core *core;
    uint64_t now;
    struct input in;
    uint64_t tokens[PEERS];       /* last told to each */
    uint64_t incarnations[PEERS]; /* last said by each */
    struct task_range ranges[SETS_MAX * RANGES_MAX];
    struct core_set sets[SETS_MAX];
    size_t sets_len;
    struct digest models[2];
};

static struct uuid peer_id(uint32_t peer)
{
    return (struct uuid){{(uint8_t)(peer % PEERS), 7}};
}

static void read_sets(struct run *run)
{
    size_t used = 0;
    run->sets_len = octet(&run->in) % (SETS_MAX + 1);
    for (size_t i = 0; i < run->sets_len; i++) {
        size_t len = octet(&run->in) % (RANGES_MAX + 1);
        uint64_t first = 1 + octet(&run->in);
        run->sets[i] = (struct core_set){peer_id(octet(&run->in)), &run->ranges[used], len};
        for (size_t k = 0; k < len; k++) {
            uint64_t count = 1 + MIN(number(&run->in), UINT64_MAX / 8);
            run->ranges[used++] = (struct task_range){first, count};
            first += count + 1 + octet(&run->in);
        }
    }
}

static size_t read_models(struct run *run)
{
    for (size_t i = 0; i < ARRAY_LEN(run->models); i++)
        run->models[i] = (struct digest){{octet(&run->in) % 3}};
    return octet(&run->in) % 3;
}

static void say_hello(struct run *run, uint32_t peer, uint64_t conn)
{
    struct core_hello hello = {.role = octet(&run->in) % 2 ? CORE_WORKER : CORE_GATEWAY,
                               .uuid = peer_id(peer),
                               .incarnation = octet(&run->in),
                               .name = "peer",
                               .mode = "",
                               .cores = (uint32_t)number(&run->in),
                               .slots = (uint32_t)number(&run->in),
                               .models = run->models,
                               .models_len = read_models(run),
                               .lists = run->sets};
    read_sets(run);
    hello.lists_len = run->sets_len;
    run->incarnations[peer] = hello.incarnation;
    core_hello(run->core, run->now, conn, &hello);
}

static void say_beat(struct run *run, uint64_t conn)
{
    struct core_beat beat = {.lists = run->sets,
                             .models = octet(&run->in) % 2 ? run->models : NULL,
                             .models_len = read_models(run),
                             .running = number(&run->in),
                             .waiting = number(&run->in)};
    read_sets(run);
    beat.lists_len = run->sets_len;
    core_heartbeat(run->core, run->now, conn, &beat);
}

static void say_submit(struct run *run, uint64_t conn)
{
    struct core_task tasks[4];
    size_t len = 1 + octet(&run->in) % ARRAY_LEN(tasks);
    struct core_submit submit = {
        {{octet(&run->in) % 3}}, "", 1 + octet(&run->in) % 3u, 0, tasks, len, false};
    for (size_t i = 0; i < len; i++)
        tasks[i] = (struct core_task){.number = 1 + octet(&run->in),
                                      .bytes = MIN(number(&run->in), 64 * MIB),
                                      .map_bytes = (uint32_t)MIN(number(&run->in), 65536),
                                      .frames = (uint32_t)MIN(number(&run->in), CORE_FRAMES_MAX),
                                      .attempt = octet(&run->in) % 20u,
                                      .crashes = octet(&run->in) % 3u,
                                      .budget_ms = (uint32_t)number(&run->in),
                                      .rows = (uint32_t)number(&run->in),
                                      .band = octet(&run->in),
                                      .flags = octet(&run->in) % 8u,
                                      .body = xmalloc(1)};
    core_submit(run->core, run->now, conn, &submit);
}

static void say_result(struct run *run, uint64_t conn)
{
    struct core_result results[3];
    struct uuid gateway = peer_id(octet(&run->in));
    size_t len = 1 + octet(&run->in) % ARRAY_LEN(results);
    for (size_t i = 0; i < len; i++)
        results[i] =
            (struct core_result){1 + octet(&run->in), octet(&run->in) % 2 ? STATUS_OK : STATUS_BUSY,
                                 (uint32_t)number(&run->in), number(&run->in)};
    core_result(run->core, conn, &gateway, results, len);
}

static void say_about_ids(struct run *run, uint64_t conn, uint8_t what)
{
    static const enum status statuses[] = {STATUS_BUSY, STATUS_BAD_MODEL, STATUS_NO_MODEL};
    struct core *core = run->core;
    struct uuid worker = peer_id(octet(&run->in));
    enum status status = statuses[octet(&run->in) % ARRAY_LEN(statuses)];
    uint32_t retry_ms = (uint32_t)number(&run->in);
    read_sets(run);
    switch (what % 5) {
    case 0:
        core_started(core, conn, run->sets, run->sets_len);
        break;
    case 1:
        core_nack(core, run->now, conn, run->sets, run->sets_len, status, "no", retry_ms);
        break;
    case 2:
        core_crashed(core, conn, run->sets, run->sets_len, "it crashed");
        break;
    case 3:
        core_cancel(core, conn, run->sets, run->sets_len);
        break;
    default:
        core_result_ack(core, conn, run->sets, run->sets_len, retry_ms % 2 ? &worker : NULL);
        break;
    }
}

static void one_session_event(struct run *run, uint64_t conn, uint8_t what)
{
    switch (what % 6) {
    case 0:
        core_heard(run->core, run->now, conn);
        break;
    case 1:
        core_closed(run->core, run->now, conn);
        break;
    case 2:
        core_drain(run->core, conn);
        break;
    case 3:
        core_goodbye(run->core, run->now, conn);
        break;
    case 4:
        core_expel(run->core, run->now, conn, STATUS_MALFORMED, "nonsense");
        break;
    default:
        core_credit(run->core, conn, number(&run->in), number(&run->in) * 1000);
        break;
    }
}

static void one_event(struct run *run)
{
    uint8_t what = octet(&run->in), who = octet(&run->in);
    uint32_t peer = who % PEERS;
    uint64_t control = 10 * (uint64_t)(peer + 1), conn = control + (who & 0x80 ? 1 : 0);
    struct uuid uuid = peer_id(peer);
    switch (what % 8) {
    case 0:
        say_hello(run, peer, control);
        break;
    case 1:
        core_attach(run->core, run->now, control + 1, &uuid, run->incarnations[peer],
                    run->tokens[peer]);
        break;
    case 2:
        say_submit(run, conn);
        break;
    case 3:
        say_result(run, conn);
        break;
    case 4:
        say_beat(run, conn);
        break;
    case 5:
        say_about_ids(run, conn, what / 8);
        break;
    case 6:
        one_session_event(run, conn, what / 8);
        break;
    default:
        run->now += MIN(number(&run->in), UINT64_C(1) << 24) * NS_PER_S / 100;
        core_tick(run->core, run->now);
        assert(core_next_ns(run->core) >= run->now);
        break;
    }
}

static void take_actions(struct run *run)
{
    const struct core_out *out = core_out(run->core);
    for (size_t i = 0; i < out->actions_len; i++) {
        const struct action *action = &out->actions[i];
        if (action->kind == ACTION_RELEASE)
            free(action->body);
        if (action->kind == ACTION_WELCOME)
            run->tokens[(action->conn / 10 - 1) % PEERS] = action->token;
        assert(action->len <= (action->kind == ACTION_DISPATCH ? CORE_TASKS_MAX : CORE_RANGES_MAX));
    }
    core_taken(run->core);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct core_limits limits = core_limits_default;
    struct run run = {.now = 100 * NS_PER_S, .in = {data, data + size}};
    limits.tasks_max = 40;
    limits.done_max = 10;
    limits.sessions_max = 5;
    limits.queues_max = 4;
    limits.gateway_tasks = 30;
    run.core = core_new(&limits, 1, run.now);
    for (int i = 0; i < EVENTS_MAX && run.in.at < run.in.end; i++) {
        one_event(&run);
        take_actions(&run);
        core_check(run.core);
    }
    core_end(run.core);
    take_actions(&run);
    core_destroy(&run.core, free);
    return 0;
}
