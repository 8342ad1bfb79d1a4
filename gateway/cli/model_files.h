/* model_files - the files that make one version of a model, as they lie on this machine
 *
 * From FILE.onnx (which becomes model.onnx) or from a folder with model.onnx in it: everything
 * beside it travels with it, as weights outside of the model's own file do. */
#ifndef CONVOY_GATEWAY_CLI_MODEL_FILES_H
#define CONVOY_GATEWAY_CLI_MODEL_FILES_H

#include "common/status.h"

#define MODEL_FILES_MAX 4096 /* of one version */

struct model_file {
    char *local; /* path here */
    char *path;  /* below the version's folder, with '/' */
};

struct model_files {
    struct model_file *files; /* sorted by path */
    size_t len;               /* in use */
};

/* INVALID: no such file, a folder without model.onnx, or too many files. */
enum status model_files_find(struct model_files *self, const char *source, struct error *why);
void model_files_free(struct model_files *self);

/* A model's name made of the source's: the file without .onnx, or the folder. The caller frees. */
char *model_files_name(const char *source);

#endif
