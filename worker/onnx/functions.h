/* functions - operators that a model defines itself, by domain, name and overload */
#ifndef CONVOY_WORKER_ONNX_FUNCTIONS_H
#define CONVOY_WORKER_ONNX_FUNCTIONS_H

#include "onnx.pb-c.h"

#include "common/status.h"

#define FUNCTIONS_MAX      10000
#define FUNCTION_DEPTH_MAX 32                 /* calls inside calls; recursion ends here */
#define FUNCTION_BYTES_MAX ((size_t)64 << 20) /* of all calls written out, as the file has them */

struct function {
    const Onnx__FunctionProto *proto;
    int opset; /* of ai.onnx that it imports; 0: none */
    Onnx__AttributeProto **defaults;
    size_t defaults_len;
    bool checked; /* its operators have been looked at */
};

struct functions;

/* Those of `model`, which must outlive them. BAD_MODEL when one is defined twice, imports an opset
 * that is unknown, or has a default that is no attribute. */
enum status functions_new(struct functions **out, const Onnx__ModelProto *model, struct error *why);

/* The function that a node calls, or NULL: an operator. */
struct function *functions_find(const struct functions *self, const Onnx__NodeProto *node);

/* The attribute that a call leaves to the function, or NULL. */
const Onnx__AttributeProto *function_default(const struct function *self, const char *name);

/* The opset of ai.onnx in a list of imports. *opset is 0 when there is none. */
enum status onnx_opset(Onnx__OperatorSetIdProto *const *list, size_t len, int *opset,
                       struct error *why);

/* "" and "ai.onnx" are the same domain; NULL counts as "". */
bool onnx_domain_is_ours(const char *domain);

void functions_destroy(struct functions **self_p);

#endif
