/* Quantised convolution: exact sums, and the bytes made of them, on every instruction set, for all
 * pairs of types; the same bytes for any threads and batch. */
#include "tests/kernels/check.h"

#include "worker/kernels/bytes_conv.h"

/* A layer with its numbers, random. */
struct layer {
    struct conv_shape shape;
    struct bytes_conv_numbers numbers;
    struct maps in;
    size_t out[2];
    uint8_t *x, *w; /* [n][h][w][c] with what else may be read; [k][c][r][s] */
    int32_t *w_zeros, *bias;
    float *scales;
};

static size_t outputs(const struct layer *l)
{
    return l->in.n * l->out[0] * l->out[1] * l->shape.channels_out;
}

static int32_t byte_value(enum dtype type, const uint8_t *bytes, size_t i)
{
    return type == DTYPE_INT8 ? (int8_t)bytes[i] : bytes[i];
}

static uint8_t *some_bytes(size_t n, bool extreme)
{
    uint8_t *bytes = xaligned(n + BYTES_SLACK);
    for (size_t i = 0; i < n + BYTES_SLACK; i++)
        bytes[i] = (uint8_t)(extreme ? (i % 3 ? 0xff : 0x7f) : random_bits());
    return bytes;
}

static int32_t some_value(enum dtype type)
{
    return (int32_t)random_between(0, 255) - (type == DTYPE_INT8 ? 128 : 0);
}

enum zeros { ZEROS_NONE, ZEROS_MIDDLE, ZEROS_ANY };

/* Random numbers for a layer whose shape and maps are set; `types`: bit 0 x, 1 w, 2 y signed. */
static void fill(struct layer *l, unsigned types, enum zeros zeros, bool extreme)
{
    const struct conv_shape *s = &l->shape;
    size_t k = s->channels_out, each = s->channels_in / s->groups * s->kernel[0] * s->kernel[1];
    struct bytes_conv_numbers *n = &l->numbers;
    n->x_type = types & 1 ? DTYPE_INT8 : DTYPE_UINT8;
    n->w_type = types & 2 ? DTYPE_INT8 : DTYPE_UINT8;
    n->y_type = types & 4 ? DTYPE_INT8 : DTYPE_UINT8;
    for (int axis = 0; axis < 2; axis++)
        l->out[axis] = conv_out_size(s, (size_t)axis, axis ? l->in.w : l->in.h);
    l->x = some_bytes(l->in.n * l->in.c * l->in.h * l->in.w, extreme);
    l->w = some_bytes(k * each, extreme);
    l->w_zeros = xcalloc(k, sizeof *l->w_zeros);
    l->bias = xcalloc(k, sizeof *l->bias);
    l->scales = xcalloc(k, sizeof *l->scales);
    for (size_t i = 0; i < k; i++) {
        l->w_zeros[i] = zeros == ZEROS_NONE     ? 0
                        : zeros == ZEROS_MIDDLE ? (n->w_type == DTYPE_INT8 ? 0 : 128)
                                                : some_value(n->w_type);
        l->bias[i] = (int32_t)random_between(0, 20000) - 10000;
        l->scales[i] = (1 + random_value() * 0.9f) / (40.0f * sqrtf((float)each));
    }
    n->x_zero = some_value(n->x_type);
    n->w_zeros = zeros == ZEROS_NONE ? NULL : l->w_zeros;
    n->bias = random_between(0, 3) ? l->bias : NULL;
    n->scales = l->scales;
    n->y_zero = some_value(n->y_type);
    n->low = n->y_type == DTYPE_INT8 ? -128 : 0;
    n->high = n->low + 255;
    if (random_between(0, 1))
        n->low = n->y_zero; /* ReLU */
}

static void layer_free(struct layer *l)
{
    free(l->x);
    free(l->w);
    free(l->w_zeros);
    free(l->bias);
    free(l->scales);
}

/* The sum of one output, in 64 bits. */
static int64_t exact(const struct layer *l, size_t image, size_t k, size_t y, size_t x)
{
    const struct conv_shape *s = &l->shape;
    const struct bytes_conv_numbers *n = &l->numbers;
    size_t group_in = s->channels_in / s->groups, group = k / (s->channels_out / s->groups);
    int64_t sum = n->bias ? n->bias[k] : 0;
    for (size_t c = 0; c < group_in; c++)
        for (size_t r = 0; r < s->kernel[0]; r++)
            for (size_t q = 0; q < s->kernel[1]; q++) {
                size_t row = y * s->stride[0] + r * s->dilation[0] - s->pad_begin[0];
                size_t column = x * s->stride[1] + q * s->dilation[1] - s->pad_begin[1];
                if (row >= l->in.h || column >= l->in.w) /* below 0, too */
                    continue;
                size_t at =
                    ((image * l->in.h + row) * l->in.w + column) * l->in.c + group * group_in + c;
                size_t w = ((k * group_in + c) * s->kernel[0] + r) * s->kernel[1] + q;
                sum += (int64_t)(byte_value(n->x_type, l->x, at) - n->x_zero) *
                       (byte_value(n->w_type, l->w, w) - (n->w_zeros ? n->w_zeros[k] : 0));
            }
    return sum;
}

static void *run(const struct layer *l, enum dtype y_type, enum layout in, uint32_t threads)
{
    struct bytes_conv_numbers numbers = l->numbers;
    size_t n = outputs(l), plane = l->in.h * l->in.w;
    uint8_t *x = l->x, *y = xaligned(n * sizeof(int32_t) + MARKS);
    memset(y, 0xa5, n * sizeof(int32_t) + MARKS);
    numbers.y_type = y_type;
    if (in == LAYOUT_PLAIN) {
        x = xaligned(l->in.n * l->in.c * plane);
        for (size_t i = 0; i < l->in.n * l->in.c * plane; i++)
            x[(i / l->in.c / plane * l->in.c + i % l->in.c) * plane + i / l->in.c % plane] =
                l->x[i];
    }
    kernels_set_threads(threads);
    struct bytes_conv *conv = bytes_conv_new(&l->shape, &numbers, l->w, in);
    void *scratch = check_scratch(bytes_conv_scratch_bytes(conv, l->in));
    bytes_conv_run(conv, l->in, x, y, scratch);
    for (size_t i = 0; i < MARKS; i++)
        assert_int_equal(y[n * (y_type == DTYPE_INT32 ? sizeof(int32_t) : 1) + i], 0xa5);
    bytes_conv_destroy(&conv);
    free(scratch);
    if (x != l->x)
        free(x);
    return y;
}

/* The byte that a sum becomes, in doubles but for the one product. */
static int32_t byte_of(const struct bytes_conv_numbers *n, size_t k, int64_t sum)
{
    float v = (float)(int32_t)(uint32_t)sum * n->scales[k];
    double y = nearbyint((double)v) + n->y_zero;
    return (int32_t)fmin(fmax(y, n->low), n->high);
}

static void check_layer(const struct layer *l)
{
    const struct bytes_conv_numbers *n = &l->numbers;
    size_t channels = l->shape.channels_out, plane = l->out[0] * l->out[1];
    uint32_t threads = (uint32_t)random_between(1, 2);
    int32_t *sums = run(l, DTYPE_INT32, LAYOUT_LAST, threads);
    uint8_t *bytes = run(l, n->y_type, LAYOUT_LAST, threads);
    for (size_t i = 0; i < outputs(l); i++) {
        size_t pixel = i / channels, in_map = pixel % plane;
        int64_t want =
            exact(l, pixel / plane, i % channels, in_map / l->out[1], in_map % l->out[1]);
        int32_t byte = byte_of(n, i % channels, want);
        if (sums[i] != (int32_t)(uint32_t)want || byte_value(n->y_type, bytes, i) != byte)
            fail_msg("%s, value %zu: sum %d, want %d; byte %d, want %d", kernels_isa(), i, sums[i],
                     (int32_t)(uint32_t)want, byte_value(n->y_type, bytes, i), byte);
    }
    if (bytes_conv_reads_plain(&l->shape)) {
        uint8_t *plain = run(l, n->y_type, LAYOUT_PLAIN, threads);
        assert_memory_equal(plain, bytes, outputs(l));
        free(plain);
    }
    free(sums);
    free(bytes);
}

/* Shapes of all kinds: `in` channels x map, `out` channels, kernel, stride, pads, dilation, groups.
 */
static const struct shape {
    size_t n, c, h, w, k, kernel[2], stride[2], before[2], after[2], dilation[2], groups;
} shapes[] = {
    {1, 64, 7, 7, 64, {1, 1}, {1, 1}, {0, 0}, {0, 0}, {1, 1}, 1},
    {2, 64, 9, 5, 130, {1, 1}, {2, 2}, {0, 0}, {0, 0}, {1, 1}, 1},
    {1, 8, 7, 7, 17, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}, 1},
    {1, 20, 14, 11, 96, {3, 3}, {2, 2}, {1, 1}, {1, 1}, {1, 1}, 1},
    {1, 5, 6, 8, 33, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}, 1},
    {2, 3, 21, 19, 70, {7, 7}, {2, 2}, {3, 3}, {3, 3}, {1, 1}, 1},
    {1, 1, 28, 28, 32, {3, 3}, {1, 1}, {0, 0}, {0, 0}, {1, 1}, 1},
    {1, 17, 5, 9, 12, {3, 2}, {1, 2}, {0, 2}, {2, 1}, {2, 3}, 1},
    {1, 3, 1, 40, 9, {1, 5}, {1, 2}, {0, 4}, {0, 4}, {1, 2}, 1},
    {1, 24, 9, 9, 24, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}, 24},
    {2, 70, 8, 7, 70, {3, 5}, {2, 1}, {1, 2}, {1, 2}, {1, 1}, 70},
    {1, 130, 1, 33, 130, {1, 31}, {1, 1}, {0, 15}, {0, 15}, {1, 1}, 130},
    {1, 12, 6, 6, 20, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}, 4},
    {1, 6, 5, 5, 132, {2, 2}, {1, 1}, {1, 1}, {0, 0}, {1, 1}, 2},
    {1, 4, 3, 3, 8, {2, 2}, {3, 3}, {4, 4}, {4, 4}, {1, 1}, 1}, /* kernels in padding alone */
    {3, 33, 1, 1, 47, {1, 1}, {1, 1}, {0, 0}, {0, 0}, {1, 1}, 1},
    {13, 3, 1, 1, 5, {1, 1}, {1, 1}, {0, 0}, {0, 0}, {1, 1}, 1},
};

static struct layer layer_of(const struct shape *s)
{
    struct layer l = {.in = {s->n, s->c, s->h, s->w}};
    l.shape.channels_in = s->c;
    l.shape.channels_out = s->k;
    l.shape.groups = s->groups;
    memcpy(l.shape.kernel, s->kernel, sizeof s->kernel);
    memcpy(l.shape.stride, s->stride, sizeof s->stride);
    memcpy(l.shape.dilation, s->dilation, sizeof s->dilation);
    memcpy(l.shape.pad_begin, s->before, sizeof s->before);
    memcpy(l.shape.pad_end, s->after, sizeof s->after);
    return l;
}

static void sums_are_exact(void)
{
    for (size_t i = 0; i < ARRAY_LEN(shapes); i++)
        for (unsigned types = 0; types < 8; types++) {
            struct layer l = layer_of(&shapes[i]);
            fill(&l, types, (enum zeros)random_between(ZEROS_NONE, ZEROS_ANY), i == 0);
            check_layer(&l);
            layer_free(&l);
        }
}

/* Channels of every count up to some panels, and sums as long as they get. */
static void any_number_of_channels(void)
{
    for (size_t k = 1; k <= 140; k += random_between(1, 9)) {
        struct shape s = {1, random_between(1, 70), 3, 5, k, {1, 1}, {1, 1}, {0, 0}, {0, 0}, {1, 1},
                          1};
        struct layer l = layer_of(&s);
        fill(&l, (unsigned)random_between(0, 7), ZEROS_ANY, false);
        check_layer(&l);
        layer_free(&l);
    }
    struct shape deep = {1, 2048, 3, 3, 16, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}, 1};
    struct layer l = layer_of(&deep);
    fill(&l, 0, ZEROS_NONE, true); /* all bytes 0x7f or 0xff: 16-bit sums would saturate */
    check_layer(&l);
    layer_free(&l);
}

/* Scales that make everything too large, or are no numbers: limited, and the same everywhere. */
static void scales_may_be_anything(void)
{
    static const float scales[] = {INFINITY, -INFINITY, NAN, 1e30f, -1e30f, 600.0f, 0.0f, 1e-40f};
    struct shape s = {1, 4, 4, 4, 8, {1, 1}, {1, 1}, {0, 0}, {0, 0}, {1, 1}, 1};
    struct layer l = layer_of(&s);
    fill(&l, 7, ZEROS_NONE, false);
    memcpy(l.scales, scales, sizeof scales);
    for (size_t i = 0; i < 8; i++)
        l.bias[i] = (int32_t)(1000000 * i);
    l.numbers.bias = l.bias;
    int32_t *sums = run(&l, DTYPE_INT32, LAYOUT_LAST, 1);
    int8_t *bytes = run(&l, DTYPE_INT8, LAYOUT_LAST, 1);
    for (size_t i = 0; i < outputs(&l); i++) {
        float v = (float)sums[i] * scales[i % 8];
        int32_t want = isnan(v) ? l.numbers.high : byte_of(&l.numbers, i % 8, sums[i]);
        assert_int_equal(bytes[i], want);
    }
    free(sums);
    free(bytes);
    layer_free(&l);
}

/* Image by image and all together, on one thread and on three. */
static void batch_and_threads_change_no_byte(void)
{
    struct shape s = {7, 64, 14, 14, 128, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}, 1};
    struct layer l = layer_of(&s);
    fill(&l, 2, ZEROS_NONE, false);
    uint8_t *all = run(&l, DTYPE_UINT8, LAYOUT_LAST, 3), *x = l.x;
    size_t image = outputs(&l) / s.n;
    for (size_t i = 0; i < s.n; i++) {
        l.in.n = 1;
        l.x = x + i * s.c * s.h * s.w;
        uint8_t *one = run(&l, DTYPE_UINT8, LAYOUT_LAST, 1);
        assert_memory_equal(one, all + i * image, image);
        free(one);
    }
    l.x = x;
    free(all);
    layer_free(&l);
}

static void bytes_conv(void **state)
{
    (void)state;
    with_each_isa(sums_are_exact, 1);
    with_each_isa(any_number_of_channels, 1);
    with_each_isa(scales_may_be_anything, 1);
    with_each_isa(batch_and_threads_change_no_byte, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_conv),
    };
    check_seed();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
