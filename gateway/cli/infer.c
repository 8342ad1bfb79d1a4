/* convoy infer - one online inference from .npy to .npy */
#include "gateway/cli/cli.h"

#include "gateway/cli/tensors.h"

#include "common/npy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct arguments {
    const char *model;      /* NAME or NAME/VERSION */
    const char *inputs[64]; /* [NAME=]FILE.npy */
    uint32_t inputs_len;
    const char *output; /* -o: of the first output; the others get their index before .npy */
};

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct arguments *a = state->input;
    if (key == 'o')
        a->output = argument;
    else if (key == ARGP_KEY_ARG && !a->model)
        a->model = argument;
    else if (key == ARGP_KEY_ARG && a->inputs_len < ARRAY_LEN(a->inputs))
        a->inputs[a->inputs_len++] = argument;
    else if (key == ARGP_KEY_END && a->inputs_len == 0)
        argp_error(state, "a model and an input are needed: convoy infer MODEL IN.npy");
    else
        return ARGP_ERR_UNKNOWN;
    return 0;
}

/* The name of the model's only input, for an argument that is a bare file. */
static enum status only_input(struct client *client, const char *model, char **name,
                              struct error *why)
{
    json_t *answer;
    char *copy = xstrdup(model), *slash = strchr(copy, '/');
    if (slash)
        *slash = '\0';
    char *escaped = client_escape(copy);
    char *path = slash ? xasprintf("/v2/models/%s/versions/%s", escaped, slash + 1)
                       : xasprintf("/v2/models/%s", escaped);
    enum status s = client_get(client, path, &answer, why);
    if (s == STATUS_OK) {
        const json_t *inputs = json_object_get(answer, "inputs");
        if (json_array_size(inputs) == 1)
            *name = xstrdup(json_string_value(json_object_get(json_array_get(inputs, 0), "name")));
        else
            s = fail(why, STATUS_INVALID, "%s has %zu inputs: write NAME=FILE.npy for each", model,
                     json_array_size(inputs));
        json_decref(answer);
    }
    free(path);
    free(escaped);
    free(copy);
    return s;
}

/* Map each file and name it; NAME=FILE splits at the last '='. */
static enum status open_inputs(struct client *client, const struct arguments *a, struct npy *files,
                               struct tensor *tensors, struct error *why)
{
    for (uint32_t i = 0; i < a->inputs_len; i++) {
        const char *equals = strrchr(a->inputs[i], '=');
        char *name = NULL;
        enum status s = npy_map(&files[i], equals ? equals + 1 : a->inputs[i], why);
        if (s == STATUS_OK && equals)
            name = strndup(a->inputs[i], (size_t)(equals - a->inputs[i]));
        else if (s == STATUS_OK)
            s = only_input(client, a->model, &name, why);
        if (s != STATUS_OK)
            return s;
        tensors[i] = (struct tensor){.name = name,
                                     .dtype = files[i].dtype,
                                     .rank = files[i].rank,
                                     .data = (void *)files[i].data,
                                     .bytes = (size_t)files[i].data_bytes};
        memcpy(tensors[i].dims, files[i].dims, sizeof files[i].dims);
    }
    return STATUS_OK;
}

static enum status infer(const struct arguments *a, struct client *client, struct error *why)
{
    struct npy files[64] = {{0}};
    struct tensor tensors[64] = {{0}};
    struct client_outputs outputs = {0};
    enum status s = open_inputs(client, a, files, tensors, why);
    if (s == STATUS_OK)
        s = client_infer(client, a->model, tensors, a->inputs_len, &outputs, why);
    if (s == STATUS_OK && a->output)
        s = tensors_keep(a->output, &outputs, why);
    else if (s == STATUS_OK)
        tensors_print(&outputs);
    client_outputs_free(&outputs);
    for (uint32_t i = 0; i < a->inputs_len; i++) {
        npy_close(&files[i]);
        free((char *)tensors[i].name);
    }
    return s;
}

int cli_infer(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"output", 'o', "OUT.npy", 0, "write the first output there, others as OUT.1.npy, ...", 0},
        {0},
    };
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .args_doc = "MODEL [NAME=]IN.npy...",
        .doc =
            "Run MODEL (NAME or NAME/VERSION) once on .npy inputs and print or keep its outputs.",
        .children = cli_globals,
    };
    struct arguments a = {0};
    struct error why;
    cli_parse(&argp, argc, argv, &a);
    cli_catch_interrupts();
    struct client *client = cli_connect(0);
    enum status s = infer(&a, client, &why);
    client_destroy(&client);
    return s == STATUS_OK ? CLI_EXIT_OK : cli_fail(&why);
}
