/* sort - the first few of a list in some order, in place: a heap, no memory, no bad case */
#ifndef CONVOY_WORKER_OPS_SORT_H
#define CONVOY_WORKER_OPS_SORT_H

#include "common/base.h"

/* Whether number `a` comes in front of number `b`: a strict total order, so that results do not
 * depend on how the heap moves. */
typedef bool sort_before(const void *arg, int64_t a, int64_t b);

/* Reorder numbers[0..len) so that its first `first` (at most len) are those that come first, in
 * order; what is behind them is left in any order. */
void sort_first(int64_t *numbers, size_t len, size_t first, sort_before *before, const void *arg);

#endif
