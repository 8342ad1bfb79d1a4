/* store_manifest - what a model version is made of, read from its manifest
 *
 * {"config": {"batching": {...}}, "files": [{"path", "bytes", "sha256"}, ...]}: see "Blobs" in
 * common/PROTOCOL.md. A manifest comes from outside: its paths, sizes and counts are checked before
 * anything else looks at them. Any thread. */
#ifndef CONVOY_WORKER_STORE_MANIFEST_H
#define CONVOY_WORKER_STORE_MANIFEST_H

#include "common/digest.h"
#include "common/status.h"

#define MANIFEST_BYTES_MAX MIB /* of its text: one chunk */
#define MANIFEST_FILES_MAX 1024
#define MANIFEST_PATH_MAX  1024         /* octets of a file's path */
#define MANIFEST_AXES_MAX  64           /* outputs with a batch axis of their own */
#define MANIFEST_MODEL     "model.onnx" /* the file to load */
#define MANIFEST_DATA      "train/"     /* a version with files there is a training program */

struct manifest_file {
    char *path;           /* relative, below the version's folder */
    uint64_t bytes;       /* its size */
    struct digest sha256; /* its content */
};

struct manifest_axis {
    char *output;  /* name of an output */
    uint32_t axis; /* its axis that holds the rows */
};

struct manifest {
    struct manifest_file *files;
    size_t files_len;
    size_t model;               /* index of MANIFEST_MODEL; files_len: there is none */
    char *training;             /* of a training program: its settings as JSON; else NULL */
    struct manifest_axis *axes; /* what config says of output axes */
    size_t axes_len;
    uint64_t rows_max; /* rows computed at once, 0: not said */
    uint64_t delay_ns; /* how long to gather, UINT64_MAX: not said */
};

/* BAD_MODEL names the key or path that is wrong, what was expected and what came. `bytes_max`
 * bounds the sum of all files. A model version has MANIFEST_MODEL; a
 * training program has data and settings. On failure *out is empty. */
enum status manifest_parse(struct manifest *out, const char *text, size_t size, uint64_t bytes_max,
                           struct error *why);
/* Twice is harmless. */
void manifest_free(struct manifest *self);

/* Whether a path may stand in a manifest: relative, no empty, "." or ".." part, no backslash, no
 * control character. */
bool manifest_path_ok(const char *path);

#endif
