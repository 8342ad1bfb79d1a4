/* convoy - the command line: a table of commands over the client library */
#include "gateway/cli/cli.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct command {
    const char *name;
    const char *arguments;
    const char *summary;
    int (*run)(int argc, char **argv);
} commands[] = {
#define COMMAND(name, arguments, summary) {#name, arguments, summary, cli_##name},
#include "gateway/cli/commands.def"
#undef COMMAND
};

static const struct command *find(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

static void print_help(FILE *out)
{
    fputs("convoy - train and run models on a fleet\n\nusage: convoy COMMAND [ARGUMENTS] "
          "[--help]\n\n",
          out);
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        fprintf(out, "  %-9s %-30s %s\n", commands[i].name, commands[i].arguments,
                commands[i].summary);
    fputs("\nEvery command takes --gateway URL (or CONVOY_GATEWAY in the environment);\n"
          "without it, http://127.0.0.1:8000. Where the gateway asks for a key:\n"
          "CONVOY_API_KEY or --key-file FILE; for https with a certificate of your own:\n"
          "CONVOY_CA or --ca FILE.\n\nexit codes:\n",
          out);
#define X(name, code, meaning) fprintf(out, "  %3d  %s\n", code, meaning);
    CLI_EXITS(X)
#undef X
    fputs("\nfirst steps:\n"
          "  convoy up                              start a fleet here\n"
          "  convoy models add MODEL.onnx           in another terminal\n"
          "  convoy score MODEL DATA.npy -o OUT.npy\n",
          out);
}

static int say_unknown(const char *name)
{
    fprintf(stderr, "convoy: there is no command \"%s\"; `convoy help` lists them\n", name);
    return CLI_EXIT_USAGE;
}

int cli_help(int argc, char **argv)
{
    char help[] = "--help";
    if (argc < 2) {
        print_help(stdout);
        return CLI_EXIT_OK;
    }
    if (strcmp(argv[1], "limits") == 0) {
        cli_print_limits();
        return CLI_EXIT_OK;
    }
    const struct command *command = find(argv[1]);
    if (!command)
        return say_unknown(argv[1]);
    if (command->run == cli_help || command->run == cli_version) {
        print_help(stdout);
        return CLI_EXIT_OK;
    }
    char *arguments[] = {argv[1], help, NULL};
    cli_command = xasprintf("convoy %s", command->name); /* until the end: argp exits */
    return command->run(2, arguments);
}

int cli_version(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    puts("convoy " CONVOY_VERSION);
    return CLI_EXIT_OK;
}

int cli_engine(char **argv)
{
    char *program = cli_sibling("convoy-run");
    argv[0] = program;
    execv(program, argv);
    fprintf(stderr, "%s: %s cannot be started: %s\n", cli_command, program, strerror(errno));
    free(program);
    return CLI_EXIT_LOCAL;
}

int cli_run(int argc, char **argv)
{
    (void)argc;
    return cli_engine(argv);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        print_help(stderr);
        return CLI_EXIT_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
        return cli_help(1, argv + 1);
    if (strcmp(argv[1], "--version") == 0)
        return cli_version(1, argv + 1);
    const struct command *command = find(argv[1]);
    if (!command)
        return say_unknown(argv[1]);
    char *name = xasprintf("convoy %s", command->name);
    cli_command = name;
    int code = command->run(argc - 1, argv + 1);
    free(name);
    return fflush(stdout) == 0 ? code : CLI_EXIT_LOCAL;
}
