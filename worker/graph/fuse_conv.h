/* fuse_conv - scaling and shifting of each channel, put into the weights of the Conv in front
 *
 * BatchNormalization, and Mul, Div, Add or Sub of one constant per channel (or for all), are linear
 * in what a Conv computes: w' = a w and b' = a b + c give the same up to rounding. */
#ifndef CONVOY_WORKER_GRAPH_FUSE_CONV_H
#define CONVOY_WORKER_GRAPH_FUSE_CONV_H

#include "worker/graph/graph.h"

/* Give Conv `n` new weights and bias so that it computes what `next`, the only reader of its
 * output, made of it. False, and nothing changed, when `next` is no such node or something is not
 * constant. The caller then removes `next`. */
bool fuse_scale_shift(struct graph *graph, struct node *n, const struct node *next);

#endif
