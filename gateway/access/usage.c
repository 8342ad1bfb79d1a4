/* usage - a sorted list of tenants, each with an array of counts; see usage.h */
#include "gateway/access/usage.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct tenant {
    char *name;                    /* ours */
    uint64_t counts[USAGE_COUNTS]; /* by usage.def */
};

struct usage {
    struct tenant *rows; /* by name, ascending */
    size_t len, room;    /* used and allocated */
};

static const struct {
    const char *name, *help;
} counts[] = {
#define USAGE(name, help) {#name, help},
#include "gateway/access/usage.def"
#undef USAGE
};

struct usage *usage_new(void)
{
    return xcalloc(1, sizeof(struct usage));
}

void usage_destroy(struct usage **self_p)
{
    struct usage *self = *self_p;
    if (!self)
        return;
    for (size_t i = 0; i < self->len; i++)
        free(self->rows[i].name);
    free(self->rows);
    free(self);
    *self_p = NULL;
}

static struct tenant *row_of(struct usage *self, const char *name)
{
    size_t low = 0, high = self->len;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(self->rows[middle].name, name);
        if (order == 0)
            return &self->rows[middle];
        *(order < 0 ? &low : &high) = order < 0 ? middle + 1 : middle;
    }
    if (self->len == self->room) {
        self->room = self->room ? 2 * self->room : 8;
        self->rows = xrealloc(self->rows, self->room * sizeof *self->rows);
    }
    memmove(self->rows + low + 1, self->rows + low, (self->len++ - low) * sizeof *self->rows);
    self->rows[low] = (struct tenant){.name = xstrdup(name)};
    return &self->rows[low];
}

void usage_add(struct usage *self, const char *tenant, enum usage_count which, uint64_t by)
{
    assert(which < USAGE_COUNTS);
    row_of(self, tenant ? tenant : "")->counts[which] += by;
}

void usage_write(const struct usage *self, FILE *out)
{
    for (size_t c = 0; c < USAGE_COUNTS && self->len; c++) {
        fprintf(out, "# HELP convoy_tenant_%s %s\n# TYPE convoy_tenant_%s counter\n",
                counts[c].name, counts[c].help, counts[c].name);
        for (size_t i = 0; i < self->len; i++)
            fprintf(out, "convoy_tenant_%s{tenant=\"%s\"} %" PRIu64 "\n", counts[c].name,
                    self->rows[i].name, self->rows[i].counts[c]);
    }
}

json_t *usage_json(const struct usage *self)
{
    json_t *list = json_array();
    for (size_t i = 0; i < self->len; i++) {
        json_t *row = json_pack("{s:s}", "tenant", self->rows[i].name);
        for (size_t c = 0; c < USAGE_COUNTS; c++)
            json_object_set_new(row, counts[c].name,
                                json_integer((json_int_t)self->rows[i].counts[c]));
        json_array_append_new(list, row);
    }
    return list;
}
