/* dataset - a file of rows: recognised, checked and indexed once, then read in any order
 *
 *   .npy                  one array, rows along its first axis
 *   idx, idx.gz           the format of MNIST; kept as .npy beside the upload from then on
 *   JSON Lines            one row a line: {"custom_id","method","url","body":{"inputs":[...]}} as
 * in the OpenAI batch API, or a bare {"inputs":[...]} of the Open Inference Protocol; for models
 * with one input also [...] or {"data":[...]}
 *
 * Everything here reads files: call it in the pool. One object belongs to one thread at a time. */
#ifndef CONVOY_GATEWAY_DATASET_DATASET_H
#define CONVOY_GATEWAY_DATASET_DATASET_H

#include "common/digest.h"
#include "common/status.h"
#include "common/tensor.h"
#include "gateway/repository/signature.h"

#include <sys/stat.h>

enum dataset_format { DATASET_NONE, DATASET_NPY, DATASET_IDX, DATASET_JSONL };

/* "npy", "idx", "jsonl"; "" and back. */
const char *dataset_format_name(enum dataset_format format);
enum dataset_format dataset_format_by_name(const char *name);

struct dataset_info {
    enum dataset_format format;    /* as uploaded */
    uint64_t rows;                 /* how many */
    enum dtype dtype;              /* DTYPE_NONE for JSON Lines */
    uint32_t rank;                 /* axes of one row */
    int64_t dims[TENSOR_RANK_MAX]; /* shape of one row */
    uint64_t row_bytes;            /* octets of one row; of JSON Lines: mean octets of a line */
};

/* What makes a readable file unfit as a whole. */
struct dataset_flaw {
    char code[32];             /* "empty_file", "duplicate_custom_id", "too_many_tasks"; "": none */
    int64_t line;              /* from 1; 0: the whole file */
    char text[ERROR_TEXT_MAX]; /* one sentence */
};

/* Recognise, check to the last octet, and write the index beside the file. INVALID when the file is
 * no data set or is truncated or damaged; OK with a flaw when it is one that cannot be scored. */
enum status dataset_index(const char *path, struct dataset_info *info, struct dataset_flaw *flaw,
                          struct error *why);

/* Remove the index files beside `path`. Fine when there are none. */
void dataset_index_remove(const char *path);

/* --- fitting rows to a model ------------------------------------------------------------------ */

/* Can rows of this shape and type be fed to the model? INVALID says expected and got; JSON Lines
 * are checked row by row instead. */
enum status dataset_fits(const struct dataset_info *info, const struct signature *model,
                         struct error *why);

/* Make a model input's shape for one row: [1, row...] where the model has a batch axis, else the
 * row itself. Axes of length 1 may be missing in the row, or be more than there, where the model's
 * other axes are fixed. `input` is of the signature. INVALID says expected and got. */
enum status dataset_row_shape(const struct tensor *input, bool batchable, const int64_t *dims,
                              uint32_t rank, struct tensor *out, struct error *why);

/* --- reading ---------------------------------------------------------------------------------- */
struct dataset;

/* When a file was written last, ns of the wall clock. */
int64_t dataset_stamp(const struct stat *file);

/* Read all of a file and compare; IO when it cannot be read or is not as it was uploaded. It may be
 * gigabytes: while its stamp is *stamp, that of the file when it was whole (0: never seen), it is
 * not read again. *stamp is set. */
enum status dataset_verify(const char *path, const struct digest *sha256, int64_t *stamp,
                           struct error *why);

/* `path` and `info` of dataset_index. */
enum status dataset_open(struct dataset **out, const char *path, const struct dataset_info *info,
                         struct error *why);
void dataset_close(struct dataset **self_p);

struct dataset_bad {
    uint32_t row; /* offset in the rows that were asked for */
    char *code;   /* "invalid_json_line", "invalid_row", ... */
    char *text;   /* one sentence */
};

/* Rows as tasks. Either all good rows are stacked into one task (`alone` is false), or each good
 * row is a task of its own. */
struct dataset_rows {
    uint64_t first;          /* index of the first row asked for */
    uint32_t rows;           /* how many were asked for */
    bool alone;              /* one task a row */
    uint32_t good_len;       /* rows that can be computed */
    uint32_t *good;          /* their offsets, ascending */
    size_t bad_len;          /* the others */
    struct dataset_bad *bad; /* ascending */
    char **custom_ids;       /* of all rows; NULL entries and NULL: none was given */
    uint32_t inputs_len;     /* of the model */
    struct tensor *inputs;   /* [tasks][inputs_len]; names belong to the signature */
    void *data;              /* what the tensors point into; take it and leave NULL, or leave it */
    size_t data_bytes;       /* its size */
};

struct dataset_ask {
    uint64_t first;                /* row */
    uint32_t rows;                 /* how many; inside the data set */
    const struct signature *model; /* outlives the answer */
    const char *endpoint;          /* what a line's "url" has to be; NULL: anything */
    bool alone;                    /* never stack */
};

/* Read rows; a bad row is in `bad`, never a failure. Rows of unequal shape are not stacked. IO when
 * the file cannot be read. */
enum status dataset_read(struct dataset *self, const struct dataset_ask *ask,
                         struct dataset_rows **out, struct error *why);
void dataset_rows_free(struct dataset_rows **self_p);

/* The custom_id of row `offset`: the client's, else the row's index in the data set, as text in
 * `scratch`. */
#define DATASET_SCRATCH 24
const char *dataset_custom_id(const struct dataset_rows *self, uint32_t offset,
                              char scratch[static DATASET_SCRATCH]);

#endif
