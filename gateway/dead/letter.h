/* letter - what ended two runners, why, and its input as a request that can be sent again
 *
 * The input is a file DATA/dead/<id>: the body of an inference request in binary form, a JSON part
 * and the tensors' octets behind it. A letter is made on the front thread, written by the pool, and
 * belongs to one thread at a time. */
#ifndef CONVOY_GATEWAY_DEAD_LETTER_H
#define CONVOY_GATEWAY_DEAD_LETTER_H

#include "common/tensor.h"
#include "gateway/bytes.h"
#include "gateway/ledger/record.h"

/* What there is to say of it; texts may be NULL. */
struct letter_about {
    const char *tenant;          /* who was charged */
    const char *model, *version; /* what was to compute it */
    struct digest model_id;      /* that version's id */
    struct uuid batch;           /* the job; zero: an online request */
    int64_t row;           /* of the data set or request, from 0; -1: not known, or all of it */
    const char *custom_id; /* the client's name of the row */
    const char *request;   /* X-Request-Id of an online request */
    const char *cause;     /* one sentence */
    struct uuid worker;    /* where it ended a runner last; zero: not known */
    uint32_t attempts;     /* times that a worker began to compute it */
    const struct tensor *inputs; /* of the row, or of the request whose row is not known */
    size_t inputs_len;           /* how many */
    struct bytes *owner;         /* what their data points into; one reference more is taken */
};

struct letter {
    struct ledger_dead record; /* for the ledger */
    char *path;                /* of the file that takes the input */
    uint64_t bytes_max;        /* a larger input is not kept */
    char *head;                /* JSON part of the input */
    const void **pieces;       /* the tensors' octets */
    size_t *sizes, pieces_len; /* theirs, and how many */
    struct bytes *owner;       /* of the pieces; until it is written */
    struct letter *next;       /* of the same chunk */
};

/* `folder` takes the input. */
struct letter *letter_new(const char *folder, uint64_t bytes_max, const struct letter_about *about);
void letter_free(struct letter **self_p);

/* The input will not be kept, and why. */
void letter_without(struct letter *self, const char *why);

/* Put the input on the disk; what cannot be written is left out, and the record says why. Only the
 * first call does anything. Any thread. */
void letter_write(struct letter *self);

/* A file as it was written, `bytes` octets with this digest; one NUL follows them. NOT_FOUND: it is
 * not there any more; IO: it is not as it was. Any thread. */
enum status letter_read(struct bytes **out, const char *path, int64_t bytes,
                        const struct digest *sha256, struct error *why);

#endif
