/* op_tfidf - TfIdfVectorizer: how often each n-gram of a pool stands in a row of numbers or texts
 */
#include <inttypes.h>
#include <string.h>

#include "worker/ops/ops.h"
#include "worker/ops/scalar.h"

enum tfidf_mode { TFIDF_TF, TFIDF_IDF, TFIDF_BOTH };

struct tfidf {
    enum tfidf_mode mode;
    int64_t least, most, skips_max;
    const char *const *words;               /* the pool of texts, or NULL */
    const int64_t *pool, *starts, *columns; /* pool: all 1-grams, then all 2-grams, ... */
    const float *weights;                   /* NULL: 1 */
    size_t pool_len, starts_len, columns_len, weights_len;
    int64_t width; /* columns of the output */
};

static enum status check_pool(struct node *node, struct tfidf *t, struct error *why)
{
    size_t grams = 0;
    for (size_t n = 1; n <= t->starts_len; n++) {
        int64_t begin = t->starts[n - 1];
        int64_t end = n < t->starts_len ? t->starts[n] : (int64_t)t->pool_len;
        if (begin < 0 || end < begin || end > (int64_t)t->pool_len || (end - begin) % (int64_t)n)
            return bad_node(why, node, "ngram_counts %" PRId64 " to %" PRId64 " of %zu numbers",
                            begin, end, t->pool_len);
        grams += (size_t)(end - begin) / n;
    }
    if (grams != t->columns_len || (t->weights && t->weights_len != grams))
        return bad_node(why, node, "%zu n-grams, but %zu ngram_indexes and %zu weights", grams,
                        t->columns_len, t->weights_len);
    for (size_t i = 0; i < grams; i++) {
        if (t->columns[i] < 0 || t->columns[i] > INT32_MAX)
            return bad_node(why, node, "ngram_indexes has %" PRId64, t->columns[i]);
        t->width = MAX(t->width, t->columns[i] + 1);
    }
    return STATUS_OK;
}

enum status tfidf_check(struct node *node, struct error *why)
{
    struct tfidf *t = region_take(node->region, sizeof *t);
    const char *mode = attr_text(node, "mode", "");
    node->state = t;
    t->least = attr_int(node, "min_gram_length", 1);
    t->most = attr_int(node, "max_gram_length", 1);
    t->skips_max = attr_int(node, "max_skip_count", 0);
    t->pool = attr_ints(node, "pool_int64s", &t->pool_len);
    if (!t->pool)
        t->words = attr_texts(node, "pool_strings", &t->pool_len);
    t->starts = attr_ints(node, "ngram_counts", &t->starts_len);
    t->columns = attr_ints(node, "ngram_indexes", &t->columns_len);
    t->weights = attr_floats(node, "weights", &t->weights_len);
    if (strcmp(mode, "TF") == 0)
        t->mode = TFIDF_TF;
    else if (strcmp(mode, "IDF") == 0)
        t->mode = TFIDF_IDF;
    else if (strcmp(mode, "TFIDF") == 0)
        t->mode = TFIDF_BOTH;
    else
        return bad_node(why, node, "mode \"%.40s\" is unknown; expected TF, IDF or TFIDF", mode);
    if ((!t->pool && !t->words) || !t->starts || !t->columns || t->least < 1 ||
        t->most < t->least || t->skips_max < 0)
        return bad_node(why, node,
                        "pool_int64s or pool_strings, ngram_counts, ngram_indexes or lengths are "
                        "missing or not possible");
    return check_pool(node, t, why);
}

enum status tfidf_shape(struct step *step, struct error *why)
{
    const struct array *x = step->in[0];
    const struct tfidf *t = step->node->state;
    int64_t width = t->width;
    bool fits =
        t->words ? x->dtype == DTYPE_BYTES : x->dtype == DTYPE_INT32 || x->dtype == DTYPE_INT64;
    if (!fits || x->rank < 1 || x->rank > 2)
        return bad_step(why, step, "the input is %s of rank %u; expected %s of rank 1 or 2",
                        dtype_name(x->dtype), x->rank, t->words ? "BYTES" : "integers");
    int64_t dims[2] = {x->dims[0], width};
    return x->rank == 2 ? out_set(step, 0, DTYPE_FP32, dims, 2, why)
                        : out_set(step, 0, DTYPE_FP32, &width, 1, why);
}

/* Whether the n-gram at pool[gram] is what stands in x from `at` on. */
static bool same_gram(const struct tfidf *t, const struct array *x, size_t at, size_t distance,
                      size_t gram, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const char *word = t->words ? t->words[gram + i] : NULL;
        if (word ? !text_same(((const struct text *)x->data)[at + i * distance],
                              (struct text){word, strlen(word)})
                 : scalar_int(x->dtype, x->data, at + i * distance) != t->pool[gram + i])
            return false;
    }
    return true;
}

/* Count the n-grams of one row whose numbers stand `distance` apart. */
static void count_grams(const struct tfidf *t, const struct array *x, size_t row, size_t len,
                        size_t n, size_t distance, float *counts)
{
    size_t begin = (size_t)t->starts[n - 1], first = 0;
    size_t end = n < t->starts_len ? (size_t)t->starts[n] : t->pool_len;
    for (size_t k = 1; k < n; k++)
        first += (size_t)(t->starts[k] - t->starts[k - 1]) / k;
    for (size_t i = 0; i + (n - 1) * distance < len; i++)
        for (size_t g = begin; g < end; g += n)
            if (same_gram(t, x, row * len + i, distance, g, n))
                counts[t->columns[first + (g - begin) / n]] += 1;
}

/* A column's weight is that of the n-gram that has it. */
static void weigh(const struct tfidf *t, float *counts)
{
    for (size_t i = 0; i < t->columns_len && t->mode != TFIDF_TF; i++) {
        float *c = &counts[t->columns[i]], w = t->weights ? t->weights[i] : 1;
        if (t->mode == TFIDF_IDF)
            *c = *c > 0 ? w : 0;
        else
            *c *= w;
    }
}

enum status tfidf_compute(const struct step *step, struct error *why)
{
    (void)why;
    const struct array *x = step->in[0], *out = step->out[0];
    const struct tfidf *t = step->node->state;
    size_t rows = x->rank == 2 ? (size_t)x->dims[0] : 1, len = (size_t)x->dims[x->rank - 1];
    memset(out->data, 0, out->bytes);
    for (size_t r = 0; r < rows; r++) {
        float *counts = (float *)out->data + r * (size_t)t->width;
        for (int64_t n = t->least; n <= t->most && n <= (int64_t)t->starts_len; n++)
            for (int64_t skips = 0; skips <= t->skips_max && skips < (int64_t)len; skips++) {
                if (n == 1 && skips > 0) /* one number has no distance */
                    break;
                count_grams(t, x, r, len, (size_t)n, (size_t)skips + 1, counts);
            }
        weigh(t, counts);
    }
    return STATUS_OK;
}

void tfidf_rows(const struct rows_step *s, const struct rows_at *in, struct rows_at *out)
{
    if (s->step->in[0]->rank == 2)
        rows_beside(s, in[0], 1, 2, &out[0]);
}
