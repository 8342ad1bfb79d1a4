/* run_operators - worker/OPERATORS.md from ops.def; see run_report.h */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "worker/ops/ops.h"
#include "worker/run_report.h"

/* By name, then by opset. */
static int by_name(const void *a, const void *b)
{
    const struct op *x = *(const struct op *const *)a, *y = *(const struct op *const *)b;
    int order = strcmp(x->name, y->name);
    return order ? order : x->opset_min - y->opset_min;
}

static void print_range(uint32_t min, uint32_t max)
{
    if (min == max)
        printf(" %u |", min);
    else if (max == ANY_COUNT)
        printf(" %u or more |", min);
    else
        printf(" %u to %u |", min, max);
}

/* One line for the rows of one name; they have neighbouring ranges of opsets. */
static void print_operator(const struct op *const *rows, size_t len)
{
    uint32_t in_min = rows[0]->in_min, in_max = 0, out_max = 0;
    const char *dash = "";
    printf("| %s |", rows[0]->name);
    for (size_t i = 0; i < len; i++) {
        bool joined = i && rows[i]->opset_min == rows[i - 1]->opset_max + 1;
        in_min = MIN(in_min, rows[i]->in_min);
        in_max = MAX(in_max, rows[i]->in_max);
        out_max = MAX(out_max, rows[i]->out_max);
        if (!joined)
            printf("%s %d to ", dash, rows[i]->opset_min);
        if (i + 1 == len || rows[i + 1]->opset_min != rows[i]->opset_max + 1)
            printf("%d", rows[i]->opset_max);
        dash = ",";
    }
    printf(" |");
    print_range(in_min, in_max);
    print_range(1, out_max);
    const struct op *last = rows[len - 1];
    bool mixes = last->rows == rows_never && !(last->flags & OP_DIMS_ONLY);
    printf("%s |\n", mixes ? " never batched" : "");
}

void report_operators(void)
{
    size_t len;
    const struct op *list = op_list(&len);
    const struct op **sorted = xcalloc(len, sizeof(struct op *));
    size_t all = len;
    len = 0;
    for (size_t i = 0; i < all; i++)
        if (list[i].opset_min != OPSET_OURS)
            sorted[len++] = &list[i];
    qsort(sorted, len, sizeof *sorted, by_name);
    size_t names = 0;
    for (size_t i = 0; i < len; i++)
        names += !i || strcmp(sorted[i]->name, sorted[i - 1]->name) != 0;
    printf(
        "# Operators\n\n"
        "Printed by `make operators` from `ops/ops.def`, the list that the engine itself reads; a "
        "test compares.\n\n"
        "%zu operators of the domain `ai.onnx`, and Constant. Opsets are versions that a model "
        "may import; the newest\nthat is known is %d. *Never batched*: requests for a model with "
        "this operator behind an input run one by one.\n\n"
        "| operator | opsets | inputs | outputs | notes |\n|---|---|---|---|---|\n",
        names, OPSET_NEWEST);
    for (size_t i = 0, same; i < len; i += same) {
        for (same = 1; i + same < len && strcmp(sorted[i]->name, sorted[i + same]->name) == 0;)
            same++;
        print_operator(&sorted[i], same);
    }
    free((void *)(uintptr_t)sorted);
}
