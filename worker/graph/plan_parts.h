/* plan_parts - what plan.c (running), plan_make.c (building), plan_lay.c (addresses) and
 * plan_late.c (steps shaped while running) share; nobody else includes it */
#ifndef CONVOY_WORKER_GRAPH_PLAN_PARTS_H
#define CONVOY_WORKER_GRAPH_PLAN_PARTS_H

#include "worker/graph/plan.h"

/* An array and where its bytes lie. */
struct place {
    struct array array;   /* first, so that an array's address is its place's */
    struct place *root;   /* the place whose memory it shares; itself when it has its own */
    struct place *other;  /* the same value in the other layout, if some step wanted it */
    uint32_t input;       /* root of an input of the graph: its index; else UINT32_MAX */
    uint32_t first, last; /* steps that write and last read it, through views too */
    bool read;            /* by a step or as an output */
    bool output;          /* or a view of one: lives to the end */
    bool late;            /* dims are known once its maker has run; lies in the slab */
    size_t offset;        /* in the arena; of roots */
};

struct plan {
    struct region *region; /* everything below */
    size_t values_len;
    struct place *places;  /* by value number */
    struct place **extras; /* arrays that are not values of the graph: converted copies */
    size_t extras_len, extras_room;
    struct step **by_node; /* shaped step of each node; NULL where the graph has none */
    struct step **steps;   /* those that run, in order */
    size_t *scratch_at;    /* offset of each one's scratch */
    size_t steps_len, steps_room;
    uint32_t inputs_len;
    struct place **inputs;
    uint32_t outputs_len;
    struct place **outputs;
    struct place **bound; /* places with an address that changes: all but constants */
    size_t bound_len;
    struct place **late; /* places in the slab that a step makes, by last reader */
    size_t late_len;
    struct region *late_region; /* params of the deferred step that is running */
    size_t arena_bytes;
    bool parallel;  /* some step has enough work for several threads */
    bool convolves; /* see plan_convolves */
    size_t step_bytes;
};

/* Copies between layouts and out of inputs: ops that no file can name. */
extern const struct op plan_reorder_op;
extern const struct op plan_copy_op;

/* After the walk of plan_make: drop steps that nobody reads, find lifetimes and addresses. */
enum status plan_lay_out(struct plan *plan, struct error *why);

/* Shape and run a deferred step. */
enum status plan_run_deferred(struct plan *self, struct step *step, struct error *why);

/* *to becomes the plain form of a late output. */
enum status plan_late_plain(struct plan *self, struct array *a, struct run *run, struct error *why);

#endif
