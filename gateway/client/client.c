/* client - calls with JSON, and files both ways; see client.h */
#include "gateway/client/http.h"

#include "common/file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

char *client_escape(const char *text)
{
    static const char hex[] = "0123456789ABCDEF";
    char *out = xmalloc(3 * strlen(text) + 1), *at = out;
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        bool plain = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') ||
                     (*c >= '0' && *c <= '9') || strchr("-._~", *c);
        if (plain) {
            *at++ = (char)*c;
        } else {
            *at++ = '%';
            *at++ = hex[*c >> 4];
            *at++ = hex[*c & 15];
        }
    }
    *at = '\0';
    return out;
}

static enum status parse_answer(struct exchange *x, json_t **answer, struct error *why)
{
    json_error_t error;
    *answer = x->answer_size ? json_loads(x->answer, 0, &error) : json_object();
    if (*answer)
        return STATUS_OK;
    return fail(why, STATUS_INTERNAL, "the answer to %s %s is not JSON: %s", x->method, x->path,
                error.text);
}

enum status client_get(struct client *self, const char *path, json_t **answer, struct error *why)
{
    struct exchange x = {.method = "GET", .path = path, .safe = true};
    *answer = NULL;
    enum status s = exchange_run(self, &x, why);
    if (s == STATUS_OK)
        s = parse_answer(&x, answer, why);
    free(x.answer);
    return s;
}

enum status client_call(struct client *self, const char *method, const char *path,
                        const json_t *body, const char *idempotency_key, json_t **answer,
                        struct error *why)
{
    char key[160];
    char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
    struct exchange x = {
        .method = method,
        .path = path,
        .body = text,
        .body_size = text ? strlen(text) : 0,
        .content_type = text ? "application/json" : NULL,
        .safe = idempotency_key != NULL,
    };
    *answer = NULL;
    if (idempotency_key) {
        snprintf(key, sizeof key, "Idempotency-Key: %s", idempotency_key);
        x.headers[0] = key;
    }
    enum status s = exchange_run(self, &x, why);
    if (s == STATUS_OK)
        s = parse_answer(&x, answer, why);
    free(x.answer);
    free(text);
    return s;
}

enum status client_text(struct client *self, const char *path, char **text, struct error *why)
{
    struct exchange x = {.method = "GET", .path = path, .safe = true};
    enum status s = exchange_run(self, &x, why);
    *text = s == STATUS_OK ? x.answer : NULL;
    if (s != STATUS_OK)
        free(x.answer);
    return s;
}

enum status client_upload(struct client *self, const char *path, const char *file,
                          client_progress *progress, void *arg, json_t **answer, struct error *why)
{
    struct stat info;
    *answer = NULL;
    FILE *stream = fopen(file, "rb");
    if (!stream)
        return fail(why, STATUS_INVALID, "%s cannot be read: %s", file, strerror(errno));
    if (fstat(fileno(stream), &info) != 0 || !S_ISREG(info.st_mode)) {
        fclose(stream);
        return fail(why, STATUS_INVALID, "%s is not a regular file", file);
    }
    struct exchange x = {
        .method = "PUT",
        .path = path,
        .upload = stream,
        .upload_size = (uint64_t)info.st_size,
        .content_type = "application/octet-stream",
        .safe = true,
        .progress = progress,
        .arg = arg,
    };
    enum status s = exchange_run(self, &x, why);
    if (s == STATUS_OK)
        s = parse_answer(&x, answer, why);
    free(x.answer);
    fclose(stream);
    return s;
}

/* What was downloaded becomes `file` at once and for good, or `part` vanishes. */
static enum status finish_download(FILE *stream, const char *part, const char *file,
                                   struct error *why)
{
    bool whole = fflush(stream) == 0 && fsync(fileno(stream)) == 0;
    if (whole && rename(part, file) == 0)
        return STATUS_OK;
    return fail(why, STATUS_IO, "%s cannot be written: %s", file, strerror(errno));
}

enum status client_download(struct client *self, const char *path, const char *file,
                            client_progress *progress, void *arg, struct error *why)
{
    char *part = xasprintf("%s.part", file);
    FILE *stream = fopen(part, "wb+");
    if (!stream) {
        free(part);
        return fail(why, STATUS_IO, "%s cannot be written: %s", file, strerror(errno));
    }
    struct exchange x = {.method = "GET",
                         .path = path,
                         .download = stream,
                         .safe = true,
                         .progress = progress,
                         .arg = arg};
    enum status s = exchange_run(self, &x, why);
    if (s == STATUS_OK)
        s = finish_download(stream, part, file, why);
    if (s != STATUS_OK)
        unlink(part);
    fclose(stream);
    free(x.answer);
    free(part);
    return s;
}
