/* verdict - the first thing that is wrong, in words */
#ifndef CONVOY_TESTS_CRASH_VERDICT_H
#define CONVOY_TESTS_CRASH_VERDICT_H

#include "common/base.h"

#include <stdarg.h>
#include <stdio.h>

struct verdict {
    char *text;  /* what is wrong */
    size_t size; /* of `text` */
    bool right;  /* so far: true to begin with */
};

/* Note it unless something was noted already. */
static inline void PRINTF_LIKE(3, 4)
    demand(struct verdict *self, bool holds, const char *format, ...)
{
    va_list values;
    if (holds || !self->right)
        return;
    self->right = false;
    va_start(values, format);
    vsnprintf(self->text, self->size, format, values);
    va_end(values);
}

#endif
