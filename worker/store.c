/* store - see store.h */
#include "worker/store.h"

#include "common/clock.h"
#include "common/file.h"
#include "worker/store_blob.h"
#include "worker/store_folder.h"
#include "worker/store_program.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define STEP_BYTES  ((uint64_t)4 * MIB) /* hashed in one bite: about 10 ms */
#define FETCHES_MAX 4                   /* versions that are fetched at the same time */
#define PAUSE_NS    NS_PER_S            /* after a gateway said that it is busy */

/* A version; while WORKING its manifest comes first, then its files in order. */
struct version {
    struct digest id;         /* SHA-256 of its manifest */
    struct uuid gateway;      /* asked for what is missing */
    enum store_state state;   /* never STORE_ABSENT */
    struct error why;         /* FAILED */
    struct manifest manifest; /* READY, and WORKING on files */
    bool have_manifest;       /* `manifest` is filled */
    size_t file;              /* WORKING: index of the file that `blob` is */
    struct store_blob blob;   /* WORKING */
    uint64_t progress_ns;     /* WORKING: when something came last */
    uint64_t pause_ns;        /* WORKING: ask for nothing before */
    uint64_t fetched;         /* octets that came */
};

struct store {
    char *folder;              /* where blobs are */
    uint64_t bytes_max;        /* of all blobs */
    uint64_t patience_ns;      /* without progress */
    struct version **versions; /* in the order of wanting; [versions_len] */
    size_t versions_len;
};

enum status store_open(struct store **out, const struct store_config *config, struct error *why)
{
    *out = NULL;
    enum status status = store_folder_open(config->folder, why);
    if (status != STATUS_OK)
        return status;
    struct store *self = xcalloc(1, sizeof *self);
    self->folder = xstrdup(config->folder);
    self->bytes_max = config->bytes_max;
    self->patience_ns = config->patience_ms * NS_PER_MS;
    self->versions = xcalloc(STORE_VERSIONS_MAX, sizeof(struct version *));
    store_program_clean(self->folder);
    *out = self;
    return STATUS_OK;
}

static void version_free(struct version *version)
{
    store_blob_end(&version->blob);
    manifest_free(&version->manifest);
    free(version);
}

void store_close(struct store **self_p)
{
    struct store *self = *self_p;
    if (!self)
        return;
    for (size_t i = 0; i < self->versions_len; i++)
        version_free(self->versions[i]);
    store_program_remove(self->folder);
    free(self->versions);
    free(self->folder);
    free(self);
    *self_p = NULL;
}

static struct version *find(const struct store *self, const struct digest *id)
{
    for (size_t i = 0; i < self->versions_len; i++)
        if (digest_equal(&self->versions[i]->id, id))
            return self->versions[i];
    return NULL;
}

void store_forget(struct store *self, const struct digest *id)
{
    for (size_t i = 0; i < self->versions_len; i++) {
        if (!digest_equal(&self->versions[i]->id, id))
            continue;
        version_free(self->versions[i]);
        self->versions_len--;
        memmove(&self->versions[i], &self->versions[i + 1],
                (self->versions_len - i) * sizeof self->versions[0]);
        return;
    }
}

enum status store_want(struct store *self, const struct digest *id, const struct uuid *gateway,
                       uint64_t now_ns)
{
    struct version *version = find(self, id);
    if (version && version->state != STORE_FAILED)
        return STATUS_OK;
    if (version)
        store_forget(self, id);
    if (self->versions_len == STORE_VERSIONS_MAX)
        return STATUS_BUSY;
    version = xcalloc(1, sizeof *version);
    version->id = *id;
    version->gateway = *gateway;
    version->state = STORE_WORKING;
    version->progress_ns = now_ns;
    store_blob_start(&version->blob, self->folder, id, BLOB_SIZE_UNKNOWN, MANIFEST_BYTES_MAX);
    self->versions[self->versions_len++] = version;
    return STATUS_OK;
}

enum store_state store_state(const struct store *self, const struct digest *id, struct error *why)
{
    const struct version *version = find(self, id);
    if (version && version->state == STORE_FAILED && why)
        *why = version->why;
    return version ? version->state : STORE_ABSENT;
}

const struct manifest *store_manifest(const struct store *self, const struct digest *id)
{
    const struct version *version = find(self, id);
    assert(version && version->state == STORE_READY);
    return &version->manifest;
}

char *store_model_path(const struct store *self, const struct digest *id)
{
    const struct manifest *manifest = store_manifest(self, id);
    return store_folder_path(self->folder, &manifest->files[manifest->model].sha256);
}

enum status store_program_path(const struct store *self, const struct digest *id, char **path,
                               struct error *why)
{
    return store_program_make(self->folder, id, store_manifest(self, id), path, why);
}

void store_touch(struct store *self, const struct digest *id)
{
    const struct version *version = find(self, id);
    if (!version || version->state != STORE_READY)
        return;
    store_folder_touch(self->folder, id);
    for (size_t i = 0; i < version->manifest.files_len; i++)
        store_folder_touch(self->folder, &version->manifest.files[i].sha256);
}

uint64_t store_fetched(const struct store *self, const struct digest *id)
{
    const struct version *version = find(self, id);
    return version ? version->fetched : 0;
}

/* --- steps ------------------------------------------------------------------------------------ */
static bool pinned(void *owner, const struct digest *blob)
{
    const struct store *self = owner;
    for (size_t i = 0; i < self->versions_len; i++) {
        const struct version *version = self->versions[i];
        if (digest_equal(&version->id, blob))
            return true;
        for (size_t f = 0; f < version->manifest.files_len; f++)
            if (digest_equal(&version->manifest.files[f].sha256, blob))
                return true;
    }
    return false;
}

static void give_up(struct version *version)
{
    version->state = STORE_FAILED;
    store_blob_end(&version->blob);
}

static enum status read_manifest(struct store *self, struct version *version)
{
    char *text = NULL;
    size_t size;
    enum status status =
        file_read(&text, &size, version->blob.path, MANIFEST_BYTES_MAX, &version->why);
    if (status == STATUS_OK)
        status = manifest_parse(&version->manifest, text, size, self->bytes_max, &version->why);
    version->have_manifest = status == STATUS_OK;
    free(text);
    return status;
}

/* The blob is done: on to the next file, or ready. */
static enum status advance(struct store *self, struct version *version)
{
    if (!version->have_manifest) {
        enum status status = read_manifest(self, version);
        if (status != STATUS_OK)
            return status;
        version->file = 0;
    } else {
        version->file++;
    }
    store_blob_end(&version->blob);
    if (version->file == version->manifest.files_len) {
        version->state = STORE_READY;
        return STATUS_OK;
    }
    const struct manifest_file *file = &version->manifest.files[version->file];
    store_blob_start(&version->blob, self->folder, &file->sha256, file->bytes, file->bytes);
    return STATUS_OK;
}

static void step_version(struct store *self, struct version *version, uint64_t now_ns)
{
    enum blob_phase before = version->blob.phase;
    enum status status = store_blob_step(&version->blob, STEP_BYTES, &version->why);
    if (status == STATUS_OK && before == BLOB_LOOK && version->blob.phase == BLOB_FETCH) {
        uint64_t bytes = version->have_manifest ? version->blob.bytes : MANIFEST_BYTES_MAX;
        version->progress_ns = now_ns;
        status =
            store_folder_room(self->folder, bytes, self->bytes_max, pinned, self, &version->why);
    }
    if (status == STATUS_OK && version->blob.phase == BLOB_DONE)
        status = advance(self, version);
    if (status == STATUS_OK && version->blob.phase == BLOB_FETCH &&
        now_ns > version->progress_ns + self->patience_ns)
        status = fail(&version->why, STATUS_UNAVAILABLE,
                      "the gateway sent nothing of the model for %" PRIu64 " ms",
                      self->patience_ns / NS_PER_MS);
    if (status != STATUS_OK)
        give_up(version);
}

static bool fetching(const struct version *version)
{
    return version->state == STORE_WORKING && version->blob.phase == BLOB_FETCH;
}

bool store_step(struct store *self, uint64_t now_ns)
{
    bool more = false;
    size_t fetches = 0;
    for (size_t i = 0; i < self->versions_len; i++) {
        struct version *version = self->versions[i];
        if (version->state != STORE_WORKING)
            continue;
        if (fetching(version) && ++fetches > FETCHES_MAX)
            version->progress_ns = now_ns; /* waits for its turn, not for the gateway */
        step_version(self, version, now_ns);
        if (version->state == STORE_WORKING && !fetching(version))
            more = true;
    }
    return more;
}

uint64_t store_next_ns(const struct store *self)
{
    uint64_t soonest = UINT64_MAX;
    for (size_t i = 0; i < self->versions_len; i++) {
        const struct version *version = self->versions[i];
        if (version->state != STORE_WORKING)
            continue;
        if (!fetching(version))
            return 0;
        soonest = MIN(soonest, MAX(store_blob_retry_ns(&version->blob), version->pause_ns));
        soonest = MIN(soonest, version->progress_ns + self->patience_ns);
    }
    return soonest;
}

bool store_next_request(struct store *self, uint64_t now_ns, struct store_request *request)
{
    size_t fetches = 0;
    for (size_t i = 0; i < self->versions_len; i++) {
        struct version *version = self->versions[i];
        if (!fetching(version) || ++fetches > FETCHES_MAX || now_ns < version->pause_ns)
            continue;
        if (!store_blob_ask(&version->blob, now_ns, &request->offset, &request->length))
            continue;
        request->blob = version->blob.digest;
        request->gateway = version->gateway;
        return true;
    }
    return false;
}

/* The gateway has no such blob, or not at the moment. */
static void refused(struct version *version, enum status status, const char *text, uint64_t now_ns)
{
    if (status == STATUS_BUSY || status == STATUS_UNAVAILABLE) {
        version->pause_ns = now_ns + PAUSE_NS;
        store_blob_lost(&version->blob);
        return;
    }
    fail(&version->why, status, "the gateway does not send the model: %s",
         text[0] ? text : status_name(status));
    give_up(version);
}

void store_chunk(struct store *self, const struct digest *blob, uint64_t offset, uint64_t total,
                 enum status status, const char *text, const void *bytes, size_t size,
                 uint64_t now_ns)
{
    for (size_t i = 0; i < self->versions_len; i++) {
        struct version *version = self->versions[i];
        bool news = false;
        if (!fetching(version) || !digest_equal(&version->blob.digest, blob))
            continue;
        if (status != STATUS_OK)
            refused(version, status, text, now_ns);
        else if (store_blob_take(&version->blob, offset, total, bytes, size, &news,
                                 &version->why) != STATUS_OK)
            give_up(version);
        if (news) {
            version->fetched += size;
            version->progress_ns = now_ns;
        }
    }
}

void store_link_lost(struct store *self, uint64_t now_ns)
{
    for (size_t i = 0; i < self->versions_len; i++) {
        if (!fetching(self->versions[i]))
            continue;
        store_blob_lost(&self->versions[i]->blob);
        self->versions[i]->progress_ns = now_ns;
    }
}
