/* program_parts - what program.c (epochs and steps), program_open.c (the folder becomes a trainer),
 * program_rows.c (data become batches) and program_state.c (checkpoints, reports) share; nobody
 * else includes it */
#ifndef CONVOY_WORKER_PROGRAM_PROGRAM_PARTS_H
#define CONVOY_WORKER_PROGRAM_PROGRAM_PARTS_H

#include "common/digest.h"
#include "worker/program/data.h"
#include "worker/program/program.h"
#include "worker/program/settings.h"
#include "worker/train/trainer.h"

/* Means over rows, gathered in double and in order. */
struct sums {
    double loss;            /* times rows */
    uint64_t rows, correct; /* that the loss counted */
};

/* What a checkpoint has besides the trainer's numbers; it is stored as it is. */
struct position {
    uint64_t step;    /* done */
    struct sums sums; /* of the epoch so far */
    double best;      /* of what early stopping watches; NAN: no epoch yet */
    uint64_t since;   /* epochs without a better one */
    uint32_t threads; /* that compute; 0: none has yet */
    uint32_t stopped; /* early */
};

/* One parameter's place in the model's bytes. */
struct place {
    const struct trainer_param *param;
    size_t at;
};

struct epoch_end {
    bool there;
    uint64_t epoch;
    struct sums train, validation;
    bool validated;
};

struct program {
    uint32_t magic;
    struct settings settings;
    uint8_t *model; /* the network's ONNX file */
    size_t model_size;
    struct graph *graph; /* until the trainer has it */
    struct trainer *trainer;
    struct place *places;
    size_t places_len;
    enum loss_kind loss;
    const char *input; /* the network's input, in the graph: name, type, shape */
    enum dtype input_dtype;
    uint32_t input_rank; /* with the batch */
    int64_t input_dims[TENSOR_RANK_MAX];
    struct data train, validation; /* validation.rows is 0 where there is none */
    void *batch_inputs, *batch_target;
    struct digest identity; /* of network, settings and sizes of the data */
    uint64_t epoch_steps, steps;
    struct position at;
    /* the last program_run */
    uint64_t run_ns, run_rows; /* of its steps, without validation */
    double (*points)[3];       /* step, loss, accuracy of each step */
    size_t points_len, points_room;
    struct epoch_end end;
};

#define PROGRAM_MAGIC 0x70726f67u

bool program_has_accuracy(const struct program *self);

/* Accuracy of sums; negative where the loss has none. */
double program_accuracy(const struct program *self, const struct sums *sums);

/* Whole numbers, by type; numbers in one row. */
bool program_integers(enum dtype dtype);
uint64_t program_elements(const struct npy *array);

/* Rows fit where types can be converted and shapes are equal, or have as many numbers. `part` is
 * "train" or "validation". Labels are looked at one by one where they are classes or shares. */
enum status program_check_rows(const struct program *self, const char *part,
                               const struct npy *inputs, struct error *why);
enum status program_check_labels(const struct program *self, const char *part,
                                 const struct npy *labels, struct error *why);

/* Rows `from`... of an epoch in its order (`pass`), or of validation as they lie. Returns how many:
 * a batch, or what is left. */
uint64_t program_batch(struct program *self, const struct data *data, uint64_t from, uint64_t pass,
                       bool shuffled, struct tensor *inputs, struct tensor *target);

#endif
