/* up_keys - over common/curve and the gateway's own API; see up_keys.h */
#include "gateway/cli/up_keys.h"

#include "common/file.h"
#include "gateway/cli/cli.h"

#include <sodium/utils.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define KEY_FILE_MAX 4096  /* one line */
#define PATIENCE_MS  10000 /* for the gateway to have joined the broker */
#define TTL_S        600   /* for workers of this machine to start */

enum status up_keys_needed(bool *needed, const char *broker, struct error *why)
{
    struct endpoint endpoint;
    enum status s = endpoint_parse(&endpoint, broker, why);
    *needed = s == STATUS_OK && !endpoint.loopback;
    return s == STATUS_OK ? s : fail_in(why, "--broker");
}

enum status up_keys_gateway(char key[static CURVE_TEXT_SIZE], const char *data, struct error *why)
{
    struct curve_identity identity;
    char *path = xasprintf("%s/gateway.key", data);
    enum status s = curve_identity_open(&identity, path, why);
    if (s == STATUS_OK) {
        curve_key_text(key, &identity.public_key);
        curve_identity_wipe(&identity);
    }
    free(path);
    return s;
}

enum status up_keys_broker(char key[static CURVE_TEXT_SIZE], const char *folder, struct error *why)
{
    struct curve_identity identity;
    char *path = xasprintf("%s/broker.key", folder);
    enum status s = curve_identity_read(&identity, path, why);
    if (s == STATUS_OK) {
        curve_key_text(key, &identity.public_key);
        curve_identity_wipe(&identity);
    }
    free(path);
    return s;
}

void up_keys_reach(char into[static NET_ADDRESS_MAX], const char *listen)
{
    struct endpoint endpoint;
    text_copy(into, NET_ADDRESS_MAX, listen);
    if (endpoint_parse(&endpoint, listen, NULL) != STATUS_OK)
        return;
    if (strcmp(endpoint.host, "*") == 0 || strcmp(endpoint.host, "0.0.0.0") == 0)
        snprintf(into, NET_ADDRESS_MAX, "tcp://127.0.0.1:%u", endpoint.port);
    else if (strcmp(endpoint.host, "::") == 0)
        snprintf(into, NET_ADDRESS_MAX, "tcp://[::1]:%u", endpoint.port);
}

void up_keys_url(char into[static UP_URL_MAX], const char *http, bool tls)
{
    struct endpoint endpoint;
    const char *scheme = tls ? "https" : "http";
    bool known = endpoint_parse_hostport(&endpoint, http, NULL) == STATUS_OK;
    if (known && (strcmp(endpoint.host, "0.0.0.0") == 0 || strcmp(endpoint.host, "::") == 0))
        snprintf(into, UP_URL_MAX, "%s://localhost:%u", scheme, endpoint.port);
    else
        snprintf(into, UP_URL_MAX, "%s://%s", scheme, http);
}

/* What our own gateway's certificate is trusted by: as the user says, or itself. */
static const char *authority(void)
{
    return cli_options.ca ? cli_options.ca : getenv("CONVOY_HTTP_CERT");
}

void up_keys_say(FILE *out, const char *data, const char *url)
{
    char *path = xasprintf("%s/admin.key", data);
    if (strncmp(url, "https:", 6) == 0 && authority())
        fprintf(out, "  export CONVOY_CA=%s\n", authority());
    if (access(path, F_OK) == 0)
        fprintf(out, "  export CONVOY_API_KEY=$(cat %s)\n", path);
    free(path);
}

bool up_keys_joined(const char *folder)
{
    char *path = xasprintf("%s/worker.key", folder);
    bool joined = access(path, F_OK) == 0;
    free(path);
    return joined;
}

/* A gateway that asks for keys wrote its first admin key into the data folder: used for this one
 * connection where the user named none. */
static struct client *connect_to(const char *data, const char *url)
{
    char *path = xasprintf("%s/admin.key", data), *key = NULL;
    size_t size = 0;
    const char *given = getenv("CONVOY_API_KEY");
    bool ours = !(given && *given) && file_read(&key, &size, path, KEY_FILE_MAX, NULL) == STATUS_OK;
    if (ours) {
        key[strcspn(key, "\r\n")] = '\0';
        setenv("CONVOY_API_KEY", key, 1);
    }
    const char *ca = cli_options.ca;
    cli_options.ca = authority();
    cli_options.gateway = url;
    struct client *client = cli_connect(PATIENCE_MS);
    cli_options.gateway = NULL;
    cli_options.ca = ca;
    if (ours) {
        unsetenv("CONVOY_API_KEY");
        sodium_memzero(key, size);
    }
    free(key);
    free(path);
    return client;
}

enum status up_keys_token(char **line, const char *data, const char *url, unsigned uses,
                          struct error *why)
{
    json_t *answer, *body = json_pack("{s:i, s:i}", "uses", (int)uses, "ttl_s", TTL_S);
    struct client *client = connect_to(data, url);
    *line = NULL;
    enum status s = client_call(client, "POST", "/v1/tokens", body, NULL, &answer, why);
    client_destroy(&client);
    if (s == STATUS_OK) {
        const char *text = json_string_value(json_object_get(answer, "token"));
        *line = xstrdup(text ? text : "");
        json_decref(answer);
    }
    json_decref(body);
    return s == STATUS_OK ? s : fail_in(why, "a token for the workers of this machine");
}
