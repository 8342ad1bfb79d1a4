/* late - see late.h */
#include "worker/ops/late.h"

#include <string.h>

#include "worker/ops/slab.h"

static enum status too_much(struct error *why, const char *name, size_t bytes)
{
    return fail(why, STATUS_TOO_LARGE,
                "\"%.200s\" needs %zu bytes more; what this run computes with sizes that depend on "
                "the data may take %zu MiB",
                name, bytes, LATE_BYTES_MAX / MIB);
}

/* Memory for a value that is described already. */
static enum status take(struct slab *slab, struct array *a, size_t bytes, struct error *why)
{
    assert(!a->held);
    a->data = slab_take(slab, bytes);
    a->held = a->data != NULL;
    return a->held ? STATUS_OK : too_much(why, a->name, bytes);
}

enum status item_make(const struct step *step, struct array *item, enum dtype dtype,
                      const int64_t *dims, uint32_t rank, struct error *why)
{
    assert(step->late && step->run);
    enum status s = out_describe(step, item, dtype, dims, rank, why);
    item->sequence = false;
    return s == STATUS_OK ? take(step->run->slab, item, item->bytes, why) : s;
}

enum status out_make(const struct step *step, uint32_t i, enum dtype dtype, const int64_t *dims,
                     uint32_t rank, struct error *why)
{
    struct array *o = step_out(step, i);
    return o ? item_make(step, o, dtype, dims, rank, why) : STATUS_OK;
}

enum status out_sequence(const struct step *step, uint32_t i, enum dtype dtype, size_t len,
                         struct array **items, struct error *why)
{
    struct array *o = step_out(step, i);
    *items = NULL;
    if (!o)
        return STATUS_OK;
    assert(step->late && step->run);
    if (len > SEQUENCE_LEN_MAX)
        return bad_step(why, step, "a sequence of %zu tensors; at most %d are supported", len,
                        SEQUENCE_LEN_MAX);
    size_t bytes = sizeof(struct sequence) + len * sizeof(struct array);
    enum status s = take(step->run->slab, o, bytes, why);
    if (s != STATUS_OK)
        return s;
    struct sequence *q = o->data;
    memset(q, 0, bytes);
    q->len = len;
    for (size_t k = 0; k < len; k++)
        q->items[k].name = o->name;
    o->dtype = dtype;
    o->layout = LAYOUT_PLAIN;
    o->rank = 0;
    o->bytes = 0;
    o->sequence = true;
    *items = q->items;
    return STATUS_OK;
}

const struct sequence *sequence_of(const struct array *a)
{
    assert(a->sequence);
    return a->data;
}

enum status value_share(struct slab *slab, struct array *to, const struct array *from,
                        struct error *why)
{
    const char *name = to->name;
    assert(!to->held && from->layout == LAYOUT_PLAIN);
    *to = *from;
    to->name = name;
    to->known = to->fixed = false;
    if (from->held || from->sequence) { /* a sequence is always some array's piece */
        slab_hold(from->data);
        to->held = true;
        return STATUS_OK;
    }
    to->held = false;
    enum status s = take(slab, to, from->bytes, why);
    if (s == STATUS_OK && from->bytes)
        memcpy(to->data, from->data, from->bytes);
    return s;
}

enum status out_share(const struct step *step, uint32_t i, const struct array *from,
                      struct error *why)
{
    struct array *o = step_out(step, i);
    assert(step->late && step->run);
    return o ? value_share(step->run->slab, o, from, why) : STATUS_OK;
}

void value_drop(struct slab *slab, struct array *a)
{
    if (!a->held)
        return;
    if (a->sequence && slab_last(a->data)) {
        struct sequence *q = a->data;
        for (size_t k = 0; k < q->len; k++)
            value_drop(slab, &q->items[k]);
    }
    slab_release(slab, a->data);
    a->held = false;
    a->data = NULL;
}
