/* op_text - StringNormalizer, StringConcat, StringSplit */
#include <locale.h>
#include <string.h>
#include <wctype.h>

#include "worker/ops/broadcast.h"
#include "worker/ops/late.h"
#include "worker/ops/ops.h"

struct normalizer {
    int change; /* of case: -1 lower, 0 none, 1 upper */
    bool sensitive;
    const char *const *stops;
    size_t stops_len;
    locale_t locale; /* knows the case of all letters; freed with the node */
};

static void normalizer_free(void *packed)
{
    struct normalizer *p = packed;
    if (p->locale)
        freelocale(p->locale);
}

enum status normalizer_check(struct node *node, struct error *why)
{
    struct normalizer *p = region_take(node->region, sizeof *p);
    const char *change = attr_text(node, "case_change_action", "NONE");
    node->state = node->packed = p;
    node->unpack = normalizer_free;
    p->sensitive = attr_int(node, "is_case_sensitive", 0) != 0;
    p->stops = attr_texts(node, "stopwords", &p->stops_len);
    p->locale = newlocale(LC_CTYPE_MASK, "C.UTF-8", NULL);
    attr_ignore(node, "locale"); /* only Turkish and the like differ */
    if (strcmp(change, "LOWER") == 0)
        p->change = -1;
    else if (strcmp(change, "UPPER") == 0)
        p->change = 1;
    else if (strcmp(change, "NONE") != 0)
        return bad_node(why, node, "case_change_action \"%.40s\"; expected NONE, LOWER or UPPER",
                        change);
    return STATUS_OK;
}

enum status normalizer_shape(struct step *step, struct error *why)
{
    const struct array *x = step->in[0];
    bool fits = x->rank == 1 || (x->rank == 2 && x->dims[0] == 1);
    char text[128];
    if (x->dtype != DTYPE_BYTES || !fits)
        return bad_step(why, step, "the input is %s %s; expected BYTES of [C] or [1,C]",
                        dtype_name(x->dtype), dims_text(text, sizeof text, x->dims, x->rank));
    step->late = step->texts = true;
    return STATUS_OK;
}

/* One sign of UTF-8 at `at`; 0 where there is none that is whole. Returns its octets. */
static size_t read_sign(const char *at, size_t left, uint32_t *sign)
{
    const unsigned char *u = (const unsigned char *)at;
    size_t n = u[0] < 0x80 ? 1 : u[0] >= 0xf0 ? 4 : u[0] >= 0xe0 ? 3 : u[0] >= 0xc2 ? 2 : 0;
    if (n == 0 || n > left || u[0] > 0xf4)
        return 0;
    *sign = n == 1 ? u[0] : u[0] & (0xffu >> (n + 1));
    for (size_t i = 1; i < n; i++) {
        if ((u[i] & 0xc0) != 0x80)
            return 0;
        *sign = *sign << 6 | (u[i] & 0x3f);
    }
    return n;
}

static size_t write_sign(char *to, uint32_t sign)
{
    size_t n = sign < 0x80 ? 1 : sign < 0x800 ? 2 : sign < 0x10000 ? 3 : 4;
    static const unsigned char first[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = n; i-- > 1; sign >>= 6)
        to[i] = (char)(0x80 | (sign & 0x3f));
    to[0] = (char)(first[n] | sign);
    return n;
}

/* `to` has room for 2 octets for each of `from`; octets that are no UTF-8 stay as they are. */
static struct text change_case(const struct normalizer *p, struct text from, int change, char *to)
{
    struct text made = {to, 0};
    for (size_t i = 0; i < from.len;) {
        uint32_t sign = 0;
        size_t n = read_sign(from.at + i, from.len - i, &sign);
        if (n == 0) {
            to[made.len++] = from.at[i++];
            continue;
        }
        if (change && p->locale)
            sign = (uint32_t)(change < 0 ? towlower_l((wint_t)sign, p->locale)
                                         : towupper_l((wint_t)sign, p->locale));
        made.len += write_sign(to + made.len, sign);
        i += n;
    }
    return made;
}

static bool is_stop(const struct normalizer *p, struct text text)
{
    for (size_t i = 0; i < p->stops_len; i++)
        if (text_same(text, (struct text){p->stops[i], strlen(p->stops[i])}))
            return true;
    return false;
}

/* Stop words are compared as both are spelt, or else without regard to case. */
static bool stopped(const struct normalizer *p, struct text text, char *room)
{
    if (p->sensitive)
        return is_stop(p, text);
    struct text plain = change_case(p, text, -1, room);
    char *stop_room = room + plain.len;
    for (size_t i = 0; i < p->stops_len; i++) {
        struct text stop = {p->stops[i], strlen(p->stops[i])};
        if (stop.len <= 2 * plain.len + 2 && text_same(plain, change_case(p, stop, -1, stop_room)))
            return true;
    }
    return false;
}

enum status normalizer_compute(const struct step *step, struct error *why)
{
    const struct normalizer *p = step->node->state;
    const struct array *x = step->in[0];
    size_t n = array_count(x), kept = 0, octets = 0, longest = 0;
    const struct text *from = x->data;
    char *room;
    for (size_t i = 0; i < n; i++) {
        octets += from[i].len;
        longest = MAX(longest, from[i].len);
    }
    /* Each text changed, and behind them a text and a stop word to compare with it. */
    enum status s = text_take(step, 2 * octets + 12 * longest + 64, &room, why);
    char *spare = room + 2 * octets;
    for (size_t i = 0; i < n && s == STATUS_OK; i++)
        kept += !stopped(p, from[i], spare);
    int64_t dims[2] = {1, (int64_t)MAX(kept, 1)};
    if (s == STATUS_OK)
        s = out_make(step, 0, DTYPE_BYTES, x->rank == 2 ? dims : dims + 1, x->rank, why);
    if (s != STATUS_OK || !step_out(step, 0))
        return s;
    struct text *to = step->out[0]->data;
    to[0] = (struct text){room, 0}; /* what remains of nothing */
    for (size_t i = 0, k = 0; i < n; i++)
        if (!stopped(p, from[i], spare)) {
            to[k] = change_case(p, from[i], p->change, room);
            room += to[k++].len;
        }
    return STATUS_OK;
}

enum status text_join_shape(struct step *step, struct error *why)
{
    int64_t dims[TENSOR_RANK_MAX];
    uint32_t rank;
    if (step->in[0]->dtype != DTYPE_BYTES || step->in[1]->dtype != DTYPE_BYTES)
        return bad_step(why, step, "inputs are %s and %s; expected BYTES",
                        dtype_name(step->in[0]->dtype), dtype_name(step->in[1]->dtype));
    enum status s = broadcast_dims(step, step->in, 2, dims, &rank, why);
    step->texts = true;
    return s == STATUS_OK ? out_set(step, 0, DTYPE_BYTES, dims, rank, why) : s;
}

enum status text_join_compute(const struct step *step, struct error *why)
{
    const struct text *x = step->in[0]->data, *y = step->in[1]->data;
    struct text *to = step->out[0]->data;
    size_t at[BROADCAST_MAX], n = array_count(step->out[0]), octets = 0;
    struct broadcast b;
    char *room;
    broadcast_step(&b, step);
    for (size_t i = 0; i < n && octets <= ARRAY_BYTES_MAX; i++) {
        broadcast_element(&b, i, at);
        octets += x[at[0]].len + y[at[1]].len;
    }
    if (octets > ARRAY_BYTES_MAX)
        return bad_step(why, step, "its texts are larger than %zu MiB", ARRAY_BYTES_MAX / MIB);
    enum status s = text_take(step, octets, &room, why);
    for (size_t i = 0; i < n && s == STATUS_OK; i++) {
        broadcast_element(&b, i, at);
        struct text p = x[at[0]], q = y[at[1]];
        if (p.len)
            memcpy(room, p.at, p.len);
        if (q.len)
            memcpy(room + p.len, q.at, q.len);
        to[i] = (struct text){room, p.len + q.len};
        room += p.len + q.len;
    }
    return s;
}

struct splitter {
    struct text delimiter; /* empty: runs of white space */
    int64_t cuts_max;      /* -1: no limit */
};

enum status text_split_check(struct node *node, struct error *why)
{
    struct splitter *p = region_take(node->region, sizeof *p);
    (void)why;
    p->delimiter.at = attr_text(node, "delimiter", "");
    p->delimiter.len = strlen(p->delimiter.at);
    p->cuts_max = attr_int(node, "maxsplit", -1);
    node->state = p;
    return STATUS_OK;
}

enum status text_split_shape(struct step *step, struct error *why)
{
    const struct array *x = step->in[0];
    if (x->dtype != DTYPE_BYTES || x->rank >= TENSOR_RANK_MAX)
        return bad_step(why, step, "the input is %s of rank %u; expected BYTES of rank 0 to %d",
                        dtype_name(x->dtype), x->rank, TENSOR_RANK_MAX - 1);
    step->late = true; /* its texts are parts of the input's */
    return STATUS_OK;
}

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Where the delimiter is next, or the end; *len is its length there. */
static size_t find_cut(const struct splitter *p, struct text rest, size_t *len)
{
    size_t at = 0;
    *len = 0;
    for (; at < rest.len; at++) {
        if (p->delimiter.len == 0 && is_space(rest.at[at])) {
            while (at + *len < rest.len && is_space(rest.at[at + *len]))
                ++*len;
            return at;
        }
        if (p->delimiter.len && p->delimiter.len <= rest.len - at &&
            memcmp(rest.at + at, p->delimiter.at, p->delimiter.len) == 0) {
            *len = p->delimiter.len;
            return at;
        }
    }
    return at;
}

/* Parts of one text into `to` (NULL: only count them). */
static size_t split_one(const struct splitter *p, struct text text, struct text *to)
{
    size_t parts = 0, gap;
    bool spaces = p->delimiter.len == 0;
    while (spaces && text.len && is_space(text.at[0]))
        text = (struct text){text.at + 1, text.len - 1};
    while (text.len || (!spaces && parts == 0)) {
        bool last = p->cuts_max >= 0 && parts >= (size_t)p->cuts_max;
        size_t len = find_cut(p, text, &gap);
        if (last) {
            len = text.len;
            gap = 0;
        }
        if (to)
            to[parts] = (struct text){text.at, len};
        parts++;
        text.at += len + gap;
        text.len -= len + gap;
        if (gap && !text.len && !spaces) { /* a delimiter at the end: an empty part behind it */
            if (to)
                to[parts] = text;
            parts++;
        }
        if (!gap)
            break;
    }
    return parts;
}

enum status text_split_compute(const struct step *step, struct error *why)
{
    const struct splitter *p = step->node->state;
    const struct array *x = step->in[0];
    const struct text *from = x->data;
    size_t n = array_count(x), most = 0;
    int64_t dims[TENSOR_RANK_MAX];
    for (size_t i = 0; i < n; i++)
        most = MAX(most, split_one(p, from[i], NULL));
    memcpy(dims, x->dims, sizeof dims);
    enum status s = out_make(step, 1, DTYPE_INT64, x->dims, x->rank, why);
    dims[x->rank] = (int64_t)most;
    if (s == STATUS_OK)
        s = out_make(step, 0, DTYPE_BYTES, dims, x->rank + 1, why);
    for (size_t i = 0; i < n && s == STATUS_OK; i++) {
        struct text *to = step_out(step, 0) ? step->out[0]->data : NULL;
        size_t parts = split_one(p, from[i], to ? to + i * most : NULL);
        if (step_out(step, 1))
            ((int64_t *)step->out[1]->data)[i] = (int64_t)parts;
        for (size_t k = parts; to && k < most; k++)
            to[i * most + k] = (struct text){"", 0};
    }
    return s;
}
