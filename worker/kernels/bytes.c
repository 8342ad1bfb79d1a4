/* bytes - the choice of instruction set; see bytes.h */
#include "worker/kernels/bytes.h"

#include "worker/kernels/bytes_kernel.h"

/* clang-format off */
#include "worker/kernels/pick.h"
struct bytes_entry { unsigned needs; const struct bytes_kernel *kernel; };
static const struct bytes_entry bytes_list[] = {
#include "worker/kernels/bytes.def"
};
PICK(bytes)
/* clang-format on */

bool bytes_has(enum dtype type)
{
    return type == DTYPE_INT8 || type == DTYPE_UINT8 || type == DTYPE_INT16 || type == DTYPE_UINT16;
}

void bytes_dots(size_t rows, size_t cols, size_t k, const int16_t *a, const int16_t *b, int32_t *c,
                size_t c_step)
{
    bytes_now()->dots(rows, cols, k, a, b, c, c_step);
}

void bytes_from_fp32(struct bytes_scale s, size_t n, const float *x, void *q)
{
    bytes_now()->from_fp32(s, n, x, q);
}

void bytes_to_fp32(struct bytes_scale s, size_t n, const void *q, float *y)
{
    bytes_now()->to_fp32(s, n, q, y);
}
