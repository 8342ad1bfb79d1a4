/* tls - a certificate with its private key, as HTTP's TLS uses it
 *
 * TLS 1.2 and 1.3 by GnuTLS inside libmicrohttpd. A pair is loaded by any thread and then given to
 * the server, which may get another one later: connections that are open keep what they have. */
#ifndef CONVOY_GATEWAY_HTTP_TLS_H
#define CONVOY_GATEWAY_HTTP_TLS_H

#include "common/status.h"

#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>

#define TLS_CHAIN_MAX 16 /* certificates of a chain */

struct tls_pair {
    gnutls_pcert_st chain[TLS_CHAIN_MAX]; /* the server's certificate first */
    unsigned chain_len;                   /* in use */
    gnutls_privkey_t key;                 /* of the first one */
    char subject[256];                    /* of the first one, for the log */
    int64_t expires_ms;                   /* wall clock: end of the first one */
    uint64_t retired_ns;                  /* the server's: when the next one came */
    struct tls_pair *next;                /* the server's list of retired ones */
};

/* Read two PEM files: the certificate with its chain, and the key, without a password. INVALID says
 * which file is wrong and how: not there, not PEM, too long a chain, not of one pair. */
enum status tls_pair_load(struct tls_pair **out, const char *cert_path, const char *key_path,
                          struct error *why);

/* No handshake may still use it. NULL inside is fine. */
void tls_pair_free(struct tls_pair **self_p);

#endif
