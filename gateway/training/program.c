/* program - what workers fetch of a training job: its manifest, network and data */
#include "gateway/training/training.h"

#include "common/file.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MANIFEST_MAX MIB   /* octets of program.json */
#define COPY_BYTES   (MIB) /* a file is copied in pieces of so much */

void program_free(struct program *self)
{
    for (size_t i = 0; i < self->files_len; i++) {
        free(self->files[i].path);
        free(self->files[i].disk);
    }
    free(self->files);
    free(self->manifest);
    *self = (struct program){.manifest = NULL};
}

static struct program_file *add(struct program *self, const char *path, char *disk)
{
    self->files = xrealloc(self->files, (self->files_len + 1) * sizeof *self->files);
    struct program_file *file = &self->files[self->files_len++];
    *file = (struct program_file){.path = xstrdup(path), .disk = disk};
    return file;
}

/* --- uploads ---------------------------------------------------------------------------------- */
/* record.data as files of the program. */
static void add_uploads(const struct training *training, struct program *self)
{
    size_t i;
    json_t *entry, *list = json_loads(training->record.data, 0, NULL);
    json_array_foreach(list, i, entry)
    {
        const char *path = json_string_value(json_object_get(entry, "path"));
        const char *id = json_string_value(json_object_get(entry, "file"));
        const char *sha256 = json_string_value(json_object_get(entry, "sha256"));
        struct uuid upload;
        if (!path || !id || !sha256 || !id_parse(&upload, id))
            continue;
        struct program_file *file = add(self, path, jobs_path(training->all->config.jobs, &upload));
        file->upload = upload;
        file->bytes = (uint64_t)json_integer_value(json_object_get(entry, "bytes"));
        digest_parse(&file->sha256, sha256);
    }
    json_decref(list);
}

void program_pin(struct training *self, bool pin)
{
    struct program uploads = {.manifest = NULL};
    add_uploads(self, &uploads);
    for (size_t i = 0; i < uploads.files_len; i++) {
        struct file *file = jobs_file(self->all->config.jobs, &uploads.files[i].upload);
        if (file && pin)
            file->pins++;
        else if (file && file->pins > 0)
            file->pins--;
    }
    program_free(&uploads);
}

/* --- making ----------------------------------------------------------------------------------- */
struct making {
    struct training *training; /* whose */
    char *folder;              /* of the job */
    json_t *network;           /* to be written; or */
    struct version *version;   /* to be copied */
    struct program program;    /* made */
    struct error why;          /* or why not */
    waiter_call *call;         /* when it is on record */
    void *arg;                 /* for call */
};

static int by_path(const void *a, const void *b)
{
    return strcmp(((const struct program_file *)a)->path, ((const struct program_file *)b)->path);
}

static char *make_manifest(const struct program *self, const char *settings)
{
    char hex[DIGEST_TEXT_SIZE];
    json_t *files = json_array();
    for (size_t i = 0; i < self->files_len; i++)
        json_array_append_new(files, json_pack("{s:s,s:I,s:s}", "path", self->files[i].path,
                                               "bytes", (json_int_t)self->files[i].bytes, "sha256",
                                               digest_text(hex, &self->files[i].sha256)));
    json_t *root = json_pack("{s:{s:o},s:o}", "config", "training", json_loads(settings, 0, NULL),
                             "files", files);
    char *text = json_dumps(root, JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(root);
    return text ? text : xstrdup("{}");
}

static enum status write_network(struct making *self, struct error *why)
{
    char *text = json_dumps(self->network, JSON_COMPACT);
    size_t size = text ? strlen(text) : 0;
    struct program_file *file =
        add(&self->program, "network.json", xasprintf("%s/network.json", self->folder));
    file->bytes = size;
    file->sha256 = digest_of(text, size);
    enum status s = file_write(file->disk, text, size, true, why);
    free(text);
    return s;
}

/* Octets from one descriptor to a draft; *sha256 gets what they are. */
static enum status copy_octets(int from, const char *name, struct file_draft *draft, uint64_t bytes,
                               struct digest *sha256, struct error *why)
{
    struct digester digester;
    char *buffer = xmalloc(COPY_BYTES);
    enum status s = STATUS_OK;
    digest_start(&digester);
    for (uint64_t at = 0; s == STATUS_OK && at < bytes;) {
        size_t size = (size_t)MIN(bytes - at, (uint64_t)COPY_BYTES);
        s = file_pread_all(from, buffer, size, at, name, why);
        if (s == STATUS_OK)
            s = file_pwrite_all(draft->fd, buffer, size, at, draft->path, why);
        digest_add(&digester, buffer, size);
        at += size;
    }
    *sha256 = digest_end(&digester);
    free(buffer);
    return s;
}

/* A file of a version, which may be replaced or removed while the job runs. */
static enum status copy_file(struct making *self, const struct version_file *from,
                             struct error *why)
{
    char *source = xasprintf("%s/%s", self->version->folder, from->path);
    struct program_file *file =
        add(&self->program, from->path, xasprintf("%s/%s", self->folder, from->path));
    struct file_draft draft = {.fd = -1};
    int fd = open(source, O_RDONLY | O_CLOEXEC);
    enum status s = fd < 0 ? file_fail(why, "open", source) : STATUS_OK;
    file->bytes = from->bytes;
    if (s == STATUS_OK)
        s = file_draft_open(&draft, file->disk, why);
    if (s == STATUS_OK)
        s = copy_octets(fd, source, &draft, from->bytes, &file->sha256, why);
    if (s == STATUS_OK && !digest_equal(&file->sha256, &from->sha256))
        s = fail(why, STATUS_CONFLICT, "%s was altered since the model was loaded: load it again",
                 source);
    if (s == STATUS_OK)
        s = file_draft_commit(&draft, true, why);
    file_draft_abort(&draft);
    if (fd >= 0)
        close(fd);
    free(source);
    return s;
}

/* All but what says how it was trained. */
static enum status copy_version(struct making *self, struct error *why)
{
    enum status s = STATUS_OK;
    for (size_t i = 0; i < self->version->files_len && s == STATUS_OK; i++) {
        const struct version_file *file = &self->version->files[i];
        if (strcmp(file->path, "training.json") != 0 && strcmp(file->path, "curve.svg") != 0)
            s = copy_file(self, file, why);
    }
    return s;
}

static void make_work(void *arg)
{
    struct making *self = arg;
    struct program *program = &self->program;
    enum status s = file_mkdirs(self->folder, &self->why);
    if (s == STATUS_OK && self->network)
        s = write_network(self, &self->why);
    if (s == STATUS_OK && self->version)
        s = copy_version(self, &self->why);
    if (s == STATUS_OK) {
        qsort(program->files, program->files_len, sizeof *program->files, by_path);
        program->manifest = make_manifest(program, self->training->record.settings);
        char *path = xasprintf("%s/program.json", self->folder);
        s = file_write(path, program->manifest, strlen(program->manifest), true, &self->why);
        free(path);
    }
    self->why.status = s;
}

static void make_done(void *arg)
{
    struct making *self = arg;
    struct training *training = self->training;
    struct error why = self->why;
    waiter_call *call = self->call;
    void *call_arg = self->arg;
    bool alive = trainings_end(training->all);
    if (alive && why.status == STATUS_OK) {
        training->working = false;
        training->program = self->program;
        training->record.program =
            digest_of(training->program.manifest, strlen(training->program.manifest));
        self->program = (struct program){.manifest = NULL};
    }
    program_free(&self->program);
    version_drop(&self->version);
    json_decref(self->network);
    free(self->folder);
    free(self);
    if (alive && why.status == STATUS_OK)
        training_save(training, call, call_arg);
    else if (alive)
        call(call_arg, why.status, &why);
}

void program_make(struct training *self, json_t *network, struct version *version,
                  waiter_call *call, void *arg)
{
    struct making *making = xcalloc(1, sizeof *making);
    *making = (struct making){.training = self,
                              .folder = training_folder(self),
                              .network = network,
                              .version = version,
                              .call = call,
                              .arg = arg};
    add_uploads(self, &making->program);
    self->working = true;
    trainings_begin(self->all);
    pool_continue(self->all->config.pool, make_work, make_done, making);
}

/* --- after a restart -------------------------------------------------------------------------- */
static void add_own(const struct training *training, struct program *self, const json_t *entry)
{
    const char *path = json_string_value(json_object_get(entry, "path"));
    const char *sha256 = json_string_value(json_object_get(entry, "sha256"));
    for (size_t i = 0; path && i < self->files_len; i++)
        if (strcmp(self->files[i].path, path) == 0)
            return; /* an upload */
    if (!path || !sha256)
        return;
    struct program_file *file = add(self, path, training_path(training, path));
    file->bytes = (uint64_t)json_integer_value(json_object_get(entry, "bytes"));
    digest_parse(&file->sha256, sha256);
}

enum status program_load(struct training *self, struct error *why)
{
    struct program *program = &self->program;
    char *path = training_path(self, "program.json");
    size_t size, i;
    json_t *entry;
    enum status s = file_read(&program->manifest, &size, path, MANIFEST_MAX, why);
    struct digest is = s == STATUS_OK ? digest_of(program->manifest, size) : self->record.program;
    if (s == STATUS_OK && !digest_equal(&is, &self->record.program))
        s = fail(why, STATUS_IO, "%s was altered: its SHA-256 is not the ledger's", path);
    json_t *root = s == STATUS_OK ? json_loadb(program->manifest, size, 0, NULL) : NULL;
    add_uploads(self, program);
    json_array_foreach(json_object_get(root, "files"), i, entry) add_own(self, program, entry);
    json_decref(root);
    free(path);
    return s;
}

/* --- blobs ------------------------------------------------------------------------------------ */
static bool find_in(const struct training *self, const struct digest *id,
                    struct repository_blob *out)
{
    const struct program *program = &self->program;
    if (program->manifest && digest_equal(&self->record.program, id)) {
        *out = (struct repository_blob){.bytes = program->manifest,
                                        .total = strlen(program->manifest)};
        return true;
    }
    for (size_t i = 0; i < program->files_len; i++) {
        if (!digest_equal(&program->files[i].sha256, id))
            continue;
        *out = (struct repository_blob){.path = xstrdup(program->files[i].disk),
                                        .total = program->files[i].bytes};
        return true;
    }
    return false;
}

bool program_find_blob(void *trainings, const struct digest *id, struct repository_blob *out)
{
    const struct trainings *self = trainings;
    for (size_t i = self->all.len; i > 0; i--)
        if (find_in(trainings_at(self, i - 1), id, out))
            return true;
    return false;
}
