/* rnn_grad, for any CPU */
#define RNN_GRAD_KERNEL rnn_grad_generic
#include "worker/kernels/rnn_grad_body.h"
