#include "gateway/dataset/dataset.h"
#include "common/file.h"
#include "common/idx.h"
#include "common/npy.h"
#include "gateway/dataset/lines.h"
#include "gateway/dataset/rows.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define COPY_BYTES ((uint64_t)4 * MIB) /* an idx file is copied in pieces of at most so much */

static const char *const format_names[] = {
    [DATASET_NONE] = "", [DATASET_NPY] = "npy", [DATASET_IDX] = "idx", [DATASET_JSONL] = "jsonl"};

const char *dataset_format_name(enum dataset_format format)
{
    return (size_t)format < ARRAY_LEN(format_names) ? format_names[format] : "";
}

enum dataset_format dataset_format_by_name(const char *name)
{
    for (size_t i = 1; i < ARRAY_LEN(format_names); i++) {
        if (strcmp(format_names[i], name) == 0)
            return (enum dataset_format)i;
    }
    return DATASET_NONE;
}

struct dataset {
    struct dataset_info info; /* as given */
    int fd;                   /* the array; -1 for JSON Lines */
    char *name;               /* of that file, for messages */
    uint64_t data_offset;     /* of its first row */
    struct lines *lines;      /* JSON Lines only */
};

/* Where the array of an idx file, or the index of a JSON Lines file, is kept. */
static char *side_path(const char *path, enum dataset_format format)
{
    return xasprintf("%s.%s", path, format == DATASET_IDX ? "rows" : "lines");
}

void dataset_index_remove(const char *path)
{
    for (enum dataset_format format = DATASET_IDX; format <= DATASET_JSONL; format++) {
        char *side = side_path(path, format);
        unlink(side);
        free(side);
    }
}

/* --- recognising ------------------------------------------------------------------------------ */
static enum status read_begin(const char *path, uint8_t *begin, size_t room, size_t *size,
                              struct error *why)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : pread(fd, begin, room, 0);
    enum status status = got < 0 ? file_fail(why, "read", path) : STATUS_OK;
    if (fd >= 0)
        close(fd);
    *size = got < 0 ? 0 : (size_t)got;
    return status;
}

static enum dataset_format recognise(const uint8_t *begin, size_t size)
{
    size_t at = 0;
    if (size >= 6 && memcmp(begin, "\x93NUMPY", 6) == 0)
        return DATASET_NPY;
    if (size >= 4 && ((begin[0] == 0x1f && begin[1] == 0x8b) || (begin[0] == 0 && begin[1] == 0)))
        return DATASET_IDX;
    if (size >= 3 && memcmp(begin, "\xef\xbb\xbf", 3) == 0)
        return DATASET_NONE; /* JSON has no byte order mark */
    while (at < size &&
           (begin[at] == ' ' || begin[at] == '\t' || begin[at] == '\r' || begin[at] == '\n'))
        at++;
    if (at == size || (begin[at] >= ' ' && begin[at] < 0x7f))
        return DATASET_JSONL; /* text: what is no JSON there is told line by line */
    return DATASET_NONE;
}

static enum status unknown_format(const uint8_t *begin, size_t size, struct error *why)
{
    char octets[32] = "";
    for (size_t i = 0; i < MIN(size, (size_t)6); i++)
        snprintf(octets + 3 * i, sizeof(octets) - 3 * i, "%02x ", begin[i]);
    return fail(why, STATUS_INVALID,
                "no data set: expected a .npy file, an idx file (may be .gz) or JSON Lines without "
                "a byte order mark; it begins with the octets %s",
                octets);
}

/* --- arrays ----------------------------------------------------------------------------------- */
static void set_shape(struct dataset_info *info, enum dtype dtype, const int64_t *dims,
                      uint32_t rank, uint64_t row_bytes)
{
    info->dtype = dtype;
    info->rank = rank > 0 ? rank - 1 : 0;
    if (info->rank > 0)
        memcpy(info->dims, dims + 1, info->rank * sizeof(*dims));
    info->row_bytes = row_bytes;
}

static enum status index_npy(const char *path, struct dataset_info *info, struct error *why)
{
    struct npy npy = {.rank = 0};
    enum status status = npy_map(&npy, path, why);
    if (status != STATUS_OK)
        return status;
    if (npy.rank == 0)
        status = fail(why, STATUS_INVALID,
                      "the .npy file holds one number and no rows; give it a first axis");
    info->rows = npy_rows(&npy);
    set_shape(info, npy.dtype, npy.dims, npy.rank, npy_row_bytes(&npy));
    npy_close(&npy);
    return status;
}

static enum status copy_rows(struct idx *idx, struct npy_writer *writer, struct error *why)
{
    uint64_t row_bytes = MAX(idx_row_bytes(idx), 1);
    uint64_t at_once = MAX(COPY_BYTES / row_bytes, 1), rows = 0, all = 0;
    void *buffer = xmalloc((size_t)(at_once * row_bytes));
    enum status status = STATUS_OK;
    do {
        status = idx_read(idx, buffer, at_once, &rows, why);
        if (status == STATUS_OK && rows > 0)
            status = npy_writer_put(writer, buffer, (size_t)(rows * idx_row_bytes(idx)), why);
        all += rows;
    } while (status == STATUS_OK && rows > 0);
    if (status == STATUS_OK && all != idx_rows(idx))
        status = fail(why, STATUS_INVALID, "the idx header promises %llu rows, the file has %llu",
                      (unsigned long long)idx_rows(idx), (unsigned long long)all);
    free(buffer);
    return status;
}

/* An idx file is read through once, to check it to its end, and kept as .npy for random access. */
static enum status index_idx(const char *path, struct dataset_info *info, struct error *why)
{
    struct idx *idx = NULL;
    struct npy_writer *writer = NULL;
    char *side = side_path(path, DATASET_IDX);
    enum status status = idx_open(&idx, path, why);
    if (status == STATUS_OK && idx_rank(idx) == 0)
        status = fail(why, STATUS_INVALID, "the idx file has no axes and so no rows");
    if (status == STATUS_OK)
        status = npy_writer_open(&writer, side, idx_dtype(idx), idx_rank(idx), idx_dims(idx), why);
    if (status == STATUS_OK)
        status = copy_rows(idx, writer, why);
    if (status == STATUS_OK)
        status = npy_writer_end(&writer, true, why);
    else
        npy_writer_abort(&writer);
    if (status == STATUS_OK) {
        info->rows = idx_rows(idx);
        set_shape(info, idx_dtype(idx), idx_dims(idx), idx_rank(idx), idx_row_bytes(idx));
    }
    idx_close(&idx);
    free(side);
    return status;
}

enum status dataset_index(const char *path, struct dataset_info *info, struct dataset_flaw *flaw,
                          struct error *why)
{
    uint8_t begin[512];
    size_t size = 0;
    memset(info, 0, sizeof(*info));
    memset(flaw, 0, sizeof(*flaw));
    enum status status = read_begin(path, begin, sizeof(begin), &size, why);
    if (status != STATUS_OK)
        return status;
    info->format = recognise(begin, size);
    char *side = side_path(path, info->format);
    if (info->format == DATASET_NPY)
        status = index_npy(path, info, why);
    else if (info->format == DATASET_IDX)
        status = index_idx(path, info, why);
    else if (info->format == DATASET_JSONL)
        status = lines_index(path, side, info, flaw, why);
    else
        status = unknown_format(begin, size, why);
    if (status == STATUS_OK && info->rows == 0 && !flaw->code[0]) {
        text_copy(flaw->code, sizeof(flaw->code), "empty_file");
        text_copy(flaw->text, sizeof(flaw->text), "the file has no rows");
    }
    free(side);
    return status;
}

/* --- reading ---------------------------------------------------------------------------------- */
static enum status open_array(struct dataset *self, const char *path, struct error *why)
{
    uint8_t *header = xmalloc(NPY_HEADER_MAX);
    struct npy npy = {.rank = 0};
    struct stat file = {.st_size = 0};
    enum status status = STATUS_OK;
    size_t size = 0;
    self->name = self->info.format == DATASET_IDX ? side_path(path, DATASET_IDX) : xstrdup(path);
    self->fd = open(self->name, O_RDONLY | O_CLOEXEC);
    if (self->fd < 0 || fstat(self->fd, &file) != 0)
        status = file_fail(why, "open", self->name);
    if (status == STATUS_OK)
        status = read_begin(self->name, header, NPY_HEADER_MAX, &size, why);
    if (status == STATUS_OK)
        status = npy_parse_header(&npy, header, size, why);
    if (status == STATUS_OK && (uint64_t)file.st_size != npy.data_offset + npy.data_bytes)
        status =
            fail(why, STATUS_IO, "%s: expected %llu octets, the file has %llu; upload it again",
                 self->name, (unsigned long long)(npy.data_offset + npy.data_bytes),
                 (unsigned long long)file.st_size);
    self->data_offset = npy.data_offset;
    free(header);
    return status;
}

int64_t dataset_stamp(const struct stat *file)
{
    return (int64_t)file->st_mtim.tv_sec * 1000000000 + file->st_mtim.tv_nsec;
}

static enum status compare(int fd, const char *path, const struct digest *sha256, struct error *why)
{
    char is[DIGEST_TEXT_SIZE], was[DIGEST_TEXT_SIZE];
    struct digest found;
    enum status status = digest_of_fd(&found, fd, path, why);
    if (status == STATUS_OK && !digest_equal(&found, sha256))
        status = fail(why, STATUS_IO,
                      "%s was altered: its SHA-256 was %s when it was uploaded and is %s; upload "
                      "it again",
                      path, digest_text(was, sha256), digest_text(is, &found));
    return status;
}

enum status dataset_verify(const char *path, const struct digest *sha256, int64_t *stamp,
                           struct error *why)
{
    struct stat file;
    enum status status = STATUS_OK;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return file_fail(why, "open", path);
    if (fstat(fd, &file) != 0)
        status = file_fail(why, "look at", path);
    int64_t written = status == STATUS_OK ? dataset_stamp(&file) : 0;
    if (status == STATUS_OK && *stamp != written) {
        status = compare(fd, path, sha256, why);
        *stamp = status == STATUS_OK ? written : 0;
    }
    close(fd);
    return status;
}

enum status dataset_open(struct dataset **out, const char *path, const struct dataset_info *info,
                         struct error *why)
{
    struct dataset *self = xcalloc(1, sizeof(*self));
    enum status status;
    self->info = *info;
    self->fd = -1;
    if (info->format == DATASET_JSONL) {
        char *side = side_path(path, DATASET_JSONL);
        self->name = xstrdup(path);
        status = lines_open(&self->lines, path, side, why);
        free(side);
    } else {
        status = open_array(self, path, why);
    }
    if (status != STATUS_OK)
        dataset_close(&self);
    *out = self;
    return status;
}

void dataset_close(struct dataset **self_p)
{
    struct dataset *self = *self_p;
    if (!self)
        return;
    lines_close(&self->lines);
    if (self->fd >= 0)
        close(self->fd);
    free(self->name);
    free(self);
    *self_p = NULL;
}

static enum status read_array(struct dataset *self, const struct dataset_ask *ask,
                              struct dataset_rows *rows, struct error *why)
{
    const struct dataset_info *info = &self->info;
    struct tensor shape;
    enum status status = dataset_row_shape(&ask->model->inputs[0], ask->model->batchable,
                                           info->dims, info->rank, &shape, why);
    if (status != STATUS_OK)
        return status;
    rows->data_bytes = (size_t)(info->row_bytes * ask->rows);
    rows->data = xaligned(rows->data_bytes);
    status = file_pread_all(self->fd, rows->data, rows->data_bytes,
                            self->data_offset + info->row_bytes * ask->first, self->name, why);
    if (status == STATUS_OK)
        rows_over_array(rows, &shape, (size_t)info->row_bytes, ask);
    return status;
}

static enum status read_lines(struct dataset *self, const struct dataset_ask *ask,
                              struct dataset_rows *rows, struct error *why)
{
    const char *text = NULL;
    size_t size = 0;
    uint64_t line = 0;
    struct line_row *parsed = xcalloc(ask->rows, sizeof(*parsed));
    enum status status = STATUS_OK;
    lines_seek(self->lines, ask->first);
    for (uint32_t i = 0; i < ask->rows && status == STATUS_OK; i++) {
        struct error row_why = {.status = STATUS_OK};
        const char *code = NULL;
        if (!lines_next(self->lines, &text, &size, &line))
            status =
                fail(why, STATUS_IO, "%s has fewer lines than when it was uploaded", self->name);
        else if (line_row_parse(&parsed[i], text, size, ask->model, ask->endpoint, &code,
                                &row_why) != STATUS_OK)
            rows_add_bad(rows, i, code, line, row_why.text);
    }
    if (status == STATUS_OK)
        rows_over_lines(rows, parsed, ask);
    for (uint32_t i = 0; i < ask->rows; i++)
        line_row_free(&parsed[i]);
    free(parsed);
    return status;
}

enum status dataset_read(struct dataset *self, const struct dataset_ask *ask,
                         struct dataset_rows **out, struct error *why)
{
    struct dataset_rows *rows = xcalloc(1, sizeof(*rows));
    assert(ask->first + ask->rows <= self->info.rows);
    rows->first = ask->first;
    rows->rows = ask->rows;
    rows->inputs_len = ask->model->inputs_len;
    enum status status =
        self->lines ? read_lines(self, ask, rows, why) : read_array(self, ask, rows, why);
    if (status != STATUS_OK)
        dataset_rows_free(&rows);
    *out = rows;
    return status;
}
