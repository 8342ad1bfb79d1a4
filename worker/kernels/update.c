/* update - pieces of all parameters, shared out; see update.h */
#include "worker/kernels/update.h"

#include <math.h>

#include "worker/kernels/grad_kernel.h"
#include "worker/kernels/par.h"

#define PIECE      4096 /* values that a thread takes at once */
#define COST       16.0 /* rough, per value: four arrays of memory */
#define PIECES_MAX 1024 /* partial sums of a norm */

struct job {
    const struct update *u;
    size_t n, piece;
    float *w;
    const float *g;
    float *m, *v;
    double *sums;
};

static void update_items(void *arg, size_t slot, size_t begin, size_t end)
{
    const struct job *job = arg;
    size_t first = begin * PIECE, last = MIN(end * PIECE, job->n);
    (void)slot;
    grad_now()->update[job->u->kind](job->u, last - first, job->w + first, job->g + first,
                                     job->m + first, job->v + first);
}

void update_run(const struct update *u, size_t n, float *w, const float *g, float *m, float *v)
{
    struct update step = *u;
    struct job job = {.u = &step, .n = n, .w = w, .g = g, .m = m, .v = v};
    assert(u->kind < UPDATE_COUNT && u->t > 0);
    step.correct1 = (float)(1 / (1 - pow((double)u->beta1, (double)u->t)));
    step.correct2 = (float)(1 / (1 - pow((double)u->beta2, (double)u->t)));
    par_for((n + PIECE - 1) / PIECE, COST * (double)n, update_items, &job);
}

static void norm_items(void *arg, size_t slot, size_t begin, size_t end)
{
    const struct job *job = arg;
    (void)slot;
    for (size_t i = begin; i < end; i++) {
        size_t first = i * job->piece;
        double sum = 0;
        for (size_t at = first; at < MIN(first + job->piece, job->n); at += PIECE)
            sum += grad_now()->squares(MIN(PIECE, job->n - at), job->g + at);
        job->sums[i] = sum;
    }
}

double update_norm(size_t n, const float *g)
{
    double sums[PIECES_MAX] = {0}, all = 0;
    size_t pieces = (n + PIECE - 1) / PIECE;
    struct job job = {.n = n, .g = g, .sums = sums};
    job.piece = (pieces + PIECES_MAX - 1) / PIECES_MAX * PIECE;
    size_t items = n ? (n + job.piece - 1) / job.piece : 0;
    par_for(items, COST * (double)n, norm_items, &job);
    for (size_t i = 0; i < items; i++)
        all += sums[i];
    return sqrt(all);
}
