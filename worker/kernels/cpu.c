/* cpu - the choice of instruction set and threads; see cpu.h */
#include "worker/kernels/cpu.h"

#include <omp.h>
#include <string.h>
#include <unistd.h>

#include "worker/kernels/families.h"
#include "worker/kernels/par.h"

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
static bool strict;
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

/* `name` goes up to `len`; the best that runs here if it is "auto". */
static const struct isa *find(const char *name, size_t len)
{
    bool any = len == 4 && memcmp(name, "auto", 4) == 0;
    for (size_t i = 0; i < ARRAY_LEN(isas); i++) {
        bool same = strlen(isas[i].name) == len && memcmp(name, isas[i].name, len) == 0;
        if (runs_here(&isas[i]) && (any || same))
            return &isas[i];
    }
    return NULL;
}

bool kernels_start(const char *isa, uint32_t threads)
{
    size_t len = strcspn(isa, "/");
    const struct isa *found = find(isa, len);
    const char *class = isa + len;
    if (!found || (*class && strcmp(class, "/strict") != 0 && strcmp(class, "/fast") != 0))
        return false;
    chosen = found;
    strict = strcmp(class, "/strict") == 0;
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

bool kernels_strict(void)
{
    return strict;
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
    threads_set = MIN(threads ? threads : (uint32_t)MAX(cores, 1), PAR_SLOTS_MAX);
}

size_t kernels_l2_bytes(void)
{
    static size_t bytes; /* the same for whoever asks first */
    if (!bytes) {
        long told = 0;
#ifdef _SC_LEVEL2_CACHE_SIZE
        told = sysconf(_SC_LEVEL2_CACHE_SIZE);
#endif
        bytes = told > 0 ? MIN(MAX((size_t)told, 256 * KIB), 2 * MIB) : 512 * KIB;
    }
    return bytes;
}

size_t kernels_isa_list(const char **names, size_t names_max)
{
    size_t count = 0;
    for (size_t i = 0; i < ARRAY_LEN(isas) && count < names_max; i++)
        if (runs_here(&isas[i]))
            names[count++] = isas[i].name;
    return count;
}
