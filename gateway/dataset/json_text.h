/* json_text - JSON written straight into memory: lines of results, elements of tensors
 *
 * Much faster than building objects first. Numbers are written so that reading them gives the same
 * bits; what is not finite becomes null. Pure but for memory; one object belongs to one thread. */
#ifndef CONVOY_GATEWAY_DATASET_JSON_TEXT_H
#define CONVOY_GATEWAY_DATASET_JSON_TEXT_H

#include "common/tensor.h"

struct json_text {
    char *text;  /* malloc; not ended by NUL */
    size_t size; /* octets used */
    size_t room; /* octets allocated */
};

/* Free; twice is harmless. A zeroed one is empty and ready. */
void json_text_free(struct json_text *self);

void json_text_add(struct json_text *self, const char *text);
void json_text_format(struct json_text *self, const char *format, ...) PRINTF_LIKE(2, 3);

/* A string with its quotes; octets that are no UTF-8 become '?'. */
void json_text_string(struct json_text *self, const char *text, size_t size);

/* "[1,28,28]". */
void json_text_dims(struct json_text *self, const int64_t *dims, uint32_t rank);

/* The elements, "[0.25,1]", flat. `data` need not be aligned. */
void json_text_elements(struct json_text *self, enum dtype dtype, const void *data, size_t bytes);

#endif
