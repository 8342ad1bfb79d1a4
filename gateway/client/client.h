/* client - Convoy's HTTP API as C calls
 *
 * One client belongs to one thread. Calls block. A call that may safely be repeated (reading, a
 * batch with an idempotency key) is repeated while the gateway cannot be reached, with growing
 * pauses, for `patience_ms`: a restart of the gateway is no error to its caller. Everything else
 * fails at once. Every failure has a sentence; UNAVAILABLE means that the gateway was not reached.
 *
 * JSON answers are jansson objects that the caller owns (json_decref). */
#ifndef CONVOY_GATEWAY_CLIENT_CLIENT_H
#define CONVOY_GATEWAY_CLIENT_CLIENT_H

#include "common/status.h"
#include "common/tensor.h"

#include <jansson.h>

struct client;

struct client_config {
    const char *url;     /* "http://127.0.0.1:8000", "https://..."; copied */
    const char *api_key; /* sent as "Authorization: Bearer"; NULL or "": none; copied */
    const char *ca; /* PEM file that https trusts instead of the system's; NULL: that; copied */
    uint32_t patience_ms; /* how long to try again while nobody answers; 0: not at all */
    /* Told before each pause that the gateway does not answer; may be NULL. */
    void (*waiting)(void *arg, const char *why);
    /* Asked while a transfer runs and between retries: true ends the call with CANCELLED. */
    bool (*stop)(void *arg);
    void *arg; /* for both */
};

/* INVALID when the URL or the key is none. */
enum status client_new(struct client **out, const struct client_config *config, struct error *why);
void client_destroy(struct client **self_p);

/* GET and parse; a safe call. `path` begins with '/'. */
enum status client_get(struct client *self, const char *path, json_t **answer, struct error *why);

/* GET what is no JSON: octets and a NUL, which the caller frees; NULL on failure. */
enum status client_text(struct client *self, const char *path, char **text, struct error *why);

/* POST (or another method) with a JSON body, NULL for none. `idempotency_key` NULL: not repeated.
 */
enum status client_call(struct client *self, const char *method, const char *path,
                        const json_t *body, const char *idempotency_key, json_t **answer,
                        struct error *why);

/* How far a transfer is; `total` is 0 when it is not known. */
typedef void client_progress(void *arg, uint64_t done, uint64_t total);

/* PUT a file as it is; the answer is the object that the gateway made of it. Repeated from the
 * start while the gateway cannot be reached. `progress` may be NULL. */
enum status client_upload(struct client *self, const char *path, const char *file,
                          client_progress *progress, void *arg, json_t **answer, struct error *why);

/* GET into a file: written beside it, synced and renamed when whole. */
enum status client_download(struct client *self, const char *path, const char *file,
                            client_progress *progress, void *arg, struct error *why);

/* Online inference with binary tensors. `model` is NAME or NAME/VERSION. Outputs point into *bytes,
 * which the caller frees; their names are in it as well. */
struct client_outputs {
    char model_version[16];    /* that answered */
    uint32_t len;              /* outputs in use */
    struct tensor tensors[64]; /* in the answer's order */
    void *bytes;               /* what they point into */
    json_t *head;              /* the answer's JSON part, owns the names */
};
enum status client_infer(struct client *self, const char *model, const struct tensor *inputs,
                         uint32_t inputs_len, struct client_outputs *outputs, struct error *why);

/* Whatever else is answered in that form: `list` names the tensors' list in its JSON part,
 * "outputs" or "inputs". GET is a safe call. */
enum status client_tensors(struct client *self, const char *method, const char *path,
                           const char *list, struct client_outputs *tensors, struct error *why);

void client_outputs_free(struct client_outputs *outputs);

/* `text` with everything but letters, digits and -._~ as %XX, for one part of a path or query. */
char *client_escape(const char *text);

#endif
