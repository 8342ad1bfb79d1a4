/* registry: snapshots of several gateways, whose opinion counts, and the file that keeps them */
#include "tests/unit/common/testing.h"

#include "broker/registry.h"
#include "common/file.h"

#include <sys/stat.h>

static struct error why;

static struct curve_key key_of(uint8_t fill)
{
    struct curve_key key;
    memset(key.bytes, fill, sizeof key.bytes);
    return key;
}

static struct registry_node node_of(uint8_t fill, enum wire_standing standing)
{
    struct registry_node node = {.role = WIRE_WORKER, .standing = standing};
    node.key = key_of(fill);
    snprintf(node.name, sizeof node.name, "node %u", fill);
    return node;
}

/* With these gateways in its configuration. */
static struct registry *registry_of(uint8_t first, uint8_t last)
{
    struct registry *self = registry_new();
    char text[CURVE_TEXT_SIZE];
    for (unsigned fill = first; fill <= last; fill++) {
        struct curve_key key = key_of((uint8_t)fill);
        assert_int_equal(registry_configure(self, curve_key_text(text, &key), &why), STATUS_OK);
    }
    return self;
}

/* A whole snapshot in one part; whether the table changed. */
static bool push(struct registry *self, uint8_t gateway, uint64_t version,
                 const struct registry_node *nodes, size_t len)
{
    struct curve_key from = key_of(gateway);
    struct registry_part part = {
        .version = version, .part = 1, .parts = 1, .nodes = nodes, .len = len};
    bool whole, changed;
    assert_int_equal(registry_take(self, &from, &part, &whole, &changed, &why), STATUS_OK);
    assert_true(whole);
    return changed;
}

static enum wire_standing standing(struct registry *self, uint8_t fill)
{
    struct curve_key key = key_of(fill);
    struct registry_node node;
    return registry_find(self, &key, &node) ? node.standing : 0;
}

static void newest_snapshot_of_a_gateway_counts_and_gone_nodes_are_gone(void **state)
{
    (void)state;
    struct registry *r = registry_of(100, 100);
    struct registry_node nodes[] = {node_of(9, WIRE_MEMBER), node_of(3, WIRE_REVOKED)};
    struct curve_key from = key_of(100);
    assert_true(push(r, 100, 5, nodes, 2));
    assert_int_equal(standing(r, 9), WIRE_MEMBER);
    assert_int_equal(standing(r, 3), WIRE_REVOKED);
    assert_int_equal(standing(r, 4), 0);
    assert_int_equal(registry_members(r), 2); /* the gateway too */
    assert_false(push(r, 100, 5, nodes, 2));  /* again: nothing is new */
    assert_false(push(r, 100, 4, nodes, 0));  /* an older one */
    assert_int_equal(registry_version(r, &from), 5);
    assert_true(push(r, 100, 6, nodes + 1, 1));
    assert_int_equal(standing(r, 9), 0);
    registry_destroy(&r);
    registry_destroy(&r); /* twice is harmless */
}

static void of_two_gateways_the_stricter_holds_and_configuration_over_both(void **state)
{
    (void)state;
    struct registry *r = registry_of(100, 101);
    struct registry_node members[] = {node_of(1, WIRE_MEMBER), node_of(2, WIRE_MEMBER)};
    struct registry_node strict[] = {node_of(1, WIRE_DRAINING), node_of(2, WIRE_REVOKED)};
    struct registry_node *configured = &strict[0];
    char text[CURVE_TEXT_SIZE];
    push(r, 100, 1, members, 2);
    push(r, 101, 1, strict, 2);
    assert_int_equal(standing(r, 1), WIRE_DRAINING);
    assert_int_equal(standing(r, 2), WIRE_REVOKED);
    push(r, 101, 2, NULL, 0);
    assert_int_equal(standing(r, 2), WIRE_MEMBER);
    configured->standing = WIRE_REVOKED;
    push(r, 101, 3, configured, 1);
    assert_int_equal(registry_gateways(r), 2);
    assert_int_equal(registry_configure(r, curve_key_text(text, &configured->key), &why),
                     STATUS_OK);
    assert_int_equal(standing(r, 1), WIRE_MEMBER);
    assert_int_equal(registry_gateways(r), 3);
    registry_destroy(&r);
}

static struct registry_node gateway_of(uint8_t fill, enum wire_standing standing)
{
    struct registry_node node = node_of(fill, standing);
    node.role = WIRE_GATEWAY;
    return node;
}

static void gateway_that_is_out_takes_along_whoever_it_let_in(void **state)
{
    (void)state;
    const char *path = test_path("out");
    struct registry *r = registry_of(100, 100);
    struct registry_node second = gateway_of(101, WIRE_MEMBER),
                         third = gateway_of(102, WIRE_MEMBER);
    struct registry_node mine = node_of(1, WIRE_MEMBER), its = node_of(2, WIRE_MEMBER);
    struct registry_node both[] = {second, mine}, left[] = {third, its};
    assert_int_equal(registry_open(r, path, &why), STATUS_OK);
    push(r, 102, 1, &its, 1); /* nobody knows 102 yet */
    assert_int_equal(standing(r, 2), 0);
    push(r, 101, 1, left, 1);
    assert_int_equal(standing(r, 102), 0);
    push(r, 100, 1, both, 2); /* now 100 vouches for 101, and that one for 102 */
    assert_int_equal(standing(r, 102), WIRE_MEMBER);
    assert_int_equal(standing(r, 2), WIRE_MEMBER);
    assert_int_equal(registry_save(r, &why), STATUS_OK);
    both[0].standing = WIRE_REVOKED;
    assert_true(push(r, 100, 2, both, 2));
    assert_int_equal(standing(r, 101), WIRE_REVOKED);
    assert_int_equal(standing(r, 102), 0);
    assert_int_equal(standing(r, 2), 0);
    assert_int_equal(standing(r, 1), WIRE_MEMBER);
    both[1].standing = WIRE_REVOKED; /* and its opinions count no more, on anybody */
    push(r, 101, 2, both, 2);
    assert_int_equal(standing(r, 1), WIRE_MEMBER);
    registry_destroy(&r);
    r = registry_of(103, 103); /* 100 left the configuration: what the file has of it is no use */
    assert_int_equal(registry_open(r, path, &why), STATUS_OK);
    assert_int_equal(registry_members(r), 1);
    registry_destroy(&r);
}

static void parts_must_follow_each_other_and_only_the_last_one_counts(void **state)
{
    (void)state;
    struct registry *r = registry_of(100, 100);
    struct registry_node nodes[] = {node_of(1, WIRE_MEMBER), node_of(2, WIRE_MEMBER)};
    struct curve_key from = key_of(100);
    bool whole, changed;
    struct registry_part part = {.version = 1, .part = 1, .parts = 2, .nodes = nodes, .len = 1};
    assert_int_equal(registry_take(r, &from, &part, &whole, &changed, &why), STATUS_OK);
    assert_false(whole || changed);
    assert_int_equal(standing(r, 1), 0);
    part.version = 2; /* of another snapshot */
    part.part = 2;
    assert_int_equal(registry_take(r, &from, &part, &whole, &changed, &why), STATUS_MALFORMED);
    part.version = 1; /* the draft is gone with it */
    assert_int_equal(registry_take(r, &from, &part, &whole, &changed, &why), STATUS_MALFORMED);
    part.part = 1;
    assert_int_equal(registry_take(r, &from, &part, &whole, &changed, &why), STATUS_OK);
    part.part = 2;
    part.nodes = nodes + 1;
    assert_int_equal(registry_take(r, &from, &part, &whole, &changed, &why), STATUS_OK);
    assert_true(whole && changed);
    assert_int_equal(registry_members(r), 3);
    part.part = 3;
    assert_int_equal(registry_take(r, &from, &part, &whole, &changed, &why), STATUS_MALFORMED);
    registry_destroy(&r);
}

static void nothing_grows_without_bound(void **state)
{
    (void)state;
    struct registry *r = registry_of(1, REGISTRY_SOURCES);
    struct registry_node *many = xcalloc(REGISTRY_NODES + 1, sizeof *many);
    struct curve_key from = key_of(1);
    bool whole, changed;
    struct registry_part part = {
        .version = 1, .part = 1, .parts = 1, .nodes = many, .len = REGISTRY_NODES + 1};
    assert_int_equal(registry_take(r, &from, &part, &whole, &changed, &why), STATUS_TOO_LARGE);
    for (uint8_t i = 1; i <= REGISTRY_SOURCES; i++)
        push(r, i, 1, NULL, 0);
    from = key_of(200);
    part.len = 0;
    assert_int_equal(registry_take(r, &from, &part, &whole, &changed, &why), STATUS_TOO_LARGE);
    assert_why(&why, STATUS_TOO_LARGE, "remove");
    free(many);
    registry_destroy(&r);
}

static void gateways_that_are_out_make_room(void **state)
{
    (void)state;
    struct registry *r = registry_of(100, 100);
    for (uint8_t i = 1; i < REGISTRY_SOURCES; i++)
        push(r, i, 1, &(struct registry_node){.role = WIRE_WORKER}, 1);
    struct registry_node node = node_of(200, WIRE_MEMBER);
    assert_true(push(r, 100, 1, &node, 1));
    push(r, 99, 1, &node, 1);
    assert_int_equal(standing(r, 200), WIRE_MEMBER);
    registry_destroy(&r);
}

static void file_brings_the_same_table_back_and_a_damaged_one_is_refused(void **state)
{
    (void)state;
    const char *path = test_path("registry");
    struct registry_node nodes[] = {node_of(9, WIRE_MEMBER), node_of(3, WIRE_REVOKED),
                                    node_of(5, WIRE_DRAINING)};
    struct curve_key from = key_of(100);
    struct stat info;
    char *text;
    size_t size;
    nodes[2].name[0] = '\0';
    struct registry *r = registry_of(100, 101);
    assert_int_equal(registry_open(r, path, &why), STATUS_OK);
    assert_false(registry_unsaved(r));
    push(r, 100, 7, nodes, 3);
    push(r, 101, 8, nodes, 1);
    assert_true(registry_unsaved(r));
    assert_int_equal(registry_save(r, &why), STATUS_OK);
    assert_false(registry_unsaved(r));
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
    registry_destroy(&r);
    r = registry_of(100, 101);
    assert_int_equal(registry_open(r, path, &why), STATUS_OK);
    assert_int_equal(registry_version(r, &from), 7);
    assert_int_equal(standing(r, 9), WIRE_MEMBER);
    assert_int_equal(standing(r, 3), WIRE_REVOKED);
    assert_int_equal(standing(r, 5), WIRE_DRAINING);
    assert_false(push(r, 100, 7, nodes, 3)); /* and says so */
    registry_destroy(&r);
    assert_int_equal(file_read(&text, &size, path, 65536, &why), STATUS_OK);
    for (size_t cut = 0; cut + 1 < size; cut++) { /* every shorter file */
        assert_int_equal(file_write_private(path, text, cut, &why), STATUS_OK);
        r = registry_new();
        assert_int_equal(registry_open(r, path, &why), STATUS_INVALID);
        registry_destroy(&r);
    }
    free(text);
}

static void gateway_keys_are_a_list_or_a_file_and_a_wrong_one_is_named(void **state)
{
    (void)state;
    struct curve_identity a, b;
    char text_a[CURVE_TEXT_SIZE], text_b[CURVE_TEXT_SIZE];
    const char *path = test_path("keys");
    struct registry_node node;
    curve_identity_make(&a);
    curve_identity_make(&b);
    curve_key_text(text_a, &a.public_key);
    curve_key_text(text_b, &b.public_key);
    char *list = xasprintf("%s, %s", text_a, text_b);
    char *wrong = xasprintf("%s,nonsense", text_a);
    char *lines = xasprintf("# ours\n%s first one\n\n%s\n", text_a, text_b);
    struct registry *r = registry_new();
    assert_int_equal(registry_configure(r, "", &why), STATUS_OK);
    assert_int_equal(registry_configure(r, list, &why), STATUS_OK);
    assert_int_equal(registry_gateways(r), 2);
    assert_int_equal(registry_configure(r, wrong, &why), STATUS_INVALID);
    assert_why(&why, STATUS_INVALID, "nonsense");
    registry_destroy(&r);
    r = registry_new();
    assert_int_equal(registry_configure(r, "no/such/file", &why), STATUS_INVALID);
    assert_why(&why, STATUS_INVALID, "no/such/file");
    assert_int_equal(file_write(path, lines, strlen(lines), false, &why), STATUS_OK);
    assert_int_equal(registry_configure(r, path, &why), STATUS_OK);
    assert_int_equal(registry_gateways(r), 2);
    assert_true(registry_find(r, &a.public_key, &node));
    assert_string_equal(node.name, "first one");
    registry_destroy(&r);
    r = registry_new();
    assert_int_equal(file_write(path, "nonsense\n", 9, false, &why), STATUS_OK);
    assert_int_equal(registry_configure(r, path, &why), STATUS_INVALID);
    assert_why(&why, STATUS_INVALID, ":1:");
    registry_destroy(&r);
    free(list);
    free(wrong);
    free(lines);
    curve_identity_wipe(&a);
    curve_identity_wipe(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(newest_snapshot_of_a_gateway_counts_and_gone_nodes_are_gone),
        cmocka_unit_test(of_two_gateways_the_stricter_holds_and_configuration_over_both),
        cmocka_unit_test(gateway_that_is_out_takes_along_whoever_it_let_in),
        cmocka_unit_test(parts_must_follow_each_other_and_only_the_last_one_counts),
        cmocka_unit_test(nothing_grows_without_bound),
        cmocka_unit_test(gateways_that_are_out_make_room),
        cmocka_unit_test(file_brings_the_same_table_back_and_a_damaged_one_is_refused),
        cmocka_unit_test(gateway_keys_are_a_list_or_a_file_and_a_wrong_one_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, test_scratch_end);
}
