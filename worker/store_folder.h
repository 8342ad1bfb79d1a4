/* store_folder - the store's folder: blobs named by their SHA-256, shared by workers of a node
 *
 * Files appear by rename and are never changed. A blob's time of change says when it was last used;
 * the longest unused go first when room is needed. A blob that another process has mapped stays
 * readable for it. One thread; calls are short but may wait for the disk. */
#ifndef CONVOY_WORKER_STORE_FOLDER_H
#define CONVOY_WORKER_STORE_FOLDER_H

#include "common/digest.h"
#include "common/status.h"

/* "FOLDER/64-hexadecimal-digits"; free() it. */
char *store_folder_path(const char *folder, const struct digest *blob);

/* Make the folder and remove what an earlier process left half-made. */
enum status store_folder_open(const char *folder, struct error *why);

/* The blob was used now. */
void store_folder_touch(const char *folder, const struct digest *blob);

/* Remove the longest unused blobs until `bytes` more fit under `bytes_max`. `pinned` tells whether
 * a blob must stay. STORAGE_FULL when that is not enough. */
enum status store_folder_room(const char *folder, uint64_t bytes, uint64_t bytes_max,
                              bool (*pinned)(void *owner, const struct digest *blob), void *owner,
                              struct error *why);

#endif
