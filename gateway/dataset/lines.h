/* lines - where the rows of a JSON Lines file begin
 *
 * A row is a line that is not blank. The index holds the offset of every LINES_STRIDE-th row, so
 * that its size is nothing beside the file's. Reads the file through a map. */
#ifndef CONVOY_GATEWAY_DATASET_LINES_H
#define CONVOY_GATEWAY_DATASET_LINES_H

#include "common/file.h"
#include "common/limits.h"
#include "gateway/dataset/dataset.h"

#define LINES_STRIDE 256 /* rows between two offsets of the index */

struct lines;

/* Walk the whole file and write the index as `index_path`: rows, flaws, mean octets of a line. */
enum status lines_index(const char *path, const char *index_path, struct dataset_info *info,
                        struct dataset_flaw *flaw, struct error *why);

enum status lines_open(struct lines **out, const char *path, const char *index_path,
                       struct error *why);
void lines_close(struct lines **self_p);

/* Go to a row, which must exist. */
void lines_seek(struct lines *self, uint64_t row);

/* The next row's text (not ended by NUL, without its line feed, valid until close) and its line
 * number from 1; false at the end. */
bool lines_next(struct lines *self, const char **text, size_t *size, uint64_t *line);

/* The raw octets between the quotes of a string member of the outermost object; false when there is
 * none. A scan that needs no memory and does not check the rest. */
bool lines_member(const char *text, size_t size, const char *name, const char **value,
                  size_t *value_size);

#endif
