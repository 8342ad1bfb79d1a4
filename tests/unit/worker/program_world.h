/* program_world - a folder with a training program, as a worker or convoy-run has it: a small
 * network and rows whose class shows */
#ifndef CONVOY_TESTS_UNIT_WORKER_PROGRAM_WORLD_H
#define CONVOY_TESTS_UNIT_WORKER_PROGRAM_WORLD_H

#include "common/tensor.h"
#include "worker/program/program.h"

#define PROGRAM_ROWS    75 /* not a whole number of batches */
#define PROGRAM_CLASSES 3
#define PROGRAM_SETTINGS                                                                           \
    "{\"epochs\": 2, \"batch\": 10, \"seed\": 5, \"threads\": 1, \"optimizer\": "                  \
    "{\"type\": \"adam\", \"learning_rate\": 0.01}}"
#define PROGRAM_LAYERS(more)                                                                       \
    "{\"layers\": [{\"type\": \"Input\", \"shape\": [6, 6, 1]}, "                                  \
    "{\"type\": \"Conv2D\", \"filters\": 4, \"kernel_size\": 3, \"activation\": \"relu\"}, "       \
    "{\"type\": \"BatchNormalization\"}, {\"type\": \"Flatten\"}, {\"type\": \"Dropout\", "        \
    "\"rate\": 0.2}, " more "{\"type\": \"Dense\", \"name\": \"last\", \"units\": 3, "             \
    "\"activation\": \"softmax\"}]}"

extern char program_folder[64];
extern uint64_t program_seed;

/* Of a group of tests: makes the folder and starts the engine with one thread; removes it. */
int program_world_open(void **state);
int program_world_close(void **state);

/* A file, and one of numbers. */
void program_put(const char *name, const void *bytes, size_t size);
void program_put_array(const char *name, enum dtype dtype, uint32_t rank, const int64_t *dims,
                       void *data, size_t bytes);

/* Inputs and labels of "train" or "validation"; `odd` is added to one value. */
void program_put_part(const char *part, float odd);

/* Opens it, and runs it to its end without a break; fails the test where that does not work. */
struct program *program_opened(const char *settings);
void program_run_whole(struct program *p);

#endif
