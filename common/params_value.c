/* params_value - numbers with units, words and texts; see params_value.h and params.h */
#include "common/params_value.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct unit {
    const char *name;
    uint64_t factor;
};

/* Largest first: printing takes the first that divides the value. */
static const struct unit ms_units[] = {{"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}, {0}};
static const struct unit byte_units[] = {{"TiB", UINT64_C(1) << 40},
                                         {"GiB", UINT64_C(1) << 30},
                                         {"MiB", UINT64_C(1) << 20},
                                         {"KiB", UINT64_C(1) << 10},
                                         {"B", 1},
                                         {0}};
static const struct unit no_units[] = {{0}};

static const struct kind {
    const char *expects; /* for the error's text */
    const struct unit *units;
    size_t bytes; /* of the field, 0 for texts */
} kinds[] = {
    [PARAM_u32] = {"a number", no_units, sizeof(uint32_t)},
    [PARAM_u64] = {"a number", no_units, sizeof(uint64_t)},
    [PARAM_ms] = {"a time like 250ms, 10s, 5m or 2h", ms_units, sizeof(uint32_t)},
    [PARAM_bytes] = {"a size like 4096, 64KiB, 16MiB or 2GiB", byte_units, sizeof(uint64_t)},
    [PARAM_bool] = {"true or false", no_units, sizeof(bool)},
    [PARAM_text] = {"a text", no_units, 0},
    [PARAM_path] = {"a path", no_units, 0},
    [PARAM_secret] = {"a text", no_units, 0},
};

static void store(const struct param *param, void *values, uint64_t number)
{
    uint8_t *field = (uint8_t *)values + param->offset;
    uint32_t narrow = (uint32_t)number;
    bool flag = number != 0;
    if (param->type == PARAM_bool)
        memcpy(field, &flag, sizeof flag);
    else if (kinds[param->type].bytes == sizeof narrow)
        memcpy(field, &narrow, sizeof narrow);
    else
        memcpy(field, &number, sizeof number);
}

static uint64_t fetch(const struct param *param, const void *values)
{
    const uint8_t *field = (const uint8_t *)values + param->offset;
    uint64_t number = 0;
    memcpy(&number, field, kinds[param->type].bytes); /* little-endian, as everywhere here */
    return number;
}

static bool is_text(const struct param *param)
{
    return kinds[param->type].bytes == 0;
}

static char **text_field(const struct param *param, const void *values)
{
    return (char **)((uintptr_t)values + param->offset);
}

/* Digits and one unit of the list; false for anything else, and past 64 bits. */
static bool read_number(const struct unit *units, const char *text, uint64_t *number)
{
    char *end;
    if (*text < '0' || *text > '9') /* strtoull takes signs and spaces */
        return false;
    errno = 0;
    *number = strtoull(text, &end, 10);
    if (errno)
        return false;
    if (*end == '\0')
        return true;
    for (; units->name; units++)
        if (strcmp(units->name, end) == 0 && *number <= UINT64_MAX / units->factor) {
            *number *= units->factor;
            return true;
        }
    return false;
}

static bool read_bool(const char *text, uint64_t *number)
{
    static const char *const words[][2] = {
        {"false", "true"}, {"no", "yes"}, {"off", "on"}, {"0", "1"}};
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        for (uint64_t value = 0; value < 2; value++)
            if (strcmp(words[i][value], text) == 0) {
                *number = value;
                return true;
            }
    return false;
}

static enum status set_number(const struct param *param, void *values, const char *text,
                              struct error *why)
{
    uint64_t number;
    bool flag = param->type == PARAM_bool;
    bool read =
        flag ? read_bool(text, &number) : read_number(kinds[param->type].units, text, &number);
    if (!read)
        return fail(why, STATUS_INVALID, "%s: expected %s, got '%.200s'", param->name,
                    kinds[param->type].expects, text);
    if (!flag && (number < param->min || number > param->max)) {
        char *low = param_number_text(param->type, param->min);
        char *high = param_number_text(param->type, param->max);
        enum status status =
            fail(why, STATUS_INVALID, "%s: expected %s to %s%s%s, got %s", param->name, low, high,
                 *param->unit ? " " : "", param->unit, text);
        free(low);
        free(high);
        return status;
    }
    store(param, values, number);
    return STATUS_OK;
}

static enum status set_text(const struct param *param, void *values, const char *text,
                            struct error *why)
{
    size_t length = strlen(text);
    if (length < param->min || length > param->max)
        return fail(why, STATUS_INVALID,
                    "%s: expected %s of %" PRIu64 " to %" PRIu64 " bytes, got %zu", param->name,
                    kinds[param->type].expects, param->min, param->max, length);
    for (const char *c = text; *c; c++)
        if ((unsigned char)*c < ' ' || *c == '"')
            return fail(why, STATUS_INVALID, "%s: control characters and quotes are not allowed",
                        param->name);
    char **field = text_field(param, values);
    free(*field);
    *field = xstrdup(text);
    return STATUS_OK;
}

enum status param_set(const struct param *param, void *values, const char *text, struct error *why)
{
    return is_text(param) ? set_text(param, values, text, why)
                          : set_number(param, values, text, why);
}

void param_set_default(const struct param *param, void *values)
{
    if (is_text(param)) {
        char **field = text_field(param, values);
        free(*field);
        *field = xstrdup(param->text);
    } else {
        store(param, values, param->number);
    }
}

void param_clear(const struct param *param, void *values)
{
    if (is_text(param)) {
        char **field = text_field(param, values);
        free(*field);
        *field = NULL;
    } else {
        store(param, values, 0);
    }
}

char *param_number_text(enum param_type type, uint64_t number)
{
    if (type == PARAM_bool)
        return xstrdup(number ? "true" : "false");
    for (const struct unit *unit = kinds[type].units; unit->name; unit++)
        if (number && number % unit->factor == 0)
            return xasprintf("%" PRIu64 "%s", number / unit->factor, unit->name);
    return xasprintf("%" PRIu64, number);
}

char *param_value_text(const struct param *param, const void *values)
{
    if (is_text(param)) {
        const char *text = *text_field(param, values);
        return xstrdup(text ? text : "");
    }
    return param_number_text(param->type, fetch(param, values));
}

char *param_default_text(const struct param *param)
{
    return is_text(param) ? xstrdup(param->text) : param_number_text(param->type, param->number);
}
