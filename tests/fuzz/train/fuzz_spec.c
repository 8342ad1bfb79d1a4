/* fuzz_spec - a specification of a network, as Convoy or Keras writes it
 *
 * Input: the JSON. What is taken and small is built, and what is built must load. */
#include <stdlib.h>

#include "tests/fuzz/fuzz.h"
#include "worker/engine.h"
#include "worker/train/build.h"

#define ELEMENTS_MAX 20000 /* parameters of a model that is built */

static uint64_t elements(const struct spec *spec)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < spec->layers_len; i++)
        for (uint32_t k = 0; k < spec->layers[i].params_len; k++)
            sum += spec->layers[i].params[k].elements;
    return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool started;
    struct spec *spec;
    struct model *m = NULL;
    struct error why = {STATUS_OK, ""};
    uint8_t *bytes;
    size_t bytes_len;
    if (!started && engine_start("generic", 1, &why) != STATUS_OK)
        panic("%s", why.text);
    started = true;
    if (spec_read(&spec, (const char *)data, size, &why) != STATUS_OK) {
        assert(why.status == STATUS_INVALID && why.text[0] && !spec);
        return 0;
    }
    if (elements(spec) <= ELEMENTS_MAX) {
        build_model(spec, 1, &bytes, &bytes_len);
        if (model_load(&m, bytes, bytes_len, &why) != STATUS_OK)
            panic("what was built does not load: %s", why.text);
        model_destroy(&m);
        free(bytes);
    }
    spec_destroy(&spec);
    return 0;
}
