/* ids - over libuuid; see ids.h */
#include "common/ids.h"

#include "common/clock.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <uuid/uuid.h>

struct uuid id_random(void)
{
    struct uuid id;
    uuid_generate_random(id.bytes);
    return id;
}

/* Milliseconds and 12 bits that count within one: later than all stamps before. */
static uint64_t next_stamp(void)
{
    static uint64_t last;
    uint64_t now = (uint64_t)clock_wall_ms() << 12, stamp;
    uint64_t before = __atomic_load_n(&last, __ATOMIC_RELAXED);
    do
        stamp = MAX(now, before + 1);
    while (!__atomic_compare_exchange_n(&last, &before, stamp, false, __ATOMIC_RELAXED,
                                        __ATOMIC_RELAXED));
    return stamp;
}

struct uuid id_new(void)
{
    struct uuid id = id_random();
    uint64_t stamp = next_stamp(), ms = stamp >> 12;
    for (int i = 5; i >= 0; i--, ms >>= 8)
        id.bytes[i] = (uint8_t)ms;
    id.bytes[6] = (uint8_t)((id.bytes[6] & 0xf0) | (stamp >> 8 & 0xf));
    id.bytes[7] = (uint8_t)stamp;
    return id;
}

uint64_t random_u64(void)
{
    uint64_t bits;
    ssize_t got = getrandom(&bits, sizeof bits, 0);
    if (got != (ssize_t)sizeof bits) /* so few bytes never come in parts (getrandom(2)) */
        panic("the system gives no random bytes");
    return bits;
}

char *id_text(char into[static ID_TEXT_SIZE], const struct uuid *id)
{
    uuid_unparse_lower(id->bytes, into);
    return into;
}

char *id_short(char into[static ID_SHORT_SIZE], const struct uuid *id)
{
    const uint8_t *end = id->bytes + 12;
    snprintf(into, ID_SHORT_SIZE, "%02x%02x%02x%02x", end[0], end[1], end[2], end[3]);
    return into;
}

bool id_parse(struct uuid *id, const char *text)
{
    struct uuid read;
    /* Older libuuids look only at the digits' places and let sscanf read " 1" or "+1" there. */
    for (const char *c = text; *c; c++)
        if (!isxdigit((unsigned char)*c) && *c != '-')
            return false;
    if (uuid_parse(text, read.bytes) != 0)
        return false;
    *id = read;
    return true;
}

bool id_equal(const struct uuid *a, const struct uuid *b)
{
    return id_compare(a, b) == 0;
}

bool id_is_zero(const struct uuid *id)
{
    static const struct uuid zero;
    return id_equal(id, &zero);
}

int id_compare(const struct uuid *a, const struct uuid *b)
{
    return memcmp(a->bytes, b->bytes, sizeof a->bytes);
}
