/* states - a small file system in memory; see states.h */
#include "tests/crash/states.h"

#include "tests/unit/common/testing.h"

#include <fcntl.h>
#include <ftw.h>
#include <sodium.h>
#include <sys/stat.h>

#define FILES_MAX   1024 /* on one tape */
#define PENDING_MAX 8192 /* calls that no fsync has followed yet */
#define SECTOR      512  /* octets that a disk writes whole or not */

struct content {
    uint8_t *bytes; /* on the disk for sure */
    size_t size;    /* octets of them */
};

struct binding {
    const char *path; /* in a call */
    uint32_t file;    /* 0: a folder */
};

struct tree {
    struct binding names[FILES_MAX]; /* in no order */
    size_t len;                      /* how many */
};

struct states {
    char *moved[FILES_MAX];                       /* names in folders that were renamed */
    size_t moved_len;                             /* how many */
    struct content files[FILES_MAX];              /* by number */
    struct tree tree;                             /* names on the disk for sure */
    const struct disk_call *pending[PENDING_MAX]; /* in the order of calls */
    size_t len;                                   /* of `pending` */
};

struct states *states_new(void)
{
    return xcalloc(1, sizeof(struct states));
}

void states_free(struct states *self)
{
    for (size_t i = 0; i < FILES_MAX; i++)
        free(self->files[i].bytes);
    for (size_t i = 0; i < self->moved_len; i++)
        free(self->moved[i]);
    free(self);
}

/* --- calls ------------------------------------------------------------------------------------ */
static void resize(struct content *file, size_t size)
{
    if (size > file->size) {
        file->bytes = xrealloc(file->bytes, size);
        memset(file->bytes + file->size, 0, size - file->size);
    }
    file->size = size;
}

/* Octets `from` to `to` of a write. */
static void apply_write(struct content *file, const struct disk_call *call, size_t from, size_t to)
{
    if (to > from && call->offset + to > file->size)
        resize(file, (size_t)call->offset + to);
    if (to > from)
        memcpy(file->bytes + call->offset + from, call->data + from, to - from);
}

static struct binding *find(struct tree *tree, const char *path)
{
    for (size_t i = 0; i < tree->len; i++)
        if (strcmp(tree->names[i].path, path) == 0)
            return &tree->names[i];
    return NULL;
}

static void bind_name(struct tree *tree, const char *path, uint32_t file)
{
    struct binding *at = find(tree, path);
    if (!at) {
        assert_true(tree->len < FILES_MAX);
        at = &tree->names[tree->len++];
    }
    *at = (struct binding){path, file};
}

static void unbind(struct tree *tree, const char *path, uint32_t file)
{
    struct binding *at = find(tree, path);
    if (at && at->file == file)
        *at = tree->names[--tree->len];
}

static const char *new_name(const struct disk_call *call)
{
    const char *text = (const char *)call->data;
    return call->op == DISK_RENAME ? text + strlen(text) + 1 : text;
}

/* The name of what was at `path` in the folder `from` that is `to` now; it lives as long as `self`.
 */
static const char *moved(struct states *self, const char *path, const char *from, const char *to)
{
    char *text = xasprintf("%s%s", to, path + strlen(from));
    for (size_t i = 0; i < self->moved_len; i++) {
        if (strcmp(self->moved[i], text) == 0) {
            free(text);
            return self->moved[i];
        }
    }
    assert_true(self->moved_len < FILES_MAX);
    return self->moved[self->moved_len++] = text;
}

/* A folder has another name, and with it all that is in it. */
static void move_folder(struct states *self, struct tree *tree, const char *from, const char *to)
{
    size_t len = strlen(from);
    for (size_t i = 0; i < tree->len; i++) {
        const char *path = tree->names[i].path;
        if (strncmp(path, from, len) == 0 && (path[len] == '/' || !path[len]))
            tree->names[i].path = moved(self, path, from, to);
    }
}

static void apply_name(struct states *self, struct tree *tree, const struct disk_call *call)
{
    const char *text = (const char *)call->data;
    switch (call->op) {
    case DISK_CREATE:
    case DISK_MKDIR:
        bind_name(tree, text, call->file);
        break;
    case DISK_RENAME:
        if (call->file == 0) {
            move_folder(self, tree, text, new_name(call));
            break;
        }
        unbind(tree, text, call->file);
        bind_name(tree, new_name(call), call->file);
        break;
    default:
        unbind(tree, text, call->file);
    }
}

static bool is_content(const struct disk_call *call)
{
    return call->op == DISK_WRITE || call->op == DISK_TRUNCATE;
}

static void apply_content(struct content *file, const struct disk_call *call)
{
    if (call->op == DISK_WRITE)
        apply_write(file, call, 0, call->size);
    else
        resize(file, (size_t)call->offset);
}

/* Does an fsync of `folder` put the name that this call changed on the disk? */
static bool in_folder(const struct disk_call *call, const char *folder)
{
    const char *path = new_name(call), *slash = strrchr(path, '/');
    size_t len = slash ? (size_t)(slash - path) : 0;
    return !is_content(call) && strlen(folder) == len && strncmp(path, folder, len) == 0;
}

void states_step(struct states *self, const struct disk_call *call)
{
    size_t kept = 0;
    if (call->op == DISK_MARK)
        return;
    if (call->op != DISK_SYNC && call->op != DISK_SYNC_DIR) {
        assert_true(self->len < PENDING_MAX);
        self->pending[self->len++] = call;
        return;
    }
    for (size_t i = 0; i < self->len; i++) {
        const struct disk_call *at = self->pending[i];
        if (call->op == DISK_SYNC && is_content(at) && at->file == call->file)
            apply_content(&self->files[at->file], at);
        else if (call->op == DISK_SYNC_DIR && in_folder(at, (const char *)call->data))
            apply_name(self, &self->tree, at);
        else
            self->pending[kept++] = at;
    }
    self->len = kept;
}

/* --- building --------------------------------------------------------------------------------- */
struct chance {
    enum loss loss;
    uint64_t detail; /* see enum loss */
};

/* What happened to one write that is on its way. */
static void lose(struct chance *chance, struct content *file, const struct disk_call *call,
                 bool last)
{
    if (chance->loss == LOSS_TORN && last) {
        apply_write(file, call, 0, MIN((size_t)chance->detail, call->size));
    } else if (chance->loss != LOSS_SOME) {
        apply_content(file, call);
    } else if (call->op == DISK_TRUNCATE) {
        if (test_random(&chance->detail) % 2)
            apply_content(file, call);
    } else {
        for (size_t at = 0; at < call->size; at += SECTOR) { /* sectors go to the disk one by one */
            if (test_random(&chance->detail) % 2)
                apply_write(file, call, at, MIN(at + SECTOR, call->size));
        }
    }
}

static struct content content_of(const struct states *self, struct chance *chance, uint32_t file)
{
    struct content content = {NULL, 0};
    resize(&content, self->files[file].size);
    if (content.size)
        memcpy(content.bytes, self->files[file].bytes, content.size);
    for (size_t i = 0; i < self->len && chance->loss != LOSS_ALL; i++) {
        const struct disk_call *call = self->pending[i];
        if (is_content(call) && call->file == file)
            lose(chance, &content, call, i + 1 == self->len);
    }
    return content;
}

static struct tree tree_of(struct states *self, struct chance *chance)
{
    struct tree tree = self->tree;
    for (size_t i = 0; i < self->len && chance->loss != LOSS_ALL; i++) {
        if (is_content(self->pending[i]))
            continue;
        if (chance->loss != LOSS_SOME || test_random(&chance->detail) % 2)
            apply_name(self, &tree, self->pending[i]);
    }
    return tree;
}

static int by_path(const void *a, const void *b)
{
    return strcmp(((const struct binding *)a)->path, ((const struct binding *)b)->path);
}

/* Shared memory of SQLite's, made anew by whoever opens the ledger first; and an empty reserve. */
static bool without_meaning(const char *path)
{
    return strstr(path, "-shm") || strstr(path, "/reserve");
}

static uint64_t mix(uint64_t sum, const void *bytes, size_t size)
{
    static const uint8_t key[crypto_shorthash_KEYBYTES];
    uint64_t hash;
    crypto_shorthash((uint8_t *)&hash, bytes, size, key);
    return (sum ^ hash) * UINT64_C(0x9e3779b97f4a7c15) + 1;
}

static void write_out(const char *folder, const struct binding *name, const struct content *content)
{
    char *path = xasprintf("%s/%s", folder, name->path);
    if (name->file == 0) {
        (void)mkdir(path, 0755); /* fails where its own folder is lost: then so is it */
    } else {
        int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        if (fd >= 0 && content->size)
            assert_int_equal(write(fd, content->bytes, content->size), content->size);
        if (fd >= 0)
            close(fd);
    }
    free(path);
}

bool states_build(struct states *self, enum loss loss, uint64_t detail, const char *folder,
                  bool (*seen)(void *arg, uint64_t id), void *arg)
{
    struct chance chance = {loss, detail};
    struct tree tree = tree_of(self, &chance);
    struct content *contents = xcalloc(tree.len + 1, sizeof *contents);
    uint64_t id = 0;
    qsort(tree.names, tree.len, sizeof *tree.names, by_path); /* a folder before what is in it */
    for (size_t i = 0; i < tree.len; i++) {
        const struct binding *name = &tree.names[i];
        if (without_meaning(name->path))
            continue;
        id = mix(id, name->path, strlen(name->path));
        if (name->file) {
            contents[i] = content_of(self, &chance, name->file);
            id = mix(id, contents[i].bytes, contents[i].size);
        }
    }
    bool fresh = !seen(arg, id);
    if (fresh) {
        states_remove(folder);
        assert_int_equal(mkdir(folder, 0755), 0);
    }
    for (size_t i = 0; i < tree.len; i++) {
        if (fresh && !without_meaning(tree.names[i].path))
            write_out(folder, &tree.names[i], &contents[i]);
        free(contents[i].bytes);
    }
    free(contents);
    return fresh;
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *place)
{
    (void)info;
    (void)kind;
    (void)place;
    return remove(path);
}

void states_remove(const char *folder)
{
    (void)nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}
