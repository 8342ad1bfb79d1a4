/* log - logfmt lines: a small printf whose %s are quoted, and the memory of repeated warnings; see
 * log.h */
#include "common/log.h"

#include "common/clock.h"

#include <ctype.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Process-wide, written once by log_start. */
static struct {
    const char *role;     /* NULL: left out of the line */
    enum log_level level; /* most talkative one that is written */
    bool journal;         /* stderr is systemd's journal: put <N> in front */
} config = {.level = LOG_LEVEL_INFO};

static const struct {
    const char *name;
    int priority; /* syslog's, sd-daemon(3) */
} levels[] = {
    [LOG_LEVEL_ERROR] = {"error", 3},
    [LOG_LEVEL_WARN] = {"warn", 4},
    [LOG_LEVEL_INFO] = {"info", 6},
    [LOG_LEVEL_DEBUG] = {"debug", 7},
};

/* --- a line in the making: always ended by NUL, what does not fit is dropped --- */
struct line {
    char *text;
    size_t size; /* of text, NUL included */
    size_t used; /* without NUL */
};

static void put(struct line *line, char c)
{
    if (line->used + 1 < line->size) {
        line->text[line->used++] = c;
        line->text[line->used] = '\0';
    }
}

static void put_text(struct line *line, const char *text)
{
    while (*text)
        put(line, *text++);
}

static bool needs_quotes(const char *value, size_t length)
{
    if (length == 0)
        return true;
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)value[i];
        if (c <= ' ' || c == '"' || c == '=' || c == '\\' || c == 0x7F)
            return true;
    }
    return false;
}

static void put_escaped(struct line *line, char c)
{
    char code[8];
    if (c == '"' || c == '\\')
        snprintf(code, sizeof code, "\\%c", c);
    else if (c == '\n')
        snprintf(code, sizeof code, "\\n");
    else if ((unsigned char)c < ' ' || c == 0x7F)
        snprintf(code, sizeof code, "\\x%02x", (unsigned)(unsigned char)c);
    else
        snprintf(code, sizeof code, "%c", c);
    put_text(line, code);
}

static void put_value(struct line *line, const char *value, size_t length)
{
    bool quotes = needs_quotes(value, length);
    if (quotes)
        put(line, '"');
    for (size_t i = 0; i < length; i++)
        put_escaped(line, value[i]);
    if (quotes)
        put(line, '"');
}

/* --- one conversion of a format --- */
struct conversion {
    char flags[16]; /* flags and width as written */
    int precision;  /* -1: none */
    char length;    /* 'i' int, 'l', 'q' long long, 'z', 'j' */
    char letter;    /* what to convert */
};

struct arguments {
    va_list list; /* in a struct, so that a pointer to it means the same on every ABI */
};

/* Read what follows '%'; returns the place after it. */
static const char *read_conversion(const char *at, struct conversion *out, struct arguments *args)
{
    size_t used = 0;
    *out = (struct conversion){.precision = -1, .length = 'i'};
    while (*at && strchr("-+ #0123456789", *at)) {
        if (used < sizeof out->flags - 1)
            out->flags[used++] = *at;
        at++;
    }
    if (*at == '.') {
        at++;
        out->precision = 0;
        if (*at == '*') {
            out->precision = va_arg(args->list, int);
            at++;
        }
        while (isdigit((unsigned char)*at))
            out->precision = MIN(out->precision, 9999) * 10 + (*at++ - '0');
    }
    for (; *at && strchr("hlzj", *at); at++)
        if (*at != 'h')
            out->length = *at == 'l' && out->length == 'l' ? 'q' : *at;
    out->letter = *at;
    return *at ? at + 1 : at;
}

static intmax_t signed_argument(char length, struct arguments *args)
{
    switch (length) {
    case 'l':
        return va_arg(args->list, long);
    case 'q':
        return va_arg(args->list, long long);
    case 'z':
        return va_arg(args->list, ssize_t);
    case 'j':
        return va_arg(args->list, intmax_t);
    default:
        return va_arg(args->list, int);
    }
}

static uintmax_t unsigned_argument(char length, struct arguments *args)
{
    switch (length) {
    case 'l':
        return va_arg(args->list, unsigned long);
    case 'q':
        return va_arg(args->list, unsigned long long);
    case 'z':
        return va_arg(args->list, size_t);
    case 'j':
        return va_arg(args->list, uintmax_t);
    default:
        return va_arg(args->list, unsigned);
    }
}

static void put_string(struct line *line, const struct conversion *c, const char *value)
{
    if (!value)
        value = "(null)";
    put_value(line, value, c->precision < 0 ? strlen(value) : strnlen(value, (size_t)c->precision));
}

static void put_conversion(struct line *line, const struct conversion *c, struct arguments *args)
{
    char number[128];
    char format[32];
    snprintf(format, sizeof format, "%%%s%s%s%c", c->flags, c->precision < 0 ? "" : ".*",
             strchr("diuxX", c->letter) ? "j" : "", c->letter);
    number[0] = '\0';
    if (c->letter == 's') {
        put_string(line, c, va_arg(args->list, const char *));
    } else if (c->letter == 'c') {
        char one = (char)va_arg(args->list, int);
        put_value(line, &one, 1);
    } else if (c->letter == 'p') {
        snprintf(number, sizeof number, "%p", va_arg(args->list, void *));
    } else if (strchr("di", c->letter)) {
        intmax_t value = signed_argument(c->length, args);
        c->precision < 0 ? snprintf(number, sizeof number, format, value)
                         : snprintf(number, sizeof number, format, c->precision, value);
    } else if (strchr("uxX", c->letter)) {
        uintmax_t value = unsigned_argument(c->length, args);
        c->precision < 0 ? snprintf(number, sizeof number, format, value)
                         : snprintf(number, sizeof number, format, c->precision, value);
    } else if (strchr("feg", c->letter)) {
        double value = va_arg(args->list, double);
        c->precision < 0 ? snprintf(number, sizeof number, format, value)
                         : snprintf(number, sizeof number, format, c->precision, value);
    } else {
        panic("a log line's format has the conversion '%c', which log.h does not list", c->letter);
    }
    put_text(line, number);
}

static void put_fields(struct line *line, const char *format, struct arguments *args)
{
    struct conversion conversion;
    while (*format) {
        if (*format != '%') {
            put(line, *format++);
        } else if (format[1] == '%') {
            put(line, '%');
            format += 2;
        } else {
            format = read_conversion(format + 1, &conversion, args);
            put_conversion(line, &conversion, args);
        }
    }
    while (line->used && line->text[line->used - 1] == ' ')
        line->text[--line->used] = '\0';
}

/* --- repeated warnings --- */
#define REMEMBERED 16 /* different warnings at a time; more just repeat more often */

static struct memory {
    uint64_t hash;       /* of event and fields; 0: free */
    uint64_t written_ns; /* when it was last written */
    uint32_t held;       /* times since then that it was not */
    char event[64];      /* its name, for the count at the end */
} memories[REMEMBERED];
static pthread_mutex_t memories_lock = PTHREAD_MUTEX_INITIALIZER;

static uint64_t hash_of(const char *event, const char *fields)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325); /* FNV-1a */
    for (; *event; event++)
        hash = (hash ^ (unsigned char)*event) * UINT64_C(0x100000001b3);
    for (; *fields; fields++)
        hash = (hash ^ (unsigned char)*fields) * UINT64_C(0x100000001b3);
    return hash ? hash : 1;
}

static void write_line(enum log_level level, const char *event, const char *fields,
                       uint32_t repeated)
{
    char text[LOG_LINE_MAX];
    char stamp[CLOCK_TEXT_SIZE];
    struct line line = {.text = text, .size = sizeof text - 1}; /* one byte for the newline */
    if (config.journal) {
        put(&line, '<');
        put(&line, (char)('0' + levels[level].priority));
        put(&line, '>');
    }
    put_text(&line, "time=");
    put_text(&line, clock_text(stamp, clock_wall_ms()));
    put_text(&line, " level=");
    put_text(&line, levels[level].name);
    if (config.role) {
        put_text(&line, " role=");
        put_text(&line, config.role);
    }
    put_text(&line, " event=");
    put_text(&line, event);
    if (repeated) {
        char count[32];
        snprintf(count, sizeof count, " repeated=%" PRIu32, repeated);
        put_text(&line, count);
    }
    if (*fields) {
        put(&line, ' ');
        put_text(&line, fields);
    }
    text[line.used++] = '\n';
    if (write(STDERR_FILENO, text, line.used) < 0)
        return; /* nobody to tell */
}

static void write_held(struct memory *memory)
{
    char fields[128];
    if (!memory->held)
        return;
    log_fields(fields, sizeof fields, "what=%s times=%u", memory->event, memory->held);
    memory->held = 0;
    write_line(LOG_LEVEL_WARN, "repeated", fields, 0);
}

/* Whether to write now; *repeated gets how often the same was held back before. */
static bool admit(const char *event, const char *fields, uint32_t *repeated)
{
    uint64_t hash = hash_of(event, fields);
    uint64_t now_ns = clock_mono_ns();
    struct memory *oldest = &memories[0], *same = NULL;
    for (struct memory *m = memories; m < memories + REMEMBERED; m++) {
        if (m->hash == hash)
            same = m;
        if (m->written_ns < oldest->written_ns)
            oldest = m;
    }
    if (same && now_ns - same->written_ns < LOG_REPEAT_MS * NS_PER_MS) {
        same->held++;
        return false;
    }
    if (!same) {
        same = oldest;
        write_held(same);
        same->hash = hash;
        text_copy(same->event, sizeof same->event, event);
    }
    *repeated = same->held;
    same->held = 0;
    same->written_ns = now_ns;
    return true;
}

/* --- public --- */
static bool stderr_is_journal(void)
{
    const char *stream = getenv("JOURNAL_STREAM"); /* "device:inode" of what systemd made */
    uintmax_t device, inode;
    struct stat info;
    return stream && sscanf(stream, "%" SCNuMAX ":%" SCNuMAX, &device, &inode) == 2 &&
           fstat(STDERR_FILENO, &info) == 0 && info.st_dev == device && info.st_ino == inode;
}

void log_start(const char *role, enum log_level level)
{
    config.role = role;
    config.level = level;
    config.journal = stderr_is_journal();
}

bool log_level_parse(enum log_level *level, const char *text)
{
    for (size_t i = 0; i < ARRAY_LEN(levels); i++)
        if (strcmp(levels[i].name, text) == 0) {
            *level = (enum log_level)i;
            return true;
        }
    return false;
}

void log_flush(void)
{
    pthread_mutex_lock(&memories_lock);
    for (size_t i = 0; i < REMEMBERED; i++)
        write_held(&memories[i]);
    pthread_mutex_unlock(&memories_lock);
}

size_t log_fields(char *into, size_t size, const char *format, ...)
{
    struct line line = {.text = into, .size = size};
    struct arguments args;
    assert(size > 0);
    into[0] = '\0';
    va_start(args.list, format);
    put_fields(&line, format, &args);
    va_end(args.list);
    return line.used;
}

void log_write(enum log_level level, const char *event, const char *format, ...)
{
    char fields[LOG_LINE_MAX];
    struct line line = {.text = fields, .size = sizeof fields};
    struct arguments args;
    uint32_t repeated = 0;
    if (level > config.level)
        return;
    fields[0] = '\0';
    va_start(args.list, format);
    put_fields(&line, format + strspn(format, " "), &args);
    va_end(args.list);
    if (level > LOG_LEVEL_WARN) {
        write_line(level, event, fields, 0);
        return;
    }
    pthread_mutex_lock(&memories_lock);
    if (admit(event, fields, &repeated))
        write_line(level, event, fields, repeated);
    pthread_mutex_unlock(&memories_lock);
}
