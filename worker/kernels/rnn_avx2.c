/* rnn, for AVX2 and FMA */
#define RNN_KERNEL rnn_avx2
#include "worker/kernels/rnn_body.h"
