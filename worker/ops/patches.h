/* patches - windows of maps as rows of a matrix (im2col), and back (col2im); up to three axes
 *
 * Row `p` of the matrix is output position p (row-major over out[]); its columns are
 * [channel][tap], taps row-major over kernel[]. Axes that are not there have size 1. */
#ifndef CONVOY_WORKER_OPS_PATCHES_H
#define CONVOY_WORKER_OPS_PATCHES_H

#include "worker/ops/window.h"

struct patches {
    size_t channels;
    size_t map[SPATIAL_MAX]; /* the maps' size */
    size_t out[SPATIAL_MAX]; /* positions of the window */
    struct window_3d window;
};

size_t patches_positions(const struct patches *p);
size_t patches_row(const struct patches *p);  /* elements of a row */
size_t patches_maps(const struct patches *p); /* elements of all channels' maps */

/* Positions of the window along `axis` of a padded map; 0 when it does not fit. */
size_t patches_out(const struct patches *p, uint32_t axis);

/* Rows first..end-1 of the matrix; elements of `width` bytes; *pad stands for what lies outside. */
void patches_gather(const struct patches *p, size_t width, const void *maps, const void *pad,
                    size_t first, size_t end, void *rows);

/* Add rows first..end-1 to the maps of one channel where they came from; what lies outside is
 * dropped. `rows` starts at row `first` and is patches_row() wide. */
void patches_scatter(const struct patches *p, size_t channel, const float *rows, size_t first,
                     size_t end, float *maps);

#endif
