/* dead - the letters in memory, in the ledger and in their folder; see dead.h */
#include "gateway/dead/dead.h"

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

struct dead {
    struct dead_config config;    /* its texts are ours */
    char *folder;                 /* of the inputs */
    struct ledger_dead **letters; /* by id, ascending: the oldest first */
    size_t len, room;             /* used and allocated */
    uint64_t bytes;               /* of the inputs */
    unsigned operations;          /* under way in pool and ledger: they hold this memory */
    bool closed;                  /* the last operation frees */
};

/* --- the list ----------------------------------------------------------------------------------
 */
/* Index of the first letter whose id is not below `id`. */
static size_t place_of(const struct dead *self, const struct uuid *id)
{
    size_t low = 0, high = self->len;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (id_compare(&self->letters[middle]->id, id) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct ledger_dead *find(const struct dead *self, const struct uuid *id)
{
    size_t at = place_of(self, id);
    return at < self->len && id_equal(&self->letters[at]->id, id) ? self->letters[at] : NULL;
}

/* Takes the record over. */
static void insert(struct dead *self, struct ledger_dead *letter)
{
    if (self->len == self->room) {
        self->room = self->room ? 2 * self->room : 64;
        self->letters = xrealloc(self->letters, self->room * sizeof(struct ledger_dead *));
    }
    size_t at = place_of(self, &letter->id);
    memmove(self->letters + at + 1, self->letters + at,
            (self->len - at) * sizeof(struct ledger_dead *));
    self->letters[at] = letter;
    self->len++;
    self->bytes += (uint64_t)letter->input_bytes;
}

/* It belongs to the caller now. */
static struct ledger_dead *take_out(struct dead *self, const struct uuid *id)
{
    size_t at = place_of(self, id);
    struct ledger_dead *letter = find(self, id);
    if (!letter)
        return NULL;
    self->len--;
    memmove(self->letters + at, self->letters + at + 1,
            (self->len - at) * sizeof(struct ledger_dead *));
    self->bytes -= (uint64_t)letter->input_bytes;
    return letter;
}

static void destroy(struct ledger_dead *letter)
{
    void *record = letter;
    ledger_record_destroy(LEDGER_dead, &record);
}

size_t dead_len(const struct dead *self)
{
    return self->len;
}

const struct ledger_dead *dead_at(const struct dead *self, size_t index)
{
    assert(index < self->len);
    return self->letters[index];
}

const struct ledger_dead *dead_find(const struct dead *self, const struct uuid *id)
{
    return find(self, id);
}

uint64_t dead_bytes(const struct dead *self)
{
    return self->bytes;
}

static char *path_of(const struct dead *self, const struct uuid *id)
{
    char text[ID_TEXT_SIZE];
    return xasprintf("%s/%s", self->folder, id_text(text, id));
}

/* --- life --------------------------------------------------------------------------------------
 */
static void dead_free(struct dead *self)
{
    while (self->len > 0)
        destroy(self->letters[--self->len]);
    free(self->letters);
    free(self->folder);
    free(self);
}

static void begin(struct dead *self)
{
    self->operations++;
}

/* False: it is over, and `self` may be gone. */
static bool end(struct dead *self)
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

static void tell(dead_done *done, void *arg, enum status status, const struct error *why)
{
    if (done)
        done(arg, status, why);
}

static enum status over(struct error *why)
{
    return fail(why, STATUS_UNAVAILABLE, "this gateway is shutting down");
}

/* --- forgetting --------------------------------------------------------------------------------
 */
struct dropping {
    struct dead *dead;          /* counted */
    struct ledger_dead *letter; /* out of the list */
    char *path;                 /* of its input */
    dead_done *done;            /* may be NULL */
    void *arg;                  /* for done */
};

static void unlink_work(void *arg)
{
    char *path = arg;
    unlink(path);
    free(path);
}

static void dropped(void *arg, enum status status, const struct error *why)
{
    struct dropping *dropping = arg;
    struct dead *self = dropping->dead;
    bool open = end(self);
    if (status == STATUS_OK && open)
        pool_continue(self->config.pool, unlink_work, NULL, dropping->path);
    else
        free(dropping->path);
    if (status == STATUS_OK || !open)
        destroy(dropping->letter);
    else
        insert(self, dropping->letter); /* the ledger still has it */
    tell(dropping->done, dropping->arg, status, why);
    free(dropping);
}

void dead_drop(struct dead *self, const struct uuid *id, dead_done *done, void *arg)
{
    struct error why;
    struct ledger_dead *letter = take_out(self, id);
    if (!letter) {
        tell(done, arg, fail(&why, STATUS_NOT_FOUND, "the dead letter is gone already"), &why);
        return;
    }
    struct dropping *dropping = xcalloc(1, sizeof(*dropping));
    struct ledger_change *change = ledger_change_new();
    *dropping = (struct dropping){self, letter, path_of(self, id), done, arg};
    ledger_remove(change, LEDGER_dead, letter);
    begin(self);
    ledger_commit(self->config.ledger, &change, dropped, dropping);
}

/* Within the bounds again: the oldest go. */
static void trim(struct dead *self)
{
    char id[ID_TEXT_SIZE];
    while (self->len > self->config.letters_max || self->bytes > self->config.bytes_max) {
        const struct ledger_dead *oldest = self->letters[0];
        struct uuid which = oldest->id;
        LOG_WARN("dead_letter_dropped", "id=%s model=%s letters=%zu bytes=%" PRIu64 " why=%s",
                 id_text(id, &which), oldest->model, self->len, self->bytes,
                 "there are more than dead_max or dead_bytes_max allows");
        count(COUNT_dead_letters_evicted_total, 1);
        dead_drop(self, &which, NULL, NULL);
    }
}

/* --- the start ---------------------------------------------------------------------------------
 */
static void load_one(void *context, const void *record)
{
    insert(context, ledger_record_copy(LEDGER_dead, record));
}

/* A record's input ought to be there. */
static void check_input(struct dead *self, struct ledger_dead *letter)
{
    struct stat info;
    char *path = path_of(self, &letter->id);
    if (letter->input_bytes > 0 &&
        (stat(path, &info) != 0 || info.st_size != (off_t)letter->input_bytes)) {
        LOG_WARN("dead_letter_damaged", "path=%s why=%s", path, "its file is missing or cut short");
        self->bytes -= (uint64_t)letter->input_bytes;
        letter->input_bytes = 0;
        ledger_text_set(&letter->note, "the file with the input was removed or cut short");
    }
    free(path);
}

/* What was cut off: files that no record names. */
static void sweep(const struct dead *self)
{
    DIR *folder = opendir(self->folder);
    for (struct dirent *entry; folder && (entry = readdir(folder));) {
        struct uuid id;
        const struct ledger_dead *letter = id_parse(&id, entry->d_name) ? find(self, &id) : NULL;
        if (entry->d_name[0] == '.' || (letter && letter->input_bytes > 0))
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
    if (end(self))
        trim(self);
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
    for (size_t i = 0; i < self->len; i++)
        check_input(self, self->letters[i]);
    sweep(self);
    begin(self);
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
    insert(self, record);
    trim(self);
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
    tell(burying->done, burying->arg, status, why);
    free(burying);
}

static void bury_recorded(void *arg, enum status status, const struct error *why)
{
    struct burying *burying = arg;
    bool open = end(burying->dead); /* else the next start looks after the file */
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
    if (!end(self)) {
        burial_over(burying, over(&why), &why); /* the next start removes the file */
        return;
    }
    struct ledger_change *change = ledger_change_new();
    ledger_put(change, LEDGER_dead, &burying->letter->record);
    begin(self);
    ledger_commit(self->config.ledger, &change, bury_recorded, burying);
}

void dead_bury(struct dead *self, struct letter **letter_p, dead_done *done, void *arg)
{
    struct burying *burying = xcalloc(1, sizeof(*burying));
    *burying = (struct burying){self, *letter_p, done, arg};
    *letter_p = NULL;
    begin(self);
    pool_continue(self->config.pool, bury_work, bury_written, burying);
}

/* --- trying again ------------------------------------------------------------------------------
 */
struct retrying {
    struct dead *dead; /* counted */
    dead_done *done;   /* when it is durable */
    void *arg;         /* for done */
};

static void again_recorded(void *arg, enum status status, const struct error *why)
{
    struct retrying *retrying = arg;
    end(retrying->dead);
    tell(retrying->done, retrying->arg, status, why);
    free(retrying);
}

void dead_again(struct dead *self, const struct uuid *id, const char *cause, uint32_t attempts,
                dead_done *done, void *arg)
{
    struct error why;
    struct ledger_dead *letter = find(self, id);
    if (!letter) {
        tell(done, arg, fail(&why, STATUS_NOT_FOUND, "the dead letter is gone"), &why);
        return;
    }
    letter->retries++;
    letter->retried_ms = clock_wall_ms();
    letter->attempts += attempts;
    ledger_text_set(&letter->cause, cause);
    text_clean(letter->cause);
    struct retrying *retrying = xcalloc(1, sizeof(*retrying));
    struct ledger_change *change = ledger_change_new();
    *retrying = (struct retrying){self, done, arg};
    ledger_put(change, LEDGER_dead, letter);
    begin(self);
    ledger_commit(self->config.ledger, &change, again_recorded, retrying);
}

/* --- the input ---------------------------------------------------------------------------------
 */
struct reading {
    struct dead *dead;         /* counted */
    struct ledger_dead record; /* without its texts */
    char *path;                /* to be read */
    struct bytes *body;        /* what came */
    struct error why;          /* when nothing did */
    dead_input *done;          /* for it */
    void *arg;                 /* for done */
};

static void read_work(void *arg)
{
    struct reading *reading = arg;
    letter_read(&reading->body, reading->path, &reading->record, &reading->why);
}

static void read_done(void *arg)
{
    struct reading *reading = arg;
    if (!end(reading->dead) && reading->body) {
        bytes_drop(&reading->body);
        over(&reading->why);
    }
    reading->done(reading->arg, reading->body, (uint64_t)reading->record.head_bytes, &reading->why);
    free(reading->path);
    free(reading);
}

void dead_read(struct dead *self, const struct uuid *id, dead_input *done, void *arg)
{
    struct error why;
    const struct ledger_dead *letter = find(self, id);
    if (!letter || letter->input_bytes == 0) {
        fail(&why, STATUS_NOT_FOUND, "the letter's input was not kept: %s",
             letter ? letter->note : "it is gone");
        done(arg, NULL, 0, &why);
        return;
    }
    struct reading *reading = xcalloc(1, sizeof(*reading));
    *reading = (struct reading){.dead = self,
                                .record = {.input_bytes = letter->input_bytes,
                                           .head_bytes = letter->head_bytes,
                                           .sha256 = letter->sha256},
                                .path = path_of(self, id),
                                .done = done,
                                .arg = arg};
    begin(self);
    if (pool_submit(self->config.pool, read_work, read_done, reading) == STATUS_OK)
        return;
    fail(&reading->why, STATUS_BUSY, "too many files are being read: retry in a moment");
    read_done(reading);
}
