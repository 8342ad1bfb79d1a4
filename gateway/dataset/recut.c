/* recut - a chunk that came to nothing, cut anew: its parts have new tasks and take its place */
#include "gateway/dataset/job.h"

/* Rows [from, end) of the chunk, with new tasks, go back to the beginning. NULL: there are none. */
static struct chunk *cut_off(struct chunk *chunk, int64_t from, int64_t end)
{
    struct job *job = chunk->job;
    if (from == end)
        return NULL;
    struct chunk *part = chunk_add(job, chunk, chunk->record.first_row + from, end - from);
    part->record.task = (int64_t)fleet_next_ids(job->jobs->config.fleet, (uint32_t)(end - from));
    part->record.alone = chunk->record.alone;
    part->redelivered = chunk->redelivered;
    part->recorded = true;
    part->dirty = true;
    return part;
}

/* Its parts have taken its place: their records replace its own in one change. */
static void replaced(struct chunk *chunk)
{
    struct job *job = chunk->job;
    chunk_replace(chunk);
    job_save(job, NULL, NULL);
}

void chunk_cut_again(struct chunk *chunk, int64_t parts)
{
    int64_t head = chunk->record.rows / parts;
    cut_off(chunk, 0, head);
    cut_off(chunk, head, chunk->record.rows);
    replaced(chunk);
}

void chunk_cut_around(struct chunk *chunk, const struct fleet_result *crash)
{
    int64_t row = chunk->rows->good[crash->row];
    cut_off(chunk, 0, row);
    struct chunk *suspect = cut_off(chunk, row, row + 1);
    assert(suspect);
    suspect->record.alone = 1;
    suspect->record.attempts = suspect->record.crashes = 1;
    suspect->avoid = crash->worker;
    cut_off(chunk, row + 1, chunk->record.rows);
    replaced(chunk);
}
