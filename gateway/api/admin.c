/* admin - what the fleet is doing: workers, and metrics as Prometheus text */
#include "gateway/access/usage.h"
#include "gateway/api/api.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- workers ------------------------------------------------------------------------------------
 */

/* Names of the versions that a worker has loaded; ids of those that are not in the repository. */
static json_t *loaded_json(struct gateway *gateway, const struct fleet_worker *worker)
{
    char hex[DIGEST_TEXT_SIZE];
    json_t *list = json_array();
    for (size_t i = 0; i < worker->models_len; i++) {
        const struct digest *id = &worker->models[i];
        struct version *version = repository_by_id(gateway->repository, id);
        json_array_append_new(list, json_string(version ? version->name : digest_text(hex, id)));
        version_drop(&version);
    }
    return list;
}

static json_t *worker_json(struct gateway *gateway, const struct fleet_worker *worker)
{
    char id[ID_TEXT_SIZE];
    return json_pack("{s:s,s:o,s:s,s:I,s:I,s:o,s:I,s:I,s:o}", "id", id_text(id, &worker->uuid),
                     "name", json_string_nocheck(worker->name), "state",
                     worker->ready ? "ready" : "leaving", "cores", (json_int_t)worker->cores,
                     "slots", (json_int_t)worker->slots, "mode", json_string_nocheck(worker->mode),
                     "running", (json_int_t)worker->running, "rows", (json_int_t)worker->rows,
                     "models", loaded_json(gateway, worker));
}

/* A question to the brokers under way, and the HTTP request that waits for it. */
struct asked {
    struct gateway *gateway;
    struct http_request *http;
};

static void workers_answer(void *arg, const struct fleet_worker *workers, size_t len,
                           const struct error *why)
{
    struct asked *self = arg;
    if (!workers) {
        http_reply_error(self->http, why, NULL);
        free(self);
        return;
    }
    json_t *list = json_array();
    for (size_t i = 0; i < len; i++)
        json_array_append_new(list, worker_json(self->gateway, &workers[i]));
    http_reply_json(self->http, 200, json_pack("{s:o}", "workers", list));
    free(self);
}

static void workers_handle(struct http_request *request, void *owner)
{
    struct asked *self = xmalloc(sizeof *self);
    *self = (struct asked){owner, request};
    if (fleet_ask_workers(self->gateway->fleet, workers_answer, self) != STATUS_OK) {
        http_reply_fail(request, STATUS_BUSY, "too many questions to the brokers are open: retry");
        free(self);
    }
}

/* --- metrics ------------------------------------------------------------------------------------
 */

static void gauge(FILE *out, const char *name, const char *help, uint64_t value)
{
    fprintf(out, "# HELP convoy_%s %s\n# TYPE convoy_%s gauge\nconvoy_%s %" PRIu64 "\n", name, help,
            name, name, value);
}

static void write_metrics(FILE *out, const struct gateway *gateway)
{
    struct fleet_view view = fleet_view(gateway->fleet);
    for (enum counter c = 0; c < COUNTERS; c++)
        fprintf(out, "# HELP %s %s\n# TYPE %s counter\n%s %" PRIu64 "\n", counter_name(c),
                counter_help(c), counter_name(c), counter_name(c), counted(c));
    gauge(out, "broker_up", "1 with a session with a broker.", view.up);
    gauge(out, "brokers", "Brokers that are known.", view.brokers);
    gauge(out, "brokers_up", "Brokers with a session.", view.brokers_up);
    gauge(out, "workers", "Workers, by the broker that has most.", view.workers);
    gauge(out, "tasks_open", "Tasks under way or waiting.", view.tasks);
    gauge(out, "tasks_unsent", "Tasks that wait for the broker's credit.", view.unsent);
    gauge(out, "online_input_bytes", "Input octets of online tasks under way.", view.online_bytes);
    gauge(out, "dead_letters", "Dead letters that are kept.", dead_len(gateway->dead));
    gauge(out, "dead_letter_bytes", "Octets of their inputs.", dead_bytes(gateway->dead));
    usage_write(gateway->usage, out);
}

static void metrics_handle(struct http_request *request, void *owner)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (!out) {
        http_reply_fail(request, STATUS_INTERNAL, "no memory for a page of metrics");
        return;
    }
    write_metrics(out, owner);
    fclose(out);
    http_reply_bytes(request, 200, "text/plain; version=0.0.4; charset=utf-8",
                     bytes_take(text, size));
}

static const struct http_route routes[] = {
    {HTTP_GET, "/v1/workers", SCOPE_ADMIN, HTTP_BODY_NONE, workers_handle, NULL, NULL},
    {HTTP_GET, "/metrics", SCOPE_ADMIN, HTTP_BODY_NONE, metrics_handle, NULL, NULL},
};

void admin_routes(struct gateway *gateway)
{
    http_server_routes(gateway->http, routes, ARRAY_LEN(routes), gateway);
}
