/* params_value - one parameter: its text into its field and back
 *
 * The inner half of params.h; used by params*.c and their test only. */
#ifndef CONVOY_COMMON_PARAMS_VALUE_H
#define CONVOY_COMMON_PARAMS_VALUE_H

#include "common/params.h"

/* Give the field its default. It must be clear or have been set before. */
void param_set_default(const struct param *param, void *values);

/* Free a text and set the field to 0. */
void param_clear(const struct param *param, void *values);

/* The present value as a configuration file spells it, or the default's or a limit's; free() it. */
char *param_value_text(const struct param *param, const void *values);
char *param_default_text(const struct param *param);
char *param_number_text(enum param_type type, uint64_t number);

#endif
