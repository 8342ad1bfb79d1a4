/* repository - model versions in a folder, what is known of them, and their blobs
 *
 *   ROOT/NAME/config.json           optional: batching and limits, for all versions
 *   ROOT/NAME/VERSION/model.onnx    VERSION is a number from 1; files beside it travel with it
 *   ROOT/NAME/VERSION/training.json optional: how it was trained; "training" in its config
 *
 * A version is the manifest {"config": {...}, "files": [{"path","bytes","sha256"}, ...]}; its id is
 * the manifest's SHA-256. Scanning and hashing happen in the pool. The gateway never parses a
 * model: an INSPECT task returns its signature, kept in the cache folder; until then the version is
 * LOADING. The default version of a model is the highest number that is READY, else the highest.
 * Front thread, where nothing else is said. */
#ifndef CONVOY_GATEWAY_REPOSITORY_H
#define CONVOY_GATEWAY_REPOSITORY_H

#include "common/digest.h"
#include "common/status.h"
#include "gateway/fleet.h"
#include "gateway/pool.h"
#include "gateway/repository/signature.h"

#include <jansson.h>

#define MODEL_NAME_MAX 100 /* characters [A-Za-z0-9._-], the first no '.' */

enum version_state { VERSION_LOADING, VERSION_READY, VERSION_UNAVAILABLE };

struct version_file {
    char *path;           /* relative to the version's folder */
    uint64_t bytes;       /* size */
    struct digest sha256; /* of the content, its blob id */
};

/* One version. Counted references. Once READY all but `state`, `reason` and `stats` never changes
 * and may be read on any thread by whoever holds a reference; those three are the front thread's.
 */
struct version {
    char model[MODEL_NAME_MAX + 1]; /* the model's name */
    uint32_t number;                /* its version */
    char name[MODEL_NAME_MAX + 12]; /* "model/number" */
    char *folder;                   /* path of the version's files */
    struct digest id;               /* SHA-256 of the manifest */
    char *manifest;                 /* JSON text, with a NUL */
    size_t manifest_size;           /* its octets */
    struct version_file *files;     /* sorted by path */
    size_t files_len;               /* how many */
    json_t *config;                 /* the config of the manifest, an object */
    struct signature signature;     /* set before READY */
    enum version_state state;       /* front thread */
    struct error reason;            /* front thread: why UNAVAILABLE */
    struct version_stats *stats;    /* front thread: counts and times of online requests */
    _Atomic uint32_t refs;          /* private */
};

struct version *version_ref(struct version *self);

/* Drop one reference and set *self_p to NULL. NULL inside is fine. Any thread. */
void version_drop(struct version **self_p);

struct repository;

struct repository_config {
    const char *root;    /* folder of models; made when it is missing */
    const char *cache;   /* folder of signatures by version id; made when it is missing */
    struct front *front; /* its timers */
    struct pool *pool;   /* for files */
    struct fleet *fleet; /* for INSPECT and blobs */
};

/* Makes the folders, starts a scan of all models, and serves blobs to the fleet. */
enum status repository_open(struct repository **out, const struct repository_config *config,
                            struct error *why);
void repository_close(struct repository **self_p);

/* Find a version to run; `version` is NULL or "" for the default, else its number. OK: *out has one
 * reference more. NO_MODEL: no such model or version. UNAVAILABLE: it is loading, or all of them
 * still are. BAD_MODEL: it failed to load; the text says why. */
enum status repository_find(struct repository *self, const char *model, const char *version,
                            struct version **out, struct error *why);

/* The same in any state, for metadata and the index: BAD_MODEL is not returned, UNAVAILABLE only
 * until the folders have been looked through for the first time. */
enum status repository_look(struct repository *self, const char *model, const char *version,
                            struct version **out, struct error *why);

/* By id, for jobs that are pinned to one; NULL when it is not here (any more); one reference. */
struct version *repository_by_id(struct repository *self, const struct digest *id);

/* Numbers of a model's versions, ascending; returns how many there are, of which at most `max` were
 * written. */
size_t repository_versions(const struct repository *self, const char *model, uint32_t *numbers,
                           size_t max);

/* Look again at one model's folder (NULL: at all) and tell when every version found there is READY
 * or UNAVAILABLE, or after 30 s. `why` is OK or says what could not be loaded. */
void repository_load(struct repository *self, const char *model,
                     void (*done)(void *arg, const struct error *why), void *arg);

/* Forget a model until it is loaded again; its files stay. NO_MODEL when it is not loaded. */
enum status repository_unload(struct repository *self, const char *model, struct error *why);

/* [{"name","version","state","reason"}, ...] by name and number. */
json_t *repository_index(const struct repository *self, bool ready_only);

/* A blob that somebody else keeps. */
struct repository_blob {
    uint64_t total;    /* octets */
    const void *bytes; /* in memory, valid until the front thread's next turn; NULL: a file */
    char *path;        /* of the file, which the repository frees */
};

/* Serve workers what `find` has, where no version has a blob of that id. NULL: nobody any more. */
typedef bool repository_find_blob(void *arg, const struct digest *id, struct repository_blob *out);
void repository_lend(struct repository *self, repository_find_blob *find, void *arg);

/* 1 to 999999999 without leading zeros; 0: it is no version. Any thread. */
uint32_t version_number(const char *name);

/* Letters and length; NO_MODEL with the rule in the text. Any thread. */
enum status model_name_check(const char *name, struct error *why);

#endif
