/* base - allocation that cannot fail, panic, bounded copies; see base.h */
#include "common/base.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define HUGE_PAGE (2 * MIB) /* what the kernel may back large blocks with */

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
    bool huge = bytes >= 2 * HUGE_PAGE;
    size_t align = huge ? HUGE_PAGE : TENSOR_ALIGN;
    size_t rounded = (bytes + TENSOR_ALIGN - 1) / TENSOR_ALIGN * TENSOR_ALIGN;
    if (huge)
        rounded = (rounded + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
    void *memory = or_panic(aligned_alloc(align, rounded ? rounded : align), bytes);
#ifdef MADV_HUGEPAGE
    if (huge)
        (void)madvise(memory, rounded, MADV_HUGEPAGE); /* fewer misses of the address cache */
#endif
    return memory;
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

/* Octets of the character at `at`, by RFC 3629; 0: none begins there. */
static size_t utf8_length(const unsigned char *at)
{
    static const struct {
        unsigned char first, last; /* of the leading octet */
        unsigned char low, high;   /* of the second one */
        size_t length;
    } rows[] = {{0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
                {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3},
                {0xee, 0xef, 0x80, 0xbf, 3}, {0xf0, 0xf0, 0x90, 0xbf, 4},
                {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4}};
    if (*at < 0x80)
        return 1;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (*at < rows[i].first || *at > rows[i].last)
            continue;
        if (at[1] < rows[i].low || at[1] > rows[i].high)
            return 0;
        for (size_t n = 2; n < rows[i].length; n++)
            if ((at[n] & 0xc0) != 0x80)
                return 0;
        return rows[i].length;
    }
    return 0;
}

void text_clean(char *text)
{
    unsigned char *at = (unsigned char *)text;
    while (*at) {
        size_t length = utf8_length(at);
        if (length == 0 || *at < 0x20 || *at == 0x7f) {
            *at = '?';
            length = 1;
        }
        at += length;
    }
}
