/* fuzz_npy - a .npy file that somebody uploads: its header, and the sizes that follow from it */
#include "common/npy.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct npy npy;
    struct error why;
    if (npy_parse_header(&npy, data, size, &why) == STATUS_OK)
        assert(npy.data_offset <= size && npy.rank <= TENSOR_RANK_MAX);
    if (npy_over(&npy, data, size, &why) != STATUS_OK) {
        assert(why.text[0]);
        return 0;
    }
    assert(npy.data_offset + npy.data_bytes == size);
    assert(npy.data_bytes == 0 || npy.data == data + npy.data_offset);
    assert(npy.rank == 0 || npy_rows(&npy) == (uint64_t)npy.dims[0]);
    assert(npy_rows(&npy) * npy_row_bytes(&npy) == npy.data_bytes);
    return 0;
}
