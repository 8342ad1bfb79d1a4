/* token: what is written is read; what is cut, mistyped or made up is refused with the reason */
#include "tests/unit/common/testing.h"

#include "common/token.h"
#include "common/wire.h"

static struct token made(size_t brokers)
{
    struct token token = {.brokers_len = brokers, .role = WIRE_WORKER};
    for (size_t i = 0; i < brokers; i++) {
        snprintf(token.brokers[i].control, NET_ADDRESS_MAX, "tcp://10.0.0.%zu:7700", i + 1);
        snprintf(token.brokers[i].enrol, NET_ADDRESS_MAX, "tcp://10.0.0.%zu:7702", i + 1);
        memset(token.brokers[i].key.bytes, (int)i + 1, CURVE_KEY_BYTES);
    }
    for (size_t i = 0; i < sizeof token.secret; i++)
        token.secret[i] = (uint8_t)(7 * i);
    return token;
}

static void what_is_written_is_read(void **state)
{
    (void)state;
    for (size_t brokers = 1; brokers <= TOKEN_BROKERS_MAX; brokers++) {
        struct token token = made(brokers), read;
        struct error why = {.status = STATUS_OK};
        char *line = token_write(&token);
        assert_memory_equal(line, TOKEN_PREFIX, strlen(TOKEN_PREFIX));
        assert_null(strpbrk(line, " \n'\"$&;+/="));
        char *pasted = xasprintf(" %s\r\n", line);
        assert_int_equal(token_read(&read, pasted, &why), STATUS_OK);
        assert_int_equal(read.role, WIRE_WORKER);
        assert_int_equal(read.brokers_len, brokers);
        assert_string_equal(read.brokers[brokers - 1].enrol, token.brokers[brokers - 1].enrol);
        assert_string_equal(read.brokers[brokers - 1].control, token.brokers[brokers - 1].control);
        assert_memory_equal(&read.brokers[brokers - 1].key, &token.brokers[brokers - 1].key,
                            CURVE_KEY_BYTES);
        assert_memory_equal(read.secret, token.secret, sizeof token.secret);
        free(pasted);
        free(line);
    }
}

static void a_line_that_was_cut_or_mistyped_is_refused(void **state)
{
    (void)state;
    struct token token = made(2), read;
    uint64_t seed = test_seed();
    char *line = token_write(&token);
    size_t length = strlen(line);
    for (size_t cut = 0; cut < length; cut++) {
        struct error why = {.status = STATUS_OK};
        char *shorter = strndup(line, cut);
        assert_int_equal(token_read(&read, shorter, &why), STATUS_INVALID);
        assert_int_equal(read.brokers_len, 0);
        free(shorter);
    }
    for (int i = 0; i < 20000; i++) {
        char *other = xstrdup(line);
        size_t at = (size_t)(test_random(&seed) % length);
        other[at] = (char)(1 + test_random(&seed) % 126);
        struct error why = {.status = STATUS_OK};
        /* The last character has bits that mean nothing. */
        if (other[at] != line[at] && at + 1 < length)
            assert_int_equal(token_read(&read, other, &why), STATUS_INVALID);
        free(other);
    }
    free(line);
}

static void what_is_no_token_is_told_what_one_looks_like(void **state)
{
    (void)state;
    struct token read;
    struct error why = {.status = STATUS_OK};
    assert_int_equal(token_read(&read, "", &why), STATUS_INVALID);
    assert_why(&why, STATUS_INVALID, "expected cvt1_");
    assert_int_equal(token_read(&read, "tcp://10.0.0.1:7700", &why), STATUS_INVALID);
    assert_int_equal(token_read(&read, "cvt1_", &why), STATUS_INVALID);
    assert_why(&why, STATUS_INVALID, "copy the whole line");
    assert_int_equal(token_read(&read, "cvt1_abc def", &why), STATUS_INVALID);
    assert_why(&why, STATUS_INVALID, "at place 9");
}

static void the_hash_is_blake2b_256(void **state)
{
    (void)state;
    const uint8_t secret[TOKEN_SECRET_BYTES] = {0};
    char text[DIGEST_TEXT_SIZE];
    struct digest hash = token_hash(secret);
    /* b2sum -l 256 of 32 zero octets */
    assert_string_equal(digest_text(text, &hash),
                        "89eb0d6a8a691dae2cd15ed0369931ce0a949ecafa5c3f93f8121833646e15c3");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(a_line_that_was_cut_or_mistyped_is_refused),
        cmocka_unit_test(what_is_no_token_is_told_what_one_looks_like),
        cmocka_unit_test(the_hash_is_blake2b_256),
    };
    return cmocka_run_group_tests(tests, NULL, test_scratch_end);
}
