/* multipart: the same file whatever the pieces, the room of the sink and what looks like a boundary
 */
#include "tests/unit/common/testing.h"

#include "gateway/api/multipart.h"

struct sink {
    char bytes[4096]; /* what came */
    size_t size;      /* how much */
    size_t room;      /* taken at a time, then none until it is asked again */
};

static size_t sink_room(void *arg, size_t wanted)
{
    struct sink *self = arg;
    (void)wanted;
    return self->room;
}

static enum status sink_put(void *arg, const void *bytes, size_t size, struct error *why)
{
    struct sink *self = arg;
    (void)why;
    assert_true(size <= self->room && self->size + size < sizeof(self->bytes));
    memcpy(self->bytes + self->size, bytes, size);
    self->size += size;
    self->room -= size;
    return STATUS_OK;
}

static const char type[] = "multipart/form-data; boundary=\"X--y\"";

static struct multipart begin(struct sink *sink)
{
    struct multipart form;
    struct error why;
    struct multipart_sink calls = {.room = sink_room, .put = sink_put, .arg = sink};
    assert_int_equal(multipart_start(&form, type, &calls, &why), STATUS_OK);
    return form;
}

/* Feed in pieces of random size with a sink that is often full. */
static enum status feed(struct multipart *form, struct sink *sink, const char *text, size_t size,
                        uint64_t *seed, struct error *why)
{
    for (size_t at = 0; at < size;) {
        size_t taken = 0, piece = 1 + (size_t)test_random(seed) % 40;
        sink->room = (size_t)test_random(seed) % 30;
        enum status status = multipart_take(form, text + at, MIN(piece, size - at), &taken, why);
        if (status != STATUS_OK)
            return status;
        at += taken;
    }
    return STATUS_OK;
}

static void any_pieces_give_the_same_file(void **state)
{
    (void)state;
    static const char content[] = "one\r\n--X--\r\r\n\r\n--X-y\r\n-\r\n--X--Y two\r\n";
    uint64_t seed = test_seed();
    char *text = xasprintf("--X--y\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\n"
                           "batch\r\n--X--y\r\ncontent-disposition: form-data; name=\"file\"; "
                           "filename=\"a \\\"b\\\".npy\"\r\nContent-Type: x/y\r\n\r\n%s\r\n"
                           "--X--y\r\nContent-Disposition: form-data; name=\"other\"\r\n\r\n1"
                           "\r\n--X--y--\r\nignored",
                           content);
    for (int i = 0; i < 500; i++) {
        struct sink sink = {.size = 0};
        struct error why = {.status = STATUS_OK};
        struct multipart form = begin(&sink);
        assert_int_equal(feed(&form, &sink, text, strlen(text), &seed, &why), STATUS_OK);
        assert_int_equal(multipart_end(&form, &why), STATUS_OK);
        assert_int_equal(sink.size, strlen(content));
        assert_memory_equal(sink.bytes, content, sink.size);
        assert_string_equal(form.filename, "a \"b\".npy");
        assert_string_equal(form.purpose, "batch");
    }
    free(text);
}

static void malformed_forms_say_what_is_wrong(void **state)
{
    (void)state;
    static const struct {
        const char *text, *why;
    } cases[] = {
        {"--X--y\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\ncut", "last boundary"},
        {"--X--y--\r\n", "no part named \"file\""},
        {"--X--y\r\nContent-Type: x\r\n\r\n", "has no name"},
        {"--X--y!!", "malformed behind a boundary"},
        {"", "last boundary"},
    };
    uint64_t seed = test_seed();
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct sink sink = {.size = 0};
        struct error why = {.status = STATUS_OK};
        struct multipart form = begin(&sink);
        enum status status = feed(&form, &sink, cases[i].text, strlen(cases[i].text), &seed, &why);
        if (status == STATUS_OK)
            status = multipart_end(&form, &why);
        assert_int_equal(status, STATUS_INVALID);
        assert_why(&why, STATUS_INVALID, cases[i].why);
    }
}

static void other_content_types_are_refused_with_the_fix(void **state)
{
    (void)state;
    static const char *const types[] = {NULL, "application/json", "multipart/form-data",
                                        "multipart/form-data; boundary=",
                                        "multipart/form-data; boundary=0123456789012345678901234567"
                                        "89012345678901234567890123456789012345678901234"};
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        struct multipart form;
        struct multipart_sink sink = {.room = sink_room, .put = sink_put};
        struct error why;
        assert_int_equal(multipart_start(&form, types[i], &sink, &why), STATUS_INVALID);
        assert_why(&why, STATUS_INVALID, "multipart/form-data with a boundary");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_pieces_give_the_same_file),
        cmocka_unit_test(malformed_forms_say_what_is_wrong),
        cmocka_unit_test(other_content_types_are_refused_with_the_fix),
    };
    return cmocka_run_group_tests(tests, NULL, test_scratch_end);
}
