/* rnn_grad, for AVX2 with FMA */
#define RNN_GRAD_KERNEL rnn_grad_avx2
#include "worker/kernels/rnn_grad_body.h"
