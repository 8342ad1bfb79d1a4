/* entrance - how the HTTP API is reached: the rule of addresses, TLS, keys
 *
 * On loopback HTTP is open, unless http_keys asks for keys. Everywhere else it needs TLS and keys,
 * unless http_insecure gives up what is not set. Front thread only. */
#ifndef CONVOY_GATEWAY_ENTRANCE_H
#define CONVOY_GATEWAY_ENTRANCE_H

#include "gateway/gateway.h"

/* Does every request need a key? By the parameters and the address alone. INVALID, with the fix,
 * when they do not go together: off loopback without TLS, a certificate without its key. */
enum status entrance_rule(const struct gateway_params *params, bool *keys, struct error *why);

/* How many HTTP connections there may be: http_connections_max, or less where the limit of open
 * files is low. A file may be open for each, and the ledger, jobs and brokers need some as well: so
 * a crowd of clients takes no job its files. UNAVAILABLE when hardly any is left. */
enum status entrance_room(uint32_t *connections, const struct gateway_params *params,
                          struct error *why);

/* Listen, with the certificate if there is one, and have gateway->keys asked. After the parts that
 * read the ledger at their start. */
enum status entrance_open(struct gateway *gateway, struct error *why);

/* Read the certificate and its key again: new handshakes use them. When they are unfit the old ones
 * stay, and the log says why. False: there is no TLS here. */
bool entrance_reload(struct gateway *gateway);

/* "http" or "https": the name of the bound address. */
const char *entrance_scheme(const struct gateway *gateway);

#endif
