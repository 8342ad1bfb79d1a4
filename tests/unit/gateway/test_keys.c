/* keys: made, asked, revoked, expired, kept over restarts as hashes alone; usage by tenant */
#include "tests/unit/common/testing.h"

#include "common/clock.h"
#include "common/file.h"
#include "gateway/access/keys.h"
#include "gateway/access/secret.h"
#include "gateway/access/usage.h"

#include <sys/stat.h>
#include <unistd.h>

/* One life of a gateway: a ledger in FOLDER/ledger, the keys in FOLDER. */
struct world {
    struct ledger *ledger;
    struct keys *keys;
    unsigned calls;           /* of heard() */
    enum status status;       /* of the last one */
    char text[KEY_TEXT_SIZE]; /* of the last key made */
    char id[ID_TEXT_SIZE];    /* of the last record heard of */
    char why[ERROR_TEXT_MAX]; /* of the last refusal */
};

static void begin(struct world *self, const char *name, uint64_t epoch, bool first_admin)
{
    struct error why;
    char *folder = xstrdup(test_path(name)), *ledger_folder = xasprintf("%s/ledger", folder);
    const struct ledger_config ledger = {.folder = ledger_folder, .epoch = epoch};
    memset(self, 0, sizeof *self);
    if (ledger_open(&self->ledger, &ledger, &why) != STATUS_OK)
        fail_msg("%s", why.text);
    const struct keys_config config = {.folder = folder, .ledger = self->ledger};
    if (keys_open(&self->keys, &config, &why) != STATUS_OK ||
        keys_start(self->keys, first_admin, &why) != STATUS_OK)
        fail_msg("%s", why.text);
    ledger_run_done(self->ledger);
    free(folder);
    free(ledger_folder);
}

static void end(struct world *self)
{
    ledger_run_done(self->ledger);
    ledger_close(&self->ledger);
    keys_close(&self->keys);
    keys_close(&self->keys); /* twice is harmless */
}

static void heard(void *arg, const struct ledger_key *record, const char *text,
                  const struct error *why)
{
    struct world *self = arg;
    self->calls++;
    self->status = record ? STATUS_OK : why->status;
    text_copy(self->text, sizeof self->text, text ? text : "");
    text_copy(self->why, sizeof self->why, record ? "" : why->text);
    if (record)
        id_text(self->id, &record->id);
}

static enum status create(struct world *self, const char *name, const char *tenant, uint32_t scopes,
                          int64_t expires_ms)
{
    const struct key_wish wish = {name, tenant, scopes, expires_ms};
    unsigned calls = self->calls;
    keys_create(self->keys, &wish, heard, self);
    ledger_run_done(self->ledger);
    assert_int_equal(self->calls, calls + 1);
    return self->status;
}

static enum status take_back(struct world *self, const char *which)
{
    keys_revoke(self->keys, which, false, heard, self);
    ledger_run_done(self->ledger);
    return self->status;
}

static enum status ask(struct world *self, const char *key, enum http_scope scope,
                       struct http_caller *caller)
{
    struct error why = {.text = ""};
    char *header = key ? xasprintf("Bearer %s", key) : NULL;
    *caller = (struct http_caller){.admin = false};
    enum status s = keys_admit(self->keys, header, scope, caller, &why);
    text_copy(self->why, sizeof self->why, why.text);
    free(header);
    return s;
}

static void key_opens_what_its_scopes_say_for_its_tenant(void **state)
{
    struct world world;
    struct http_caller caller;
    (void)state;
    begin(&world, "scopes", 1, false);
    uint32_t two = SCOPE_BIT(SCOPE_INFER) | SCOPE_BIT(SCOPE_BATCH);
    assert_int_equal(create(&world, "alice", "acme", two, 0), STATUS_OK);
    assert_int_equal(ask(&world, world.text, SCOPE_INFER, &caller), STATUS_OK);
    assert_string_equal(caller.tenant, "acme");
    assert_false(caller.admin);
    assert_int_equal(ask(&world, world.text, SCOPE_ANY, &caller), STATUS_OK);
    assert_int_equal(ask(&world, world.text, SCOPE_MODELS, &caller), STATUS_FORBIDDEN);
    assert_non_null(strstr(world.why, "\"alice\" may do infer,batch, and this needs models"));
    assert_int_equal(create(&world, "root", NULL, SCOPE_BIT(SCOPE_ADMIN), 0), STATUS_OK);
    assert_int_equal(ask(&world, world.text, SCOPE_TRAIN, &caller), STATUS_OK);
    assert_true(caller.admin);
    assert_string_equal(caller.tenant, "root");
    end(&world);
}

static void what_is_no_valid_key_is_refused_and_never_repeated_in_the_reason(void **state)
{
    struct world world;
    struct http_caller caller;
    struct error why;
    char wrong[KEY_TEXT_SIZE];
    (void)state;
    begin(&world, "refused", 1, false);
    assert_int_equal(create(&world, "alice", NULL, SCOPE_BIT(SCOPE_INFER), 0), STATUS_OK);
    for (size_t i = 0; i < KEY_TEXT_SIZE - 1; i++) { /* one character changed, everywhere */
        text_copy(wrong, sizeof wrong, world.text);
        wrong[i] = wrong[i] == 'A' ? 'B' : 'A';
        assert_int_equal(ask(&world, wrong, SCOPE_INFER, &caller), STATUS_UNAUTHORIZED);
        assert_null(strstr(world.why, wrong + 40));
        assert_null(strstr(world.why, "alice"));
    }
    assert_int_equal(ask(&world, NULL, SCOPE_INFER, &caller), STATUS_UNAUTHORIZED);
    assert_non_null(strstr(world.why, "Authorization: Bearer KEY"));
    assert_int_equal(ask(&world, "", SCOPE_INFER, &caller), STATUS_UNAUTHORIZED);
    char *basic = xasprintf("Basic %s", world.text), *longer = xasprintf("%sA", world.text);
    assert_int_equal(keys_admit(world.keys, basic, SCOPE_INFER, &caller, &why),
                     STATUS_UNAUTHORIZED);
    assert_int_equal(ask(&world, longer, SCOPE_INFER, &caller), STATUS_UNAUTHORIZED);

    char *spaced = xasprintf("bearer   %s", world.text);
    assert_int_equal(keys_admit(world.keys, spaced, SCOPE_INFER, &caller, &why), STATUS_OK);
    free(spaced);
    free(basic);
    free(longer);
    end(&world);
}

static void revoked_and_expired_keys_open_nothing_also_after_a_restart(void **state)
{
    struct world world;
    struct http_caller caller;
    char revoked[KEY_TEXT_SIZE], kept[KEY_TEXT_SIZE], brief[KEY_TEXT_SIZE];
    int64_t soon_ms, used_ms;
    (void)state;
    begin(&world, "ended", 1, false);
    create(&world, "revoked", NULL, SCOPE_BIT(SCOPE_INFER), 0);
    memcpy(revoked, world.text, sizeof revoked);
    create(&world, "kept", NULL, SCOPE_BIT(SCOPE_INFER), 0);
    memcpy(kept, world.text, sizeof kept);
    soon_ms = clock_wall_ms() + 300;
    assert_int_equal(create(&world, "brief", NULL, SCOPE_BIT(SCOPE_INFER), soon_ms), STATUS_OK);
    memcpy(brief, world.text, sizeof brief);
    assert_int_equal(take_back(&world, "nobody"), STATUS_NOT_FOUND);
    assert_int_equal(take_back(&world, "revoked"), STATUS_OK);
    assert_int_equal(take_back(&world, world.id), STATUS_OK); /* twice is harmless */
    while (clock_wall_ms() < soon_ms)
        continue;
    for (uint64_t epoch = 2; epoch < 4; epoch++) {
        assert_int_equal(ask(&world, revoked, SCOPE_ANY, &caller), STATUS_UNAUTHORIZED);
        assert_non_null(strstr(world.why, "\"revoked\" was revoked at 20"));
        assert_int_equal(ask(&world, brief, SCOPE_ANY, &caller), STATUS_UNAUTHORIZED);
        assert_non_null(strstr(world.why, "\"brief\" expired at 20"));
        assert_int_equal(ask(&world, kept, SCOPE_ANY, &caller), STATUS_OK);
        end(&world);
        begin(&world, "ended", epoch, false);
        assert_int_equal(keys_len(world.keys), 3);
        assert_string_equal(key_state(keys_at(world.keys, 0, &used_ms)), "revoked");
    }
    /* A name is free again when nobody can use it any more. */
    assert_int_equal(create(&world, "revoked", NULL, SCOPE_BIT(SCOPE_INFER), 0), STATUS_OK);
    assert_int_equal(create(&world, "kept", NULL, SCOPE_BIT(SCOPE_INFER), 0), STATUS_CONFLICT);
    end(&world);
}

static void wishes_that_make_no_sense_are_refused(void **state)
{
    struct world world;
    char name[80];
    (void)state;
    begin(&world, "wishes", 1, false);
    memset(name, 'a', 65);
    name[65] = '\0';
    const char *wrong[] = {"", "a b", "a/b", "a\"b", "a\nb", "\xc3\xa4", name};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        assert_int_equal(create(&world, wrong[i], NULL, 8, 0), STATUS_INVALID);
        assert_int_equal(create(&world, "fine", wrong[i], 8, 0), STATUS_INVALID);
    }
    assert_int_equal(create(&world, "fine", NULL, 0, 0), STATUS_INVALID);
    assert_int_equal(create(&world, "fine", NULL, 8, 1), STATUS_INVALID);
    assert_int_equal(keys_len(world.keys), 0);
    end(&world);
}

static bool file_holds(const char *path, const char *text)
{
    char *bytes;
    size_t size;
    struct error why;
    if (file_read(&bytes, &size, path, 64 * MIB, &why) != STATUS_OK)
        return false;
    bool found = memmem(bytes, size, text, strlen(text)) != NULL;
    free(bytes);
    return found;
}

static void disk_holds_no_key_and_the_secret_is_the_owners_alone(void **state)
{
    static const char *const names[] = {"ledger/ledger.sqlite", "ledger/ledger.sqlite-wal",
                                        "keys.secret"};
    struct world world;
    struct stat info;
    (void)state;
    begin(&world, "disk", 1, false);
    create(&world, "alice", NULL, SCOPE_BIT(SCOPE_INFER), 0);
    char *folder = xstrdup(test_path("disk"));
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char *path = xasprintf("%s/%s", folder, names[i]);
        assert_int_equal(stat(path, &info), 0);
        assert_false(file_holds(path, world.text + 38)); /* what follows the id */
        if (i == 2)
            assert_int_equal(info.st_mode & 0777, 0600);
        free(path);
    }
    free(folder);
    end(&world);
}

static void first_admin_key_is_in_a_file_until_there_is_another(void **state)
{
    struct world world;
    struct http_caller caller;
    struct stat info;
    char *text;
    size_t size;
    struct error why;
    (void)state;
    begin(&world, "first", 1, true);
    assert_int_equal(file_read(&text, &size, test_path("first/admin.key"), 100, &why), STATUS_OK);
    assert_int_equal(stat(test_path("first/admin.key"), &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
    text[strcspn(text, "\n")] = '\0';
    assert_int_equal(ask(&world, text, SCOPE_ADMIN, &caller), STATUS_OK);
    assert_int_equal(create(&world, "mine", NULL, SCOPE_BIT(SCOPE_ADMIN), 0), STATUS_OK);
    assert_int_equal(take_back(&world, "first-admin"), STATUS_OK);
    assert_int_equal(unlink(test_path("first/admin.key")), 0);
    end(&world);
    begin(&world, "first", 2, true); /* "mine" is an admin: no other is made */
    assert_int_equal(stat(test_path("first/admin.key"), &info), -1);
    assert_int_equal(take_back(&world, "mine"), STATUS_CONFLICT);
    assert_non_null(strstr(world.why, "is the last admin key"));
    keys_revoke(world.keys, "mine", true, heard, &world);
    ledger_run_done(world.ledger);
    assert_int_equal(world.status, STATUS_OK);
    end(&world);
    begin(&world, "first", 3, true);
    assert_int_equal(stat(test_path("first/admin.key"), &info), 0);
    end(&world);
    free(text);
}

static void lost_secret_makes_all_keys_unknown_and_a_new_admin(void **state)
{
    struct world world;
    struct http_caller caller;
    char text[KEY_TEXT_SIZE];
    struct error why;
    (void)state;
    begin(&world, "lost", 1, true);
    create(&world, "alice", NULL, SCOPE_BIT(SCOPE_ADMIN), 0);
    memcpy(text, world.text, sizeof text);
    end(&world);
    assert_int_equal(unlink(test_path("lost/keys.secret")), 0);
    begin(&world, "lost", 2, true);
    assert_int_equal(ask(&world, text, SCOPE_ANY, &caller), STATUS_UNAUTHORIZED);
    assert_int_equal(keys_len(world.keys), 1); /* the new admin's */
    end(&world);
    assert_int_equal(file_write(test_path("lost/keys.secret"), "short", 5, false, &why), STATUS_OK);
    char *folder = xstrdup(test_path("lost"));
    const struct keys_config config = {.folder = folder};
    struct keys *keys;
    assert_int_equal(keys_open(&keys, &config, &why), STATUS_INVALID);
    assert_why(&why, STATUS_INVALID, "keys.secret is damaged");
    assert_null(keys);
    free(folder);
}

static void usage_is_counted_by_tenant(void **state)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    struct usage *usage = usage_new();
    (void)state;
    usage_write(usage, out);
    fflush(out);
    assert_int_equal(size, 0);
    usage_add(usage, "b", USAGE_rows_total, 3);
    usage_add(usage, "a", USAGE_rows_total, 4);
    usage_add(usage, "b", USAGE_rows_total, 2);
    usage_add(usage, NULL, USAGE_requests_total, 1);
    usage_write(usage, out);
    fclose(out);
    assert_non_null(strstr(text, "convoy_tenant_rows_total{tenant=\"a\"} 4\n"
                                 "convoy_tenant_rows_total{tenant=\"b\"} 5\n"));
    assert_non_null(strstr(text, "convoy_tenant_requests_total{tenant=\"\"} 1\n"));
    json_t *list = usage_json(usage);
    assert_int_equal(json_array_size(list), 3);
    assert_string_equal(json_string_value(json_object_get(json_array_get(list, 2), "tenant")), "b");
    json_decref(list);
    free(text);
    usage_destroy(&usage);
    usage_destroy(&usage); /* twice is harmless */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(key_opens_what_its_scopes_say_for_its_tenant),
        cmocka_unit_test(what_is_no_valid_key_is_refused_and_never_repeated_in_the_reason),
        cmocka_unit_test(revoked_and_expired_keys_open_nothing_also_after_a_restart),
        cmocka_unit_test(wishes_that_make_no_sense_are_refused),
        cmocka_unit_test(disk_holds_no_key_and_the_secret_is_the_owners_alone),
        cmocka_unit_test(first_admin_key_is_in_a_file_until_there_is_another),
        cmocka_unit_test(lost_secret_makes_all_keys_unknown_and_a_new_admin),
        cmocka_unit_test(usage_is_counted_by_tenant),
    };
    return cmocka_run_group_tests(tests, NULL, test_scratch_end);
}
