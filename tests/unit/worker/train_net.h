/* train_net - small networks from a line of text, and what they compute in double precision
 *
 *   "x[2,3,5,5] W[4,3,3,3] B[4]; c=Conv(x,W,B) pads=1,1,1,1; y=Relu(c)"
 *
 * A name with dims is a tensor of random values: one with a capital letter is a constant as a file
 * has it; another one comes out of an Add of two such constants, so that it learns wherever it is
 * read. `n={2,-1}` is a constant of INT64. The last node's output is the network's.
 * Attributes are numbers, or with a point in it floats, or texts. The evaluation is written from
 * ONNX's definitions, in plain loops, and shares no code with the engine but the shapes. */
#ifndef CONVOY_TESTS_UNIT_WORKER_TRAIN_NET_H
#define CONVOY_TESTS_UNIT_WORKER_TRAIN_NET_H

#include "worker/graph/plan.h"
#include "worker/train/trainer.h"

struct net {
    const char *text;
    struct graph *graph; /* for the reference; the trainer gets one of its own */
    struct plan *plan;   /* whose shapes it uses */
    double **values;     /* by value number */
    uint32_t output;
    size_t rows, cols; /* of the output; cols is its last dim */
};

/* The graph of `text`; constants depend on `seed`. Fails the test where the text is wrong. */
struct graph *net_graph(const char *text, uint64_t seed);

struct net *net_new(const char *text, uint64_t seed);
/* Of a graph that has inputs, which it takes; their values are copied. `text` is its name. */
struct net *net_of(const char *text, struct graph *graph, const struct tensor *inputs);
void net_free(struct net **self_p);

/* The values of a constant, in double, to be changed. */
double *net_const(struct net *self, const char *name, size_t *count);

/* The output from the constants as they are now. */
const double *net_run(struct net *self);

/* One node, in train_reference.c. */
void reference_run(struct net *self, struct node *node);

/* Dims of a value. */
const struct array *net_shape(const struct net *self, uint32_t value);

#endif
