/* tensors - what a request brought: printed, or kept as .npy files */
#ifndef CONVOY_GATEWAY_CLI_TENSORS_H
#define CONVOY_GATEWAY_CLI_TENSORS_H

#include "gateway/client/client.h"

/* The first rows and values of each, on stdout. */
void tensors_print(const struct client_outputs *outputs);

/* The first as `output`, the others as OUTPUT.1.npy and so on; says so on stderr. */
enum status tensors_keep(const char *output, const struct client_outputs *outputs,
                         struct error *why);

#endif
