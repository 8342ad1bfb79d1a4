/* chunk_size - how many rows travel together */
#include "gateway/dataset/job.h"

#include "common/clock.h"

#define CHUNK_NS           (5 * NS_PER_S)  /* kernel time of a chunk at most: 2 to 10 s */
#define CHUNK_LEAST_NS     (NS_PER_S / 10) /* of cheap rows: recording a chunk costs 1 ms */
#define CHUNK_ROWS_LEAST   256             /* ... or so many rows */
#define CHUNKS_OF_JOB      64              /* at least: all workers share in it to its end */
#define CHUNK_ROWS_UNKNOWN 32              /* until it is known how long a row takes */

static uint64_t row_bytes(const struct job *self)
{
    const struct file *file = jobs_file(self->jobs, &self->record.input_file);
    struct dataset_info info;
    return file && file_info(file, &info) ? MAX(info.row_bytes, 1) : 1;
}

/* Rows that a chunk should have by what they cost. Cheap ones travel in crowds, so that a chunk's
 * record and file are a small part of its work, but not so many that a short job has few chunks. */
static uint64_t rows_by_cost(const struct job *self)
{
    if (self->ns_per_row <= 0)
        return CHUNK_ROWS_UNKNOWN;
    uint64_t crowd = (uint64_t)((double)CHUNK_LEAST_NS / self->ns_per_row);
    uint64_t share = MAX((uint64_t)self->record.total / CHUNKS_OF_JOB, CHUNK_ROWS_LEAST);
    uint64_t most = (uint64_t)((double)CHUNK_NS / self->ns_per_row);
    return MIN(MIN(MAX(crowd, CHUNK_ROWS_LEAST), share), most);
}

int64_t chunk_rows_next(const struct job *self)
{
    const struct jobs_config *config = &self->jobs->config;
    uint64_t bytes = MAX(row_bytes(self), self->answer_bytes), rows = config->chunk_rows_max;
    if (self->record.chunk_rows > 0)
        rows = (uint64_t)self->record.chunk_rows;
    else
        rows = MIN(rows, rows_by_cost(self));
    rows = MIN(rows, config->chunk_bytes_max / bytes);
    rows = MIN(MAX(rows, 1), (uint64_t)(self->record.total - self->record.cut_rows));
    return (int64_t)rows;
}
