/* train_check - gradients of a network that learns against central differences in double precision
 */
#ifndef CONVOY_TESTS_UNIT_WORKER_TRAIN_CHECK_H
#define CONVOY_TESTS_UNIT_WORKER_TRAIN_CHECK_H

#include "tests/unit/worker/train_net.h"

/* One step of rate 0 towards random targets: the loss and the gradient of each parameter that
 * learns, against those of the same network in double. Fails the test, by name, where they differ.
 */
void check_gradients(struct net *net, struct trainer *t, const struct tensor *inputs,
                     uint32_t inputs_len, enum loss_kind loss, uint64_t seed);

/* CTC's loss of one sequence, by going through all paths, cols^steps of them; labels end with the
 * first 0. */
double check_ctc(size_t steps, size_t cols, const double *x, size_t len, const double *labels);

/* The k-th mode to check in: instruction sets, with one thread or two. False behind the last one,
 * when things are again as usual. */
bool check_mode(size_t k);

#endif
