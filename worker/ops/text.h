/* text - elements of type BYTES while a model runs
 *
 * An array of texts holds a struct text per element, so that whatever moves elements moves texts.
 * Their octets belong to the model's region (constants), to the caller (inputs) or to the run's
 * slab (what a node makes): they stay until the model's next run. Operators that take texts say so
 * in ops.def (OP_TEXTS); all others are refused them. */
#ifndef CONVOY_WORKER_OPS_TEXT_H
#define CONVOY_WORKER_OPS_TEXT_H

#include "common/status.h"
#include "common/tensor.h"

struct text {
    const char *at; /* no NUL behind it */
    size_t len;
};

struct array;
struct slab;
struct step;

/* Bytes of one element in an array; 0 for unknown types. */
size_t element_bytes(enum dtype dtype);

bool text_same(struct text a, struct text b);

/* By octets: negative, 0 or positive as a comes before b, is the same, or comes behind. */
int text_compare(struct text a, struct text b);

#define TEXTS_BYTES_MAX (512 * MIB) /* of octets that the nodes of one run make */

/* In run(): room for the octets of texts that this node makes, until the next run. TOO_LARGE beyond
 * TEXTS_BYTES_MAX. A node that calls this has set step->texts in shape(). */
enum status text_take(const struct step *step, size_t bytes, char **into, struct error *why);

/* `t` in the form of the wire (for each element a u32 length, then its octets) as an array's data
 * in the slab; its texts point into t->data. INVALID when lengths and dims do not fit the bytes. */
enum status texts_read(struct slab *slab, const struct tensor *t, struct array *a,
                       struct error *why);

/* The other way: t->data and t->bytes, in the slab. */
enum status texts_write(struct slab *slab, const struct array *a, struct tensor *t,
                        struct error *why);

#endif
