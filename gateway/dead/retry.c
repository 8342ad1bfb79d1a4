/* retry - letters that are tried again: by one at a time, in vain or with an answer; and reading */
#include "gateway/dead/store.h"

#include "common/clock.h"
#include "common/file.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* --- trying again ------------------------------------------------------------------------------
 */
bool dead_try(struct dead *self, const struct uuid *id)
{
    for (size_t i = 0; i < self->tried_len; i++)
        if (id_equal(&self->tried[i], id))
            return false;
    self->tried = xrealloc(self->tried, (self->tried_len + 1) * sizeof(*self->tried));
    self->tried[self->tried_len++] = *id;
    return true;
}

void dead_tried(struct dead *self, const struct uuid *id)
{
    for (size_t i = 0; i < self->tried_len; i++) {
        if (id_equal(&self->tried[i], id)) {
            self->tried[i] = self->tried[--self->tried_len];
            return;
        }
    }
}

struct changing {
    struct dead *dead;           /* counted */
    struct ledger_dead *changed; /* as it will be */
    bool answered;               /* it has a new file, of no use otherwise */
    dead_done *done;             /* when it is durable */
    void *arg;                   /* for done */
};

static void change_recorded(void *arg, enum status status, const struct error *why)
{
    struct changing *changing = arg;
    struct dead *self = changing->dead;
    struct uuid id = changing->changed->id;
    bool open = dead_end(self);
    if (open && status == STATUS_OK && letters_replace(&self->letters, changing->changed)) {
        dead_trim(self, &id);
    } else { /* when it was dropped meanwhile, that is recorded after this */
        letters_destroy(changing->changed);
        if (open && changing->answered)
            dead_remove(self, &id, DEAD_ANSWER);
    }
    dead_tell(changing->done, changing->arg, status, why);
    free(changing);
}

static void change(struct dead *self, struct ledger_dead *changed, bool answered, dead_done *done,
                   void *arg)
{
    struct changing *changing = xcalloc(1, sizeof(*changing));
    struct ledger_change *put = ledger_change_new();
    *changing = (struct changing){self, changed, answered, done, arg};
    ledger_put(put, LEDGER_dead, changed);
    dead_begin(self);
    ledger_commit(self->config.ledger, &put, change_recorded, changing);
}

void dead_again(struct dead *self, const struct uuid *id, const char *cause, uint32_t attempts,
                dead_done *done, void *arg)
{
    struct error why;
    const struct ledger_dead *letter = dead_find(self, id);
    if (!letter) {
        dead_tell(done, arg, fail(&why, STATUS_NOT_FOUND, "the dead letter is gone"), &why);
        return;
    }
    struct ledger_dead *changed = ledger_record_copy(LEDGER_dead, letter);
    changed->retries++;
    changed->retried_ms = clock_wall_ms();
    changed->attempts += attempts;
    ledger_text_set(&changed->cause, cause);
    text_clean(changed->cause);
    change(self, changed, false, done, arg);
}

struct answering {
    struct dead *dead;    /* counted */
    struct uuid id;       /* of the letter */
    char *path;           /* of the new file */
    struct bytes *body;   /* for it */
    uint64_t head_bytes;  /* of that, JSON */
    struct digest sha256; /* of the file */
    struct error why;     /* it cannot be written */
    enum status status;   /* of writing */
    dead_done *done;      /* when it is durable */
    void *arg;            /* for done */
};

static void answer_work(void *arg)
{
    struct answering *self = arg;
    self->sha256 = digest_of(self->body->data, self->body->size);
    self->status = file_write_private(self->path, self->body->data, self->body->size, &self->why);
    if (self->status != STATUS_OK)
        unlink(self->path);
}

static void answer_written(void *arg)
{
    struct answering *self = arg;
    struct dead *dead = self->dead;
    bool open = dead_end(dead); /* else the next start removes the file */
    const struct ledger_dead *letter = open ? dead_find(dead, &self->id) : NULL;
    if (!open)
        self->status = dead_over(&self->why);
    if (self->status == STATUS_OK && !letter) {
        dead_remove(dead, &self->id, DEAD_ANSWER);
        self->status = fail(&self->why, STATUS_NOT_FOUND, "the dead letter is gone");
    }
    if (self->status == STATUS_OK) {
        struct ledger_dead *changed = ledger_record_copy(LEDGER_dead, letter);
        changed->answered_ms = clock_wall_ms();
        changed->answer_bytes = (int64_t)self->body->size;
        changed->answer_head = (int64_t)self->head_bytes;
        changed->answer_sha256 = self->sha256;
        change(dead, changed, true, self->done, self->arg);
    } else {
        dead_tell(self->done, self->arg, self->status, &self->why);
    }
    bytes_drop(&self->body);
    free(self->path);
    free(self);
}

void dead_answer(struct dead *self, const struct uuid *id, struct bytes *body, uint64_t head_bytes,
                 dead_done *done, void *arg)
{
    struct error why = {.status = STATUS_OK};
    const struct ledger_dead *letter = dead_find(self, id);
    if (!letter)
        fail(&why, STATUS_NOT_FOUND, "the dead letter is gone");
    else if (ledger_full(self->config.ledger)) /* the last octets are for what was promised */
        fail(&why, STATUS_STORAGE_FULL, "the gateway's disk is full");
    else if (body->size + (uint64_t)letter->input_bytes > self->config.bytes_max)
        fail(&why, STATUS_TOO_LARGE,
             "the answer has %zu octets, and dead letters may have %" PRIu64 " together",
             body->size, self->config.bytes_max);
    if (why.status != STATUS_OK) {
        bytes_drop(&body);
        dead_tell(done, arg, why.status, &why);
        return;
    }
    struct answering *answering = xcalloc(1, sizeof(*answering));
    *answering = (struct answering){.dead = self,
                                    .id = *id,
                                    .path = dead_path(self, id, DEAD_ANSWER),
                                    .body = body,
                                    .head_bytes = head_bytes,
                                    .done = done,
                                    .arg = arg};
    dead_begin(self);
    pool_continue(self->config.pool, answer_work, answer_written, answering);
}

/* --- reading -----------------------------------------------------------------------------------
 */
struct reading {
    struct dead *dead;    /* counted */
    char *path;           /* to be read */
    int64_t bytes;        /* of the file */
    int64_t head;         /* of these, JSON */
    struct digest sha256; /* of the file */
    struct bytes *body;   /* what came */
    struct error why;     /* when nothing did */
    dead_got *done;       /* for it */
    void *arg;            /* for done */
};

static void read_work(void *arg)
{
    struct reading *reading = arg;
    letter_read(&reading->body, reading->path, reading->bytes, &reading->sha256, &reading->why);
}

static void read_done(void *arg)
{
    struct reading *reading = arg;
    if (!dead_end(reading->dead) && reading->body) {
        bytes_drop(&reading->body);
        dead_over(&reading->why);
    }
    reading->done(reading->arg, reading->body, (uint64_t)reading->head, &reading->why);
    free(reading->path);
    free(reading);
}

void dead_read(struct dead *self, const struct uuid *id, enum dead_part part, dead_got *done,
               void *arg)
{
    struct error why;
    bool input = part == DEAD_INPUT;
    const struct ledger_dead *letter = dead_find(self, id);
    if (!letter || (input ? letter->input_bytes : letter->answer_bytes) == 0) {
        if (!letter)
            fail(&why, STATUS_NOT_FOUND, "the dead letter is gone");
        else if (input)
            fail(&why, STATUS_NOT_FOUND, "the letter's input was not kept: %s", letter->note);
        else
            fail(&why, STATUS_NOT_FOUND, "the letter has no answer: no retry has succeeded");
        done(arg, NULL, 0, &why);
        return;
    }
    struct reading *reading = xcalloc(1, sizeof(*reading));
    *reading = (struct reading){.dead = self,
                                .path = dead_path(self, id, part),
                                .bytes = input ? letter->input_bytes : letter->answer_bytes,
                                .head = input ? letter->head_bytes : letter->answer_head,
                                .sha256 = input ? letter->sha256 : letter->answer_sha256,
                                .done = done,
                                .arg = arg};
    dead_begin(self);
    if (pool_submit(self->config.pool, read_work, read_done, reading) == STATUS_OK)
        return;
    fail(&reading->why, STATUS_BUSY, "too many files are being read: retry in a moment");
    read_done(reading);
}
