/* program_state - checkpoints, reports, and the trained model: see program.h
 *
 * A checkpoint: struct head, the trainer's numbers, u32 crc32c of all that. Little-endian, as the
 * machines are that Convoy runs on; another order shows as a wrong magic. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/crc32c.h"
#include "worker/engine.h"
#include "worker/program/program_parts.h"

#define MAGIC      UINT64_C(0x31504b4359564300) /* "CVYCKP1" from the last octet on */
#define POINTS_MAX 50

struct head {
    uint64_t magic, floats;
    struct digest identity;
    struct position at;
    char mode[32];
};

struct program_sizes program_sizes(const struct program *self)
{
    struct program_sizes sizes = {.model = self->model_size};
    size_t floats;
    trainer_state(self->trainer, &floats);
    sizes.checkpoint = sizeof(struct head) + floats * sizeof(float) + sizeof(uint32_t);
    for (size_t i = 0; i < self->places_len; i++)
        sizes.parameters += self->places[i].param->count;
    return sizes;
}

void program_checkpoint(const struct program *self, uint8_t **bytes, size_t *size)
{
    struct head head = {.magic = MAGIC, .identity = self->identity, .at = self->at};
    size_t floats;
    const float *state = trainer_state(self->trainer, &floats);
    head.floats = floats;
    text_copy(head.mode, sizeof head.mode, engine_mode());
    *size = program_sizes(self).checkpoint;
    *bytes = xmalloc(*size);
    memcpy(*bytes, &head, sizeof head);
    memcpy(*bytes + sizeof head, state, floats * sizeof(float));
    uint32_t crc = crc32c(0, *bytes, *size - sizeof crc);
    memcpy(*bytes + *size - sizeof crc, &crc, sizeof crc);
}

enum status program_restore(struct program *self, const void *checkpoint, size_t size,
                            struct error *why)
{
    struct head head;
    size_t floats, expected = program_sizes(self).checkpoint;
    uint32_t crc;
    float *state = trainer_state(self->trainer, &floats);
    if (size != expected)
        return fail(why, STATUS_INVALID, "the checkpoint has %zu octets; this network's has %zu",
                    size, expected);
    const uint8_t *bytes = checkpoint;
    memcpy(&head, bytes, sizeof head);
    memcpy(&crc, bytes + size - sizeof crc, sizeof crc);
    if (head.magic != MAGIC || head.floats != floats || crc != crc32c(0, bytes, size - sizeof crc))
        return fail(why, STATUS_INVALID, "the checkpoint is damaged: its checksum is wrong");
    if (!digest_equal(&head.identity, &self->identity))
        return fail(why, STATUS_INVALID,
                    "the checkpoint is of another network, other settings or other data");
    head.mode[sizeof head.mode - 1] = '\0';
    if (strcmp(head.mode, engine_mode()) != 0)
        return fail(why, STATUS_INVALID,
                    "the checkpoint was made in numeric mode %s; this is %s, which would give "
                    "other bytes",
                    head.mode, engine_mode());
    self->at = head.at;
    memcpy(state, bytes + sizeof head, floats * sizeof(float));
    return STATUS_OK;
}

/* Means over equal pieces of the steps of the last run. */
static json_t *points_json(const struct program *self)
{
    json_t *all = json_array();
    size_t n = self->points_len, pieces = MIN(n, POINTS_MAX);
    for (size_t k = 0; k < pieces; k++) {
        size_t from = n * k / pieces, to = n * (k + 1) / pieces;
        double loss = 0, accuracy = 0;
        for (size_t i = from; i < to; i++) {
            loss += self->points[i][1] / (double)(to - from);
            accuracy += self->points[i][2] / (double)(to - from);
        }
        json_t *point = json_pack("[I, f]", (json_int_t)self->points[to - 1][0], loss);
        if (accuracy >= 0)
            json_array_append_new(point, json_real(accuracy));
        json_array_append_new(all, point);
    }
    return all;
}

static void set_sums(const struct program *self, json_t *into, const char *prefix,
                     const struct sums *sums)
{
    char key[64];
    double accuracy = program_accuracy(self, sums);
    snprintf(key, sizeof key, "%sloss", prefix);
    if (sums->rows && isfinite(sums->loss))
        json_object_set_new(into, key, json_real(sums->loss / (double)sums->rows));
    snprintf(key, sizeof key, "%saccuracy", prefix);
    if (accuracy >= 0)
        json_object_set_new(into, key, json_real(accuracy));
}

json_t *program_report(const struct program *self)
{
    uint64_t step = self->at.step, epoch = (step ? step - 1 : 0) / self->epoch_steps + 1;
    json_t *r = json_pack(
        "{sI, sI, sI, sI, sI, sf, sI, so, sb, ss, sI, sI, ss}", "step", (json_int_t)step, "steps",
        (json_int_t)self->steps, "epoch", (json_int_t)epoch, "epochs",
        (json_int_t)self->settings.program_epochs, "rows", (json_int_t)self->train.rows, "seconds",
        (double)self->run_ns * 1e-9, "rows_computed", (json_int_t)self->run_rows, "points",
        points_json(self), "done", program_done(self), "mode", engine_mode(), "threads",
        (json_int_t)self->at.threads, "parameters", (json_int_t)program_sizes(self).parameters,
        "loss_function", loss_name(self->loss));
    set_sums(self, r, "", &self->at.sums);
    if (self->end.there) {
        json_t *end = json_pack("{sI, sb}", "epoch", (json_int_t)self->end.epoch, "stopped_early",
                                self->at.stopped != 0);
        set_sums(self, end, "", &self->end.train);
        if (self->end.validated)
            set_sums(self, end, "validation_", &self->end.validation);
        json_object_set_new(r, "epoch_end", end);
    }
    return r;
}

enum status program_model(const struct program *self, uint8_t **bytes, size_t *size,
                          struct error *why)
{
    *bytes = xmalloc(self->model_size);
    *size = self->model_size;
    memcpy(*bytes, self->model, self->model_size);
    for (size_t i = 0; i < self->places_len; i++) {
        const struct trainer_param *p = self->places[i].param;
        for (size_t k = 0; k < p->count; k++)
            if (!isfinite(p->data[k])) {
                free(*bytes);
                *bytes = NULL;
                return fail(why, STATUS_INVALID, "parameter \"%.200s\" is not finite any more",
                            p->name);
            }
        memcpy(*bytes + self->places[i].at, p->data, p->count * sizeof(float));
    }
    return STATUS_OK;
}
