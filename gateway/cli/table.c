/* table - see table.h */
#include "gateway/cli/table.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct cell {
    char *text; /* ours */
    bool right; /* aligned to the right */
};

struct table {
    const char *titles[TABLE_COLUMNS_MAX]; /* the caller's literals */
    size_t columns;                        /* titles in use */
    struct cell *cells;                    /* row after row */
    size_t len;                            /* cells in use */
};

struct table *table_new(const char *title, ...)
{
    struct table *self = xcalloc(1, sizeof *self);
    va_list args;
    va_start(args, title);
    for (; title; title = va_arg(args, const char *)) {
        assert(self->columns < TABLE_COLUMNS_MAX);
        self->titles[self->columns++] = title;
    }
    va_end(args);
    return self;
}

void table_destroy(struct table **self_p)
{
    struct table *self = *self_p;
    if (!self)
        return;
    for (size_t i = 0; i < self->len; i++)
        free(self->cells[i].text);
    free(self->cells);
    free(self);
    *self_p = NULL;
}

static void add(struct table *self, char *text, bool right)
{
    for (char *c = text; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = '?';
    self->cells = xrealloc(self->cells, (self->len + 1) * sizeof *self->cells);
    self->cells[self->len++] = (struct cell){text, right};
}

void table_cell(struct table *self, const char *format, ...)
{
    va_list args;
    char *text = NULL;
    va_start(args, format);
    if (vasprintf(&text, format, args) < 0)
        panic("out of memory formatting text");
    va_end(args);
    add(self, text, false);
}

char *number_text(char into[static 32], long long number)
{
    char digits[24];
    int length = snprintf(digits, sizeof digits, "%lld", number < 0 ? -number : number);
    char *at = into;
    if (number < 0)
        *at++ = '-';
    for (int i = 0; i < length; i++) {
        if (i > 0 && (length - i) % 3 == 0)
            *at++ = ',';
        *at++ = digits[i];
    }
    *at = '\0';
    return into;
}

void table_number(struct table *self, long long number)
{
    char text[32];
    add(self, xstrdup(number_text(text, number)), true);
}

void table_date(struct table *self, long long moment_s, const char *never)
{
    char text[32];
    time_t at = (time_t)moment_s, now = time(NULL);
    struct tm then, today;
    localtime_r(&at, &then);
    localtime_r(&now, &today);
    bool same = then.tm_year == today.tm_year && then.tm_yday == today.tm_yday;
    strftime(text, sizeof text, same ? "%H:%M:%S" : "%Y-%m-%d", &then);
    table_cell(self, "%s", at ? text : never);
}

/* Characters, not octets: names may be UTF-8. */
static size_t width_of(const char *text)
{
    size_t width = 0;
    for (; *text; text++)
        width += ((unsigned char)*text & 0xc0) != 0x80;
    return width;
}

static void print_cell(FILE *out, const char *text, size_t width, bool right, bool last)
{
    int pad = (int)(width - width_of(text));
    if (right)
        fprintf(out, "%*s%s", pad, "", text);
    else
        fprintf(out, "%s%*s", text, last ? 0 : pad, "");
    fputs(last ? "\n" : "  ", out);
}

void table_print(const struct table *self, FILE *out)
{
    size_t widths[TABLE_COLUMNS_MAX];
    bool bold = isatty(fileno(out));
    if (self->len == 0)
        return;
    assert(self->columns > 0);
    for (size_t c = 0; c < self->columns; c++)
        widths[c] = width_of(self->titles[c]);
    for (size_t i = 0; i < self->len; i++)
        widths[i % self->columns] = MAX(widths[i % self->columns], width_of(self->cells[i].text));
    fputs(bold ? "\033[1m" : "", out);
    for (size_t c = 0; c < self->columns; c++) {
        bool right = c < self->len && self->cells[c].right;
        print_cell(out, self->titles[c], widths[c], right, c + 1 == self->columns);
    }
    fputs(bold ? "\033[0m" : "", out);
    for (size_t i = 0; i < self->len; i++)
        print_cell(out, self->cells[i].text, widths[i % self->columns], self->cells[i].right,
                   (i + 1) % self->columns == 0);
}
