/* http - see http.h */
#include "gateway/client/http.h"

#include "common/clock.h"
#include "common/limits.h"

#include <curl/curl.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define PAUSE_FIRST_MS 100 /* between the first two tries; doubles */
#define PAUSE_MAX_MS   2000
#define STALL_S        120L /* a transfer that moves nothing for so long has failed */
#define KEY_MAX        255  /* characters of an API key */
#define KEY_CHARACTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/="

struct client {
    struct client_config config; /* its texts are our copies */
    char *authorization;         /* header line with the key, or NULL */
    CURL *curl;                  /* kept, so that its connection is used again */
};

enum status client_new(struct client **out, const struct client_config *config, struct error *why)
{
    *out = NULL;
    if (strncmp(config->url, "http://", 7) != 0 && strncmp(config->url, "https://", 8) != 0)
        return fail(why, STATUS_INVALID,
                    "the gateway's address is \"%s\", expected http://HOST:PORT", config->url);
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != 0)
        panic("libcurl does not start");
    const char *key = config->api_key ? config->api_key : "";
    if (strlen(key) > KEY_MAX || key[strspn(key, KEY_CHARACTERS)])
        return fail(why, STATUS_INVALID,
                    "the API key is none: expected cvk1_... as convoy keys create printed it");
    struct client *self = xcalloc(1, sizeof *self);
    self->config = *config;
    self->config.api_key = NULL;
    self->config.ca = config->ca ? xstrdup(config->ca) : NULL;
    if (*key)
        self->authorization = xasprintf("Authorization: Bearer %s", key);
    char *url = xstrdup(config->url);
    for (size_t n = strlen(url); n > 0 && url[n - 1] == '/'; n--)
        url[n - 1] = '\0';
    self->config.url = url;
    self->curl = curl_easy_init();
    if (!self->curl)
        panic("libcurl does not start");
    *out = self;
    return STATUS_OK;
}

void client_destroy(struct client **self_p)
{
    struct client *self = *self_p;
    if (!self)
        return;
    curl_easy_cleanup(self->curl);
    free((char *)self->config.url);
    free((char *)self->config.ca);
    if (self->authorization)
        sodium_memzero(self->authorization, strlen(self->authorization));
    free(self->authorization);
    free(self);
    *self_p = NULL;
}

/* --- libcurl's calls back -----------------------------------------------------------------------
 */

struct flight {
    struct client *client;
    struct exchange *exchange;
    bool stopped;   /* the owner asked for the end */
    bool too_large; /* the answer does not fit */
};

static size_t on_body(char *bytes, size_t one, size_t count, void *arg)
{
    struct flight *flight = arg;
    struct exchange *x = flight->exchange;
    size_t size = one * count;
    long status = 0;
    curl_easy_getinfo(flight->client->curl, CURLINFO_RESPONSE_CODE, &status);
    if (x->download && status / 100 == 2)
        return fwrite(bytes, 1, size, x->download);
    if (size > ANSWER_MAX - x->answer_size) {
        flight->too_large = true;
        return 0;
    }
    x->answer = xrealloc(x->answer, x->answer_size + size + 1);
    memcpy(x->answer + x->answer_size, bytes, size);
    x->answer_size += size;
    x->answer[x->answer_size] = '\0';
    return size;
}

static size_t on_header(char *line, size_t one, size_t count, void *arg)
{
    static const char name[] = "inference-header-content-length:";
    struct flight *flight = arg;
    size_t size = one * count;
    if (size > sizeof name && size < sizeof name + 24 &&
        strncasecmp(line, name, sizeof name - 1) == 0) {
        char number[32] = "";
        memcpy(number, line + sizeof name - 1, size - (sizeof name - 1));
        flight->exchange->json_size = strtoull(number, NULL, 10);
    }
    return size;
}

static int on_progress(void *arg, curl_off_t down_total, curl_off_t down, curl_off_t up_total,
                       curl_off_t up)
{
    struct flight *flight = arg;
    struct exchange *x = flight->exchange;
    const struct client_config *config = &flight->client->config;
    if (x->progress && x->upload)
        x->progress(x->arg, (uint64_t)up, (uint64_t)up_total);
    else if (x->progress && x->download)
        x->progress(x->arg, (uint64_t)down, (uint64_t)down_total);
    flight->stopped = config->stop && config->stop(config->arg);
    return flight->stopped;
}

/* --- one try ------------------------------------------------------------------------------------
 */

static struct curl_slist *header_list(const struct client *self, const struct exchange *x)
{
    char line[256];
    struct curl_slist *list = curl_slist_append(NULL, "Expect:");
    if (x->content_type) {
        snprintf(line, sizeof line, "Content-Type: %s", x->content_type);
        list = curl_slist_append(list, line);
    }
    for (size_t i = 0; i < ARRAY_LEN(x->headers) && x->headers[i]; i++)
        list = curl_slist_append(list, x->headers[i]);
    if (self->authorization)
        list = curl_slist_append(list, self->authorization);
    return list;
}

static void set_body(CURL *curl, const struct exchange *x)
{
    if (x->upload) {
        rewind(x->upload);
        curl_easy_setopt(curl, CURLOPT_UPLOAD, 1L);
        curl_easy_setopt(curl, CURLOPT_READDATA, x->upload);
        curl_easy_setopt(curl, CURLOPT_INFILESIZE_LARGE, (curl_off_t)x->upload_size);
    } else if (x->body || strcmp(x->method, "POST") == 0) {
        curl_easy_setopt(curl, CURLOPT_POST, 1L);
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, x->body ? x->body : "");
        curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)x->body_size);
    }
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, x->method);
}

static CURLcode fly(struct client *self, struct flight *flight)
{
    struct exchange *x = flight->exchange;
    CURL *curl = self->curl;
    char *url = xasprintf("%s%s", self->config.url, x->path);
    struct curl_slist *headers = header_list(self, x);
    curl_easy_reset(curl);
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "convoy/" CONVOY_VERSION);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    if (self->config.ca)
        curl_easy_setopt(curl, CURLOPT_CAINFO, self->config.ca);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, 5000L);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, STALL_S);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, flight);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, flight);
    curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(curl, CURLOPT_XFERINFODATA, flight);
    set_body(curl, x);
    CURLcode code = curl_easy_perform(curl);
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &x->status);
    curl_slist_free_all(headers);
    free(url);
    return code;
}

/* The sentence in {"error": "..."} or {"error": {"message": "..."}}; NULL when there is none. */
static const char *error_sentence(const json_t *answer)
{
    const json_t *error = json_object_get(answer, "error");
    return json_string_value(json_is_object(error) ? json_object_get(error, "message") : error);
}

static enum status status_by_http(long http)
{
    static const enum status table[] = {STATUS_INVALID,   STATUS_NOT_FOUND, STATUS_CONFLICT,
                                        STATUS_TOO_LARGE, STATUS_BAD_MODEL, STATUS_UNSUPPORTED,
                                        STATUS_BUSY,      STATUS_DEADLINE,  STATUS_UNAUTHORIZED,
                                        STATUS_FORBIDDEN};
    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        if (status_http(table[i]) == http)
            return table[i];
    return http / 100 == 4 ? STATUS_INVALID : STATUS_INTERNAL;
}

/* Several statuses share an HTTP status; this one tells that trying again does not help. */
static bool is_storage_full(const json_t *answer)
{
    const json_t *code = json_object_get(json_object_get(answer, "error"), "code");
    return json_is_string(code) && strcmp(json_string_value(code), "storage_full") == 0;
}

static enum status judge(struct exchange *x, struct error *why)
{
    if (x->status / 100 == 2)
        return STATUS_OK;
    json_t *answer = x->answer ? json_loads(x->answer, 0, NULL) : NULL;
    const char *sentence = error_sentence(answer);
    enum status s = is_storage_full(answer) ? STATUS_STORAGE_FULL : status_by_http(x->status);
    fail(why, s, "%s", sentence ? sentence : "the gateway gave no reason");
    if (!sentence)
        fail_in(why, "%s %s answered HTTP %ld", x->method, x->path, x->status);
    json_decref(answer);
    return s;
}

static enum status try_once(struct client *self, struct exchange *x, struct error *why)
{
    struct flight flight = {.client = self, .exchange = x};
    free(x->answer);
    x->answer = NULL;
    x->answer_size = 0;
    x->json_size = UINT64_MAX;
    if (x->download &&
        (fseek(x->download, 0, SEEK_SET) != 0 || ftruncate(fileno(x->download), 0) != 0))
        return fail(why, STATUS_IO, "the file to download into cannot be written: %s",
                    strerror(errno));
    CURLcode code = fly(self, &flight);
    if (code == CURLE_OK)
        return judge(x, why);
    if (flight.stopped)
        return fail(why, STATUS_CANCELLED, "interrupted");
    if (flight.too_large)
        return fail(why, STATUS_TOO_LARGE, "the answer is larger than %zu MiB", ANSWER_MAX / MIB);
    if (code == CURLE_WRITE_ERROR)
        return fail(why, STATUS_IO, "the downloaded bytes cannot be written: %s", strerror(errno));
    /* A gateway that refuses a large body answers before it has read it all. */
    if (x->status >= 400)
        return judge(x, why);
    if (code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE)
        return fail(why, STATUS_INVALID,
                    "the certificate of %s is not trusted: %s; --ca FILE (or CONVOY_CA) names the "
                    "certificate that signed it",
                    self->config.url, curl_easy_strerror(code));
    return fail(why, STATUS_UNAVAILABLE, "the gateway at %s cannot be reached: %s",
                self->config.url, curl_easy_strerror(code));
}

/* Pause between two tries, cut short when the owner wants to stop. */
static bool pause_ms(struct client *self, uint64_t ms)
{
    uint64_t end = clock_mono_ns() + ms * NS_PER_MS;
    while (clock_mono_ns() < end) {
        if (self->config.stop && self->config.stop(self->config.arg))
            return false;
        poll(NULL, 0, 50);
    }
    return true;
}

enum status exchange_run(struct client *self, struct exchange *x, struct error *why)
{
    uint64_t end = clock_mono_ns() + self->config.patience_ms * NS_PER_MS;
    uint64_t pause = PAUSE_FIRST_MS;
    for (;;) {
        enum status s = try_once(self, x, why);
        bool again = s == STATUS_UNAVAILABLE || (x->status == 503 && s != STATUS_STORAGE_FULL);
        if (s == STATUS_OK || !again || !x->safe || clock_mono_ns() >= end)
            return s;
        if (self->config.waiting)
            self->config.waiting(self->config.arg, why->text);
        if (!pause_ms(self, pause))
            return fail(why, STATUS_CANCELLED, "interrupted");
        pause = MIN(2 * pause, (uint64_t)PAUSE_MAX_MS);
    }
}
