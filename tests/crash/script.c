/* script - the requests; see script.h */
#include "tests/crash/script.h"

#include "common/npy.h"
#include "tests/crash/rows.h"
#include "tests/crash/toy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct script {
    struct world world;
    unsigned wrong; /* answers that were not as they should be */
    char *text;     /* the first of them */
    size_t size;    /* of `text` */
};

/* A request that has to work sooner or later: 503 means again. */
static json_t *ask(struct script *self, const char *method, const char *path, const char *key,
                   const void *body, size_t size)
{
    struct answer answer = {0, NULL};
    for (int i = 0; i < 40; i++) {
        json_decref(answer.body);
        answer = world_ask(&self->world, method, path, key, body, size);
        if (answer.code != 503 && answer.code != 0)
            break;
        for (int turn = 0; turn < 20; turn++)
            world_turn(&self->world);
    }
    if (answer.code >= 200 && answer.code < 300)
        return answer.body;
    char *dump = answer.body ? json_dumps(answer.body, JSON_COMPACT) : NULL;
    if (self->wrong++ == 0)
        snprintf(self->text, self->size, "%s %s: %d %s", method, path, answer.code,
                 dump ? dump : "");
    free(dump);
    json_decref(answer.body);
    return NULL;
}

static void tell(struct script *self, const char *method, const char *path, const char *key,
                 const char *body)
{
    json_decref(ask(self, method, path, key, body, body ? strlen(body) : 0));
}

/* The member `name` of an answer, as a path after `prefix`. */
static void path_of(char into[static 128], const char *prefix, json_t *answer, const char *name)
{
    const char *text = json_string_value(json_object_get(answer, name));
    snprintf(into, 128, "%s%s", prefix, text ? text : "none");
    json_decref(answer);
}

static void upload_array(struct script *self, char path[static 128])
{
    uint8_t bytes[NPY_WRITE_HEADER_MAX + ROWS_ARRAY * 16];
    size_t size = rows_array(bytes);
    path_of(path, "/v1/files/",
            ask(self, "PUT", "/v1/files?name=rows.npy&purpose=batch", NULL, bytes, size), "id");
}

static void upload_lines(struct script *self, char path[static 128])
{
    char text[2048];
    size_t size = rows_lines(text);
    path_of(path, "/v1/files/",
            ask(self, "PUT", "/v1/files?name=rows.jsonl&purpose=batch", NULL, text, size), "id");
}

static void score(struct script *self, char path[static 128], const char *key, const char *file,
                  const char *format, int chunk_rows)
{
    char body[512];
    rows_job(body, strrchr(file, '/') + 1, format, chunk_rows);
    path_of(path, "/v1/batches/", ask(self, "POST", "/v1/batches", key, body, strlen(body)), "id");
}

/* Look at a job until it has ended, or has `rows` rows. The job's output file, as a path. */
static void follow(struct script *self, const char *job, long rows, char output[static 128])
{
    for (int i = 0; i < 100; i++) {
        json_t *answer = ask(self, "GET", job, NULL, NULL, 0);
        const char *status = json_string_value(json_object_get(answer, "status"));
        json_t *counts = json_object_get(answer, "request_counts");
        bool over = !status || rows_ended(status) ||
                    json_integer_value(json_object_get(counts, "completed")) >= rows;
        path_of(output, "/v1/files/", answer, "output_file_id");
        if (over)
            return;
        for (int turn = 0; turn < 2; turn++)
            world_turn(&self->world);
    }
    if (self->wrong++ == 0)
        snprintf(self->text, self->size, "%s does not end", job);
}

static void train(struct script *self, char path[static 128], const char *key, const char *file)
{
    char body[512];
    toy_job(body, key, strrchr(file, '/') + 1);
    path_of(path, "/v1/training/jobs/",
            ask(self, "POST", "/v1/training/jobs", key, body, strlen(body)), "id");
}

/* Look at a training job until it has ended, or has come to `step`. */
static void follow_training(struct script *self, const char *job, long step)
{
    for (int i = 0; i < 100; i++) {
        json_t *answer = ask(self, "GET", job, NULL, NULL, 0);
        const char *status = json_string_value(json_object_get(answer, "status"));
        json_t *progress = json_object_get(answer, "progress");
        bool over = !status || rows_ended(status) ||
                    json_integer_value(json_object_get(progress, "step")) >= step;
        json_decref(answer);
        if (over)
            return;
        world_turn(&self->world);
    }
    if (self->wrong++ == 0)
        snprintf(self->text, self->size, "%s does not end", job);
}

/* A training job that is cancelled after its first segment. */
static void give_up_training(struct script *self, const char *lines)
{
    char job[128];
    fleet_allow(self->world.gateway.fleet, 1);
    train(self, job, "t2", lines);
    follow_training(self, job, 1);
    char *cancel = xasprintf("%s/cancel", job);
    tell(self, "POST", cancel, NULL, "");
    free(cancel);
    fleet_allow(self->world.gateway.fleet, UINT32_MAX);
}

static void open_world(struct script *self, const char *root)
{
    struct error why = {.status = STATUS_OK};
    if (world_open(&self->world, root, &why) != STATUS_OK) {
        snprintf(self->text, self->size, "the gateway does not start: %s", why.text);
        _exit(3);
    }
}

static void send_model(struct script *self)
{
    tell(self, "PUT", "/v2/repository/models/echo/versions/1/files/model.onnx", NULL, "a model");
    tell(self, "POST", "/v2/repository/models/echo/load", NULL, "{}");
}

/* Of the dead letters so far one is tried again, twice, and another one dropped. */
static void look_at_letters(struct script *self)
{
    char retry[128], drop[128];
    json_t *list = ask(self, "GET", "/v1/dead", NULL, NULL, 0);
    json_t *data = json_object_get(list, "data");
    path_of(retry, "/v1/dead/", json_incref(json_array_get(data, 0)), "id");
    path_of(drop, "/v1/dead/", json_incref(json_array_get(data, 1)), "id");
    json_decref(list);
    text_copy(strchr(retry, '\0'), sizeof retry - strlen(retry), "/retry");
    tell(self, "POST", retry, NULL, "");
    tell(self, "POST", retry, NULL, "");
    tell(self, "DELETE", drop, NULL, NULL);
}

static void second_life(struct script *self, const char *array, const char *lines, char *output,
                        const char *training)
{
    char job[128], other[128];
    follow_training(self, training, 1000);
    give_up_training(self, lines);
    score(self, job, "k2", lines, "npy", 2);
    follow(self, job, 1000, other);
    look_at_letters(self);
    fleet_allow(self->world.gateway.fleet, 4);
    score(self, job, "k3", lines, "npy", 1); /* some rows are answered, then it is cancelled */
    follow(self, job, 3, other);
    char *cancel = xasprintf("%s/cancel", job);
    tell(self, "POST", cancel, NULL, "");
    free(cancel);
    follow(self, job, 1000, other);
    fleet_allow(self->world.gateway.fleet, UINT32_MAX);
    tell(self, "DELETE", output, NULL, NULL);
    tell(self, "DELETE", array, NULL, NULL);
    train(self, job, "t0", array); /* asked for again, when its data is gone */
}

unsigned script_run(const char *root, bool brief, char *text, size_t size)
{
    struct script *self = xcalloc(1, sizeof *self);
    char array[128], lines[128], first[128], second[128], output[128], other[128];
    char training[128];
    self->text = text;
    self->size = size;
    open_world(self, root);
    send_model(self);
    upload_array(self, array);
    train(self, training, "t0", array);
    score(self, first, "k0", array, "npy", 3);
    if (!brief) {
        upload_lines(self, lines);
        score(self, second, "k1", lines, "jsonl", 2);
    }
    follow(self, first, 1000, output);
    follow_training(self, training, 1000);
    if (!brief) {
        follow(self, second, 1000, other);
        train(self, training, "t1", lines);
        follow_training(self, training, 1);
        world_close(&self->world);
        open_world(self, root);
        second_life(self, array, lines, output, training);
    } else {
        tell(self, "DELETE", output, NULL, NULL);
    }
    world_close(&self->world);
    unsigned wrong = self->wrong;
    free(self);
    return wrong;
}
