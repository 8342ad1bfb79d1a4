/* letters - are there the dead letters that must be there, with their files? */
#ifndef CONVOY_TESTS_CRASH_LETTERS_H
#define CONVOY_TESTS_CRASH_LETTERS_H

#include "tests/crash/verdict.h"
#include "tests/crash/world.h"

#define LETTERS_MAX 16

/* What was told of them. */
struct letter_facts {
    struct letter_fact {
        char id[ID_TEXT_SIZE]; /* without prefix */
        bool asked;            /* it may be gone */
        bool gone;             /* it is */
        bool answered;         /* its answer was sent */
    } all[LETTERS_MAX];
    size_t len; /* used */
};

/* Learn from a request, and from a reply to one. */
void letters_asked(struct letter_facts *self, const char *method, const char *path);
void letters_replied(struct letter_facts *self, const char *method, const char *path,
                     const json_t *body);

/* Every row that is committed and ended runners has one letter unless it was dropped, nothing else
 * has one, each has its files as its record says, there are no other files, and all that was told
 * holds. */
void letters_check(const struct letter_facts *self, struct world *world, struct verdict *verdict);

#endif
