/* token - over msgpack-c and libsodium; see token.h */
#include "common/token.h"

#include "common/crc32c.h"
#include "common/wire.h"

#include <ctype.h>
#include <msgpack.h>
#include <sodium/crypto_generichash.h>
#include <sodium/utils.h>
#include <stdlib.h>
#include <string.h>

#define VARIANT     sodium_base64_VARIANT_URLSAFE_NO_PADDING
#define SUM_BYTES   4
#define PACKED_MAX  (16 * KIB) /* more than TOKEN_BROKERS_MAX brokers take */
#define PREFIX_SIZE (sizeof TOKEN_PREFIX - 1)

struct digest token_hash(const uint8_t secret[static TOKEN_SECRET_BYTES])
{
    struct digest hash;
    crypto_generichash(hash.bytes, sizeof hash.bytes, secret, TOKEN_SECRET_BYTES, NULL, 0);
    return hash;
}

void token_wipe(struct token *self)
{
    sodium_memzero(self, sizeof *self);
}

/* --- writing -----------------------------------------------------------------------------------
 */

static void pack_text(msgpack_packer *packer, const char *text)
{
    msgpack_pack_str(packer, strlen(text));
    msgpack_pack_str_body(packer, text, strlen(text));
}

static void pack_octets(msgpack_packer *packer, const void *bytes, size_t size)
{
    msgpack_pack_bin(packer, size);
    msgpack_pack_bin_body(packer, bytes, size);
}

static void pack(msgpack_packer *packer, const struct token *self)
{
    msgpack_pack_map(packer, 3);
    pack_text(packer, "brokers");
    msgpack_pack_array(packer, self->brokers_len);
    for (size_t i = 0; i < self->brokers_len; i++) {
        msgpack_pack_array(packer, 3);
        pack_text(packer, self->brokers[i].control);
        pack_text(packer, self->brokers[i].enrol);
        pack_octets(packer, self->brokers[i].key.bytes, CURVE_KEY_BYTES);
    }
    pack_text(packer, "secret");
    pack_octets(packer, self->secret, TOKEN_SECRET_BYTES);
    pack_text(packer, "role");
    msgpack_pack_uint32(packer, self->role);
}

static void sum_of(uint8_t sum[static SUM_BYTES], const void *bytes, size_t size)
{
    uint32_t crc = crc32c(0, bytes, size);
    for (size_t i = 0; i < SUM_BYTES; i++)
        sum[i] = (uint8_t)(crc >> (8 * i));
}

char *token_write(const struct token *self)
{
    msgpack_sbuffer packed;
    msgpack_packer packer;
    uint8_t sum[SUM_BYTES];
    assert(self->brokers_len > 0 && self->brokers_len <= TOKEN_BROKERS_MAX);
    msgpack_sbuffer_init(&packed);
    msgpack_packer_init(&packer, &packed, msgpack_sbuffer_write);
    pack(&packer, self);
    sum_of(sum, packed.data, packed.size);
    msgpack_sbuffer_write(&packed, (const char *)sum, sizeof sum);
    size_t room = sodium_base64_encoded_len(packed.size, VARIANT);
    char *text = xmalloc(PREFIX_SIZE + room);
    memcpy(text, TOKEN_PREFIX, PREFIX_SIZE);
    sodium_bin2base64(text + PREFIX_SIZE, room, (const uint8_t *)packed.data, packed.size, VARIANT);
    sodium_memzero(packed.data, packed.size);
    msgpack_sbuffer_destroy(&packed);
    return text;
}

/* --- reading -----------------------------------------------------------------------------------
 */

static bool take_text(const msgpack_object *object, char *into, size_t size)
{
    if (object->type != MSGPACK_OBJECT_STR || object->via.str.size >= size ||
        memchr(object->via.str.ptr, '\0', object->via.str.size))
        return false;
    memcpy(into, object->via.str.ptr, object->via.str.size);
    into[object->via.str.size] = '\0';
    return true;
}

static bool take_octets(const msgpack_object *object, void *into, size_t size)
{
    if (object->type != MSGPACK_OBJECT_BIN || object->via.bin.size != size)
        return false;
    memcpy(into, object->via.bin.ptr, size);
    return true;
}

static bool take_broker(struct token_broker *out, const msgpack_object *object)
{
    const msgpack_object_array *parts = &object->via.array;
    return object->type == MSGPACK_OBJECT_ARRAY && parts->size >= 3 &&
           take_text(&parts->ptr[0], out->control, sizeof out->control) &&
           take_text(&parts->ptr[1], out->enrol, sizeof out->enrol) &&
           take_octets(&parts->ptr[2], out->key.bytes, sizeof out->key.bytes) &&
           endpoint_check(out->control, true, NULL) == STATUS_OK &&
           endpoint_check(out->enrol, true, NULL) == STATUS_OK;
}

static bool take_brokers(struct token *out, const msgpack_object *object)
{
    const msgpack_object_array *list = &object->via.array;
    if (object->type != MSGPACK_OBJECT_ARRAY || list->size == 0 || list->size > TOKEN_BROKERS_MAX)
        return false;
    for (out->brokers_len = 0; out->brokers_len < list->size; out->brokers_len++)
        if (!take_broker(&out->brokers[out->brokers_len], &list->ptr[out->brokers_len]))
            return false;
    return true;
}

static bool take_role(struct token *out, const msgpack_object *object)
{
    if (object->type != MSGPACK_OBJECT_POSITIVE_INTEGER ||
        (object->via.u64 != WIRE_GATEWAY && object->via.u64 != WIRE_WORKER))
        return false;
    out->role = (uint32_t)object->via.u64;
    return true;
}

/* Keys that we do not know belong to newer programs. */
static bool take_map(struct token *out, const msgpack_object *object)
{
    bool brokers = false, secret = false, role = false;
    if (object->type != MSGPACK_OBJECT_MAP)
        return false;
    for (uint32_t i = 0; i < object->via.map.size; i++) {
        char key[16];
        const msgpack_object *value = &object->via.map.ptr[i].val;
        if (!take_text(&object->via.map.ptr[i].key, key, sizeof key))
            return false;
        if (strcmp(key, "brokers") == 0)
            brokers = take_brokers(out, value);
        else if (strcmp(key, "secret") == 0)
            secret = take_octets(value, out->secret, sizeof out->secret);
        else if (strcmp(key, "role") == 0)
            role = take_role(out, value);
    }
    return brokers && secret && role;
}

static enum status unpack(struct token *out, const uint8_t *bytes, size_t size, struct error *why)
{
    uint8_t sum[SUM_BYTES];
    msgpack_unpacked unpacked;
    if (size <= SUM_BYTES)
        return fail(why, STATUS_INVALID, "the token is too short: copy the whole line");
    size -= SUM_BYTES;
    sum_of(sum, bytes, size);
    if (memcmp(sum, bytes + size, SUM_BYTES) != 0)
        return fail(why, STATUS_INVALID,
                    "the token is damaged (its checksum does not fit): copy the whole line");
    msgpack_unpacked_init(&unpacked);
    size_t at = 0;
    bool good =
        msgpack_unpack_next(&unpacked, (const char *)bytes, size, &at) == MSGPACK_UNPACK_SUCCESS &&
        at == size && take_map(out, &unpacked.data);
    msgpack_unpacked_destroy(&unpacked);
    return good ? STATUS_OK
                : fail(why, STATUS_INVALID, "the token has another form than this program knows");
}

enum status token_read(struct token *out, const char *text, struct error *why)
{
    *out = (struct token){.brokers_len = 0};
    while (isspace((unsigned char)*text))
        text++;
    size_t length = strlen(text), size = 0;
    while (length > 0 && isspace((unsigned char)text[length - 1]))
        length--;
    if (length < PREFIX_SIZE || memcmp(text, TOKEN_PREFIX, PREFIX_SIZE) != 0)
        return fail(why, STATUS_INVALID,
                    "this is no token: expected %s..., one line as `convoy token create` prints it",
                    TOKEN_PREFIX);
    if (length > PACKED_MAX)
        return fail(why, STATUS_INVALID, "the token has %zu characters, at most %zu can be right",
                    length, PACKED_MAX);
    uint8_t *bytes = xmalloc(length);
    const char *end = NULL;
    enum status s = STATUS_OK;
    if (sodium_base642bin(bytes, length, text + PREFIX_SIZE, length - PREFIX_SIZE, NULL, &size,
                          &end, VARIANT) != 0 ||
        end != text + length)
        s = fail(why, STATUS_INVALID,
                 "the token has a character at place %zu that belongs to no token: copy the whole "
                 "line",
                 (size_t)((end ? end : text) - text) + 1);
    if (s == STATUS_OK)
        s = unpack(out, bytes, size, why);
    sodium_memzero(bytes, length);
    free(bytes);
    if (s != STATUS_OK)
        token_wipe(out);
    return s;
}
