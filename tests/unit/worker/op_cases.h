/* op_cases - reads tests/data/ops/NAME.cases; the format stands in tests/data/make_op_cases.py */
#ifndef CONVOY_TESTS_UNIT_WORKER_OP_CASES_H
#define CONVOY_TESTS_UNIT_WORKER_OP_CASES_H

#include "common/tensor.h"

#define CASE_VALUES_MAX 8

struct op_case {
    char *name;
    const uint8_t *model;
    size_t model_size;
    uint32_t inputs_len, outputs_len;
    struct tensor inputs[CASE_VALUES_MAX]; /* unnamed; data aligned, owned */
    struct tensor outputs[CASE_VALUES_MAX];
};

struct op_cases {
    uint8_t *bytes; /* the file */
    size_t len;
    struct op_case *list;
};

/* Panics on any trouble: the files are ours. */
struct op_cases *op_cases_read(const char *path);
void op_cases_free(struct op_cases **self_p);

#endif
