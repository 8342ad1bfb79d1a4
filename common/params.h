/* params - one line per parameter: struct field, option, environment, file, limits and manual
 *
 * A role lists its parameters in params.def and expands the list twice:
 *
 *   PARAM(queue_jobs_max, u32, 1024, 1, 1048576, "jobs", "Jobs waiting per model before BUSY.")
 *
 *   struct broker_params {                        // in a header of the role
 *   #define PARAM PARAM_FIELD
 *   #include "broker/params.def"
 *   #undef PARAM
 *   };
 *   #define PARAMS_STRUCT struct broker_params    // in its main.c
 *   static const struct param params[] = {
 *   #define PARAM PARAM_ROW
 *   #include "broker/params.def"
 *   #undef PARAM
 *   };
 *   #undef PARAMS_STRUCT
 *
 * Types, their fields, and what default, min and max mean:
 *
 *   u32 u64     uint32_t, uint64_t: numbers
 *   ms          uint32_t, name ends in _ms: "250ms", "10s", "5m", "2h", or a bare number
 *   bytes       uint64_t: "64MiB", "4KiB", "1GiB", or a bare number
 *   bool        bool: true/false, yes/no, on/off, 1/0; default true or false, the others unused
 *   text path   char *: default a string ("" for none), min and max bound its length in bytes
 *   secret      as text; struck out of the command line once it is read, which others may see
 *
 * Values come, later ones winning, from: the default, the file of --config FILE (or CONVOY_CONFIG)
 * with lines `name = value` and `#` comments, the environment CONVOY_QUEUE_JOBS_MAX, the command
 * line: --queue-jobs-max N, --queue-jobs-max=N, and for a bool also --name or --no-name.
 * One thread, at start. */
#ifndef CONVOY_COMMON_PARAMS_H
#define CONVOY_COMMON_PARAMS_H

#include "common/status.h"

#include <stdio.h>

enum param_type {
    PARAM_u32,
    PARAM_u64,
    PARAM_ms,
    PARAM_bytes,
    PARAM_bool,
    PARAM_text,
    PARAM_path,
    PARAM_secret
};

struct param {
    const char *name; /* as the field is called: words joined by '_' */
    enum param_type type;
    size_t offset;    /* of the field in the role's struct */
    uint64_t number;  /* default of all but text and path */
    const char *text; /* default of text and path */
    uint64_t min;     /* inclusive: of the number, or of the text's length */
    uint64_t max;     /* inclusive */
    const char *unit; /* for the manual; "" where the type says it */
    const char *help; /* one sentence */
};

/* A group of parameters that is filled together; the manual prints them under the title. */
struct param_group {
    const char *title;
    const struct param *rows;
    size_t count;
    void *values; /* the struct to fill, cleared before; free its texts by params_free */
};

/* What the command line asks for, or whether it is what is wrong. */
enum params_wish {
    PARAMS_RUN,
    PARAMS_HELP,
    PARAMS_VERSION,
    PARAMS_PRINT_CONFIG,
    PARAMS_WRONG_USAGE /* beside INVALID: an argument is at fault, not the file or environment */
};

/* Fill every group. Fails with INVALID, saying where (option, variable or file:line), what was
 * expected and what came; what was filled until then is still to be freed. `--config`, `--help`,
 * `--version` and `--print-config` are understood besides the groups. Arguments that are no option
 * are refused. */
enum status params_load(const struct param_group *groups, size_t ngroups, int argc, char **argv,
                        enum params_wish *wish, struct error *why);

/* The same without environment and command line: defaults, then `path` if not NULL. For tools. */
enum status params_load_file(const struct param_group *groups, size_t ngroups, const char *path,
                             struct error *why);

/* Free the texts and clear them. Twice is harmless. */
void params_free(const struct param_group *groups, size_t ngroups);

/* The manual, and a configuration file with every parameter, explained, at its present value; what
 * has its default is commented out. */
void params_print_help(FILE *out, const char *program, const char *purpose,
                       const struct param_group *groups, size_t ngroups);
void params_print_config(FILE *out, const struct param_group *groups, size_t ngroups);

/* Read one value by type and limits into `field`; for command lines that are not a daemon's. */
enum status param_set(const struct param *param, void *values, const char *text, struct error *why);

/* --- expansion of params.def --- */
#define PARAM_FIELD(name, type, value, min, max, unit, help) PARAM_FIELD_##type name;
#define PARAM_FIELD_u32                                      uint32_t
#define PARAM_FIELD_u64                                      uint64_t
#define PARAM_FIELD_ms                                       uint32_t
#define PARAM_FIELD_bytes                                    uint64_t
#define PARAM_FIELD_bool                                     _Bool
#define PARAM_FIELD_text                                     char *
#define PARAM_FIELD_path                                     char *
#define PARAM_FIELD_secret                                   char *

#define PARAM_ROW(name, type, value, min, max, unit, help)                                         \
    {#name, PARAM_##type, offsetof(PARAMS_STRUCT, name), PARAM_VALUE_##type(value), min, max,      \
     unit,  help},
#define PARAM_VALUE_u32(value)    (value), NULL
#define PARAM_VALUE_u64(value)    (value), NULL
#define PARAM_VALUE_ms(value)     (value), NULL
#define PARAM_VALUE_bytes(value)  (value), NULL
#define PARAM_VALUE_bool(value)   (value), NULL
#define PARAM_VALUE_text(value)   0, (value)
#define PARAM_VALUE_path(value)   0, (value)
#define PARAM_VALUE_secret(value) 0, (value)

#endif
