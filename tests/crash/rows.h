/* rows - the data that the script sends and the answers that must come back */
#ifndef CONVOY_TESTS_CRASH_ROWS_H
#define CONVOY_TESTS_CRASH_ROWS_H

#include "common/base.h"

#include <jansson.h>

#define ROWS_ARRAY        20 /* rows of the .npy file, all good */
#define ROWS_LINES        12 /* of the JSON Lines file */
#define ROWS_DEADLY       9  /* the last number of a row that ends the runners of jobs */
#define ROWS_ARRAY_DEADLY 13 /* which row that is */
#define ROWS_LINES_DEADLY 7

/* Row k is {k, k + 1, 0, 0}, and its answer {3 k, -k}; but the deadly one ends with ROWS_DEADLY.
 * Rows 1, 5 and 10 of the lines are bad. */
size_t rows_array(uint8_t *into);
size_t rows_lines(char *into);

/* The request for a job. `file` is the id of its input. */
void rows_job(char into[static 512], const char *file, const char *format, int chunk_rows);

/* "completed", "failed", "cancelled" or "expired". */
bool rows_ended(const char *status);

/* Are the two files of a job what they must be? `lines`: its input were the lines. `some`: it was
 * cancelled, so that rows may also be missing, each named once among the errors. False: `text`
 * says what is wrong. */
struct rows_files {
    const char *output, *errors; /* paths */
    bool npy;                    /* format of the output */
    bool lines, some;            /* see above */
    long completed, failed;      /* as recorded */
};
bool rows_right(const struct rows_files *files, char *text, size_t size);

#endif
