/* guard - refuse framing that a proxy in front of us could read differently
 *
 * libmicrohttpd 0.9.75 takes Content-Length beside Transfer-Encoding, two different lengths and a
 * missing Host, and then serves what follows as a second request; so all of that ends here. */
#include "gateway/http/private.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

static bool read_length(const char *text, uint64_t *length)
{
    *length = 0;
    if (!*text || strlen(text) > 18)
        return false;
    for (; *text; text++) {
        if (*text < '0' || *text > '9')
            return false;
        *length = *length * 10 + (uint64_t)(*text - '0');
    }
    return true;
}

/* Fit to be repeated in a header and in a log line. */
static bool fit_id(const char *text)
{
    static const char allowed[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
    size_t len = strlen(text);
    return len > 0 && len < HTTP_ID_SIZE && strspn(text, allowed) == len;
}

/* RFC 9110: a header's name is a token. "Content-Length " would be another header to us, and the
 * length of the body to others. */
static bool token(const char *name)
{
    static const char others[] = "!#$%&'*+-.^_`|~";
    for (const char *c = name; *c; c++)
        if (!isalnum((unsigned char)*c) && !strchr(others, *c))
            return false;
    return *name;
}

static enum MHD_Result look(void *arg, enum MHD_ValueKind kind, const char *name, const char *value)
{
    struct http_framing *out = arg;
    (void)kind;
    out->names_odd += !token(name);
    if (!value)
        value = "";
    if (strcasecmp(name, "content-length") == 0) {
        out->lengths++;
        out->length_ok = read_length(value, &out->length);
    } else if (strcasecmp(name, "transfer-encoding") == 0) {
        out->encodings++;
        out->chunked = strcasecmp(value, "chunked") == 0;
    } else if (strcasecmp(name, "expect") == 0) {
        out->waits = true;
    } else if (strcasecmp(name, "authorization") == 0) {
        out->authorities++;
    } else if (strcasecmp(name, "host") == 0) {
        out->hosts++;
    } else if (strcasecmp(name, "x-request-id") == 0 && fit_id(value)) {
        out->request_id = value;
    }
    return MHD_YES;
}

struct http_framing http_framing_of(struct MHD_Connection *mhd)
{
    struct http_framing out = {0};
    MHD_get_connection_values(mhd, MHD_HEADER_KIND, look, &out);
    return out;
}

enum status http_guard(const struct http_framing *framing, const char *version, struct error *why)
{
    if (framing->names_odd)
        return fail(why, STATUS_MALFORMED, "a header's name holds a character that it must not");
    if (framing->lengths && framing->encodings)
        return fail(why, STATUS_MALFORMED,
                    "both Content-Length and Transfer-Encoding: send one of them");
    if (framing->lengths > 1 || framing->encodings > 1)
        return fail(why, STATUS_MALFORMED, "%s is there more than once: send it once",
                    framing->lengths > 1 ? "Content-Length" : "Transfer-Encoding");
    if (framing->encodings && !framing->chunked)
        return fail(why, STATUS_MALFORMED, "Transfer-Encoding must be chunked or absent");
    if (framing->lengths && !framing->length_ok)
        return fail(why, STATUS_MALFORMED, "Content-Length must be a decimal number of octets");
    if (framing->authorities > 1)
        return fail(why, STATUS_MALFORMED, "Authorization is there more than once: send it once");
    if (framing->hosts > 1 || (framing->hosts == 0 && strcmp(version, "HTTP/1.1") == 0))
        return fail(why, STATUS_MALFORMED, "an HTTP/1.1 request needs exactly one Host header");
    return STATUS_OK;
}
