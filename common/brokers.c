/* brokers - see brokers.h */
#include "common/brokers.h"

#include <string.h>

/* One "ENDPOINT[=KEY]" of `size` characters. */
static enum status parse_one(struct broker_address *out, const char *text, size_t size,
                             struct error *why)
{
    const char *equals = memchr(text, '=', size);
    size_t endpoint = equals ? (size_t)(equals - text) : size;
    size_t key = equals ? size - endpoint - 1 : 0;
    *out = (struct broker_address){0};
    if (endpoint >= sizeof out->endpoint)
        return fail(why, STATUS_INVALID, "the address of a broker has %zu characters, at most %zu",
                    endpoint, sizeof out->endpoint - 1);
    memcpy(out->endpoint, text, endpoint);
    if (!equals)
        return endpoint_check(out->endpoint, false, why);
    char z85[CURVE_TEXT_SIZE] = "";
    if (key < sizeof z85)
        memcpy(z85, equals + 1, key);
    out->keyed = curve_key_parse(&out->key, z85);
    if (!out->keyed)
        return fail(why, STATUS_INVALID,
                    "what follows %s= is no public key: expected 40 characters of Z85, as the "
                    "broker prints its key",
                    out->endpoint);
    return endpoint_check(out->endpoint, true, why);
}

enum status brokers_parse(struct broker_list *out, const char *text, struct error *why)
{
    *out = (struct broker_list){.len = 0};
    for (const char *at = text, *end; at; at = *end ? end + 1 : NULL) {
        struct broker_address address;
        end = at + strcspn(at, ",");
        const char *from = at + strspn(at, " ");
        size_t size = from < end ? (size_t)(end - from) : 0;
        while (size > 0 && from[size - 1] == ' ')
            size--;
        enum status s = parse_one(&address, from, size, why);
        if (s != STATUS_OK)
            return s;
        if (out->len == BROKERS_MAX)
            return fail(why, STATUS_INVALID, "more than %d brokers", BROKERS_MAX);
        if (!brokers_add(out, &address))
            return fail(why, STATUS_INVALID, "the broker %s is named twice", address.endpoint);
    }
    return STATUS_OK;
}

bool brokers_add(struct broker_list *self, const struct broker_address *address)
{
    for (size_t i = 0; i < self->len; i++)
        if (strcmp(self->list[i].endpoint, address->endpoint) == 0)
            return false;
    if (self->len == BROKERS_MAX)
        return false;
    self->list[self->len++] = *address;
    return true;
}

void brokers_of(struct broker_list *out, const struct curve_identity *identity)
{
    *out = (struct broker_list){.len = 0};
    for (size_t i = 0; i < identity->brokers_len; i++) {
        struct broker_address address = {.keyed = true, .key = identity->brokers[i].key};
        text_copy(address.endpoint, sizeof address.endpoint, identity->brokers[i].endpoint);
        brokers_add(out, &address);
    }
}

bool brokers_equal(const struct broker_list *a, const struct broker_list *b)
{
    if (a->len != b->len)
        return false;
    for (size_t i = 0; i < a->len; i++)
        if (strcmp(a->list[i].endpoint, b->list[i].endpoint) != 0 ||
            a->list[i].keyed != b->list[i].keyed ||
            (a->list[i].keyed && !curve_key_equal(&a->list[i].key, &b->list[i].key)))
            return false;
    return true;
}
