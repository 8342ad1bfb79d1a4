/* build_summary - a network as a table for people, and the page of all layers; see build.h */
#include <inttypes.h>
#include <string.h>

#include "worker/train/build.h"
#include "worker/train/spec_args.h"
#include "worker/train/spec_shapes.h"

#define NAME_WIDTH  44
#define SHAPE_WIDTH 24
#define RULE_WIDTH  84

static void print_rule(FILE *to, char c)
{
    for (int i = 0; i < RULE_WIDTH; i++)
        fputc(c, to);
    fputc('\n', to);
}

/* "1,234,567" */
static const char *grouped(char *into, size_t size, uint64_t number)
{
    char digits[32];
    size_t len = (size_t)snprintf(digits, sizeof digits, "%" PRIu64, number), used = 0;
    for (size_t i = 0; i < len && used + 2 < size; i++) {
        if (i && (len - i) % 3 == 0)
            into[used++] = ',';
        into[used++] = digits[i];
    }
    into[used] = '\0';
    return into;
}

static uint64_t parameters_of(const struct spec_layer *layer, bool trained_only)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < layer->params_len; i++) {
        const struct spec_param *p = &layer->params[i];
        if (!p->stand_in && (p->trainable || !trained_only))
            sum += p->elements;
    }
    return sum;
}

static void print_layer(const struct spec *spec, const struct spec_layer *layer, FILE *to)
{
    char text[160], number[40], name[2 * SPEC_NAME_MAX + 8];
    snprintf(name, sizeof name, "%s (%s)", layer->name, spec_type_name(layer->call.type));
    fprintf(to, "%-*s %-*s %14s\n", NAME_WIDTH, name, SHAPE_WIDTH,
            spec_shape_text(text, sizeof text, &layer->shape),
            grouped(number, sizeof number, parameters_of(layer, false)));
    if (layer->inputs_len > 1)
        for (uint32_t i = 0; i < layer->inputs_len; i++)
            fprintf(to, "  reads %s\n", spec->layers[layer->inputs[i]].name);
}

void build_summary(const struct spec *spec, FILE *to)
{
    uint64_t all = 0, trained = 0;
    char number[40];
    fprintf(to, "Model \"%s\"\n", spec->name);
    print_rule(to, '-');
    fprintf(to, "%-*s %-*s %14s\n", NAME_WIDTH, "Layer (type)", SHAPE_WIDTH, "Shape of a row",
            "Parameters");
    print_rule(to, '=');
    for (uint32_t i = 0; i < spec->layers_len; i++) {
        print_layer(spec, &spec->layers[i], to);
        all += parameters_of(&spec->layers[i], false);
        trained += parameters_of(&spec->layers[i], true);
    }
    print_rule(to, '=');
    fprintf(to, "Parameters: %s", grouped(number, sizeof number, all));
    fprintf(to, " (%s trainable", grouped(number, sizeof number, trained));
    fprintf(to, ", %s not)\n", grouped(number, sizeof number, all - trained));
}

/* One argument: "units", or "padding = valid". */
static void print_arg(const struct spec_arg *arg, const char *comma, FILE *to)
{
    fprintf(to, "%s`%s", comma, arg->name);
    if (arg->fallback)
        fprintf(to, " = %s", arg->fallback);
    fprintf(to, "`");
    if (arg->what[0])
        fprintf(to, " (%s)", arg->what);
}

static void print_args(const struct spec_arg *args, size_t len, FILE *to)
{
    const char *comma = "";
    for (size_t i = 0; i < len; i++)
        if (args[i].type != SPEC_ARG_ONLY && args[i].type != SPEC_ARG_UNUSED) {
            print_arg(&args[i], comma, to);
            comma = ", ";
        }
}

void build_layers_page(FILE *to)
{
    size_t len;
    fprintf(to, "# Layers\n\n"
                "Printed by `make operators` from `train/spec_layers.def`, the list that the "
                "reader itself uses; a test compares.\n"
                "[TRAINING.md](TRAINING.md) shows how a network is written.\n\n"
                "Names, defaults and meaning are Keras's. An argument without a default must be "
                "given. What Keras has besides is\n"
                "accepted with its default, so that its own JSON can be read, and refused by name "
                "otherwise.\n\n"
                "| layer | what it does | arguments |\n| --- | --- | --- |\n| every layer | | ");
    const struct spec_arg *args = spec_args_common(&len);
    print_args(args, len, to);
    fprintf(to, " |\n");
    for (size_t i = 0; i < spec_rows_len; i++) {
        args = spec_args_of((enum spec_type)i, &len);
        fprintf(to, "| %s | %s | ", spec_rows[i].name, spec_rows[i].what);
        print_args(args, len, to);
        fprintf(to, " |\n");
    }
    fprintf(to, "\nActivations: ");
    const char *comma = "";
#define ACTIVATION(name, operator, attribute, value, recurrent)                                    \
    fprintf(to, "%s%s", comma, #name);                                                             \
    comma = ", ";
#include "worker/train/spec_activations.def"
#undef ACTIVATION
    fprintf(to, ".\n\nInitialisers: ");
    comma = "";
#define INIT(name, class, distribution, arg_a, default_a, arg_b, default_b, scale, fan)            \
    fprintf(to, "%s%s", comma, #name);                                                             \
    comma = ", ";
#include "worker/train/spec_inits.def"
#undef INIT
    fprintf(to, ".\n");
}
