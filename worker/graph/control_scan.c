/* control_scan - Scan: a sub-graph over the slices of its inputs, with states between them
 *
 * Opset 8 has a batch axis in front of everything: its rows are scanned one after another. */
#include <inttypes.h>
#include <string.h>

#include "worker/graph/body.h"
#include "worker/ops/broadcast.h"
#include "worker/ops/ops.h"
#include "worker/ops/slab.h"

/* Along which axis an input is sliced or an output is put together, and from which end. */
struct track {
    int64_t axis;
    bool reverse;
};

struct scan_state {
    struct body body;
    bool batched; /* opset 8 */
    uint32_t states, scanned, gathered;
    int64_t rows, len;       /* of the run that is under way */
    struct track *from, *to; /* of each scanned input and gathered output */
    struct array *inputs;    /* of the body: states, slices, captures */
    struct array *next;      /* states that the turn has made */
};

/* The part of an array that belongs to row `row` of the batch, or to one slice, or to both. */
struct cut {
    bool batched;
    int64_t row;
    int64_t axis; /* behind the batch axis; -1: not sliced */
    int64_t at;
};

static void scan_free(void *packed)
{
    body_clear(&((struct scan_state *)packed)->body);
}

static enum status read_tracks(struct node *node, const char *axes, const char *directions,
                               uint32_t len, struct track *tracks, struct error *why)
{
    size_t axes_len = 0, directions_len;
    const int64_t *axis = axes ? attr_ints(node, axes, &axes_len) : NULL;
    const int64_t *direction = attr_ints(node, directions, &directions_len);
    if ((axes_len && axes_len != len) || (directions_len && directions_len != len))
        return bad_node(why, node, "%zu axes and %zu directions (\"%s\"); expected %u of each",
                        axes_len, directions_len, directions, len);
    for (uint32_t i = 0; i < len; i++)
        tracks[i] = (struct track){axes_len ? axis[i] : 0, directions_len && direction[i] != 0};
    return STATUS_OK;
}

enum status scan_check(struct node *node, struct error *why)
{
    struct scan_state *c = region_take(node->region, sizeof *c);
    int64_t scanned = attr_int(node, "num_scan_inputs", 0);
    node->state = node->packed = c;
    node->unpack = scan_free;
    c->batched = node->op->variant == VARIANT_LEGACY;
    uint32_t own = node->inputs_len - node->captures - (c->batched ? 1 : 0);
    if (scanned < 1 || scanned > own)
        return bad_node(why, node, "num_scan_inputs is %" PRId64 "; expected 1 to %u", scanned,
                        own);
    c->scanned = (uint32_t)scanned;
    c->states = own - c->scanned;
    enum status s = body_find(&c->body, node, "body", own, c->states, why);
    if (s != STATUS_OK)
        return s;
    c->body.plans.graph->repeats = true;
    c->gathered = body_outputs(&c->body) - c->states;
    if (node->outputs_len > c->states + c->gathered)
        return bad_node(why, node, "it has %u outputs; its body gives %u", node->outputs_len,
                        c->states + c->gathered);
    c->from = region_array(node->region, c->scanned, sizeof *c->from);
    c->to = region_array(node->region, c->gathered, sizeof *c->to);
    c->inputs = region_array(node->region, own + node->captures, sizeof *c->inputs);
    c->next = region_array(node->region, c->states, sizeof *c->next);
    s = read_tracks(node, c->batched ? NULL : "scan_input_axes",
                    c->batched ? "directions" : "scan_input_directions", c->scanned, c->from, why);
    if (s == STATUS_OK && !c->batched)
        s = read_tracks(node, "scan_output_axes", "scan_output_directions", c->gathered, c->to,
                        why);
    return s;
}

enum status scan_shape(struct step *step, struct error *why)
{
    (void)why;
    step->late = true;
    return STATUS_OK;
}

/* Describe `part` as that cut of `whole`. */
static void cut_describe(const struct array *whole, const struct cut *c, struct array *part)
{
    *part = (struct array){.name = whole->name, .dtype = whole->dtype};
    part->bytes = element_bytes(part->dtype);
    for (uint32_t k = c->batched ? 1 : 0; k < whole->rank; k++) {
        if ((int64_t)k - (c->batched ? 1 : 0) == c->axis)
            continue;
        part->dims[part->rank++] = whole->dims[k];
        part->bytes *= (size_t)whole->dims[k];
    }
}

/* Copy the cut out of `whole` into `part`, or back. */
static void cut_copy(const struct array *whole, const struct cut *c, const struct array *part,
                     bool back)
{
    int64_t all[TENSOR_RANK_MAX], far[TENSOR_RANK_MAX], near[TENSOR_RANK_MAX], offset = 0;
    uint32_t rank = 0;
    size_t element = element_bytes(part->dtype);
    dense_steps(whole->dims, whole->rank, all);
    dense_steps(part->dims, part->rank, near);
    for (uint32_t k = 0; k < whole->rank; k++) {
        if (c->batched && k == 0)
            offset += c->row * all[k];
        else if ((int64_t)k - (c->batched ? 1 : 0) == c->axis)
            offset += c->at * all[k];
        else
            far[rank++] = all[k];
    }
    char *there = (char *)whole->data + (size_t)offset * element;
    struct strided s = {.rank = rank, .dims = part->dims, .element = element};
    s.to = back ? there : part->data;
    s.to_steps = back ? far : near;
    s.from = back ? part->data : there;
    s.from_steps = back ? near : far;
    strided_copy(&s);
}

static enum status take_piece(const struct step *step, struct array *a, struct error *why)
{
    a->data = slab_take(step->run->slab, a->bytes);
    a->held = a->data != NULL;
    return a->held ? STATUS_OK
                   : bad_step(why, step, "\"%.200s\" of %zu bytes is more than a run may take",
                              a->name, a->bytes);
}

/* The inputs of the step against each other; how many slices and rows there are. */
static enum status measure(const struct step *step, struct scan_state *c, struct error *why)
{
    uint32_t front = c->batched ? 1 : 0;
    c->len = -1;
    c->rows = c->batched ? -1 : 1;
    for (uint32_t i = 0; i < c->states + c->scanned; i++) {
        const struct array *a = body_input(step, front + i);
        if (!a || a->sequence || a->rank < front)
            return bad_step(why, step, "its input %u must be a tensor of rank %u or more",
                            front + i, front);
        if (front && c->rows < 0)
            c->rows = a->dims[0];
        if (front && a->dims[0] != c->rows)
            return bad_step(why, step, "input %u has %" PRId64 " rows, the first %" PRId64,
                            front + i, a->dims[0], c->rows);
        if (i < c->states)
            continue;
        int64_t axis = c->from[i - c->states].axis;
        if (!axis_ok(&axis, a->rank - front))
            return bad_step(why, step, "axis %" PRId64 " is outside of input %u", axis, front + i);
        if (c->len < 0)
            c->len = a->dims[axis + front];
        if (a->dims[axis + front] != c->len)
            return bad_step(why, step, "input %u has %" PRId64 " slices, the first %" PRId64,
                            front + i, a->dims[axis + front], c->len);
    }
    if (!c->rows)
        return bad_step(why, step, "a batch without rows");
    return STATUS_OK;
}

/* The cut of scanned input `i` for turn `turn`. */
static struct cut input_cut(const struct step *step, const struct scan_state *c, uint32_t i,
                            int64_t row, int64_t turn)
{
    const struct array *a = body_input(step, (c->batched ? 1 : 0) + c->states + i);
    struct cut cut = {c->batched, row, c->from[i].axis,
                      c->from[i].reverse ? c->len - 1 - turn : turn};
    axis_ok(&cut.axis, a->rank - (c->batched ? 1 : 0));
    return cut;
}

/* Put `part` into output `o` at row `row` and, if it is a gathered one, turn `turn` of `len`. The
 * output is made for its first part; a part without data only makes it. */
static enum status put(const struct step *step, const struct scan_state *c, uint32_t o,
                       const struct array *part, int64_t row, int64_t turn, struct error *why)
{
    struct array *whole = step_out(step, o);
    struct cut cut = {c->batched, row, -1, turn};
    int64_t dims[TENSOR_RANK_MAX + 2];
    uint32_t rank = 0, taken = 0;
    if (!whole)
        return STATUS_OK;
    if (part->sequence)
        return bad_step(why, step, "its body gives a sequence as output %u", o);
    if (o >= c->states) {
        cut.axis = c->to[o - c->states].axis;
        if (!axis_ok(&cut.axis, part->rank + 1))
            return bad_step(why, step, "axis %" PRId64 " is outside of output %u", cut.axis, o);
        if (c->to[o - c->states].reverse)
            cut.at = c->len - 1 - turn;
    }
    if (c->batched)
        dims[rank++] = c->rows;
    for (int64_t to = 0; taken < part->rank || to == cut.axis; to++)
        dims[rank++] = to == cut.axis ? c->len : part->dims[taken++];
    enum status s = whole->held ? STATUS_OK : out_make(step, o, part->dtype, dims, rank, why);
    if (s != STATUS_OK)
        return s;
    if (whole->dtype != part->dtype || whole->rank != rank ||
        memcmp(whole->dims, dims, rank * sizeof dims[0]) != 0)
        return bad_step(why, step, "its body changes the shape of output %u between turns", o);
    if (part->data)
        cut_copy(whole, &cut, part, true);
    return STATUS_OK;
}

static enum status start_row(const struct step *step, struct scan_state *c, int64_t row,
                             struct error *why)
{
    enum status s = STATUS_OK;
    for (uint32_t i = 0; i < c->states && s == STATUS_OK; i++) {
        const struct array *whole = body_input(step, (c->batched ? 1 : 0) + i);
        struct cut cut = {c->batched, row, -1, 0};
        cut_describe(whole, &cut, &c->inputs[i]);
        s = take_piece(step, &c->inputs[i], why);
        if (s == STATUS_OK)
            cut_copy(whole, &cut, &c->inputs[i], false);
    }
    for (uint32_t i = 0; i < c->scanned && s == STATUS_OK; i++) {
        const struct array *whole = body_input(step, (c->batched ? 1 : 0) + c->states + i);
        struct cut cut = input_cut(step, c, i, row, 0);
        cut_describe(whole, &cut, &c->inputs[c->states + i]);
        s = take_piece(step, &c->inputs[c->states + i], why);
    }
    return s;
}

static enum status take_turn(const struct step *step, struct scan_state *c, int64_t row,
                             int64_t turn, struct error *why)
{
    struct slab *slab = step->run->slab;
    for (uint32_t i = 0; i < c->scanned; i++) {
        struct cut cut = input_cut(step, c, i, row, turn);
        cut_copy(body_input(step, (c->batched ? 1 : 0) + c->states + i), &cut,
                 &c->inputs[c->states + i], false);
    }
    enum status s = body_run(&c->body, step, c->inputs, why);
    if (s != STATUS_OK)
        return s;
    for (uint32_t i = 0; i < c->states && s == STATUS_OK; i++) {
        c->next[i] = (struct array){.name = c->inputs[i].name};
        s = value_share(slab, &c->next[i], body_output(&c->body, i), why);
    }
    for (uint32_t i = 0; i < c->gathered && s == STATUS_OK; i++)
        s = put(step, c, c->states + i, body_output(&c->body, c->states + i), row, turn, why);
    body_done(&c->body, step);
    for (uint32_t i = 0; i < c->states && s == STATUS_OK; i++) {
        value_drop(slab, &c->inputs[i]);
        c->inputs[i] = c->next[i];
    }
    return s;
}

/* Without a single slice the gathered outputs are empty, with the dims that a turn would give. */
static enum status give_nothing(const struct step *step, struct scan_state *c, struct error *why)
{
    struct plan *plan;
    enum status s = body_plan(&c->body, c->inputs, &plan, why);
    for (uint32_t i = c->states; i < c->states + c->gathered && s == STATUS_OK; i++) {
        struct array part = *plan_output(plan, i);
        if (plan_output_late(plan, i))
            return bad_step(why, step, "output %u has no shape without a slice", i);
        part.data = NULL;
        s = put(step, c, i, &part, 0, 0, why);
    }
    return s;
}

static enum status scan_row(const struct step *step, struct scan_state *c, int64_t row,
                            struct error *why)
{
    enum status s = start_row(step, c, row, why);
    for (int64_t turn = 0; turn < c->len && s == STATUS_OK; turn++)
        s = take_turn(step, c, row, turn, why);
    if (s == STATUS_OK && !c->len)
        s = give_nothing(step, c, why);
    for (uint32_t i = 0; i < c->states && s == STATUS_OK; i++)
        s = put(step, c, i, &c->inputs[i], row, 0, why);
    for (uint32_t i = 0; i < c->states + c->scanned; i++)
        value_drop(step->run->slab, &c->inputs[i]);
    return s;
}

enum status scan_compute(const struct step *step, struct error *why)
{
    struct scan_state *c = step->node->state;
    for (uint32_t i = 0; i < c->states + c->scanned; i++)
        c->inputs[i] = (struct array){.held = false}; /* of a run that failed */
    enum status s = measure(step, c, why);
    body_captures(step, c->inputs, c->states + c->scanned);
    for (int64_t row = 0; row < c->rows && s == STATUS_OK; row++)
        s = scan_row(step, c, row, why);
    return s;
}
