#include "gateway/ledger/record.h"
#include "common/crc32c.h"

#include <stdlib.h>
#include <string.h>

#define TABLE(table, since, purpose) static const struct ledger_column table##_columns[] = {
#define COLUMN(table, name, type, key, meaning)                                                    \
    {#name, LEDGER_##type, (key) != 0, offsetof(struct ledger_##table, name)},
#define END(table)                                                                                 \
    }                                                                                              \
    ;
#include "gateway/ledger/tables.def"

static const struct ledger_layout layouts[LEDGER_TABLES] = {
#define TABLE(table, since, purpose)                                                               \
    [LEDGER_##table] = {#table, since, sizeof(struct ledger_##table), table##_columns,             \
                        ARRAY_LEN(table##_columns)},
#include "gateway/ledger/tables.def"
};

const struct ledger_layout *ledger_layout(enum ledger_table table)
{
    assert(table < LEDGER_TABLES);
    return &layouts[table];
}

void ledger_text_set(char **field, const char *text)
{
    char *copy = xstrdup(text ? text : "");
    free(*field);
    *field = copy;
}

void *ledger_record_copy(enum ledger_table table, const void *record)
{
    const struct ledger_layout *layout = ledger_layout(table);
    char *copy = xmalloc(layout->bytes);
    memcpy(copy, record, layout->bytes);
    for (size_t i = 0; i < layout->columns_len; i++) {
        if (layout->columns[i].type != LEDGER_TEXT)
            continue;
        char **field = (char **)(void *)(copy + layout->columns[i].offset);
        *field = xstrdup(*field ? *field : "");
    }
    return copy;
}

void ledger_record_clear(enum ledger_table table, void *record)
{
    const struct ledger_layout *layout = ledger_layout(table);
    for (size_t i = 0; i < layout->columns_len; i++) {
        if (layout->columns[i].type == LEDGER_TEXT)
            free(*(char **)(void *)((char *)record + layout->columns[i].offset));
    }
    memset(record, 0, layout->bytes);
}

void ledger_record_destroy(enum ledger_table table, void **record_p)
{
    if (!*record_p)
        return;
    ledger_record_clear(table, *record_p);
    free(*record_p);
    *record_p = NULL;
}

static uint32_t crc_number(uint32_t crc, uint64_t number)
{
    uint8_t octets[8];
    for (size_t i = 0; i < sizeof(octets); i++)
        octets[i] = (uint8_t)(number >> (8 * i));
    return crc32c(crc, octets, sizeof(octets));
}

static uint32_t crc_blob(uint32_t crc, const void *bytes, size_t size)
{
    return crc32c(crc_number(crc, size), bytes, size);
}

uint32_t ledger_record_crc(enum ledger_table table, const void *record)
{
    const struct ledger_layout *layout = ledger_layout(table);
    uint32_t crc = 0;
    for (size_t i = 0; i < layout->columns_len; i++) {
        const char *field = (const char *)record + layout->columns[i].offset;
        switch (layout->columns[i].type) {
        case LEDGER_ID:
        case LEDGER_OWNER:
            crc = crc_blob(crc, field, sizeof(struct uuid));
            break;
        case LEDGER_DIGEST:
            crc = crc_blob(crc, field, sizeof(struct digest));
            break;
        case LEDGER_INT:
        case LEDGER_EPOCH:
            crc = crc_number(crc, *(const uint64_t *)(const void *)field);
            break;
        case LEDGER_TEXT: {
            const char *text = *(char *const *)(const void *)field;
            crc = crc_blob(crc, text ? text : "", text ? strlen(text) : 0);
            break;
        }
        }
    }
    return crc;
}
