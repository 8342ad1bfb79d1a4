/* cli - shared options, errors and interrupts; see cli.h */
#include "gateway/cli/cli.h"

#include "common/file.h"

#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define GATEWAY_DEFAULT "http://127.0.0.1:8000"

struct cli_options cli_options;
const char *cli_command = "convoy";

/* --- options that every command has -------------------------------------------------------------
 */

enum { OPTION_JSON = 0x1000, OPTION_CA, OPTION_KEY_FILE };

static const struct argp_option global_rows[] = {
    {"gateway", 'g', "URL", 0, "where the gateway is (CONVOY_GATEWAY; " GATEWAY_DEFAULT ")", 90},
    {"ca", OPTION_CA, "FILE", 0, "certificate that signed the gateway's, PEM (CONVOY_CA)", 90},
    {"key-file", OPTION_KEY_FILE, "FILE", 0, "file with the API key (or CONVOY_API_KEY=KEY)", 90},
    {"json", OPTION_JSON, NULL, 0, "print the result as JSON", 90},
    {"quiet", 'q', NULL, 0, "no progress, only the result", 90},
    {0},
};

static error_t parse_global(int key, char *argument, struct argp_state *state)
{
    (void)state;
    if (key == 'g')
        cli_options.gateway = argument;
    else if (key == OPTION_CA)
        cli_options.ca = argument;
    else if (key == OPTION_KEY_FILE)
        cli_options.key_file = argument;
    else if (key == OPTION_JSON)
        cli_options.json = true;
    else if (key == 'q')
        cli_options.quiet = true;
    else
        return ARGP_ERR_UNKNOWN;
    return 0;
}

static const struct argp global_argp = {.options = global_rows, .parser = parse_global};
const struct argp_child cli_globals[] = {{&global_argp, 0, "Everywhere:", 90}, {0}};

void cli_parse(const struct argp *argp, int argc, char **argv, void *input)
{
    argp_err_exit_status = CLI_EXIT_USAGE;
    argv[0] = (char *)cli_command; /* argp names the program by it */
    argp_parse(argp, argc, argv, 0, NULL, input);
}

/* --- interrupts ---------------------------------------------------------------------------------
 */

static volatile sig_atomic_t interrupts;

static void on_interrupt(int number)
{
    (void)number;
    if (interrupts++ > 0)
        _exit(CLI_EXIT_INTERRUPTED);
}

void cli_catch_interrupts(void)
{
    struct sigaction action = {.sa_handler = on_interrupt};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

bool cli_interrupted(void *arg)
{
    (void)arg;
    return interrupts > 0;
}

/* --- the gateway --------------------------------------------------------------------------------
 */

static void say_waiting(void *arg, const char *why)
{
    static bool said;
    (void)arg;
    if (!said && !cli_options.quiet)
        fprintf(stderr, "%s: %s; trying again ...\n", cli_command, why);
    said = true;
}

/* The API key, "" for none; the caller frees it. Never from the arguments: everybody sees those. */
static enum status find_key(char **key, struct error *why)
{
    size_t size;
    const char *given = getenv("CONVOY_API_KEY");
    if (!cli_options.key_file) {
        *key = xstrdup(given ? given : "");
        return STATUS_OK;
    }
    enum status s = file_read(key, &size, cli_options.key_file, 4 * KIB, why);
    if (s != STATUS_OK)
        return fail_in(why, "--key-file");
    (*key)[strcspn(*key, "\r\n")] = '\0';
    return STATUS_OK;
}

struct client *cli_connect(uint32_t patience_ms)
{
    struct error why;
    struct client *client;
    char *key = NULL;
    if (!cli_options.gateway)
        cli_options.gateway = getenv("CONVOY_GATEWAY");
    if (!cli_options.gateway || !cli_options.gateway[0])
        cli_options.gateway = GATEWAY_DEFAULT;
    const char *ca = getenv("CONVOY_CA");
    if (!cli_options.ca && ca && *ca)
        cli_options.ca = ca;
    if (find_key(&key, &why) != STATUS_OK)
        exit(cli_fail(&why));
    struct client_config config = {.url = cli_options.gateway,
                                   .api_key = key,
                                   .ca = cli_options.ca,
                                   .patience_ms = patience_ms,
                                   .waiting = say_waiting,
                                   .stop = cli_interrupted};
    if (client_new(&client, &config, &why) != STATUS_OK)
        exit(cli_fail(&why));
    free(key);
    return client;
}

enum status cli_connect_present(struct client **out, struct error *why)
{
    json_t *answer = NULL;
    struct client *client = cli_connect(0);
    enum status s = client_get(client, "/v2/health/live", &answer, why);
    json_decref(answer);
    client_destroy(&client);
    *out = s == STATUS_OK ? cli_connect(CLI_PATIENCE_MS) : NULL;
    return s;
}

int cli_fail(const struct error *why)
{
    static const struct {
        enum status status;
        enum cli_exit exit;
        const char *hint;
    } rows[] = {
        {STATUS_UNAVAILABLE, CLI_EXIT_UNREACHABLE,
         "is a fleet running? `convoy up` starts one; --gateway says where another is"},
        {STATUS_CANCELLED, CLI_EXIT_INTERRUPTED, NULL},
        {STATUS_BAD_MODEL, CLI_EXIT_BAD_MODEL, NULL},
        {STATUS_NO_MODEL, CLI_EXIT_REFUSED, "`convoy models list` shows what is there"},
        {STATUS_UNAUTHORIZED, CLI_EXIT_REFUSED,
         "set CONVOY_API_KEY to a key of this gateway, or give --key-file FILE"},
        {STATUS_IO, CLI_EXIT_LOCAL, NULL},
        {STATUS_STORAGE_FULL, CLI_EXIT_LOCAL, NULL},
    };
    fprintf(stderr, "%s: %s\n", cli_command, why->text);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (rows[i].status != why->status)
            continue;
        if (rows[i].hint)
            fprintf(stderr, "hint: %s\n", rows[i].hint);
        return (int)rows[i].exit;
    }
    return CLI_EXIT_REFUSED;
}

long long cli_seconds(const char *text)
{
    static const struct {
        char letter;
        long long seconds;
    } units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}};
    size_t digits = strspn(text, "0123456789");
    if (digits == 0 || digits > 9 || !text[digits] || text[digits + 1])
        return -1;
    for (size_t i = 0; i < ARRAY_LEN(units); i++)
        if (units[i].letter == text[digits]) {
            long long seconds = strtoll(text, NULL, 10) * units[i].seconds;
            return seconds > 0 && seconds <= 36600LL * 86400 ? seconds : -1;
        }
    return -1;
}

char *cli_sibling(const char *program)
{
    char self[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    if (length < 0)
        return xstrdup(program);
    self[length] = '\0';
    return xasprintf("%s/%s", dirname(self), program);
}
