#include "tests/unit/worker/program_world.h"

#include "common/file.h"
#include "common/npy.h"
#include "tests/unit/common/testing.h"
#include "worker/engine.h"

uint64_t program_seed;
char program_folder[64];

void program_put(const char *name, const void *bytes, size_t size)
{
    char path[128];
    struct error why;
    snprintf(path, sizeof path, "%s/%s", program_folder, name);
    if (file_write(path, bytes, size, false, &why) != STATUS_OK)
        fail_msg("%s", why.text);
}

void program_put_array(const char *name, enum dtype dtype, uint32_t rank, const int64_t *dims,
                       void *data, size_t bytes)
{
    char path[128];
    struct error why;
    struct tensor t = {.dtype = dtype, .rank = rank, .data = data, .bytes = bytes};
    memcpy(t.dims, dims, rank * sizeof *dims);
    snprintf(path, sizeof path, "%s/%s", program_folder, name);
    if (npy_write(path, &t, false, &why) != STATUS_OK)
        fail_msg("%s", why.text);
}

/* The class shows in which pixels are bright. */
void program_put_part(const char *part, float odd)
{
    static float inputs[PROGRAM_ROWS][6][6];
    static uint8_t labels[PROGRAM_ROWS];
    char name[64];
    uint64_t state = program_seed;
    for (size_t i = 0; i < PROGRAM_ROWS; i++) {
        labels[i] = (uint8_t)(test_random(&state) % PROGRAM_CLASSES);
        for (size_t k = 0; k < 36; k++) {
            float noise = (float)(test_random(&state) >> 40) * 0x1p-24f;
            inputs[i][k / 6][k % 6] = noise + (k / 12 == labels[i]);
        }
    }
    inputs[17][2][2] += odd;
    snprintf(name, sizeof name, "%s/inputs.npy", part);
    program_put_array(name, DTYPE_FP32, 3, (int64_t[]){PROGRAM_ROWS, 6, 6}, inputs, sizeof inputs);
    snprintf(name, sizeof name, "%s/labels.npy", part);
    program_put_array(name, DTYPE_UINT8, 1, (int64_t[]){PROGRAM_ROWS}, labels, sizeof labels);
}

int program_world_open(void **state)
{
    char path[128];
    struct error why;
    (void)state;
    program_seed = test_seed();
    snprintf(program_folder, sizeof program_folder, "/tmp/convoy-program-XXXXXX");
    if (!mkdtemp(program_folder))
        return -1;
    snprintf(path, sizeof path, "%s/train", program_folder);
    file_mkdirs(path, &why);
    snprintf(path, sizeof path, "%s/validation", program_folder);
    file_mkdirs(path, &why);
    program_put("network.json", PROGRAM_LAYERS(""), strlen(PROGRAM_LAYERS("")));
    program_put_part("train", 0);
    program_put_part("validation", 0);
    return engine_start("auto", 1, &why) == STATUS_OK ? 0 : -1;
}

int program_world_close(void **state)
{
    char command[128];
    (void)state;
    snprintf(command, sizeof command, "rm -rf %s", program_folder);
    return system(command); /* NOLINT(cert-env33-c): a path of our own making */
}

struct program *program_opened(const char *settings)
{
    struct program *p;
    struct error why;
    if (program_open(&p, program_folder, settings, &why) != STATUS_OK)
        fail_msg("%s", why.text);
    return p;
}

void program_run_whole(struct program *p)
{
    struct error why;
    while (!program_done(p))
        if (program_run(p, UINT32_MAX, NULL, &why) != STATUS_OK)
            fail_msg("%s", why.text);
}
