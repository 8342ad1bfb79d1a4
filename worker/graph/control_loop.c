/* control_loop - Loop: a sub-graph again and again, with values that go from one turn to the next
 *
 * What the loop carries may change its shape in every turn; what it gathers may not. */
#include <inttypes.h>
#include <string.h>

#include "worker/graph/body.h"
#include "worker/ops/ops.h"
#include "worker/ops/slab.h"

#define LOOP_TURNS_MAX (16 * 1024 * 1024)
#define FORMAL         2 /* formal inputs of the body before the carried ones: turn, condition */

struct loop_state {
    struct body body;
    uint32_t carried, gathered;
    struct array *inputs;   /* of the body: formal ones and captures */
    struct array *next;     /* carried values that the turn has made */
    struct gather *gathers; /* one per gathered output */
};

/* One output that gathers what each turn gives. */
struct gather {
    struct array item; /* type and dims of all turns' items */
    uint8_t *data;     /* a piece of the slab; NULL before the first */
    size_t len, room;  /* items */
};

static void loop_free(void *packed)
{
    body_clear(&((struct loop_state *)packed)->body);
}

enum status loop_check(struct node *node, struct error *why)
{
    struct loop_state *l = region_take(node->region, sizeof *l);
    uint32_t own = node->inputs_len - node->captures;
    node->state = node->packed = l;
    node->unpack = loop_free;
    l->carried = own > FORMAL ? own - FORMAL : 0;
    enum status s = body_find(&l->body, node, "body", FORMAL + l->carried, 1 + l->carried, why);
    if (s != STATUS_OK)
        return s;
    l->body.plans.graph->repeats = true;
    l->gathered = body_outputs(&l->body) - 1 - l->carried;
    if (node->outputs_len > l->carried + l->gathered)
        return bad_node(why, node, "it has %u outputs; its body gives %u", node->outputs_len,
                        l->carried + l->gathered);
    for (uint32_t i = 0; i < l->carried; i++)
        if (node->inputs[FORMAL + i] == VALUE_NONE)
            return bad_node(why, node, "its input %u is left out", FORMAL + i);
    uint32_t inputs = FORMAL + l->carried + node->captures;
    l->inputs = region_array(node->region, inputs, sizeof *l->inputs);
    l->next = region_array(node->region, l->carried, sizeof *l->next);
    l->gathers = region_array(node->region, l->gathered, sizeof *l->gathers);
    return STATUS_OK;
}

enum status loop_shape(struct step *step, struct error *why)
{
    (void)why;
    step->late = true;
    return STATUS_OK;
}

static enum status no_room(const struct step *step, size_t bytes, struct error *why)
{
    return bad_step(why, step, "what its turns give needs %zu bytes, more than a run may take",
                    bytes);
}

static enum status gather(const struct step *step, struct gather *g, const struct array *from,
                          struct error *why)
{
    struct slab *slab = step->run->slab;
    char text[2][128];
    if (!g->len) {
        g->item = *from;
        g->item.held = false;
    }
    if (from->sequence || from->dtype != g->item.dtype || from->rank != g->item.rank ||
        memcmp(from->dims, g->item.dims, from->rank * sizeof from->dims[0]) != 0)
        return bad_step(why, step, "turn %zu gives \"%.200s\" as %s, earlier ones as %s", g->len,
                        from->name, dims_text(text[0], sizeof text[0], from->dims, from->rank),
                        dims_text(text[1], sizeof text[1], g->item.dims, g->item.rank));
    if (g->len == g->room) {
        size_t room = MAX(8, g->room * 2);
        uint8_t *data = from->bytes <= SIZE_MAX / room ? slab_take(slab, room * from->bytes) : NULL;
        if (!data)
            return no_room(step, from->bytes, why);
        if (g->len)
            memcpy(data, g->data, g->len * from->bytes);
        slab_release(slab, g->data);
        g->data = data;
        g->room = room;
    }
    if (from->bytes)
        memcpy(g->data + g->len * from->bytes, from->data, from->bytes);
    g->len++;
    return STATUS_OK;
}

/* Without a single turn the items' dims are what a turn would give, where that can be said. */
static void describe_none(struct loop_state *l, uint32_t i, struct array *item)
{
    struct plan *plan;
    uint32_t output = 1 + l->carried + i;
    *item = (struct array){.dtype = l->body.plans.graph->declared[output].dtype};
    if (body_plan(&l->body, l->inputs, &plan, NULL) == STATUS_OK && !plan_output_late(plan, output))
        *item = *plan_output(plan, output);
    if (!element_bytes(item->dtype))
        item->dtype = DTYPE_FP32;
}

static enum status give_gathered(const struct step *step, struct loop_state *l, uint32_t i,
                                 struct error *why)
{
    struct gather *g = &l->gathers[i];
    int64_t dims[TENSOR_RANK_MAX + 1];
    if (!step_out(step, l->carried + i))
        return STATUS_OK;
    if (!g->len)
        describe_none(l, i, &g->item);
    dims[0] = (int64_t)g->len;
    memcpy(dims + 1, g->item.dims, sizeof g->item.dims);
    enum status s = out_make(step, l->carried + i, g->item.dtype, dims, g->item.rank + 1, why);
    const struct array *o = step_out(step, l->carried + i);
    if (s == STATUS_OK && o->bytes && g->data)
        memcpy(o->data, g->data, o->bytes);
    return s;
}

/* The body has run: its outputs are the next turn's inputs. */
static enum status take_turn(const struct step *step, struct loop_state *l, bool *go_on,
                             struct error *why)
{
    struct slab *slab = step->run->slab;
    enum status s = body_condition(step, body_output(&l->body, 0), go_on, why);
    for (uint32_t i = 0; i < l->carried && s == STATUS_OK; i++) {
        l->next[i] = (struct array){.name = l->inputs[FORMAL + i].name};
        s = value_share(slab, &l->next[i], body_output(&l->body, 1 + i), why);
    }
    for (uint32_t i = 0; i < l->gathered && s == STATUS_OK; i++)
        s = gather(step, &l->gathers[i], body_output(&l->body, 1 + l->carried + i), why);
    body_done(&l->body, step);
    for (uint32_t i = 0; i < l->carried && s == STATUS_OK; i++) {
        value_drop(slab, &l->inputs[FORMAL + i]);
        l->inputs[FORMAL + i] = l->next[i];
    }
    return s;
}

static enum status turns(const struct step *step, struct loop_state *l, int64_t count, bool go_on,
                         struct error *why)
{
    _Alignas(TENSOR_ALIGN) int64_t turn = 0;
    _Alignas(TENSOR_ALIGN) uint8_t condition = 1;
    l->inputs[0] = (struct array){.name = "turn", .dtype = DTYPE_INT64, .bytes = sizeof turn};
    l->inputs[1] = (struct array){.name = "condition", .dtype = DTYPE_BOOL, .bytes = 1};
    l->inputs[0].data = &turn;
    l->inputs[1].data = &condition;
    for (; go_on && turn < count; turn++) {
        if (turn == LOOP_TURNS_MAX)
            return bad_step(why, step, "it does not end within %d turns", LOOP_TURNS_MAX);
        enum status s = body_run(&l->body, step, l->inputs, why);
        if (s == STATUS_OK)
            s = take_turn(step, l, &go_on, why);
        if (s != STATUS_OK)
            return s;
    }
    return STATUS_OK;
}

enum status loop_compute(const struct step *step, struct error *why)
{
    struct loop_state *l = step->node->state;
    int64_t count = INT64_MAX;
    bool go_on = true;
    enum status s = STATUS_OK;
    if (body_input(step, 0))
        s = body_count(step, body_input(step, 0), &count, why);
    if (s == STATUS_OK && body_input(step, 1))
        s = body_condition(step, body_input(step, 1), &go_on, why);
    for (uint32_t i = 0; i < l->carried; i++) {
        l->inputs[FORMAL + i] = *step->in[FORMAL + i];
        l->inputs[FORMAL + i].held = false;
    }
    for (uint32_t i = 0; i < l->gathered; i++)
        l->gathers[i] = (struct gather){.data = NULL};
    body_captures(step, l->inputs, FORMAL + l->carried);
    if (s == STATUS_OK)
        s = turns(step, l, count, go_on, why);
    for (uint32_t i = 0; i < l->carried && s == STATUS_OK; i++)
        s = out_share(step, i, &l->inputs[FORMAL + i], why);
    for (uint32_t i = 0; i < l->gathered && s == STATUS_OK; i++)
        s = give_gathered(step, l, i, why);
    for (uint32_t i = 0; i < l->carried; i++)
        value_drop(step->run->slab, &l->inputs[FORMAL + i]);
    for (uint32_t i = 0; i < l->gathered; i++)
        slab_release(step->run->slab, l->gathers[i].data);
    return s;
}
