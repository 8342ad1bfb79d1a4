/* rnn_grad, for AVX-512 */
#define RNN_GRAD_KERNEL rnn_grad_avx512
#include "worker/kernels/rnn_grad_body.h"
