/* op_einsum - Einsum: sums over the indices that the output does not name */
#include <inttypes.h>
#include <string.h>

#include "worker/kernels/par.h"
#include "worker/ops/ops.h"
#include "worker/ops/scalar.h"

#define OPERANDS_MAX 8
#define LABELS_MAX   (52 + TENSOR_RANK_MAX) /* letters, and the axes of an ellipsis */
#define ELLIPSIS     52                     /* first label of those */

/* Labels of one operand's axes; an ellipsis is a mark until ranks are known. */
struct term {
    uint32_t len;
    int8_t labels[TENSOR_RANK_MAX + 1]; /* -1: the ellipsis */
};

struct einsum {
    uint32_t len;
    struct term in[OPERANDS_MAX], out;
    bool has_output;
};

static bool read_term(const char **at, struct term *t)
{
    bool dots = false;
    for (; **at && **at != ',' && strncmp(*at, "->", 2) != 0; (*at)++) {
        char c = **at;
        if (c == ' ')
            continue;
        if (t->len > TENSOR_RANK_MAX)
            return false;
        if (c == '.' && !dots && strncmp(*at, "...", 3) == 0) {
            dots = true;
            *at += 2;
            t->labels[t->len++] = -1;
        } else if (c >= 'A' && c <= 'Z') {
            t->labels[t->len++] = (int8_t)(c - 'A');
        } else if (c >= 'a' && c <= 'z') {
            t->labels[t->len++] = (int8_t)(26 + c - 'a');
        } else {
            return false;
        }
    }
    return true;
}

enum status einsum_check(struct node *node, struct error *why)
{
    struct einsum *e = region_take(node->region, sizeof *e);
    const char *text = attr_text(node, "equation", ""), *at = text;
    bool good = true;
    node->state = e;
    do {
        at += e->len && *at == ',';
        good = e->len < OPERANDS_MAX && read_term(&at, &e->in[e->len]);
        e->len++;
    } while (good && *at == ',');
    e->has_output = good && strncmp(at, "->", 2) == 0;
    if (e->has_output) {
        at += 2;
        good = read_term(&at, &e->out);
    }
    if (!good || *at)
        return bad_node(why, node, "equation \"%.100s\" is not understood", text);
    if (e->len != node->inputs_len)
        return bad_node(why, node, "equation \"%.100s\" has %u operands; the node has %u inputs",
                        text, e->len, node->inputs_len);
    return STATUS_OK;
}

/* Loops: labels of the output in order, then the summed ones; steps of each operand for each. */
struct loops {
    uint32_t kept, all;
    size_t dims[LABELS_MAX];
    size_t steps[OPERANDS_MAX][LABELS_MAX];
    size_t outs, sums;
};

/* What shape() knows while it works: size and use of each label. */
struct labels {
    int64_t size[LABELS_MAX]; /* -1: not used */
    uint32_t uses[LABELS_MAX];
    size_t steps[OPERANDS_MAX][LABELS_MAX];
    uint32_t ellipsis; /* axes */
};

static bool has_ellipsis(const struct term *t)
{
    for (uint32_t i = 0; i < t->len; i++)
        if (t->labels[i] < 0)
            return true;
    return false;
}

static uint32_t ellipsis_of(const struct term *t, uint32_t rank)
{
    return has_ellipsis(t) && rank + 1 > t->len ? rank + 1 - t->len : 0;
}

/* Label of axis `k` of an operand whose ellipsis stands for `own` axes. */
static uint32_t label_at(const struct term *t, uint32_t k, uint32_t own, uint32_t ellipsis)
{
    for (uint32_t i = 0; i < t->len; i++) {
        uint32_t width = t->labels[i] < 0 ? own : 1;
        if (k < width)
            return t->labels[i] < 0 ? ELLIPSIS + ellipsis - own + k : (uint32_t)t->labels[i];
        k -= width;
    }
    return 0;
}

static enum status read_operand(const struct step *step, uint32_t i, struct labels *l,
                                struct error *why)
{
    const struct einsum *e = step->node->state;
    const struct term *t = &e->in[i];
    const struct array *x = step->in[i];
    uint32_t own = ellipsis_of(t, x->rank);
    for (uint32_t k = 0; k < x->rank; k++) {
        uint32_t label = label_at(t, k, own, l->ellipsis);
        int64_t *size = &l->size[label];
        if (*size >= 0 && *size != x->dims[k] && *size != 1 && x->dims[k] != 1)
            return bad_step(why, step,
                            "axis %u of input %u has size %" PRId64 "; expected %" PRId64, k, i,
                            x->dims[k], *size);
        *size = *size < 0 || *size == 1 ? x->dims[k] : *size;
        l->steps[i][label] += x->dims[k] == 1 ? 0 : dims_span(x, k + 1, x->rank);
        l->uses[label]++;
    }
    return STATUS_OK;
}

static void take_label(struct loops *p, const struct labels *l, uint32_t operands, uint32_t label)
{
    p->dims[p->all] = (size_t)l->size[label];
    for (uint32_t i = 0; i < operands; i++)
        p->steps[i][p->all] = l->steps[i][label];
    p->all++;
}

/* The output's labels: as written, or the ellipsis and then, in order, those used once. */
static enum status order_labels(const struct step *step, const struct labels *l, struct loops *p,
                                int64_t *dims, struct error *why)
{
    const struct einsum *e = step->node->state;
    bool kept[LABELS_MAX] = {false};
    for (uint32_t k = 0; !e->has_output && k < l->ellipsis; k++)
        kept[ELLIPSIS + k] = true;
    for (uint32_t k = 0; !e->has_output && k < ELLIPSIS; k++)
        kept[k] = l->uses[k] == 1;
    uint32_t rank = has_ellipsis(&e->out) ? e->out.len - 1 + l->ellipsis : e->out.len;
    if (e->has_output) {
        for (uint32_t k = 0; k < rank; k++) {
            uint32_t label = label_at(&e->out, k, l->ellipsis, l->ellipsis);
            if (l->size[label] < 0 || kept[label] || p->all == TENSOR_RANK_MAX)
                return bad_step(why, step, "axis %u of the output is unknown or named twice", k);
            kept[label] = true;
            take_label(p, l, e->len, label);
        }
    } else {
        for (uint32_t i = 0; i < LABELS_MAX; i++) {
            uint32_t label = (i + ELLIPSIS) % LABELS_MAX; /* the ellipsis first */
            if (kept[label] && p->all == TENSOR_RANK_MAX)
                return bad_step(why, step, "the output has more than %d axes", TENSOR_RANK_MAX);
            if (kept[label])
                take_label(p, l, e->len, label);
        }
    }
    p->kept = p->all;
    p->outs = p->sums = 1;
    for (uint32_t k = 0; k < p->kept; k++) {
        dims[k] = (int64_t)p->dims[k];
        p->outs *= p->dims[k];
    }
    for (uint32_t label = 0; label < LABELS_MAX; label++)
        if (l->size[label] >= 0 && !kept[label]) {
            if (__builtin_mul_overflow(p->sums, (size_t)l->size[label], &p->sums))
                return bad_step(why, step, "the sums are too large");
            take_label(p, l, e->len, label);
        }
    return STATUS_OK;
}

enum status einsum_shape(struct step *step, struct error *why)
{
    const struct einsum *e = step->node->state;
    struct loops *p = region_take(step->region, sizeof *p);
    struct labels *l = region_take(step->region, sizeof *l);
    int64_t dims[TENSOR_RANK_MAX];
    enum dtype t = step->in[0]->dtype;
    for (uint32_t i = 0; i < LABELS_MAX; i++)
        l->size[i] = -1;
    for (uint32_t i = 0; i < e->len; i++) {
        const struct array *x = step->in[i];
        uint32_t own = ellipsis_of(&e->in[i], x->rank);
        if (x->dtype != t || (!dtype_is_float(t) && !dtype_is_integer(t)))
            return bad_step(why, step, "inputs are %s and %s; expected one type of numbers",
                            dtype_name(t), dtype_name(x->dtype));
        bool open = has_ellipsis(&e->in[i]);
        if (open ? e->in[i].len > x->rank + 1 : e->in[i].len != x->rank)
            return bad_step(why, step, "input %u has rank %u; the equation names %u axes", i,
                            x->rank, e->in[i].len);
        l->ellipsis = MAX(l->ellipsis, own);
    }
    for (uint32_t i = 0; i < e->len; i++) {
        enum status s = read_operand(step, i, l, why);
        if (s != STATUS_OK)
            return s;
    }
    enum status s = order_labels(step, l, p, dims, why);
    step->params = p;
    return s == STATUS_OK ? out_set(step, 0, t, dims, p->kept, why) : s;
}

/* Offsets of all operands at turn `i` of loops from..to-1. */
static void offsets_at(const struct loops *p, uint32_t operands, uint32_t from, uint32_t to,
                       size_t i, size_t *at)
{
    for (uint32_t k = to; k-- > from; i /= p->dims[k])
        for (uint32_t o = 0; o < operands; o++)
            at[o] += i % p->dims[k] * p->steps[o][k];
}

static void einsum_items(void *arg, size_t slot, size_t begin, size_t end)
{
    const struct step *step = arg;
    const struct loops *p = step->params;
    const struct array *out = step->out[0];
    uint32_t operands = ((const struct einsum *)step->node->state)->len;
    bool is_float = dtype_is_float(out->dtype);
    (void)slot;
    for (size_t i = begin; i < end; i++) {
        size_t base[OPERANDS_MAX] = {0};
        double sum = 0;
        uint64_t whole = 0;
        offsets_at(p, operands, 0, p->kept, i, base);
        for (size_t k = 0; k < p->sums; k++) {
            size_t at[OPERANDS_MAX];
            double product = 1;
            uint64_t whole_product = 1;
            memcpy(at, base, sizeof at);
            offsets_at(p, operands, p->kept, p->all, k, at);
            for (uint32_t o = 0; o < operands; o++)
                if (is_float)
                    product *= scalar_float(out->dtype, step->in[o]->data, at[o]);
                else
                    whole_product *= (uint64_t)scalar_int(out->dtype, step->in[o]->data, at[o]);
            sum += product;
            whole += whole_product;
        }
        if (is_float)
            scalar_set_float(out->dtype, out->data, i, sum);
        else
            scalar_set_int(out->dtype, out->data, i, (int64_t)whole);
    }
}

enum status einsum_compute(const struct step *step, struct error *why)
{
    (void)why;
    const struct loops *p = step->params;
    par_for(p->outs, (double)p->outs * (double)p->sums * 16, einsum_items, (void *)(uintptr_t)step);
    return STATUS_OK;
}
