/* bury - rows that ended runners: their dead letters are written and recorded with their answers */
#include "gateway/dataset/job.h"
#include "gateway/dead/dead.h"

#include <stdio.h>
#include <string.h>

#define ATTEMPTS_MIN 2   /* what it takes at least */
#define CAUSE_MAX    800 /* octets of it in a row's error */

/* Its good row number `place`, whose task came to `result`, which will name the letter. */
static void bury(struct chunk *chunk, uint32_t place, struct fleet_result *result)
{
    char id[ID_TEXT_SIZE];
    const struct job *job = chunk->job;
    const struct dataset_rows *rows = chunk->rows;
    uint32_t offset = rows->good[place];
    struct letter_about about = {
        .tenant = job->record.tenant,
        .model = job->record.model,
        .version = job->record.version,
        .model_id = job->record.model_id,
        .batch = job->record.id,
        .row = chunk->record.first_row + offset,
        .custom_id = rows->custom_ids ? rows->custom_ids[offset] : NULL,
        .cause = result->text,
        .worker = id_is_zero(&result->worker) ? chunk->avoid : result->worker,
        .attempts = MAX(result->attempt, ATTEMPTS_MIN),
        .inputs = rows->inputs + (size_t)place * rows->inputs_len,
        .inputs_len = rows->inputs_len,
        .owner = chunk->block,
    };
    struct letter *letter = dead_letter(job->jobs->config.dead, &about);
    size_t used = MIN(strlen(result->text), (size_t)CAUSE_MAX);
    snprintf(result->text + used, sizeof result->text - used, "; it is the dead letter dead-%s",
             id_text(id, &letter->record.id));
    letter->next = chunk->letters;
    chunk->letters = letter;
}

void chunk_bury(struct chunk *chunk)
{
    const struct dataset_rows *rows = chunk->rows;
    if (chunk->buried || !chunk->job->jobs->config.dead)
        return;
    chunk->buried = true;
    for (uint32_t g = 0; g < rows->good_len; g++) {
        uint32_t index = rows->alone ? rows->good[g] : 0;
        struct fleet_result *result = chunk->results[index];
        assert(rows->alone || rows->rows == 1 || !result || result->status != STATUS_CRASHED);
        if (result && result->status == STATUS_CRASHED)
            bury(chunk, g, result);
    }
}

void chunk_letters_write(struct chunk *chunk)
{
    for (struct letter *letter = chunk->letters; letter; letter = letter->next)
        letter_write(letter);
}

void chunk_letters_put(const struct chunk *chunk, struct ledger_change *change)
{
    for (const struct letter *letter = chunk->letters; letter; letter = letter->next)
        ledger_put(change, LEDGER_dead, &letter->record);
}

static struct letter *next_letter(struct chunk *chunk)
{
    struct letter *letter = chunk->letters;
    if (letter)
        chunk->letters = letter->next;
    return letter;
}

void chunk_letters_hand_over(struct chunk *chunk)
{
    for (struct letter *letter; (letter = next_letter(chunk));)
        dead_take(chunk->job->jobs->config.dead, &letter);
}

void chunk_letters_abandon(struct chunk *chunk)
{
    for (struct letter *letter; (letter = next_letter(chunk));) {
        if (chunk->job->jobs->closed)
            letter_free(&letter); /* its record may be there: the next start looks */
        else
            dead_abandon(chunk->job->jobs->config.dead, &letter);
    }
}
