/* wire_rules - tables made from wire.def, and the check that reads them; see wire_rules.h */
#include "common/wire_rules.h"

#include <inttypes.h>

/* Role names as wire.def writes them. */
enum { GATEWAY = WIRE_GATEWAY, WORKER = WIRE_WORKER, BROKER = WIRE_BROKER };
enum { CONTROL = WIRE_CONTROL, DATA = WIRE_DATA };
enum { OPTIONAL, REQUIRED, HEADING };

static const struct message_row {
    const char *name; /* NULL: no such message */
    enum wire_plane plane;
    unsigned from; /* roles that may send it */
} messages[256] = {
#define MESSAGE(name, code, plane, from, purpose) [code] = {#name, (enum wire_plane)(plane), from},
#include "common/wire.def"
};

static const struct key_row {
    const char *name; /* NULL: no such key */
    enum value_type type;
} keys[] = {
#define KEY(name, code, type, meaning) [code] = {#name, VALUE_##type},
#include "common/wire.def"
};

static const int elements[ARRAY_LEN(keys)] = {
#define ELEMENTS(key, group) [KEY_##key] = WIRE_##group,
#include "common/wire.def"
};

/* One heading per owner, then its fields: the heading's place is known at compile time. */
enum {
#define MESSAGE(name, code, plane, from, purpose) HEADING_##name,
#define GROUP(name)                               HEADING_##name,
#define FIELD(owner, key, need, min, max)         ROW_##owner##_##key,
#include "common/wire.def"
    ROWS_LEN
};

static const struct field_row {
    int need; /* HEADING starts the next owner */
    enum wire_key key;
    uint64_t min;
    uint64_t max;
} fields[ROWS_LEN + 1] = {
#define MESSAGE(name, code, plane, from, purpose) [HEADING_##name] = {.need = HEADING},
#define GROUP(name)                               [HEADING_##name] = {.need = HEADING},
#define FIELD(owner, key, need, min, max)         [ROW_##owner##_##key] = {need, KEY_##key, min, max},
#include "common/wire.def"
    [ROWS_LEN] = {.need = HEADING},
};

static const int headings[256] = {
#define MESSAGE(name, code, plane, from, purpose) [code] = HEADING_##name,
#define GROUP(name)                               [WIRE_##name] = HEADING_##name,
#include "common/wire.def"
};

bool rules_type_known(unsigned code)
{
    return code < ARRAY_LEN(messages) && messages[code].name;
}

const char *wire_name(enum wire_type type)
{
    return rules_type_known((unsigned)type) ? messages[type].name : "UNKNOWN";
}

uint32_t wire_kind_minor(uint64_t kind)
{
    static const struct {
        uint64_t kind;
        uint32_t minor;
    } kinds[] = {
#define KIND(name, code, minor, meaning) {code, minor},
#include "common/wire.def"
    };
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (kinds[i].kind == kind)
            return kinds[i].minor;
    return UINT32_MAX;
}

enum wire_plane wire_plane(enum wire_type type)
{
    return rules_type_known((unsigned)type) ? messages[type].plane : WIRE_CONTROL;
}

bool wire_may_send(enum wire_type type, enum wire_role role)
{
    return rules_type_known((unsigned)type) && (messages[type].from & role);
}

enum value_type rules_key_type(enum wire_key key)
{
    assert((size_t)key < ARRAY_LEN(keys) && keys[key].name);
    return keys[key].type;
}

/* --- before decoding ----------------------------------------------------------------------------
 */

/* What the first octet of a msgpack object says: octets of its length field, or a fixed size. */
struct shape {
    uint8_t length_octets; /* 0, 1, 2, 4: big-endian count that follows */
    uint8_t fixed;         /* count or size when length_octets is 0 */
    uint8_t per;           /* objects per count: 0 plain octets, 1 array, 2 map */
    bool refused;
};

static struct shape shape_of(uint8_t first)
{
    static const struct shape table[32] = {
        /* c0 nil, c1 never, c2 c3 bool, c4-c6 bin, c7-c9 ext, ca cb float, cc-cf uint */
        {0, 0, 0, false},
        {0, 0, 0, true},
        {0, 0, 0, false},
        {0, 0, 0, false},
        {1, 0, 0, false},
        {2, 0, 0, false},
        {4, 0, 0, false},
        {0, 0, 0, true},
        {0, 0, 0, true},
        {0, 0, 0, true},
        {0, 4, 0, false},
        {0, 8, 0, false},
        {0, 1, 0, false},
        {0, 2, 0, false},
        {0, 4, 0, false},
        {0, 8, 0, false},
        /* d0-d3 int, d4-d8 fixext, d9-db str, dc dd array, de df map */
        {0, 1, 0, false},
        {0, 2, 0, false},
        {0, 4, 0, false},
        {0, 8, 0, false},
        {0, 0, 0, true},
        {0, 0, 0, true},
        {0, 0, 0, true},
        {0, 0, 0, true},
        {0, 0, 0, true},
        {1, 0, 0, false},
        {2, 0, 0, false},
        {4, 0, 0, false},
        {2, 0, 1, false},
        {4, 0, 1, false},
        {2, 0, 2, false},
        {4, 0, 2, false},
    };
    if (first < 0x80 || first >= 0xe0)
        return (struct shape){0, 0, 0, false};
    if (first < 0x90)
        return (struct shape){0, first & 0x0f, 2, false};
    if (first < 0xa0)
        return (struct shape){0, first & 0x0f, 1, false};
    if (first < 0xc0)
        return (struct shape){0, first & 0x1f, 0, false};
    return table[first - 0xc0];
}

bool rules_walk(const uint8_t *bytes, size_t size)
{
    uint64_t left[WIRE_DEPTH_MAX + 1]; /* objects still to come at each depth */
    unsigned depth = 0;
    size_t at = 0;
    left[0] = 1;
    for (;;) {
        while (left[depth] == 0) {
            if (depth == 0)
                return at == size;
            depth--;
        }
        if (at >= size)
            return false;
        left[depth]--;
        struct shape shape = shape_of(bytes[at++]);
        uint64_t count = shape.fixed;
        if (shape.refused || shape.length_octets > size - at)
            return false;
        for (unsigned i = 0; i < shape.length_octets; i++)
            count = count << 8 | bytes[at++];
        if (shape.per == 0) {
            if (count > size - at)
                return false;
            at += (size_t)count;
        } else {
            count *= shape.per;
            if (count > size - at || depth == WIRE_DEPTH_MAX)
                return false;
            left[++depth] = count;
        }
    }
}

/* --- after decoding -----------------------------------------------------------------------------
 */

const msgpack_object *rules_find(const msgpack_object *object, enum wire_key key)
{
    if (!object)
        return NULL;
    for (uint32_t i = 0; i < object->via.map.size; i++) {
        const msgpack_object_kv *kv = &object->via.map.ptr[i];
        if (kv->key.type == MSGPACK_OBJECT_POSITIVE_INTEGER && kv->key.via.u64 == (uint64_t)key)
            return &kv->val;
    }
    return NULL;
}

static bool numbers_only(const msgpack_object *list)
{
    for (uint32_t i = 0; i < list->via.array.size; i++)
        if (list->via.array.ptr[i].type != MSGPACK_OBJECT_POSITIVE_INTEGER)
            return false;
    return true;
}

/* first, count pairs: ascending, not touching, inside 64 bits. */
static bool ranges_sound(const msgpack_object *list)
{
    uint64_t end = 0;
    if (list->via.array.size % 2)
        return false;
    for (uint32_t i = 0; i < list->via.array.size; i += 2) {
        uint64_t first = list->via.array.ptr[i].via.u64;
        uint64_t count = list->via.array.ptr[i + 1].via.u64;
        if (count == 0 || first > UINT64_MAX - count || (i && first <= end))
            return false;
        end = first + count;
    }
    return true;
}

/* The value's size as FIELD bounds it; false when it has another type than the key asks for. */
static bool measure(enum wire_key key, const msgpack_object *value, uint64_t *size)
{
    switch (keys[key].type) {
    case VALUE_U64:
        *size = value->via.u64;
        return value->type == MSGPACK_OBJECT_POSITIVE_INTEGER;
    case VALUE_TEXT:
        *size = value->via.str.size;
        return value->type == MSGPACK_OBJECT_STR;
    case VALUE_BIN:
        *size = value->via.bin.size;
        return value->type == MSGPACK_OBJECT_BIN;
    case VALUE_UUID:
        *size = 0;
        return value->type == MSGPACK_OBJECT_BIN && value->via.bin.size == sizeof(struct uuid);
    case VALUE_DIGEST:
        *size = 0;
        return value->type == MSGPACK_OBJECT_BIN && value->via.bin.size == sizeof(struct digest);
    case VALUE_NUMBERS:
        *size = value->via.array.size;
        return value->type == MSGPACK_OBJECT_ARRAY && numbers_only(value) &&
               (key != KEY_RANGES || ranges_sound(value));
    case VALUE_MAPS:
        *size = value->via.array.size;
        return value->type == MSGPACK_OBJECT_ARRAY;
    }
    return false;
}

static const char *owner_name(int owner)
{
    static const char *const groups[] = {
#define GROUP(name) [WIRE_##name - WIRE_GROUP_FIRST] = #name,
#include "common/wire.def"
    };
    return owner > WIRE_GROUP_FIRST ? groups[owner - WIRE_GROUP_FIRST]
                                    : wire_name((enum wire_type)owner);
}

static enum status check_value(const msgpack_object *value, int owner, const struct field_row *row,
                               struct error *why)
{
    const char *name = keys[row->key].name;
    uint64_t size;
    if (!measure(row->key, value, &size))
        return fail(why, STATUS_MALFORMED, "%s.%s has the wrong type or form", owner_name(owner),
                    name);
    if (size < row->min || size > row->max)
        return fail(why, STATUS_MALFORMED, "%s.%s is %" PRIu64 ", expected %" PRIu64 " to %" PRIu64,
                    owner_name(owner), name, size, row->min, row->max);
    if (keys[row->key].type != VALUE_MAPS)
        return STATUS_OK;
    for (uint32_t i = 0; i < value->via.array.size; i++) {
        enum status s = rules_check(&value->via.array.ptr[i], elements[row->key], why);
        if (s != STATUS_OK)
            return s;
    }
    return STATUS_OK;
}

enum status rules_check(const msgpack_object *object, int owner, struct error *why)
{
    const struct field_row *first = &fields[headings[owner] + 1];
    uint64_t seen = 0; /* bit i: row i of this owner was there */
    if (object->type != MSGPACK_OBJECT_MAP)
        return fail(why, STATUS_MALFORMED, "%s is not a map", owner_name(owner));
    for (uint32_t i = 0; i < object->via.map.size; i++) {
        const msgpack_object_kv *kv = &object->via.map.ptr[i];
        if (kv->key.type != MSGPACK_OBJECT_POSITIVE_INTEGER)
            return fail(why, STATUS_MALFORMED, "%s has a key that is no number", owner_name(owner));
        for (const struct field_row *row = first; row->need != HEADING; row++) {
            if ((uint64_t)row->key != kv->key.via.u64)
                continue;
            uint64_t bit = UINT64_C(1) << (row - first);
            if (seen & bit)
                return fail(why, STATUS_MALFORMED, "%s.%s is there twice", owner_name(owner),
                            keys[row->key].name);
            seen |= bit;
            enum status s = check_value(&kv->val, owner, row, why);
            if (s != STATUS_OK)
                return s;
            break;
        }
    }
    for (const struct field_row *row = first; row->need != HEADING; row++)
        if (row->need == REQUIRED && !(seen & UINT64_C(1) << (row - first)))
            return fail(why, STATUS_MALFORMED, "%s.%s is missing", owner_name(owner),
                        keys[row->key].name);
    return STATUS_OK;
}
