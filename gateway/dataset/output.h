/* output - the two files that a dataset job writes: answers, and rows without one
 *
 * JSON Lines: one line a row, appended in the order of the rows; the caller gives chunks in that
 * order. .npy: one array whose first axis is the data set's rows, each row at its place, so chunks
 * may come in any order; type and shape are those of the first answer. The error file is JSON
 * Lines.
 *
 * What output_write() returned OK for is on the disk. What the ledger has not recorded after that
 * is written again after a restart: output_open() cuts the files to what is recorded. Everything
 * here reads and writes files: call it in the pool, one thread at a time. */
#ifndef CONVOY_GATEWAY_DATASET_OUTPUT_H
#define CONVOY_GATEWAY_DATASET_OUTPUT_H

#include "gateway/dataset/dataset.h"
#include "gateway/fleet.h"

struct output;

struct output_config {
    const char *path;                  /* answers */
    const char *error_path;            /* rows without one */
    bool npy;                          /* else JSON Lines */
    const char *output_name;           /* .npy: which output; NULL or "": the only one */
    uint64_t rows;                     /* of the data set */
    const char *batch;                 /* the job's id as text, for the lines' ids */
    const char *model;                 /* its name */
    const char *version;               /* its version */
    const struct signature *signature; /* outlives the output */
    uint64_t bytes;                    /* recorded octets of the answers (JSON Lines) */
    uint64_t error_bytes;              /* recorded octets of the error file */
    enum dtype dtype;                  /* .npy, recorded; DTYPE_NONE: not known yet */
    uint32_t rank;                     /* .npy, recorded: axes of one row */
    int64_t dims[TENSOR_RANK_MAX];     /* .npy, recorded: shape of one row */
};

/* What is on the disk now: to be recorded in the ledger. */
struct output_state {
    uint64_t bytes;                /* octets of the answers; of .npy: header and all rows' places */
    uint64_t error_bytes;          /* octets of the error file */
    uint64_t header_bytes;         /* .npy: where row 0 begins; 0: nothing known yet */
    uint64_t row_bytes;            /* .npy: octets of a row */
    enum dtype dtype;              /* .npy; DTYPE_NONE: not known yet */
    uint32_t rank;                 /* .npy: axes of one row */
    int64_t dims[TENSOR_RANK_MAX]; /* .npy: shape of one row */
};

/* One chunk with what came of it. */
struct output_chunk {
    const struct dataset_rows *rows; /* what was asked */
    struct fleet_result **results; /* stacked: [0]; one by one: by row offset, NULL for bad rows */
    uint32_t completed;            /* out: rows with an answer */
    uint32_t failed;               /* out: rows in the error file */
    uint64_t output_bytes;         /* out: octets of the answers' tensors */
};

/* INVALID: the files are not what was recorded. STORAGE_FULL and BUSY (no descriptor is left): try
 * again later. IO: the disk failed. */
enum status output_open(struct output **out, const struct output_config *config, struct error *why);
void output_close(struct output **self_p);
struct output_state output_state(const struct output *self);

/* Write these chunks and flush both files to the disk. STORAGE_FULL: the disk is full; nothing
 * counts as written, try again later. IO: fatal. */
enum status output_write(struct output *self, struct output_chunk *const *chunks, size_t len,
                         struct error *why);

/* Note rows that nobody will compute any more, as one line; output_write_noted() writes them all
 * and flushes, with the outcomes of output_write(). */
void output_write_off(struct output *self, uint64_t first, uint64_t rows, const char *code,
                      const char *text);

enum status output_write_noted(struct output *self, struct error *why);

/* The last step, once every row is recorded; done again after a restart it changes nothing: error
 * lines in the order of their rows, NaN (0 for integers) at their places in .npy, sizes and SHA-256
 * of both files. */
struct output_end {
    struct digest sha256;       /* of the answers */
    struct digest error_sha256; /* of the error file */
};
enum status output_finish(struct output *self, struct output_end *end, struct error *why);

#endif
