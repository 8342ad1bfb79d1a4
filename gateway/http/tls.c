/* tls - PEM files into what GnuTLS takes; see tls.h */
#include "gateway/http/tls.h"

#include "common/clock.h"
#include "common/file.h"
#include "common/log.h"

#include <sodium.h>
#include <stdlib.h>
#include <sys/stat.h>

#define PEM_BYTES_MAX (256 * KIB) /* larger is another kind of file */

static enum status read_pem(gnutls_datum_t *out, const char *path, struct error *why)
{
    char *bytes = NULL;
    size_t size = 0;
    enum status s = file_read(&bytes, &size, path, PEM_BYTES_MAX, why);
    if (s != STATUS_OK)
        return why->status = STATUS_INVALID; /* whatever ails the file: it was configured */
    *out = (gnutls_datum_t){(unsigned char *)bytes, (unsigned)size};
    return STATUS_OK;
}

/* The key as text does not stay in memory. */
static void forget_pem(gnutls_datum_t *pem)
{
    if (pem->data)
        sodium_memzero(pem->data, pem->size);
    free(pem->data);
}

static enum status read_chain(struct tls_pair *self, const gnutls_datum_t *pem, const char *path,
                              struct error *why)
{
    unsigned len = TLS_CHAIN_MAX;
    int code = gnutls_pcert_list_import_x509_raw(self->chain, &len, pem, GNUTLS_X509_FMT_PEM, 0);
    if (code == GNUTLS_E_SHORT_MEMORY_BUFFER)
        return fail(why, STATUS_INVALID, "%s: a chain has at most %d certificates", path,
                    TLS_CHAIN_MAX);
    if (code < 0 || len == 0)
        return fail(why, STATUS_INVALID, "%s: expected PEM certificates: %s", path,
                    gnutls_strerror(code));
    self->chain_len = len;
    return STATUS_OK;
}

static enum status read_key(struct tls_pair *self, const gnutls_datum_t *pem, const char *path,
                            struct error *why)
{
    struct stat info;
    int code = gnutls_privkey_init(&self->key);
    if (code == 0)
        code = gnutls_privkey_import_x509_raw(self->key, pem, GNUTLS_X509_FMT_PEM, NULL, 0);
    if (code != 0)
        return fail(why, STATUS_INVALID, "%s: expected a PEM private key without a password: %s",
                    path, gnutls_strerror(code));
    if (stat(path, &info) == 0 && (info.st_mode & S_IRWXO))
        LOG_WARN("tls_key_open", "file=%s action=%s", path,
                 "everybody on this machine can read it: chmod o= it");
    return STATUS_OK;
}

/* GnuTLS compares the two when they go into one set of credentials. */
static enum status check_pair(const gnutls_datum_t *cert, const gnutls_datum_t *key,
                              const char *cert_path, const char *key_path, struct error *why)
{
    gnutls_certificate_credentials_t both;
    if (gnutls_certificate_allocate_credentials(&both) != 0)
        panic("out of memory for a certificate");
    int code = gnutls_certificate_set_x509_key_mem(both, cert, key, GNUTLS_X509_FMT_PEM);
    gnutls_certificate_free_credentials(both);
    if (code < 0)
        return fail(why, STATUS_INVALID, "%s is not the certificate of the key %s: %s", cert_path,
                    key_path, gnutls_strerror(code));
    return STATUS_OK;
}

static void describe(struct tls_pair *self)
{
    gnutls_x509_crt_t first;
    size_t size = sizeof self->subject;
    if (gnutls_pcert_export_x509(&self->chain[0], &first) != 0)
        return;
    if (gnutls_x509_crt_get_dn(first, self->subject, &size) != 0)
        self->subject[0] = '\0';
    self->expires_ms = (int64_t)gnutls_x509_crt_get_expiration_time(first) * 1000;
    gnutls_x509_crt_deinit(first);
}

enum status tls_pair_load(struct tls_pair **out, const char *cert_path, const char *key_path,
                          struct error *why)
{
    gnutls_datum_t cert = {0}, key = {0};
    struct tls_pair *self = xcalloc(1, sizeof *self);
    enum status s = read_pem(&cert, cert_path, why);
    if (s == STATUS_OK)
        s = read_pem(&key, key_path, why);
    if (s == STATUS_OK)
        s = read_chain(self, &cert, cert_path, why);
    if (s == STATUS_OK)
        s = read_key(self, &key, key_path, why);
    if (s == STATUS_OK)
        s = check_pair(&cert, &key, cert_path, key_path, why);
    if (s == STATUS_OK)
        describe(self);
    forget_pem(&cert);
    forget_pem(&key);
    if (s != STATUS_OK)
        tls_pair_free(&self);
    *out = self;
    return s;
}

void tls_pair_free(struct tls_pair **self_p)
{
    struct tls_pair *self = *self_p;
    if (!self)
        return;
    for (unsigned i = 0; i < self->chain_len; i++)
        gnutls_pcert_deinit(&self->chain[i]);
    if (self->key)
        gnutls_privkey_deinit(self->key);
    free(self);
    *self_p = NULL;
}
