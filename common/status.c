/* status - names, advice and HTTP codes from status.def; see status.h */
#include "common/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct row {
    const char *name;
    int http;
    const char *advice;
} rows[] = {
#define STATUS(name, code, http, advice) [code] = {#name, http, advice},
#include "common/status.def"
#undef STATUS
};

static const struct row unknown = {"UNKNOWN", 500, "update this program: the peer is newer"};

bool status_known(uint64_t code)
{
    return code < ARRAY_LEN(rows);
}

static const struct row *row_of(enum status status)
{
    return status_known((uint64_t)status) ? &rows[status] : &unknown;
}

const char *status_name(enum status status)
{
    return row_of(status)->name;
}

const char *status_advice(enum status status)
{
    return row_of(status)->advice;
}

int status_http(enum status status)
{
    return row_of(status)->http;
}

enum status(fail)(struct error *why, enum status status, const char *format, ...)
{
    if (why) {
        va_list args;
        va_start(args, format);
        vsnprintf(why->text, sizeof why->text, format, args);
        va_end(args);
        text_clean(why->text); /* it may quote what came from outside, or be cut in a character */
        why->status = status;
    }
    return status;
}

enum status fail_in(struct error *why, const char *format, ...)
{
    char context[ERROR_TEXT_MAX];
    char inner[ERROR_TEXT_MAX];
    va_list args;
    if (!why)
        return STATUS_INTERNAL;
    va_start(args, format);
    vsnprintf(context, sizeof context, format, args);
    va_end(args);
    memcpy(inner, why->text, sizeof inner);
    /* Both are bounded; what does not fit is cut at the end on purpose. */
    int written = snprintf(why->text, sizeof why->text, "%s: ", context);
    size_t used = MIN((size_t)written, sizeof why->text - 1);
    text_copy(why->text + used, sizeof why->text - used, inner);
    text_clean(why->text);
    return why->status;
}
