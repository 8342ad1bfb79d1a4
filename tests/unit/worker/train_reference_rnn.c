/* train_reference_rnn - LSTM, GRU and RNN in double precision, from ONNX's definitions, one number
 * after the other; see train_net.h */
#include <math.h>
#include <string.h>

#include "tests/unit/common/testing.h"
#include "tests/unit/worker/train_reference.h"

struct cell {
    size_t gates, steps, batch, input, hidden, dirs, dir;
    bool reset_first; /* GRU */
    const char *const *acts;
    size_t acts_len;
    const double *w, *r, *b; /* of this direction; b may be NULL */
    double *h, *c;           /* [hidden] of one row */
};

static double apply(const struct cell *c, size_t which, const char *otherwise, double x)
{
    size_t each = c->acts_len / c->dirs;
    const char *name = c->acts_len ? c->acts[c->dir * each + which] : otherwise;
    if (strcmp(name, "Sigmoid") == 0)
        return 1 / (1 + exp(-x));
    if (strcmp(name, "Relu") == 0)
        return fmax(0, x);
    if (strcmp(name, "Softsign") == 0)
        return x / (1 + fabs(x));
    if (strcmp(name, "Softplus") == 0)
        return log(1 + exp(x));
    assert_string_equal(name, "Tanh");
    return tanh(x);
}

/* x W + Wb of one gate of one unit. */
static double from_x(const struct cell *c, const double *x, size_t gate, size_t unit)
{
    size_t row = gate * c->hidden + unit;
    double sum = c->b ? c->b[row] : 0;
    for (size_t i = 0; i < c->input; i++)
        sum += x[i] * c->w[row * c->input + i];
    return sum;
}

/* h R + Rb */
static double from_h(const struct cell *c, const double *h, size_t gate, size_t unit)
{
    size_t row = gate * c->hidden + unit;
    double sum = c->b ? c->b[c->gates * c->hidden + row] : 0;
    for (size_t i = 0; i < c->hidden; i++)
        sum += h[i] * c->r[row * c->hidden + i];
    return sum;
}

static double both(const struct cell *c, const double *x, const double *h, size_t gate, size_t unit)
{
    return from_x(c, x, gate, unit) + from_h(c, h, gate, unit);
}

static void lstm_step(const struct cell *c, const double *x, const double *old)
{
    for (size_t u = 0; u < c->hidden; u++) {
        double in = apply(c, 0, "Sigmoid", both(c, x, old, 0, u));
        double out = apply(c, 0, "Sigmoid", both(c, x, old, 1, u));
        double forget = apply(c, 0, "Sigmoid", both(c, x, old, 2, u));
        c->c[u] = forget * c->c[u] + in * apply(c, 1, "Tanh", both(c, x, old, 3, u));
        c->h[u] = out * apply(c, 2, "Tanh", c->c[u]);
    }
}

static void gru_step(const struct cell *c, const double *x, const double *old)
{
    double *reset = xcalloc(c->hidden, sizeof *reset);
    for (size_t u = 0; u < c->hidden; u++)
        reset[u] = apply(c, 0, "Sigmoid", both(c, x, old, 1, u)) * old[u];
    for (size_t u = 0; u < c->hidden; u++) {
        double z = apply(c, 0, "Sigmoid", both(c, x, old, 0, u));
        double r = apply(c, 0, "Sigmoid", both(c, x, old, 1, u));
        double sum = c->reset_first ? from_h(c, reset, 2, u) : r * from_h(c, old, 2, u);
        double new = apply(c, 1, "Tanh", from_x(c, x, 2, u) + sum);
        c->h[u] = (1 - z) * new + z *old[u];
    }
    free(reset);
}

static void plain_step(const struct cell *c, const double *x, const double *old)
{
    for (size_t u = 0; u < c->hidden; u++)
        c->h[u] = apply(c, 0, "Tanh", both(c, x, old, 0, u));
}

/* One row of the batch in one direction. */
static void run_row(const struct call *call, struct cell *c, bool back, size_t row)
{
    size_t h = c->hidden, state = (c->dir * c->batch + row) * h;
    double *old = xcalloc(h, sizeof *old);
    for (size_t u = 0; u < h; u++) {
        c->h[u] = call->x[5] ? call->x[5][state + u] : 0;
        c->c[u] = call->x[6] ? call->x[6][state + u] : 0;
    }
    for (size_t s = 0; s < c->steps; s++) {
        size_t t = back ? c->steps - 1 - s : s;
        const double *x = call->x[0] + (t * c->batch + row) * c->input;
        memcpy(old, c->h, h * sizeof *old);
        (c->gates == 4 ? lstm_step : c->gates == 3 ? gru_step : plain_step)(c, x, old);
        if (call->y[0])
            memcpy(call->y[0] + ((t * c->dirs + c->dir) * c->batch + row) * h, c->h,
                   h * sizeof *old);
    }
    if (call->y[1])
        memcpy(call->y[1] + state, c->h, h * sizeof *old);
    if (call->y[2])
        memcpy(call->y[2] + state, c->c, h * sizeof *old);
    free(old);
}

void reference_rnn(struct call *call)
{
    const struct array *x = call->in[0], *w = call->in[1];
    const char *op = call->node->op->name;
    const char *direction = attr_text(call->node, "direction", "forward");
    struct cell c = {.gates = strcmp(op, "LSTM") == 0 ? 4 : strcmp(op, "GRU") == 0 ? 3 : 1};
    c.steps = (size_t)x->dims[0], c.batch = (size_t)x->dims[1], c.input = (size_t)x->dims[2];
    c.dirs = (size_t)w->dims[0], c.hidden = (size_t)w->dims[1] / c.gates;
    c.reset_first = !attr_int(call->node, "linear_before_reset", 0);
    c.acts = attr_texts(call->node, "activations", &c.acts_len);
    c.h = xcalloc(c.hidden, sizeof(double));
    c.c = xcalloc(c.hidden, sizeof(double));
    for (c.dir = 0; c.dir < c.dirs; c.dir++) {
        c.w = call->x[1] + c.dir * c.gates * c.hidden * c.input;
        c.r = call->x[2] + c.dir * c.gates * c.hidden * c.hidden;
        c.b = call->x[3] ? call->x[3] + c.dir * 2 * c.gates * c.hidden : NULL;
        for (size_t row = 0; row < c.batch; row++)
            run_row(call, &c, c.dir == 1 || strcmp(direction, "reverse") == 0, row);
    }
    free(c.h);
    free(c.c);
}
