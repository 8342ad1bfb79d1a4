/* text - see text.h */
#include "worker/ops/text.h"

#include <string.h>

#include "worker/ops/op.h"
#include "worker/ops/slab.h"

size_t element_bytes(enum dtype dtype)
{
    return dtype == DTYPE_BYTES ? sizeof(struct text) : dtype_bytes(dtype);
}

bool text_same(struct text a, struct text b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.at, b.at, a.len) == 0);
}

int text_compare(struct text a, struct text b)
{
    size_t both = MIN(a.len, b.len);
    int c = both ? memcmp(a.at, b.at, both) : 0;
    return c ? c : (a.len > b.len) - (a.len < b.len);
}

static enum status no_room(const char *name, size_t bytes, struct error *why)
{
    return fail(why, STATUS_TOO_LARGE, "the texts of \"%.200s\" take %zu bytes more than a run may",
                name, bytes);
}

enum status text_take(const struct step *step, size_t bytes, char **into, struct error *why)
{
    struct run *run = step->run;
    assert(step->texts && run);
    *into = bytes <= TEXTS_BYTES_MAX - run->texts ? slab_take(run->slab, bytes) : NULL;
    run->texts += *into ? bytes : 0;
    return *into ? STATUS_OK : no_room(step->node->name, bytes, why);
}

enum status texts_read(struct slab *slab, const struct tensor *t, struct array *a,
                       struct error *why)
{
    const char *at = t->data;
    size_t left = t->bytes, count;
    if (!array_size(DTYPE_BYTES, t->dims, t->rank, &a->bytes))
        return no_room(t->name, SIZE_MAX, why);
    count = a->bytes / sizeof(struct text);
    struct text *texts = slab_take(slab, a->bytes);
    if (!texts)
        return no_room(t->name, a->bytes, why);
    for (size_t i = 0; i < count; i++) {
        uint32_t len = 0;
        if (left >= sizeof len)
            memcpy(&len, at, sizeof len);
        if (left < sizeof len || len > left - sizeof len)
            return fail(why, STATUS_INVALID, "input \"%.200s\": text %zu of %zu is cut off",
                        t->name, i, count);
        texts[i] = (struct text){at + sizeof len, len};
        at += sizeof len + len;
        left -= sizeof len + len;
    }
    if (left)
        return fail(why, STATUS_INVALID,
                    "input \"%.200s\": %zu bytes are left behind its %zu texts", t->name, left,
                    count);
    a->data = texts;
    return STATUS_OK;
}

enum status texts_write(struct slab *slab, const struct array *a, struct tensor *t,
                        struct error *why)
{
    const struct text *texts = a->data;
    size_t count = array_count(a), bytes = 0;
    for (size_t i = 0; i < count; i++) {
        if (texts[i].len > UINT32_MAX || bytes > ARRAY_BYTES_MAX)
            return no_room(a->name, bytes, why);
        bytes += sizeof(uint32_t) + texts[i].len;
    }
    char *to = slab_take(slab, bytes);
    if (!to)
        return no_room(a->name, bytes, why);
    t->data = to;
    t->bytes = bytes;
    for (size_t i = 0; i < count; i++) {
        uint32_t len = (uint32_t)texts[i].len;
        memcpy(to, &len, sizeof len);
        if (len)
            memcpy(to + sizeof len, texts[i].at, len);
        to += sizeof len + len;
    }
    return STATUS_OK;
}
