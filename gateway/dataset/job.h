/* job - private to gateway/dataset, its API, and who else needs uploaded files: one dataset job on
 * the front thread
 *
 * Six files work on it: job.c (states, validation), job_end.c (the end), chunk.c (cutting, reading,
 * tasks, answers), recut.c (chunks that came to nothing), bury.c (rows that ended runners) and
 * save.c (writing answers, the ledger). job_pump() does whatever can be done next; every event ends
 * in a call of it.
 *
 *         read          record           answers         write         record
 *   CUT -------> READ ---------> UNDERWAY -----> ANSWERED ----> WRITTEN ----> (acknowledged)
 *
 * At most one read, one write and one change of the ledger are under way for a job; each takes
 * along all chunks that wait for it. */
#ifndef CONVOY_GATEWAY_DATASET_JOB_H
#define CONVOY_GATEWAY_DATASET_JOB_H

#include "common/limits.h"
#include "gateway/by_id.h"
#include "gateway/dataset/dataset.h"
#include "gateway/dataset/jobs.h"
#include "gateway/dataset/output.h"
#include "gateway/ledger/ledger.h"
#include "gateway/watch.h"

enum job_state {
#define STATE(name, shown, terminal) JOB_##name,
#include "gateway/dataset/states.def"
    JOB_STATES
};

enum job_event { JOB_VALID, JOB_BREAK, JOB_CANCEL, JOB_EXPIRE, JOB_FINISH, JOB_CLOSED, JOB_EVENTS };

enum chunk_state {
    CHUNK_CUT,      /* has a range of rows and task numbers */
    CHUNK_READING,  /* the pool reads it */
    CHUNK_READ,     /* waits for the ledger's record of it */
    CHUNK_UNDERWAY, /* tasks are in the fleet */
    CHUNK_ANSWERED, /* every task has its result */
    CHUNK_WRITING,  /* the pool writes it */
    CHUNK_WRITTEN   /* on the disk; waits for the ledger's record of that */
};

enum chunk_mark {
    MARK_WANTED = 1, /* the fleet asked for the task's data */
    MARK_STARTED = 2 /* a worker began to compute it */
};

struct chunk {
    struct job *job;               /* whose */
    struct chunk *prev, *next;     /* in the order of rows */
    struct ledger_chunk record;    /* what the ledger gets */
    enum chunk_state state;        /* see above */
    bool recorded;                 /* the ledger has it */
    bool recording;                /* it is in the change that is under way */
    bool expected;                 /* from an earlier life: the fleet was told its ids */
    bool redelivered;              /* counted */
    struct uuid avoid;             /* a worker that its only row crashed on; zero: none */
    bool dirty;                    /* attempts or crashes differ from the ledger's */
    struct dataset_rows *rows;     /* once read */
    struct bytes *block;           /* the rows' octets, shared with the fleet */
    struct fleet_result **results; /* by row offset, or [0] when stacked */
    uint8_t *marks;                /* by the same index: enum chunk_mark */
    uint32_t results_len;          /* of both */
    uint32_t left;                 /* tasks without a result */
    struct output_chunk out;       /* for the writer */
    bool buried;                   /* `letters` has all there are */
    struct letter *letters;        /* of rows that ended runners; the pool's while writing */
};

/* What clients see: committed. */
struct job_shown {
    enum job_state state;
    int64_t completed; /* rows */
    int64_t failed;    /* rows */
    int64_t bytes;     /* readable octets of the output */
    int64_t error_bytes;
};

#define JOB_SAMPLES     32 /* of the rate's window */
#define JOB_WORKERS_MAX 64 /* workers that are told apart */

struct job_sample {
    uint64_t now_ns; /* when */
    int64_t done;    /* rows committed then */
};

struct job {
    struct jobs *jobs;                      /* whose */
    struct ledger_batch record;             /* in memory ahead of the ledger; saved by job_save */
    struct job_shown shown;                 /* what is committed */
    struct version *version;                /* the model, once found; one reference */
    struct dataset *dataset;                /* input, once opened; the pool's while reading */
    struct output *output;                  /* output, once opened; the pool's while writing */
    bool opening, reading, writing;         /* the pool works on it */
    bool saving;                            /* a change is with the ledger */
    bool unsaved;                           /* the record differs from what the ledger got last */
    bool closing;                           /* job_end.c works on it, or is done */
    bool created;                           /* the ledger has it */
    struct chunk *first, *last;             /* live chunks in the order of rows */
    uint32_t live;                          /* how many */
    uint32_t tasks;                         /* of them, tasks under way */
    uint64_t live_bytes;                    /* input octets of them */
    double ns_per_row;                      /* kernel time, smoothed; 0: not known */
    uint64_t answer_bytes;                  /* octets of outputs for a row; 0: not known */
    int64_t written_off;                    /* rows given up, in no record yet */
    struct error ending;                    /* outcome of output_finish */
    struct error trouble;                   /* what it waits for, for people; OK: nothing */
    uint64_t retry_ns;                      /* after a full disk: not before */
    uint64_t begun_ns;                      /* when this life took it up */
    struct job_sample samples[JOB_SAMPLES]; /* ring */
    uint32_t samples_len;                   /* ever taken */
    struct uuid workers[JOB_WORKERS_MAX];   /* that sent results */
    uint32_t workers_len;                   /* how many */
    struct output_end end;                  /* of output_finish */
    uint64_t *owed;                         /* tasks to acknowledge after the next change */
    size_t owed_len;                        /* how many: of chunks that were cut anew */
    struct commit_waiter *waiters;          /* for the next change */
    struct commit_waiter *saving_waiters;   /* for the one under way */
    struct watcher *watchers;               /* event streams */
};

struct file {
    struct ledger_file record; /* as in the ledger */
    uint32_t pins;             /* jobs of both kinds and downloads that need it */
    int64_t whole;             /* its stamp when its octets were as recorded; 0: not looked yet */
};

/* --- jobs.c: the registries ------------------------------------------------------------------- */
struct jobs {
    struct jobs_config config; /* its texts are ours */
    char *files_folder;        /* uploads and outputs by id */
    struct ledger *ledger;     /* not ours */
    struct by_id files;        /* struct file, the oldest first */
    struct by_id all;          /* struct job, the oldest first */
    struct front_timer tick;   /* looks after jobs that wait for something */
    unsigned operations;       /* pool work and changes under way: they hold this memory */
    bool draining;             /* begin nothing */
    bool closed;               /* jobs_close was called: the last operation frees */
};

/* NULL when there is none. */
struct file *jobs_file(const struct jobs *self, const struct uuid *id);
struct job *jobs_job(const struct jobs *self, const struct uuid *id);

/* By their age, from 0. */
struct file *jobs_file_at(const struct jobs *self, size_t index);
struct job *jobs_job_at(const struct jobs *self, size_t index);

/* Both registries grow at their end: ids sort by age. Takes over the record's texts. */
struct file *jobs_add_file(struct jobs *self, struct ledger_file *record);
struct job *jobs_add_job(struct jobs *self, struct ledger_batch *record);
void jobs_forget_file(struct jobs *self, struct file *file);
void jobs_forget_job(struct jobs *self, struct job *job);

/* "FOLDER/files/<id>"; free() it. */
char *jobs_path(const struct jobs *self, const struct uuid *id);

/* Count work that others do for us; at the end of one, false when everything is over and `self` may
 * be gone: return at once. */
void jobs_begin(struct jobs *self);
bool jobs_end(struct jobs *self);

/* --- job.c ------------------------------------------------------------------------------------ */
const char *job_state_text(enum job_state state);
bool job_terminal(const struct job *self);

/* At its end, and the ledger has it: nothing of it will be written any more. */
bool job_over(const struct job *self);

/* Take a step of the table; false, and nothing changed, when it does not allow the event. */
bool job_event(struct job *self, enum job_event event);

/* Do what can be done next. */
void job_pump(struct job *self);

/* The model or the data set turned out unfit: note it as the API shows it, and end the job. */
void job_break(struct job *self, const char *code, int64_t line, const char *text);

/* The list that the API shows as "errors": one of them; `line` 0: none. free() it. */
char *job_errors_text(const char *code, int64_t line, const char *text);

/* Tell watchers. */
void job_changed(struct job *self);

/* job_end.c: no row is to be scored any more; close the files as soon as nobody uses them. */
void job_finish(struct job *self);

/* What dataset_index said, from the file's record. */
bool file_info(const struct file *file, struct dataset_info *info);

/* --- chunk_size.c: rows of the next chunk, by what the job asks for, what a row costs, and its
 * octets */
int64_t chunk_rows_next(const struct job *self);

/* --- chunk.c ---------------------------------------------------------------------------------- */

/* Cut, read and hand over as much as the window allows. */
void chunks_pump(struct job *self);

/* After the ledger has it: into the fleet. */
void chunk_submit(struct chunk *chunk);

/* From an earlier life: tell the fleet which results are wanted. Before fleet_start(). */
void chunk_expect(struct job *self, const struct ledger_chunk *record);

/* Leave the fleet and the list; `acknowledge` its results. */
void chunk_drop(struct chunk *chunk);

/* The same for a chunk in whose place parts have come: its results are acknowledged when the ledger
 * has those. */
void chunk_replace(struct chunk *chunk);

struct chunk *chunk_add(struct job *self, struct chunk *before, int64_t first, int64_t rows);

/* --- recut.c ---------------------------------------------------------------------------------- */

/* Replace an answered chunk by `parts` (1 or 2) that begin again. The parts' records take the place
 * of its own in one change. */
void chunk_cut_again(struct chunk *chunk, int64_t parts);

/* The same where a worker has found the row that ends runners: charged, it goes on by itself; its
 * neighbours go on as if nothing had happened. */
void chunk_cut_around(struct chunk *chunk, const struct fleet_result *crash);

/* --- bury.c ----------------------------------------------------------------------------------- */

/* An answered chunk that is to be written: make the dead letters of its rows, once. */
void chunk_bury(struct chunk *chunk);

/* Write their inputs, after the answers. In the pool. */
void chunk_letters_write(struct chunk *chunk);

/* Into the change that commits the chunk; and when that is durable. */
void chunk_letters_put(const struct chunk *chunk, struct ledger_change *change);
void chunk_letters_hand_over(struct chunk *chunk);

/* The chunk goes without its rows being committed. */
void chunk_letters_abandon(struct chunk *chunk);

/* --- save.c ----------------------------------------------------------------------------------- */

/* No room on the disk, no descriptor: tried again. Any other failure under a result file is not. */
static inline bool job_disk_recovers(enum status status)
{
    return status == STATUS_STORAGE_FULL || status == STATUS_BUSY;
}

/* The disk failed under a result file: what it holds is not known, the next start looks. */
_Noreturn void job_disk_failed(const struct error *why);

/* Write what is answered. */
void answers_pump(struct job *self);

/* The record changed: put it, and all chunks that wait, into the ledger, soon. `call` (may be NULL)
 * is called when it is there; on STORAGE_FULL it is called with that, and the change is tried again
 * unless the job was never created. */
void job_save(struct job *self, waiter_call *call, void *arg);

/* Read-only view for the API. */
json_t *job_json(const struct job *self);
json_t *file_json(const struct jobs *self, const struct file *file);

#endif
