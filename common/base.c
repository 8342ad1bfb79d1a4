/* base - allocation that cannot fail, panic, bounded copies; see base.h */
#include "common/base.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void panic(const char *format, ...)
{
    va_list args;
    fputs("panic: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    abort();
}

static void *or_panic(void *memory, size_t bytes)
{
    if (!memory)
        panic("out of memory asking for %zu bytes", bytes);
    return memory;
}

void *xmalloc(size_t bytes)
{
    return or_panic(malloc(bytes ? bytes : 1), bytes);
}

void *xcalloc(size_t count, size_t bytes)
{
    return or_panic(calloc(count ? count : 1, bytes ? bytes : 1), count * bytes);
}

void *xrealloc(void *old, size_t bytes)
{
    return or_panic(realloc(old, bytes ? bytes : 1), bytes);
}

char *xstrdup(const char *text)
{
    return or_panic(strdup(text), strlen(text));
}

char *xasprintf(const char *format, ...)
{
    va_list args;
    char *text = NULL;
    va_start(args, format);
    int length = vasprintf(&text, format, args);
    va_end(args);
    if (length < 0)
        panic("out of memory formatting text");
    return text;
}

void *xaligned(size_t bytes)
{
    size_t rounded = (bytes + TENSOR_ALIGN - 1) / TENSOR_ALIGN * TENSOR_ALIGN;
    return or_panic(aligned_alloc(TENSOR_ALIGN, rounded ? rounded : TENSOR_ALIGN), bytes);
}

bool text_copy(char *into, size_t size, const char *text)
{
    size_t length = strlen(text);
    bool fits = length < size;
    size_t keep = fits ? length : size - 1;
    memcpy(into, text, keep);
    into[keep] = '\0';
    return fits;
}
