/* toy - the training jobs that the script asks for, and what the one worker makes of them
 *
 * A job has TOY_STEPS segments of one step each. Checkpoints and model are text that names the
 * training program and the step, over and over: so of any octets it can be said whether they are
 * whole, and whose. */
#ifndef CONVOY_TESTS_CRASH_TOY_H
#define CONVOY_TESTS_CRASH_TOY_H

#include "common/base.h"

#include <jansson.h>

#define TOY_STEPS 3
#define TOY_MODEL "net" /* what all jobs train */

/* The request for the job of this Idempotency-Key; a key that ends in 1 goes on with the model that
 * is there. `file` is the id of its data. */
void toy_job(char into[static 512], const char *key, const char *file);

/* What there is behind a step of the program with this id, in hexadecimal digits: a checkpoint, and
 * behind the last one the model. free() it; it ends with a NUL that is not part of it. */
char *toy_octets(const char *program, long step);

/* The step that these octets are behind; -1: they are not whole, or another program's. */
long toy_step(const char *program, const void *octets, size_t size);

/* The worker's report of the segment that came to this step. */
json_t *toy_report(long step);

#endif
