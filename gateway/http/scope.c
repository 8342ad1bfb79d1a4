/* scope - scopes.def as names, sets and texts; see scope.h */
#include "gateway/http/scope.h"

#include <stdio.h>
#include <string.h>

#define SCOPES_FIRST (SCOPE_FILES + 1) /* that a key can have */

static const char *const names[SCOPES_END] = {
    [SCOPE_OPEN] = "",
    [SCOPE_ANY] = "",
    [SCOPE_USE] = "infer",
    [SCOPE_FILES] = "batch",
#define SCOPE(name, word, meaning) [SCOPE_##name] = word,
#include "gateway/http/scopes.def"
#undef SCOPE
};

const char *scope_name(enum http_scope scope)
{
    assert(scope > 0 && scope < SCOPES_END);
    return names[scope];
}

static enum http_scope scope_by_name(const char *name, size_t len)
{
    for (enum http_scope s = SCOPES_FIRST; s < SCOPES_END; s++)
        if (strlen(names[s]) == len && memcmp(names[s], name, len) == 0)
            return s;
    return SCOPES_END;
}

enum status scopes_parse(uint32_t *set, const char *text, struct error *why)
{
    char known[SCOPES_TEXT_SIZE];
    *set = 0;
    for (const char *at = text;; at++) {
        size_t len = strcspn(at, ",");
        enum http_scope scope = scope_by_name(at, len);
        if (scope == SCOPES_END)
            return fail(why, STATUS_INVALID, "\"%.*s\" is no scope; there are %s",
                        (int)MIN(len, (size_t)40), at, scopes_text(known, UINT32_MAX));
        *set |= SCOPE_BIT(scope);
        at += len;
        if (!*at)
            return STATUS_OK;
    }
}

char *scopes_text(char into[static SCOPES_TEXT_SIZE], uint32_t set)
{
    size_t used = 0;
    into[0] = '\0';
    for (enum http_scope s = SCOPES_FIRST; s < SCOPES_END; s++)
        if (set & SCOPE_BIT(s))
            used += (size_t)snprintf(into + used, SCOPES_TEXT_SIZE - used, "%s%s", used ? "," : "",
                                     names[s]);
    assert(used < SCOPES_TEXT_SIZE);
    return into;
}

bool scope_allowed(uint32_t set, enum http_scope scope)
{
    assert(scope > 0 && scope < SCOPES_END);
    uint32_t wanted = SCOPE_BIT(scope);
    if (scope == SCOPE_USE)
        wanted = SCOPE_BIT(SCOPE_INFER) | SCOPE_BIT(SCOPE_BATCH);
    else if (scope == SCOPE_FILES)
        wanted = SCOPE_BIT(SCOPE_BATCH) | SCOPE_BIT(SCOPE_TRAIN);
    return scope <= SCOPE_ANY || (set & (wanted | SCOPE_BIT(SCOPE_ADMIN)));
}

bool http_caller_sees(const struct http_caller *self, const char *tenant)
{
    return self->admin || strcmp(self->tenant, tenant ? tenant : "") == 0;
}
