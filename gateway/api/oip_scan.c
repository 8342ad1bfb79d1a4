/* oip_scan - one walk over the JSON of a request; see oip_scan.h */
#include "gateway/api/oip_scan.h"

#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX 32 /* of the envelope; more is nobody's request */

struct walk {
    struct oip_scan *out; /* filled */
    const char *text;     /* the whole */
    const char *end;      /* the NUL behind it */
    const char *at;       /* the next octet */
    const char *copied;   /* what is before is in the envelope */
    size_t room;          /* of the envelope */
    int depth;            /* open brackets and braces */
    bool in_inputs;       /* inside the list of the root's key "inputs" */
    bool key_inputs;      /* the last key of the root is "inputs" */
    bool key_data;        /* the last key of an input is "data" */
};

static enum status broken(const struct walk *self, const char *what, struct error *why)
{
    size_t line = 1;
    for (const char *at = self->text; at < self->at && at < self->end; at++)
        line += *at == '\n';
    return fail(why, STATUS_INVALID, "the request's JSON is broken in line %zu, octet %zu: %s",
                line, (size_t)(self->at - self->text), what);
}

static enum status copy(struct walk *self, const char *to, struct error *why)
{
    struct oip_scan *out = self->out;
    size_t size = (size_t)(to - self->copied);
    if (out->envelope_size + size + 16 > OIP_ENVELOPE_MAX)
        return fail(why, STATUS_INVALID,
                    "the request's JSON has more than %zu octets beside its \"data\" lists",
                    (size_t)OIP_ENVELOPE_MAX);
    if (out->envelope_size + size + 16 > self->room) {
        self->room = 2 * (out->envelope_size + size + 16);
        out->envelope = xrealloc(out->envelope, self->room);
    }
    memcpy(out->envelope + out->envelope_size, self->copied, size);
    out->envelope_size += size;
    out->envelope[out->envelope_size] = '\0';
    self->copied = to;
    return STATUS_OK;
}

static enum status skip_string(struct walk *self, struct error *why)
{
    const char *from = self->at;
    for (self->at++; *self->at != '"'; self->at++) {
        if (*self->at == '\\')
            self->at++;
        if (self->at >= self->end) {
            self->at = from;
            return broken(self, "a text without its closing quote", why);
        }
    }
    self->at++;
    return STATUS_OK;
}

static void skip_space(struct walk *self)
{
    while (*self->at == ' ' || *self->at == '\n' || *self->at == '\t' || *self->at == '\r')
        self->at++;
}

static bool is_key(const char *from, const char *to, const char *name)
{
    size_t len = strlen(name);
    return (size_t)(to - from) == len + 2 && memcmp(from + 1, name, len) == 0;
}

/* A text; followed by a colon it is a key. */
static enum status take_string(struct walk *self, struct error *why)
{
    const char *from = self->at;
    enum status s = skip_string(self, why);
    if (s != STATUS_OK)
        return s;
    const char *to = self->at;
    skip_space(self);
    if (*self->at == ':') {
        if (self->depth == 1)
            self->key_inputs = is_key(from, to, "inputs");
        self->key_data = self->in_inputs && self->depth == 3 && is_key(from, to, "data");
    }
    return STATUS_OK;
}

/* The list behind "data": to its closing bracket, and a number in its place. */
static enum status take_data(struct walk *self, struct error *why)
{
    struct oip_scan *out = self->out;
    const char *from = self->at;
    int depth = 0;
    if (out->spans_len == OIP_SPANS_MAX)
        return fail(why, STATUS_INVALID, "more than %d inputs", OIP_SPANS_MAX);
    enum status s = copy(self, from, why);
    while (s == STATUS_OK) {
        self->at += strcspn(self->at, "[]\"");
        if (self->at >= self->end) {
            self->at = from;
            return broken(self, "a list without its closing bracket", why);
        }
        if (*self->at == '"') {
            s = skip_string(self, why);
            continue;
        }
        depth += *self->at++ == '[' ? 1 : -1;
        if (!depth)
            break;
    }
    if (s != STATUS_OK)
        return s;
    char *into = out->envelope + out->envelope_size;
    *into++ = (char)('0' + out->spans_len / 10);
    *into++ = (char)('0' + out->spans_len % 10);
    if (out->spans_len < 10) { /* JSON knows no leading zeros */
        into[-2] = into[-1];
        into[-1] = ' ';
    }
    *into = '\0';
    out->envelope_size += 2;
    out->spans[out->spans_len].from = from;
    out->spans[out->spans_len++].to = self->at;
    self->copied = self->at;
    self->key_data = false;
    return STATUS_OK;
}

static enum status take_bracket(struct walk *self, char c, struct error *why)
{
    if (c == '[' || c == '{') {
        self->in_inputs = self->in_inputs || (self->depth == 1 && c == '[' && self->key_inputs);
        if (++self->depth > DEPTH_MAX)
            return broken(self, "nested too deeply", why);
    } else {
        if (--self->depth < 0)
            return broken(self, "a closing bracket too many", why);
        if (self->depth == 1)
            self->in_inputs = false;
    }
    self->at++;
    return STATUS_OK;
}

static enum status take(struct walk *self, struct error *why)
{
    char c = *self->at;
    if (c == '"')
        return take_string(self, why);
    if (c == '[' || c == ']' || c == '{' || c == '}')
        return take_bracket(self, c, why);
    self->at++;
    if (c != ':' || !self->key_data)
        return STATUS_OK;
    skip_space(self);
    if (*self->at == '[')
        return take_data(self, why);
    return broken(self, "expected a list [...] as \"data\"", why);
}

enum status oip_scan(struct oip_scan *out, const char *text, size_t size, struct error *why)
{
    struct walk self = {.out = out, .text = text, .end = text + size, .at = text, .copied = text};
    enum status s = STATUS_OK;
    *out = (struct oip_scan){0};
    while (s == STATUS_OK && (self.at += strcspn(self.at, "\"[]{}:")) < self.end) {
        if (!*self.at)
            s = broken(&self, "a NUL octet", why);
        else
            s = take(&self, why);
    }
    if (s == STATUS_OK && self.depth != 0)
        s = broken(&self, "it ends before its last closing bracket", why);
    if (s == STATUS_OK)
        s = copy(&self, self.end, why);
    if (s != STATUS_OK) {
        free(out->envelope);
        out->envelope = NULL;
    }
    return s;
}
