/* op_attention - Attention: scaled dot products, with shared heads, masks, windows and a cache */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "worker/kernels/attention.h"
#include "worker/ops/ops.h"

enum { Q, K, V, MASK, PAST_K, PAST_V, VALID };
enum { Y, PRESENT_K, PRESENT_V, SCORES };

struct attention_state {
    int64_t q_heads, kv_heads; /* 0: from the dims */
    int64_t stage;
    bool causal, scaled;
    float scale, softcap;
    int64_t left, right; /* windows; -1: open */
};

/* What shape() has found: the kernel's job without addresses, and the cache. */
struct attention_params {
    struct attention job;
    bool joins;       /* keys and values are written out one behind the other first */
    size_t past, own; /* keys from the cache and from K */
    size_t joined[2]; /* offsets in scratch of keys and values, where no output takes them */
    size_t scratch;   /* offset of the kernel's */
};

enum status attention_check(struct node *node, struct error *why)
{
    struct attention_state *a = region_take(node->region, sizeof *a);
    node->state = a;
    a->q_heads = attr_int(node, "q_num_heads", 0);
    a->kv_heads = attr_int(node, "kv_num_heads", 0);
    a->stage = attr_int(node, "qk_matmul_output_mode", 0);
    a->causal = attr_int(node, "is_causal", 0) != 0;
    a->scaled = attr_find(node, "scale") != NULL;
    a->scale = attr_float(node, "scale", 0);
    a->softcap = attr_float(node, "softcap", 0);
    a->left = a->right = -1;
    if (node->opset >= 25) {
        a->left = attr_int(node, "left_window_size", -1);
        a->right = attr_int(node, "right_window_size", -1);
    }
    attr_ignore(node, "softmax_precision"); /* fp32 sums whatever it asks for */
    if (a->q_heads < 0 || a->kv_heads < 0 || a->left < -1 || a->right < -1 || a->stage < 0 ||
        a->stage > ATTENTION_WEIGHTS)
        return bad_node(why, node,
                        "heads %" PRId64 " and %" PRId64 ", windows %" PRId64 " and %" PRId64
                        ", qk_matmul_output_mode %" PRId64 " are not possible",
                        a->q_heads, a->kv_heads, a->left, a->right, a->stage);
    if (node->opset < 24 && node->inputs_len > VALID)
        return bad_node(why, node, "it has %u inputs; opset 24 brings the seventh",
                        node->inputs_len);
    return STATUS_OK;
}

/* One of Q, K, V as [batch][heads][length][size]; rank 3 has heads and size in one axis. */
struct headed {
    size_t batch, heads, length, size;
    struct head_steps at;
};

static bool headed_of(const struct array *a, int64_t heads, struct headed *h)
{
    if (a->dtype != DTYPE_FP32 || (a->rank != 3 && a->rank != 4))
        return false;
    size_t last = (size_t)a->dims[a->rank - 1];
    h->batch = (size_t)a->dims[0];
    if (a->rank == 4) {
        *h = (struct headed){h->batch, (size_t)a->dims[1], (size_t)a->dims[2], last, {0}};
        h->at = (struct head_steps){h->heads * h->length * last, h->length * last, last};
        return h->heads > 0 && (!heads || heads == a->dims[1]);
    }
    if (heads <= 0 || last % (size_t)heads)
        return false;
    h->heads = (size_t)heads;
    h->length = (size_t)a->dims[1];
    h->size = last / h->heads;
    h->at = (struct head_steps){h->length * last, h->size, last};
    return true;
}

/* A cache [batch][kv heads][past][size], or none. */
static bool past_fits(const struct array *past, const struct headed *h, size_t *len)
{
    *len = past && past->rank == 4 ? (size_t)past->dims[2] : 0;
    return !past ||
           (past->dtype == DTYPE_FP32 && past->rank == 4 && (size_t)past->dims[0] == h->batch &&
            (size_t)past->dims[1] == h->heads && (size_t)past->dims[3] == h->size);
}

/* The mask's dims stretch to [batch][heads][queries][keys]; since opset 24 it may have fewer keys.
 */
static bool mask_fits(const struct step *step, struct attention *job)
{
    const struct array *m = step_in(step, MASK);
    size_t want[4] = {job->batch, job->heads, job->queries, job->keys}, span = 1;
    job->mask.keys = job->keys;
    if (!m)
        return true;
    if ((m->dtype != DTYPE_FP32 && m->dtype != DTYPE_BOOL) || m->rank < 1 || m->rank > 4)
        return false;
    for (uint32_t k = m->rank; k-- > 0;) {
        size_t dim = (size_t)m->dims[k], axis = 4 - m->rank + k;
        bool cut = axis == 3 && step->node->opset >= 24 && dim < job->keys;
        if (dim != want[axis] && dim != 1 && !cut)
            return false;
        job->mask.steps[axis] = dim == 1 ? 0 : span;
        if (cut)
            job->mask.keys = dim;
        span *= dim;
    }
    return true;
}

static enum status find_job(struct step *step, struct attention_params *p, struct error *why)
{
    const struct attention_state *a = step->node->state;
    const struct array *past_k = step_in(step, PAST_K), *past_v = step_in(step, PAST_V);
    const struct array *valid = step_in(step, VALID);
    struct headed q = {0}, k = {0}, v = {0};
    size_t past;
    char text[3][128];
    bool fits = headed_of(step->in[Q], a->q_heads, &q) && headed_of(step->in[K], a->kv_heads, &k) &&
                headed_of(step->in[V], a->kv_heads, &v) && q.batch == k.batch &&
                q.batch == v.batch && k.heads == v.heads && k.length == v.length &&
                q.size == k.size && q.heads % k.heads == 0 &&
                step->in[Q]->rank == step->in[K]->rank && step->in[Q]->rank == step->in[V]->rank;
    if (!fits)
        return bad_step(why, step, "Q %s, K %s and V %s do not fit together, or are not FP32",
                        dims_text(text[0], sizeof text[0], step->in[Q]->dims, step->in[Q]->rank),
                        dims_text(text[1], sizeof text[1], step->in[K]->dims, step->in[K]->rank),
                        dims_text(text[2], sizeof text[2], step->in[V]->dims, step->in[V]->rank));
    fits = past_fits(past_k, &k, &p->past) && past_fits(past_v, &v, &past) && past == p->past;
    if (!fits || !past_k != !past_v || (past_k && valid))
        return bad_step(why, step, "past_key and past_value do not fit K and V, or each other");
    if (valid &&
        (valid->dtype != DTYPE_INT64 || valid->rank != 1 || (size_t)valid->dims[0] != q.batch))
        return bad_step(why, step, "nonpad_kv_seqlen must be one INT64 per row of the batch");
    p->own = k.length;
    p->job = (struct attention){.batch = q.batch, .heads = q.heads, .kv_heads = k.heads};
    p->job.queries = q.length;
    p->job.keys = p->past + k.length;
    p->job.size = q.size;
    p->job.value_size = v.size;
    p->job.q_at = q.at;
    p->job.k_at = k.at;
    p->job.v_at = v.at;
    return mask_fits(step, &p->job)
               ? STATUS_OK
               : bad_step(why, step, "attn_mask is %s %s", dtype_name(step->in[MASK]->dtype),
                          dims_text(text[0], sizeof text[0], step->in[MASK]->dims,
                                    step->in[MASK]->rank));
}

static enum status set_outputs(struct step *step, struct attention_params *p, struct error *why)
{
    struct attention *j = &p->job;
    int64_t b = (int64_t)j->batch, h = (int64_t)j->heads, kv = (int64_t)j->kv_heads;
    int64_t rows = (int64_t)j->queries, keys = (int64_t)j->keys;
    int64_t size = (int64_t)j->size, width = (int64_t)j->value_size;
    enum status s;
    if (step->in[Q]->rank == 4) {
        j->out_at = (struct head_steps){j->heads * j->queries * j->value_size,
                                        j->queries * j->value_size, j->value_size};
        s = out_set(step, Y, DTYPE_FP32, (int64_t[]){b, h, rows, width}, 4, why);
    } else {
        j->out_at = (struct head_steps){j->queries * j->heads * j->value_size, j->value_size,
                                        j->heads * j->value_size};
        s = out_set(step, Y, DTYPE_FP32, (int64_t[]){b, rows, h * width}, 3, why);
    }
    if (s == STATUS_OK)
        s = out_set(step, PRESENT_K, DTYPE_FP32, (int64_t[]){b, kv, keys, size}, 4, why);
    if (s == STATUS_OK)
        s = out_set(step, PRESENT_V, DTYPE_FP32, (int64_t[]){b, kv, keys, width}, 4, why);
    if (s == STATUS_OK)
        s = out_set(step, SCORES, DTYPE_FP32, (int64_t[]){b, h, rows, keys}, 4, why);
    return s;
}

/* Scratch: joined keys and values that are no outputs, then the kernel's. */
static enum status lay_scratch(struct step *step, struct attention_params *p, struct error *why)
{
    struct attention *j = &p->job;
    size_t sizes[2] = {j->size, j->value_size}, at = 0, more;
    for (uint32_t i = 0; i < 2 && p->joins; i++) {
        int64_t dims[4] = {(int64_t)j->batch, (int64_t)j->kv_heads, (int64_t)j->keys,
                           (int64_t)sizes[i]};
        size_t bytes = 0;
        if (!step_out(step, PRESENT_K + i) && !array_size(DTYPE_FP32, dims, 4, &bytes))
            return bad_step(why, step, "its cache would be larger than %zu MiB",
                            ARRAY_BYTES_MAX / MIB);
        p->joined[i] = at;
        at += (bytes + TENSOR_ALIGN - 1) / TENSOR_ALIGN * TENSOR_ALIGN;
    }
    more = attention_scratch_bytes(j);
    if (more > ARRAY_BYTES_MAX)
        return bad_step(why, step, "it would take more than %zu MiB", ARRAY_BYTES_MAX / MIB);
    p->scratch = at;
    step->scratch_bytes = at + more;
    return STATUS_OK;
}

enum status attention_shape(struct step *step, struct error *why)
{
    const struct attention_state *a = step->node->state;
    struct attention_params *p = region_take(step->region, sizeof *p);
    step->params = p;
    enum status s = find_job(step, p, why);
    if (s != STATUS_OK)
        return s;
    struct attention *j = &p->job;
    j->scale = a->scaled ? a->scale : 1 / sqrtf((float)j->size);
    j->softcap = a->softcap;
    j->stage = (enum attention_stage)a->stage;
    j->mask.before = a->left;
    j->mask.after = a->causal ? 0 : a->right;
    j->mask.offset = (int64_t)p->past;
    p->joins = p->past || step_out(step, PRESENT_K) || step_out(step, PRESENT_V);
    if (p->joins) {
        size_t k = j->keys * j->size, v = j->keys * j->value_size;
        j->k_at = (struct head_steps){j->kv_heads * k, k, j->size};
        j->v_at = (struct head_steps){j->kv_heads * v, v, j->value_size};
    }
    s = set_outputs(step, p, why);
    return s == STATUS_OK ? lay_scratch(step, p, why) : s;
}

/* to [batch][kv heads][past + own][size] = the cache, then `new` as its own steps say. */
static void join(const struct attention_params *p, const struct array *past,
                 const struct array *new, size_t size, float *to)
{
    const struct attention *j = &p->job;
    size_t old = p->past * size, own = p->own * size;
    bool flat = new->rank == 3;
    size_t row = flat ? j->kv_heads * size : size, head = flat ? size : own;
    for (size_t h = 0; h < j->batch * j->kv_heads; h++, to += old + own) {
        const float *from = new->data;
        from += h / j->kv_heads * j->kv_heads * own + h % j->kv_heads * head;
        if (old)
            memcpy(to, (const float *)past->data + h * old, old * sizeof(float));
        for (size_t i = 0; i < p->own && size; i++)
            memcpy(to + old + i * size, from + i * row, size * sizeof(float));
    }
}

enum status attention_compute(const struct step *step, struct error *why)
{
    const struct attention_params *p = step->params;
    const struct array *mask = step_in(step, MASK), *valid = step_in(step, VALID);
    struct attention job = p->job;
    uint8_t *scratch = step->scratch;
    for (size_t i = 0; valid && i < job.batch; i++) {
        int64_t n = ((const int64_t *)valid->data)[i];
        if (n < 0 || n > (int64_t)job.keys)
            return bad_step(why, step, "nonpad_kv_seqlen[%zu] is %" PRId64 " of %zu keys", i, n,
                            job.keys);
    }
    job.q = step->in[Q]->data;
    job.k = step->in[K]->data;
    job.v = step->in[V]->data;
    for (uint32_t i = 0; i < 2 && p->joins; i++) {
        const struct array *present = step_out(step, PRESENT_K + i);
        float *joined = present ? present->data : (void *)(scratch + p->joined[i]);
        join(p, step_in(step, PAST_K + i), step->in[K + i], i ? job.value_size : job.size, joined);
        *(i ? &job.v : &job.k) = joined;
    }
    job.mask.bias = mask && mask->dtype == DTYPE_FP32 ? mask->data : NULL;
    job.mask.open = mask && mask->dtype == DTYPE_BOOL ? mask->data : NULL;
    job.mask.valid = valid ? valid->data : NULL;
    job.out = step->out[Y]->data;
    job.scores = step_out(step, SCORES) ? step->out[SCORES]->data : NULL;
    attention_run(&job, scratch + p->scratch);
    return STATUS_OK;
}

/* Rows are the batch axis of everything; a mask may be the same for all. */
void attention_rows(const struct rows_step *s, const struct rows_at *in, struct rows_at *out)
{
    for (uint32_t i = 0; i < s->step->in_len; i++) {
        const struct array *a = s->step->in[i];
        if (!a || (i == MASK && in[i].rows == ROWS_NONE))
            continue;
        if (rows_axis(s, a, in[i]) != 0 || (i == MASK && a->rank != 4))
            return;
    }
    for (uint32_t i = 0; i < s->step->out_len; i++)
        if (s->step->out[i])
            out[i] = rows_on_axis(s->step->out[i], 0);
}
