/* progress - see progress.h */
#include "gateway/cli/progress.h"

#include "common/clock.h"
#include "gateway/cli/cli.h"
#include "gateway/cli/table.h"

#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define REDRAW_NS       (100 * NS_PER_MS)
#define PLAIN_NS        (2 * NS_PER_S)
#define BAR_MIN         10
#define BAR_MAX         30
#define BAR_SIZE        (3 * BAR_MAX + 1) /* octets */
#define TEXT_COLUMNS    84                /* what stands beside the bar, at its longest */
#define COLUMNS_UNKNOWN 100

void progress_start(struct progress *self, const char *label, bool bytes)
{
    *self = (struct progress){.label = label,
                              .terminal = isatty(STDERR_FILENO),
                              .silent = cli_options.quiet,
                              .bytes = bytes,
                              .start_ns = clock_mono_ns()};
}

static unsigned columns(void)
{
    struct winsize size;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
        return size.ws_col;
    return COLUMNS_UNKNOWN;
}

static const char *amount(const struct progress *self, char into[static 32], double value)
{
    if (!self->bytes)
        return number_text(into, (long long)value);
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    size_t u = 0;
    for (; value >= 1024 && u + 1 < ARRAY_LEN(units); u++)
        value /= 1024;
    snprintf(into, 32, "%.*f %s", u ? 1 : 0, value, units[u]);
    return into;
}

static const char *duration(char into[static 32], double seconds)
{
    unsigned s = (unsigned)(seconds + 0.5);
    if (s >= 3600)
        snprintf(into, 32, "%uh%02um", s / 3600, s / 60 % 60);
    else if (s >= 60)
        snprintf(into, 32, "%um%02us", s / 60, s % 60);
    else
        snprintf(into, 32, "%us", s);
    return into;
}

/* A bar of blocks for `part` of 1 into `into`; returns its columns, 0 on narrow terminals. */
static unsigned draw_bar(char into[static BAR_SIZE], const struct progress *self, double part)
{
    unsigned all = self->terminal ? columns() : 0, width = 0;
    size_t used = 0;
    into[0] = '\0';
    if (all >= TEXT_COLUMNS + BAR_MIN)
        width = MIN(all - TEXT_COLUMNS, (unsigned)BAR_MAX);
    for (unsigned i = 0; i < width; i++)
        used += (size_t)snprintf(into + used, BAR_SIZE - used, "%s",
                                 (double)i < part * width ? "\u2588" : "\u2591");
    return width;
}

static void draw(struct progress *self, uint64_t done, uint64_t total, double rate,
                 const char *extra, bool last)
{
    char line[512], bar[BAR_SIZE], a[32], b[32], c[32], d[32];
    double part = total ? (double)done / (double)total : 0;
    double elapsed = (double)(clock_mono_ns() - self->start_ns) / 1e9;
    if (rate <= 0 && elapsed > 0)
        rate = (double)done / elapsed;
    unsigned width = draw_bar(bar, self, part);
    size_t used = (size_t)snprintf(line, sizeof line, "%-7s %s%s%3.0f%%  %s/%s%s", self->label, bar,
                                   width ? " " : "", 100 * part, amount(self, a, (double)done),
                                   amount(self, b, (double)total), self->bytes ? "" : " rows");
    double left = rate > 0 ? (double)(total - MIN(done, total)) / rate : 0;
    if (rate > 0 && total)
        used += (size_t)snprintf(line + used, sizeof line - used, "  %s%s/s  %s %s",
                                 amount(self, c, rate), self->bytes ? "" : " rows",
                                 last ? "in" : "ETA", duration(d, last ? elapsed : left));
    if (extra && extra[0])
        snprintf(line + used, sizeof line - used, "  %s", extra);
    /* The bar's characters have 3 octets for a column. */
    if (self->terminal)
        fprintf(stderr, "\r\033[K%.*s%s", (int)(columns() + 2 * width - 1), line, last ? "\n" : "");
    else
        fprintf(stderr, "%s\n", line);
    self->open = self->terminal && !last;
}

void progress_show(struct progress *self, uint64_t done, uint64_t total, double rate,
                   const char *extra)
{
    uint64_t now_ns = clock_mono_ns();
    unsigned tenth = total ? (unsigned)(10 * done / total) : 0;
    /* Elsewhere than on a terminal what is over at once is not worth a line. */
    bool lasts = now_ns >= self->start_ns + PLAIN_NS;
    bool due = self->terminal
                   ? now_ns >= self->drawn_ns + REDRAW_NS
                   : lasts && (now_ns >= self->drawn_ns + PLAIN_NS || tenth > self->drawn_tenth);
    if (self->silent || !due)
        return;
    self->drawn_ns = now_ns;
    self->drawn_tenth = tenth;
    draw(self, done, total, rate, extra, false);
}

void progress_end(struct progress *self, uint64_t done, uint64_t total, double rate,
                  const char *extra)
{
    if (!self->silent)
        draw(self, done, total, rate, extra, true);
}

void progress_clear(struct progress *self)
{
    if (self->open)
        fputs("\r\033[K", stderr);
    self->open = false;
}
