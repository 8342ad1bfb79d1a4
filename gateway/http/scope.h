/* scope - what a route asks of its caller, and what a caller has
 *
 * The names that a key can have are scopes.def. Pure. */
#ifndef CONVOY_GATEWAY_HTTP_SCOPE_H
#define CONVOY_GATEWAY_HTTP_SCOPE_H

#include "common/ids.h"
#include "common/status.h"

/* What a route asks for. 0 is none of these: a row that forgot it is a bug. */
enum http_scope {
    SCOPE_OPEN = 1, /* nothing: health, for whoever balances the load */
    SCOPE_ANY,      /* any valid key */
    SCOPE_USE,      /* one that may ask for work: infer or batch */
    SCOPE_FILES,    /* one whose jobs begin with uploads: batch or train */
#define SCOPE(name, word, meaning) SCOPE_##name,
#include "gateway/http/scopes.def"
#undef SCOPE
    SCOPES_END
};

/* A set of scopes: bit s for scope s. */
#define SCOPE_BIT(scope) (UINT32_C(1) << (scope))

#define SCOPES_TEXT_SIZE 64 /* "infer,batch,train,models,admin" and its NUL */

/* "infer"; "" for SCOPE_OPEN and SCOPE_ANY; a word that will do for SCOPE_USE and SCOPE_FILES. */
const char *scope_name(enum http_scope scope);

/* "infer,batch" into a set, in any order; INVALID names the word that is none, and those that are.
 * An empty text is INVALID too. */
enum status scopes_parse(uint32_t *set, const char *text, struct error *why);

/* The set as text, in the order of scopes.def; returns `into`. */
char *scopes_text(char into[static SCOPES_TEXT_SIZE], uint32_t set);

/* Does a caller with this set get through? */
bool scope_allowed(uint32_t set, enum http_scope scope);

#define TENANT_SIZE 65 /* at most 64 octets: the wire's TENANT */

/* Who asks. */
struct http_caller {
    char tenant[TENANT_SIZE]; /* who is charged; "" for nobody in particular */
    bool admin;               /* sees what belongs to others as well */
    struct uuid key;          /* that it proved; zero: none was asked for */
};

/* May this caller see what belongs to `tenant`? Everything else is NOT_FOUND to it. */
bool http_caller_sees(const struct http_caller *self, const char *tenant);

#endif
