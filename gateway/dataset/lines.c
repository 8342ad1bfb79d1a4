#include "gateway/dataset/lines.h"
#include "common/crc32c.h"

#include <inttypes.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INDEX_MAGIC UINT64_C(0x31454e494c595643) /* "CVYLINE1", little-endian */
#define INDEX_MAX   ((size_t)1 << 30)            /* octets of an index that we read */

struct place {
    uint64_t offset; /* of the row's line in the file */
    uint64_t line;   /* its number, from 1 */
};

struct index_head {
    uint64_t magic;  /* INDEX_MAGIC */
    uint64_t rows;   /* of the file */
    uint64_t bytes;  /* of the file, so that another file's index is noticed */
    uint64_t places; /* that follow */
    uint64_t crc;    /* crc32c of the places */
};

struct cursor {
    const char *bytes; /* the file */
    size_t size;       /* its octets */
    size_t at;         /* where the next line begins */
    uint64_t line;     /* lines that were read */
};

struct lines {
    struct file_map map;  /* the data set */
    char *index;          /* the index file */
    struct place *places; /* inside it: every LINES_STRIDE-th row */
    uint64_t rows;        /* of the file */
    struct cursor cursor; /* the next line */
};

/* --- lines ------------------------------------------------------------------------------------ */
static bool blank(const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (text[i] != ' ' && text[i] != '\t' && text[i] != '\r')
            return false;
    }
    return true;
}

/* The next line that is not blank. */
static bool cursor_next(struct cursor *self, const char **text, size_t *size)
{
    while (self->at < self->size) {
        *text = self->bytes + self->at;
        const char *end = memchr(*text, '\n', self->size - self->at);
        *size = end ? (size_t)(end - *text) : self->size - self->at;
        self->at += *size + (end != NULL);
        self->line++;
        if (!blank(*text, *size))
            return true;
    }
    return false;
}

/* --- a scan for one member -------------------------------------------------------------------- */
static const char *skip_blanks(const char *at, const char *end)
{
    while (at < end && (*at == ' ' || *at == '\t' || *at == '\r'))
        at++;
    return at;
}

/* The octet after the closing quote of the string whose opening quote is at `at`; NULL: none. */
static const char *skip_string(const char *at, const char *end)
{
    for (at++; at < end; at++) {
        if (*at == '\\')
            at++;
        else if (*at == '"')
            return at + 1;
    }
    return NULL;
}

/* The octet after a value: at a comma or a closing bracket of the outer level. */
static const char *skip_value(const char *at, const char *end)
{
    unsigned depth = 0;
    while (at && at < end) {
        if (*at == '"') {
            at = skip_string(at, end);
            continue;
        }
        if (depth == 0 && (*at == ',' || *at == '}' || *at == ']'))
            return at;
        depth += *at == '{' || *at == '[';
        depth -= *at == '}' || *at == ']';
        at++;
    }
    return at;
}

bool lines_member(const char *text, size_t size, const char *name, const char **value,
                  size_t *value_size)
{
    const char *end = text + size, *at = skip_blanks(text, end);
    if (at == end || *at != '{')
        return false;
    for (at = skip_blanks(at + 1, end); at < end && *at == '"'; at = skip_blanks(at + 1, end)) {
        const char *key = at + 1, *key_end = skip_string(at, end);
        if (!key_end)
            return false;
        at = skip_blanks(key_end, end);
        if (at == end || *at != ':')
            return false;
        at = skip_blanks(at + 1, end);
        bool wanted =
            (size_t)(key_end - 1 - key) == strlen(name) && memcmp(key, name, strlen(name)) == 0;
        if (wanted && at < end && *at == '"') {
            const char *past = skip_string(at, end);
            *value = at + 1;
            *value_size = past ? (size_t)(past - 1 - *value) : 0;
            return past != NULL;
        }
        at = skip_value(at, end);
        if (!at || at >= end || *at != ',')
            return false;
    }
    return false;
}

/* --- custom_ids that come twice --------------------------------------------------------------- */
/* Open addressing over 64-bit keyed hashes: for LINES_CUSTOM_MAX ids the chance that two different
 * ones meet is below one in a million. */
struct ids {
    struct place *slots; /* offset holds the hash, line the line; line 0: empty */
    size_t room;         /* a power of two */
    uint64_t count;
    uint8_t key[crypto_shorthash_KEYBYTES];
};

static struct place *ids_slot(const struct ids *self, uint64_t hash)
{
    size_t i = (size_t)hash & (self->room - 1);
    while (self->slots[i].line && self->slots[i].offset != hash)
        i = (i + 1) & (self->room - 1);
    return &self->slots[i];
}

static void ids_grow(struct ids *self)
{
    struct ids old = *self;
    self->room = old.room ? 2 * old.room : 1024;
    self->slots = xcalloc(self->room, sizeof(*self->slots));
    for (size_t i = 0; i < old.room; i++) {
        if (old.slots[i].line)
            *ids_slot(self, old.slots[i].offset) = old.slots[i];
    }
    free(old.slots);
}

/* The line that had this id before, or 0: then it is remembered. */
static uint64_t ids_add(struct ids *self, const char *text, size_t size, uint64_t line)
{
    uint64_t hash = 0;
    crypto_shorthash((uint8_t *)&hash, (const uint8_t *)text, size, self->key);
    if (2 * (self->count + 1) > self->room)
        ids_grow(self);
    struct place *slot = ids_slot(self, hash);
    if (slot->line)
        return slot->line;
    *slot = (struct place){hash, line};
    self->count++;
    return 0;
}

/* --- making the index ------------------------------------------------------------------------- */
struct indexer {
    struct place *places; /* so far */
    size_t len, room;     /* used and allocated */
    uint64_t rows;        /* so far */
    struct ids ids;       /* seen so far */
};

static void PRINTF_LIKE(4, 5)
    set_flaw(struct dataset_flaw *flaw, const char *code, uint64_t line, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    vsnprintf(flaw->text, sizeof(flaw->text), format, values);
    va_end(values);
    text_copy(flaw->code, sizeof(flaw->code), code);
    flaw->line = (int64_t)line;
}

static void check_custom_id(struct indexer *self, const char *text, size_t size, uint64_t line,
                            struct dataset_flaw *flaw)
{
    const char *id = NULL;
    size_t id_size = 0;
    if (flaw->code[0] || !lines_member(text, size, "custom_id", &id, &id_size))
        return;
    uint64_t before = ids_add(&self->ids, id, id_size, line);
    if (before)
        set_flaw(flaw, "duplicate_custom_id", line,
                 "line %" PRIu64 ": custom_id \"%.*s\" was used in line %" PRIu64
                 " already; give each line its own",
                 line, (int)MIN(id_size, (size_t)100), id, before);
    else if (self->ids.count > LINES_CUSTOM_MAX)
        set_flaw(flaw, "too_many_tasks", line,
                 "more than %d lines with a custom_id; cut the file, or leave the ids out",
                 LINES_CUSTOM_MAX);
}

static enum status walk(struct indexer *self, struct cursor *cursor, struct dataset_flaw *flaw,
                        struct error *why)
{
    const char *text = NULL;
    size_t size = 0;
    while (cursor_next(cursor, &text, &size)) {
        if (size > LINES_LINE_MAX)
            return fail(why, STATUS_TOO_LARGE,
                        "line %" PRIu64 " has %zu octets, a line may have %d; cut the row, or use "
                        ".npy",
                        cursor->line, size, LINES_LINE_MAX);
        if (self->rows % LINES_STRIDE == 0) {
            if (self->len == self->room) {
                self->room = self->room ? 2 * self->room : 64;
                self->places = xrealloc(self->places, self->room * sizeof(*self->places));
            }
            uint64_t offset = (uint64_t)(text - cursor->bytes);
            self->places[self->len++] = (struct place){offset, cursor->line};
        }
        self->rows++;
        check_custom_id(self, text, size, cursor->line, flaw);
    }
    return STATUS_OK;
}

static enum status write_index(const struct indexer *self, const char *path, uint64_t bytes,
                               struct error *why)
{
    size_t places_bytes = self->len * sizeof(struct place);
    struct index_head head = {INDEX_MAGIC, self->rows, bytes, self->len,
                              crc32c(0, self->places, places_bytes)};
    char *whole = xmalloc(sizeof(head) + places_bytes);
    memcpy(whole, &head, sizeof(head));
    if (places_bytes)
        memcpy(whole + sizeof(head), self->places, places_bytes);
    enum status status = file_write(path, whole, sizeof(head) + places_bytes, true, why);
    free(whole);
    return status;
}

enum status lines_index(const char *path, const char *index_path, struct dataset_info *info,
                        struct dataset_flaw *flaw, struct error *why)
{
    struct file_map map = {NULL, 0};
    struct indexer indexer = {.rows = 0};
    randombytes_buf(indexer.ids.key, sizeof(indexer.ids.key));
    enum status status = file_map(&map, path, why);
    if (status != STATUS_OK)
        return status;
    struct cursor cursor = {.bytes = (const char *)map.bytes, .size = map.size};
    status = walk(&indexer, &cursor, flaw, why);
    if (status == STATUS_OK && indexer.rows == 0)
        set_flaw(flaw, "empty_file", 0, "the file has no row: each row is a line of JSON");
    if (status == STATUS_OK)
        status = write_index(&indexer, index_path, map.size, why);
    info->rows = indexer.rows;
    info->row_bytes = indexer.rows ? map.size / indexer.rows : 0;
    free(indexer.places);
    free(indexer.ids.slots);
    file_unmap(&map);
    return status;
}

/* --- using it --------------------------------------------------------------------------------- */
static enum status check_index(struct lines *self, const char *path, size_t size, struct error *why)
{
    struct index_head head = {0};
    if (size >= sizeof(head))
        memcpy(&head, self->index, sizeof(head));
    if (head.magic != INDEX_MAGIC || head.bytes != self->map.size ||
        size - sizeof(head) != head.places * sizeof(struct place) ||
        head.places != (head.rows + LINES_STRIDE - 1) / LINES_STRIDE ||
        head.crc != crc32c(0, self->index + sizeof(head), size - sizeof(head)))
        return fail(why, STATUS_IO, "%s: the index is damaged; upload the file again", path);
    self->rows = head.rows;
    self->places = (struct place *)(void *)(self->index + sizeof(head));
    return STATUS_OK;
}

enum status lines_open(struct lines **out, const char *path, const char *index_path,
                       struct error *why)
{
    struct lines *self = xcalloc(1, sizeof(*self));
    size_t size = 0;
    enum status status = file_map(&self->map, path, why);
    if (status == STATUS_OK)
        status = file_read(&self->index, &size, index_path, INDEX_MAX, why);
    if (status == STATUS_OK)
        status = check_index(self, index_path, size, why);
    if (status != STATUS_OK)
        lines_close(&self);
    *out = self;
    return status;
}

void lines_close(struct lines **self_p)
{
    struct lines *self = *self_p;
    if (!self)
        return;
    file_unmap(&self->map);
    free(self->index);
    free(self);
    *self_p = NULL;
}

void lines_seek(struct lines *self, uint64_t row)
{
    assert(row < self->rows);
    const struct place *place = &self->places[row / LINES_STRIDE];
    self->cursor = (struct cursor){.bytes = (const char *)self->map.bytes,
                                   .size = self->map.size,
                                   .at = (size_t)place->offset,
                                   .line = place->line - 1};
    const char *text = NULL;
    size_t size = 0;
    for (uint64_t i = row % LINES_STRIDE; i > 0; i--)
        (void)cursor_next(&self->cursor, &text, &size);
}

bool lines_next(struct lines *self, const char **text, size_t *size, uint64_t *line)
{
    bool there = cursor_next(&self->cursor, text, size);
    *line = self->cursor.line;
    return there;
}
