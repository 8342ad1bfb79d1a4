/* cpu - the choice of instruction set and threads; see cpu.h */
#include "worker/kernels/cpu.h"

#include <omp.h>
#include <string.h>

#include "worker/kernels/families.h"

static const struct isa {
    const char *name;  /* what the user says */
    unsigned features; /* what kernels may use then */
    unsigned also;     /* and these, where the CPU has them */
} isas[] = {
#define ISA(name, features, also) {name, features, also},
#include "worker/kernels/isa.def"
#undef ISA
};

/* The process-wide choice; written by kernels_start and kernels_set_threads only. */
static const struct isa *chosen;
static uint32_t threads_set;

static unsigned cpu_features(void)
{
    unsigned features = CPU_VECTOR;
#if defined(__x86_64__) || defined(__i386__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2"))
        features |= CPU_AVX2;
    if (__builtin_cpu_supports("fma"))
        features |= CPU_FMA;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        features |= CPU_AVX512;
    if (__builtin_cpu_supports("avx512vnni"))
        features |= CPU_VNNI;
#endif
    return features;
}

static bool runs_here(const struct isa *isa)
{
    return (isa->features & ~cpu_features()) == 0;
}

static const struct isa *find(const char *name)
{
    bool any = strcmp(name, "auto") == 0;
    for (size_t i = 0; i < ARRAY_LEN(isas); i++)
        if (runs_here(&isas[i]) && (any || strcmp(name, isas[i].name) == 0))
            return &isas[i];
    return NULL;
}

bool kernels_start(const char *isa, uint32_t threads)
{
    const struct isa *found = find(isa);
    if (!found)
        return false;
    chosen = found;
    kernels_set_threads(threads);
    families_pick(kernels_features());
    return true;
}

static const struct isa *choice(void)
{
    if (!chosen && !kernels_start("auto", threads_set))
        panic("no instruction set in isa.def runs on this CPU");
    return chosen;
}

const char *kernels_isa(void)
{
    return choice()->name;
}

unsigned kernels_features(void)
{
    const struct isa *isa = choice();
    return isa->features | (isa->also & cpu_features());
}

uint32_t kernels_threads(void)
{
    if (!threads_set)
        kernels_set_threads(0);
    return threads_set;
}

void kernels_set_threads(uint32_t threads)
{
    int cores = omp_get_num_procs();
    threads_set = threads ? threads : (uint32_t)MAX(cores, 1);
}

size_t kernels_isa_list(const char **names, size_t names_max)
{
    size_t count = 0;
    for (size_t i = 0; i < ARRAY_LEN(isas) && count < names_max; i++)
        if (runs_here(&isas[i]))
            names[count++] = isas[i].name;
    return count;
}
