/* train_reference - one operator in double precision: what train_reference*.c share */
#ifndef CONVOY_TESTS_UNIT_WORKER_TRAIN_REFERENCE_H
#define CONVOY_TESTS_UNIT_WORKER_TRAIN_REFERENCE_H

#include "tests/unit/worker/train_net.h"

/* Inputs and outputs that are not there are NULL. */
struct call {
    struct net *net;
    struct node *node;
    const struct array *in[8], *out[8];
    double *x[8], *y[8];
};

void reference_rnn(struct call *c);

#endif
