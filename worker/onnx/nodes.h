/* nodes - NodeProto becomes struct node; Constant nodes become constants */
#ifndef CONVOY_WORKER_ONNX_NODES_H
#define CONVOY_WORKER_ONNX_NODES_H

#include "worker/onnx/names.h"
#include "worker/onnx/tensors.h"

#define BODIES_MAX       4  /* sub-graphs of one node; If has two */
#define BODIES_DEPTH_MAX 16 /* sub-graphs inside sub-graphs */

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

/* What is at hand while one graph is read: the model's, or a body. */
struct import {
    struct graph *graph;  /* being filled */
    struct source source; /* the file */
    struct names *names;  /* values so far */
    struct error *why;
    struct import *outer;      /* of a body: the graph around it; else NULL */
    struct captures *captures; /* of a body: of its node */
    uint32_t body;             /* which of the node's bodies this is */
    uint32_t depth;            /* bodies around this one */
};

/* The value of that name, in this graph or around it; VALUE_NONE when there is none. One from
 * around becomes a constant here if it is one there, else an input: a capture of the node. */
uint32_t import_find(struct import *self, const char *name);

/* Values, inputs, nodes and outputs of a model's graph or of a body. */
enum status import_graph(struct import *self, const Onnx__GraphProto *p);

/* Read the sub-graph `p` of a node of self->graph, which then owns *body. */
enum status import_body(struct import *self, const Onnx__GraphProto *p, struct captures *captures,
                        struct graph **body);

/* All bodies of the node are read: their captures become the last inputs of each. */
void import_captures(struct captures *captures);

/* "" and "ai.onnx" are the same domain; NULL counts as "". */
bool onnx_domain_is_ours(const char *domain);

/* A copy of `text` (NULL: "") in the graph's region. */
const char *import_text(struct import *self, const char *text);

/* BAD_MODEL naming every operator that this engine lacks, with domain and count. */
enum status import_check_operators(struct import *self, const Onnx__GraphProto *graph);

/* Add all nodes in order. */
enum status import_nodes(struct import *self, const Onnx__GraphProto *graph);

#endif
