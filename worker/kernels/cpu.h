/* cpu - which instruction set the kernels use, and with how many threads
 *
 * Chosen once per process, before the first plan is made: packed weights belong to the choice
 * that packed them. Tests choose each in turn. Not to be called while kernels run. */
#ifndef CONVOY_WORKER_KERNELS_CPU_H
#define CONVOY_WORKER_KERNELS_CPU_H

#include "common/base.h"

/* What a kernel may need; the `needs` column of every family's list. */
enum cpu_feature {
    CPU_VECTOR = 1, /* the compiler's portable vectors; always there, absent only for "reference" */
    CPU_AVX2 = 2,
    CPU_FMA = 4,
    CPU_AVX512 = 8, /* F, BW, DQ and VL together; also 32 registers for 128 and 256 bits */
    CPU_VNNI = 16,  /* AVX512_VNNI: products of bytes added into 32 bits */
};

/* Choose by name: "auto" or one of isa.def, with "/strict" behind it for plain sums only, without
 * algorithms whose rounding errors are larger than theirs ("/fast", the default). Every family then
 * picks the first entry of its list whose needs are met. False, and nothing changed, when the name
 * is unknown or this CPU lacks it. */
bool kernels_start(const char *isa, uint32_t threads);

/* Name of the choice, as in isa.def; chooses "auto" with one thread per core if nothing did. */
const char *kernels_isa(void);

/* Whether the choice was "/strict". */
bool kernels_strict(void);

/* Features of the choice: what the families' _pick() take. */
unsigned kernels_features(void);

/* Threads that one kernel may use, at least 1; setting 0 means one per core this process may use.
 */
uint32_t kernels_threads(void);
void kernels_set_threads(uint32_t threads);

/* Bytes of a core's second-level cache, 512 KiB where the system does not tell: for the size of
 * pieces of work, which changes no byte of a result. */
size_t kernels_l2_bytes(void);

/* Names of isa.def that this CPU can run, best first; returns how many were written. */
size_t kernels_isa_list(const char **names, size_t names_max);

#endif
