/* par - one parallel region per kernel; see par.h */
#include "worker/kernels/par.h"

#include <omp.h>

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
#else
static unsigned denormals_off(void)
{
    return 0;
}
static void denormals_restore(unsigned old)
{
    (void)old;
}
#endif

/* A quiet region costs 0.5 us, one whose threads sleep 5 to 12 us: below about 20 us of work (at
 * 50 GFLOP/s) a second thread does not pay. */
#define FLOPS_MIN 1e6

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
