/* strip - one walk over the wire format with a table of the messages that nest; see strip.h */
#include "worker/onnx/strip.h"

#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX    64 /* messages inside messages; a plain model needs 7, each subgraph 3 more */
#define LENGTH_BYTES 5  /* nested lengths are written as varints of fixed width and set later */
#define LENGTH_MAX   ((uint64_t)0x7fffffff) /* protobuf's own limit of a message */
#define VARINT_MAX   10
#define WIRE_VARINT  0
#define WIRE_FIXED64 1
#define WIRE_BYTES   2
#define WIRE_FIXED32 5

enum kind {
    MODEL,
    GRAPH,
    NODE,
    ATTRIBUTE,
    TENSOR,
    SPARSE,
    FUNCTION,
    VALUE_INFO,
    TYPE,
    TYPE_SEQUENCE,
    TYPE_MAP,
    TYPE_OPTIONAL,
    DROP,     /* leave the field out */
    RAW_DATA, /* replace by a reference */
    TYPED,    /* the same when it is long */
    NONE,     /* copy as it is */
};

/* Which fields of which message nest, by the numbers in onnx.proto. */
static const struct edge {
    enum kind parent;
    uint32_t field;
    enum kind child;
} edges[] = {
    {MODEL, 7, GRAPH},         {MODEL, 20, DROP},       {MODEL, 25, FUNCTION},
    {MODEL, 6, DROP},          {GRAPH, 1, NODE},        {GRAPH, 5, TENSOR},
    {GRAPH, 10, DROP},         {GRAPH, 11, VALUE_INFO}, {GRAPH, 12, VALUE_INFO},
    {GRAPH, 13, DROP},         {NODE, 5, ATTRIBUTE},    {NODE, 6, DROP},
    {ATTRIBUTE, 5, TENSOR},    {ATTRIBUTE, 6, GRAPH},   {ATTRIBUTE, 10, TENSOR},
    {ATTRIBUTE, 11, GRAPH},    {ATTRIBUTE, 13, DROP},   {ATTRIBUTE, 14, TYPE},
    {ATTRIBUTE, 15, TYPE},     {GRAPH, 15, SPARSE},     {TENSOR, 9, RAW_DATA},
    {TENSOR, 4, TYPED},        {TENSOR, 10, TYPED},     {ATTRIBUTE, 22, SPARSE},
    {ATTRIBUTE, 23, SPARSE},   {SPARSE, 1, TENSOR},     {SPARSE, 2, TENSOR},
    {TENSOR, 12, DROP},        {FUNCTION, 7, NODE},     {FUNCTION, 8, DROP},
    {FUNCTION, 11, ATTRIBUTE}, {VALUE_INFO, 2, TYPE},   {VALUE_INFO, 3, DROP},
    {TYPE, 4, TYPE_SEQUENCE},  {TYPE, 5, TYPE_MAP},     {TYPE, 9, TYPE_OPTIONAL},
    {TYPE_SEQUENCE, 1, TYPE},  {TYPE_MAP, 2, TYPE},     {TYPE_OPTIONAL, 1, TYPE},
};

struct walk {
    const uint8_t *in;
    size_t at; /* next byte to read */
    uint8_t *out;
    size_t used, room; /* of out */
    struct error *why;
};

static enum kind child_of(enum kind parent, uint64_t field)
{
    for (size_t i = 0; i < ARRAY_LEN(edges); i++)
        if (edges[i].parent == parent && edges[i].field == field)
            return edges[i].child;
    return NONE;
}

static enum status broken(struct walk *w, size_t at, const char *what)
{
    return fail(w->why, STATUS_BAD_MODEL,
                "not a whole ONNX file: at byte %zu %s; fetch or export the model again", at, what);
}

static void put(struct walk *w, const void *bytes, size_t n)
{
    if (w->room - w->used < n) {
        w->room = MAX(w->room * 2, w->used + n);
        w->out = xrealloc(w->out, w->room);
    }
    memcpy(w->out + w->used, bytes, n);
    w->used += n;
}

static enum status varint(struct walk *w, size_t end, uint64_t *value)
{
    size_t start = w->at;
    *value = 0;
    for (unsigned i = 0; i < VARINT_MAX; i++) {
        if (w->at == end)
            return broken(w, start, "a number is cut off");
        uint8_t byte = w->in[w->at++];
        *value |= (uint64_t)(byte & 0x7f) << (7 * i);
        if (!(byte & 0x80))
            return STATUS_OK;
    }
    return broken(w, start, "a number has more than 10 bytes");
}

static void put_length(struct walk *w, size_t at, size_t length)
{
    for (unsigned i = 0; i < LENGTH_BYTES; i++)
        w->out[at + i] = (uint8_t)((length >> (7 * i) & 0x7f) | (i + 1 < LENGTH_BYTES ? 0x80 : 0));
}

/* raw_data that refers to what field `field` has at `offset`. */
static void put_ref(struct walk *w, uint64_t field, size_t offset, size_t length)
{
    uint8_t bytes[2 + STRIP_REF_BYTES] = {STRIP_RAW_DATA << 3 | WIRE_BYTES, STRIP_REF_BYTES};
    struct strip_ref ref = {offset, length, field};
    static_assert(sizeof ref == STRIP_REF_BYTES, "the size that strip.h says");
    memcpy(bytes + 2, &ref, sizeof ref);
    put(w, bytes, sizeof bytes);
}

static enum status message(struct walk *w, enum kind kind, size_t end, unsigned depth);

/* A length-delimited field whose tag, at `start`, has just been read. */
static enum status nested(struct walk *w, enum kind parent, uint64_t field, size_t start,
                          size_t end, unsigned depth)
{
    enum kind child = child_of(parent, field);
    uint64_t length;
    size_t tag_end = w->at;
    enum status s = varint(w, end, &length);
    if (s != STATUS_OK)
        return s;
    if (length > end - w->at || length > LENGTH_MAX)
        return broken(w, start, "a field is longer than what is left");
    size_t stop = w->at + (size_t)length;
    if (child == TYPED)
        child = length > STRIP_TYPED_BYTES ? RAW_DATA : NONE;
    switch (child) {
    case DROP:
        break;
    case NONE:
        put(w, w->in + start, stop - start);
        break;
    case RAW_DATA:
        put_ref(w, field, w->at, (size_t)length);
        break;
    default: {
        static const uint8_t blank[LENGTH_BYTES];
        put(w, w->in + start, tag_end - start);
        size_t hole = w->used;
        put(w, blank, LENGTH_BYTES);
        s = message(w, child, stop, depth + 1);
        if (s == STATUS_OK && w->used - hole - LENGTH_BYTES > LENGTH_MAX)
            s = broken(w, start, "a message is larger than 2 GiB");
        if (s == STATUS_OK)
            put_length(w, hole, w->used - hole - LENGTH_BYTES);
    }
    }
    w->at = stop;
    return s;
}

static enum status message(struct walk *w, enum kind kind, size_t end, unsigned depth)
{
    if (depth > DEPTH_MAX)
        return broken(w, w->at, "messages nest too deeply");
    while (w->at < end) {
        size_t start = w->at;
        uint64_t tag, ignored;
        enum status s = varint(w, end, &tag);
        if (s != STATUS_OK)
            return s;
        if (tag >> 3 == 0 || tag > UINT32_MAX)
            return broken(w, start, "there is no valid field number");
        switch (tag & 7) {
        case WIRE_BYTES:
            s = nested(w, kind, tag >> 3, start, end, depth);
            break;
        case WIRE_VARINT:
            s = varint(w, end, &ignored);
            break;
        case WIRE_FIXED64:
        case WIRE_FIXED32: {
            size_t width = (tag & 7) == WIRE_FIXED64 ? 8 : 4;
            if (end - w->at < width)
                return broken(w, start, "a number is cut off");
            w->at += width;
            break;
        }
        default:
            return broken(w, start, "there is an unknown field type");
        }
        if (s != STATUS_OK)
            return s;
        if ((tag & 7) != WIRE_BYTES)
            put(w, w->in + start, w->at - start);
    }
    return STATUS_OK;
}

enum status onnx_strip(const void *bytes, size_t size, uint8_t **out, size_t *out_size,
                       struct error *why)
{
    struct walk w = {.in = bytes, .room = 4 * KIB, .why = why};
    w.out = xmalloc(w.room);
    enum status s = message(&w, MODEL, size, 0);
    if (s != STATUS_OK) {
        free(w.out);
        return s;
    }
    *out = w.out;
    *out_size = w.used;
    return STATUS_OK;
}

bool strip_ref(const void *raw_data, size_t raw_size, size_t file_size, struct strip_ref *out)
{
    if (raw_size != STRIP_REF_BYTES)
        return false;
    memcpy(out, raw_data, sizeof *out);
    return out->offset <= file_size && out->length <= file_size - out->offset;
}
