/* Losses: CTC against PyTorch's values and against all paths, its gradient against differences in
 * double; labels that cannot be. SEED=n repeats a run. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/common/testing.h"
#include "tests/unit/worker/train_check.h"
#include "worker/train/loss.h"
#include "worker/train/loss_ctc.h"

static uint64_t seed;

static enum status run(struct loss_shape shape, const float *x, int32_t *labels, size_t len,
                       float *dx, double *mean, size_t *correct, struct error *why)
{
    int64_t sequences = (int64_t)loss_rows(LOSS_CTC, shape);
    struct tensor target = {NULL, DTYPE_INT32, 2, {sequences, (int64_t)len}, labels, 0};
    target.bytes = (size_t)sequences * len * sizeof *labels;
    return loss_run(LOSS_CTC, shape, x, &target, dx, mean, correct, why);
}

/* torch.nn.functional.ctc_loss, PyTorch 1.13 in double, blank 0: of x = 2 sin(1.7 i + 0.3) as
 * [3][6][4]; of the gradient of the mean, every fifth value. */
static void ctc_gives_pytorchs_values(void **state)
{
    static const double losses[] = {6.911615507, 12.871372246, 4.796714256};
    static const double slopes[] = {0.042127625,  0.018374299,  -0.099143856, 0.105282207,
                                    0.025758070,  0.006248993,  0.223434815,  -0.290556579,
                                    -0.204273031, 0.267275241,  0.015312472,  -0.010623140,
                                    0.049919238,  -0.042002857, 0.027530110};
    static int32_t labels[] = {1, 2, 2, 3, 0, 0, 1, 3, 1};
    float x[72], dx[72];
    double mean = 0;
    size_t correct = 0;
    struct error why = {0};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(x); i++)
        x[i] = (float)(2 * sin(1.7 * (double)i + 0.3));
    assert_int_equal(run((struct loss_shape){18, 4, 6}, x, labels, 3, dx, &mean, &correct, &why),
                     STATUS_OK);
    assert_true(fabs(mean - (losses[0] + losses[1] + losses[2]) / 3) < 1e-6);
    for (size_t i = 0; i < ARRAY_LEN(slopes); i++)
        assert_true(fabs((double)dx[5 * i] - slopes[i]) < 1e-6);
    for (size_t i = 0; i < 3; i++) {
        struct loss_shape one = {6, 4, 6};
        assert_int_equal(run(one, x + 24 * i, labels + 3 * i, 3, NULL, &mean, &correct, &why),
                         STATUS_OK);
        assert_true(fabs(mean - losses[i]) < 1e-6);
    }
}

/* Every length of labels that fits, repeats among them. */
static void ctc_is_the_sum_over_all_paths(void **unused)
{
    enum { STEPS = 5, COLS = 3, LABELS = 4 };
    uint64_t state = seed;
    (void)unused;
    for (int turn = 0; turn < 200; turn++) {
        int32_t labels[LABELS] = {0};
        double numbers[LABELS] = {0}, wide[STEPS * COLS], mean = 0;
        float x[STEPS * COLS], dx[STEPS * COLS];
        size_t len = (size_t)test_random(&state) % (LABELS + 1), correct = 0;
        struct error why = {0};
        for (size_t i = 0; i < len; i++)
            numbers[i] = labels[i] = 1 + (int32_t)(test_random(&state) % (COLS - 1));
        for (size_t i = 0; i < ARRAY_LEN(x); i++)
            wide[i] = (double)(x[i] = (float)(int32_t)(uint32_t)test_random(&state) * 0x1p-29f);
        enum status s = run((struct loss_shape){STEPS, COLS, STEPS}, x, labels, LABELS, dx, &mean,
                            &correct, &why);
        if (ctc_steps_needed(labels, LABELS) > STEPS) {
            assert_int_equal(s, STATUS_INVALID);
            continue;
        }
        assert_int_equal(s, STATUS_OK);
        double want = check_ctc(STEPS, COLS, wide, LABELS, numbers);
        assert_true(fabs(mean - want) < 1e-6 * fmax(1, want));
        for (size_t i = 0; i < ARRAY_LEN(x); i++) {
            double old = wide[i];
            wide[i] = old + 1e-5;
            double above = check_ctc(STEPS, COLS, wide, LABELS, numbers);
            wide[i] = old - 1e-5;
            double below = check_ctc(STEPS, COLS, wide, LABELS, numbers);
            wide[i] = old;
            assert_true(fabs((double)dx[i] - (above - below) / 2e-5) < 1e-5);
        }
    }
}

/* Blank, 1, 1, blank, 1, 2 says 1, 1, 2. */
static void the_most_probable_path_is_compared(void **state)
{
    static const size_t path[] = {0, 1, 1, 0, 1, 2};
    int32_t labels[] = {1, 1, 2, 0}, others[] = {1, 2, 0, 0};
    float x[18] = {0};
    double mean = 0;
    size_t correct = 0;
    struct error why = {0};
    struct loss_shape shape = {6, 3, 6};
    (void)state;
    for (size_t t = 0; t < 6; t++)
        x[t * 3 + path[t]] = 50;
    assert_int_equal(run(shape, x, labels, 4, NULL, &mean, &correct, &why), STATUS_OK);
    assert_int_equal(correct, 1);
    assert_true(mean < 1e-9);
    assert_int_equal(run(shape, x, others, 4, NULL, &mean, &correct, &why), STATUS_OK);
    assert_int_equal(correct, 0);
    assert_true(mean > 40 && isfinite(mean));
}

static void labels_that_cannot_be_are_named(void **state)
{
    static const struct {
        int32_t labels[6];
        const char *said;
    } wrong[] = {
        {{1, 2, 0, 1, 3, 0}, "row 1 of the batch has label 3 at 1; expected 1 to 2"},
        {{1, 2, 0, -1, 0, 0}, "row 1 of the batch has label -1 at 0"},
        {{0, 0, 0, 1, 0, 2}, "row 1 of the batch has label 2 at 2 behind a 0, which ends them"},
        {{1, 1, 1, 1, 0, 0}, "row 0 of the batch has labels that take 5 steps; the output has 4"},
    };
    float x[24] = {0};
    double mean = 0;
    size_t correct = 0;
    struct error why = {0};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        int32_t labels[6];
        memcpy(labels, wrong[i].labels, sizeof labels);
        assert_int_equal(
            run((struct loss_shape){8, 3, 4}, x, labels, 3, NULL, &mean, &correct, &why),
            STATUS_INVALID);
        assert_non_null(strstr(why.text, wrong[i].said));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ctc_gives_pytorchs_values),
        cmocka_unit_test(ctc_is_the_sum_over_all_paths),
        cmocka_unit_test(the_most_probable_path_is_compared),
        cmocka_unit_test(labels_that_cannot_be_are_named),
    };
    seed = test_seed();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
