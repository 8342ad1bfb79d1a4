/* test_conns - the map under everything, and the shell's table of connections */
#include "broker/conns.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <cmocka.h>

#define MS UINT64_C(1000000)

struct numbers {
    uint64_t of[1024]; /* by id */
};

static bool same(const void *owner, uint32_t id, const void *key)
{
    return ((const struct numbers *)owner)->of[id] == *(const uint64_t *)key;
}

static void a_map_finds_exactly_what_is_in_it(void **state)
{
    static struct numbers numbers;
    bool inside[1024] = {false};
    struct map map;
    unsigned seed = (unsigned)time(NULL);
    (void)state;
    printf("seed %u\n", seed);
    srand(seed);
    map_open(&map, 512, &numbers, same);
    for (int turn = 0; turn < 200000; turn++) {
        uint32_t id = (uint32_t)rand() % 1024;
        uint64_t hash = map_mix(id % 64) & ~UINT64_C(0xff00000000); /* many share their home */
        numbers.of[id] = id;
        uint64_t key = id;
        assert_int_equal(map_find(&map, hash, &key), inside[id] ? id : NONE);
        if (inside[id])
            map_remove(&map, hash, id);
        else if (map.len < 512)
            map_put(&map, hash, id);
        else
            continue;
        inside[id] = !inside[id];
    }
    map_close(&map);
}

static void a_number_gives_its_plane_and_route_back(void **state)
{
    const uint8_t route[5] = {0, 1, 2, 3, 255};
    uint8_t back[CONN_ROUTE_MAX];
    (void)state;
    for (uint32_t plane = 0; plane < 2; plane++) {
        uint64_t key = conn_key(plane, route, sizeof(route));
        assert_int_equal(conn_port(key), plane);
        assert_int_equal(conn_route(key, back), sizeof(route));
        assert_memory_equal(back, route, sizeof(route));
    }
    assert_int_equal(conn_key(0, route, 0), 0);
    assert_int_equal(conn_key(0, (const uint8_t[8]){1}, 8), 0); /* not one of libzmq's own */
    assert_true(conn_key(0, route, 4) != conn_key(0, route, 5));
}

static void a_descriptor_belongs_to_the_last_that_used_it(void **state)
{
    struct conns conns;
    (void)state;
    conns_open(&conns, 8, 100);
    conns_tie(&conns, conns_meet(&conns, 1, 0), 7);
    assert_int_equal(conns_untie(&conns, 7), 1);
    assert_int_equal(conns_untie(&conns, 7), 0);
    conns_tie(&conns, conns_meet(&conns, 1, 0), 7);
    conns_tie(&conns, conns_meet(&conns, 2, 0), 7);
    assert_int_equal(conns_find(&conns, 1)->fd, -1);
    assert_int_equal(conns_untie(&conns, 7), 2);
    conns_tie(&conns, conns_meet(&conns, 2, 0), 1000); /* beyond what is remembered */
    assert_int_equal(conns_find(&conns, 2)->fd, -1);
    conns_close(&conns);
}

static void a_full_table_drops_the_longest_silent_stranger(void **state)
{
    struct conns conns;
    (void)state;
    conns_open(&conns, 3, 100);
    conns_tie(&conns, conns_meet(&conns, 1, 10), 7); /* older, but its end will be told */
    conns_meet(&conns, 2, 20);
    conns_meet(&conns, 3, 30);
    conns_meet(&conns, 4, 40);
    assert_non_null(conns_find(&conns, 1));
    assert_null(conns_find(&conns, 2));
    assert_non_null(conns_find(&conns, 3));
    assert_non_null(conns_find(&conns, 4));
    conns_close(&conns);
}

static void the_third_strike_within_a_minute_counts(void **state)
{
    struct conn conn = {.key = 1};
    (void)state;
    assert_false(conn_strike(&conn, 1 * MS));
    assert_false(conn_strike(&conn, 2 * MS));
    assert_true(conn_strike(&conn, 3 * MS));
    conn = (struct conn){.key = 1};
    assert_false(conn_strike(&conn, 1 * MS));
    assert_false(conn_strike(&conn, 50000 * MS));
    assert_false(conn_strike(&conn, 70000 * MS));
}

static void errors_are_at_most_one_a_second(void **state)
{
    struct conn conn = {.key = 1};
    (void)state;
    assert_true(conn_may_complain(&conn, 5000 * MS));
    assert_false(conn_may_complain(&conn, 5900 * MS));
    assert_true(conn_may_complain(&conn, 6000 * MS));
}

static void a_kick_waits_for_the_goodbye(void **state)
{
    struct conns conns;
    (void)state;
    conns_open(&conns, 8, 100);
    struct conn *conn = conns_meet(&conns, 1, 0);
    conns_tie(&conns, conn, 7);
    conns_kick_later(&conns, conn, 1000 * MS);
    assert_int_equal(conns_next_kick(&conns, 1000 * MS), -1);
    assert_int_equal(conns_next_kick(&conns, (1000 + CONN_FAREWELL_MS) * MS), 7);
    assert_int_equal(conns_next_kick(&conns, (1000 + CONN_FAREWELL_MS) * MS), -1);
    conns_close(&conns);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_map_finds_exactly_what_is_in_it),
        cmocka_unit_test(a_number_gives_its_plane_and_route_back),
        cmocka_unit_test(a_descriptor_belongs_to_the_last_that_used_it),
        cmocka_unit_test(a_full_table_drops_the_longest_silent_stranger),
        cmocka_unit_test(the_third_strike_within_a_minute_counts),
        cmocka_unit_test(errors_are_at_most_one_a_second),
        cmocka_unit_test(a_kick_waits_for_the_goodbye),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
