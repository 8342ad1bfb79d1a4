/* nodes - NodeProto becomes struct node; Constant nodes become constants */
#ifndef CONVOY_WORKER_ONNX_NODES_H
#define CONVOY_WORKER_ONNX_NODES_H

#include "worker/onnx/names.h"
#include "worker/onnx/tensors.h"

/* What is at hand while one model is read. */
struct import {
    struct graph *graph;  /* being filled */
    struct source source; /* the file */
    struct names *names;  /* values so far */
    struct error *why;
};

/* "" and "ai.onnx" are the same domain; NULL counts as "". */
bool onnx_domain_is_ours(const char *domain);

/* A copy of `text` (NULL: "") in the graph's region. */
const char *import_text(struct import *self, const char *text);

/* BAD_MODEL naming every operator that this engine lacks, with domain and count. */
enum status import_check_operators(struct import *self, const Onnx__GraphProto *graph);

/* Add all nodes in order. */
enum status import_nodes(struct import *self, const Onnx__GraphProto *graph);

#endif
