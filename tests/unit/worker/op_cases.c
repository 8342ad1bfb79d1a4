/* op_cases - see op_cases.h */
#include "tests/unit/worker/op_cases.h"

#include <stdlib.h>
#include <string.h>

#include "common/file.h"
#include "common/npy.h"

#define FILE_MAX ((size_t)16 << 20)

struct cursor {
    const uint8_t *at, *end;
};

static uint32_t number(struct cursor *c)
{
    uint32_t n;
    if (c->end - c->at < 4)
        panic("a case is cut off");
    memcpy(&n, c->at, 4);
    c->at += 4;
    return n;
}

static const uint8_t *blob(struct cursor *c, size_t *size)
{
    *size = number(c);
    const uint8_t *bytes = c->at;
    if ((size_t)(c->end - c->at) < *size)
        panic("a case is cut off");
    c->at += *size;
    return bytes;
}

static struct tensor array(struct cursor *c)
{
    struct npy npy;
    struct error why;
    struct tensor t = {0};
    size_t size;
    const uint8_t *bytes = blob(c, &size);
    if (npy_over(&npy, bytes, size, &why) != STATUS_OK)
        panic("case: %s", why.text);
    t.dtype = npy.dtype;
    t.rank = npy.rank;
    memcpy(t.dims, npy.dims, sizeof t.dims);
    t.bytes = (size_t)npy.data_bytes;
    t.data = xaligned(t.bytes);
    memcpy(t.data, npy.data, t.bytes);
    return t;
}

static struct op_case read_case(struct cursor *c)
{
    struct op_case k = {0};
    size_t size;
    const uint8_t *name = blob(c, &size);
    k.name = xcalloc(size + 1, 1);
    memcpy(k.name, name, size);
    k.model = blob(c, &k.model_size);
    k.inputs_len = number(c);
    k.outputs_len = number(c);
    if (k.inputs_len > CASE_VALUES_MAX || k.outputs_len > CASE_VALUES_MAX)
        panic("case \"%s\" has too many values", k.name);
    for (uint32_t i = 0; i < k.inputs_len; i++)
        k.inputs[i] = array(c);
    for (uint32_t i = 0; i < k.outputs_len; i++)
        k.outputs[i] = array(c);
    return k;
}

struct op_cases *op_cases_read(const char *path)
{
    struct op_cases *self = xcalloc(1, sizeof *self);
    struct error why;
    size_t size;
    char *bytes;
    if (file_read(&bytes, &size, path, FILE_MAX, &why) != STATUS_OK)
        panic("%s", why.text);
    self->bytes = (uint8_t *)bytes;
    struct cursor c = {self->bytes, self->bytes + size};
    while (c.at < c.end) {
        self->list = xrealloc(self->list, (self->len + 1) * sizeof *self->list);
        self->list[self->len++] = read_case(&c);
    }
    return self;
}

void op_cases_free(struct op_cases **self_p)
{
    struct op_cases *self = *self_p;
    if (!self)
        return;
    for (size_t i = 0; i < self->len; i++) {
        free(self->list[i].name);
        for (uint32_t k = 0; k < CASE_VALUES_MAX; k++) {
            free(self->list[i].inputs[k].data);
            free(self->list[i].outputs[k].data);
        }
    }
    free(self->list);
    free(self->bytes);
    free(self);
    *self_p = NULL;
}
