/* toy - see toy.h */
#include "tests/crash/toy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINES 16 /* of a checkpoint, so that it is more than one sector */

void toy_job(char into[static 512], const char *key, const char *file)
{
    static const char layers[] = "\"network\":{\"name\":\"" TOY_MODEL "\",\"layers\":[{\"type\":"
                                 "\"Dense\",\"units\":2,\"input_shape\":[4]}]}";
    bool again = key[strlen(key) - 1] == '1';
    snprintf(into, 512,
             "{\"name\":\"" TOY_MODEL "\",%s,\"training\":{\"epochs\":1,\"name\":\"%s\"},"
             "\"data\":{\"train\":{\"inputs\":\"%s\"}}}",
             again ? "\"model\":\"" TOY_MODEL "\"" : layers, key, file);
}

char *toy_octets(const char *program, long step)
{
    char *line = xasprintf("%s %s %ld\n", program, step == TOY_STEPS ? "model" : "step", step);
    size_t len = strlen(line);
    char *octets = xcalloc(1, LINES * len + 1);
    for (size_t i = 0; i < LINES; i++)
        memcpy(octets + i * len, line, len);
    free(line);
    return octets;
}

long toy_step(const char *program, const void *octets, size_t size)
{
    for (long step = 1; step <= TOY_STEPS; step++) {
        char *right = toy_octets(program, step);
        bool same = strlen(right) == size && memcmp(right, octets, size) == 0;
        free(right);
        if (same)
            return step;
    }
    return -1;
}

json_t *toy_report(long step)
{
    json_t *report =
        json_pack("{s:I,s:i,s:i,s:i,s:i,s:b,s:[[I,f,f]]}", "step", (json_int_t)step, "steps",
                  TOY_STEPS, "epoch", 1, "epochs", 1, "rows", 12, "done", step == TOY_STEPS,
                  "points", (json_int_t)step, 1.0 / (double)step, 0.5);
    if (step == TOY_STEPS)
        json_object_set_new(report, "epoch_end",
                            json_pack("{s:f,s:f}", "loss", 0.5, "accuracy", 0.5));
    return report;
}
