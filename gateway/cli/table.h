/* table - rows of text in aligned columns, numbers to the right */
#ifndef CONVOY_GATEWAY_CLI_TABLE_H
#define CONVOY_GATEWAY_CLI_TABLE_H

#include "common/base.h"

#include <stdio.h>

#define TABLE_COLUMNS_MAX 16

struct table;

/* Titles, ended by NULL. */
struct table *table_new(const char *title, ...) __attribute__((sentinel));
void table_destroy(struct table **self_p);

/* The next cell of the row; a full row begins the next. Control characters become '?'. */
void table_cell(struct table *self, const char *format, ...) PRINTF_LIKE(2, 3);
/* The same, aligned to the right, with thousands apart: 10,000. */
void table_number(struct table *self, long long number);
/* The local time of a moment today, the date of any other; `never` for 0. Seconds since 1970. */
void table_date(struct table *self, long long moment_s, const char *never);

/* Titles are bold on a terminal. Nothing but titles is printed as nothing. */
void table_print(const struct table *self, FILE *out);

/* "1,234,567" into `into`; returns it. */
char *number_text(char into[static 32], long long number);

#endif
