/* Which patterns become one operator: all of tests/data/ops/fusion.cases but the near misses. That
 * they still compute the same is test_ops' matter. */
#include "tests/unit/common/testing.h"
#include "tests/unit/worker/op_cases.h"
#include "worker/engine.h"

#define LABELS_MAX 64

static struct op_cases *cases;

static size_t labels_of(const struct op_case *k, struct operator_count *labels)
{
    struct model *m;
    struct error why;
    if (model_load(&m, k->model, k->model_size, &why) != STATUS_OK)
        fail_msg("%s: %s", k->name, why.text);
    size_t len = model_operators(m, labels, LABELS_MAX), kept = 0;
    for (size_t i = 0; i < len; i++) { /* names die with the model */
        labels[kept] = labels[i];
        labels[kept++].name = xstrdup(labels[i].name);
    }
    model_destroy(&m);
    return kept;
}

static uint32_t count_of(const struct operator_count *labels, size_t len, const char *part)
{
    uint32_t count = 0;
    for (size_t i = 0; i < len; i++)
        if (strstr(labels[i].name, part))
            count += labels[i].count;
    return count;
}

/* Case names that begin so have one node with this in its label. */
static const struct expected {
    const char *name, *label;
} expected[] = {
    {"gelu_", "Gelu (written out)"},
    {"silu", "Conv+SiLU (written out)"},
    {"hard_swish_", "HardSwish (written out)"},
    {"mish", "Mish (written out)"},
    {"layer_norm_", "LayerNormalization (written out)"},
    {"rms_norm", "RMSNormalization (written out)"},
    {"attention_", "Attention (written out)"},
    {"lstm_", "LSTM (written out)"},
    {"qdq_conv", "QLinearConv (written out)"},
    {"qdq_matmul", "QLinearMatMul (written out)"},
    {"residual_channels_past", "Conv+Add+Neg"},
    {"residual_", "Conv+Add"},
};

static void each_pattern_becomes_one_node(void **state)
{
    (void)state;
    for (size_t i = 0; i < cases->len; i++) {
        const struct op_case *k = &cases->list[i];
        struct operator_count labels[LABELS_MAX];
        size_t len = labels_of(k, labels), e = 0;
        while (e < ARRAY_LEN(expected) &&
               strncmp(k->name, expected[e].name, strlen(expected[e].name)) != 0)
            e++;
        bool near_miss = strstr(k->name, "no_match") != NULL;
        uint32_t all = count_of(labels, len, "(written out)");
        if (near_miss && all)
            fail_msg("%s: a pattern was found", k->name);
        if (!near_miss && e < ARRAY_LEN(expected) && count_of(labels, len, expected[e].label) != 1)
            fail_msg("%s: no node is %s", k->name, expected[e].label);
        for (size_t n = 0; n < len; n++)
            free((char *)(uintptr_t)labels[n].name);
    }
}

/* A loop that an exporter has written out: nothing of its steps is left but the cells. */
static void each_step_of_an_unrolled_lstm_becomes_one_node(void **state)
{
    (void)state;
    for (size_t i = 0; i < cases->len; i++) {
        struct operator_count labels[LABELS_MAX];
        if (strncmp(cases->list[i].name, "unrolled_lstm_", strlen("unrolled_lstm_")) != 0)
            continue;
        size_t len = labels_of(&cases->list[i], labels);
        assert_int_equal(count_of(labels, len, "LSTM (written out)"), 3);
        assert_int_equal(count_of(labels, len, "Gather"), 3);
        assert_int_equal(count_of(labels, len, "Concat"), 1);
        assert_int_equal(len, 3);
        for (size_t n = 0; n < len; n++)
            free((char *)(uintptr_t)labels[n].name);
        return;
    }
    fail_msg("the case is not there");
}

static void what_is_the_same_is_computed_once(void **state)
{
    (void)state;
    for (size_t i = 0; i < cases->len; i++) {
        struct operator_count labels[LABELS_MAX];
        if (strcmp(cases->list[i].name, "the_same_twice_is_computed_once") != 0)
            continue;
        size_t len = labels_of(&cases->list[i], labels);
        assert_int_equal(count_of(labels, len, "Exp"), 1);
        assert_int_equal(count_of(labels, len, "LeakyRelu"), 2); /* of different slopes */
        for (size_t n = 0; n < len; n++)
            free((char *)(uintptr_t)labels[n].name);
        return;
    }
    fail_msg("the case is not there");
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_pattern_becomes_one_node),
        cmocka_unit_test(each_step_of_an_unrolled_lstm_becomes_one_node),
        cmocka_unit_test(what_is_the_same_is_computed_once),
    };
    struct error why;
    if (engine_start("auto", 1, &why) != STATUS_OK)
        panic("%s", why.text);
    cases = op_cases_read("tests/data/ops/fusion.cases");
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    op_cases_free(&cases);
    return failed;
}
