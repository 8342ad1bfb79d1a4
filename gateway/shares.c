/* shares - a short list, looked through from the start; see shares.h */
#include "gateway/shares.h"

#include <stdlib.h>
#include <string.h>

#define NAME_MAX_LEN 64 /* octets of a tenant: TENANT of PROTOCOL.md */

struct share {
    char tenant[NAME_MAX_LEN + 1];
    uint32_t value;
};

struct shares {
    size_t len;
    struct share list[];
};

/* One part, `len` octets of "TENANT=N". False: it is something else. */
static bool read_part(struct share *into, const char *part, size_t len)
{
    const char *sign = memchr(part, '=', len);
    size_t name = sign ? (size_t)(sign - part) : 0, digits = len - name - 1;
    if (name == 0 || name > NAME_MAX_LEN || digits == 0 || digits > 4)
        return false;
    memcpy(into->tenant, part, name);
    for (size_t i = 0; i < digits; i++) {
        char c = sign[1 + i];
        if (c < '0' || c > '9')
            return false;
        into->value = into->value * 10 + (uint32_t)(c - '0');
    }
    return into->value >= 1 && into->value <= SHARE_MAX;
}

enum status shares_parse(struct shares **out, const char *text, struct error *why)
{
    size_t room = 1;
    for (const char *c = text; *c; c++)
        room += *c == ',' ? 1 : 0;
    struct shares *self = xcalloc(1, sizeof(*self) + room * sizeof(self->list[0]));
    for (const char *part = text; *part;) {
        size_t len = strcspn(part, ",");
        if (!read_part(&self->list[self->len++], part, len)) {
            fail(why, STATUS_INVALID,
                 "tenant_shares: \"%.*s\" is no TENANT=N with N from 1 to %d: write for example "
                 "acme=3,lab=1",
                 (int)MIN(len, (size_t)100), part, SHARE_MAX);
            shares_destroy(&self);
            return STATUS_INVALID;
        }
        part += len + (part[len] == ',' ? 1 : 0);
    }
    *out = self;
    return STATUS_OK;
}

uint32_t shares_of(const struct shares *self, const char *tenant)
{
    for (size_t i = 0; self && tenant && i < self->len; i++)
        if (strcmp(self->list[i].tenant, tenant) == 0)
            return self->list[i].value;
    return 1;
}

void shares_destroy(struct shares **self_p)
{
    free(*self_p);
    *self_p = NULL;
}
