/* learning - are there the training jobs that must be there, with their files and versions? */
#ifndef CONVOY_TESTS_CRASH_LEARNING_H
#define CONVOY_TESTS_CRASH_LEARNING_H

#include "tests/crash/verdict.h"
#include "tests/crash/world.h"

#define LEARNING_MAX 16

/* What was told of them. */
struct learning_facts {
    struct learning_fact {
        char id[ID_TEXT_SIZE]; /* without prefix */
        char key[16];          /* Idempotency-Key */
        char status[16];       /* the last that was shown */
        char version[16];      /* of the model, as shown; "": none yet */
        long step;             /* the last that was shown */
        bool cancel;           /* it may be cancelled */
    } all[LEARNING_MAX];
    size_t len; /* used */
    struct {
        char program[DIGEST_TEXT_SIZE]; /* whose segment */
        long step;                      /* that it came to */
    } acknowledged[LEARNING_MAX * 4];   /* to workers */
    size_t acknowledged_len;            /* used */
    char key[16];                       /* of the last request to make a job */
};

/* Learn from a request, from a reply to one, and from an acknowledgement. */
void learning_asked(struct learning_facts *self, const char *method, const char *path,
                    const char *key);
void learning_replied(struct learning_facts *self, const char *path, const json_t *body);
void learning_acknowledged(struct learning_facts *self, const char *program, long step);

/* The world has come to rest. */
bool learning_over(const struct world *world);

/* Every job that was accepted is there once, with the checkpoint of its record, whole and not older
 * than what was shown or acknowledged; its version is in the repository whole, once, or not at all;
 * and all that was told holds. `over`: learning_over(), so that every job has come to its end, and
 * no file is left that is not needed. */
void learning_check(const struct learning_facts *self, struct world *world, bool over,
                    struct verdict *verdict);

/* A client that heard no answer asks once more for the last job, on the data `file`: it is the
 * same one. */
void learning_again(const struct learning_facts *self, struct world *world, const char *file,
                    struct verdict *verdict);

#endif
