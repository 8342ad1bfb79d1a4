/* fuzz_oip - inference requests: JSON with data lists, the binary extension, both, and the raw form
 *
 * Input: an octet that chooses model and form, two octets for Inference-Header-Content-Length, and
 * the body. What is taken must be whole: each input of its shape, inside the memory that it names.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/api/oip_request.h"
#include "tests/fuzz/fuzz.h"

#define FORM_HEADER 4 /* the two octets are the header's length */

static const char *const models[4] = {
    "{\"inputs\":[{\"name\":\"x\",\"datatype\":\"FP32\",\"shape\":[-1,2]}],\"outputs\":[{\"name\":"
    "\"y\",\"datatype\":\"FP32\",\"shape\":[-1,2],\"batch_axis\":0}],\"batchable\":true}",
    "{\"inputs\":[{\"name\":\"x\",\"datatype\":\"UINT8\",\"shape\":[-1,2,2]},{\"name\":\"s\","
    "\"datatype\":\"INT64\",\"shape\":[-1]}],\"outputs\":[{\"name\":\"y\",\"datatype\":\"FP32\","
    "\"shape\":[-1,2],\"batch_axis\":0}],\"batchable\":true}",
    "{\"inputs\":[{\"name\":\"x\",\"datatype\":\"BYTES\",\"shape\":[-1]}],\"outputs\":[{\"name\":"
    "\"y\",\"datatype\":\"BYTES\",\"shape\":[-1],\"batch_axis\":0}],\"batchable\":true}",
    "{\"inputs\":[{\"name\":\"x\",\"datatype\":\"BOOL\",\"shape\":[2]},{\"name\":\"s\","
    "\"datatype\":\"FP64\",\"shape\":[]}],\"outputs\":[{\"name\":\"y\",\"datatype\":\"FP16\","
    "\"shape\":[2]}],\"batchable\":false}",
};

static struct version *version_of(size_t model)
{
    static struct version *made[ARRAY_LEN(models)];
    struct error why;
    if (made[model])
        return made[model];
    struct version *version = xcalloc(1, sizeof *version);
    text_copy(version->model, sizeof version->model, "m");
    version->number = 1;
    version->refs = 1;
    if (signature_parse(&version->signature, models[model], strlen(models[model]), &why) !=
        STATUS_OK)
        panic("%s", why.text);
    return made[model] = version;
}

static void check_input(const struct tensor *input)
{
    uint64_t bytes = 0, sum = 0;
    const uint8_t *data = input->data;
    if (!tensor_size(input->dtype, input->dims, input->rank, &bytes) ||
        (input->dtype != DTYPE_BYTES && bytes != input->bytes))
        panic("input %s has %zu octets, its shape asks for %llu", input->name, input->bytes,
              (unsigned long long)bytes);
    for (size_t i = 0; i < input->bytes; i++)
        sum += data[i]; /* ASan looks at each */
    (void)sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct oip_request request = {.root = NULL};
    struct error why;
    if (size < 3)
        return 0;
    const struct version *version = version_of(data[0] % ARRAY_LEN(models));
    uint64_t header =
        data[0] & FORM_HEADER ? (uint64_t)data[1] << 8 | data[2] : (uint64_t)OIP_NO_HEADER;
    char *copy = xmalloc(size - 3 + 1);
    memcpy(copy, data + 3, size - 3);
    copy[size - 3] = '\0';
    struct bytes *body = bytes_take(copy, size - 3);
    enum status status = oip_request_read(&request, body, header, version, &why);
    bytes_drop(&body); /* whatever the inputs point into has its own reference */
    if (status == STATUS_OK)
        for (size_t i = 0; i < request.inputs_len; i++)
            check_input(&request.inputs[i]);
    else
        assert(why.status == status && why.text[0]);
    oip_request_free(&request);
    return 0;
}
