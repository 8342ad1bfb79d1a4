/* brokers - the brokers of a fleet: addresses and keys, as a parameter or a WELCOME lists them
 *
 * Written "tcp://HOST:PORT[=KEY],...": KEY is the broker's public CURVE key in Z85, which has no
 * comma. Pure. */
#ifndef CONVOY_COMMON_BROKERS_H
#define CONVOY_COMMON_BROKERS_H

#include "common/curve.h"

#define BROKERS_MAX 16 /* that a gateway or worker connects to */

struct broker_address {
    char endpoint[NET_ADDRESS_MAX]; /* of the control ROUTER */
    bool keyed;                     /* a CURVE link: `key` is set */
    struct curve_key key;           /* the broker's public key */
};

struct broker_list {
    struct broker_address list[BROKERS_MAX];
    size_t len;
};

/* Read the list; INVALID says which part is wrong and how to mend it. At least one. */
enum status brokers_parse(struct broker_list *out, const char *text, struct error *why);

/* Add one that is not there yet; false when it is, or when the list is full. */
bool brokers_add(struct broker_list *self, const struct broker_address *address);

/* Those that an identity knows; none: an empty list. */
void brokers_of(struct broker_list *out, const struct curve_identity *identity);

/* Whether two lists name the same brokers in the same order. */
bool brokers_equal(const struct broker_list *a, const struct broker_list *b);

#endif
