/* bytes_last - maps between plain and LAYOUT_LAST; see bytes_conv.h */
#include "worker/kernels/bytes_conv.h"
#include "worker/kernels/par.h"

#define EDGE 16 /* channels by pixels that are turned at a time: both sides stay in the cache */

struct turn {
    size_t rows, columns; /* of each image's matrix, which becomes its transpose */
    size_t tiles;         /* of EDGE rows in an image */
    size_t width;
    const char *from;
    char *to;
};

#define TURN(type)                                                                                 \
    for (size_t c = 0; c < t->columns; c += EDGE)                                                  \
        for (size_t r = first; r < last; r++)                                                      \
            for (size_t k = c; k < MIN(c + EDGE, t->columns); k++)                                 \
                ((type *)to)[k * t->rows + r] = ((const type *)from)[r * t->columns + k];

static void turn_items(void *arg, size_t slot, size_t begin, size_t end)
{
    const struct turn *t = arg;
    (void)slot;
    for (size_t i = begin; i < end; i++) {
        size_t first = i % t->tiles * EDGE, last = MIN(first + EDGE, t->rows);
        size_t at = i / t->tiles * t->rows * t->columns * t->width;
        const void *from = t->from + at;
        void *to = t->to + at;
        if (t->width == 1) {
            TURN(uint8_t)
        } else {
            TURN(uint32_t)
        }
    }
}

static void turn(size_t images, size_t rows, size_t columns, size_t width, const void *from,
                 void *to)
{
    struct turn t = {rows, columns, (rows + EDGE - 1) / EDGE, width, from, to};
    par_for(images * t.tiles, (double)(images * rows * columns), turn_items, &t);
}

void bytes_to_last(struct maps m, size_t width, const void *plain, void *last)
{
    turn(m.n, m.c, m.h * m.w, width, plain, last);
}

void bytes_to_plain(struct maps m, size_t width, const void *last, void *plain)
{
    turn(m.n, m.h * m.w, m.c, width, last, plain);
}
