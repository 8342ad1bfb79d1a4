/* dead letters: durable with their input, read back, bounded, swept, and told of when they cannot
 * be */
#include "tests/unit/common/testing.h"

#include "common/clock.h"
#include "common/file.h"
#include "gateway/dead/dead.h"

#include <jansson.h>
#include <poll.h>
#include <sys/stat.h>

#define VALUES 6 /* of the input that is kept */

/* One life of a gateway, in FOLDER. */
struct world {
    struct front *front;
    struct pool *pool;
    struct ledger *ledger;
    struct dead *dead;
    char *folder;
    unsigned calls;           /* of completions */
    enum status status;       /* of the last one */
    char why[ERROR_TEXT_MAX]; /* likewise */
    struct bytes *body;       /* what dead_read brought */
    uint64_t head_bytes;      /* likewise */
};

static void post(void *front, void (*fn)(void *arg), void *arg)
{
    front_post(front, fn, arg);
}

static void turn(struct world *self)
{
    struct pollfd ready = {.fd = front_fd(self->front), .events = POLLIN};
    poll(&ready, 1, 10);
    front_turn(self->front, clock_mono_ns());
}

static void wait_calls(struct world *self, unsigned calls)
{
    for (unsigned turns = 0; self->calls < calls; turns++) {
        if (turns > 3000)
            fail_msg("%u completions came, expected %u", self->calls, calls);
        turn(self);
    }
}

static void begin(struct world *self, const char *name, uint64_t epoch, uint32_t letters_max,
                  uint64_t ledger_max)
{
    struct error why;
    char *folder = xstrdup(test_path(name)), *ledger_folder = xasprintf("%s/ledger", folder);
    memset(self, 0, sizeof *self);
    self->folder = folder;
    self->front = front_new();
    self->pool = pool_new(self->front, 1, 8);
    const struct ledger_config ledger = {.folder = ledger_folder,
                                         .epoch = epoch,
                                         .bytes_max = ledger_max,
                                         .reserve_bytes = 4096,
                                         .post = post,
                                         .context = self->front};
    if (ledger_open(&self->ledger, &ledger, &why) != STATUS_OK)
        fail_msg("%s", why.text);
    const struct dead_config config = {.folder = folder,
                                       .ledger = self->ledger,
                                       .front = self->front,
                                       .pool = self->pool,
                                       .letters_max = letters_max,
                                       .bytes_max = ledger_max ? MIB : 1000};
    if (dead_open(&self->dead, &config, &why) != STATUS_OK)
        fail_msg("%s", why.text);
    front_turn(self->front, clock_mono_ns());
    free(ledger_folder);
}

static void end(struct world *self)
{
    dead_close(&self->dead);
    dead_close(&self->dead); /* twice is harmless */
    ledger_close(&self->ledger);
    pool_destroy(&self->pool);
    front_destroy(&self->front);
    bytes_drop(&self->body);
    free(self->folder);
}

static void heard(void *arg, enum status status, const struct error *why)
{
    struct world *self = arg;
    self->calls++;
    self->status = status;
    text_copy(self->why, sizeof self->why, status == STATUS_OK ? "" : why->text);
}

static void heard_input(void *arg, struct bytes *body, uint64_t head_bytes, const struct error *why)
{
    struct world *self = arg;
    bytes_drop(&self->body);
    self->body = body;
    self->head_bytes = head_bytes;
    heard(self, body ? STATUS_OK : why->status, why);
}

/* A letter about `rows` rows of three numbers, not yet buried. */
static struct letter *make(struct world *self, int64_t row, int64_t rows)
{
    struct bytes *owner = bytes_new((size_t)rows * 12);
    float *values = owner->data;
    for (int64_t i = 0; i < rows * 3; i++)
        values[i] = (float)i / 4;
    const struct tensor input = {.name = "x",
                                 .dtype = DTYPE_FP32,
                                 .rank = 2,
                                 .dims = {rows, 3},
                                 .data = owner->data,
                                 .bytes = owner->size};
    const struct letter_about about = {.tenant = "acme",
                                       .model = "m",
                                       .version = "1",
                                       .row = row,
                                       .cause = "killed",
                                       .attempts = 2,
                                       .inputs = &input,
                                       .inputs_len = 1,
                                       .owner = owner};
    struct letter *letter = dead_letter(self->dead, &about);
    bytes_drop(&owner);
    return letter;
}

static struct uuid bury(struct world *self, int64_t row, int64_t rows)
{
    struct letter *letter = make(self, row, rows);
    struct uuid id = letter->record.id;
    unsigned calls = self->calls;
    dead_bury(self->dead, &letter, heard, self);
    assert_null(letter);
    wait_calls(self, calls + 1);
    return id;
}

static char *path_of(const struct world *self, const struct uuid *id)
{
    char text[ID_TEXT_SIZE];
    return xasprintf("%s/dead/%s", self->folder, id_text(text, id));
}

static bool there(const struct world *self, const struct uuid *id)
{
    char *path = path_of(self, id);
    bool found = access(path, F_OK) == 0;
    free(path);
    return found;
}

/* Until the pool has removed it. */
static void wait_gone(struct world *self, const struct uuid *id)
{
    for (unsigned turns = 0; there(self, id); turns++) {
        assert_true(turns < 3000);
        turn(self);
    }
}

static void test_a_letter_outlives_its_gateway_with_its_input(void **state)
{
    struct world world;
    (void)state;
    begin(&world, "kept", 1, 10, 0);
    struct uuid id = bury(&world, 17, 2);
    assert_int_equal(world.status, STATUS_OK);
    end(&world);
    begin(&world, "kept", 2, 10, 0);
    assert_int_equal(dead_len(world.dead), 1);
    const struct ledger_dead *letter = dead_find(world.dead, &id);
    assert_non_null(letter);
    assert_ptr_equal(letter, dead_at(world.dead, 0));
    assert_string_equal(letter->tenant, "acme");
    assert_string_equal(letter->cause, "killed");
    assert_string_equal(letter->inputs, "[{\"name\":\"x\",\"datatype\":\"FP32\",\"shape\":[2,3]}]");
    assert_int_equal(letter->row, 17);
    assert_int_equal(dead_bytes(world.dead), letter->input_bytes);
    dead_read(world.dead, &id, DEAD_INPUT, heard_input, &world);
    wait_calls(&world, 1);
    assert_int_equal(world.status, STATUS_OK);
    assert_int_equal(world.body->size, world.head_bytes + sizeof(float) * VALUES);
    json_t *head = json_loadb(world.body->data, (size_t)world.head_bytes, 0, NULL);
    assert_non_null(head);
    assert_int_equal(json_array_size(json_object_get(head, "inputs")), 1);
    json_decref(head);
    float values[VALUES];
    memcpy(values, (const char *)world.body->data + world.head_bytes, sizeof values);
    for (int i = 0; i < VALUES; i++)
        assert_true(values[i] == (float)i / 4);
    end(&world);
}

static void test_a_retry_in_vain_is_counted_and_a_letter_that_is_dropped_is_gone(void **state)
{
    struct world world;
    (void)state;
    begin(&world, "again", 1, 10, 0);
    struct uuid id = bury(&world, 0, 1), none = id_new();
    dead_again(world.dead, &id, "killed again\n", 2, heard, &world);
    wait_calls(&world, 2);
    assert_int_equal(dead_find(world.dead, &id)->retries, 1);
    assert_int_equal(dead_find(world.dead, &id)->attempts, 4);
    assert_string_equal(dead_find(world.dead, &id)->cause, "killed again?");
    dead_again(world.dead, &none, "killed", 2, heard, &world);
    assert_int_equal(world.status, STATUS_NOT_FOUND);
    dead_drop(world.dead, &none, heard, &world);
    assert_int_equal(world.status, STATUS_NOT_FOUND);
    dead_drop(world.dead, &id, heard, &world);
    assert_null(dead_find(world.dead, &id)); /* from now on */
    dead_drop(world.dead, &id, heard, &world);
    assert_int_equal(world.status, STATUS_NOT_FOUND);
    wait_calls(&world, 6);
    assert_int_equal(world.status, STATUS_OK);
    wait_gone(&world, &id);
    assert_int_equal(dead_bytes(world.dead), 0);
    end(&world);
    begin(&world, "again", 2, 10, 0);
    assert_int_equal(dead_len(world.dead), 0);
    end(&world);
}

static char *answer_path(const struct world *self, const struct uuid *id)
{
    char *input = path_of(self, id), *path = xasprintf("%s.out", input);
    free(input);
    return path;
}

static void answer(struct world *self, const struct uuid *id, size_t size)
{
    struct bytes *body = bytes_new(size);
    unsigned before = self->calls;
    memset(body->data, 'y', size);
    dead_answer(self->dead, id, body, 2, heard, self);
    wait_calls(self, before + 1);
}

static void test_an_answer_outlives_its_gateway_and_goes_with_its_letter(void **state)
{
    struct world world;
    (void)state;
    begin(&world, "answer", 1, 10, 0);
    struct uuid id = bury(&world, 0, 1), none = id_new();
    uint64_t before = dead_bytes(world.dead);
    assert_true(dead_try(world.dead, &id));
    assert_false(dead_try(world.dead, &id));
    dead_read(world.dead, &id, DEAD_ANSWER, heard_input, &world);
    assert_int_equal(world.status, STATUS_NOT_FOUND);
    answer(&world, &none, 10);
    assert_int_equal(world.status, STATUS_NOT_FOUND);
    answer(&world, &id, 2000);
    assert_int_equal(world.status, STATUS_TOO_LARGE);
    assert_int_equal(dead_find(world.dead, &id)->answered_ms, 0);
    answer(&world, &id, 10);
    assert_int_equal(world.status, STATUS_OK);
    dead_tried(world.dead, &id);
    assert_true(dead_try(world.dead, &id));
    end(&world);
    begin(&world, "answer", 2, 10, 0);
    assert_true(dead_find(world.dead, &id)->answered_ms > 0);
    assert_int_equal(dead_bytes(world.dead), before + 10);
    dead_read(world.dead, &id, DEAD_ANSWER, heard_input, &world);
    wait_calls(&world, 1);
    assert_int_equal(world.status, STATUS_OK);
    assert_int_equal(world.head_bytes, 2);
    assert_memory_equal(world.body->data, "yyyyyyyyyy", 10);
    dead_drop(world.dead, &id, heard, &world);
    wait_calls(&world, 2);
    wait_gone(&world, &id);
    char *path = answer_path(&world, &id);
    while (access(path, F_OK) == 0)
        turn(&world);
    free(path);
    end(&world);
}

static void test_a_letter_whose_answer_is_lost_is_dead_as_before(void **state)
{
    struct world world;
    (void)state;
    begin(&world, "answerless", 1, 10, 0);
    struct uuid id = bury(&world, 0, 1), other = bury(&world, 1, 1);
    answer(&world, &id, 10);
    char *path = answer_path(&world, &id), *stray = answer_path(&world, &other);
    assert_int_equal(rename(path, stray), 0);
    end(&world);
    begin(&world, "answerless", 2, 10, 0);
    assert_int_equal(dead_find(world.dead, &id)->answered_ms, 0);
    assert_true(dead_find(world.dead, &id)->input_bytes > 0);
    assert_int_equal(access(stray, F_OK), -1); /* no record told of it */
    answer(&world, &id, 10);
    assert_int_equal(world.status, STATUS_OK);
    free(path);
    free(stray);
    end(&world);
}

static void test_an_answer_makes_the_oldest_others_go(void **state)
{
    struct world world;
    (void)state;
    begin(&world, "room", 1, 10, 0);
    struct uuid first = bury(&world, 0, 1), second = bury(&world, 1, 1), third = bury(&world, 2, 1);
    uint64_t each = dead_bytes(world.dead) / 3;
    answer(&world, &first, (size_t)(1000 - 3 * each + 1)); /* one octet too many for all */
    assert_int_equal(world.status, STATUS_OK);
    assert_true(dead_find(world.dead, &first)->answer_bytes > 0);
    assert_null(dead_find(world.dead, &second));
    assert_non_null(dead_find(world.dead, &third));
    end(&world);
}

static void test_there_are_bounds_for_letters_for_all_octets_and_for_one_input(void **state)
{
    struct world world;
    struct uuid ids[3];
    (void)state;
    begin(&world, "bounds", 1, 2, 0);
    for (int i = 0; i < 3; i++)
        ids[i] = bury(&world, i, 1);
    assert_int_equal(dead_len(world.dead), 2);
    assert_null(dead_find(world.dead, &ids[0]));
    wait_gone(&world, &ids[0]);
    struct uuid wide = bury(&world, 0, 70); /* 840 octets and their head: alone within 1000 */
    assert_int_equal(dead_len(world.dead), 1);
    assert_true(dead_find(world.dead, &wide)->input_bytes > 840);
    struct uuid wider = bury(&world, 0, 100);
    assert_int_equal(dead_find(world.dead, &wider)->input_bytes, 0);
    assert_non_null(strstr(dead_find(world.dead, &wider)->note, "1000"));
    assert_false(there(&world, &wider));
    dead_read(world.dead, &wider, DEAD_INPUT, heard_input, &world);
    assert_int_equal(world.status, STATUS_NOT_FOUND);
    assert_non_null(strstr(world.why, "was not kept"));
    end(&world);
    begin(&world, "bounds", 2, 1, 0); /* a smaller bound holds from the start */
    assert_int_equal(dead_len(world.dead), 1);
    assert_non_null(dead_find(world.dead, &wider));
    end(&world);
}

static void test_what_was_cut_off_is_swept_and_what_is_lost_or_altered_is_told(void **state)
{
    struct world world;
    struct error why;
    (void)state;
    begin(&world, "swept", 1, 10, 0);
    struct uuid lost = bury(&world, 0, 1), altered = bury(&world, 0, 1);
    struct letter *letter = make(&world, 0, 1);
    struct uuid early = letter->record.id;
    letter_write(letter); /* and the gateway ends before the record */
    assert_true(there(&world, &early));
    letter_free(&letter);
    letter = make(&world, 0, 1);
    struct uuid given_up = letter->record.id;
    letter_write(letter);
    dead_abandon(world.dead, &letter);
    wait_gone(&world, &given_up);
    end(&world);
    begin(&world, "swept", 2, 10, 0);
    assert_false(there(&world, &early));
    char *path = path_of(&world, &lost);
    assert_int_equal(unlink(path), 0);
    free(path);
    path = path_of(&world, &altered);
    char *octets;
    size_t size;
    assert_int_equal(file_read(&octets, &size, path, 1000, &why), STATUS_OK);
    octets[size - 1] ^= 1;
    assert_int_equal(file_write(path, octets, size, false, &why), STATUS_OK);
    free(octets);
    free(path);
    dead_read(world.dead, &lost, DEAD_INPUT, heard_input, &world);
    wait_calls(&world, 1);
    assert_int_equal(world.status, STATUS_NOT_FOUND);
    dead_read(world.dead, &altered, DEAD_INPUT, heard_input, &world);
    wait_calls(&world, 2);
    assert_int_equal(world.status, STATUS_IO);
    end(&world);
    begin(&world, "swept", 3, 10, 0);
    assert_int_equal(dead_find(world.dead, &lost)->input_bytes, 0);
    assert_non_null(strstr(dead_find(world.dead, &lost)->note, "removed"));
    end(&world);
}

static void test_a_full_disk_costs_the_input_and_then_the_letter_but_never_the_answer(void **state)
{
    struct world world;
    (void)state;
    begin(&world, "full", 1, 1000, 96 * KIB);
    struct uuid last = {{0}};
    bool without = false;
    for (int i = 0; i < 1000 && !without; i++) {
        struct uuid id = bury(&world, i, 1);
        const struct ledger_dead *letter = dead_find(world.dead, &id);
        assert_int_equal(letter != NULL, world.status == STATUS_OK);
        if (world.status != STATUS_OK)
            assert_int_equal(world.status, STATUS_STORAGE_FULL);
        without = ledger_full(world.ledger);
        last = id;
    }
    assert_true(without);
    struct letter *letter = make(&world, 0, 1);
    assert_string_equal(letter->record.note, "the gateway's disk is full");
    letter_write(letter);
    assert_false(there(&world, &letter->record.id));
    letter_free(&letter);
    if (!dead_find(world.dead, &last))
        wait_gone(&world, &last);
    end(&world);
}

static void test_a_folder_that_takes_no_files_costs_the_input_alone(void **state)
{
    struct world world;
    (void)state;
    begin(&world, "readonly", 1, 10, 0);
    char *folder = xasprintf("%s/dead", world.folder);
    assert_int_equal(rmdir(folder), 0);
    struct uuid id = bury(&world, 0, 1);
    assert_int_equal(world.status, STATUS_OK);
    assert_int_equal(dead_find(world.dead, &id)->input_bytes, 0);
    assert_non_null(strstr(dead_find(world.dead, &id)->note, "No such file"));
    free(folder);
    end(&world);
}

static void test_what_is_under_way_at_the_end_is_told(void **state)
{
    struct world world;
    (void)state;
    begin(&world, "closing", 1, 10, 0);
    struct letter *letter = make(&world, 0, 1);
    dead_bury(world.dead, &letter, heard, &world);
    end(&world);
    assert_int_equal(world.calls, 1);
    assert_int_equal(world.status, STATUS_UNAVAILABLE);
    begin(&world, "closing", 2, 10, 0);
    assert_int_equal(dead_len(world.dead), 0);
    end(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_letter_outlives_its_gateway_with_its_input),
        cmocka_unit_test(test_a_retry_in_vain_is_counted_and_a_letter_that_is_dropped_is_gone),
        cmocka_unit_test(test_an_answer_outlives_its_gateway_and_goes_with_its_letter),
        cmocka_unit_test(test_a_letter_whose_answer_is_lost_is_dead_as_before),
        cmocka_unit_test(test_an_answer_makes_the_oldest_others_go),
        cmocka_unit_test(test_there_are_bounds_for_letters_for_all_octets_and_for_one_input),
        cmocka_unit_test(test_what_was_cut_off_is_swept_and_what_is_lost_or_altered_is_told),
        cmocka_unit_test(test_a_full_disk_costs_the_input_and_then_the_letter_but_never_the_answer),
        cmocka_unit_test(test_a_folder_that_takes_no_files_costs_the_input_alone),
        cmocka_unit_test(test_what_is_under_way_at_the_end_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, test_scratch_end);
}
