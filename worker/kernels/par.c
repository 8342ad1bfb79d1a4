/* par - one parallel region per run, and work shared out inside it; see par.h
 *
 * Pieces of a job are numbered. `ticket` holds the number of the job in its upper half and the next
 * piece to be taken in its lower half: a thread takes a piece by adding one to it, which fails when
 * another job has come meanwhile. So the poster waits for pieces that were taken, and never for a
 * thread that is late. */
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
static void relax(void)
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
static void relax(void)
{
}
#endif

/* Below this much work, about 20 us at 50 GFLOP/s, a second thread does not pay. */
#define FLOPS_MIN 1e6

/* Pieces per thread: neighbours on the machine delay threads, so leave some to share out. */
#define PIECES 4

#define SPINS 4000 /* looks before a waiting thread lets others run: some 50 us */

#define CPUS CPU_SETSIZE /* CPUs from here on are not looked at */

struct job {
    par_fn *fn;
    void *arg;
    size_t items;
    size_t pieces;
};

/* The threads of one region. Jobs alternate between two places: a thread that comes late to one may
 * read it while the next but one is written, and then fails to take a piece of it. */
struct team {
    size_t threads;
    struct job jobs[2]; /* by the job's number; each field atomic */
    uint64_t ticket;
    uint64_t done; /* pieces of the job that are finished */
    bool over;
    size_t gone;              /* threads that have seen that it is over */
    uint64_t cpus[CPUS / 64]; /* a bit each: the CPUs that its threads run on */
};

static _Thread_local struct team *my_team; /* of the region that this thread runs in */
static _Thread_local size_t my_slot;       /* in it */
static _Thread_local bool busy;            /* inside of an item */

size_t par_slots(void)
{
    return kernels_threads();
}

/* One look of a thread that waits. */
static void wait_a_little(uint32_t *looks)
{
    if (++*looks < SPINS)
        relax();
    else
        sched_yield();
}

/* --- one CPU each ---------------------------------------------------------------------------- */
/* The system may wake a thread on the CPU of the one that woke it and leave both there for many
 * ticks, while another CPU is idle. */

static bool claim(struct team *team, size_t cpu)
{
    uint64_t bit = (uint64_t)1 << cpu % 64;
    return !(__atomic_fetch_or(&team->cpus[cpu / 64], bit, __ATOMIC_RELAXED) & bit);
}

/* Go to a CPU that no thread of the region runs on, if this one is taken and there is another. */
static void sit_apart(struct team *team)
{
    int here = sched_getcpu();
    size_t cpu = 0;
    cpu_set_t allowed, one;
    if (here < 0 || here >= CPUS || claim(team, (size_t)here) ||
        sched_getaffinity(0, sizeof allowed, &allowed) != 0)
        return;
    for (; cpu < CPUS; cpu++)
        if (CPU_ISSET(cpu, &allowed) && claim(team, cpu))
            break;
    if (cpu == CPUS)
        return;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    if (sched_setaffinity(0, sizeof one, &one) == 0)
        sched_setaffinity(0, sizeof allowed, &allowed);
}

/* --- pieces ---------------------------------------------------------------------------------- */

static void run_piece(const struct job *job, size_t piece, size_t slot)
{
    unsigned mode = denormals_off();
    bool was_busy = busy;
    busy = true;
    job->fn(job->arg, slot, job->items * piece / job->pieces,
            job->items * (piece + 1) / job->pieces);
    busy = was_busy;
    denormals_restore(mode);
}

static struct job job_of(struct team *team, uint64_t ticket)
{
    struct job *from = &team->jobs[ticket >> 32 & 1];
    return (struct job){
        __atomic_load_n(&from->fn, __ATOMIC_RELAXED),
        __atomic_load_n(&from->arg, __ATOMIC_RELAXED),
        __atomic_load_n(&from->items, __ATOMIC_RELAXED),
        __atomic_load_n(&from->pieces, __ATOMIC_RELAXED),
    };
}

/* Take pieces while there are any. Returns the ticket that found none left. */
static uint64_t take_pieces(struct team *team)
{
    uint64_t ticket = __atomic_load_n(&team->ticket, __ATOMIC_ACQUIRE);
    for (;;) {
        struct job job = job_of(team, ticket);
        size_t piece = (uint32_t)ticket;
        if (piece >= job.pieces)
            return ticket;
        if (!__atomic_compare_exchange_n(&team->ticket, &ticket, ticket + 1, false,
                                         __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
            continue;
        run_piece(&job, piece, my_slot);
        __atomic_fetch_add(&team->done, 1, __ATOMIC_RELEASE);
        ticket = __atomic_load_n(&team->ticket, __ATOMIC_ACQUIRE);
    }
}

/* Share the job out and take part until it is done. */
static void post(struct team *team, struct job job)
{
    uint64_t number = (team->ticket >> 32) + 1;
    struct job *to = &team->jobs[number & 1];
    uint32_t looks = 0;
    __atomic_store_n(&team->done, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&to->fn, job.fn, __ATOMIC_RELAXED);
    __atomic_store_n(&to->arg, job.arg, __ATOMIC_RELAXED);
    __atomic_store_n(&to->items, job.items, __ATOMIC_RELAXED);
    __atomic_store_n(&to->pieces, job.pieces, __ATOMIC_RELAXED);
    __atomic_store_n(&team->ticket, number << 32, __ATOMIC_RELEASE);
    take_pieces(team);
    while (__atomic_load_n(&team->done, __ATOMIC_ACQUIRE) < job.pieces)
        wait_a_little(&looks);
}

static void serve(struct team *team)
{
    uint32_t looks = 0;
    sit_apart(team);
    uint64_t none_left = 0;
    while (!__atomic_load_n(&team->over, __ATOMIC_ACQUIRE)) {
        if (__atomic_load_n(&team->ticket, __ATOMIC_ACQUIRE) == none_left) {
            wait_a_little(&looks);
        } else {
            none_left = take_pieces(team);
            looks = 0;
        }
    }
    __atomic_fetch_add(&team->gone, 1, __ATOMIC_RELEASE);
}

/* Let the others go. OpenMP's barrier at the end of a region spins for milliseconds: come to it
 * when nobody is late, or who waits may keep the last one from its CPU. */
static void finish(struct team *team)
{
    uint32_t looks = 0;
    __atomic_store_n(&team->over, true, __ATOMIC_RELEASE);
    while (__atomic_load_n(&team->gone, __ATOMIC_ACQUIRE) < team->threads - 1)
        wait_a_little(&looks);
}

void par_region(void (*fn)(void *arg), void *arg)
{
    size_t threads = kernels_threads();
    if (threads < 2 || my_team) {
        fn(arg);
        return;
    }
    struct team team = {0};
    sit_apart(&team);
#pragma omp parallel num_threads((int)threads)
    {
        my_team = &team;
        my_slot = (size_t)omp_get_thread_num();
        if (my_slot == 0) {
            team.threads = (size_t)omp_get_num_threads(); /* a limit may give fewer */
            fn(arg);
            finish(&team);
        } else {
            serve(&team);
        }
        my_team = NULL;
        my_slot = 0;
    }
}

static void post_in_region(void *arg)
{
    const struct job *job = arg;
    post(my_team, *job);
}

void par_for(size_t items, double flops, par_fn *fn, void *arg)
{
    size_t threads = MIN((size_t)kernels_threads(), items);
    struct job job = {fn, arg, items, 1};
    if (!items)
        return;
    if (threads < 2 || flops < FLOPS_MIN || busy) {
        run_piece(&job, 0, 0);
        return;
    }
    job.pieces = MIN(items, threads * PIECES);
    par_region(post_in_region, &job);
}

struct member_call {
    par_team_fn *fn;
    void *arg;
    size_t members;
};

static void run_member(void *arg, size_t slot, size_t begin, size_t end)
{
    const struct member_call *call = arg;
    (void)slot;
    assert(end == begin + 1);
    call->fn(call->arg, begin, call->members);
}

/* None ends before all have begun: each piece is taken by a thread of its own. */
static void post_team(void *arg)
{
    struct member_call *call = arg;
    call->members = MIN(call->members, my_team ? my_team->threads : 1);
    assert(call->members);
    struct job job = {run_member, call, call->members, call->members};
    if (call->members < 2)
        run_piece(&job, 0, 0);
    else
        post(my_team, job);
}

void par_team(size_t threads, double flops, par_team_fn *fn, void *arg)
{
    struct member_call call = {fn, arg, MIN(threads, PAR_TEAM_MAX)};
    if (threads < 2 || flops < FLOPS_MIN || busy) {
        call.members = 1;
        run_piece(&(struct job){run_member, &call, 1, 1}, 0, 0);
    } else {
        par_region(post_team, &call);
    }
}

void par_barrier_init(struct par_barrier *self)
{
    *self = (struct par_barrier){0};
}

void par_wait(struct par_barrier *self, size_t member, size_t members)
{
    if (members < 2)
        return;
    uint32_t looks = 0, round = self->member[member].come + 1;
    __atomic_store_n(&self->member[member].come, round, __ATOMIC_RELEASE);
    for (size_t i = 0; i < members; i++)
        while ((int32_t)(__atomic_load_n(&self->member[i].come, __ATOMIC_ACQUIRE) - round) < 0)
            wait_a_little(&looks);
}
