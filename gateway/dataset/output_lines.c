/* output_lines - answers and errors as lines of JSON, in the shape of the OpenAI batch API */
#include "gateway/dataset/output_private.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static void add_begin(struct json_text *text, const struct output *self,
                      const struct dataset_rows *rows, uint32_t offset)
{
    char scratch[DATASET_SCRATCH];
    const char *id = dataset_custom_id(rows, offset, scratch);
    json_text_format(text, "\"id\":\"batch_req_%s_%" PRIu64 "\",\"custom_id\":", self->config.batch,
                     rows->first + offset);
    json_text_string(text, id, strlen(id));
}

void output_add_line(struct output *self, const struct output_chunk *chunk,
                     const struct answer *answer, uint64_t row, uint32_t offset)
{
    struct json_text *text = &self->lines;
    json_text_add(text, "{");
    add_begin(text, self, chunk->rows, offset);
    json_text_format(text,
                     ",\"response\":{\"status_code\":200,\"request_id\":\"%" PRIu64
                     "\",\"body\":{\"model_name\":\"%s\",\"model_version\":\"%s\",\"outputs\":[",
                     answer->result->id, self->config.model, self->config.version);
    for (uint32_t k = 0; k < answer->outputs_len; k++) {
        const struct slice *slice = &answer->slices[k];
        const struct tensor *tensor = &answer->result->outputs[k].tensor;
        int64_t dims[TENSOR_RANK_MAX];
        memcpy(dims, tensor->dims, sizeof(dims));
        if (slice->axis != SLICE_WHOLE)
            dims[slice->axis] = 1; /* the row axis stays, with one row */
        void *piece = xmalloc(slice->row_bytes + 1);
        slice_copy(slice, answer->data[k], row, piece);
        json_text_add(text, k ? ",{\"name\":" : "{\"name\":");
        json_text_string(text, tensor->name, strlen(tensor->name));
        json_text_format(text, ",\"datatype\":\"%s\",\"shape\":", dtype_name(tensor->dtype));
        json_text_dims(text, dims, tensor->rank);
        json_text_add(text, ",\"data\":");
        json_text_elements(text, tensor->dtype, piece, slice->row_bytes);
        json_text_add(text, "}");
        free(piece);
    }
    json_text_add(text, "]}},\"error\":null}\n");
}

static void add_end(struct json_text *text, const char *code, const char *sentence)
{
    json_text_add(text, ",\"response\":null,\"error\":{\"code\":");
    json_text_string(text, code, strlen(code));
    json_text_add(text, ",\"message\":");
    json_text_string(text, sentence, strlen(sentence));
    json_text_add(text, "}}\n");
}

void output_add_error(struct output *self, struct output_chunk *chunk, uint32_t offset,
                      const char *code, const char *text)
{
    json_text_format(&self->errors, "{\"row\":%" PRIu64 ",", chunk->rows->first + offset);
    add_begin(&self->errors, self, chunk->rows, offset);
    add_end(&self->errors, code, text);
    chunk->failed++;
}

void output_write_off(struct output *self, uint64_t first, uint64_t rows, const char *code,
                      const char *text)
{
    json_text_format(&self->errors,
                     "{\"row\":%" PRIu64 ",\"rows\":%" PRIu64 ",\"id\":\"batch_req_%s_%" PRIu64
                     "\",\"custom_id\":null",
                     first, rows, self->config.batch, first);
    add_end(&self->errors, code, text);
}
