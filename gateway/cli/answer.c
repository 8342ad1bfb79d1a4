#include "gateway/cli/answer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum status answer_ask(struct client *client, const char *method, const char *before,
                       const char *id, const char *after, json_t **answer, struct error *why)
{
    char *escaped = client_escape(id), *path = xasprintf("%s%s%s", before, escaped, after);
    enum status s = strcmp(method, "GET") == 0
                        ? client_get(client, path, answer, why)
                        : client_call(client, method, path, NULL, NULL, answer, why);
    free(path);
    free(escaped);
    return s;
}

enum status answer_list(struct client *client, const char *path, const char *member,
                        void (*print)(const json_t *list), struct error *why)
{
    json_t *answer;
    enum status s = client_get(client, path, &answer, why);
    if (s != STATUS_OK)
        return s;
    if (cli_options.json)
        answer_print(answer);
    else
        print(json_object_get(answer, member));
    json_decref(answer);
    return STATUS_OK;
}

void answer_print(const json_t *answer)
{
    json_dumpf(answer, stdout, JSON_INDENT(2));
    putchar('\n');
}

const char *answer_text(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text ? text : "";
}
