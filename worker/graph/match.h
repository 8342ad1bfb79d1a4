/* match - what patterns of nodes are found and replaced with
 *
 * A pattern is matched from its last node back to its inputs. The last node then becomes another
 * operator, and what only it has read is dead. Everything here is before any plan: shapes are not
 * known, so a pattern must say by its attributes and constants that it means what it seems to. */
#ifndef CONVOY_WORKER_GRAPH_MATCH_H
#define CONVOY_WORKER_GRAPH_MATCH_H

#include "worker/graph/graph.h"

bool match_op(const struct node *n, const char *op);

/* The node with that operator that makes value `v`, or NULL. */
struct node *match_maker(const struct graph *g, uint32_t v, const char *op);

/* The same, when nothing else reads its output. */
struct node *match_inner(const struct graph *g, uint32_t v, const char *op);

/* A constant of one FP32 number. */
bool match_scalar(const struct graph *g, uint32_t v, float *x);
/* A number as close to `want` as its rounding to FP32 or its writing with five digits allows. */
bool match_close(double x, double want);
/* A constant FP32 vector of more than one element; its length, or 0. */
size_t match_vector(const struct graph *g, uint32_t v);

/* For a node of two inputs one of which is `v`: the other, or VALUE_NONE. */
uint32_t match_other(const struct node *n, uint32_t v);

/* Factors of the product that node `n` (Mul, Div or Neg) ends: products inside that nobody else
 * reads are taken apart, constants collected, and powers by 2 and 3 written out. */
#define FACTORS_MAX 4
struct product {
    double constant;
    uint32_t len;
    uint32_t factors[FACTORS_MAX];
};
bool match_product(const struct graph *g, const struct node *n, struct product *p);

/* The factor beside `v`, when those are the two. */
uint32_t match_beside(const struct product *p, uint32_t v);

/* `n` becomes `op` as of opset `opset`, with those inputs and attributes (in the graph's region or
 * static); `label` is what profiles call it. */
void match_become(struct graph *g, struct node *n, const char *op, int opset, const char *label,
                  const uint32_t *inputs, uint32_t inputs_len, const struct attr *attrs,
                  uint32_t attrs_len);

#endif
