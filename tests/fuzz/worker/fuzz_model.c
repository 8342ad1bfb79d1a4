/* fuzz_model - a model file that nobody vouches for: load it, plan it, run it when that is cheap
 *
 * One function for libFuzzer (`make fuzz`) and for replay.c, which `make test` runs under ASan and
 * UBSan. Nothing is asserted here: the sanitizers, the engine's own assertions and the limits on
 * time and memory of whoever calls it find what is wrong. */
#include <stdlib.h>

#include "tests/fuzz/fuzz.h"
#include "worker/engine.h"
#include "worker/graph/plan.h"
#include "worker/model.h"

#define RUN_MACS_MAX  ((uint64_t)1 << 22) /* of a model that is run */
#define RUN_BYTES_MAX (4 * MIB)           /* of its arena, and of each input */
#define RUN_WORK      ((uint64_t)1 << 24) /* as step_work counts; a loop ends there */

#define TEXT_BYTES 7 /* of a text of three letters on the wire */

/* Texts of three octets each, in the form that the wire has. */
static void make_texts(struct tensor *t, uint64_t count)
{
    t->bytes = count * TEXT_BYTES;
    uint8_t *bytes = t->data = xaligned(t->bytes);
    for (size_t k = 0; k < t->bytes; k++)
        bytes[k] = (uint8_t)(k % TEXT_BYTES == 0  ? 3
                             : k % TEXT_BYTES < 4 ? 0
                                                  : " a1,-.Z\xc3\xbc"[k / TEXT_BYTES * k % 9]);
}

/* Inputs of the shapes that the cost was counted for, filled with a pattern. False: too large. */
static bool make_inputs(const struct model_cost *cost, uint32_t len, struct tensor *inputs)
{
    for (uint32_t i = 0; i < len; i++) {
        struct tensor *t = &inputs[i];
        uint64_t count;
        *t = cost->inputs[i];
        t->data = NULL;
        bool texts = t->dtype == DTYPE_BYTES;
        size_t width = texts ? sizeof(struct text) : dtype_bytes(t->dtype);
        if (!dims_count(t->dims, t->rank, &count) || !width || count > RUN_BYTES_MAX / width)
            return false;
        if (texts) {
            make_texts(t, count);
            continue;
        }
        t->bytes = count * dtype_bytes(t->dtype);
        uint8_t *bytes = t->data = xaligned(t->bytes);
        for (size_t k = 0; k < t->bytes; k++)
            bytes[k] = (uint8_t)(t->dtype == DTYPE_BOOL ? k % 2 : k * 37 % 251);
    }
    return true;
}

static void run(struct model *m, const struct model_cost *cost)
{
    struct tensor inputs[MODEL_VALUES_MAX] = {{0}}, outputs[MODEL_VALUES_MAX];
    uint32_t len = model_signature(m)->inputs_len;
    uint64_t work = RUN_WORK;
    struct error why;
    m->run.work = &work;
    if (make_inputs(cost, len, inputs))
        (void)model_run(m, inputs, len, outputs, &why);
    for (uint32_t i = 0; i < len; i++)
        free(inputs[i].data);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool started;
    struct model *m = NULL;
    struct model_cost cost;
    struct error why;
    if (!started && engine_start("generic", 1, &why) != STATUS_OK)
        panic("%s", why.text);
    started = true;
    if (model_load(&m, data, size, &why) != STATUS_OK)
        return 0;
    if (model_cost(m, NULL, 0, &cost, &why) == STATUS_OK && cost.macs <= RUN_MACS_MAX &&
        cost.arena_bytes <= RUN_BYTES_MAX)
        run(m, &cost);
    model_destroy(&m);
    return 0;
}
