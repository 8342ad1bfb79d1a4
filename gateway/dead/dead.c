/* dead - the letters in memory, in the ledger and in their folder; see dead.h */
#include "gateway/dead/store.h"

#include "common/clock.h"
#include "common/file.h"
#include "common/log.h"
#include "gateway/counters.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

size_t dead_len(const struct dead *self)
{
    return self->letters.len;
}

const struct ledger_dead *dead_at(const struct dead *self, size_t index)
{
    assert(index < self->letters.len);
    return self->letters.items[index];
}

const struct ledger_dead *dead_find(const struct dead *self, const struct uuid *id)
{
    return letters_find(&self->letters, id);
}

uint64_t dead_bytes(const struct dead *self)
{
    return self->letters.bytes;
}

char *dead_path(const struct dead *self, const struct uuid *id, enum dead_part part)
{
    char text[ID_TEXT_SIZE];
    return xasprintf("%s/%s%s", self->folder, id_text(text, id),
                     part == DEAD_ANSWER ? DEAD_ANSWER_ENDING : "");
}

/* --- life --------------------------------------------------------------------------------------
 */
static void dead_free(struct dead *self)
{
    letters_free(&self->letters);
    free(self->tried);
    free(self->folder);
    free(self);
}

void dead_begin(struct dead *self)
{
    self->operations++;
}

bool dead_end(struct dead *self)
{
    assert(self->operations > 0);
    bool closed = self->closed;
    if (--self->operations == 0 && closed)
        dead_free(self);
    return !closed;
}

void dead_close(struct dead **self_p)
{
    struct dead *self = *self_p;
    if (!self)
        return;
    *self_p = NULL;
    self->closed = true;
    if (self->operations == 0)
        dead_free(self);
}

void dead_tell(dead_done *done, void *arg, enum status status, const struct error *why)
{
    if (done)
        done(arg, status, why);
}

enum status dead_over(struct error *why)
{
    return fail(why, STATUS_UNAVAILABLE, "this gateway is shutting down");
}

/* --- forgetting --------------------------------------------------------------------------------
 */
struct dropping {
    struct dead *dead;          /* counted */
    struct ledger_dead *letter; /* out of the list */
    dead_done *done;            /* may be NULL */
    void *arg;                  /* for done */
};

static void unlink_work(void *arg)
{
    char *path = arg;
    unlink(path);
    free(path);
}

void dead_remove(const struct dead *self, const struct uuid *id, enum dead_part part)
{
    pool_continue(self->config.pool, unlink_work, NULL, dead_path(self, id, part));
}

static void dropped(void *arg, enum status status, const struct error *why)
{
    struct dropping *dropping = arg;
    struct dead *self = dropping->dead;
    struct ledger_dead *letter = dropping->letter;
    bool open = dead_end(self);
    if (open && status == STATUS_OK) {
        dead_remove(self, &letter->id, DEAD_INPUT);
        if (letter->answer_bytes > 0)
            dead_remove(self, &letter->id, DEAD_ANSWER);
    }
    if (status == STATUS_OK || !open)
        letters_destroy(letter);
    else
        letters_add(&self->letters, letter); /* the ledger still has it */
    dead_tell(dropping->done, dropping->arg, status, why);
    free(dropping);
}

void dead_drop(struct dead *self, const struct uuid *id, dead_done *done, void *arg)
{
    struct error why;
    struct ledger_dead *letter = letters_take(&self->letters, id);
    if (!letter) {
        dead_tell(done, arg, fail(&why, STATUS_NOT_FOUND, "the dead letter is gone already"), &why);
        return;
    }
    struct dropping *dropping = xcalloc(1, sizeof(*dropping));
    struct ledger_change *change = ledger_change_new();
    *dropping = (struct dropping){self, letter, done, arg};
    ledger_remove(change, LEDGER_dead, letter);
    dead_begin(self);
    ledger_commit(self->config.ledger, &change, dropped, dropping);
}

void dead_trim(struct dead *self, const struct uuid *spared)
{
    char id[ID_TEXT_SIZE];
    const struct letters *letters = &self->letters;
    while (letters->len > self->config.letters_max || letters->bytes > self->config.bytes_max) {
        bool first = !spared || !id_equal(&letters->items[0]->id, spared);
        if (!first && letters->len == 1)
            return;
        const struct ledger_dead *oldest = letters->items[first ? 0 : 1];
        struct uuid which = oldest->id;
        LOG_WARN("dead_letter_dropped", "id=%s model=%s letters=%zu bytes=%" PRIu64 " why=%s",
                 id_text(id, &which), oldest->model, letters->len, letters->bytes,
                 "there are more than dead_max or dead_bytes_max allows");
        count(COUNT_dead_letters_evicted_total, 1);
        dead_drop(self, &which, NULL, NULL);
    }
}

/* --- the start ---------------------------------------------------------------------------------
 */
static void load_one(void *context, const void *record)
{
    struct dead *self = context;
    letters_add(&self->letters, ledger_record_copy(LEDGER_dead, record));
}

/* Is a file of so many octets missing or cut short? */
static bool is_damaged(const struct dead *self, const struct uuid *id, enum dead_part part,
                       int64_t bytes)
{
    struct stat info;
    char *path = dead_path(self, id, part);
    bool damaged = bytes > 0 && (stat(path, &info) != 0 || info.st_size != (off_t)bytes);
    if (damaged)
        LOG_WARN("dead_letter_damaged", "path=%s why=%s", path, "its file is missing or cut short");
    free(path);
    return damaged;
}

/* A letter's files ought to be there. Without its answer it is dead as before. */
static void check_files(struct dead *self, const struct uuid *id)
{
    struct ledger_dead *letter = letters_take(&self->letters, id);
    if (is_damaged(self, id, DEAD_INPUT, letter->input_bytes)) {
        letter->input_bytes = 0;
        ledger_text_set(&letter->note, "the file with the input was removed or cut short");
    }
    if (is_damaged(self, id, DEAD_ANSWER, letter->answer_bytes))
        letter->answer_bytes = letter->answer_head = letter->answered_ms = 0;
    letters_add(&self->letters, letter);
}

/* Does a record tell of this file? */
static bool is_told_of(const struct dead *self, const char *name)
{
    char text[ID_TEXT_SIZE];
    struct uuid id;
    text_copy(text, sizeof(text), name);
    const char *rest = name + strlen(text);
    const struct ledger_dead *letter = id_parse(&id, text) ? dead_find(self, &id) : NULL;
    if (!letter)
        return false;
    return *rest ? letter->answer_bytes > 0 && strcmp(rest, DEAD_ANSWER_ENDING) == 0
                 : letter->input_bytes > 0;
}

/* What was cut off: files that no record names. */
static void sweep(const struct dead *self)
{
    DIR *folder = opendir(self->folder);
    for (struct dirent *entry; folder && (entry = readdir(folder));) {
        if (entry->d_name[0] == '.' || is_told_of(self, entry->d_name))
            continue;
        char *path = xasprintf("%s/%s", self->folder, entry->d_name);
        unlink(path);
        free(path);
    }
    if (folder)
        closedir(folder);
}

static void trim_at_start(void *arg)
{
    struct dead *self = arg;
    if (dead_end(self))
        dead_trim(self, NULL);
}

enum status dead_open(struct dead **out, const struct dead_config *config, struct error *why)
{
    struct dead *self = xcalloc(1, sizeof(*self));
    self->config = *config;
    self->folder = xasprintf("%s/dead", config->folder);
    enum status status = file_mkdirs(self->folder, why);
    if (status == STATUS_OK)
        status = ledger_load(config->ledger, LEDGER_dead, false, load_one, self, why);
    if (status != STATUS_OK) {
        dead_close(&self);
        *out = NULL;
        return status;
    }
    for (size_t i = 0; i < self->letters.len; i++) {
        struct uuid id = self->letters.items[i]->id;
        check_files(self, &id);
    }
    sweep(self);
    dead_begin(self);
    front_post(config->front, trim_at_start,
               self); /* the ledger takes no change during the start */
    *out = self;
    return STATUS_OK;
}

/* --- adding ------------------------------------------------------------------------------------
 */
struct letter *dead_letter(struct dead *self, const struct letter_about *about)
{
    struct letter *letter = letter_new(self->folder, self->config.bytes_max, about);
    if (ledger_full(self->config.ledger)) /* the last octets are for what was promised */
        letter_without(letter, "the gateway's disk is full");
    return letter;
}

void dead_take(struct dead *self, struct letter **letter_p)
{
    struct letter *letter = *letter_p;
    char id[ID_TEXT_SIZE];
    struct ledger_dead *record = xcalloc(1, sizeof(*record));
    *record = letter->record;
    memset(&letter->record, 0, sizeof(letter->record));
    letter_free(letter_p);
    LOG_WARN("dead_letter", "id=%s model=%s version=%s row=%lld bytes=%lld why=%s",
             id_text(id, &record->id), record->model, record->version, (long long)record->row,
             (long long)record->input_bytes, record->cause);
    count(COUNT_dead_letters_total, 1);
    letters_add(&self->letters, record);
    dead_trim(self, NULL);
}

void dead_abandon(struct dead *self, struct letter **letter_p)
{
    if ((*letter_p)->record.input_bytes > 0)
        pool_continue(self->config.pool, unlink_work, NULL, xstrdup((*letter_p)->path));
    letter_free(letter_p);
}

struct burying {
    struct dead *dead;     /* counted */
    struct letter *letter; /* ours */
    dead_done *done;       /* when it is durable */
    void *arg;             /* for done */
};

static void burial_over(struct burying *burying, enum status status, const struct error *why)
{
    letter_free(&burying->letter);
    dead_tell(burying->done, burying->arg, status, why);
    free(burying);
}

static void bury_recorded(void *arg, enum status status, const struct error *why)
{
    struct burying *burying = arg;
    bool open = dead_end(burying->dead); /* else the next start looks after the file */
    if (open && status == STATUS_OK)
        dead_take(burying->dead, &burying->letter);
    else if (open)
        dead_abandon(burying->dead, &burying->letter);
    burial_over(burying, status, why);
}

static void bury_work(void *arg)
{
    struct burying *burying = arg;
    letter_write(burying->letter);
}

static void bury_written(void *arg)
{
    struct burying *burying = arg;
    struct dead *self = burying->dead;
    struct error why;
    if (!dead_end(self)) {
        burial_over(burying, dead_over(&why), &why); /* the next start removes the file */
        return;
    }
    struct ledger_change *change = ledger_change_new();
    ledger_put(change, LEDGER_dead, &burying->letter->record);
    dead_begin(self);
    ledger_commit(self->config.ledger, &change, bury_recorded, burying);
}

void dead_bury(struct dead *self, struct letter **letter_p, dead_done *done, void *arg)
{
    struct burying *burying = xcalloc(1, sizeof(*burying));
    *burying = (struct burying){self, *letter_p, done, arg};
    *letter_p = NULL;
    dead_begin(self);
    pool_continue(self->config.pool, bury_work, bury_written, burying);
}
