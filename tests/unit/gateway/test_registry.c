/* registry: a token admits as many nodes as it says, whatever comes at the same time or again */
#include "tests/unit/common/testing.h"

#include "common/clock.h"
#include "gateway/registry/private.h"

#include <poll.h>

#define BROKER "tcp://127.0.0.1:1=rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"

/* A gateway's parts as far as the registry needs them; no broker is there. */
struct bench {
    void *zmq;
    struct front *front;
    struct fleet *fleet;
    struct ledger *ledger;
    struct registry *registry;
    unsigned done;    /* completions */
    enum status last; /* of the last one */
};

static void post(void *front, void (*fn)(void *arg), void *arg)
{
    front_post(front, fn, arg);
}

static struct bench open_bench(const char *folder, uint64_t epoch)
{
    struct bench bench = {.zmq = zmq_ctx_new(), .front = front_new()};
    struct error why = {.status = STATUS_OK};
    struct fleet_config fleet = {.zmq = bench.zmq, .name = "test", .front = bench.front};
    fleet.incarnation = epoch;
    assert_int_equal(brokers_parse(&fleet.brokers, BROKER, &why), STATUS_OK);
    bench.fleet = fleet_new(&fleet);
    struct ledger_config ledger = {
        .folder = folder, .epoch = epoch, .post = post, .context = bench.front};
    assert_int_equal(ledger_open(&bench.ledger, &ledger, &why), STATUS_OK);
    const struct registry_config config = {bench.ledger, bench.front, bench.fleet};
    assert_int_equal(registry_open(&bench.registry, &config, &why), STATUS_OK);
    return bench;
}

static void close_bench(struct bench *bench)
{
    registry_close(&bench->registry);
    ledger_close(&bench->ledger);
    fleet_destroy(&bench->fleet);
    front_destroy(&bench->front);
    zmq_ctx_term(bench->zmq);
}

/* Turns of the loop until everything that was given to the ledger is done. */
static void settle(struct bench *bench)
{
    struct pollfd fd = {.fd = front_fd(bench->front), .events = POLLIN};
    while (bench->registry->operations > 0 || bench->registry->enrols_len > 0) {
        assert_int_equal(poll(&fd, 1, 10000), 1);
        front_turn(bench->front, clock_mono_ns());
    }
}

static void hear(void *arg, enum status status, const struct error *why)
{
    struct bench *bench = arg;
    (void)why;
    bench->done++;
    bench->last = status;
}

static void make_token(struct bench *bench, const struct registry_wish *wish,
                       uint8_t secret[static TOKEN_SECRET_BYTES])
{
    struct uuid id;
    struct error why;
    unsigned before = bench->done;
    assert_int_equal(registry_token_make(bench->registry, wish, secret, &id, hear, bench, &why),
                     STATUS_OK);
    settle(bench);
    assert_int_equal(bench->done, before + 1);
    assert_int_equal(bench->last, STATUS_OK);
}

static void ask(struct bench *bench, uint8_t key, const char *name, const uint8_t *secret)
{
    struct fleet_enrol asked = {.role = WIRE_WORKER, .request = key};
    memset(asked.key.bytes, key, sizeof asked.key.bytes);
    memcpy(asked.secret, secret, sizeof asked.secret);
    text_copy(asked.name, sizeof asked.name, name);
    registry_on_enrol(bench->registry, &asked);
}

static size_t members(const struct bench *bench)
{
    size_t count = 0;
    for (size_t i = 0; i < registry_nodes(bench->registry); i++)
        count += registry_node(bench->registry, i)->state == NODE_MEMBER;
    return count;
}

static void token_admits_as_many_as_it_says_also_at_the_same_time(void **state)
{
    (void)state;
    const char *folder = test_path("uses");
    struct bench bench = open_bench(folder, 1);
    uint8_t secret[TOKEN_SECRET_BYTES], other[TOKEN_SECRET_BYTES] = {1};
    make_token(&bench, &(struct registry_wish){WIRE_WORKER, 3, 60}, secret);
    for (uint8_t key = 1; key <= 9; key++)
        ask(&bench, key, "node", secret); /* before any of them is committed */
    settle(&bench);
    assert_int_equal(members(&bench), 3);
    assert_int_equal(registry_token(bench.registry, 0)->used, 3);
    ask(&bench, 20, "node", secret);
    ask(&bench, 21, "node", other);
    settle(&bench);
    assert_int_equal(members(&bench), 3);
    assert_non_null(registry_find(bench.registry, "node"));
    assert_non_null(registry_find(bench.registry, "node-2"));
    assert_non_null(registry_find(bench.registry, "node-3"));
    int64_t version = bench.registry->version;
    close_bench(&bench);

    bench = open_bench(folder, 2); /* all of it is in the ledger, and nothing else */
    assert_int_equal(members(&bench), 3);
    assert_int_equal(registry_token(bench.registry, 0)->used, 3);
    assert_true(bench.registry->version == version);
    ask(&bench, 22, "late", secret);
    settle(&bench);
    assert_int_equal(members(&bench), 3);
    close_bench(&bench);
}

/* What is logged while the same key asks twice at the same time, into a static buffer. */
static const char *asked_twice(struct bench *bench, const uint8_t *secret)
{
    static char text[8192];
    int pipes[2], old = dup(STDERR_FILENO);
    assert_int_equal(pipe(pipes), 0);
    dup2(pipes[1], STDERR_FILENO);
    close(pipes[1]);
    ask(bench, 1, "a", secret);
    ask(bench, 1, "a", secret);
    settle(bench);
    dup2(old, STDERR_FILENO);
    close(old);
    ssize_t got = read(pipes[0], text, sizeof text - 1);
    close(pipes[0]);
    text[MAX(got, 0)] = '\0';
    return text;
}

static void one_use_is_not_used_up_for_the_key_that_is_using_it(void **state)
{
    (void)state;
    struct bench bench = open_bench(test_path("busy"), 1);
    uint8_t secret[TOKEN_SECRET_BYTES];
    make_token(&bench, &(struct registry_wish){WIRE_WORKER, 1, 60}, secret);
    const char *said = asked_twice(&bench, secret);
    assert_non_null(strstr(said, "is being admitted: ask again"));
    assert_null(strstr(said, "used up"));
    assert_int_equal(members(&bench), 1);
    close_bench(&bench);
}

static void question_that_comes_again_costs_no_second_use(void **state)
{
    (void)state;
    struct bench bench = open_bench(test_path("again"), 1);
    uint8_t secret[TOKEN_SECRET_BYTES];
    make_token(&bench, &(struct registry_wish){WIRE_WORKER, 2, 60}, secret);
    ask(&bench, 1, "a", secret);
    ask(&bench, 1, "a", secret); /* through another broker, while it is being committed */
    settle(&bench);
    ask(&bench, 1, "a", secret); /* its answer was lost */
    settle(&bench);
    assert_int_equal(members(&bench), 1);
    assert_int_equal(registry_token(bench.registry, 0)->used, 1);
    close_bench(&bench);
}

static void wrong_role_and_expired_and_removed_tokens_admit_nobody(void **state)
{
    (void)state;
    struct bench bench = open_bench(test_path("wrong"), 1);
    uint8_t gateway[TOKEN_SECRET_BYTES], late[TOKEN_SECRET_BYTES], gone[TOKEN_SECRET_BYTES];
    make_token(&bench, &(struct registry_wish){WIRE_GATEWAY, 1, 60}, gateway);
    make_token(&bench, &(struct registry_wish){WIRE_WORKER, 1, 60}, late);
    make_token(&bench, &(struct registry_wish){WIRE_WORKER, 1, 60}, gone);
    bench.registry->tokens[1].record.expires_ms = clock_wall_ms() - 1;
    registry_token_remove(bench.registry, registry_token(bench.registry, 2), hear, &bench);
    settle(&bench);
    ask(&bench, 1, "a", gateway);
    ask(&bench, 2, "b", late);
    ask(&bench, 3, "c", gone);
    settle(&bench);
    assert_int_equal(registry_nodes(bench.registry), 0);
    close_bench(&bench);
}

/* As registry_node_rotate() makes it; the secret goes to the node only. */
static void offer_rotation(struct bench *bench, const char *name,
                           uint8_t secret[static TOKEN_SECRET_BYTES])
{
    memset(secret, 7, TOKEN_SECRET_BYTES);
    const struct ledger_token record = {.id = id_new(),
                                        .hash = token_hash(secret),
                                        .node = registry_find(bench->registry, name)->public,
                                        .role = WIRE_WORKER,
                                        .uses = 1,
                                        .expires_ms = clock_wall_ms() + 60000};
    registry_keep_token(bench->registry, &record);
}

static void new_key_takes_the_name_and_the_old_one_ends(void **state)
{
    (void)state;
    struct bench bench = open_bench(test_path("rotate"), 1);
    uint8_t secret[TOKEN_SECRET_BYTES];
    make_token(&bench, &(struct registry_wish){WIRE_WORKER, 1, 60}, secret);
    ask(&bench, 1, "turning", secret);
    settle(&bench);
    offer_rotation(&bench, "turning", secret);
    ask(&bench, 2, "whatever it says", secret);
    settle(&bench);
    const struct ledger_node *node = registry_find(bench.registry, "turning");
    assert_int_equal(node->public.bytes[0], 2);
    assert_int_equal(node->until_ms, 0);
    assert_int_equal(members(&bench), 2); /* the old one still works for a minute */
    for (size_t i = 0; i < 2; i++)        /* a minute later */
        if (bench.registry->nodes[i].until_ms)
            bench.registry->nodes[i].until_ms = 1;
    registry_tick(bench.registry);
    settle(&bench);
    assert_int_equal(members(&bench), 1);
    registry_node_set(bench.registry, registry_find(bench.registry, "turning"), NODE_REVOKED, hear,
                      &bench);
    settle(&bench);
    assert_int_equal(members(&bench), 0);
    close_bench(&bench);
}

static void revoking_a_node_ends_its_old_key_as_well(void **state)
{
    (void)state;
    struct bench bench = open_bench(test_path("both"), 1);
    uint8_t secret[TOKEN_SECRET_BYTES];
    make_token(&bench, &(struct registry_wish){WIRE_WORKER, 2, 60}, secret);
    ask(&bench, 1, "same", secret);
    ask(&bench, 2, "other", secret);
    settle(&bench);
    struct ledger_node *old = &bench.registry->nodes[1];
    ledger_text_set(&old->name, "same");
    old->until_ms = clock_wall_ms() + 60000;
    registry_node_set(bench.registry, registry_find(bench.registry, "same"), NODE_REVOKED, hear,
                      &bench);
    settle(&bench);
    assert_int_equal(bench.last, STATUS_OK);
    assert_int_equal(members(&bench), 0);
    close_bench(&bench);
}

enum order { REVOKED_LONG_BEFORE, REVOKED_JUST_BEFORE, REVOKED_JUST_AFTER, ORDERS };

static void revoked_node_does_not_come_back_by_its_next_key(void **state)
{
    (void)state;
    for (enum order order = 0; order < ORDERS; order++) {
        const char *folder = test_path(((const char *[]){"long", "before", "after"})[order]);
        struct bench bench = open_bench(folder, 1);
        uint8_t secret[TOKEN_SECRET_BYTES], next[TOKEN_SECRET_BYTES];
        make_token(&bench, &(struct registry_wish){WIRE_WORKER, 1, 60}, secret);
        ask(&bench, 1, "stolen", secret);
        settle(&bench);
        offer_rotation(&bench, "stolen", next);
        if (order == REVOKED_JUST_AFTER)
            ask(&bench, 2, "stolen", next);
        registry_node_set(bench.registry, registry_find(bench.registry, "stolen"), NODE_REVOKED,
                          hear, &bench);
        if (order == REVOKED_LONG_BEFORE)
            settle(&bench);
        ask(&bench, 2, "stolen", next);
        settle(&bench);
        ask(&bench, 2, "stolen", next);
        settle(&bench);
        assert_int_equal(bench.last, STATUS_OK);
        assert_int_equal(members(&bench), 0);
        close_bench(&bench);
        bench = open_bench(folder, 2); /* nor after a restart */
        assert_int_equal(members(&bench), 0);
        close_bench(&bench);
    }
}

static void what_is_under_way_at_the_end_is_finished(void **state)
{
    (void)state;
    const char *folder = test_path("end");
    struct bench bench = open_bench(folder, 1);
    uint8_t secret[TOKEN_SECRET_BYTES];
    make_token(&bench, &(struct registry_wish){WIRE_WORKER, 5, 60}, secret);
    for (uint8_t key = 1; key <= 5; key++)
        ask(&bench, key, "node", secret);
    close_bench(&bench); /* the ledger commits what it was given */
    bench = open_bench(folder, 2);
    assert_int_equal(members(&bench), 5);
    close_bench(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(token_admits_as_many_as_it_says_also_at_the_same_time),
        cmocka_unit_test(one_use_is_not_used_up_for_the_key_that_is_using_it),
        cmocka_unit_test(question_that_comes_again_costs_no_second_use),
        cmocka_unit_test(wrong_role_and_expired_and_removed_tokens_admit_nobody),
        cmocka_unit_test(new_key_takes_the_name_and_the_old_one_ends),
        cmocka_unit_test(revoking_a_node_ends_its_old_key_as_well),
        cmocka_unit_test(revoked_node_does_not_come_back_by_its_next_key),
        cmocka_unit_test(what_is_under_way_at_the_end_is_finished),
    };
    return cmocka_run_group_tests(tests, NULL, test_scratch_end);
}
