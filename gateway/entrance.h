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

/* Listen, with the certificate if there is one, and have gateway->keys asked. After the parts that
 * read the ledger at their start. */
enum status entrance_open(struct gateway *gateway, struct error *why);

/* Read the certificate and its key again: new handshakes use them. When they are unfit the old ones
 * stay, and the log says why. False: there is no TLS here. */
bool entrance_reload(struct gateway *gateway);

/* "http" or "https": the name of the bound address. */
const char *entrance_scheme(const struct gateway *gateway);

#endif
