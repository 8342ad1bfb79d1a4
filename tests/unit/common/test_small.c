/* clock, ids, crc32c, digest and texts */
#include "testing.h"

#include "common/clock.h"
#include "common/crc32c.h"
#include "common/digest.h"

static void wall_time_prints_as_iso_8601(void **state)
{
    char text[CLOCK_TEXT_SIZE];
    (void)state;
    assert_string_equal(clock_text(text, 0), "1970-01-01T00:00:00.000Z");
    assert_string_equal(clock_text(text, 1709210096789), "2024-02-29T12:34:56.789Z");
    assert_string_equal(clock_text(text, -1), "1969-12-31T23:59:59.999Z");
    assert_string_equal(clock_text(text, INT64_MAX), "out-of-range");
}

static void a_cleaned_text_is_utf_8_without_control_characters(void **state)
{
    static const char *const cases[][2] = {
        {"", ""},
        {"plain", "plain"},
        {"\xc3\xa4 \xe2\x82\xac \xf0\x9f\x9a\x9a", "\xc3\xa4 \xe2\x82\xac \xf0\x9f\x9a\x9a"},
        {"two\nlines\x7f\x1b[2J", "two?lines??[2J"},
        {"cut \xe2\x82", "cut ??"},                    /* in the middle of a character */
        {"\xc0\xaf \xe0\x80\xaf", "?? ???"},           /* longer than needed */
        {"\xed\xa0\x80 \xf4\x90\x80\x80", "??? ????"}, /* surrogates; past the end */
        {"\xff\xfe\x80 a", "??? a"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char text[64];
        text_copy(text, sizeof text, cases[i][0]);
        text_clean(text);
        assert_string_equal(text, cases[i][1]);
    }
}

static void monotonic_clock_never_goes_back(void **state)
{
    (void)state;
    uint64_t before = clock_mono_ns();
    for (int i = 0; i < 1000; i++) {
        uint64_t now = clock_mono_ns();
        assert_true(now >= before);
        before = now;
    }
}

static void public_ids_carry_their_time_and_are_version_4(void **state)
{
    (void)state;
    uint64_t from = (uint64_t)clock_wall_ms();
    struct uuid id = id_new();
    uint64_t to = (uint64_t)clock_wall_ms(), ms = 0;
    for (int i = 0; i < 6; i++)
        ms = ms << 8 | id.bytes[i];
    assert_in_range(ms, from, to);
    assert_int_equal(id.bytes[6] >> 4, 4);
    assert_int_equal(id.bytes[8] >> 6, 2);
}

static void ids_differ_and_compare_by_age(void **state)
{
    (void)state;
    struct uuid old = id_new(), young;
    for (int i = 0; i < 10000; i++, old = young) { /* many within one millisecond */
        young = id_new();
        assert_true(id_compare(&old, &young) < 0);
    }
    assert_false(id_equal(&old, &(struct uuid){{0}}));
    assert_true(id_equal(&old, &old));
    struct uuid a = id_random(), b = id_random(), zero = {{0}};
    assert_false(id_equal(&a, &b));
    assert_true(id_is_zero(&zero));
    assert_false(id_is_zero(&a));
}

static void id_text_goes_both_ways_and_nothing_else_is_read(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "018f3c2a",
        "018f3c2a-1b2c-4d3e-8f4a-5b6c7d8e9f0",
        "018f3c2a-1b2c-4d3e-8f4a-5b6c7d8e9f001",
        "018f3c2a-1b2c-4d3e-8f4a-5b6c7d8e9fxy",
        "018f3c2a+1b2c-4d3e-8f4a-5b6c7d8e9f00",
        "018f3c2a1-b2c-4d3e-8f4a-5b6c7d8e9f00",
        " 18f3c2a-1b2c-4d3e-8f4a-5b6c7d8e9f00",
    };
    char text[ID_TEXT_SIZE], brief[ID_SHORT_SIZE];
    struct uuid id = {{0}}, again;
    assert_true(id_parse(&id, "018F3c2a-1b2c-4d3e-8f4a-5b6c7d8e9F00"));
    assert_string_equal(id_text(text, &id), "018f3c2a-1b2c-4d3e-8f4a-5b6c7d8e9f00");
    assert_string_equal(id_short(brief, &id), "7d8e9f00");
    again = id;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_false(id_parse(&again, bad[i]));
        assert_true(id_equal(&id, &again));
    }
}

/* RFC 3720 appendix B.4, and the check value of the CRC catalogue. */
static void crc32c_matches_published_vectors(void **state)
{
    (void)state;
    uint8_t bytes[32];
    uint32_t (*const both[])(uint32_t, const void *, size_t) = {crc32c, crc32c_table};
    for (size_t k = 0; k < ARRAY_LEN(both); k++) {
        assert_int_equal(both[k](0, "", 0), 0);
        assert_int_equal(both[k](0, "123456789", 9), 0xE3069283);
        memset(bytes, 0, sizeof bytes);
        assert_int_equal(both[k](0, bytes, sizeof bytes), 0x8A9136AA);
        memset(bytes, 0xFF, sizeof bytes);
        assert_int_equal(both[k](0, bytes, sizeof bytes), 0x62A8AB43);
        for (size_t i = 0; i < sizeof bytes; i++)
            bytes[i] = (uint8_t)i;
        assert_int_equal(both[k](0, bytes, sizeof bytes), 0x46DD794E);
    }
}

static void crc32c_by_instruction_and_table_agree_at_any_length_and_split(void **state)
{
    (void)state;
    uint8_t bytes[300];
    uint64_t seed = test_seed();
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)test_random(&seed);
    for (size_t size = 0; size <= 256; size++) {
        const uint8_t *from = bytes + test_random(&seed) % 32;
        size_t split = size ? test_random(&seed) % size : 0;
        uint32_t whole = crc32c_table(0, from, size);
        assert_int_equal(crc32c(0, from, size), whole);
        assert_int_equal(crc32c(crc32c(0, from, split), from + split, size - split), whole);
    }
}

/* FIPS 180-2 appendix B. */
static void sha256_matches_published_vectors(void **state)
{
    (void)state;
    char text[DIGEST_TEXT_SIZE];
    struct digest digest = digest_of("abc", 3);
    assert_string_equal(digest_text(text, &digest),
                        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    digest = digest_of("", 0);
    assert_string_equal(digest_text(text, &digest),
                        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

static void digest_in_pieces_and_of_a_file_are_the_same(void **state)
{
    (void)state;
    struct digester digester;
    struct digest file;
    struct error why;
    size_t size = 200001; /* more than one read, no round number */
    uint8_t *bytes = xcalloc(size, 1);
    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)(i * 7);
    struct digest whole = digest_of(bytes, size);
    digest_start(&digester);
    digest_add(&digester, bytes, 1);
    digest_add(&digester, bytes + 1, size - 1);
    struct digest pieces = digest_end(&digester);
    assert_true(digest_equal(&whole, &pieces));

    FILE *out = fopen(test_path("digest"), "w+");
    assert_int_equal(fwrite(bytes, 1, size, out), size);
    assert_int_equal(fflush(out), 0); /* the offset stands at the end: it must not matter */
    assert_int_equal(digest_of_fd(&file, fileno(out), "digest", &why), STATUS_OK);
    assert_true(digest_equal(&whole, &file));
    fclose(out);
    assert_int_equal(digest_of_fd(&file, -1, "no file", &why), STATUS_IO);
    assert_why(&why, STATUS_IO, "no file");
    free(bytes);
}

static void digest_text_goes_both_ways_and_nothing_else_is_read(void **state)
{
    (void)state;
    char text[DIGEST_TEXT_SIZE];
    struct digest digest = digest_of("x", 1), again = {{0}};
    assert_true(digest_parse(&again, digest_text(text, &digest)));
    assert_true(digest_equal(&digest, &again));
    text[63] = 'g';
    assert_false(digest_parse(&again, text));
    text[63] = '\0';
    assert_false(digest_parse(&again, text));
    assert_true(digest_equal(&digest, &again));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wall_time_prints_as_iso_8601),
        cmocka_unit_test(a_cleaned_text_is_utf_8_without_control_characters),
        cmocka_unit_test(monotonic_clock_never_goes_back),
        cmocka_unit_test(public_ids_carry_their_time_and_are_version_4),
        cmocka_unit_test(ids_differ_and_compare_by_age),
        cmocka_unit_test(id_text_goes_both_ways_and_nothing_else_is_read),
        cmocka_unit_test(crc32c_matches_published_vectors),
        cmocka_unit_test(crc32c_by_instruction_and_table_agree_at_any_length_and_split),
        cmocka_unit_test(sha256_matches_published_vectors),
        cmocka_unit_test(digest_in_pieces_and_of_a_file_are_the_same),
        cmocka_unit_test(digest_text_goes_both_ways_and_nothing_else_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, test_scratch_end);
}
