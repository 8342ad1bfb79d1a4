/* loss_ctc - see loss_ctc.h */
#include "worker/train/loss_ctc.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "worker/kernels/par.h"

#define COST 100.0 /* of one state at one step, in flops: a few exponentials and logarithms */

/* One sequence; the arrays are the thread's. */
struct sequence {
    const struct ctc *c;
    const int32_t *labels;
    size_t states;        /* 2 labels + 1: blanks at even ones */
    double *p;            /* [steps][cols] ln softmax */
    double *alpha, *beta; /* [steps][states] ln a, ln b */
    double *share;        /* [cols] of one step */
};

struct job {
    const struct ctc *c;
    double *room, *losses;
    size_t room_each;
    bool *correct;
};

static size_t length_of(const int32_t *labels, size_t most)
{
    size_t n = 0;
    while (n < most && labels[n])
        n++;
    return n;
}

size_t ctc_steps_needed(const int32_t *labels, size_t labels_max)
{
    size_t n = length_of(labels, labels_max), steps = n;
    for (size_t i = 1; i < n; i++)
        steps += labels[i] == labels[i - 1];
    return steps;
}

/* ln(exp(a) + exp(b)) */
static double log_sum(double a, double b)
{
    double most = fmax(a, b), least = fmin(a, b);
    return isinf(least) ? most : most + log1p(exp(least - most));
}

static size_t class_of(const struct sequence *q, size_t state)
{
    return state % 2 ? (size_t)q->labels[state / 2] : 0;
}

/* Whether a path may come to this state from the one but one in front of it: over a blank. */
static bool skips(const struct sequence *q, size_t state)
{
    return state % 2 && state >= 3 && class_of(q, state) != class_of(q, state - 2);
}

static void log_softmax(const struct sequence *q, const float *x)
{
    size_t cols = q->c->cols;
    for (size_t t = 0; t < q->c->steps; t++, x += cols) {
        double most = -INFINITY, sum = 0, *p = q->p + t * cols;
        for (size_t k = 0; k < cols; k++)
            most = fmax(most, (double)x[k]);
        for (size_t k = 0; k < cols; k++)
            sum += exp((double)x[k] - most);
        for (size_t k = 0; k < cols; k++)
            p[k] = (double)x[k] - most - log(sum);
    }
}

static void forward(const struct sequence *q)
{
    for (size_t t = 0; t < q->c->steps; t++) {
        const double *p = q->p + t * q->c->cols;
        double *now = q->alpha + t * q->states;
        const double *before = t ? now - q->states : NULL;
        for (size_t s = 0; s < q->states; s++) {
            double all = before ? before[s] : s < 2 ? 0 : -INFINITY;
            if (before && s >= 1)
                all = log_sum(all, before[s - 1]);
            if (before && skips(q, s))
                all = log_sum(all, before[s - 2]);
            now[s] = all + p[class_of(q, s)];
        }
    }
}

static void backward(const struct sequence *q)
{
    for (size_t t = q->c->steps; t-- > 0;) {
        double *now = q->beta + t * q->states;
        bool last = t + 1 == q->c->steps;
        const double *behind = now + q->states, *p = q->p + (t + 1) * q->c->cols;
        for (size_t s = 0; s < q->states; s++) {
            now[s] = last && s + 2 >= q->states ? 0 : -INFINITY;
            for (size_t to = s; !last && to < q->states && to <= s + 2; to++)
                if (to < s + 2 || skips(q, to))
                    now[s] = log_sum(now[s], behind[to] + p[class_of(q, to)]);
        }
    }
}

static void gradient(const struct sequence *q, double all, float *dx)
{
    size_t cols = q->c->cols;
    for (size_t t = 0; t < q->c->steps; t++, dx += cols) {
        memset(q->share, 0, cols * sizeof *q->share);
        for (size_t s = 0; s < q->states; s++)
            q->share[class_of(q, s)] +=
                exp(q->alpha[t * q->states + s] + q->beta[t * q->states + s] - all);
        for (size_t k = 0; k < cols; k++)
            dx[k] = (float)((exp(q->p[t * cols + k]) - q->share[k]) / (double)q->c->sequences);
    }
}

/* What the largest class of each step says. */
static bool says_labels(const struct sequence *q)
{
    size_t said = 0, labels = q->states / 2, old = 0, cols = q->c->cols;
    for (size_t t = 0; t < q->c->steps; t++) {
        size_t best = 0;
        for (size_t k = 1; k < cols; k++)
            best = q->p[t * cols + k] > q->p[t * cols + best] ? k : best;
        if (best && best != old && (said == labels || (size_t)q->labels[said++] != best))
            return false;
        old = best;
    }
    return said == labels;
}

static void run_items(void *arg, size_t slot, size_t begin, size_t end)
{
    const struct job *job = arg;
    const struct ctc *c = job->c;
    size_t row = c->steps * c->cols, most = 2 * c->labels_max + 1;
    struct sequence q = {.c = c};
    q.p = job->room + slot * job->room_each;
    q.alpha = q.p + row;
    q.beta = q.alpha + c->steps * most;
    q.share = q.beta + c->steps * most;
    for (size_t i = begin; i < end; i++) {
        q.labels = c->labels + i * c->labels_max;
        q.states = 2 * length_of(q.labels, c->labels_max) + 1;
        log_softmax(&q, c->x + i * row);
        forward(&q);
        const double *ends = q.alpha + c->steps * q.states;
        double all = q.states > 1 ? log_sum(ends[-1], ends[-2]) : ends[-1];
        job->losses[i] = -all;
        job->correct[i] = says_labels(&q);
        if (!c->dx)
            continue;
        backward(&q);
        gradient(&q, all, c->dx + i * row);
    }
}

double ctc_run(const struct ctc *c, size_t *correct)
{
    size_t states = c->steps * (2 * c->labels_max + 1);
    struct job job = {.c = c, .room_each = c->steps * c->cols + 2 * states + c->cols};
    double sum = 0;
    job.room = xcalloc(par_slots() * job.room_each, sizeof *job.room);
    job.losses = xcalloc(MAX(1, c->sequences), sizeof *job.losses);
    job.correct = xcalloc(MAX(1, c->sequences), sizeof *job.correct);
    par_for(c->sequences, COST * (double)(c->sequences * states), run_items, &job);
    *correct = 0;
    for (size_t i = 0; i < c->sequences; i++) {
        sum += job.losses[i];
        *correct += job.correct[i];
    }
    free(job.room);
    free(job.losses);
    free(job.correct);
    return sum / (double)c->sequences;
}
