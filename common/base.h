/* base - the few helpers that every file may use
 *
 * Running out of memory is fatal everywhere (the x* allocators end the process with one line on
 * stderr), so no caller checks for NULL. Assertions stay on in release builds: they check us,
 * never a peer's input. */
#ifndef CONVOY_COMMON_BASE_H
#define CONVOY_COMMON_BASE_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b)    ((a) < (b) ? (a) : (b))
#define MAX(a, b)    ((a) > (b) ? (a) : (b))

/* Every tensor and packed weight that a kernel reads starts on such a boundary. */
#define TENSOR_ALIGN 64

#define KIB ((size_t)1024)
#define MIB (1024 * KIB)

#define PRINTF_LIKE(text, first) __attribute__((format(printf, text, first)))

/* End the process: a bug of ours or a fatal condition. Prints "panic: ..." to stderr, then aborts.
 */
_Noreturn void panic(const char *format, ...) PRINTF_LIKE(1, 2);

/* malloc, calloc, realloc, strdup, asprintf that never return NULL. Free with free(). */
void *xmalloc(size_t bytes);
void *xcalloc(size_t count, size_t bytes);
void *xrealloc(void *old, size_t bytes);
char *xstrdup(const char *text);
char *xasprintf(const char *format, ...) PRINTF_LIKE(1, 2);

/* Memory on a TENSOR_ALIGN boundary, not cleared; 0 bytes is fine. Blocks of several MiB ask for
 * huge pages. Free with free(). */
void *xaligned(size_t bytes);

/* Copy text into a buffer of `size` bytes, cut where it does not fit, always ended by NUL.
 * Returns whether all of it fitted. */
bool text_copy(char *into, size_t size, const char *text);

/* Put '?' for every control character and every octet that is no UTF-8, so that the text can go
 * into JSON, logs and terminals whoever wrote it. */
void text_clean(char *text);

#endif
