/* rnn, for any CPU */
#define RNN_KERNEL rnn_generic
#include "worker/kernels/rnn_body.h"
