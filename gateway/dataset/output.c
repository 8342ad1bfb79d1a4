#include "gateway/dataset/output_private.h"

#include "common/file.h"
#include "common/npy.h"

#include <ctype.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* --- life ------------------------------------------------------------------------------------- */
/* Open a file and cut off what the ledger does not know of. */
static enum status open_cut(int *fd, const char *path, uint64_t bytes, bool cut, struct error *why)
{
    *fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (*fd < 0)
        return file_fail(why, "open", path);
    off_t size = lseek(*fd, 0, SEEK_END);
    if (size < (off_t)bytes)
        return fail(why, STATUS_INVALID,
                    "%s has %lld octets, %" PRIu64 " were recorded: it was altered", path,
                    (long long)size, bytes);
    if (cut && size > (off_t)bytes && ftruncate(*fd, (off_t)bytes) != 0)
        return file_fail(why, "cut", path);
    return STATUS_OK;
}

static uint32_t find_output(const struct output_config *config)
{
    for (uint32_t i = 0; config->output_name && i < config->signature->outputs_len; i++) {
        if (strcmp(config->signature->outputs[i].name, config->output_name) == 0)
            return i;
    }
    return 0;
}

/* Header and row size follow from what was recorded; the file must begin with that header. */
static enum status restore_array(struct output *self, struct error *why)
{
    const struct output_config *config = &self->config;
    uint8_t header[NPY_WRITE_HEADER_MAX], found[NPY_WRITE_HEADER_MAX];
    int64_t dims[TENSOR_RANK_MAX + 1] = {(int64_t)config->rows};
    struct output_state *state = &self->state;
    state->dtype = config->dtype;
    if (!config->npy || config->dtype == DTYPE_NONE)
        return STATUS_OK;
    memcpy(dims + 1, config->dims, config->rank * sizeof(dims[0]));
    memcpy(state->dims, config->dims, sizeof(state->dims));
    state->rank = config->rank;
    state->header_bytes = npy_make_header(header, config->dtype, config->rank + 1, dims);
    (void)tensor_size(config->dtype, config->dims, config->rank, &state->row_bytes);
    state->bytes = state->header_bytes + config->rows * state->row_bytes;
    if (pread(self->fd, found, state->header_bytes, 0) == (ssize_t)state->header_bytes &&
        memcmp(found, header, state->header_bytes) == 0)
        return STATUS_OK;
    return fail(why, STATUS_INVALID, "%s does not begin as it was recorded: it was altered",
                config->path);
}

enum status output_open(struct output **out, const struct output_config *config, struct error *why)
{
    struct output *self = xcalloc(1, sizeof(*self));
    self->config = *config;
    self->config.path = xstrdup(config->path);
    self->config.error_path = xstrdup(config->error_path);
    self->config.batch = xstrdup(config->batch);
    self->config.model = xstrdup(config->model);
    self->config.version = xstrdup(config->version);
    self->output_index = find_output(config);
    self->config.output_name = NULL;
    self->error_fd = -1;
    self->state.bytes = config->bytes;
    self->state.error_bytes = config->error_bytes;
    enum status status =
        open_cut(&self->fd, config->path, config->npy ? 0 : config->bytes, !config->npy, why);
    if (status == STATUS_OK)
        status = open_cut(&self->error_fd, config->error_path, config->error_bytes, true, why);
    if (status == STATUS_OK)
        status = file_sync_folder_of(config->path, why);
    if (status == STATUS_OK)
        status = restore_array(self, why);
    if (status != STATUS_OK)
        output_close(&self);
    *out = self;
    return status;
}

void output_close(struct output **self_p)
{
    struct output *self = *self_p;
    if (!self)
        return;
    if (self->fd >= 0)
        close(self->fd);
    if (self->error_fd >= 0)
        close(self->error_fd);
    json_text_free(&self->lines);
    json_text_free(&self->errors);
    free((char *)self->config.path);
    free((char *)self->config.error_path);
    free((char *)self->config.batch);
    free((char *)self->config.model);
    free((char *)self->config.version);
    free(self);
    *self_p = NULL;
}

struct output_state output_state(const struct output *self)
{
    return self->state;
}

/* --- answers ---------------------------------------------------------------------------------- */
static void answer_free(struct answer *self)
{
    for (uint32_t k = 0; self->data && k < self->outputs_len; k++)
        free(self->data[k]);
    free(self->data);
    free(self->slices);
}

/* The axis that holds the rows of output k. A model that is not batchable gets one row at a time;
 * where it has a leading axis of one anyway, that is the row's. */
static uint32_t row_axis(const struct output *self, const struct tensor *tensor, uint32_t k)
{
    const struct signature *signature = self->config.signature;
    if (signature->batchable)
        return k < signature->outputs_len ? signature->output_batch_axis[k] : 0;
    return tensor->rank > 0 && tensor->dims[0] == 1 ? 0 : SLICE_WHOLE;
}

static enum status answer_make(struct answer *out, const struct output *self,
                               const struct fleet_result *result, uint64_t rows, struct error *why)
{
    enum status status = STATUS_OK;
    *out = (struct answer){.result = result, .outputs_len = (uint32_t)result->outputs_len};
    if (out->outputs_len == 0)
        return fail(why, STATUS_INTERNAL, "the worker sent no outputs");
    out->slices = xcalloc(out->outputs_len, sizeof(*out->slices));
    out->data = xcalloc(out->outputs_len, sizeof(*out->data));
    for (uint32_t k = 0; k < out->outputs_len && status == STATUS_OK; k++) {
        const struct tensor *tensor = &result->outputs[k].tensor;
        out->data[k] = xaligned(tensor->bytes + 1);
        fleet_output_gather(&result->outputs[k], out->data[k]);
        status = slice_make(&out->slices[k], tensor, row_axis(self, tensor, k), rows, why);
    }
    return status;
}

/* --- chunks ----------------------------------------------------------------------------------- */
static const char *code_of(enum status status, char into[static 32])
{
    text_copy(into, 32, status_name(status));
    for (char *at = into; *at; at++)
        *at = (char)tolower((unsigned char)*at);
    return into;
}

/* Rows of the chunk's part of an array, all of them, to be written in one piece. */
struct block {
    char *bytes;        /* NULL until the first answer tells the size of a row */
    uint64_t row_bytes; /* of the array */
};

/* One row's answer into the lines or the block. */
static enum status take_row(struct output *self, struct output_chunk *chunk, struct block *block,
                            const struct answer *answer, uint64_t row, uint32_t offset,
                            struct error *why)
{
    if (!self->config.npy) {
        output_add_line(self, chunk, answer, row, offset);
    } else {
        uint32_t index = MIN(self->output_index, answer->outputs_len - 1);
        const struct slice *slice = &answer->slices[index];
        enum status status = output_match_array(self, slice, why);
        if (status != STATUS_OK)
            return status;
        if (!block->bytes) {
            block->row_bytes = slice->row_bytes;
            block->bytes = xcalloc(chunk->rows->rows, (size_t)slice->row_bytes);
        }
        slice_copy(slice, answer->data[index], row, block->bytes + offset * block->row_bytes);
    }
    chunk->completed++;
    return STATUS_OK;
}

/* What came of one task: `rows` good rows from good[first] on. Fails on the disk's account only. */
static enum status take_task(struct output *self, struct output_chunk *chunk, struct block *block,
                             uint32_t first, uint32_t rows, const struct fleet_result *result,
                             struct error *why)
{
    struct answer answer = {.outputs_len = 0};
    struct error row_why = {.status = STATUS_OK};
    char code[32];
    enum status status = result->status, disk = STATUS_OK;
    if (status == STATUS_OK)
        status = answer_make(&answer, self, result, rows, &row_why);
    else
        fail(&row_why, status, "%s", result->text);
    for (uint32_t g = 0; g < rows && disk == STATUS_OK; g++) {
        uint32_t offset = chunk->rows->good[first + g];
        enum status row = status;
        if (row == STATUS_OK)
            row = take_row(self, chunk, block, &answer, g, offset, &row_why);
        if (row == STATUS_IO || row == STATUS_STORAGE_FULL)
            disk = fail(why, row, "%s", row_why.text);
        else if (row != STATUS_OK)
            output_add_error(self, chunk, offset, code_of(row, code), row_why.text);
    }
    for (uint32_t k = 0; status == STATUS_OK && k < answer.outputs_len; k++)
        chunk->output_bytes += result->outputs[k].tensor.bytes;
    answer_free(&answer);
    return disk;
}

static enum status take_chunk(struct output *self, struct output_chunk *chunk, struct error *why)
{
    const struct dataset_rows *rows = chunk->rows;
    struct block block = {NULL, 0};
    enum status status = STATUS_OK;
    chunk->completed = chunk->failed = 0;
    chunk->output_bytes = 0;
    for (size_t i = 0; i < rows->bad_len; i++)
        output_add_error(self, chunk, rows->bad[i].row, rows->bad[i].code, rows->bad[i].text);
    if (!rows->alone && rows->good_len > 0)
        status = take_task(self, chunk, &block, 0, rows->good_len, chunk->results[0], why);
    for (uint32_t g = 0; rows->alone && g < rows->good_len && status == STATUS_OK; g++)
        status = take_task(self, chunk, &block, g, 1, chunk->results[rows->good[g]], why);
    if (status == STATUS_OK && block.bytes)
        status = file_pwrite_all(self->fd, block.bytes, (size_t)(rows->rows * block.row_bytes),
                                 self->next.header_bytes + rows->first * block.row_bytes,
                                 self->config.path, why);
    free(block.bytes);
    return status;
}

/* --- the disk --------------------------------------------------------------------------------- */
static enum status append(int fd, const struct json_text *text, uint64_t *at, const char *path,
                          struct error *why)
{
    if (text->size == 0)
        return STATUS_OK;
    enum status status = file_pwrite_all(fd, text->text, text->size, *at, path, why);
    if (status == STATUS_OK)
        *at += text->size;
    return status;
}

/* Append what was collected and wait until the disk has it; then it counts. */
static enum status flush(struct output *self, struct error *why)
{
    const struct output_config *config = &self->config;
    bool errors = self->errors.size > 0;
    enum status status = append(self->fd, &self->lines, &self->next.bytes, config->path, why);
    if (status == STATUS_OK)
        status =
            append(self->error_fd, &self->errors, &self->next.error_bytes, config->error_path, why);
    if (status == STATUS_OK && fdatasync(self->fd) != 0)
        status = file_fail(why, "flush", config->path);
    if (status == STATUS_OK && errors && fdatasync(self->error_fd) != 0)
        status = file_fail(why, "flush", config->error_path);
    if (status == STATUS_OK) {
        self->lines.size = self->errors.size = 0;
        self->state = self->next;
    }
    return status;
}

enum status output_write(struct output *self, struct output_chunk *const *chunks, size_t len,
                         struct error *why)
{
    enum status status = STATUS_OK;
    self->lines.size = self->errors.size = 0;
    self->next = self->state;
    for (size_t i = 0; i < len && status == STATUS_OK; i++)
        status = take_chunk(self, chunks[i], why);
    return status == STATUS_OK ? flush(self, why) : status;
}

enum status output_write_noted(struct output *self, struct error *why)
{
    self->next = self->state;
    self->lines.size = 0;
    return flush(self, why);
}

/* --- the end ---------------------------------------------------------------------------------- */
struct error_line {
    uint64_t row;  /* the first that it speaks of */
    uint64_t rows; /* how many */
    size_t at;     /* in the file */
    size_t size;   /* octets, with its line feed */
};

static int by_row(const void *a, const void *b)
{
    const struct error_line *x = a, *y = b;
    return x->row < y->row ? -1 : x->row > y->row;
}

/* Our own lines begin with {"row":N, and maybe "rows":N. */
static struct error_line *find_lines(const struct file_map *map, size_t *len)
{
    struct error_line *lines = NULL;
    size_t room = 0;
    *len = 0;
    for (size_t at = 0; at < map->size;) {
        const char *text = (const char *)map->bytes + at;
        const char *end = memchr(text, '\n', map->size - at);
        size_t size = end ? (size_t)(end + 1 - text) : map->size - at;
        struct error_line line = {.rows = 1, .at = at, .size = size};
        char begin[64];
        text_copy(begin, MIN(sizeof(begin), size), text);
        if (sscanf(begin, "{\"row\":%" SCNu64 ",\"rows\":%" SCNu64, &line.row, &line.rows) >= 1) {
            if (*len == room)
                lines = xrealloc(lines, (room = room ? 2 * room : 64) * sizeof(*lines));
            lines[(*len)++] = line;
        }
        at += size;
    }
    return lines;
}

static enum status write_sorted(struct output *self, const struct file_map *map,
                                const struct error_line *lines, size_t len, struct error *why)
{
    struct file_draft draft = {.fd = -1};
    uint64_t at = 0;
    enum status status = file_draft_open(&draft, self->config.error_path, why);
    for (size_t i = 0; i < len && status == STATUS_OK; i++) {
        status = file_pwrite_all(draft.fd, map->bytes + lines[i].at, lines[i].size, at,
                                 self->config.error_path, why);
        at += lines[i].size;
    }
    if (status == STATUS_OK)
        status = file_draft_commit(&draft, true, why);
    file_draft_abort(&draft);
    return status;
}

/* Put the error lines in order and mark their rows in the array. */
static enum status settle_errors(struct output *self, struct error *why)
{
    struct file_map map = {NULL, 0};
    size_t len = 0;
    bool sorted = true;
    enum status status = file_map(&map, self->config.error_path, why);
    if (status != STATUS_OK)
        return status;
    struct error_line *lines = find_lines(&map, &len);
    for (size_t i = 0; i < len && status == STATUS_OK; i++) {
        sorted = sorted && (i == 0 || lines[i - 1].row <= lines[i].row);
        if (self->config.npy)
            status = output_fill_rows(self, lines[i].row, lines[i].rows, why);
    }
    if (status == STATUS_OK && !sorted) {
        qsort(lines, len, sizeof(*lines), by_row);
        status = write_sorted(self, &map, lines, len, why);
    }
    free(lines);
    file_unmap(&map);
    return status;
}

static enum status digest_of_path(struct digest *out, const char *path, struct error *why)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return file_fail(why, "open", path);
    enum status status = digest_of_fd(out, fd, path, why);
    close(fd);
    return status;
}

enum status output_finish(struct output *self, struct output_end *end, struct error *why)
{
    enum status status = settle_errors(self, why);
    if (status == STATUS_OK && ftruncate(self->fd, (off_t)self->state.bytes) != 0)
        status = file_fail(why, "size", self->config.path);
    if (status == STATUS_OK && fdatasync(self->fd) != 0)
        status = file_fail(why, "flush", self->config.path);
    if (status == STATUS_OK)
        status = digest_of_path(&end->sha256, self->config.path, why);
    if (status == STATUS_OK)
        status = digest_of_path(&end->error_sha256, self->config.error_path, why);
    return status;
}
