/* status - one list of outcomes, and how a function explains a failure to a person
 *
 * The list is status.def; its codes are also the wire's. A function that can fail because of input
 * or environment returns a status and fills `struct error` with one sentence: what was wrong,
 * where, what was expected and what came, what to do. */
#ifndef CONVOY_COMMON_STATUS_H
#define CONVOY_COMMON_STATUS_H

#include "common/base.h"

enum status {
#define STATUS(name, code, http, advice) STATUS_##name = code,
#include "common/status.def"
#undef STATUS
};

/* Room for the sentence; longer ones are cut at the end. */
#define ERROR_TEXT_MAX 1024

struct error {
    enum status status;        /* STATUS_OK until fail() was called */
    char text[ERROR_TEXT_MAX]; /* one sentence, no newline at the end */
};

/* Record why and return `status`, so that `return fail(why, ...)` reads well. NULL why is fine. */
enum status fail(struct error *why, enum status status, const char *format, ...) PRINTF_LIKE(3, 4);
#ifdef __clang_analyzer__ /* which cannot see that fail returns its `status` */
#define fail(why, status, ...) ((fail)(why, status, __VA_ARGS__), (status))
#endif

/* Put "context: " in front of the sentence that is there already; returns its status. */
enum status fail_in(struct error *why, const char *format, ...) PRINTF_LIKE(2, 3);

/* The list, by code. Unknown codes give "UNKNOWN", 500 and a general advice. */
const char *status_name(enum status status);
const char *status_advice(enum status status);
int status_http(enum status status);
bool status_known(uint64_t code);

#endif
