/* bytes_conv - quantised convolution: which pixels by which weights, in which order; see
 * bytes_conv.h
 *
 * Output pixels whose kernels have the same taps inside the map make a piece, a rectangle: nothing
 * is copied for padding, and no product of it computed. Pieces are cut into strips of pixels, and
 * an item of work is a strip by a panel of weights. */
#include "worker/kernels/bytes_conv.h"

#include <string.h>

#include "worker/kernels/bytes_plan.h"
#include "worker/kernels/cpu.h"
#include "worker/kernels/par.h"

#define STRIP      48         /* pixels of a strip at most: 8 full tiles */
#define BAND_BYTES (24 * KIB) /* of input gathered at a time */
#define L2_PART    2          /* weights and strips together stay in such a part of the cache */
#define PER_FLOP   0.25       /* a product of bytes takes that much of what par_for thinks */

/* Output rows (or columns) begin..end-1 read taps first..last-1 of the kernel. */
struct cut {
    size_t begin, end, first, last;
};

struct piece {
    const struct cut *rows, *columns;
    const int32_t *start; /* [lane] */
    size_t strips;
    size_t strip; /* how many come before its first */
};

/* Which way from a pixel to the next, in the buffer that kernels read. */
struct steps {
    size_t row, column; /* from one position of the kernel to the next */
    size_t tap_row, tap_column;
};

/* What one thread has for itself. */
struct own {
    struct bytes_run *runs; /* [taps] */
    size_t runs_len;
    size_t x_at[STRIP], y_at[STRIP];
    int32_t x_sums[STRIP];
    uint8_t *band;
};

struct job {
    const struct bytes_conv *plan;
    struct maps m;
    size_t out[2];
    const uint8_t *in;
    char *to;
    struct piece *pieces;
    size_t pieces_len, strips; /* of an image */
    size_t panels;             /* of all groups */
    bool weights_first;        /* items: all strips of a panel, or all panels of a strip */
    char *owns;
    size_t own_bytes;
    size_t band_rows; /* gathered: output rows of a strip */
};

/* What lies where in scratch, in bytes. */
struct room {
    size_t cuts, pieces, starts, flipped, owns, own, bytes;
    size_t cuts_len[2];
    size_t band, band_rows;
};

static size_t padded_size(size_t bytes)
{
    return (bytes + TENSOR_ALIGN - 1) / TENSOR_ALIGN * TENSOR_ALIGN;
}

/* Taps of output position `o` that lie in a map of `in`. */
static struct cut taps_at(const struct conv_shape *s, int axis, size_t in, size_t o)
{
    size_t d = s->dilation[axis], before = s->pad_begin[axis], at = o * s->stride[axis];
    size_t first = at < before ? (before - at + d - 1) / d : 0;
    size_t last = at < in + before ? (in + before - at + d - 1) / d : 0;
    last = MIN(last, s->kernel[axis]);
    return (struct cut){o, o + 1, MIN(first, last), last};
}

/* Positions 0..out-1 cut where the taps change; counts only when `cuts` is NULL. */
static size_t find_cuts(const struct bytes_conv *p, int axis, size_t in, size_t out,
                        struct cut *cuts)
{
    size_t len = 0;
    struct cut last = {0};
    if (p->gathered) {
        if (cuts)
            cuts[0] = (struct cut){0, out, 0, p->shape.kernel[axis]};
        return 1;
    }
    for (size_t o = 0; o < out; o++) {
        struct cut c = taps_at(&p->shape, axis, in, o);
        if (!o || c.first != last.first || c.last != last.last) {
            last = c;
            len++;
        }
        last.end = c.end;
        if (cuts)
            cuts[len - 1] = last;
    }
    return len;
}

static size_t band_width(const struct conv_shape *s, size_t columns)
{
    return (columns - 1) * s->stride[1] + (s->kernel[1] - 1) * s->dilation[1] + 1;
}

static size_t band_height(const struct conv_shape *s, size_t rows)
{
    return (rows - 1) * s->stride[0] + (s->kernel[0] - 1) * s->dilation[0] + 1;
}

static struct room room_for(const struct bytes_conv *p, struct maps m, const size_t *out)
{
    struct room r = {.band_rows = 1};
    for (int axis = 0; axis < 2; axis++)
        r.cuts_len[axis] = find_cuts(p, axis, axis ? m.w : m.h, out[axis], NULL);
    size_t pieces = r.cuts_len[0] * r.cuts_len[1];
    r.pieces = padded_size((r.cuts_len[0] + r.cuts_len[1]) * sizeof(struct cut));
    r.starts = r.pieces + padded_size(pieces * sizeof(struct piece));
    r.flipped = r.starts + padded_size(pieces * p->lanes * sizeof(int32_t));
    r.owns = r.flipped;
    r.own = padded_size(sizeof(struct own)) + padded_size(bytes_taps(p) * sizeof(struct bytes_run));
    if (p->gathered) {
        size_t row = band_width(&p->shape, out[1]) * m.c;
        while (r.band_rows < out[0] && band_height(&p->shape, r.band_rows + 1) * row <= BAND_BYTES)
            r.band_rows++;
        r.band = padded_size(band_height(&p->shape, r.band_rows) * row + BYTES_SLACK);
        r.own += r.band;
    } else if (p->flip) {
        r.owns += padded_size(m.n * m.c * m.h * m.w + BYTES_SLACK);
    }
    r.bytes = r.owns + par_slots() * r.own;
    return r;
}

static void out_size(const struct bytes_conv *p, struct maps m, size_t *out)
{
    out[0] = conv_out_size(&p->shape, 0, m.h);
    out[1] = conv_out_size(&p->shape, 1, m.w);
}

size_t bytes_conv_scratch_bytes(const struct bytes_conv *self, struct maps m)
{
    size_t out[2];
    out_size(self, m, out);
    return room_for(self, m, out).bytes;
}

/* Without a tap, what starting with it has taken from the sum for zero points comes back. */
static void start_without(const struct bytes_conv *p, size_t tap, int32_t *start)
{
    const int32_t *weights = p->tap_sums + tap * p->lanes;
    uint32_t zero = (uint32_t)p->x_zero, both = (uint32_t)p->group_in * zero;
    for (size_t k = 0; k < p->lanes; k++)
        start[k] = (int32_t)((uint32_t)start[k] + zero * (uint32_t)weights[k]);
    for (size_t k = 0; k < p->lanes && p->w_zeros; k++)
        start[k] = (int32_t)((uint32_t)start[k] - both * (uint32_t)p->w_zeros[k]);
}

static const int32_t *start_of(const struct bytes_conv *p, const struct piece *piece, int32_t *room)
{
    bool whole = true;
    for (size_t tap = 0; tap < bytes_taps(p); tap++) {
        size_t row = tap / p->shape.kernel[1], column = tap % p->shape.kernel[1];
        if (row >= piece->rows->first && row < piece->rows->last &&
            column >= piece->columns->first && column < piece->columns->last)
            continue;
        if (whole)
            memcpy(room, p->start, p->lanes * sizeof *room);
        whole = false;
        start_without(p, tap, room);
    }
    return whole ? p->start : room;
}

static void make_pieces(struct job *j, const struct room *r, char *scratch)
{
    const struct bytes_conv *p = j->plan;
    struct cut *cuts[2] = {(void *)scratch, (struct cut *)(void *)scratch + r->cuts_len[0]};
    int32_t *starts = (void *)(scratch + r->starts);
    size_t largest = 0, most = 0;
    j->pieces = (void *)(scratch + r->pieces);
    for (int axis = 0; axis < 2; axis++)
        find_cuts(p, axis, axis ? j->m.w : j->m.h, j->out[axis], cuts[axis]);
    for (size_t i = 0; i < r->cuts_len[0] * r->cuts_len[1]; i++) {
        struct piece *piece = &j->pieces[j->pieces_len++];
        piece->rows = &cuts[0][i / r->cuts_len[1]];
        piece->columns = &cuts[1][i % r->cuts_len[1]];
        piece->start = start_of(p, piece, starts + i * p->lanes);
        size_t height = piece->rows->end - piece->rows->begin,
               pixels = height * (piece->columns->end - piece->columns->begin);
        piece->strips =
            p->gathered ? (height + r->band_rows - 1) / r->band_rows : (pixels + STRIP - 1) / STRIP;
        if (pixels > most) {
            most = pixels;
            largest = i;
        }
    }
    /* the largest first: it has the most work for each weight that comes from far */
    struct piece first = j->pieces[largest];
    j->pieces[largest] = j->pieces[0];
    j->pieces[0] = first;
    for (size_t i = 0; i < j->pieces_len; i++) {
        j->pieces[i].strip = j->strips;
        j->strips += j->pieces[i].strips;
    }
}

/* The taps that a piece has, as runs from its first one on. */
static void find_runs(const struct bytes_conv *p, const struct piece *piece, struct steps s,
                      struct own *own)
{
    const struct cut *rows = piece->rows, *columns = piece->columns;
    bool whole = p->gathered;
    bool joined =
        !p->depthwise && p->shape.groups == 1 && p->group_in % 4 == 0 && p->shape.dilation[1] == 1;
    size_t width = columns->last - columns->first;
    own->runs_len = 0;
    for (size_t r = rows->first; r < rows->last; r++)
        for (size_t c = columns->first; c < columns->last; c += whole || joined ? width : 1)
            own->runs[own->runs_len++] = (struct bytes_run){
                .x = (r - rows->first) * s.tap_row + (c - columns->first) * s.tap_column,
                .w = whole          ? r * p->tap_quads
                     : p->depthwise ? r * p->shape.kernel[1] + c
                                    : (r * p->shape.kernel[1] + c) * p->tap_quads,
                .len = p->tap_quads * (joined ? width : 1),
            };
}

/* Where pixels begin..end-1 of a rectangle `wide` across lie from its first on. */
static void place(size_t begin, size_t end, size_t wide, size_t row_step, size_t step, size_t *at)
{
    size_t row = begin / wide, column = begin % wide;
    for (size_t i = begin; i < end; row++, column = 0) {
        size_t len = MIN(wide - column, end - i), from = row * row_step + column * step;
        for (size_t k = 0; k < len; k++)
            at[k] = from + k * step;
        at += len;
        i += len;
    }
}

/* Sums of the input under weights that have zero points. */
static void sum_input(const struct bytes_conv *p, const struct own *own, const uint8_t *x,
                      size_t pixels, int32_t *sums)
{
    static const int32_t zeros[BYTES_BLOCK];
    size_t at[STRIP];
    for (size_t i = 0; i < pixels; i++)
        at[i] = i;
    p->kernel->panel(&(struct bytes_panel){
        .x = x,
        .x_at = own->x_at,
        .y = sums,
        .y_at = at,
        .pixels = pixels,
        .runs = own->runs,
        .runs_len = own->runs_len,
        .weights = p->ones,
        .channels = 1,
        .start = zeros,
    });
}

/* The strip that own describes by panel number `number` of all groups'. */
static void by_panel(const struct job *j, struct own *own, const struct piece *piece,
                     const uint8_t *x, size_t y, size_t pixels, size_t number)
{
    const struct bytes_conv *p = j->plan;
    size_t group = number / p->panels, in_group = number % p->panels, lane = number * BYTES_PANEL;
    struct bytes_out out = p->finish;
    out.scales = p->sums ? NULL : p->scales + lane;
    y += group * p->group_out + in_group * BYTES_PANEL;
    struct bytes_panel panel = {
        .x = x + group * p->group_in,
        .x_at = own->x_at,
        .y = j->to + y * (p->sums ? sizeof(int32_t) : 1),
        .y_at = own->y_at,
        .pixels = pixels,
        .runs = own->runs,
        .runs_len = own->runs_len,
        .start = piece->start + lane,
        .out = p->sums ? NULL : &out,
    };
    if (p->depthwise) {
        panel.channels = p->group_out * p->shape.groups;
        p->kernel->depthwise(&panel, p->tap_weights);
        return;
    }
    panel.weights = p->weights + bytes_panel_at(p, group, in_group);
    panel.channels = bytes_panel_channels(p, in_group);
    if (p->w_zeros) {
        sum_input(p, own, panel.x, pixels, own->x_sums);
        panel.x_sums = own->x_sums;
        panel.w_zeros = p->w_zeros + lane;
    }
    p->kernel->panel(&panel);
}

static struct own *own_of(const struct job *j, size_t slot)
{
    char *memory = j->owns + slot * j->own_bytes;
    struct own *own = (void *)memory;
    own->runs = (void *)(memory + padded_size(sizeof *own));
    own->band = (uint8_t *)own->runs + padded_size(bytes_taps(j->plan) * sizeof(struct bytes_run));
    return own;
}

static const struct piece *piece_of(const struct job *j, size_t strip)
{
    const struct piece *piece = j->pieces;
    while (strip >= piece->strip + piece->strips)
        piece++;
    return piece;
}

/* An item is one strip of one image by one panel. */
static void direct_items(void *arg, size_t slot, size_t begin, size_t end)
{
    const struct job *j = arg;
    const struct bytes_conv *p = j->plan;
    const struct conv_shape *s = &p->shape;
    struct own *own = own_of(j, slot);
    size_t pixel = j->m.c, row = j->m.w * pixel, strips = j->m.n * j->strips, last = SIZE_MAX;
    struct steps step = {row * s->stride[0], pixel * s->stride[1], row * s->dilation[0],
                         pixel * s->dilation[1]};
    const struct piece *piece = NULL;
    const uint8_t *x = NULL;
    size_t y = 0, pixels = 0;
    for (size_t i = begin; i < end; i++) {
        size_t strip = j->weights_first ? i % strips : i / j->panels;
        size_t panel = j->weights_first ? i / strips : i % j->panels;
        if (strip != last) {
            size_t image = strip / j->strips, of_image = strip % j->strips;
            const struct piece *now = piece_of(j, of_image);
            const struct cut *rows = now->rows, *columns = now->columns;
            if (now != piece)
                find_runs(p, now, step, own);
            piece = now;
            last = strip;
            size_t wide = columns->end - columns->begin, all = wide * (rows->end - rows->begin);
            size_t from = all * (of_image - piece->strip) / piece->strips,
                   to = all * (of_image - piece->strip + 1) / piece->strips;
            pixels = to - from;
            place(from, to, wide, step.row, step.column, own->x_at);
            place(from, to, wide, j->out[1] * s->channels_out, s->channels_out, own->y_at);
            y = (image * j->out[0] + rows->begin) * j->out[1] + columns->begin;
            y *= s->channels_out;
            x = j->in + image * j->m.h * row;
            if (own->runs_len) /* else nothing is read, and there may be no such place */
                x += (rows->begin * s->stride[0] + rows->first * s->dilation[0] - s->pad_begin[0]) *
                         row +
                     (columns->begin * s->stride[1] + columns->first * s->dilation[1] -
                      s->pad_begin[1]) *
                         pixel;
        }
        by_panel(j, own, piece, x, y, pixels, panel);
    }
}

/* One row of the band, from plain maps or from the last layout. */
static void gather_row(const struct job *j, const uint8_t *image, size_t in_row, size_t width,
                       uint8_t *to)
{
    const struct conv_shape *s = &j->plan->shape;
    uint8_t flip = j->plan->flip, pad = (uint8_t)j->plan->x_zero;
    size_t c = j->m.c, w = j->m.w, plane = j->m.h * w, before = s->pad_begin[1];
    size_t len = width > before ? MIN(w, width - before) : 0;
    bool inside = in_row >= s->pad_begin[0] && in_row - s->pad_begin[0] < j->m.h;
    if (!inside)
        len = 0;
    memset(to, pad, MIN(before, width) * c);
    memset(to + MIN(before + len, width) * c, pad, (width - MIN(before + len, width)) * c);
    if (!len) {
        memset(to, pad, width * c);
        return;
    }
    uint8_t *out = to + before * c;
    size_t y = in_row - s->pad_begin[0];
    if (j->plan->in == LAYOUT_LAST)
        for (size_t i = 0; i < len * c; i++)
            out[i] = image[y * w * c + i] ^ flip;
    else
        j->plan->kernel->interleave(len, c, plane, image + y * w, flip, out);
}

/* An item is a band of output rows of one image, by all panels. */
static void gathered_items(void *arg, size_t slot, size_t begin, size_t end)
{
    const struct job *j = arg;
    const struct bytes_conv *p = j->plan;
    const struct conv_shape *s = &p->shape;
    struct own *own = own_of(j, slot);
    size_t c = j->m.c, width = band_width(s, j->out[1]), row = width * c;
    struct steps step = {row * s->stride[0], c * s->stride[1], row, c};
    const struct piece *piece = j->pieces;
    find_runs(p, piece, step, own);
    for (size_t i = begin; i < end; i++) {
        size_t image = i / j->strips, strip = i % j->strips;
        size_t first = j->out[0] * strip / j->strips, last = j->out[0] * (strip + 1) / j->strips;
        const uint8_t *from = j->in + image * c * j->m.h * j->m.w;
        for (size_t r = 0; r < band_height(s, last - first); r++)
            gather_row(j, from, first * s->stride[0] + r, width, own->band + r * row);
        size_t all = (last - first) * j->out[1], y = (image * j->out[0] + first) * j->out[1];
        for (size_t at = 0; at < all; at += STRIP) {
            size_t to = MIN(at + STRIP, all);
            place(at, to, j->out[1], step.row, step.column, own->x_at);
            place(at, to, j->out[1], j->out[1] * s->channels_out, s->channels_out, own->y_at);
            for (size_t panel = 0; panel < j->panels; panel++)
                by_panel(j, own, piece, own->band, y * s->channels_out, to - at, panel);
        }
    }
}

struct flip_job {
    const uint8_t *from;
    uint8_t *to;
    uint8_t by;
};

static void flip_items(void *arg, size_t slot, size_t begin, size_t end)
{
    const struct flip_job *j = arg;
    (void)slot;
    for (size_t i = begin; i < end; i++)
        j->to[i] = j->from[i] ^ j->by;
}

void bytes_conv_run(const struct bytes_conv *self, struct maps m, const void *in, void *out,
                    void *scratch)
{
    struct job j = {.plan = self, .m = m, .in = in, .to = out};
    out_size(self, m, j.out);
    struct room r = room_for(self, m, j.out);
    make_pieces(&j, &r, scratch);
    j.owns = (char *)scratch + r.owns;
    j.own_bytes = r.own;
    j.panels = self->depthwise ? 1 : self->panels * self->shape.groups;
    size_t pixels = m.n * j.out[0] * j.out[1];
    double flops = PER_FLOP * 2 * (double)(pixels * self->shape.channels_out) *
                   (double)(self->group_in * bytes_taps(self));
    if (self->gathered) {
        par_for(m.n * j.strips, flops, gathered_items, &j);
        return;
    }
    size_t input = m.n * m.c * m.h * m.w, weights = bytes_panel_at(self, self->shape.groups, 0);
    if (self->flip) {
        struct flip_job flip = {in, (uint8_t *)scratch + r.flipped, self->flip};
        par_for(input, (double)input, flip_items, &flip);
        j.in = flip.to;
    }
    j.weights_first = !self->depthwise && weights > kernels_l2_bytes() / L2_PART;
    par_for(m.n * j.strips * j.panels, flops, direct_items, &j);
}
