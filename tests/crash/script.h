/* script - what a client asks of the world while the tape runs, and what follows from the answers
 *
 * The script uploads, scores, trains, looks, cancels, deletes, tries a dead letter again and drops
 * another, and starts the gateway once more in between. Facts are what the gateway told others,
 * read off the marks of a tape up to some moment; a later start must know each of them. */
#ifndef CONVOY_TESTS_CRASH_SCRIPT_H
#define CONVOY_TESTS_CRASH_SCRIPT_H

#include "tests/crash/disk.h"
#include "tests/crash/world.h"

/* Run all of it in `root`, which is empty. `brief`: fewer jobs and one life. Returns the number of
 * answers that were not as they should be; at the first of them `text` says which. */
unsigned script_run(const char *root, bool brief, char *text, size_t size);

struct facts;

struct facts *facts_new(void);
void facts_free(struct facts *self);

/* Learn from a mark; other calls say nothing. */
void facts_take(struct facts *self, const struct disk_call *call);

/* How many there are: more facts about the same disk are another case. */
size_t facts_count(const struct facts *self);

/* Start the world in `root` and see whether all facts hold, nothing is there that should not be,
 * repeated requests make no second job, and every job comes to its end with the answers it must
 * have. False: `text` says what is wrong. */
bool facts_hold(const struct facts *self, const char *root, char *text, size_t size);

#endif
