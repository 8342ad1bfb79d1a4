/* scopes as texts; certificates with their keys, read or refused */
#include "tests/unit/common/testing.h"

#include "common/file.h"
#include "gateway/http/scope.h"
#include "gateway/http/tls.h"

#include <gnutls/x509.h>

static void scopes_are_read_and_written(void **state)
{
    struct error why;
    uint32_t set;
    char text[SCOPES_TEXT_SIZE];
    (void)state;
    assert_int_equal(scopes_parse(&set, "admin,infer", &why), STATUS_OK);
    assert_string_equal(scopes_text(text, set), "infer,admin");
    static const char *const wrong[] = {"",    "infer,", ",infer", "Infer", "infer, batch",
                                        "any", "open"};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        assert_int_equal(scopes_parse(&set, wrong[i], &why), STATUS_INVALID);
        assert_non_null(strstr(why.text, "infer,batch,train,models,admin"));
    }
}

/* --- certificates --------------------------------------------------------------------------------
 */

/* An EC key and a certificate that it signed itself, as PEM files NAME.crt and NAME.key. */
static void make_pair(const char *name)
{
    gnutls_x509_privkey_t key;
    gnutls_x509_crt_t crt;
    gnutls_datum_t pem;
    struct error why;
    char file[64];
    assert_int_equal(gnutls_x509_privkey_init(&key), 0);
    assert_int_equal(gnutls_x509_privkey_generate(
                         key, GNUTLS_PK_ECDSA, GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0),
                     0);
    assert_int_equal(gnutls_x509_crt_init(&crt), 0);
    gnutls_x509_crt_set_version(crt, 3);
    gnutls_x509_crt_set_serial(crt, "\1", 1);
    gnutls_x509_crt_set_activation_time(crt, 1700000000);
    gnutls_x509_crt_set_expiration_time(crt, 2000000000);
    assert_int_equal(gnutls_x509_crt_set_dn_by_oid(crt, GNUTLS_OID_X520_COMMON_NAME, 0, name,
                                                   (unsigned)strlen(name)),
                     0);
    assert_int_equal(gnutls_x509_crt_set_key(crt, key), 0);
    assert_int_equal(gnutls_x509_crt_sign2(crt, crt, key, GNUTLS_DIG_SHA256, 0), 0);
    assert_int_equal(gnutls_x509_crt_export2(crt, GNUTLS_X509_FMT_PEM, &pem), 0);
    snprintf(file, sizeof file, "%s.crt", name);
    assert_int_equal(file_write(test_path(file), pem.data, pem.size, false, &why), STATUS_OK);
    gnutls_free(pem.data);
    assert_int_equal(gnutls_x509_privkey_export2(key, GNUTLS_X509_FMT_PEM, &pem), 0);
    snprintf(file, sizeof file, "%s.key", name);
    assert_int_equal(file_write_private(test_path(file), pem.data, pem.size, &why), STATUS_OK);
    gnutls_free(pem.data);
    gnutls_x509_crt_deinit(crt);
    gnutls_x509_privkey_deinit(key);
}

static enum status load_pair(struct tls_pair **pair, const char *cert, const char *key,
                             struct error *why)
{
    char *cert_path = xstrdup(test_path(cert)), *key_path = xstrdup(test_path(key));
    enum status s = tls_pair_load(pair, cert_path, key_path, why);
    free(cert_path);
    free(key_path);
    return s;
}

static void certificates_are_loaded_with_their_key_or_refused_with_the_reason(void **state)
{
    struct tls_pair *pair = NULL;
    struct error why;
    (void)state;
    make_pair("one");
    make_pair("two");
    assert_int_equal(load_pair(&pair, "one.crt", "one.key", &why), STATUS_OK);
    assert_string_equal(pair->subject, "CN=one");
    assert_int_equal(pair->expires_ms, INT64_C(2000000000000));
    tls_pair_free(&pair);
    tls_pair_free(&pair); /* twice is harmless */
    assert_int_equal(load_pair(&pair, "one.crt", "two.key", &why), STATUS_INVALID);
    assert_why(&why, STATUS_INVALID, "is not the certificate of the key");
    assert_null(pair);
    assert_int_equal(load_pair(&pair, "none.crt", "one.key", &why), STATUS_INVALID);
    assert_why(&why, STATUS_INVALID, "none.crt");
    assert_int_equal(load_pair(&pair, "one.key", "one.key", &why), STATUS_INVALID);
    assert_why(&why, STATUS_INVALID, "expected PEM certificates");
    assert_int_equal(load_pair(&pair, "one.crt", "one.crt", &why), STATUS_INVALID);
    assert_why(&why, STATUS_INVALID, "expected a PEM private key");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scopes_are_read_and_written),
        cmocka_unit_test(certificates_are_loaded_with_their_key_or_refused_with_the_reason),
    };
    return cmocka_run_group_tests(tests, NULL, test_scratch_end);
}
