/* training - private to gateway/training and its API: one training job on the front thread
 *
 * trainings.c keeps them, training.c has their states and the ledger, program.c what workers fetch,
 * segment.c the fleet, take.c the disk, publish.c the end. training_pump() does whatever can be
 * done next; every event ends in a call of it. At most one visit to the pool and one change of the
 * ledger are under way for a job:
 *
 *   [record] -> load checkpoint -> task in the fleet -> result -> write -> [record] -> acknowledge
 */
#ifndef CONVOY_GATEWAY_TRAINING_TRAINING_H
#define CONVOY_GATEWAY_TRAINING_TRAINING_H

#include "gateway/dataset/job.h"
#include "gateway/training/trainings.h"

enum training_state {
#define STATE(name, shown, terminal) TRAINING_##name,
#include "gateway/training/states.def"
    TRAINING_STATES
};

enum training_event {
    TRAINING_START,
    TRAINING_TRAINED,
    TRAINING_PUBLISHED,
    TRAINING_BREAK,
    TRAINING_CANCEL,
    TRAINING_EVENTS
};

/* A file of the training program. */
struct program_file {
    char *path;           /* in the program: "train/inputs.gz" */
    char *disk;           /* here */
    uint64_t bytes;       /* size */
    struct digest sha256; /* its blob id */
    struct uuid upload;   /* what it is, and may not be deleted; zero: a file of the job's own */
};

/* What workers fetch by SHA-256. */
struct program {
    char *manifest;             /* JSON text; its SHA-256 is the program's id */
    struct program_file *files; /* sorted by path */
    size_t files_len;           /* how many */
};

/* Octets in front of a checkpoint for the task's other input, so that both are in one block. */
#define SEGMENT_ROOM 128

struct training {
    struct trainings *all;                /* whose */
    struct ledger_training record;        /* in memory ahead of the ledger */
    struct ledger_training *shown;        /* what is committed; clients see this */
    struct ledger_training *committing;   /* what the change under way says */
    struct program program;               /* until the end */
    bool created;                         /* the ledger has it */
    bool saving, unsaved;                 /* a change is with the ledger; one is to be made */
    bool working;                         /* the pool is at it */
    bool in_fleet;                        /* the task of record.task is submitted or expected */
    bool wanted;                          /* the fleet asked for its data */
    bool started;                         /* a worker began to compute it */
    bool verified;                        /* the uploads were compared with their digests */
    bool tidied;                          /* at its end: files that nobody needs are gone */
    bool placed;                          /* FINALIZING: the version is in the repository */
    bool loading;                         /* and a worker is to look at it */
    struct bytes *block;                  /* SEGMENT_ROOM and the checkpoint; NULL: on the disk */
    struct fleet_result *result;          /* of record.task; to be written */
    uint64_t ack, saving_ack;             /* tasks to be acknowledged after the next commit */
    int64_t charged_ns;                   /* kernel time of the result that is being recorded */
    json_t *live;                         /* what the worker told last; NULL: nothing */
    struct error trouble;                 /* what it waits for, for people; OK: nothing */
    uint64_t retry_ns;                    /* after a full disk: not before */
    uint64_t again_ns;                    /* after a worker's trouble: no segment before */
    uint64_t submitted_ns;                /* the task */
    struct commit_waiter *waiters;        /* for the next change */
    struct commit_waiter *saving_waiters; /* for the one under way */
    struct watcher *watchers;             /* event streams */
};

struct trainings {
    struct trainings_config config; /* its texts are ours */
    char *folder;                   /* DATA/training */
    struct by_id all;               /* struct training, the oldest first */
    struct front_timer tick;        /* looks after jobs that wait for something */
    unsigned operations;            /* pool work and changes under way, and loads */
    unsigned loads;                 /* of these, models that a worker is to look at */
    bool draining;                  /* begin nothing */
    bool closed;                    /* the last operation frees */
};

/* --- trainings.c ------------------------------------------------------------------------------ */
struct training *trainings_find(const struct trainings *self, const struct uuid *id); /* or NULL */
struct training *trainings_at(const struct trainings *self, size_t index);

/* Takes over the record's texts. */
struct training *trainings_add(struct trainings *self, struct ledger_training *record);
void trainings_forget(struct trainings *self, struct training *training);

/* "DATA/training/<id>" and a file in it; free() them. */
char *training_folder(const struct training *self);
char *training_path(const struct training *self, const char *name);

/* Remove a folder, if it is there, and the files in it. */
void training_remove(const char *folder);

/* Of the checkpoint that the record names: "checkpoint-STEP". */
#define CHECKPOINT_NAME_SIZE 48
void training_checkpoint(char into[static CHECKPOINT_NAME_SIZE], const struct training *self);

/* Like jobs_begin and jobs_end. */
void trainings_begin(struct trainings *self);
bool trainings_end(struct trainings *self);

/* --- training.c ------------------------------------------------------------------------------- */
const char *training_state_text(enum training_state state);
bool training_terminal(const struct training *self);

/* At its end, and the ledger has it. */
bool training_over(const struct training *self);

/* Take a step of the table; false, and nothing changed, when it does not allow the event. */
bool training_event(struct training *self, enum training_event event);

/* Note why, as the API shows it, and end the job. `code`: "invalid". */
void training_break(struct training *self, const char *code, const char *text);

/* Put the record into the ledger, soon; as job_save. */
void training_save(struct training *self, waiter_call *call, void *arg);

/* Do what can be done next. */
void training_pump(struct training *self);

/* --- program.c -------------------------------------------------------------------------------- */
/* A request is there, its record is filled but for `program`: make the folder, the files in it and
 * the manifest, in the pool; then put the job on record. `network`: the list of layers, one
 * reference is taken over, or NULL; `version`: what is fine-tuned, likewise; both NULL: model.onnx
 * is one of the uploads. `call` as in training_save: on failure the job is to be forgotten. */
void program_make(struct training *self, json_t *network, struct version *version,
                  waiter_call *call, void *arg);

/* After a restart. IO: the files are not as they were left. */
enum status program_load(struct training *self, struct error *why);
void program_free(struct program *self);

/* repository_lend's call: what the jobs that are not at their end need. */
bool program_find_blob(void *trainings, const struct digest *id, struct repository_blob *out);

/* The uploads of the job: no longer to be deleted, or free again. */
void program_pin(struct training *self, bool pin);

/* --- segment.c -------------------------------------------------------------------------------- */
/* Give the next segment to the fleet; loads the checkpoint when it is not in memory. */
void segment_begin(struct training *self);

/* After a restart, before fleet_start(). */
void segment_expect(struct training *self);

/* The job is at its end: no result is wanted any more. */
void segment_drop(struct training *self);

/* --- take.c ----------------------------------------------------------------------------------- */
/* Write what the result brought, then record it. */
void result_take(struct training *self);

/* The job is at its end: remove all but history and program. */
void training_tidy(struct training *self);

/* --- publish.c -------------------------------------------------------------------------------- */
/* A step towards the published version. */
void publish_pump(struct training *self);

/* The version's own file: how it was trained. */
json_t *publish_summary(const struct training *self);

/* --- training_json.c: read-only views for the API --------------------------------------------- */
json_t *training_json(const struct training *self);

#endif
