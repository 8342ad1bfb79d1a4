/* limits - common/LIMITS.md from limits.def: `convoy help limits` */
#include "gateway/cli/cli.h"

#include "common/limits.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const struct limit {
    const char *title; /* of a part; the rest is empty then */
    const char *name;
    uint64_t value;
    const char *unit;
    const char *bounds;
    const char *beyond;
} limits[] = {
#define PART(title)                              {title, "", 0, "", "", ""},
#define LIMIT(name, value, unit, bounds, beyond) {NULL, #name, value, #unit, bounds, beyond},
#include "common/limits.def"
};

static void print_value(const struct limit *limit)
{
    bool octets = strcmp(limit->unit, "octets") == 0;
    if (octets && limit->value % MIB == 0)
        printf("%" PRIu64 " MiB", limit->value / MIB);
    else if (octets && limit->value % KIB == 0)
        printf("%" PRIu64 " KiB", limit->value / KIB);
    else
        printf("%" PRIu64 " %s", limit->value, limit->unit);
}

void cli_print_limits(void)
{
    printf(
        "# Limits\n\n"
        "Printed by `make limits` (`convoy help limits`) from `limits.def`, the list that the "
        "programs are made from; a test\ncompares. These bounds are fixed. Those that can be set "
        "are parameters: `--help` of each program, or\n"
        "[deploy/](../deploy/README.md)`*.conf.example`; what each bounds is said there, and "
        "what happens beyond it in\n[SCHEDULING.md](../broker/SCHEDULING.md) for the broker and "
        "[API.md](../gateway/API.md) for HTTP.\n");
    for (size_t i = 0; i < ARRAY_LEN(limits); i++) {
        const struct limit *limit = &limits[i];
        if (limit->title) {
            printf("\n## %s\n| name | at most | of what | beyond it |\n| --- | --- | --- | --- |\n",
                   limit->title);
            continue;
        }
        printf("| `%s` | ", limit->name);
        print_value(limit);
        printf(" | %s | %s |\n", limit->bounds, *limit->beyond ? limit->beyond : "-");
    }
}
