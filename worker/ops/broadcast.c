/* broadcast - see broadcast.h */
#include "worker/ops/broadcast.h"

#include <string.h>

enum status broadcast_dims(const struct step *step, struct array *const *arrays, uint32_t len,
                           int64_t *dims, uint32_t *rank, struct error *why)
{
    char text[2][128];
    *rank = 0;
    for (uint32_t i = 0; i < len; i++)
        if (arrays[i])
            *rank = MAX(*rank, arrays[i]->rank);
    for (uint32_t k = 0; k < *rank; k++)
        dims[k] = 1;
    for (uint32_t i = 0; i < len; i++) {
        const struct array *a = arrays[i];
        for (uint32_t k = 0; a && k < a->rank; k++) {
            int64_t *d = &dims[*rank - a->rank + k];
            if (*d != 1 && a->dims[k] != 1 && *d != a->dims[k])
                return bad_step(why, step, "shapes %s and %s do not fit together",
                                dims_text(text[0], sizeof text[0], dims, *rank),
                                dims_text(text[1], sizeof text[1], a->dims, a->rank));
            if (a->dims[k] != 1)
                *d = a->dims[k];
        }
    }
    return STATUS_OK;
}

/* Whether axes `outer` and its inner neighbour walk memory as one axis would. */
static bool mergeable(const struct broadcast *self, uint32_t len, uint32_t outer)
{
    for (uint32_t i = 0; i < len; i++)
        if (self->steps[i][outer] != self->steps[i][outer + 1] * self->dims[outer + 1])
            return false;
    return true;
}

static void drop_axis(struct broadcast *self, uint32_t len, uint32_t axis)
{
    for (uint32_t k = axis; k + 1 < self->rank; k++) {
        self->dims[k] = self->dims[k + 1];
        for (uint32_t i = 0; i < len; i++)
            self->steps[i][k] = self->steps[i][k + 1];
    }
    self->rank--;
}

static void merge(struct broadcast *self, uint32_t len)
{
    for (uint32_t k = 0; k < self->rank && self->rank > 1;)
        if (self->dims[k] == 1)
            drop_axis(self, len, k);
        else
            k++;
    for (uint32_t k = 0; k + 1 < self->rank;) {
        if (!mergeable(self, len, k)) {
            k++;
            continue;
        }
        self->dims[k + 1] *= self->dims[k];
        drop_axis(self, len, k);
    }
}

void broadcast_loops(struct broadcast *self, const int64_t *out_dims, uint32_t out_rank,
                     const int64_t *const *dims, const uint32_t *ranks, uint32_t len)
{
    assert(len <= BROADCAST_MAX);
    memset(self, 0, sizeof *self);
    self->rank = out_rank;
    for (uint32_t k = 0; k < out_rank; k++)
        self->dims[k] = (size_t)out_dims[k];
    for (uint32_t i = 0; i < len; i++) {
        size_t step = 1;
        for (uint32_t k = ranks[i]; k-- > 0;) {
            self->steps[i][out_rank - ranks[i] + k] = dims[i][k] == 1 ? 0 : step;
            step *= (size_t)dims[i][k];
        }
    }
    merge(self, len);
    while (self->rank < 2) {
        for (uint32_t k = self->rank; k > 0; k--)
            self->dims[k] = self->dims[k - 1];
        for (uint32_t i = 0; i < len; i++)
            for (uint32_t k = self->rank; k > 0; k--)
                self->steps[i][k] = self->steps[i][k - 1];
        self->dims[0] = 1;
        for (uint32_t i = 0; i < len; i++)
            self->steps[i][0] = 0;
        self->rank++;
    }
    self->outer = 1;
    for (uint32_t k = 0; k + 2 < self->rank; k++)
        self->outer *= self->dims[k];
}

void broadcast_at(const struct broadcast *self, size_t outer, size_t *offsets)
{
    memset(offsets, 0, BROADCAST_MAX * sizeof *offsets);
    for (uint32_t k = self->rank - 2; k-- > 0;) {
        size_t index = outer % self->dims[k];
        outer /= self->dims[k];
        for (uint32_t i = 0; i < BROADCAST_MAX; i++)
            offsets[i] += index * self->steps[i][k];
    }
}

void broadcast_element(const struct broadcast *self, size_t i, size_t *offsets)
{
    size_t cols = self->dims[self->rank - 1], rows = self->dims[self->rank - 2];
    size_t c = i % cols, r = i / cols % rows;
    broadcast_at(self, i / cols / rows, offsets);
    for (uint32_t k = 0; k < BROADCAST_MAX; k++)
        offsets[k] += r * self->steps[k][self->rank - 2] + c * self->steps[k][self->rank - 1];
}

void broadcast_step(struct broadcast *self, const struct step *step)
{
    const int64_t *dims[BROADCAST_MAX];
    uint32_t ranks[BROADCAST_MAX];
    assert(step->in_len <= BROADCAST_MAX);
    for (uint32_t i = 0; i < step->in_len; i++) {
        dims[i] = step->in[i]->dims;
        ranks[i] = step->in[i]->rank;
    }
    broadcast_loops(self, step->out[0]->dims, step->out[0]->rank, dims, ranks, step->in_len);
}

struct array legacy_aligned(const struct step *step, uint32_t i)
{
    struct array a = *step->in[i];
    const struct legacy_axis *l = step->node->state;
    if (i != 1 || !l || l->axis < 0)
        return a;
    while (a.rank < TENSOR_RANK_MAX && (int64_t)step->in[0]->rank - a.rank > l->axis)
        a.dims[a.rank++] = 1;
    return a;
}

void dense_steps(const int64_t *dims, uint32_t rank, int64_t *steps)
{
    int64_t step = 1;
    for (uint32_t k = rank; k-- > 0;) {
        steps[k] = step;
        step *= dims[k];
    }
}

static void copy_row(const struct strided *s, char *to, const char *from, int64_t count,
                     int64_t to_step, int64_t from_step)
{
    int64_t width = (int64_t)s->element;
    if (to_step == 1 && from_step == 1) {
        memcpy(to, from, (size_t)count * s->element);
        return;
    }
    for (int64_t i = 0; i < count; i++)
        memcpy(to + i * to_step * width, from + i * from_step * width, s->element);
}

void strided_copy(const struct strided *s)
{
    int64_t index[TENSOR_RANK_MAX] = {0}, width = (int64_t)s->element;
    char *to = s->to;
    const char *from = s->from;
    uint32_t last = s->rank - 1;
    for (uint32_t k = 0; k < s->rank; k++)
        if (s->dims[k] == 0)
            return;
    if (s->rank == 0) {
        memcpy(to, from, s->element);
        return;
    }
    for (;;) {
        copy_row(s, to, from, s->dims[last], s->to_steps[last], s->from_steps[last]);
        uint32_t k = last;
        for (;;) {
            if (k == 0)
                return;
            k--;
            to += s->to_steps[k] * width;
            from += s->from_steps[k] * width;
            if (++index[k] < s->dims[k])
                break;
            to -= s->dims[k] * s->to_steps[k] * width;
            from -= s->dims[k] * s->from_steps[k] * width;
            index[k] = 0;
        }
    }
}
