/* answer - asking for one thing or a list of them, and printing what comes */
#ifndef CONVOY_GATEWAY_CLI_ANSWER_H
#define CONVOY_GATEWAY_CLI_ANSWER_H

#include "gateway/cli/cli.h"

/* Call `before` + id + `after`, where the id is escaped. The caller owns *answer. */
enum status answer_ask(struct client *client, const char *method, const char *before,
                       const char *id, const char *after, json_t **answer, struct error *why);

/* GET a list and print it: as it is with --json, else what `member` holds by `print`. */
enum status answer_list(struct client *client, const char *path, const char *member,
                        void (*print)(const json_t *list), struct error *why);

/* On stdout, indented. */
void answer_print(const json_t *answer);

/* Of an object; "" where there is no such text. */
const char *answer_text(const json_t *object, const char *name);

#endif
