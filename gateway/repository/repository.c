/* repository - the table of versions: what is loaded, found, unloaded; see repository.h */
#include "gateway/repository/private.h"

#include "common/clock.h"
#include "common/file.h"
#include "common/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DECIDE_NS (30 * NS_PER_S) /* an answer to a load, loaded or not */

/* A scan under way. */
struct load {
    LIST_ENTRY(load) link;
    struct repository *repository; /* whose */
    struct scan scan;              /* at the pool until done */
    struct waiter *waiter;         /* who wants to hear; NULL: nobody any more */
};

/* --- looking up ---------------------------------------------------------------------------------
 */

static const char *state_name(const struct version *version)
{
    static const char *const names[] = {
        [VERSION_LOADING] = "LOADING",
        [VERSION_READY] = "READY",
        [VERSION_UNAVAILABLE] = "UNAVAILABLE",
    };
    return names[version->state];
}

static enum status read_number(const char *text, uint32_t *number, struct error *why)
{
    size_t len = strlen(text);
    if (len == 0 || len > 9 || strspn(text, "0123456789") != len)
        return fail(why, STATUS_NO_MODEL,
                    "Request for unknown model: version \"%.40s\" is no number", text);
    *number = (uint32_t)strtoul(text, NULL, 10);
    return STATUS_OK;
}

enum status repository_look(struct repository *self, const char *model, const char *version,
                            struct version **out, struct error *why)
{
    uint32_t number = 0;
    struct version *found = NULL;
    bool any = false;
    if (version && *version && read_number(version, &number, why) != STATUS_OK)
        return why->status;
    for (size_t i = 0; i < self->len; i++) {
        struct version *at = self->versions[i];
        if (strcmp(at->model, model) != 0)
            continue;
        any = true;
        bool fits = number ? at->number == number
                           : !found || at->state == VERSION_READY || found->state != VERSION_READY;
        if (fits)
            found = at;
    }
    if (!any && !self->scanned)
        return fail(why, STATUS_UNAVAILABLE,
                    "the gateway has just started and still looks through its models for "
                    "'%.100s': retry in a moment",
                    model);
    if (!any)
        return fail(why, STATUS_NO_MODEL,
                    "Request for unknown model: '%.100s' is not found; POST /v2/repository/index "
                    "lists what is loaded",
                    model);
    if (!found)
        return fail(why, STATUS_NO_MODEL,
                    "Request for unknown model: '%.100s' version %u is not found", model, number);
    *out = version_ref(found);
    return STATUS_OK;
}

enum status repository_find(struct repository *self, const char *model, const char *version,
                            struct version **out, struct error *why)
{
    enum status s = repository_look(self, model, version, out, why);
    if (s != STATUS_OK || (*out)->state == VERSION_READY)
        return s;
    if ((*out)->state == VERSION_LOADING)
        s = fail(why, STATUS_UNAVAILABLE,
                 "model %s is loading: a worker has to look at it first; retry in a moment",
                 (*out)->name);
    else
        s = fail(why, STATUS_BAD_MODEL, "model %s failed to load: %s", (*out)->name,
                 (*out)->reason.text);
    version_drop(out);
    return s;
}

struct version *repository_by_id(struct repository *self, const struct digest *id)
{
    for (size_t i = 0; i < self->len; i++)
        if (digest_equal(&self->versions[i]->id, id))
            return version_ref(self->versions[i]);
    for (size_t i = 0; i < RETIRED_MAX; i++)
        if (self->retired[i] && digest_equal(&self->retired[i]->id, id))
            return version_ref(self->retired[i]);
    return NULL;
}

size_t repository_versions(const struct repository *self, const char *model, uint32_t *numbers,
                           size_t max)
{
    size_t len = 0;
    for (size_t i = 0; i < self->len; i++)
        if (strcmp(self->versions[i]->model, model) == 0 && len++ < max)
            numbers[len - 1] = self->versions[i]->number;
    return len;
}

json_t *repository_index(const struct repository *self, bool ready_only)
{
    char number[16];
    json_t *list = json_array();
    for (size_t i = 0; i < self->len; i++) {
        const struct version *at = self->versions[i];
        if (ready_only && at->state != VERSION_READY)
            continue;
        snprintf(number, sizeof number, "%u", at->number);
        json_t *reason = json_stringn_nocheck(at->reason.text, strlen(at->reason.text));
        json_array_append_new(list, json_pack("{s:s,s:s,s:s,s:o}", "name", at->model, "version",
                                              number, "state", state_name(at), "reason", reason));
    }
    return list;
}

/* --- changing the table -------------------------------------------------------------------------
 */

/* Out of the table; kept a while, since jobs may still run it and workers still fetch it. */
static void retire(struct repository *self, size_t place)
{
    struct version *old = self->versions[place];
    memmove(self->versions + place, self->versions + place + 1,
            (--self->len - place) * sizeof *self->versions);
    repository_inspect_end(self, old);
    if (!old->manifest) {
        version_drop(&old);
        return;
    }
    version_drop(&self->retired[self->retired_next]);
    self->retired[self->retired_next] = old;
    self->retired_next = (self->retired_next + 1) % RETIRED_MAX;
}

static int compare(const struct version *a, const struct version *b)
{
    int order = strcmp(a->model, b->model);
    return order ? order : (a->number > b->number) - (a->number < b->number);
}

static void insert(struct repository *self, struct version *version)
{
    size_t place = 0;
    if (self->len == self->room) {
        self->room = self->room ? 2 * self->room : 16;
        self->versions = xrealloc(self->versions, self->room * sizeof *self->versions);
    }
    while (place < self->len && compare(self->versions[place], version) < 0)
        place++;
    memmove(self->versions + place + 1, self->versions + place,
            (self->len++ - place) * sizeof *self->versions);
    self->versions[place] = version;
}

static void announce(const struct version *version)
{
    char hex[DIGEST_TEXT_SIZE];
    digest_text(hex, &version->id);
    if (version->state == VERSION_UNAVAILABLE)
        LOG_WARN("model", "name=%s state=%s reason=%s", version->name, state_name(version),
                 version->reason.text);
    else
        LOG_INFO("model", "name=%s state=%s id=%.12s", version->name, state_name(version), hex);
}

/* Is `version` in the scan just as the table has it? Then the table's stays, with its statistics.
 */
static bool unchanged(const struct version *version, const struct scan *scan)
{
    for (size_t i = 0; i < scan->len; i++) {
        const struct version *found = scan->versions[i];
        if (compare(found, version) != 0)
            continue;
        bool same = version->manifest && digest_equal(&found->id, &version->id);
        return same && version->state != VERSION_UNAVAILABLE &&
               (version->state == VERSION_READY || found->state != VERSION_READY);
    }
    return false;
}

static bool has(const struct repository *self, const struct version *version)
{
    for (size_t i = 0; i < self->len; i++)
        if (compare(self->versions[i], version) == 0)
            return true;
    return false;
}

static void merge(struct repository *self, struct scan *scan)
{
    for (size_t i = self->len; i-- > 0;) {
        struct version *at = self->versions[i];
        if ((!scan->model || strcmp(at->model, scan->model) == 0) && !unchanged(at, scan))
            retire(self, i);
    }
    for (size_t i = 0; i < scan->len; i++) {
        struct version *found = scan->versions[i];
        if (has(self, found))
            continue;
        insert(self, version_ref(found));
        announce(found);
        if (found->state == VERSION_LOADING)
            repository_inspect(self, found);
    }
}

/* --- loading ------------------------------------------------------------------------------------
 */

static void tell(struct waiter *waiter, const struct error *why)
{
    LIST_REMOVE(waiter, link);
    front_timer_clear(waiter->repository->front, &waiter->timer);
    waiter->done(waiter->arg, why);
    free(waiter->model);
    free(waiter);
}

/* True, and why, when every version that the waiter asked for is decided. */
static bool decided(const struct repository *self, const struct waiter *waiter, struct error *why)
{
    why->status = STATUS_OK;
    for (size_t i = 0; i < self->len; i++) {
        const struct version *at = self->versions[i];
        if (waiter->model && strcmp(at->model, waiter->model) != 0)
            continue;
        if (at->state == VERSION_LOADING)
            return false;
        if (at->state == VERSION_UNAVAILABLE)
            fail(why, STATUS_BAD_MODEL, "failed to load '%s', version %u: %s", at->model,
                 at->number, at->reason.text);
    }
    return true;
}

void repository_decided(struct repository *self)
{
    struct error why;
    struct waiter *next;
    for (struct waiter *waiter = LIST_FIRST(&self->waiters); waiter; waiter = next) {
        next = LIST_NEXT(waiter, link);
        if (waiter->timer.slot && decided(self, waiter, &why))
            tell(waiter, &why);
    }
}

static void too_late(void *arg)
{
    struct waiter *waiter = arg;
    struct error why;
    fail(
        &why, STATUS_UNAVAILABLE,
        "failed to load '%s' in time: no worker has looked at it yet; it goes on loading, see POST "
        "/v2/repository/index",
        waiter->model ? waiter->model : "all models");
    tell(waiter, &why);
}

static void scan_work(void *arg)
{
    struct load *load = arg;
    scan_run(&load->scan);
}

static void scan_done(void *arg)
{
    struct load *load = arg;
    struct repository *self = load->repository;
    struct waiter *waiter = load->waiter;
    LIST_REMOVE(load, link);
    self->scanned = self->scanned || !load->scan.model;
    if (!self->closed && (load->scan.why.status == STATUS_OK || load->scan.model))
        merge(self, &load->scan);
    if (waiter && load->scan.why.status != STATUS_OK)
        tell(waiter, &load->scan.why);
    else if (waiter)
        front_timer_set(self->front, &waiter->timer, front_now_ns(self->front) + DECIDE_NS,
                        too_late, waiter);
    scan_free(&load->scan);
    free(load);
    repository_decided(self);
    repository_pool_back(self);
}

void repository_load(struct repository *self, const char *model,
                     void (*done)(void *arg, const struct error *why), void *arg)
{
    struct waiter *waiter = xcalloc(1, sizeof *waiter);
    struct load *load = xcalloc(1, sizeof *load);
    waiter->repository = load->repository = self;
    waiter->model = model ? xstrdup(model) : NULL;
    waiter->done = done;
    waiter->arg = arg;
    LIST_INSERT_HEAD(&self->waiters, waiter, link);
    load->waiter = waiter;
    load->scan = (struct scan){.root = self->root, .cache = self->cache};
    load->scan.model = model ? xstrdup(model) : NULL;
    LIST_INSERT_HEAD(&self->loads, load, link);
    self->at_pool++;
    pool_continue(self->pool, scan_work, scan_done, load);
}

enum status repository_unload(struct repository *self, const char *model, struct error *why)
{
    bool any = false;
    for (size_t i = self->len; i-- > 0;) {
        if (strcmp(self->versions[i]->model, model) == 0) {
            any = true;
            retire(self, i);
        }
    }
    if (!any)
        return fail(why, STATUS_NO_MODEL, "Request for unknown model: '%.100s' is not loaded",
                    model);
    LOG_INFO("model_unloaded", "name=%s", model);
    repository_decided(self);
    return STATUS_OK;
}

/* --- life ---------------------------------------------------------------------------------------
 */

static void first_scan(void *arg, const struct error *why)
{
    (void)arg;
    if (why->status != STATUS_OK)
        LOG_WARN("models", "why=%s", why->text);
}

enum status repository_open(struct repository **out, const struct repository_config *config,
                            struct error *why)
{
    enum status s = file_mkdirs(config->root, why);
    if (s == STATUS_OK)
        s = file_mkdirs(config->cache, why);
    if (s != STATUS_OK)
        return s;
    struct repository *self = xcalloc(1, sizeof *self);
    self->root = xstrdup(config->root);
    self->cache = xstrdup(config->cache);
    self->front = config->front;
    self->pool = config->pool;
    self->fleet = config->fleet;
    fleet_serve_blobs(self->fleet, repository_blob_get, self);
    repository_load(self, NULL, first_scan, NULL);
    *out = self;
    return STATUS_OK;
}

static void free_all(struct repository *self)
{
    for (size_t i = 0; i < self->len; i++)
        version_drop(&self->versions[i]);
    for (size_t i = 0; i < RETIRED_MAX; i++)
        version_drop(&self->retired[i]);
    free(self->versions);
    free(self->root);
    free(self->cache);
    free(self);
}

void repository_pool_back(struct repository *self)
{
    if (--self->at_pool == 0 && self->closed)
        free_all(self);
}

void repository_close(struct repository **self_p)
{
    struct repository *self = *self_p;
    struct waiter *waiter;
    struct load *load;
    struct error why;
    *self_p = NULL;
    if (!self)
        return;
    self->closed = true;
    fleet_serve_blobs(self->fleet, NULL, NULL);
    repository_inspect_end(self, NULL);
    LIST_FOREACH(load, &self->loads, link)
    load->waiter = NULL;
    fail(&why, STATUS_CANCELLED, "the gateway is shutting down");
    while ((waiter = LIST_FIRST(&self->waiters)))
        tell(waiter, &why);
    if (self->at_pool == 0)
        free_all(self);
}
