/* rnn, for AVX-512 */
#define RNN_KERNEL rnn_avx512
#include "worker/kernels/rnn_body.h"
