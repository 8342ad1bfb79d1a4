/* dead - dead letters: list, look, read the input, try again, drop */
#include "gateway/api/api.h"
#include "gateway/api/jobs_api.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PREFIX   "dead-"
#define LIST_MAX 1000 /* letters of a page */

static json_t *id_json(const char *prefix, const struct uuid *id)
{
    char text[ID_TEXT_SIZE];
    return id_is_zero(id) ? json_null() : json_sprintf("%s%s", prefix, id_text(text, id));
}

static json_t *text_json(const char *text)
{
    return text[0] ? json_string(text) : json_null();
}

static json_t *time_json(int64_t wall_ms)
{
    return wall_ms ? json_integer(wall_ms / 1000) : json_null();
}

static const char *status_text(const struct ledger_dead *letter)
{
    return letter->answered_ms ? "answered" : "dead";
}

static json_t *letter_json(const struct ledger_dead *letter)
{
    json_t *inputs = json_loads(letter->inputs, 0, NULL);
    return json_pack(
        "{s:o,s:s,s:s,s:I,s:s,s:s,s:s,s:o,s:o,s:o,s:o,s:s,s:o,s:I,s:I,s:o,s:o,s:b,s:I,s:o,s:o,s:I}",
        "id", id_json(PREFIX, &letter->id), "object", "dead_letter", "status", status_text(letter),
        "created_at", (json_int_t)(letter->created_ms / 1000), "tenant", letter->tenant, "model",
        letter->model, "model_version", letter->version, "batch_id",
        id_json("batch_", &letter->batch), "request_id", text_json(letter->request), "row",
        letter->row < 0 ? json_null() : json_integer(letter->row), "custom_id",
        text_json(letter->custom_id), "cause", letter->cause, "worker",
        id_json("", &letter->worker), "attempts", (json_int_t)letter->attempts, "retries",
        (json_int_t)letter->retries, "retried_at", time_json(letter->retried_ms), "inputs",
        inputs ? inputs : json_array(), "input_kept", letter->input_bytes > 0, "input_bytes",
        (json_int_t)letter->input_bytes, "input_note", text_json(letter->note), "answered_at",
        time_json(letter->answered_ms), "answer_bytes", (json_int_t)letter->answer_bytes);
}

static bool sees(const struct http_request *request, const struct ledger_dead *letter)
{
    return http_caller_sees(http_caller(request), letter->tenant);
}

/* By the last eight digits of its id, as `convoy dead list` shows it; NULL: none, or several. */
static const struct ledger_dead *find_short(const struct dead *dead, struct http_request *request,
                                            const char *text)
{
    const struct ledger_dead *found = NULL;
    for (size_t i = 0; i < dead_len(dead); i++) {
        char digits[ID_SHORT_SIZE];
        const struct ledger_dead *letter = dead_at(dead, i);
        if (strcmp(id_short(digits, &letter->id), text) != 0 || !sees(request, letter))
            continue;
        if (found)
            return NULL;
        found = letter;
    }
    return found;
}

/* The letter that {id} of the path names; NULL: NOT_FOUND has been replied. */
static const struct ledger_dead *wanted(struct gateway *gateway, struct http_request *request)
{
    struct uuid id;
    const char *text = http_capture(request, "id");
    const struct ledger_dead *letter = api_read_id(&id, PREFIX, text)
                                           ? dead_find(gateway->dead, &id)
                                           : find_short(gateway->dead, request, text);
    if (letter && sees(request, letter))
        return letter;
    http_reply_fail(request, STATUS_NOT_FOUND,
                    "there is no dead letter \"%s\"; GET /v1/dead lists them", text);
    return NULL;
}

/* What a list is asked for. */
struct filter {
    const char *status; /* NULL: any */
    bool of_batch;      /* only those of `batch` */
    struct uuid batch;  /* a job */
    bool paged;         /* only those older than `last` */
    struct uuid last;   /* a letter */
};

/* False: why not has been replied. */
static bool read_filter(struct http_request *request, struct filter *self)
{
    const char *batch = http_query(request, "batch_id"), *status = http_query(request, "status");
    *self = (struct filter){.status = status, .of_batch = batch != NULL};
    self->paged = api_read_id(&self->last, PREFIX, http_query(request, "after"));
    if (batch && !api_read_id(&self->batch, "batch_", batch)) {
        http_reply_fail(request, STATUS_INVALID, "batch_id is \"%.60s\", no job's id", batch);
        return false;
    }
    if (status && strcmp(status, "dead") != 0 && strcmp(status, "answered") != 0) {
        http_reply_fail(request, STATUS_INVALID, "status is \"%.60s\", expected dead or answered",
                        status);
        return false;
    }
    return true;
}

static bool passes(const struct filter *self, const struct ledger_dead *letter)
{
    return (!self->paged || id_compare(&letter->id, &self->last) < 0) &&
           (!self->of_batch || id_equal(&letter->batch, &self->batch)) &&
           (!self->status || strcmp(self->status, status_text(letter)) == 0);
}

static void list_handle(struct http_request *request, void *owner)
{
    const struct gateway *gateway = owner;
    struct filter filter;
    bool more = false;
    size_t limit = 0;
    if (!api_limit(request, 100, LIST_MAX, &limit) || !read_filter(request, &filter))
        return;
    json_t *data = json_array();
    for (size_t i = dead_len(gateway->dead); i > 0 && !more; i--) {
        const struct ledger_dead *letter = dead_at(gateway->dead, i - 1);
        if (!sees(request, letter) || !passes(&filter, letter))
            continue;
        more = json_array_size(data) == limit;
        if (!more)
            json_array_append_new(data, letter_json(letter));
    }
    http_reply_json(request, 200, api_list_json(data, more));
}

static void get_handle(struct http_request *request, void *owner)
{
    const struct ledger_dead *letter = wanted(owner, request);
    if (letter)
        http_reply_json(request, 200, letter_json(letter));
}

/* --- with its files ----------------------------------------------------------------------------
 */
struct opening {
    struct gateway *gateway;
    struct http_request *request; /* to be replied */
    struct uuid letter;           /* whose file is read */
};

static struct opening *opening_of(struct http_request *request, struct gateway *gateway,
                                  const struct ledger_dead *letter)
{
    struct opening *self = xmalloc(sizeof *self);
    *self = (struct opening){gateway, request, letter->id};
    return self;
}

static struct opening *open_letter(struct http_request *request, struct gateway *gateway)
{
    const struct ledger_dead *letter = wanted(gateway, request);
    return letter ? opening_of(request, gateway, letter) : NULL;
}

static void show_part(void *arg, struct bytes *body, uint64_t head_bytes, const struct error *why)
{
    struct opening *self = arg;
    char text[32];
    snprintf(text, sizeof text, "%" PRIu64, head_bytes);
    if (body) {
        http_reply_header(self->request, "Inference-Header-Content-Length", text);
        http_reply_bytes(self->request, 200, "application/octet-stream", body);
    } else {
        http_reply_error(self->request, why, NULL);
    }
    free(self);
}

static void input_handle(struct http_request *request, void *owner)
{
    struct gateway *gateway = owner;
    struct opening *opening = open_letter(request, gateway);
    if (opening)
        dead_read(gateway->dead, &opening->letter, DEAD_INPUT, show_part, opening);
}

static void answer_handle(struct http_request *request, void *owner)
{
    struct gateway *gateway = owner;
    struct opening *opening = open_letter(request, gateway);
    if (opening)
        dead_read(gateway->dead, &opening->letter, DEAD_ANSWER, show_part, opening);
}

static void retry_input(void *arg, struct bytes *body, uint64_t head_bytes, const struct error *why)
{
    struct opening *self = arg;
    struct gateway *gateway = self->gateway;
    const struct ledger_dead *letter = body ? dead_find(gateway->dead, &self->letter) : NULL;
    const char *version = http_query(self->request, "version");
    if (!letter && gateway->dead) /* NULL: at the very end of the gateway */
        dead_tried(gateway->dead, &self->letter);
    if (letter) {
        infer_letter(gateway, self->request, &self->letter, letter->model,
                     version ? version : letter->version, body, head_bytes);
    } else if (body) {
        bytes_drop(&body);
        http_reply_fail(self->request, STATUS_NOT_FOUND, "the dead letter is gone");
    } else {
        http_reply_error(self->request, why, NULL);
    }
    free(self);
}

static void retry_handle(struct http_request *request, void *owner)
{
    struct gateway *gateway = owner;
    const struct ledger_dead *letter = wanted(gateway, request);
    if (!letter)
        return;
    if (letter->answered_ms) { /* asked again, because the answer was lost on its way */
        answer_handle(request, owner);
        return;
    }
    if (!dead_try(gateway->dead, &letter->id)) {
        http_reply_fail(request, STATUS_CONFLICT, "the dead letter is being tried again already");
        return;
    }
    dead_read(gateway->dead, &letter->id, DEAD_INPUT, retry_input,
              opening_of(request, gateway, letter));
}

static void dropped(void *arg, enum status status, const struct error *why)
{
    struct opening *self = arg;
    if (status == STATUS_OK)
        http_reply_json(self->request, 200,
                        json_pack("{s:o,s:s,s:b}", "id", id_json(PREFIX, &self->letter), "object",
                                  "dead_letter", "deleted", 1));
    else
        http_reply_error(self->request, why, NULL);
    free(self);
}

static void drop_handle(struct http_request *request, void *owner)
{
    struct gateway *gateway = owner;
    struct opening *opening = open_letter(request, gateway);
    if (opening)
        dead_drop(gateway->dead, &opening->letter, dropped, opening);
}

static const struct http_route routes[] = {
    {HTTP_GET, "/v1/dead", SCOPE_USE, HTTP_BODY_NONE, list_handle, NULL, NULL},
    {HTTP_GET, "/v1/dead/{id}", SCOPE_USE, HTTP_BODY_NONE, get_handle, NULL, NULL},
    {HTTP_GET, "/v1/dead/{id}/input", SCOPE_USE, HTTP_BODY_NONE, input_handle, NULL, NULL},
    {HTTP_GET, "/v1/dead/{id}/answer", SCOPE_USE, HTTP_BODY_NONE, answer_handle, NULL, NULL},
    {HTTP_POST, "/v1/dead/{id}/retry", SCOPE_USE, HTTP_BODY_NONE, retry_handle, NULL, NULL},
    {HTTP_DELETE, "/v1/dead/{id}", SCOPE_USE, HTTP_BODY_NONE, drop_handle, NULL, NULL},
};

void dead_routes(struct gateway *gateway)
{
    http_server_routes(gateway->http, routes, ARRAY_LEN(routes), gateway);
}
