/* infer - one online request from its body to its answer
 *
 *   body -> read (here, or in the pool when it is large) -> fleet -> write (likewise) -> reply
 *
 * It lives as long as its HTTP request. A client that leaves cancels the task. What ends two
 * runners becomes a dead letter before it is answered; a letter that is tried again comes the same
 * way, and keeps its answer before that is sent. */
#include "gateway/access/usage.h"
#include "gateway/api/api.h"
#include "gateway/api/inflate.h"
#include "gateway/api/oip_reply.h"
#include "gateway/api/oip_request.h"
#include "gateway/repository/version.h"

#include "common/clock.h"
#include "common/log.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define INLINE_JSON     MIB         /* larger JSON is read in the pool */
#define TRACEPARENT_LEN 55          /* W3C trace context, version 00 */
#define INLINE_TEXT     (256 * KIB) /* more output octets as JSON are written in the pool */

struct infer {
    struct gateway *gateway;     /* whose */
    struct http_request *http;   /* to be answered */
    struct version *version;     /* one reference */
    struct bytes *body;          /* one reference, until it is read */
    uint64_t header;             /* Inference-Header-Content-Length */
    bool packed;                 /* the body is compressed */
    struct oip_request request;  /* read from the body */
    uint64_t arrived_ns;         /* the body was whole */
    uint64_t read_ns;            /* reading took */
    uint64_t task;               /* at the fleet; 0: not there */
    struct fleet_result *result; /* what came */
    struct uuid letter;          /* the dead letter that it is or becomes; zero: none */
    bool retry;                  /* it is one already */
    struct oip_reply reply;      /* made from it */
    struct bytes *answer;        /* of a retry: the same in one piece, for the letter */
    struct error why;            /* of reading or writing */
    enum status outcome;         /* of reading or writing */
};

/* --- the end ------------------------------------------------------------------------------------
 */

static void free_infer(struct infer *self)
{
    if (self->retry && self->gateway->dead) /* NULL: at the very end of the gateway */
        dead_tried(self->gateway->dead, &self->letter);
    bytes_drop(&self->answer);
    oip_reply_free(&self->reply);
    oip_request_free(&self->request);
    fleet_result_free(&self->result);
    bytes_drop(&self->body);
    version_drop(&self->version);
    free(self);
}

static void free_infer_hint(void *arg)
{
    free_infer(arg);
}

static void refuse(struct infer *self, const struct error *why)
{
    struct http_request *http = self->http;
    struct version_stats *stats = self->version->stats;
    stats->failure++;
    stats->failure_ns += clock_mono_ns() - self->arrived_ns;
    if (why->status == STATUS_BUSY || why->status == STATUS_UNAVAILABLE)
        count(COUNT_infer_busy_total, 1);
    if (why->status == STATUS_BUSY) /* its connection is a place for somebody else, too */
        http_reply_header(http, "Connection", "close");
    http_on_gone(http, NULL, NULL);
    http_reply_error(http, why, NULL);
    free_infer(self);
}

static void charge(const struct infer *self)
{
    struct usage *usage = self->gateway->usage;
    const char *tenant = http_caller(self->http)->tenant;
    uint64_t in = 0, out = 0;
    for (size_t i = 0; i < self->request.inputs_len; i++)
        in += self->request.inputs[i].bytes;
    for (size_t i = 0; i < self->result->outputs_len; i++)
        out += self->result->outputs[i].tensor.bytes;
    usage_add(usage, tenant, USAGE_requests_total, 1);
    usage_add(usage, tenant, USAGE_rows_total, self->request.rows);
    usage_add(usage, tenant, USAGE_input_bytes_total, in);
    usage_add(usage, tenant, USAGE_output_bytes_total, out);
    usage_add(usage, tenant, USAGE_compute_ns_total, self->result->compute_ns);
}

static void account(struct infer *self, uint64_t now_ns)
{
    struct version_stats *stats = self->version->stats;
    const struct fleet_result *result = self->result;
    uint64_t waited = result->total_ns - MIN(result->total_ns, result->compute_ns);
    count(COUNT_infer_requests_total, 1);
    count(COUNT_infer_rows_total, self->request.rows);
    stats->success++;
    stats->success_ns += now_ns - self->arrived_ns;
    stats->rows += self->request.rows;
    stats->queue_ns += waited;
    stats->input_ns += self->read_ns;
    stats->infer_ns += result->compute_ns;
    uint64_t before_ns = self->read_ns + result->total_ns;
    stats->output_ns += now_ns - self->arrived_ns - MIN(now_ns - self->arrived_ns, before_ns);
    stats->last_ms = clock_wall_ms();
    charge(self);
}

static void send_reply(struct infer *self)
{
    char text[160];
    uint64_t now_ns = clock_mono_ns();
    struct http_request *http = self->http;
    const struct fleet_result *result = self->result;
    account(self, now_ns);
    snprintf(text, sizeof text, "fleet;dur=%.3f, queue;dur=%.3f, compute;dur=%.3f, total;dur=%.3f",
             (double)result->total_ns / 1e6, (double)result->queue_ns / 1e6,
             (double)result->compute_ns / 1e6, (double)(now_ns - self->arrived_ns) / 1e6);
    http_on_gone(http, NULL, NULL);
    http_reply_header(http, "Server-Timing", text);
    if (self->reply.binary) {
        snprintf(text, sizeof text, "%zu", self->reply.head_size);
        http_reply_header(http, "Inference-Header-Content-Length", text);
        http_reply_pieces(http, 200, "application/octet-stream", self->reply.pieces,
                          self->reply.pieces_len, free_infer_hint, self);
        return;
    }
    struct bytes *json = bytes_take(self->reply.head, self->reply.head_size);
    self->reply.head = NULL;
    http_reply_bytes(http, 200, "application/json", json);
    free_infer(self);
}

/* --- dead letters -------------------------------------------------------------------------------
 */

static void buried(void *arg, enum status status, const struct error *why)
{
    struct infer *self = arg;
    char id[ID_TEXT_SIZE];
    (void)why; /* logged; the client is told of its own trouble */
    if (status == STATUS_OK)
        fail(&self->why, STATUS_CRASHED, "%.800s; it is the dead letter dead-%s",
             self->result->text, id_text(id, &self->letter));
    refuse(self, &self->why);
}

/* The row that was named, or the whole request where none was or rows cannot be cut. */
static void take_inputs(const struct infer *self, struct tensor *inputs)
{
    const struct oip_request *request = &self->request;
    uint64_t row = (uint64_t)self->result->row;
    bool cut = self->result->row >= 0 && self->version->signature.batchable && request->rows > 1;
    memcpy(inputs, request->inputs, request->inputs_len * sizeof *inputs);
    for (size_t i = 0; i < request->inputs_len; i++)
        cut = cut && inputs[i].dtype != DTYPE_BYTES;
    for (size_t i = 0; cut && i < request->inputs_len; i++) {
        inputs[i].bytes /= request->rows;
        inputs[i].data = (char *)inputs[i].data + row * inputs[i].bytes;
        inputs[i].dims[0] = 1;
    }
}

/* It ended two runners. */
static void bury(struct infer *self)
{
    struct dead *dead = self->gateway->dead;
    const struct fleet_result *result = self->result;
    uint32_t attempts = MAX(result->attempt, 2);
    struct tensor inputs[SIGNATURE_VALUES_MAX];
    char version[16];
    http_on_gone(self->http, NULL, NULL);
    if (self->retry) {
        dead_again(dead, &self->letter, result->text, attempts, buried, self);
        return;
    }
    take_inputs(self, inputs);
    snprintf(version, sizeof version, "%" PRIu32, self->version->number);
    const struct letter_about about = {
        .tenant = http_caller(self->http)->tenant,
        .model = self->version->model,
        .version = version,
        .model_id = self->version->id,
        .row = result->row,
        .request = http_request_id(self->http),
        .cause = result->text,
        .worker = result->worker,
        .attempts = attempts,
        .inputs = inputs,
        .inputs_len = self->request.inputs_len,
        .owner = self->request.owner,
    };
    struct letter *letter = dead_letter(dead, &about);
    self->letter = letter->record.id;
    dead_bury(dead, &letter, buried, self);
}

/* --- the result ---------------------------------------------------------------------------------
 */

/* Of a retry, whose outputs are binary: in one piece. */
static struct bytes *gather(const struct oip_reply *reply)
{
    size_t size = 0, used = 0;
    for (size_t i = 0; i < reply->pieces_len; i++)
        size += reply->pieces[i].size;
    struct bytes *whole = bytes_new(size);
    for (size_t i = 0; i < reply->pieces_len; i++) {
        if (reply->pieces[i].size > 0)
            memcpy((char *)whole->data + used, reply->pieces[i].data, reply->pieces[i].size);
        used += reply->pieces[i].size;
    }
    return whole;
}

static void write_work(void *arg)
{
    struct infer *self = arg;
    self->outcome =
        oip_reply_make(&self->reply, &self->request, self->version, self->result, &self->why);
    if (self->outcome == STATUS_OK && self->retry && self->reply.binary)
        self->answer = gather(&self->reply);
}

/* The letter has its answer. Where that cannot be kept, it is sent all the same. */
static void answer_kept(void *arg, enum status status, const struct error *why)
{
    struct infer *self = arg;
    char id[ID_TEXT_SIZE];
    if (status != STATUS_OK)
        LOG_WARN("dead_answer_not_kept", "id=%s why=%s", id_text(id, &self->letter), why->text);
    send_reply(self);
}

static void write_done(void *arg)
{
    struct infer *self = arg;
    struct dead *dead = self->gateway->dead; /* NULL: at the very end of the gateway */
    if (self->outcome != STATUS_OK)
        refuse(self, &self->why);
    else if (self->answer && dead)
        dead_answer(dead, &self->letter, bytes_ref(self->answer), self->reply.head_size,
                    answer_kept, self);
    else
        send_reply(self);
}

static void take_result(void *arg, struct fleet_result *result)
{
    struct infer *self = arg;
    fleet_commit(self->gateway->fleet, result->id);
    self->task = 0;
    self->result = result;
    if (result->status != STATUS_OK) {
        fail(&self->why, result->status, "%s", result->text);
        if (result->status == STATUS_CRASHED)
            bury(self);
        else
            refuse(self, &self->why);
        return;
    }
    http_on_gone(self->http, NULL, NULL); /* it is quickly over now */
    if (self->retry || oip_reply_numbers(&self->request, result) > INLINE_TEXT) {
        pool_continue(self->gateway->pool, write_work, write_done, self);
        return;
    }
    write_work(self);
    write_done(self);
}

static void client_gone(struct http_request *http, void *arg)
{
    struct infer *self = arg;
    struct error why;
    (void)http;
    if (!self->task)
        return; /* the pool has it: it ends there */
    fleet_cancel(self->gateway->fleet, self->task);
    fail(&why, STATUS_CANCELLED, "the client left");
    refuse(self, &why);
}

/* --- the request --------------------------------------------------------------------------------
 */

static void submit(struct infer *self)
{
    static const struct fleet_calls calls = {.result = take_result};
    struct oip_request *request = &self->request;
    uint64_t budget_ms = self->gateway->params->infer_budget_ms;
    const char *traceparent = http_header(self->http, "traceparent");
    const char *tenant = http_caller(self->http)->tenant;
    if (request->timeout_us)
        budget_ms = MIN((request->timeout_us + 999) / 1000, UINT64_C(86400000));
    const struct fleet_task task = {
        .model = self->version->id,
        .model_name = self->version->name,
        .kind = WIRE_KIND_INFER,
        .inputs = request->inputs,
        .inputs_len = request->inputs_len,
        .owner = bytes_ref(request->owner),
        .rows = request->rows,
        .band = request->band,
        .tenant = *tenant ? tenant : NULL,
        .budget_ms = budget_ms,
        .traceparent = traceparent && strlen(traceparent) == TRACEPARENT_LEN ? traceparent : NULL,
        .calls = &calls,
        .arg = self,
    };
    if (fleet_submit(self->gateway->fleet, &task, &self->task, &self->why) == STATUS_OK)
        bytes_drop(&self->body);
    else
        refuse(self, &self->why);
}

static void read_work(void *arg)
{
    struct infer *self = arg;
    uint64_t from_ns = clock_mono_ns();
    self->outcome = STATUS_OK;
    if (self->packed) {
        struct bytes *plain = NULL;
        self->outcome =
            inflate_bytes(&plain, self->body, self->gateway->params->http_body_max, &self->why);
        if (self->outcome == STATUS_OK) {
            bytes_drop(&self->body);
            self->body = plain;
        }
    }
    if (self->outcome == STATUS_OK)
        self->outcome =
            oip_request_read(&self->request, self->body, self->header, self->version, &self->why);
    self->read_ns = clock_mono_ns() - from_ns;
}

static void read_done(void *arg)
{
    struct infer *self = arg;
    if (self->outcome == STATUS_OK && http_is_gone(self->http))
        self->outcome = fail(&self->why, STATUS_CANCELLED, "the client left");
    if (self->outcome == STATUS_OK)
        submit(self);
    else
        refuse(self, &self->why);
}

static enum status read_headers(struct infer *self, struct error *why)
{
    const char *encoding = http_header(self->http, "Content-Encoding");
    const char *header = http_header(self->http, "Inference-Header-Content-Length");
    self->header = OIP_NO_HEADER;
    self->packed = encoding && strcasecmp(encoding, "identity") != 0;
    if (self->packed && !inflate_knows(encoding))
        return fail(why, STATUS_INVALID, "Content-Encoding %.40s: use gzip, deflate or none",
                    encoding);
    if (!header)
        return STATUS_OK;
    size_t len = strlen(header);
    if (len == 0 || len > 12 || strspn(header, "0123456789") != len)
        return fail(
            why, STATUS_INVALID,
            "Inference-Header-Content-Length must be the octets of the JSON part, got %.40s",
            header);
    self->header = strtoull(header, NULL, 10);
    return STATUS_OK;
}

static void begin(struct infer *self)
{
    struct error why;
    size_t json = self->header == OIP_NO_HEADER ? self->body->size : (size_t)self->header;
    http_on_gone(self->http, client_gone, self);
    if (!self->packed && json <= INLINE_JSON) {
        read_work(self);
        read_done(self);
    } else if (pool_submit(self->gateway->pool, read_work, read_done, self) != STATUS_OK) {
        fail(&why, STATUS_BUSY, "too many large requests are being read: retry in a moment");
        refuse(self, &why);
    }
}

/* NULL: why not has been replied. */
static struct infer *find_model(struct gateway *gateway, struct http_request *request,
                                const char *model, const char *number)
{
    struct version *version;
    struct error why;
    enum status s = repository_find(gateway->repository, model, number, &version, &why);
    if (s == STATUS_OK && gateway->draining) {
        version_drop(&version);
        s = fail(&why, STATUS_UNAVAILABLE, "this gateway is shutting down: ask another");
    }
    if (s != STATUS_OK) {
        http_reply_error(request, &why, NULL);
        return NULL;
    }
    struct infer *self = xcalloc(1, sizeof *self);
    self->gateway = gateway;
    self->http = request;
    self->version = version;
    self->arrived_ns = clock_mono_ns();
    return self;
}

void infer_handle(struct http_request *request, void *owner)
{
    struct infer *self = find_model(owner, request, http_capture(request, "model"),
                                    http_capture(request, "version"));
    struct error why;
    if (!self)
        return;
    self->body = http_body_take(request);
    if (read_headers(self, &why) == STATUS_OK)
        begin(self);
    else
        refuse(self, &why);
}

void infer_letter(struct gateway *gateway, struct http_request *request, const struct uuid *letter,
                  const char *model, const char *version, struct bytes *body, uint64_t head_bytes)
{
    struct infer *self = find_model(gateway, request, model, version);
    if (!self) {
        dead_tried(gateway->dead, letter);
        bytes_drop(&body);
        return;
    }
    self->letter = *letter;
    self->retry = true;
    self->body = body;
    self->header = head_bytes;
    begin(self);
}
