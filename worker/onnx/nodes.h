/* nodes - NodeProto becomes struct node; Constant nodes become constants
 *
 * A call of one of the model's functions becomes the nodes of that function, in a scope of names of
 * its own; a sub-graph becomes a graph of its own (bodies.c). */
#ifndef CONVOY_WORKER_ONNX_NODES_H
#define CONVOY_WORKER_ONNX_NODES_H

#include "worker/onnx/functions.h"
#include "worker/onnx/names.h"
#include "worker/onnx/tensors.h"

#define BODIES_MAX 4 /* sub-graphs of one node; If has two */

/* What the bodies of one node read from around them: value `outer` there is value inside[b] of body
 * b, or VALUE_NONE. */
struct capture {
    uint32_t outer;
    uint32_t inside[BODIES_MAX];
};

struct captures {
    struct capture *list; /* grows; freed by the node's import */
    uint32_t len, room;
    struct graph *bodies[BODIES_MAX];
    uint32_t bodies_len;
};

/* What the whole model may still grow by; see import_spend. */
struct budget {
    size_t nodes;          /* so far */
    size_t values;         /* so far, at most */
    size_t function_bytes; /* of functions written out so far, as the file has them */
};

/* What is at hand while one scope of names is read: the model's graph, a body, or a call. */
struct import {
    struct graph *graph;         /* being filled */
    int opset;                   /* of the nodes: a function may import another than the model */
    struct source *source;       /* the file, and those beside it */
    struct names *names;         /* values so far */
    struct functions *functions; /* the model's */
    struct budget *budget;       /* the model's */
    struct error *why;
    struct import *outer;      /* of a body: the scope around it; else NULL */
    struct captures *captures; /* of a body: of its node */
    uint32_t body;             /* which of the node's bodies this is */
    uint32_t depth;            /* bodies around this one */
    const struct call *call;   /* the call that this scope is inside of; or NULL */
};

/* A node that calls a function. */
struct call {
    const Onnx__NodeProto *node;
    const struct function *function;
    const struct call *outer; /* the call that the node is inside of; or NULL */
    const char *name;         /* the node's, for messages */
};

/* The value of that name, in this scope or around it; VALUE_NONE when there is none, or when it is
 * an input that the call leaves out. One from around becomes a constant here if it is one there,
 * else an input: a capture of the node. */
uint32_t import_find(struct import *self, const char *name);

/* Values, inputs, nodes and outputs of a model's graph or of a body. */
enum status import_graph(struct import *self, const Onnx__GraphProto *p);

/* Read the sub-graph `p` of a node of self->graph, which then owns *body. */
enum status import_body(struct import *self, const Onnx__GraphProto *p, struct captures *captures,
                        struct graph **body);

/* All bodies of the node are read: their captures become the last inputs of each. */
void import_captures(struct captures *captures);

/* A copy of `text` (NULL: "") in the graph's region. */
const char *import_text(struct import *self, const char *text);

/* Attributes of a node. A reference is replaced by what the call gives, or by the function's
 * default; where there is neither, the attribute is left out. */
enum status import_attrs(struct import *self, const char *name, const Onnx__NodeProto *p,
                         struct captures *captures, struct attr **attrs, uint32_t *len);

/* BAD_MODEL naming every operator that this engine lacks, with domain and count. */
enum status import_check_operators(struct import *self, const Onnx__GraphProto *graph);

/* BAD_MODEL when the model with `nodes` more that name `values` more would be too large. */
enum status import_spend(struct import *self, size_t nodes, size_t values);

/* Add these nodes in order. */
enum status import_nodes(struct import *self, Onnx__NodeProto *const *nodes, size_t len);

#endif
