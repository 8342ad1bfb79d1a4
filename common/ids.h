/* ids - 128-bit identifiers, random 64-bit numbers, and their text
 *
 * Any thread. Running out of randomness is fatal, so nothing here fails but parsing. */
#ifndef CONVOY_COMMON_IDS_H
#define CONVOY_COMMON_IDS_H

#include "common/base.h"

struct uuid {
    uint8_t bytes[16]; /* in the order of the text form */
};

#define ID_TEXT_SIZE  37 /* 36 characters and NUL */
#define ID_SHORT_SIZE 9  /* 8 characters and NUL */

/* A public id: a UUID (version 4) whose first 48 bits are the wall clock in milliseconds and whose
 * next 12 count within one, so that ids sort by age in text, in bytes and in an index: those of one
 * process exactly in the order in which they were made. The other 62 bits are random. */
struct uuid id_new(void);

/* A fully random UUID (version 4): for what must not tell its age, such as a session's secret. */
struct uuid id_random(void);

/* Random bits for incarnations, seeds and jitter. */
uint64_t random_u64(void);

/* "018f3c2a-....", lower case. Returns `into`. */
char *id_text(char into[static ID_TEXT_SIZE], const struct uuid *id);

/* The last 8 hexadecimal digits, for log lines: the first ones are time and look all the same. */
char *id_short(char into[static ID_SHORT_SIZE], const struct uuid *id);

/* Read the 36-character form, either case. False, and *id untouched, for any other text. */
bool id_parse(struct uuid *id, const char *text);

bool id_equal(const struct uuid *a, const struct uuid *b);
bool id_is_zero(const struct uuid *id);

/* < 0, 0 or > 0, by bytes: older public ids come first. For qsort and sorted tables. */
int id_compare(const struct uuid *a, const struct uuid *b);

#endif
