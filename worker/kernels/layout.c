/* layout - between plain and blocked maps; see layout.h */
#include "worker/kernels/layout.h"

#include "worker/kernels/layout_kernel.h"
#include "worker/kernels/par.h"

/* clang-format off */
#include "worker/kernels/pick.h"
struct layout_entry { unsigned needs; const struct layout_kernel *kernel; };
static const struct layout_entry layout_list[] = {
#include "worker/kernels/layout.def"
};
PICK(layout)
/* clang-format on */

struct job {
    struct maps m;
    const float *in;
    float *out;
};

size_t layout_elements(enum layout layout, struct maps m)
{
    size_t channels = layout == LAYOUT_BLOCKED ? layout_blocks(m.c) * LANES : m.c;
    return m.n * channels * m.h * m.w;
}

/* Item i is block i % blocks of image i / blocks: where it starts in the plain buffer, and how
 * many of its lanes hold channels. */
static size_t block_start(struct maps m, size_t i, size_t *lanes)
{
    size_t blocks = layout_blocks(m.c), image = i / blocks, channel = i % blocks * LANES;
    *lanes = MIN(LANES, m.c - channel);
    return (image * m.c + channel) * m.h * m.w;
}

static void to_blocked(void *arg, size_t slot, size_t begin, size_t end)
{
    const struct job *job = arg;
    size_t plane = job->m.h * job->m.w;
    (void)slot;
    for (size_t i = begin; i < end; i++) {
        size_t lanes, at = block_start(job->m, i, &lanes);
        layout_now()->interleave(plane, lanes, plane, job->in + at, job->out + i * plane * LANES);
    }
}

static void to_plain(void *arg, size_t slot, size_t begin, size_t end)
{
    const struct job *job = arg;
    size_t plane = job->m.h * job->m.w;
    (void)slot;
    for (size_t i = begin; i < end; i++) {
        size_t lanes, at = block_start(job->m, i, &lanes);
        layout_now()->separate(plane, lanes, plane, job->in + i * plane * LANES, job->out + at);
    }
}

static void convert(struct maps m, const float *in, float *out, par_fn *fn)
{
    struct job job = {m, in, out};
    double bytes = 2.0 * sizeof(float) * (double)layout_elements(LAYOUT_BLOCKED, m);
    par_for(m.n * layout_blocks(m.c), bytes, fn, &job);
}

void layout_to_blocked(struct maps m, const float *in, float *out)
{
    convert(m, in, out, to_blocked);
}

void layout_to_plain(struct maps m, const float *in, float *out)
{
    convert(m, in, out, to_plain);
}

void layout_clear_tail(struct maps m, float *blocked)
{
    size_t blocks = layout_blocks(m.c), plane = m.h * m.w, used = m.c % LANES;
    if (!used)
        return;
    for (size_t n = 0; n < m.n; n++) {
        float *last = blocked + (n * blocks + blocks - 1) * plane * LANES;
        for (size_t i = 0; i < plane; i++)
            for (size_t k = used; k < LANES; k++)
                last[i * LANES + k] = 0.0f;
    }
}
