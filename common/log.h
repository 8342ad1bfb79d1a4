/* log - one event, one line on stderr, stable keys (logfmt)
 *
 *   LOG_INFO("lease_lost", "job=%s held_ms=%u action=%s", id, held, "requeue");
 *   time=2026-11-23T18:02:34.123Z level=info role=broker event=lease_lost job=7f3c held_ms=5003 ...
 *
 * Keys are lower case words with units in the name. The format must be a literal of `key=%x` pairs,
 * and may be left out. A %s value is quoted and escaped when it needs it, so peers' text is safe
 * there. Conversions: d i u x X c s p f g e %%, with h hh l ll z j and `.*`. Lines longer than
 * LOG_LINE_MAX are cut. Under systemd (JOURNAL_STREAM set) lines carry a <N> priority.
 *
 * A warning or error whose fields are the same as one written in the last LOG_REPEAT_MS is counted
 * and not written; the count follows as repeated=N in the next one or in a line event=repeated. Any
 * thread: a line is one write(2). Never fails: what stderr does not take is lost. */
#ifndef CONVOY_COMMON_LOG_H
#define CONVOY_COMMON_LOG_H

#include "common/base.h"

/* czmq.h brings syslog's numbers of the same names; ours win, in whatever order they come. */
#include <syslog.h>
#undef LOG_INFO
#undef LOG_DEBUG

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

#define LOG_LINE_MAX  2048
#define LOG_REPEAT_MS 10000

#define LOG_ERROR(event, ...) log_write(LOG_LEVEL_ERROR, event, " " __VA_ARGS__)
#define LOG_WARN(event, ...)  log_write(LOG_LEVEL_WARN, event, " " __VA_ARGS__)
#define LOG_INFO(event, ...)  log_write(LOG_LEVEL_INFO, event, " " __VA_ARGS__)
#define LOG_DEBUG(event, ...) log_write(LOG_LEVEL_DEBUG, event, " " __VA_ARGS__)

/* Process-wide, once, before the second thread: the role's name (kept, not copied) and the most
 * talkative level to write. Without it: no role and LOG_LEVEL_INFO. */
void log_start(const char *role, enum log_level level);

/* "error", "warn", "info", "debug"; false for any other text. */
bool log_level_parse(enum log_level *level, const char *text);

/* Write the counts of warnings that were held back; the daemon skeleton does at the end. */
void log_flush(void);

/* Behind the macros; spaces at either end of `format` do not count. */
void log_write(enum log_level level, const char *event, const char *format, ...) PRINTF_LIKE(3, 4);

/* The fields alone, quoted as above, cut at `size` - 1. For tests and for other outputs. */
size_t log_fields(char *into, size_t size, const char *format, ...) PRINTF_LIKE(3, 4);

#endif
