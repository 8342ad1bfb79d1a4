/* peak - what the FMA units of this machine can do; see peak.h */
#include "tests/bench/peak.h"

#include "worker/kernels/cpu.h"
#include "worker/kernels/par.h"

#define ROUNDS 20000L
#define CHAINS 10 /* enough to hide the latency of an FMA on two ports */

#if defined(__x86_64__)
#define FMA(reg, to) "vfmadd231ps %%" reg "14, %%" reg "15, %%" reg to "\n"
#define CLEAR(reg)   "vxorps %%xmm" reg ", %%xmm" reg ", %%xmm" reg "\n" /* to its whole width */
#define CHAIN_LOOP(reg)                                                                            \
    __asm__ volatile(                                                                              \
        CLEAR("0") CLEAR("1") CLEAR("2") CLEAR("3") CLEAR("4") CLEAR("5") CLEAR("6") CLEAR("7")    \
            CLEAR("8") CLEAR("9") CLEAR("14") CLEAR("15") "1:\n" FMA(reg, "0") FMA(reg, "1")       \
                FMA(reg, "2") FMA(reg, "3") FMA(reg, "4") FMA(reg, "5") FMA(reg, "6")              \
                    FMA(reg, "7") FMA(reg, "8") FMA(reg, "9") "dec %0\njnz 1b\nvzeroupper\n"       \
        : "+r"(rounds)                                                                             \
        :                                                                                          \
        : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm14", \
          "xmm15", "cc")

static size_t lanes(void)
{
    return __builtin_cpu_supports("avx512f") ? 16 : __builtin_cpu_supports("fma") ? 8 : 0;
}

static void chains(void)
{
    long rounds = ROUNDS;
    if (lanes() == 16)
        CHAIN_LOOP("zmm");
    else if (lanes() == 8)
        CHAIN_LOOP("ymm");
}
#else
static size_t lanes(void)
{
    return 0;
}

static void chains(void)
{
}
#endif

static void run_items(void *arg, size_t slot, size_t begin, size_t end)
{
    (void)arg;
    (void)slot;
    for (size_t i = begin; i < end; i++)
        chains();
}

void peak_run(void *unused)
{
    (void)unused;
    par_for(kernels_threads(), 1e9, run_items, NULL);
}

double peak_flops(void)
{
    return 2.0 * (double)lanes() * CHAINS * (double)ROUNDS * kernels_threads();
}
