/* shares: the list of tenants as a person writes it */
#include "tests/unit/common/testing.h"

#include "gateway/shares.h"

static void the_named_have_theirs_and_others_one(void **state)
{
    struct shares *shares = NULL;
    struct error why;
    (void)state;
    assert_int_equal(shares_parse(&shares, "acme=3,lab=1000", &why), STATUS_OK);
    assert_int_equal(shares_of(shares, "acme"), 3);
    assert_int_equal(shares_of(shares, "lab"), 1000);
    assert_int_equal(shares_of(shares, "acm"), 1);
    assert_int_equal(shares_of(shares, ""), 1);
    assert_int_equal(shares_of(shares, NULL), 1);
    shares_destroy(&shares);
    assert_int_equal(shares_parse(&shares, "", &why), STATUS_OK);
    assert_int_equal(shares_of(shares, "acme"), 1);
    shares_destroy(&shares);
    assert_int_equal(shares_of(NULL, "acme"), 1);
}

static void what_is_no_share_is_named(void **state)
{
    static const char *const wrong[] = {
        "acme",      "acme=",
        "=3",        "acme=0",
        "acme=1001", "acme=-1",
        "acme=3x",   "acme=99999",
        "a=1,,b=2",  "a=1,b",
        "acme=3=3",  "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklm=1"};
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct shares *shares = NULL;
        struct error why = {.status = STATUS_OK};
        assert_int_equal(shares_parse(&shares, wrong[i], &why), STATUS_INVALID);
        assert_null(shares);
        assert_non_null(strstr(why.text, "tenant_shares"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_named_have_theirs_and_others_one),
        cmocka_unit_test(what_is_no_share_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
