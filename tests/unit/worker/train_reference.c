/* train_reference - operators in double precision, from ONNX's definitions; see train_net.h */
#include <math.h>
#include <string.h>

#include "tests/unit/common/testing.h"
#include "tests/unit/worker/train_reference.h"

static int64_t number(const struct call *c, const char *name, size_t i, int64_t otherwise)
{
    const struct attr *a = attr_find(c->node, name);
    return !a ? otherwise : a->kind == ATTR_INTS ? a->ints[i] : a->i;
}

static double real(const struct call *c, const char *name, double otherwise)
{
    const struct attr *a = attr_find(c->node, name);
    return a ? (double)a->f : otherwise;
}

static size_t dim(const struct array *a, uint32_t i)
{
    return i < a->rank ? (size_t)a->dims[i] : 1;
}

/* Indices of element `at`. */
static void unravel(const struct array *a, size_t at, size_t *index)
{
    for (uint32_t k = a->rank; k-- > 0;) {
        index[k] = at % (size_t)a->dims[k];
        at /= (size_t)a->dims[k];
    }
}

/* Element of `a` under an index of something that it is broadcast to. */
static size_t under(const struct array *a, const size_t *index, uint32_t rank)
{
    size_t at = 0;
    for (uint32_t k = 0; k < a->rank; k++) {
        size_t i = a->dims[k] == 1 ? 0 : index[rank - a->rank + k];
        at = at * (size_t)a->dims[k] + i;
    }
    return at;
}

/* --- windows: every pair of an output and an input position of it ------------------------------
 */
struct window {
    size_t in[2], out[2], kernel[2], stride[2], dilation[2], pad[2];
};

static struct window window_of(const struct call *c, const int64_t *kernel)
{
    uint32_t axes = c->in[0]->rank - 2;
    struct window w = {{1, 1}, {1, 1}, {1, 1}, {1, 1}, {1, 1}, {0, 0}};
    for (uint32_t i = 0; i < axes; i++) {
        uint32_t at = 2 - axes + i;
        w.in[at] = (size_t)c->in[0]->dims[2 + i];
        w.out[at] = (size_t)c->out[0]->dims[2 + i];
        w.kernel[at] = kernel ? (size_t)kernel[i] : (size_t)number(c, "kernel_shape", i, 1);
        w.stride[at] = (size_t)number(c, "strides", i, 1);
        w.dilation[at] = (size_t)number(c, "dilations", i, 1);
        w.pad[at] = (size_t)number(c, "pads", i, 0);
        if (strcmp(attr_text(c->node, "auto_pad", "NOTSET"), "SAME_UPPER") == 0) {
            size_t reach = (w.out[at] - 1) * w.stride[at] + (w.kernel[at] - 1) * w.dilation[at] + 1;
            w.pad[at] = reach > w.in[at] ? (reach - w.in[at]) / 2 : 0;
        }
    }
    return w;
}

/* The input position of a tap, or -1 in the padding. */
static ptrdiff_t tap_at(const struct window *w, size_t out, size_t tap)
{
    size_t y = out / w->out[1] * w->stride[0] + tap / w->kernel[1] * w->dilation[0] - w->pad[0];
    size_t x = out % w->out[1] * w->stride[1] + tap % w->kernel[1] * w->dilation[1] - w->pad[1];
    return y < w->in[0] && x < w->in[1] ? (ptrdiff_t)(y * w->in[1] + x) : -1;
}

static void conv(struct call *c)
{
    struct window w = window_of(c, &c->in[1]->dims[2]);
    size_t in = w.in[0] * w.in[1], out = w.out[0] * w.out[1], taps = w.kernel[0] * w.kernel[1];
    size_t images = dim(c->in[0], 0), channels = dim(c->in[0], 1), outputs = dim(c->in[1], 0);
    size_t unit = dim(c->in[1], 1), each = outputs / (size_t)number(c, "group", 0, 1);
    for (size_t n = 0; n < images; n++)
        for (size_t k = 0; k < outputs; k++)
            for (size_t p = 0; p < out; p++) {
                double sum = c->x[2] ? c->x[2][k] : 0;
                for (size_t i = 0; i < unit; i++)
                    for (size_t t = 0; t < taps; t++) {
                        ptrdiff_t at = tap_at(&w, p, t);
                        size_t from = n * channels + k / each * unit + i;
                        if (at >= 0)
                            sum += c->x[0][from * in + (size_t)at] *
                                   c->x[1][(k * unit + i) * taps + t];
                    }
                c->y[0][(n * outputs + k) * out + p] = sum;
            }
}

static void pool(struct call *c)
{
    struct window w = window_of(c, NULL);
    size_t in = w.in[0] * w.in[1], out = w.out[0] * w.out[1], taps = w.kernel[0] * w.kernel[1];
    bool most = strcmp(c->node->op->name, "MaxPool") == 0;
    bool all = number(c, "count_include_pad", 0, 0) != 0;
    for (size_t m = 0; m < dim(c->in[0], 0) * dim(c->in[0], 1); m++)
        for (size_t p = 0; p < out; p++) {
            double sum = 0, best = -INFINITY, count = 0;
            for (size_t t = 0; t < taps; t++) {
                ptrdiff_t at = tap_at(&w, p, t);
                double x = at < 0 ? 0 : c->x[0][m * in + (size_t)at];
                sum += x;
                count += at >= 0 || all;
                best = at < 0 ? best : fmax(best, x);
            }
            c->y[0][m * out + p] = most ? best : sum / count;
        }
}

static void pool_global(struct call *c)
{
    size_t maps = dim(c->in[0], 0) * dim(c->in[0], 1), plane = array_count(c->in[0]) / maps;
    for (size_t m = 0; m < maps; m++) {
        double sum = 0;
        for (size_t i = 0; i < plane; i++)
            sum += c->x[0][m * plane + i];
        c->y[0][m] = sum / (double)plane;
    }
}

/* --- products ----------------------------------------------------------------------------------
 */
static void gemm(struct call *c)
{
    size_t m = dim(c->out[0], 0), n = dim(c->out[0], 1), index[2];
    bool turn_a = number(c, "transA", 0, 0) != 0, turn_b = number(c, "transB", 0, 0) != 0;
    size_t k = dim(c->in[0], !turn_a);
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++) {
            double sum = 0;
            index[0] = i, index[1] = j;
            for (size_t p = 0; p < k; p++)
                sum += c->x[0][turn_a ? p * m + i : i * k + p] *
                       c->x[1][turn_b ? j * k + p : p * n + j];
            c->y[0][i * n + j] = real(c, "alpha", 1) * sum;
            if (c->x[2])
                c->y[0][i * n + j] += real(c, "beta", 1) * c->x[2][under(c->in[2], index, 2)];
        }
}

static void matmul(struct call *c)
{
    uint32_t ra = c->in[0]->rank, rb = c->in[1]->rank;
    size_t m = dim(c->in[0], ra - 2), k = dim(c->in[0], ra - 1), n = dim(c->in[1], rb - 1);
    for (size_t i = 0; i < array_count(c->out[0]); i++) {
        size_t batch = i / (m * n), row = i / n % m, col = i % n;
        const double *b = c->x[1] + (rb > 2 ? batch * k * n : 0);
        double sum = 0;
        for (size_t p = 0; p < k; p++)
            sum += c->x[0][(batch * m + row) * k + p] * b[p * n + col];
        c->y[0][i] = sum;
    }
}

/* --- elements ----------------------------------------------------------------------------------
 */
static double unary_of(const struct call *c, double x)
{
    const char *name = c->node->op->name;
#define IS(text) (strcmp(name, text) == 0)
    if (IS("Relu"))
        return fmax(0, x);
    if (IS("LeakyRelu"))
        return x >= 0 ? x : (double)(float)real(c, "alpha", (double)0.01f) * x;
    if (IS("Elu"))
        return x >= 0 ? x : real(c, "alpha", 1) * (exp(x) - 1);
    if (IS("Sigmoid"))
        return 1 / (1 + exp(-x));
    if (IS("Softplus"))
        return log(1 + exp(x));
    if (IS("Gelu"))
        return x * (1 + erf(x / sqrt(2))) / 2;
    if (IS("Selu"))
        return 1.05070102 * (x >= 0 ? x : 1.67326319 * (exp(x) - 1));
    if (IS("HardSigmoid"))
        return fmin(1, fmax(0, real(c, "alpha", 0.2) * x + real(c, "beta", 0.5)));
    if (IS("Clip"))
        return fmin(c->x[2] ? c->x[2][0] : INFINITY, fmax(c->x[1] ? c->x[1][0] : -INFINITY, x));
    return IS("Tanh")         ? tanh(x)
           : IS("Exp")        ? exp(x)
           : IS("Log")        ? log(x)
           : IS("Sqrt")       ? sqrt(x)
           : IS("Neg")        ? -x
           : IS("Abs")        ? fabs(x)
           : IS("Reciprocal") ? 1 / x
           : IS("Softsign")   ? x / (1 + fabs(x))
           : IS("Erf")        ? erf(x)
                              : NAN;
}

static void unary(struct call *c)
{
    for (size_t i = 0; i < array_count(c->out[0]); i++)
        c->y[0][i] = unary_of(c, c->x[0][i]);
}

static void binary(struct call *c)
{
    const char *name = c->node->op->name;
    for (size_t i = 0; i < array_count(c->out[0]); i++) {
        size_t index[TENSOR_RANK_MAX];
        unravel(c->out[0], i, index);
        double a = c->x[0][under(c->in[0], index, c->out[0]->rank)];
        double b = c->x[1][under(c->in[1], index, c->out[0]->rank)];
        c->y[0][i] = IS("Add")   ? a + b
                     : IS("Sub") ? a - b
                     : IS("Mul") ? a * b
                     : IS("Div") ? a / b
                                 : pow(a, b);
    }
}

/* --- along axes --------------------------------------------------------------------------------
 */
static void softmax(struct call *c)
{
    int64_t axis = number(c, "axis", 0, -1);
    uint32_t k = (uint32_t)(axis < 0 ? axis + c->in[0]->rank : axis);
    size_t n = dim(c->in[0], k), inner = 1, index[TENSOR_RANK_MAX];
    for (uint32_t i = k + 1; i < c->in[0]->rank; i++)
        inner *= dim(c->in[0], i);
    for (size_t r = 0; r < array_count(c->in[0]); r++) {
        double sum = 0;
        unravel(c->in[0], r, index);
        for (size_t i = 0; i < n; i++)
            sum += exp(c->x[0][r + i * inner - index[k] * inner]);
        c->y[0][r] = exp(c->x[0][r]) / sum;
    }
}

static void batch_norm(struct call *c)
{
    size_t images = dim(c->in[0], 0), channels = dim(c->in[0], 1);
    size_t plane = array_count(c->in[0]) / images / channels;
    for (size_t k = 0; k < channels; k++) {
        double sum = 0, squares = 0, count = (double)(images * plane);
        for (size_t i = 0; i < images * plane; i++)
            sum += c->x[0][(i / plane * channels + k) * plane + i % plane];
        for (size_t i = 0; i < images * plane; i++) {
            double d = c->x[0][(i / plane * channels + k) * plane + i % plane] - sum / count;
            squares += d * d;
        }
        for (size_t i = 0; i < images * plane; i++) {
            size_t at = (i / plane * channels + k) * plane + i % plane;
            double by = sqrt(squares / count + real(c, "epsilon", (double)1e-5f));
            c->y[0][at] = c->x[1][k] * (c->x[0][at] - sum / count) / by + c->x[2][k];
        }
    }
}

static void layer_norm(struct call *c)
{
    size_t n = array_count(c->in[1]);
    for (size_t r = 0; r < array_count(c->in[0]); r += n) {
        double sum = 0, squares = 0;
        for (size_t i = 0; i < n; i++)
            sum += c->x[0][r + i];
        for (size_t i = 0; i < n; i++)
            squares += pow(c->x[0][r + i] - sum / (double)n, 2);
        double by = sqrt(squares / (double)n + real(c, "epsilon", (double)1e-5f));
        for (size_t i = 0; i < n; i++)
            c->y[0][r + i] =
                c->x[1][i] * (c->x[0][r + i] - sum / (double)n) / by + (c->x[2] ? c->x[2][i] : 0);
    }
}

/* The same place in the output for all that differ in reduced axes alone, keepdims or not. */
static void reduce(struct call *c)
{
    size_t count = array_count(c->in[0]) / array_count(c->out[0]);
    memset(c->y[0], 0, array_count(c->out[0]) * sizeof(double));
    for (size_t i = 0; i < array_count(c->in[0]); i++) {
        size_t index[TENSOR_RANK_MAX], at = 0;
        unravel(c->in[0], i, index);
        for (uint32_t k = 0; k < c->in[0]->rank; k++) {
            bool reduced = false;
            for (size_t j = 0; j < array_count(c->in[1]); j++)
                reduced |= (uint32_t)c->x[1][j] == k;
            at = reduced ? at : at * (size_t)c->in[0]->dims[k] + index[k];
        }
        c->y[0][at] += c->x[0][i];
    }
    for (size_t i = 0; strcmp(c->node->op->name, "ReduceMean") == 0 && i < array_count(c->out[0]);
         i++)
        c->y[0][i] /= (double)count;
}

/* --- moves -------------------------------------------------------------------------------------
 */
static void copy(struct call *c)
{
    memcpy(c->y[0], c->x[0], array_count(c->out[0]) * sizeof(double));
}

static void transpose(struct call *c)
{
    for (size_t i = 0; i < array_count(c->out[0]); i++) {
        size_t index[TENSOR_RANK_MAX], back[TENSOR_RANK_MAX];
        unravel(c->out[0], i, index);
        for (uint32_t k = 0; k < c->out[0]->rank; k++)
            back[number(c, "perm", k, 0)] = index[k];
        c->y[0][i] = c->x[0][under(c->in[0], back, c->in[0]->rank)];
    }
}

/* Parts of an axis, of one array or in one: copies between the whole and its parts. */
static void parts(struct call *c)
{
    bool joins = strcmp(c->node->op->name, "Concat") == 0;
    const struct array *whole = joins ? c->out[0] : c->in[0];
    size_t axis = (size_t)number(c, "axis", 0, 0), at = 0;
    for (uint32_t k = 0; k < (joins ? c->node->inputs_len : c->node->outputs_len); k++) {
        const struct array *part = joins ? c->in[k] : c->out[k];
        for (size_t i = 0; i < array_count(part); i++) {
            size_t index[TENSOR_RANK_MAX];
            unravel(part, i, index);
            index[axis] += at;
            size_t w = under(whole, index, whole->rank);
            if (joins)
                c->y[0][w] = c->x[k][i];
            else
                c->y[k][i] = c->x[0][w];
        }
        at += (size_t)part->dims[axis];
    }
}

/* Slice(x, starts, ends, axes, steps), with starts and steps above 0. */
static void slice(struct call *c)
{
    for (size_t i = 0; i < array_count(c->out[0]); i++) {
        size_t index[TENSOR_RANK_MAX];
        unravel(c->out[0], i, index);
        for (size_t k = 0; k < array_count(c->in[3]); k++) {
            size_t axis = (size_t)c->x[3][k];
            index[axis] = (size_t)c->x[1][k] + index[axis] * (size_t)(c->x[4] ? c->x[4][k] : 1);
        }
        c->y[0][i] = c->x[0][under(c->in[0], index, c->in[0]->rank)];
    }
}

static void expand(struct call *c)
{
    for (size_t i = 0; i < array_count(c->out[0]); i++) {
        size_t index[TENSOR_RANK_MAX];
        unravel(c->out[0], i, index);
        c->y[0][i] = c->x[0][under(c->in[0], index, c->out[0]->rank)];
    }
}

static void gather(struct call *c)
{
    size_t axis = (size_t)number(c, "axis", 0, 0), inner = 1, outer = 1, n;
    size_t indices = array_count(c->in[1]);
    for (uint32_t i = 0; i < c->in[0]->rank; i++) {
        outer *= i < axis ? dim(c->in[0], i) : 1;
        inner *= i > axis ? dim(c->in[0], i) : 1;
    }
    n = dim(c->in[0], (uint32_t)axis);
    for (size_t i = 0; i < outer * indices; i++)
        memcpy(c->y[0] + i * inner,
               c->x[0] + (i / indices * n + (size_t)c->x[1][i % indices]) * inner,
               inner * sizeof(double));
}

static const struct {
    const char *names;
    void (*run)(struct call *c);
} table[] = {
    {" Conv ", conv},
    {" MaxPool AveragePool ", pool},
    {" GlobalAveragePool ", pool_global},
    {" Gemm ", gemm},
    {" MatMul ", matmul},
    {" Add Sub Mul Div Pow ", binary},
    {" Softmax ", softmax},
    {" BatchNormalization ", batch_norm},
    {" LayerNormalization ", layer_norm},
    {" ReduceMean ReduceSum ", reduce},
    {" Flatten Reshape Squeeze Unsqueeze Identity Cast Dropout ", copy},
    {" Transpose ", transpose},
    {" Concat Split ", parts},
    {" Slice ", slice},
    {" Expand ", expand},
    {" Gather ", gather},
    {" LSTM GRU RNN ", reference_rnn},
};

void reference_run(struct net *self, struct node *node)
{
    struct call c = {.net = self, .node = node};
    char name[64];
    size_t row = 0;
    for (uint32_t i = 0; i < node->inputs_len; i++)
        if (node->inputs[i] != VALUE_NONE) {
            c.in[i] = net_shape(self, node->inputs[i]);
            c.x[i] = self->values[node->inputs[i]];
        }
    for (uint32_t i = 0; i < node->outputs_len; i++)
        if (node->outputs[i] != VALUE_NONE) {
            c.out[i] = net_shape(self, node->outputs[i]);
            c.y[i] = self->values[node->outputs[i]];
        }
    snprintf(name, sizeof name, " %s ", node->op->name);
    while (row < ARRAY_LEN(table) && !strstr(table[row].names, name))
        row++;
    (row < ARRAY_LEN(table) ? table[row].run : unary)(&c);
}
