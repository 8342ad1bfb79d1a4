/* disk - this process's system calls on the files below one folder: recorded, failed or left out
 *
 * The functions that change files (open, pwrite, fdatasync, rename, ...) are defined here once
 * more and so come before the C library's, for our own code and for SQLite's. Each does the real
 * call under one lock and puts it on a tape; what the program told others goes on the same tape as
 * a mark, in the true order. The tape is memory that is shared with the parent, so it outlives the
 * process. Without a tape every call is passed on. */
#ifndef CONVOY_TESTS_CRASH_DISK_H
#define CONVOY_TESTS_CRASH_DISK_H

#include "common/base.h"

enum disk_op {
    DISK_CREATE,   /* file `file` appears under `text` */
    DISK_MKDIR,    /* folder `text` */
    DISK_WRITE,    /* `size` octets at `offset` of `file`: `data` */
    DISK_TRUNCATE, /* `file` has `offset` octets now */
    DISK_SYNC,     /* what was done to `file` is on the disk */
    DISK_SYNC_DIR, /* the names in folder `text` are on the disk */
    DISK_RENAME,   /* `file` (0: a folder) loses its name `text` and gets the one behind its NUL */
    DISK_UNLINK,   /* the name `text` of `file` goes */
    DISK_RMDIR,    /* folder `text` goes */
    DISK_MARK      /* the program told somebody `text` */
};

struct disk_call {
    uint32_t op;     /* enum disk_op */
    uint32_t file;   /* counted from 1 in the order of creation */
    uint64_t offset; /* of a write; size of a truncation */
    uint32_t size;   /* octets of what follows */
    uint32_t pad;    /* zero */
    uint8_t data[];  /* octets or text; paths are relative to the root, "" is the root itself */
};

/* What happens to the `at`-th call that could fail so. */
enum disk_fault { DISK_FINE, DISK_EIO, DISK_ENOSPC, DISK_SHORT };

/* A writer that does something less: the call returns 0 and nothing happens. */
enum disk_mutant {
    MUTANT_NONE,
    MUTANT_DRAFT_SYNC,      /* no fsync of a file that is about to be renamed */
    MUTANT_FOLDER_SYNC,     /* no fsync of a folder */
    MUTANT_RESULT_SYNC,     /* no fsync of uploads and results */
    MUTANT_LETTER_SYNC,     /* no fsync of dead letters */
    MUTANT_CHECKPOINT_SYNC, /* no fsync of checkpoints */
    MUTANT_VERSION_SYNC,    /* no fsync of the folder where a trained model gets its number */
    MUTANT_LOG_SYNC,        /* no fsync of the ledger's write-ahead log */
    MUTANT_EARLY_REPLY,     /* changes are called done before they are committed */
    MUTANTS
};

struct disk_tape {
    char root[160];          /* absolute, no slash at its end */
    enum disk_mutant mutant; /* of this run */
    enum disk_fault fault;   /* of this run */
    uint32_t fault_at;       /* counted from 0 */
    uint32_t fault_len;      /* calls in a row that fail; 0: one */
    uint32_t faults;         /* calls so far that could fail so */
    bool over;               /* it was longer than `room` */
    uint64_t failed_at;      /* octets used when the first call was made to fail */
    size_t used;             /* octets of `bytes` */
    size_t room;             /* octets there are */
    uint8_t *bytes;          /* struct disk_call after struct disk_call, each at 8 octets */
};

/* Shared memory for one run; disk_tape_free gives it back. */
struct disk_tape *disk_tape_new(const char *root, size_t room);
void disk_tape_free(struct disk_tape *self);

/* From now on this process's calls go on it; NULL: nowhere. */
void disk_record(struct disk_tape *tape);

/* Put a mark: what follows is told to somebody outside. */
void disk_mark(const char *format, ...) PRINTF_LIKE(1, 2);

/* Of the present tape. */
enum disk_mutant disk_mutant(void);

/* The call at `at` octets; *next is where the following one begins. */
const struct disk_call *disk_call_at(const struct disk_tape *self, size_t at, size_t *next);

#endif
