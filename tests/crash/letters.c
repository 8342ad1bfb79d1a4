/* letters - see letters.h */
#include "tests/crash/letters.h"

#include "gateway/dataset/jobs.h"
#include "tests/crash/rows.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- what was told ---------------------------------------------------------------------------- */
static struct letter_fact *fact_of(struct letter_facts *self, const char *id)
{
    for (size_t i = 0; i < self->len; i++)
        if (strcmp(self->all[i].id, id) == 0)
            return &self->all[i];
    assert(self->len < LETTERS_MAX);
    struct letter_fact *fact = &self->all[self->len++];
    text_copy(fact->id, sizeof fact->id, id);
    return fact;
}

/* The letter that a path names; NULL: none. */
static struct letter_fact *named(struct letter_facts *self, const char *path)
{
    char id[64] = "";
    return sscanf(path, "/v1/dead/dead-%36s", id) == 1 ? fact_of(self, id) : NULL;
}

void letters_asked(struct letter_facts *self, const char *method, const char *path)
{
    struct letter_fact *fact = named(self, path);
    if (fact && strcmp(method, "DELETE") == 0)
        fact->asked = true;
}

void letters_replied(struct letter_facts *self, const char *method, const char *path,
                     const json_t *body)
{
    size_t i;
    json_t *letter;
    struct letter_fact *fact = named(self, path);
    if (fact && strcmp(method, "DELETE") == 0)
        fact->gone = true;
    else if (fact)
        fact->answered = fact->answered || strcmp(method, "POST") == 0;
    json_array_foreach(json_object_get(body, "data"), i, letter)
        fact_of(self, json_string_value(json_object_get(letter, "id")) + strlen("dead-"));
}

/* --- what is there ---------------------------------------------------------------------------- */
struct look {
    const struct letter_facts *facts;
    struct world *world;
    struct ledger_dead *records[LETTERS_MAX]; /* of the ledger */
    size_t len;                               /* how many */
    size_t files;                             /* that they tell of */
    struct verdict *verdict;
};

/* The file holds what the record says, and ends with these octets. */
static void check_file(struct look *self, const struct ledger_dead *letter, const char *ending,
                       const void *last, size_t last_size)
{
    char id[ID_TEXT_SIZE];
    struct error why = {.status = STATUS_OK};
    struct bytes *body = NULL;
    bool input = !ending[0];
    char *path = xasprintf("%s/dead/%s%s", self->world->root, id_text(id, &letter->id), ending);
    letter_read(&body, path, input ? letter->input_bytes : letter->answer_bytes,
                input ? &letter->sha256 : &letter->answer_sha256, &why);
    demand(self->verdict, body, "a letter without its octets: %s", why.text);
    if (body)
        demand(self->verdict,
               body->size > last_size &&
                   memcmp((char *)body->data + body->size - last_size, last, last_size) == 0,
               "%s: other octets", path);
    bytes_drop(&body);
    free(path);
    self->files++;
}

static void check_letter(struct look *self, const struct ledger_dead *letter)
{
    const float x = (float)letter->row;
    const float input[] = {x, x + 1, 0, ROWS_DEADLY}, answer[] = {3 * x, -x};
    if (letter->input_bytes > 0)
        check_file(self, letter, "", input, sizeof input);
    else
        demand(self->verdict, letter->note[0], "a letter without its input does not say why");
    if (letter->answer_bytes > 0)
        check_file(self, letter, ".out", answer, sizeof answer);
    demand(self->verdict, (letter->answered_ms != 0) == (letter->answer_bytes > 0),
           "a letter is answered without an answer, or the other way round");
}

static void take_letter(void *context, const void *record)
{
    struct look *self = context;
    assert(self->len < LETTERS_MAX);
    self->records[self->len++] = ledger_record_copy(LEDGER_dead, record);
    check_letter(self, record);
}

/* How many letters there are of rows of this chunk, and of its job's deadly row among them. */
static size_t letters_of(const struct look *self, const struct ledger_chunk *chunk)
{
    size_t count = 0;
    for (size_t i = 0; i < self->len; i++) {
        const struct ledger_dead *letter = self->records[i];
        count += id_equal(&letter->batch, &chunk->batch) && letter->row >= chunk->first_row &&
                 letter->row < chunk->first_row + chunk->rows;
    }
    return count;
}

static void take_chunk(void *context, const void *record)
{
    struct look *self = context;
    const struct ledger_chunk *chunk = record;
    const struct job *job = jobs_job(self->world->gateway.jobs, &chunk->batch);
    if (!job)
        return;
    bool lines = strcmp(job->record.idempotency, "k0") != 0;
    int64_t row = lines ? ROWS_LINES_DEADLY : ROWS_ARRAY_DEADLY;
    bool inside = row >= chunk->first_row && row < chunk->first_row + chunk->rows;
    size_t count = letters_of(self, chunk);
    demand(self->verdict, count <= (inside && chunk->done),
           "row %lld of job %s has %zu letters, done: %lld", (long long)row,
           job->record.idempotency, count, (long long)chunk->done);
    bool dropped = false; /* somebody asked for it; which one it was is not known any more */
    for (size_t i = 0; i < self->facts->len; i++)
        dropped = dropped || self->facts->all[i].asked;
    if (inside && chunk->done && job->record.cancelling_ms == 0 && !dropped)
        demand(self->verdict, count == 1, "row %lld of job %s has no letter", (long long)row,
               job->record.idempotency);
}

static void check_fact(struct look *self, const struct letter_fact *fact)
{
    const struct ledger_dead *found = NULL;
    char id[ID_TEXT_SIZE];
    for (size_t i = 0; i < self->len; i++)
        if (strcmp(id_text(id, &self->records[i]->id), fact->id) == 0)
            found = self->records[i];
    demand(self->verdict, found || fact->asked, "the letter %s is lost", fact->id);
    demand(self->verdict, !found || !fact->gone, "the letter %s was dropped and is back", fact->id);
    demand(self->verdict, !found || !fact->answered || found->answer_bytes > 0,
           "the letter %s was answered, and the answer is lost", fact->id);
}

static void check_folder(struct look *self)
{
    size_t files = 0;
    char *path = xasprintf("%s/dead", self->world->root);
    DIR *folder = opendir(path);
    for (const struct dirent *entry; folder && (entry = readdir(folder));)
        files += entry->d_name[0] != '.';
    if (folder)
        closedir(folder);
    demand(self->verdict, files == self->files, "%zu files in %s, the records tell of %zu", files,
           path, self->files);
    free(path);
}

void letters_check(const struct letter_facts *self, struct world *world, struct verdict *verdict)
{
    struct look look = {.facts = self, .world = world, .verdict = verdict};
    struct error why = {.status = STATUS_OK};
    struct ledger *ledger = world->gateway.ledger;
    enum status s = ledger_load(ledger, LEDGER_dead, false, take_letter, &look, &why);
    if (s == STATUS_OK)
        s = ledger_load(ledger, LEDGER_chunk, false, take_chunk, &look, &why);
    demand(look.verdict, s == STATUS_OK, "the letters cannot be read: %s", why.text);
    for (size_t i = 0; i < self->len; i++)
        check_fact(&look, &self->all[i]);
    check_folder(&look);
    for (size_t i = 0; i < look.len; i++) {
        void *record = look.records[i];
        ledger_record_destroy(LEDGER_dead, &record);
    }
}
