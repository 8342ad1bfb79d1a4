/* convoy workers - who computes, and how much */
#include "gateway/cli/answer.h"
#include "gateway/cli/table.h"

#include <inttypes.h>
#include <stdio.h>

static error_t parse(int key, char *argument, struct argp_state *state)
{
    (void)argument;
    if (key == ARGP_KEY_ARG)
        argp_error(state, "this command takes no argument");
    return ARGP_ERR_UNKNOWN;
}

static void print_workers(const json_t *list)
{
    size_t i;
    json_t *worker;
    struct table *table = table_new("NAME", "STATE", "CORES", "MODE", "RUNNING", "ROWS DONE", NULL);
    json_array_foreach(list, i, worker)
    {
        const char *mode = json_string_value(json_object_get(worker, "mode"));
        table_cell(table, "%s", json_string_value(json_object_get(worker, "name")));
        table_cell(table, "%s", json_string_value(json_object_get(worker, "state")));
        table_number(table, json_integer_value(json_object_get(worker, "cores")));
        table_cell(table, "%s", mode ? mode : "-");
        table_number(table, json_integer_value(json_object_get(worker, "running")));
        table_number(table, json_integer_value(json_object_get(worker, "rows")));
    }
    table_print(table, stdout);
    table_destroy(&table);
    if (json_array_size(list) == 0)
        puts("no worker is connected; start one with: convoy-worker --brokers tcp://HOST:PORT");
}

int cli_workers(int argc, char **argv)
{
    static const struct argp argp = {
        .parser = parse,
        .doc = "Show the workers that are connected to the brokers.",
        .children = cli_globals,
    };
    struct error why;
    cli_parse(&argp, argc, argv, NULL);
    struct client *client = cli_connect(0);
    enum status s = answer_list(client, "/v1/workers", "workers", print_workers, &why);
    client_destroy(&client);
    return s == STATUS_OK ? CLI_EXIT_OK : cli_fail(&why);
}
