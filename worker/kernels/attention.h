/* attention - softmax(scale Q K^T + mask) V for every head of every row of a batch
 *
 * q is [batch][heads][queries][size], k is [batch][kv_heads][keys][size], v and out accordingly
 * with value_size; each lies as its steps say, columns adjacent. heads is a multiple of kv_heads:
 * head h uses kv head h / (heads / kv_heads). Scores are s(i, j) = cap(scale sum over c of q(i, c)
 * k(j, c)) + bias(i, j), cap(x) = softcap tanh(x / softcap), and -inf where the mask is closed. A
 * query all of whose keys are closed (bias -inf counts) gives zeros. Sums run in an order fixed by
 * size and keys alone: neither batch, heads nor threads change a byte. Any sizes including 0. Never
 * allocates, never fails. Buffers do not overlap. */
#ifndef CONVOY_WORKER_KERNELS_ATTENTION_H
#define CONVOY_WORKER_KERNELS_ATTENTION_H

#include "common/base.h"

/* Elements from one batch row, head and query (or key) to the next. */
struct head_steps {
    size_t batch, head, row;
};

/* Which keys a query may see; all of them where everything is 0 or NULL, and both reaches -1. */
struct attention_mask {
    const float *bias;   /* added to scores; or NULL */
    const uint8_t *open; /* 0: closed; or NULL */
    size_t steps[4];     /* of bias or open: batch, head, query, key; 0 where it repeats */
    size_t keys;         /* of bias or open: keys from here on are closed */
    int64_t before,
        after;            /* query i sees keys i + offset - before .. i + offset + after; -1: all */
    int64_t offset;       /* keys in front of the first query's own; may be negative */
    const int64_t *valid; /* per batch row: keys in use; then offset is valid - queries. Or NULL */
};

/* Which scores are handed out. */
enum attention_stage {
    ATTENTION_RAW,     /* scale Q K^T */
    ATTENTION_CAPPED,  /* after softcap */
    ATTENTION_MASKED,  /* after the mask */
    ATTENTION_WEIGHTS, /* after softmax */
};

struct attention {
    size_t batch, heads, kv_heads, queries, keys, size, value_size;
    const float *q, *k, *v;
    struct head_steps q_at, k_at, v_at, out_at;
    float scale;
    float softcap; /* 0: none */
    struct attention_mask mask;
    bool
        closed_is_nan; /* a query all of whose keys are closed gives NaN instead, as softmax does */
    float *out;
    float *scores; /* [batch][heads][queries][keys] of `stage`, or NULL */
    enum attention_stage stage;
};

/* Scratch that attention_run needs with the threads now set; SIZE_MAX when that overflows. */
size_t attention_scratch_bytes(const struct attention *a);
void attention_run(const struct attention *a, void *scratch);

#endif
