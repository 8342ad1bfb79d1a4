/* pick - choose from a family's list
 *
 * PICK(gemm) defines gemm_pick(), which takes the first entry of gemm.def whose needs are met, and
 * gemm_now(), the entry taken (choosing "auto" if nobody chose). Wants `struct gemm_kernel` and,
 * right before, the list:  static const struct gemm_entry gemm_list[] = { #include "gemm.def" }; */
#ifndef CONVOY_WORKER_KERNELS_PICK_H
#define CONVOY_WORKER_KERNELS_PICK_H

#include "worker/kernels/families.h"

#define KERNEL(function, needs) {needs, &function},

#define PICK(family)                                                                               \
    static const struct family##_kernel *family##_picked;                                          \
    void family##_pick(unsigned features)                                                          \
    {                                                                                              \
        size_t i = 0;                                                                              \
        while (family##_list[i].needs & ~features)                                                 \
            i++; /* the last entry needs nothing */                                                \
        family##_picked = family##_list[i].kernel;                                                 \
    }                                                                                              \
    const struct family##_kernel *family##_now(void)                                               \
    {                                                                                              \
        if (!family##_picked)                                                                      \
            kernels_features();                                                                    \
        return family##_picked;                                                                    \
    }

#endif
