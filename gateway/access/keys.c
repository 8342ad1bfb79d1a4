/* keys - see keys.h */
#include "gateway/access/keys.h"

#include "common/clock.h"
#include "common/file.h"
#include "common/log.h"
#include "gateway/access/secret.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct key {
    struct ledger_key record; /* as in the ledger */
    uint32_t scopes;          /* the record's, as a set */
    int64_t used_ms;          /* wall clock; 0: not in this life */
};

struct keys {
    struct ledger *ledger;          /* not ours */
    char *folder;                   /* the gateway's data folder */
    bool fresh;                     /* the secret was made in this life */
    bool wanted;                    /* whoever asks needs one */
    uint8_t secret[KEY_HASH_BYTES]; /* the hash's key */
    struct key **rows;              /* by id, ascending: the oldest first */
    size_t len, room;               /* used and allocated */
};

/* --- the table -------------------------------------------------------------------------------- */
static bool valid(const struct ledger_key *record)
{
    return !record->revoked_ms && (!record->expires_ms || clock_wall_ms() < record->expires_ms);
}

const char *key_state(const struct ledger_key *record)
{
    return record->revoked_ms ? "revoked" : valid(record) ? "valid" : "expired";
}

static struct key *find(const struct keys *self, const struct uuid *id)
{
    size_t low = 0, high = self->len;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = id_compare(&self->rows[middle]->record.id, id);
        if (order == 0)
            return self->rows[middle];
        *(order < 0 ? &low : &high) = order < 0 ? middle + 1 : middle;
    }
    return NULL;
}

static struct key *find_valid_name(const struct keys *self, const char *name)
{
    for (size_t i = 0; i < self->len; i++)
        if (strcmp(self->rows[i]->record.name, name) == 0 && valid(&self->rows[i]->record))
            return self->rows[i];
    return NULL;
}

/* Takes over the record's texts. New ids sort behind older ones, but after a step of the clock. */
static struct key *add(struct keys *self, struct ledger_key *record)
{
    struct key *key = xcalloc(1, sizeof *key);
    struct error ignored;
    if (self->len == self->room) {
        self->room = self->room ? 2 * self->room : 16;
        self->rows = xrealloc(self->rows, self->room * sizeof(struct key *));
    }
    size_t at = self->len++;
    for (; at > 0 && id_compare(&self->rows[at - 1]->record.id, &record->id) > 0; at--)
        self->rows[at] = self->rows[at - 1];
    self->rows[at] = key;
    key->record = *record;
    memset(record, 0, sizeof *record);
    if (scopes_parse(&key->scopes, key->record.scopes, &ignored) != STATUS_OK)
        key->scopes = 0; /* of a newer program: it opens nothing here */
    return key;
}

static void drop(struct keys *self, size_t at)
{
    struct key *key = self->rows[at];
    memmove(self->rows + at, self->rows + at + 1, (--self->len - at) * sizeof(struct key *));
    ledger_record_clear(LEDGER_key, &key->record);
    free(key);
}

size_t keys_len(const struct keys *self)
{
    return self->len;
}

const struct ledger_key *keys_at(const struct keys *self, size_t index, int64_t *used_ms)
{
    assert(index < self->len);
    *used_ms = self->rows[index]->used_ms;
    return &self->rows[index]->record;
}

/* --- asking ----------------------------------------------------------------------------------- */
/* The key in "Bearer KEY"; NULL: it is no such header. */
static const char *bearer(const char *authorization)
{
    static const char scheme[] = "bearer ";
    if (strncasecmp(authorization, scheme, sizeof scheme - 1) != 0)
        return NULL;
    authorization += sizeof scheme - 1;
    return authorization + strspn(authorization, " ");
}

/* The key whose text this is. Hashing and comparing take the same time for a wrong secret and for
 * an id that is not there. */
static struct key *prove(const struct keys *self, const char *text)
{
    static const struct digest nothing;
    struct uuid id = {{0}};
    bool formed = key_text_id(&id, text);
    struct key *key = formed ? find(self, &id) : NULL;
    struct digest hash = key_text_hash(self->secret, text);
    bool same = key_hash_equal(&hash, key ? &key->record.hash : &nothing);
    sodium_memzero(&hash, sizeof hash);
    return key && same ? key : NULL;
}

static enum status refuse_ended(const struct key *key, struct error *why)
{
    char when[CLOCK_TEXT_SIZE];
    const struct ledger_key *record = &key->record;
    clock_text(when, record->revoked_ms ? record->revoked_ms : record->expires_ms);
    return fail(why, STATUS_UNAUTHORIZED,
                "the key \"%s\" %s at %s: ask an administrator for another (convoy keys create)",
                record->name, record->revoked_ms ? "was revoked" : "expired", when);
}

enum status keys_admit(void *keys, const char *authorization, enum http_scope scope,
                       struct http_caller *caller, struct error *why)
{
    struct keys *self = keys;
    char has[SCOPES_TEXT_SIZE];
    const char *text = authorization ? bearer(authorization) : NULL;
    if (!text)
        return fail(
            why, STATUS_UNAUTHORIZED,
            "this gateway asks for a key: send the header \"Authorization: Bearer KEY\" "
            "(CONVOY_API_KEY for convoy); an administrator makes one by convoy keys create");
    struct key *key = prove(self, text);
    if (!key)
        return fail(why, STATUS_UNAUTHORIZED,
                    "this key is not known here: look whether it is whole and meant for this "
                    "gateway; an administrator makes one by convoy keys create");
    if (!valid(&key->record))
        return refuse_ended(key, why);
    key->used_ms = clock_wall_ms();
    if (!scope_allowed(key->scopes, scope))
        return fail(why, STATUS_FORBIDDEN,
                    "the key \"%s\" may do %s, and this needs %s: use a key that has it; an "
                    "administrator makes one by convoy keys create NAME --scope %s",
                    key->record.name, scopes_text(has, key->scopes), scope_name(scope),
                    scope_name(scope));
    text_copy(caller->tenant, sizeof caller->tenant, key->record.tenant);
    caller->admin = scope_allowed(key->scopes, SCOPE_ADMIN);
    caller->key = key->record.id;
    return STATUS_OK;
}

/* --- making ----------------------------------------------------------------------------------- */
static enum status check_name(const char *what, const char *text, struct error *why)
{
    static const char allowed[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.@_-";
    size_t len = strlen(text);
    if (len > 0 && len <= KEY_NAME_MAX && strspn(text, allowed) == len)
        return STATUS_OK;
    return fail(why, STATUS_INVALID,
                "%s: expected 1 to %d letters, digits and . @ _ -, got \"%.80s\"", what,
                KEY_NAME_MAX, text);
}

static enum status check_wish(const struct keys *self, const struct key_wish *wish,
                              struct error *why)
{
    enum status s = check_name("name", wish->name, why);
    if (s == STATUS_OK && wish->tenant)
        s = check_name("tenant", wish->tenant, why);
    if (s == STATUS_OK && !wish->scopes)
        s = fail(why, STATUS_INVALID, "scopes: a key needs at least one");
    if (s == STATUS_OK && wish->expires_ms && wish->expires_ms <= clock_wall_ms())
        s = fail(why, STATUS_INVALID, "the key would have expired already");
    if (s == STATUS_OK && find_valid_name(self, wish->name))
        s = fail(why, STATUS_CONFLICT,
                 "there is a valid key \"%s\": revoke it first, or take another name", wish->name);
    return s;
}

/* Forget the oldest key that opens nothing any more; false: all are valid. */
static bool make_room(struct keys *self, struct ledger_change *change)
{
    for (size_t i = 0; i < self->len; i++) {
        if (valid(&self->rows[i]->record))
            continue;
        ledger_remove(change, LEDGER_key, &self->rows[i]->record);
        drop(self, i);
        return true;
    }
    return false;
}

/* A change that the ledger has to know before anybody is told. */
struct waiting {
    struct keys *keys;
    struct ledger_key record; /* a copy of what was made or revoked */
    char text[KEY_TEXT_SIZE]; /* of a new key; "" else */
    keys_done *done;
    void *arg; /* for done */
};

static void forget(struct keys *self, const struct uuid *id)
{
    for (size_t i = self->len; i-- > 0;)
        if (id_equal(&self->rows[i]->record.id, id))
            drop(self, i);
}

static void settled(void *arg, enum status status, const struct error *why)
{
    struct waiting *self = arg;
    char id[ID_TEXT_SIZE];
    bool made = self->text[0] != '\0';
    if (status == STATUS_OK) {
        LOG_INFO(made ? "key_created" : "key_revoked", "key=%s name=%s tenant=%s scopes=%s",
                 id_text(id, &self->record.id), self->record.name, self->record.tenant,
                 self->record.scopes);
        self->done(self->arg, &self->record, made ? self->text : NULL, NULL);
    } else {
        if (made)
            forget(self->keys, &self->record.id);
        self->done(self->arg, NULL, NULL, why);
    }
    ledger_record_clear(LEDGER_key, &self->record);
    sodium_memzero(self->text, sizeof self->text);
    free(self);
}

/* A change with a copy of the record; `change` is handed over. */
static void commit(struct keys *self, struct ledger_change *change, struct waiting *waiting,
                   const struct ledger_key *record)
{
    struct ledger_key *copy = ledger_record_copy(LEDGER_key, record);
    waiting->keys = self;
    waiting->record = *copy;
    free(copy);
    ledger_put(change, LEDGER_key, record);
    ledger_commit(self->ledger, &change, settled, waiting);
}

/* The key is in the table at once, so that its name is taken; nobody knows its text yet. */
static const struct ledger_key *make(struct keys *self, struct waiting *waiting,
                                     const struct key_wish *wish)
{
    char scopes[SCOPES_TEXT_SIZE];
    struct ledger_key made = {.id = id_new()}, *record = &made;
    key_text_make(waiting->text, &record->id);
    record->hash = key_text_hash(self->secret, waiting->text);
    record->name = xstrdup(wish->name);
    record->tenant = xstrdup(wish->tenant ? wish->tenant : wish->name);
    record->scopes = xstrdup(scopes_text(scopes, wish->scopes));
    record->created_ms = clock_wall_ms();
    record->expires_ms = wish->expires_ms;
    return &add(self, record)->record;
}

void keys_create(struct keys *self, const struct key_wish *wish, keys_done *done, void *arg)
{
    struct error why;
    struct ledger_change *change = ledger_change_new();
    enum status s = check_wish(self, wish, &why);
    if (s == STATUS_OK && self->len >= KEYS_MAX && !make_room(self, change))
        s = fail(&why, STATUS_STORAGE_FULL, "%d keys are valid: revoke some", KEYS_MAX);
    if (s != STATUS_OK) {
        ledger_change_destroy(&change);
        done(arg, NULL, NULL, &why);
        return;
    }
    struct waiting *waiting = xcalloc(1, sizeof *waiting);
    *waiting = (struct waiting){.done = done, .arg = arg};
    commit(self, change, waiting, make(self, waiting, wish));
}

/* An admin key besides this one (NULL: any), which opens something. */
static bool has_admin(const struct keys *self, const struct key *but)
{
    for (size_t i = 0; i < self->len; i++)
        if (self->rows[i] != but && valid(&self->rows[i]->record) &&
            scope_allowed(self->rows[i]->scopes, SCOPE_ADMIN))
            return true;
    return false;
}

static enum status check_last(const struct keys *self, const struct key *key, struct error *why)
{
    if (!self->wanted || !valid(&key->record) || !scope_allowed(key->scopes, SCOPE_ADMIN) ||
        has_admin(self, key))
        return STATUS_OK;
    return fail(why, STATUS_CONFLICT,
                "\"%s\" is the last admin key, and without one nobody manages this gateway: make "
                "another first (convoy keys create NAME --scope admin), or revoke it with --yes "
                "(surely=true); then the gateway's next start makes a new admin.key",
                key->record.name);
}

void keys_revoke(struct keys *self, const char *which, bool surely, keys_done *done, void *arg)
{
    static const char prefix[] = "key-";
    struct error why;
    struct uuid id;
    enum status s = STATUS_OK;
    const char *bare = strncmp(which, prefix, sizeof prefix - 1) == 0 ? which + 4 : which;
    struct key *key = id_parse(&id, bare) ? find(self, &id) : find_valid_name(self, which);
    if (!key)
        s = fail(&why, STATUS_NOT_FOUND, "there is no key \"%.100s\": convoy keys list shows them",
                 which);
    else if (!surely)
        s = check_last(self, key, &why);
    if (s != STATUS_OK) {
        done(arg, NULL, NULL, &why);
        return;
    }
    if (!key->record.revoked_ms)
        key->record.revoked_ms = clock_wall_ms();
    struct waiting *waiting = xcalloc(1, sizeof *waiting);
    *waiting = (struct waiting){.done = done, .arg = arg};
    commit(self, ledger_change_new(), waiting, &key->record);
}

/* --- the first key ---------------------------------------------------------------------------- */
static void first_made(void *arg, const struct ledger_key *record, const char *text,
                       const struct error *why)
{
    (void)arg, (void)text;
    if (!record)
        LOG_ERROR("first_key_failed", "why=%s", why->text);
}

/* The file is there before the ledger has the key: after a crash in between, the next start finds
 * no admin and makes another. */
static enum status make_first(struct keys *self, struct error *why)
{
    static const struct key_wish wish = {
        .name = "first-admin", .tenant = "admin", .scopes = SCOPE_BIT(SCOPE_ADMIN)};
    struct waiting *waiting = xcalloc(1, sizeof *waiting);
    waiting->done = first_made;
    const struct ledger_key *record = make(self, waiting, &wish);
    char *path = xasprintf("%s/admin.key", self->folder), line[KEY_TEXT_SIZE + 1];
    int len = snprintf(line, sizeof line, "%s\n", waiting->text);
    enum status s = file_write_private(path, line, (size_t)len, why);
    sodium_memzero(line, sizeof line);
    if (s == STATUS_OK) {
        LOG_INFO("first_key", "file=%s action=%s", path,
                 "an admin key for convoy --key-file; make others with it, then remove the file");
        commit(self, ledger_change_new(), waiting, record);
    } else {
        sodium_memzero(waiting->text, sizeof waiting->text);
        free(waiting);
    }
    free(path);
    return s;
}

/* --- life ------------------------------------------------------------------------------------- */
static void load(void *context, const void *record)
{
    struct ledger_key *copy = ledger_record_copy(LEDGER_key, record);
    add(context, copy);
    free(copy);
}

/* The hash's key: 32 octets, made once. */
static enum status open_secret(struct keys *self, struct error *why)
{
    char *path = xasprintf("%s/keys.secret", self->folder), *bytes = NULL;
    size_t size = 0;
    enum status s = file_read(&bytes, &size, path, KEY_HASH_BYTES, why);
    self->fresh = s == STATUS_NOT_FOUND;
    if (self->fresh) {
        randombytes_buf(self->secret, sizeof self->secret);
        s = file_write_private(path, self->secret, sizeof self->secret, why);
    } else if (s == STATUS_OK && size == KEY_HASH_BYTES) {
        memcpy(self->secret, bytes, size);
    } else if (s == STATUS_OK || s == STATUS_TOO_LARGE) {
        s = fail(why, STATUS_INVALID,
                 "%s is damaged: expected %d octets; restore it from a copy, or remove it: then no "
                 "key is known any more and a new admin key is made",
                 path, KEY_HASH_BYTES);
    }
    if (bytes)
        sodium_memzero(bytes, size);
    free(bytes);
    free(path);
    return s;
}

/* Hashes of another secret: nobody can prove these keys any more. */
static void forget_all(struct keys *self)
{
    if (!self->len)
        return;
    LOG_WARN("keys_lost", "keys=%zu why=%s", self->len,
             "the file keys.secret was not there: make new keys");
    struct ledger_change *change = ledger_change_new();
    while (self->len) {
        ledger_remove(change, LEDGER_key, &self->rows[self->len - 1]->record);
        drop(self, self->len - 1);
    }
    ledger_commit(self->ledger, &change, NULL, NULL);
}

enum status keys_open(struct keys **out, const struct keys_config *config, struct error *why)
{
    struct keys *self = xcalloc(1, sizeof *self);
    self->ledger = config->ledger;
    self->folder = xstrdup(config->folder);
    enum status s = open_secret(self, why);
    if (s == STATUS_OK)
        s = ledger_load(self->ledger, LEDGER_key, false, load, self, why);
    if (s != STATUS_OK)
        keys_close(&self);
    *out = self;
    return s;
}

enum status keys_start(struct keys *self, bool wanted, struct error *why)
{
    if (self->fresh)
        forget_all(self);
    self->wanted = wanted;
    return wanted && !has_admin(self, NULL) ? make_first(self, why) : STATUS_OK;
}

void keys_close(struct keys **self_p)
{
    struct keys *self = *self_p;
    if (!self)
        return;
    while (self->len)
        drop(self, self->len - 1);
    free(self->rows);
    free(self->folder);
    sodium_memzero(self->secret, sizeof self->secret);
    free(self);
    *self_p = NULL;
}
