/* par - one parallel region per kernel; see par.h */
#include "worker/kernels/par.h"

#include <omp.h>
#include <sched.h>

#include "worker/kernels/cpu.h"

#if defined(__SSE__)
#include <xmmintrin.h>
#define FLUSH_DENORMALS 0x8040u /* MXCSR: FTZ and DAZ */
static unsigned denormals_off(void)
{
    unsigned old = _mm_getcsr();
    _mm_setcsr(old | FLUSH_DENORMALS);
    return old;
}
static void denormals_restore(unsigned old)
{
    _mm_setcsr(old);
}
static void breathe(void)
{
    _mm_pause();
}
#else
static unsigned denormals_off(void)
{
    return 0;
}
static void denormals_restore(unsigned old)
{
    (void)old;
}
static void breathe(void)
{
}
#endif

/* A quiet region costs 0.5 us, one whose threads sleep 5 to 12 us: below about 20 us of work (at
 * 50 GFLOP/s) a second thread does not pay. */
#define FLOPS_MIN 1e6

/* Pauses before a waiting thread leaves the core to others: some 100 us. A member comes within a
 * few us, unless another process has its core. */
#define PAUSES 4000

/* Pieces per thread: neighbours on the machine delay threads, so leave some to share out. */
#define PIECES 4

size_t par_slots(void)
{
    return kernels_threads();
}

static void serial(size_t items, par_fn *fn, void *arg)
{
    unsigned mode = denormals_off();
    fn(arg, 0, 0, items);
    denormals_restore(mode);
}

void par_for(size_t items, double flops, par_fn *fn, void *arg)
{
    size_t threads = MIN((size_t)kernels_threads(), items);
    if (!items)
        return;
    if (threads < 2 || flops < FLOPS_MIN || omp_in_parallel()) {
        serial(items, fn, arg);
        return;
    }
    size_t pieces = MIN(items, threads * PIECES);
#pragma omp parallel num_threads((int)threads)
    {
        unsigned mode = denormals_off();
        size_t slot = (size_t)omp_get_thread_num();
#pragma omp for schedule(dynamic)
        for (size_t piece = 0; piece < pieces; piece++) {
            size_t begin = items * piece / pieces, end = items * (piece + 1) / pieces;
            fn(arg, slot, begin, end);
        }
        denormals_restore(mode);
    }
}

void par_team(size_t threads, double flops, par_team_fn *fn, void *arg)
{
    if (threads < 2 || flops < FLOPS_MIN || omp_in_parallel())
        threads = 1;
#pragma omp parallel num_threads((int)threads) if (threads > 1)
    {
        unsigned mode = denormals_off();
        fn(arg, (size_t)omp_get_thread_num(), (size_t)omp_get_num_threads());
        denormals_restore(mode);
    }
}

void par_barrier_init(struct par_barrier *self)
{
    atomic_init(&self->come, 0);
    atomic_init(&self->round, 0);
}

void par_wait(struct par_barrier *self, size_t members)
{
    if (members < 2)
        return;
    unsigned round = atomic_load_explicit(&self->round, memory_order_relaxed);
    if (atomic_fetch_add_explicit(&self->come, 1, memory_order_acq_rel) + 1 == members) {
        atomic_store_explicit(&self->come, 0, memory_order_relaxed);
        atomic_store_explicit(&self->round, round + 1, memory_order_release);
        return;
    }
    for (size_t i = 0; atomic_load_explicit(&self->round, memory_order_acquire) == round; i++) {
        if (i < PAUSES)
            breathe();
        else
            sched_yield();
    }
}
