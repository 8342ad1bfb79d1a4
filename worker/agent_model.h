/* agent_model - what the agent knows of each model version that it was given tasks of
 *
 *   FETCHING -> LOADING -> READY        FAILED from anywhere
 *
 * Tasks wait in the model's queue whatever its state. A failure is kept for a while, so that more
 * tasks of a broken model are answered at once. One thread. */
#ifndef CONVOY_WORKER_AGENT_MODEL_H
#define CONVOY_WORKER_AGENT_MODEL_H

#include "common/ids.h"
#include "worker/batch.h"
#include "worker/store_manifest.h"

#define AGENT_MODELS_MAX 64 /* known at the same time; the longest unused go */

enum model_state {
    MODEL_FETCHING, /* the store is at it */
    MODEL_LOADING,  /* on disk; the runner is to tell its signature */
    MODEL_READY,
    MODEL_FAILED,
};

struct agent_model {
    struct digest version;
    enum model_state state;
    char *name;                 /* for people; the version when nobody said */
    struct uuid gateway;        /* of the last task: it has the files */
    struct batch_queue queue;   /* tasks that wait for it, INSPECTs too */
    struct batch_policy policy; /* READY */
    char *path;                 /* LOADING and READY: the file; of a program the folder */
    char *settings;             /* of a training program: JSON; NULL: it is a model */
    char *signature;            /* READY: JSON */
    size_t signature_size;
    uint32_t axes_len;                /* READY and batchable: outputs */
    uint32_t axes[MANIFEST_AXES_MAX]; /* axis of each output that holds the rows */
    bool resident;                    /* the runner has it in memory, or its predecessor had */
    bool load_sent;                   /* LOADING: the batch is in the ring */
    unsigned loads_crashed;           /* LOADING: runners that this ended */
    bool refetched;                   /* its file had vanished once already */
    struct error why;                 /* FAILED */
    uint64_t failed_ns;               /* FAILED: since when */
    uint64_t used_ns;                 /* when a task of it came last */
    uint64_t touched_ns;              /* READY: when the store was last told of its use */
    uint64_t began_ns;                /* when the first task came */
    uint32_t running;                 /* batches of it in the ring */
};

/* A training program is here: its tasks run alone, one at a time. Takes both texts. */
void agent_model_program(struct agent_model *self, char *path, char *settings);

struct agent_models {
    struct agent_model *list[AGENT_MODELS_MAX];
    size_t len;
};

struct agent_model *agent_models_find(const struct agent_models *self,
                                      const struct digest *version);
/* A model in state FETCHING. When there are too many an idle one makes room and its version is
 * stored in *evicted (else *evicted is false). NULL when all are busy. */
struct agent_model *agent_models_add(struct agent_models *self, const struct digest *version,
                                     const char *name, bool *evicted,
                                     struct digest *evicted_version);
void agent_models_remove(struct agent_models *self, struct agent_model *model);
void agent_models_free(struct agent_models *self);

/* Take the runner's signature over: policy and axes come from it, from the manifest's config and
 * from the defaults. BAD_MODEL when config and signature contradict each other. */
struct batch_defaults {
    uint32_t rows_max;
    uint64_t delay_ns;
    uint64_t bytes_max;
    uint32_t tasks_max;
};
enum status agent_model_ready(struct agent_model *self, const char *signature, size_t size,
                              const struct manifest *manifest,
                              const struct batch_defaults *defaults, struct error *why);

#endif
