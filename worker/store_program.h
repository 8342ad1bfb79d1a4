/* store_program - a training program as a folder: links to its blobs, under their paths
 *
 * The store keeps blobs under their hashes; a trainer wants files by name, and puts beside them
 * what it turns their data into. Folders are of one process, inside of the store's:
 * FOLDER/program-PID/ID; those of processes that are gone are removed. One thread. */
#ifndef CONVOY_WORKER_STORE_PROGRAM_H
#define CONVOY_WORKER_STORE_PROGRAM_H

#include "worker/store_manifest.h"

/* Remove what processes that have ended left. */
void store_program_clean(const char *store);

/* Make the folder of a version whose blobs are all there; *path is to be freed by free(). Folders
 * of other programs go: a trainer works on one at a time. */
enum status store_program_make(const char *store, const struct digest *id,
                               const struct manifest *manifest, char **path, struct error *why);

/* Remove this process's folders. */
void store_program_remove(const char *store);

#endif
