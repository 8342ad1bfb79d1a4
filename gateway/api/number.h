/* number - JSON numbers to tensor elements and back, without a heap object per number
 *
 * Reading is exact: the nearest value of the element type. Up to 19 digits with a mantissa of at
 * most 2^53 and a power of ten of at most 22 take one multiplication or division in double; what is
 * longer, and what falls in the middle between two floats, goes through strtof or strtod. Writing
 * gives the fewest digits, 6 at least tried, that read back to the same float. Pure; any thread. */
#ifndef CONVOY_GATEWAY_API_NUMBER_H
#define CONVOY_GATEWAY_API_NUMBER_H

#include "common/status.h"
#include "common/tensor.h"

/* Parse the JSON list of numbers at *text (its '[') up to its closing ']' into `into`, which has
 * room for the elements of `tensor` (type and shape). Flat, or nested like the shape. `end` is the
 * first octet behind the text, where a NUL must stand. INVALID names the element. */
enum status number_list_read(const struct tensor *tensor, const char *text, const char *end,
                             void *into, struct error *why);

/* Can elements of this type be written as JSON numbers at all? */
bool number_has_json(enum dtype dtype);

/* Octets that one element takes as text at most, its comma included. */
#define NUMBER_TEXT_MAX 32

/* Write `count` elements at `data` (any alignment) as "1,2.5,..." without brackets; returns the
 * first octet behind. `into` has NUMBER_TEXT_MAX * count octets. Not finite: null. */
char *number_list_write(char *into, enum dtype dtype, const void *data, size_t count);

#endif
