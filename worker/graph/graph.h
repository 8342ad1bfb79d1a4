/* graph - a model as values and nodes, independent of the file format
 *
 * A graph owns its values, nodes, attributes and packed weights. Constant bytes may lie in the
 * file, which must stay mapped. Values and nodes are known by number; nodes stand in an order in
 * which each comes after the makers of its inputs. */
#ifndef CONVOY_WORKER_GRAPH_GRAPH_H
#define CONVOY_WORKER_GRAPH_GRAPH_H

#include "common/file.h"
#include "worker/ops/op.h"

#define GRAPH_NODES_MAX  100000 /* far above real models (hundreds to some thousands) */
#define GRAPH_VALUES_MAX 400000
#define GRAPH_DEPTH_MAX  16 /* sub-graphs inside sub-graphs */

enum value_kind {
    VALUE_INPUT, /* given by the caller of each run */
    VALUE_CONST, /* initializer, Constant, or folded */
    VALUE_MADE,  /* output of a node */
};

struct value {
    const char *name;
    enum value_kind kind;
    enum dtype dtype;              /* DTYPE_NONE where not declared: made values */
    uint32_t rank;                 /* of inputs and constants */
    int64_t dims[TENSOR_RANK_MAX]; /* -1 where an input leaves it open */
    const void *raw;               /* VALUE_CONST: its bytes, perhaps not aligned */
    size_t bytes;                  /* of raw */
    void *aligned;                 /* VALUE_CONST: the same, aligned; NULL until asked for */
    bool outer;                    /* VALUE_CONST of a graph around this one */
    bool decides;     /* VALUE_INPUT, a scalar or vector: what it holds decides shapes */
    uint32_t maker;   /* VALUE_MADE: node number */
    uint32_t readers; /* inputs of nodes and graph outputs that name it */
};

struct graph {
    struct region *region;
    struct file_map file; /* the model's, where it lies in one; empty otherwise; not owned */
    int opset;            /* of the domain ai.onnx */
    bool repeats; /* body of a loop: what its inputs hold decides nothing, it changes each turn */
    uint32_t values_len;
    uint32_t values_room;
    struct value *values;
    uint32_t nodes_len;
    uint32_t nodes_room;
    struct node **nodes;  /* NULL where optimisation removed one */
    struct node *reorder; /* stands in profiles for all conversions of layout in plans, */
    struct node *copy;    /* and this one for copies of inputs to outputs */
    uint32_t inputs_len;
    uint32_t *inputs; /* value numbers in the model's order, initializers left out */
    uint32_t outputs_len;
    uint32_t *outputs;
    struct graph **bodies; /* sub-graphs of nodes, even of removed ones */
    uint32_t bodies_len, bodies_room;
    struct tensor *declared; /* outputs as the model declares them; rank and dims may be wrong */
};

struct graph *graph_new(void);

/* Add an empty value with that name (which the caller keeps alive); returns its number. */
uint32_t graph_value(struct graph *self, const char *name, enum value_kind kind);

/* Add a node; the graph's region must own it. */
void graph_node(struct graph *self, struct node *node);

/* `body` lives as long as `self` from now on. */
void graph_own(struct graph *self, struct graph *body);

/* Sub-graph `i` of a node in the order of its attributes; NULL beyond the last. */
struct graph *graph_body(const struct node *node, uint32_t i);

/* Captures of the node whose values are constants become constants of its bodies, and those that no
 * body reads disappear. */
void graph_settle_captures(struct graph *self, struct node *node);

/* Make value `number` a constant with these bytes. */
void graph_set_const(struct graph *self, uint32_t number, enum dtype dtype, const int64_t *dims,
                     uint32_t rank, const void *raw, size_t bytes);

/* The bytes of a constant on an element boundary: a copy in the region the first time that the
 * file has them elsewhere. */
void *graph_const_data(struct graph *self, uint32_t number);

/* The file in which the constants of the graph and of its bodies lie. */
void graph_set_file(struct graph *self, struct file_map file);

/* Attributes read and checked by each operator; an attribute that none reads is refused. */
enum status graph_check(struct graph *self, struct error *why);

/* Find the inputs whose contents decide shapes: those that are, or lead to, an operator's input
 * that must be known when planning. Plans are then made for their contents too. */
void graph_mark_deciding(struct graph *self);

/* Count readers anew. */
void graph_count_readers(struct graph *self);

/* Remove nodes whose outputs nobody reads. */
void graph_drop_dead(struct graph *self);

/* Let every reader of value `from` read `to` instead, graph outputs excepted. */
void graph_redirect(struct graph *self, uint32_t from, uint32_t to);

/* True when value `number` is an output of the graph. */
bool graph_is_output(const struct graph *self, uint32_t number);

/* Every node of the graph and of its bodies, in order. */
void graph_each_node(struct graph *self, void (*visit)(struct node *node, void *arg), void *arg);

/* Elements of all constants with at least one dim, bodies included; what a body has from around it
 * counts once. */
uint64_t graph_parameters(const struct graph *self);

void graph_destroy(struct graph **self_p);

#endif
