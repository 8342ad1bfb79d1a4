/* sort - see sort.h; the heap's top is the last of those that are kept */
#include "worker/ops/sort.h"

static void swap(int64_t *numbers, size_t a, size_t b)
{
    int64_t old = numbers[a];
    numbers[a] = numbers[b];
    numbers[b] = old;
}

static void sink(int64_t *heap, size_t len, size_t at, sort_before *before, const void *arg)
{
    for (size_t child; (child = 2 * at + 1) < len; at = child) {
        if (child + 1 < len && before(arg, heap[child], heap[child + 1]))
            child++;
        if (!before(arg, heap[at], heap[child]))
            return;
        swap(heap, at, child);
    }
}

void sort_first(int64_t *numbers, size_t len, size_t first, sort_before *before, const void *arg)
{
    assert(first <= len);
    if (!first)
        return;
    for (size_t i = first / 2; i-- > 0;)
        sink(numbers, first, i, before, arg);
    for (size_t i = first; i < len; i++)
        if (before(arg, numbers[i], numbers[0])) {
            swap(numbers, i, 0);
            sink(numbers, first, 0, before, arg);
        }
    for (size_t left = first; left > 1;) {
        swap(numbers, 0, --left);
        sink(numbers, left, 0, before, arg);
    }
}
