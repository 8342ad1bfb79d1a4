/* Every operator against the outputs that an outside oracle computed (tests/data/make_op_cases.py),
 * with each instruction set; rows alone, and other thread counts, must give the same bytes. */
#include <glob.h>
#include <math.h>

#include "tests/unit/common/testing.h"
#include "tests/unit/worker/op_cases.h"
#include "worker/engine.h"
#include "worker/ops/scalar.h"

/* Of the reference's magnitude; sums of some hundred terms in another order. */
#define ATOL 2e-5
#define RTOL 1e-4
#define HALF 4e-3 /* both, of FP16: some roundings to 11 bits, in another order */

static void named(struct op_case *k, const struct model *m, struct tensor *inputs)
{
    const struct signature *s = model_signature(m);
    assert_int_equal(s->inputs_len, k->inputs_len);
    assert_int_equal(s->outputs_len, k->outputs_len);
    for (uint32_t i = 0; i < k->inputs_len; i++) {
        inputs[i] = k->inputs[i];
        inputs[i].name = s->inputs[i].name;
    }
}

static double element(const struct tensor *t, size_t i)
{
    return dtype_is_float(t->dtype) ? scalar_float(t->dtype, t->data, i)
                                    : (double)scalar_int(t->dtype, t->data, i);
}

static bool near(double want, double got, bool half)
{
    if (isnan(want) || isinf(want))
        return isnan(want) ? isnan(got) : got == want;
    return fabs(want - got) <= (half ? HALF + HALF * fabs(want) : ATOL + RTOL * fabs(want));
}

static void compare(const struct op_case *k, uint32_t i, const struct tensor *got)
{
    const struct tensor *want = &k->outputs[i];
    char text[2][128];
    if (want->dtype != got->dtype || want->bytes != got->bytes || want->rank != got->rank ||
        memcmp(want->dims, got->dims, want->rank * sizeof want->dims[0]) != 0)
        fail_msg("%s: output %u is %s %s; expected %s %s", k->name, i, dtype_name(got->dtype),
                 dims_text(text[0], sizeof text[0], got->dims, got->rank), dtype_name(want->dtype),
                 dims_text(text[1], sizeof text[1], want->dims, want->rank));
    for (size_t e = 0; e < want->bytes / dtype_bytes(want->dtype); e++)
        if (!near(element(want, e), element(got, e), want->dtype == DTYPE_FP16))
            fail_msg("%s: output %u, element %zu is %.9g; expected %.9g", k->name, i, e,
                     element(got, e), element(want, e));
}

/* Bytes of row `row` of a tensor whose rows lie on `axis`, gathered. */
static uint8_t *take_row(const struct tensor *t, uint32_t axis, size_t row, size_t *size)
{
    size_t outer = 1, rows = (size_t)t->dims[axis];
    for (uint32_t k = 0; k < axis; k++)
        outer *= (size_t)t->dims[k];
    size_t span = outer && rows ? t->bytes / outer / rows : 0;
    uint8_t *bytes = xaligned(outer * span);
    for (size_t o = 0; o < outer; o++)
        memcpy(bytes + o * span, (uint8_t *)t->data + (o * rows + row) * span, span);
    *size = outer * span;
    return bytes;
}

/* The engine says that rows are independent: each row alone must give the same bytes. */
static void rows_alone(const struct op_case *k, struct model *m, const struct tensor *inputs,
                       const struct tensor *whole)
{
    const struct signature *s = model_signature(m);
    struct tensor row_in[CASE_VALUES_MAX], row_out[CASE_VALUES_MAX];
    struct error why;
    for (size_t r = 0; r < (size_t)inputs[0].dims[0]; r++) {
        for (uint32_t i = 0; i < s->inputs_len; i++) {
            row_in[i] = inputs[i];
            row_in[i].data = take_row(&inputs[i], 0, r, &row_in[i].bytes);
            row_in[i].dims[0] = 1;
        }
        if (model_run(m, row_in, s->inputs_len, row_out, &why) != STATUS_OK)
            fail_msg("%s: row %zu alone: %s", k->name, r, why.text);
        for (uint32_t i = 0; i < s->outputs_len; i++) {
            size_t size;
            uint8_t *want = take_row(&whole[i], s->output_batch_axis[i], r, &size);
            if (row_out[i].bytes != size || memcmp(row_out[i].data, want, size) != 0)
                fail_msg("%s: row %zu alone gives other bytes in output %u", k->name, r, i);
            free(want);
        }
        for (uint32_t i = 0; i < s->inputs_len; i++)
            free(row_in[i].data);
    }
}

static void run_case(struct op_case *k)
{
    struct tensor inputs[CASE_VALUES_MAX], outputs[CASE_VALUES_MAX];
    struct tensor kept[CASE_VALUES_MAX] = {{0}};
    struct model *m;
    struct error why;
    if (model_load(&m, k->model, k->model_size, &why) != STATUS_OK)
        fail_msg("%s: %s", k->name, why.text);
    named(k, m, inputs);
    if (model_run(m, inputs, k->inputs_len, outputs, &why) != STATUS_OK)
        fail_msg("%s: %s", k->name, why.text);
    for (uint32_t i = 0; i < k->outputs_len; i++) {
        compare(k, i, &outputs[i]);
        kept[i] = outputs[i];
        kept[i].data = xaligned(outputs[i].bytes);
        memcpy(kept[i].data, outputs[i].data, outputs[i].bytes);
    }
    assert_int_equal(model_run(m, inputs, k->inputs_len, outputs, &why), STATUS_OK);
    for (uint32_t i = 0; i < k->outputs_len; i++)
        if (memcmp(kept[i].data, outputs[i].data, outputs[i].bytes) != 0)
            fail_msg("%s: a second run gives other bytes in output %u", k->name, i);
    if (model_signature(m)->batchable)
        rows_alone(k, m, inputs, kept);
    for (uint32_t i = 0; i < k->outputs_len; i++)
        free(kept[i].data);
    model_destroy(&m);
}

struct family {
    const char *path;
    const char *isa;
    uint32_t threads;
};

static void family_agrees_with_the_oracle(void **state)
{
    const struct family *f = *state;
    struct error why;
    assert_int_equal(engine_start(f->isa, f->threads, &why), STATUS_OK);
    struct op_cases *cases = op_cases_read(f->path);
    assert_true(cases->len > 0);
    for (size_t i = 0; i < cases->len; i++)
        run_case(&cases->list[i]);
    op_cases_free(&cases);
}

int main(void)
{
    static const char *const isas[] = {"avx512", "avx2", "generic"};
    glob_t files;
    struct error why;
    size_t len = 0;
    if (glob("tests/data/ops/*.cases", 0, NULL, &files) != 0)
        panic("no tests/data/ops/*.cases: run this in the project's folder");
    size_t most = files.gl_pathc * ARRAY_LEN(isas);
    struct CMUnitTest *tests = xcalloc(most, sizeof *tests);
    struct family *families = xcalloc(most, sizeof *families);
    for (size_t k = 0; k < ARRAY_LEN(isas); k++) {
        if (engine_start(isas[k], 1, &why) != STATUS_OK) {
            printf("skipped: %s\n", why.text);
            continue;
        }
        for (size_t i = 0; i < files.gl_pathc; i++) {
            const char *name = strrchr(files.gl_pathv[i], '/') + 1;
            int length = (int)strcspn(name, ".");
            families[len] = (struct family){files.gl_pathv[i], isas[k], k == 0 ? 2 : 1};
            tests[len].name = xasprintf("%.*s_agrees_with_the_oracle_%s", length, name, isas[k]);
            tests[len].test_func = family_agrees_with_the_oracle;
            tests[len].initial_state = &families[len];
            len++;
        }
    }
    int failed = _cmocka_run_group_tests("operators", tests, len, NULL, NULL);
    for (size_t i = 0; i < len; i++)
        free((void *)(uintptr_t)tests[i].name);
    free(tests);
    free(families);
    globfree(&files);
    return failed;
}
