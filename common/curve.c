/* curve - over libzmq's Z85 and libsodium's BLAKE2b; see curve.h */
#include "common/curve.h"

#include "common/file.h"

#include <errno.h>
#include <sodium/crypto_generichash.h>
#include <sodium/utils.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define FILE_MAX           (64 * KIB) /* more than CURVE_BROKERS_MAX lines take */
#define ZAP_ENFORCE_DOMAIN 93         /* zmq.h 4.3.4 hides it with the draft options */

/* --- keys --------------------------------------------------------------------------------------
 */

char *curve_key_text(char into[static CURVE_TEXT_SIZE], const struct curve_key *key)
{
    return zmq_z85_encode(into, key->bytes, sizeof key->bytes);
}

bool curve_key_parse(struct curve_key *key, const char *text)
{
    struct curve_key read;
    char again[CURVE_TEXT_SIZE];
    /* libzmq looks up what is no Z85 as well: only what it would write itself is a key. */
    if (strlen(text) != CURVE_TEXT_SIZE - 1 || !zmq_z85_decode(read.bytes, text) ||
        strcmp(curve_key_text(again, &read), text) != 0)
        return false;
    *key = read;
    return true;
}

bool curve_key_equal(const struct curve_key *a, const struct curve_key *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}

char *curve_fingerprint(char into[static CURVE_FINGERPRINT_SIZE], const struct curve_key *key)
{
    uint8_t hash[32];
    crypto_generichash(hash, sizeof hash, key->bytes, sizeof key->bytes, NULL, 0);
    snprintf(into, CURVE_FINGERPRINT_SIZE, "%02x%02x:%02x%02x:%02x%02x:%02x%02x", hash[0], hash[1],
             hash[2], hash[3], hash[4], hash[5], hash[6], hash[7]);
    return into;
}

/* --- identities --------------------------------------------------------------------------------
 */

void curve_identity_make(struct curve_identity *out)
{
    char public_text[CURVE_TEXT_SIZE], secret_text[CURVE_TEXT_SIZE];
    *out = (struct curve_identity){0};
    if (zmq_curve_keypair(public_text, secret_text) != 0)
        panic("libzmq makes no CURVE keys: %s", zmq_strerror(errno));
    if (!curve_key_parse(&out->public_key, public_text) ||
        !curve_key_parse(&out->secret_key, secret_text))
        panic("libzmq made a key that is none");
    sodium_memzero(secret_text, sizeof secret_text);
}

bool curve_identity_add(struct curve_identity *self, const char *endpoint,
                        const struct curve_key *key)
{
    size_t at = 0;
    while (at < self->brokers_len && strcmp(self->brokers[at].endpoint, endpoint) != 0)
        at++;
    if (at == CURVE_BROKERS_MAX || strlen(endpoint) >= NET_ADDRESS_MAX)
        return false;
    if (at == self->brokers_len) {
        self->brokers = xrealloc(self->brokers, (at + 1) * sizeof *self->brokers);
        text_copy(self->brokers[at].endpoint, NET_ADDRESS_MAX, endpoint);
        self->brokers_len++;
    }
    self->brokers[at].key = *key;
    return true;
}

void curve_identity_remove(struct curve_identity *self, const char *endpoint)
{
    size_t kept = 0;
    for (size_t i = 0; i < self->brokers_len; i++)
        if (strcmp(self->brokers[i].endpoint, endpoint) != 0)
            self->brokers[kept++] = self->brokers[i];
    self->brokers_len = kept;
}

/* The line `word value`, and where its value begins. */
static char *find_other(const struct curve_identity *self, const char *word, char **value)
{
    size_t len = strlen(word);
    for (char *line = self->others; line && *line; line += strcspn(line, "\n") + 1)
        if (strncmp(line, word, len) == 0 && line[len] == ' ') {
            *value = line + len + 1;
            return line;
        }
    return NULL;
}

bool curve_identity_other(const struct curve_identity *self, const char *word, char *into,
                          size_t size)
{
    char *value = NULL;
    bool found = find_other(self, word, &value) != NULL;
    assert(size > 0);
    size_t len = found ? MIN(strcspn(value, "\n"), size - 1) : 0;
    if (found)
        memcpy(into, value, len);
    into[len] = '\0';
    return found;
}

static void wipe_text(char *text)
{
    if (text)
        sodium_memzero(text, strlen(text));
    free(text);
}

void curve_identity_set_other(struct curve_identity *self, const char *word, const char *value)
{
    char *old, *line = find_other(self, word, &old);
    assert(!strpbrk(word, " \n") && !(value && strchr(value, '\n')));
    if (line) {
        char *rest = line + strcspn(line, "\n") + 1;
        memmove(line, rest, strlen(rest) + 1);
    }
    if (!value)
        return;
    char *whole = xasprintf("%s%s %s\n", self->others ? self->others : "", word, value);
    wipe_text(self->others);
    self->others = whole;
}

void curve_identity_wipe(struct curve_identity *self)
{
    wipe_text(self->others);
    free(self->brokers);
    sodium_memzero(self, sizeof *self);
}

/* One `word value` line; false when the value is not as it should be. */
static bool take_line(struct curve_identity *self, const char *word, char *value)
{
    struct curve_key key;
    char *space = strchr(value, ' ');
    if (strcmp(word, "public") == 0)
        return curve_key_parse(&self->public_key, value);
    if (strcmp(word, "secret") == 0)
        return curve_key_parse(&self->secret_key, value);
    if (strcmp(word, "name") == 0)
        return text_copy(self->name, sizeof self->name, value);
    if (strcmp(word, "role") == 0)
        return text_copy(self->role, sizeof self->role, value);
    if (strcmp(word, "broker") != 0) {
        curve_identity_set_other(self, word, value);
        return value[0] != '\0';
    }
    if (!space)
        return false;
    *space = '\0';
    return endpoint_check(value, true, NULL) == STATUS_OK && curve_key_parse(&key, space + 1) &&
           curve_identity_add(self, value, &key);
}

static bool halves_match(const struct curve_identity *self)
{
    char public_text[CURVE_TEXT_SIZE], secret_text[CURVE_TEXT_SIZE];
    struct curve_key key;
    curve_key_text(secret_text, &self->secret_key);
    bool same = zmq_curve_public(public_text, secret_text) == 0 &&
                curve_key_parse(&key, public_text) && curve_key_equal(&key, &self->public_key);
    sodium_memzero(secret_text, sizeof secret_text);
    return same;
}

static enum status parse(struct curve_identity *out, char *text, const char *path,
                         struct error *why)
{
    unsigned number = 0;
    for (char *line = text, *next; *line; line = next) {
        char *end = line + strcspn(line, "\n");
        next = *end ? end + 1 : end;
        *end = '\0';
        number++;
        if (!*line || *line == '#')
            continue;
        char *value = line + strcspn(line, " ");
        if (*value)
            *value++ = '\0';
        if (!take_line(out, line, value))
            return fail(why, STATUS_INVALID,
                        "%s:%u: expected public KEY, secret KEY, name NAME, role ROLE or broker "
                        "ENDPOINT KEY: restore the file from a copy, or remove it to get new keys",
                        path, number);
    }
    if (!halves_match(out))
        return fail(why, STATUS_INVALID,
                    "%s: its public key does not belong to its secret key: restore the file from a "
                    "copy, or remove it to get new keys",
                    path);
    return STATUS_OK;
}

enum status curve_identity_read(struct curve_identity *out, const char *path, struct error *why)
{
    char *text = NULL;
    size_t size;
    struct stat info;
    *out = (struct curve_identity){0};
    enum status s = file_read(&text, &size, path, FILE_MAX, why);
    if (s == STATUS_OK && (stat(path, &info) != 0 || info.st_mode & (S_IRWXG | S_IRWXO)))
        s = fail(why, STATUS_INVALID,
                 "%s: holds a secret key and others may read it: chmod 600 it, or remove it to get "
                 "new keys",
                 path);
    if (s == STATUS_OK)
        s = parse(out, text, path, why);
    if (text)
        sodium_memzero(text, size);
    free(text);
    if (s != STATUS_OK)
        curve_identity_wipe(out);
    return s;
}

enum status curve_identity_write(const struct curve_identity *self, const char *path,
                                 struct error *why)
{
    char public_text[CURVE_TEXT_SIZE], secret_text[CURVE_TEXT_SIZE];
    const char *others = self->others ? self->others : "";
    size_t room =
        1024 + strlen(others) + self->brokers_len * (NET_ADDRESS_MAX + CURVE_TEXT_SIZE + 16);
    char *text = xcalloc(room, 1);
    size_t used = (size_t)snprintf(text, room, "public %s\nsecret %s\n",
                                   curve_key_text(public_text, &self->public_key),
                                   curve_key_text(secret_text, &self->secret_key));
    if (self->name[0])
        used += (size_t)snprintf(text + used, room - used, "name %s\n", self->name);
    if (self->role[0])
        used += (size_t)snprintf(text + used, room - used, "role %s\n", self->role);
    for (size_t i = 0; i < self->brokers_len; i++)
        used +=
            (size_t)snprintf(text + used, room - used, "broker %s %s\n", self->brokers[i].endpoint,
                             curve_key_text(public_text, &self->brokers[i].key));
    used += (size_t)snprintf(text + used, room - used, "%s", others);
    assert(used < room);
    enum status s = file_write_private(path, text, used, why);
    sodium_memzero(secret_text, sizeof secret_text);
    sodium_memzero(text, room);
    free(text);
    return s;
}

enum status curve_identity_open(struct curve_identity *out, const char *path, struct error *why)
{
    enum status s = curve_identity_read(out, path, why);
    if (s != STATUS_NOT_FOUND)
        return s;
    curve_identity_make(out);
    s = curve_identity_write(out, path, why);
    if (s != STATUS_OK)
        curve_identity_wipe(out);
    return s;
}

/* --- sockets -----------------------------------------------------------------------------------
 */

static enum status set(void *socket, int option, const void *value, size_t size, const char *name,
                       struct error *why)
{
    if (zmq_setsockopt(socket, option, value, size) == 0)
        return STATUS_OK;
    return fail(why, STATUS_INTERNAL, "libzmq refuses %s: %s", name, zmq_strerror(errno));
}

enum status curve_serve(void *socket, const struct curve_identity *self, const char *domain,
                        struct error *why)
{
    const int on = 1;
    enum status s = set(socket, ZMQ_CURVE_SERVER, &on, sizeof on, "CURVE_SERVER", why);
    if (s == STATUS_OK)
        s = set(socket, ZMQ_CURVE_SECRETKEY, self->secret_key.bytes, CURVE_KEY_BYTES,
                "CURVE_SECRETKEY", why);
    if (s == STATUS_OK)
        s = set(socket, ZMQ_ZAP_DOMAIN, domain, strlen(domain), "ZAP_DOMAIN", why);
    if (s == STATUS_OK) /* without it a missing ZAP handler lets everybody in */
        s = set(socket, ZAP_ENFORCE_DOMAIN, &on, sizeof on, "ZAP_ENFORCE_DOMAIN", why);
    return s;
}

enum status curve_connect(void *socket, const struct curve_identity *self,
                          const struct curve_key *server, struct error *why)
{
    enum status s =
        set(socket, ZMQ_CURVE_SERVERKEY, server->bytes, CURVE_KEY_BYTES, "CURVE_SERVERKEY", why);
    if (s == STATUS_OK)
        s = set(socket, ZMQ_CURVE_PUBLICKEY, self->public_key.bytes, CURVE_KEY_BYTES,
                "CURVE_PUBLICKEY", why);
    if (s == STATUS_OK)
        s = set(socket, ZMQ_CURVE_SECRETKEY, self->secret_key.bytes, CURVE_KEY_BYTES,
                "CURVE_SECRETKEY", why);
    return s;
}
