/* test_core_flows - tenants share the workers' time, whatever each of them submits */
#include "tests/unit/broker/fixture.h"

#define ACME    1000 /* numbers of its tasks begin there */
#define LAB     5000
#define ROW     MS /* what a row costs the worker */
#define TASKS   4000
#define NUMBERS 10000

static void set_up_peers(struct fixture *f)
{
    restart(f);
    f->now += 2 * BEAT;
    open_gateway(f, 1);
    open_worker(f, 2, 1000000);
    core_credit(f->core, CONTROL(2), 1000000, 1000 * MIB);
}

/* As set_up(), with room for what a flood leaves waiting. */
static int set_up_wide(void **state)
{
    set_up(state);
    struct fixture *f = *state;
    f->limits.tasks_max = f->limits.done_max = f->limits.gateway_tasks = 2 * TASKS;
    set_up_peers(f);
    return 0;
}

struct some {
    const char *tenant;
    uint32_t share, rows;
    uint8_t model;
};

static void flood(struct fixture *f, uint64_t first, uint64_t len, struct some some)
{
    for (uint64_t n = first; n < first + len; n++)
        submit_task(f, 1,
                    (struct core_task){.number = n,
                                       .rows = some.rows ? some.rows : 1,
                                       .band = 3,
                                       .tenant = some.tenant,
                                       .share = some.share},
                    some.model ? some.model : 1);
}

struct tally {
    uint64_t acme, lab; /* rows computed */
};

/* The worker computes at least `rows` rows of what it is given, in order. */
static struct tally compute(struct fixture *f, uint64_t rows)
{
    struct tally tally = {0, 0};
    while (tally.acme + tally.lab < rows) {
        static uint64_t numbers[NUMBERS];
        static uint32_t sizes[NUMBERS];
        size_t len = 0;
        tick(f);
        const struct core_out *out = core_out(f->core);
        for (; len < out->rows_len; len++) {
            numbers[len] = out->rows[len].number;
            sizes[len] = out->rows[len].rows;
        }
        assert_true(len > 0);
        forget(f);
        for (size_t i = 0; i < len; i++) {
            struct uuid gateway = peer_id(1);
            struct core_result message = {numbers[i], STATUS_OK, sizes[i], sizes[i] * ROW};
            *(numbers[i] < LAB ? &tally.acme : &tally.lab) += sizes[i];
            core_result(f->core, DATA(2), &gateway, &message, 1);
            ack(f, 1, 2, numbers[i]);
        }
    }
    return tally;
}

/* `part` of `whole` is `percent` of it, within a tenth of that. */
static void assert_part(uint64_t part, uint64_t whole, uint64_t percent)
{
    assert_in_range(part * 1000, whole * percent * 9, whole * percent * 11);
}

static void a_flood_leaves_the_others_their_share(void **state)
{
    struct fixture *f = *state;
    flood(f, ACME, 3000, (struct some){.tenant = "acme"});
    flood(f, LAB, 1000, (struct some){.tenant = "lab"});
    struct tally got = compute(f, 1600);
    assert_part(got.lab, got.acme + got.lab, 50);
}

static void shares_weigh(void **state)
{
    struct fixture *f = *state;
    flood(f, ACME, 2000, (struct some){.tenant = "acme", .share = 3});
    flood(f, LAB, 2000, (struct some){.tenant = "lab", .share = 1});
    struct tally got = compute(f, 2000);
    assert_part(got.acme, got.acme + got.lab, 75);
    assert_part(got.lab, got.acme + got.lab, 25);
}

static void time_is_shared_not_tasks(void **state)
{
    struct fixture *f = *state;
    flood(f, ACME, 400, (struct some){.tenant = "acme", .rows = 10});
    flood(f, LAB, 3000, (struct some){.tenant = "lab"});
    struct tally got = compute(f, 4000);
    assert_part(got.lab, got.acme + got.lab, 50);
}

static void many_models_are_no_greater_share(void **state)
{
    struct fixture *f = *state;
    for (uint8_t model = 1; model <= 3; model++)
        flood(f, ACME + 1000 * (model - 1), 1000, (struct some){.tenant = "acme", .model = model});
    flood(f, LAB, 1000, (struct some){.tenant = "lab"});
    struct tally got = compute(f, 1600);
    assert_part(got.lab, got.acme + got.lab, 50);
}

static void who_is_late_has_saved_nothing(void **state)
{
    struct fixture *f = *state;
    flood(f, ACME, 3500, (struct some){.tenant = "acme"});
    compute(f, 1500);
    flood(f, LAB, 1500, (struct some){.tenant = "lab"});
    struct tally got = compute(f, 1500);
    assert_part(got.lab, got.acme + got.lab, 50);
}

/* Nobody takes its model for five seconds of work: one of them is made up for, then all is equal.
 */
static void who_was_held_up_is_owed_a_second(void **state)
{
    struct fixture *f = *state;
    f->limits.refuse_ms = 500;
    set_up_peers(f);
    open_worker(f, 3, 0); /* or all workers would refuse, and the task be given up */
    flood(f, LAB, 1, (struct some){.tenant = "lab", .model = 2});
    tick(f);
    forget(f);
    nack(f, 2, 1, LAB, STATUS_BAD_MODEL);
    flood(f, ACME, 3900, (struct some){.tenant = "acme", .rows = 10});
    assert_int_equal(compute(f, 5000).lab, 0);
    pass(f, 700 * MS);
    flood(f, LAB + 1, 3900, (struct some){.tenant = "lab", .rows = 10, .model = 2});
    assert_in_range(compute(f, 4000).lab, 2300, 2700);
    struct tally got = compute(f, 4000);
    assert_part(got.lab, got.acme + got.lab, 50);
}

static void flows_are_bounded_and_used_again(void **state)
{
    struct fixture *f = *state;
    f->limits.flows_max = 2;
    set_up_peers(f);
    flood(f, ACME, 1, (struct some){.tenant = "acme"});
    flood(f, LAB, 1, (struct some){.tenant = "lab"});
    flood(f, ACME + 1, 1, (struct some){.tenant = "third"});
    assert_int_equal(last(f, ACTION_REJECTED, CONTROL(1))->status, STATUS_BUSY);
    forget(f);
    flood(f, ACME + 2, 1, (struct some){.tenant = "acme"});
    assert_int_equal(count(f, ACTION_REJECTED, 0), 0);
    compute(f, 3);
    flood(f, ACME + 3, 1, (struct some){.tenant = "third"});
    flood(f, ACME + 4, 1, (struct some){.tenant = "fourth"});
    assert_int_equal(count(f, ACTION_REJECTED, 0), 0);
    compute(f, 2);
}

#define WIDE(name) cmocka_unit_test_setup_teardown(name, set_up_wide, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WIDE(a_flood_leaves_the_others_their_share),
        WIDE(shares_weigh),
        WIDE(time_is_shared_not_tasks),
        WIDE(many_models_are_no_greater_share),
        WIDE(who_is_late_has_saved_nothing),
        WIDE(who_was_held_up_is_owed_a_second),
        WIDE(flows_are_bounded_and_used_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
