/* signature - what an INSPECT task tells of a model: its inputs, outputs and batching
 *
 * The JSON, as in PROTOCOL.md:
 *   {"inputs":  [{"name", "datatype", "shape"}, ...],
 *    "outputs": [{"name", "datatype", "shape", "batch_axis"}, ...], "batchable": true}
 * Open dims are -1. Pure; any thread. */
#ifndef CONVOY_GATEWAY_REPOSITORY_SIGNATURE_H
#define CONVOY_GATEWAY_REPOSITORY_SIGNATURE_H

#include "common/status.h"
#include "common/tensor.h"

#define SIGNATURE_VALUES_MAX 64 /* inputs or outputs of a model */

struct signature {
    uint32_t inputs_len;                              /* how many inputs */
    uint32_t outputs_len;                             /* how many outputs */
    struct tensor inputs[SIGNATURE_VALUES_MAX];       /* data NULL; -1 where a dim is open */
    struct tensor outputs[SIGNATURE_VALUES_MAX];      /* the same */
    bool batchable;                                   /* rows are independent: axis 0 of inputs, */
    uint32_t output_batch_axis[SIGNATURE_VALUES_MAX]; /* and this axis of each output */
    char *names;                                      /* private: holds the names */
};

/* MALFORMED names the field. On failure *out is empty. */
enum status signature_parse(struct signature *out, const char *json, size_t size,
                            struct error *why);

/* Harmless twice and on a zeroed one. */
void signature_free(struct signature *self);

#endif
