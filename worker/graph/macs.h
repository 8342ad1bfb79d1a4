/* macs - multiply-accumulates of one node at the shapes of its step, for people who measure
 *
 * Counted where products make up the work: convolution, matrix products, recurrent layers. 0 for
 * all others, and for a step whose shapes are not known yet. */
#ifndef CONVOY_WORKER_GRAPH_MACS_H
#define CONVOY_WORKER_GRAPH_MACS_H

#include "worker/ops/op.h"

uint64_t step_macs(const struct step *step);

/* A measure of the time that it takes: those, and the bytes that it reads and writes. */
uint64_t step_work(const struct step *step);

#endif
