/* taskset - an array of ranges with binary search; see taskset.h */
#include "common/taskset.h"

#include <stdlib.h>
#include <string.h>

static uint64_t end_of(struct task_range range)
{
    return range.first + range.count;
}

/* Index of the first range that ends after `number`; len when there is none. */
static size_t first_ending_after(const struct taskset *self, uint64_t number)
{
    size_t low = 0, high = self->len;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (end_of(self->ranges[middle]) > number)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

static bool sound(uint64_t first, uint64_t count)
{
    return count > 0 && count <= UINT64_MAX - first;
}

/* Put `n` pieces in the place of ranges[low..high). BUSY, and nothing done, past ranges_max. */
static enum status replace(struct taskset *self, size_t low, size_t high,
                           const struct task_range *pieces, size_t n)
{
    size_t len = self->len - (high - low) + n;
    if (len > self->ranges_max)
        return STATUS_BUSY;
    if (len > self->room) {
        self->room = MIN(MAX(2 * self->room, 8 + n), self->ranges_max);
        self->ranges = xrealloc(self->ranges, self->room * sizeof *self->ranges);
    }
    for (size_t i = low; i < high; i++)
        self->count -= self->ranges[i].count;
    for (size_t i = 0; i < n; i++)
        self->count += pieces[i].count;
    if (self->len > high)
        memmove(self->ranges + low + n, self->ranges + high,
                (self->len - high) * sizeof *self->ranges);
    if (n)
        memcpy(self->ranges + low, pieces, n * sizeof *pieces);
    self->len = len;
    return STATUS_OK;
}

struct taskset taskset_make(size_t ranges_max)
{
    return (struct taskset){.ranges_max = ranges_max};
}

void taskset_free(struct taskset *self)
{
    free(self->ranges);
    *self = taskset_make(self->ranges_max);
}

void taskset_clear(struct taskset *self)
{
    self->len = 0;
    self->count = 0;
}

enum status taskset_add_range(struct taskset *self, uint64_t first, uint64_t count)
{
    if (!sound(first, count))
        return STATUS_MALFORMED;
    uint64_t end = first + count;
    /* Ranges that overlap or touch [first, end) melt into one: they end at or after `first`... */
    size_t low = first ? first_ending_after(self, first - 1) : 0;
    size_t high = low;
    while (high < self->len && self->ranges[high].first <= end) /* ...and begin at or before end */
        high++;
    if (high > low) {
        first = MIN(first, self->ranges[low].first);
        end = MAX(end, end_of(self->ranges[high - 1]));
    }
    struct task_range whole = {.first = first, .count = end - first};
    return replace(self, low, high, &whole, 1);
}

enum status taskset_remove_range(struct taskset *self, uint64_t first, uint64_t count)
{
    if (!sound(first, count))
        return STATUS_MALFORMED;
    uint64_t end = first + count;
    size_t low = first_ending_after(self, first);
    size_t high = low;
    while (high < self->len && self->ranges[high].first < end)
        high++;
    if (low == high)
        return STATUS_OK;
    struct task_range left = self->ranges[low];
    struct task_range right = self->ranges[high - 1];
    struct task_range pieces[2];
    size_t n = 0;
    if (left.first < first)
        pieces[n++] = (struct task_range){.first = left.first, .count = first - left.first};
    if (end_of(right) > end)
        pieces[n++] = (struct task_range){.first = end, .count = end_of(right) - end};
    return replace(self, low, high, pieces, n);
}

enum status taskset_add(struct taskset *self, uint64_t number)
{
    return taskset_add_range(self, number, 1);
}

enum status taskset_remove(struct taskset *self, uint64_t number)
{
    return taskset_remove_range(self, number, 1);
}

bool taskset_contains(const struct taskset *self, uint64_t number)
{
    return taskset_contains_range(self, number, 1);
}

bool taskset_contains_range(const struct taskset *self, uint64_t first, uint64_t count)
{
    size_t at = first_ending_after(self, first);
    return sound(first, count) && at < self->len && self->ranges[at].first <= first &&
           end_of(self->ranges[at]) >= first + count;
}

bool taskset_equal(const struct taskset *a, const struct taskset *b)
{
    if (a->len != b->len || a->count != b->count)
        return false;
    return a->len == 0 || memcmp(a->ranges, b->ranges, a->len * sizeof *a->ranges) == 0;
}

enum status taskset_add_all(struct taskset *self, const struct taskset *other)
{
    enum status status = STATUS_OK;
    for (size_t i = 0; i < other->len && status == STATUS_OK; i++)
        status = taskset_add_range(self, other->ranges[i].first, other->ranges[i].count);
    return status;
}

enum status taskset_remove_all(struct taskset *self, const struct taskset *other)
{
    enum status status = STATUS_OK;
    for (size_t i = 0; i < other->len && status == STATUS_OK; i++)
        status = taskset_remove_range(self, other->ranges[i].first, other->ranges[i].count);
    return status;
}

bool taskset_next_difference(const struct taskset *a, const struct taskset *b, uint64_t *from,
                             struct task_range *out)
{
    for (;;) {
        size_t i = first_ending_after(a, *from);
        if (i == a->len)
            return false;
        uint64_t first = MAX(*from, a->ranges[i].first);
        uint64_t end = end_of(a->ranges[i]);
        size_t j = first_ending_after(b, first);
        if (j < b->len && b->ranges[j].first <= first) {
            *from = end_of(b->ranges[j]);
            continue;
        }
        if (j < b->len)
            end = MIN(end, b->ranges[j].first);
        *out = (struct task_range){.first = first, .count = end - first};
        *from = end;
        return true;
    }
}
