/* disk - defined before the C library's own; see disk.h */
#include "tests/crash/disk.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAMES_MAX 512  /* files and folders below the root in one run */
#define FDS_MAX   4096 /* descriptors */
#define PATH_ROOM 256  /* octets of a path below the root */

struct name {
    char path[PATH_ROOM]; /* relative to the root; "" once unlinked */
    uint32_t file;        /* 0: a folder */
};

struct open_file {
    bool ours;            /* below the root */
    uint32_t file;        /* 0: a folder */
    char path[PATH_ROOM]; /* when it was opened */
};

/* One process, one tape: the functions that stand in for the C library's have no other place. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct disk_tape *tape;
static struct name names[NAMES_MAX];
static size_t names_len;
static uint32_t files_len;
static struct open_file fds[FDS_MAX];

#define REAL(function) ((__typeof__(&function))dlsym(RTLD_NEXT, #function))

/* --- the tape --------------------------------------------------------------------------------- */
struct disk_tape *disk_tape_new(const char *root, size_t room)
{
    void *memory = mmap(NULL, sizeof(struct disk_tape) + room, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        panic("no memory for a tape");
    struct disk_tape *self = memory;
    text_copy(self->root, sizeof self->root, root);
    self->room = room;
    self->bytes = (uint8_t *)memory + sizeof(struct disk_tape);
    return self;
}

void disk_tape_free(struct disk_tape *self)
{
    munmap(self, sizeof *self + self->room);
}

void disk_record(struct disk_tape *to)
{
    pthread_mutex_lock(&lock);
    tape = to;
    memset(names, 0, sizeof names);
    memset(fds, 0, sizeof fds);
    names_len = files_len = 0;
    pthread_mutex_unlock(&lock);
}

static void put(enum disk_op op, uint32_t file, uint64_t offset, const void *data, size_t size)
{
    struct disk_call call = {.op = op, .file = file, .offset = offset, .size = (uint32_t)size};
    size_t whole = (sizeof call + size + 7) & ~(size_t)7;
    if (!tape)
        return;
    if (tape->used + whole > tape->room) {
        tape->over = true;
        return;
    }
    memcpy(tape->bytes + tape->used, &call, sizeof call);
    memcpy(tape->bytes + tape->used + sizeof call, data, size);
    tape->used += whole;
}

static void put_text(enum disk_op op, uint32_t file, const char *text)
{
    put(op, file, 0, text, strlen(text) + 1);
}

void disk_mark(const char *format, ...)
{
    char *text = NULL;
    va_list values;
    va_start(values, format);
    int len = vasprintf(&text, format, values);
    va_end(values);
    if (len < 0)
        panic("no memory for a mark");
    pthread_mutex_lock(&lock);
    put_text(DISK_MARK, 0, text);
    pthread_mutex_unlock(&lock);
    free(text);
}

enum disk_mutant disk_mutant(void)
{
    return tape ? tape->mutant : MUTANT_NONE;
}

const struct disk_call *disk_call_at(const struct disk_tape *self, size_t at, size_t *next)
{
    const struct disk_call *call = (const void *)(self->bytes + at);
    *next = at + ((sizeof *call + call->size + 7) & ~(size_t)7);
    return call;
}

/* --- names ------------------------------------------------------------------------------------ */
/* The path below the root, "" for the root itself; NULL: elsewhere. */
static const char *below(const char *path)
{
    const char *root = tape ? tape->root : NULL;
    size_t len = root ? strlen(root) : 0;
    if (!root || strncmp(path, root, len) != 0 || (path[len] && path[len] != '/'))
        return NULL;
    return path[len] ? path + len + 1 : path + len;
}

static struct name *name_find(const char *path)
{
    for (size_t i = 0; i < names_len; i++)
        if (strcmp(names[i].path, path) == 0)
            return &names[i];
    return NULL;
}

static struct name *name_add(const char *path, uint32_t file)
{
    assert(names_len < NAMES_MAX && strlen(path) < PATH_ROOM);
    struct name *name = &names[names_len++];
    text_copy(name->path, sizeof name->path, path);
    name->file = file;
    return name;
}

static void name_drop(struct name *name)
{
    *name = names[--names_len];
}

static bool is_mutated(const struct open_file *open)
{
    switch (disk_mutant()) {
    case MUTANT_DRAFT_SYNC:
        return open->file && strstr(open->path, ".part-");
    case MUTANT_FOLDER_SYNC:
        return open->file == 0;
    case MUTANT_RESULT_SYNC:
        return open->file && strncmp(open->path, "files/", 6) == 0;
    case MUTANT_LETTER_SYNC:
        return open->file && strncmp(open->path, "dead/", 5) == 0;
    case MUTANT_CHECKPOINT_SYNC:
        return open->file && strstr(open->path, "/checkpoint-");
    case MUTANT_VERSION_SYNC:
        return open->file == 0 && strcmp(open->path, "models/net") == 0;
    case MUTANT_LOG_SYNC:
        return open->file && strstr(open->path, "-wal");
    default:
        return false;
    }
}

/* --- faults ----------------------------------------------------------------------------------- */
/* Is this call, one of those that can fail so, the one that shall? */
static bool turn(enum disk_fault fault)
{
    if (!tape || tape->fault != fault)
        return false;
    uint32_t at = tape->faults++;
    bool fails = at >= tape->fault_at && at - tape->fault_at < MAX(tape->fault_len, 1U);
    if (fails && tape->failed_at == 0)
        tape->failed_at = tape->used;
    return fails;
}

static bool failing(int reason)
{
    errno = reason;
    return true;
}

/* A call that needs `more` octets of the disk. */
static bool no_room(uint64_t more)
{
    return more > 0 && turn(DISK_ENOSPC) ? failing(ENOSPC) : false;
}

static bool broken(void)
{
    return turn(DISK_EIO) ? failing(EIO) : false;
}

static uint64_t growth(int fd, uint64_t end)
{
    struct stat info;
    return fstat(fd, &info) == 0 && end > (uint64_t)info.st_size ? end - (uint64_t)info.st_size : 0;
}

/* --- opening ---------------------------------------------------------------------------------- */
static void opened(int fd, const char *path, int flags, bool fresh)
{
    struct stat info;
    struct name *name = name_find(path);
    if (fd < 0 || fd >= FDS_MAX || fstat(fd, &info) != 0)
        return;
    struct open_file *open = &fds[fd];
    *open = (struct open_file){.ours = true};
    text_copy(open->path, sizeof open->path, path);
    if (S_ISDIR(info.st_mode))
        return;
    if (!name) {
        name = name_add(path, ++files_len);
        if (fresh)
            put_text(DISK_CREATE, name->file, path);
    } else if (flags & O_TRUNC) {
        put(DISK_TRUNCATE, name->file, 0, "", 0);
    }
    open->file = name->file;
}

static int open_file(int (*real)(const char *, int, ...), const char *path, int flags, mode_t mode)
{
    const char *inner = below(path);
    if (!inner)
        return real(path, flags, mode);
    pthread_mutex_lock(&lock);
    struct stat info;
    bool fresh = (flags & O_CREAT) && stat(path, &info) != 0, full = fresh && no_room(1);
    int fd = full ? -1 : real(path, flags, mode);
    int reason = errno;
    opened(fd, inner, flags, fresh);
    pthread_mutex_unlock(&lock);
    errno = reason;
    return fd;
}

static mode_t mode_of(int flags, va_list values)
{
    return flags & (O_CREAT | O_TMPFILE) ? va_arg(values, mode_t) : 0;
}

int open(const char *path, int flags, ...)
{
    va_list values;
    va_start(values, flags);
    mode_t mode = mode_of(flags, values);
    va_end(values);
    return open_file(REAL(open), path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
    va_list values;
    va_start(values, flags);
    mode_t mode = mode_of(flags, values);
    va_end(values);
    return open_file(REAL(open64), path, flags, mode);
}

int close(int fd)
{
    pthread_mutex_lock(&lock);
    if (fd >= 0 && fd < FDS_MAX)
        fds[fd].ours = false;
    int code = REAL(close)(fd);
    pthread_mutex_unlock(&lock);
    return code;
}

/* --- contents --------------------------------------------------------------------------------- */
static struct open_file *of_fd(int fd)
{
    return fd >= 0 && fd < FDS_MAX && fds[fd].ours ? &fds[fd] : NULL;
}

static ssize_t write_at(int fd, const void *bytes, size_t size, off_t offset, bool seeking)
{
    __typeof__(&write) plain = REAL(write);
    __typeof__(&pwrite) placed = REAL(pwrite);
    struct open_file *open = of_fd(fd);
    if (!open)
        return seeking ? plain(fd, bytes, size) : placed(fd, bytes, size, offset);
    pthread_mutex_lock(&lock);
    ssize_t put_bytes = -1;
    size_t wanted = size > 1 && turn(DISK_SHORT) ? size / 2 : size;
    off_t at = seeking ? lseek(fd, 0, SEEK_CUR) : offset;
    if (!no_room(growth(fd, (uint64_t)at + wanted)))
        put_bytes = placed(fd, bytes, wanted, at);
    int reason = errno;
    if (put_bytes > 0)
        put(DISK_WRITE, open->file, (uint64_t)at, bytes, (size_t)put_bytes);
    if (put_bytes > 0 && seeking)
        (void)lseek(fd, at + put_bytes, SEEK_SET);
    pthread_mutex_unlock(&lock);
    errno = reason;
    return put_bytes;
}

ssize_t write(int fd, const void *bytes, size_t size)
{
    return write_at(fd, bytes, size, 0, true);
}

ssize_t pwrite(int fd, const void *bytes, size_t size, off_t offset)
{
    return write_at(fd, bytes, size, offset, false);
}

ssize_t pwrite64(int fd, const void *bytes, size_t size, off_t offset)
{
    return write_at(fd, bytes, size, offset, false);
}

static int set_size(int fd, off_t size, int (*real)(int, off_t))
{
    struct open_file *open = of_fd(fd);
    if (!open)
        return real(fd, size);
    pthread_mutex_lock(&lock);
    int code = real(fd, size);
    if (code == 0)
        put(DISK_TRUNCATE, open->file, (uint64_t)size, "", 0);
    pthread_mutex_unlock(&lock);
    return code;
}

int ftruncate(int fd, off_t size)
{
    return set_size(fd, size, REAL(ftruncate));
}

int ftruncate64(int fd, off_t size)
{
    return set_size(fd, size, REAL(ftruncate64));
}

/* Room that is set aside holds nothing: it is not on the tape. */
int posix_fallocate(int fd, off_t offset, off_t size)
{
    if (!of_fd(fd))
        return REAL(posix_fallocate)(fd, offset, size);
    pthread_mutex_lock(&lock);
    bool full = no_room(growth(fd, (uint64_t)(offset + size)));
    pthread_mutex_unlock(&lock);
    return full ? ENOSPC : REAL(posix_fallocate)(fd, offset, size);
}

static int sync_file(int fd, int (*real)(int))
{
    struct open_file *open = of_fd(fd);
    if (!open)
        return real(fd);
    pthread_mutex_lock(&lock);
    int code = 0;
    if (!is_mutated(open)) {
        code = broken() ? -1 : real(fd);
        if (code == 0 && open->file)
            put(DISK_SYNC, open->file, 0, "", 0);
        else if (code == 0)
            put_text(DISK_SYNC_DIR, 0, open->path);
    }
    pthread_mutex_unlock(&lock);
    return code;
}

int fsync(int fd)
{
    return sync_file(fd, REAL(fsync));
}

int fdatasync(int fd)
{
    return sync_file(fd, REAL(fdatasync));
}

/* --- names ------------------------------------------------------------------------------------ */
/* A folder got another name: so did all below it. */
static void move_names(const char *from, const char *to)
{
    size_t len = strlen(from);
    for (size_t i = 0; i < names_len; i++) {
        char rest[PATH_ROOM];
        if (strncmp(names[i].path, from, len) != 0 || names[i].path[len] != '/')
            continue;
        text_copy(rest, sizeof rest, names[i].path + len);
        assert(strlen(to) + strlen(rest) < PATH_ROOM);
        text_copy(names[i].path, PATH_ROOM, to);
        text_copy(names[i].path + strlen(to), PATH_ROOM - strlen(to), rest);
    }
}

static void put_rename(uint32_t file, const char *from, const char *to)
{
    char both[2 * PATH_ROOM];
    size_t first = strlen(from) + 1, second = strlen(to) + 1;
    memcpy(both, from, first);
    memcpy(both + first, to, second);
    put(DISK_RENAME, file, 0, both, first + second);
}

int rename(const char *from, const char *to)
{
    const char *inner = below(from), *inner_to = below(to);
    if (!inner || !inner_to)
        return REAL(rename)(from, to);
    pthread_mutex_lock(&lock);
    struct stat info;
    bool folder = stat(from, &info) == 0 && S_ISDIR(info.st_mode);
    int code = no_room(1) ? -1 : REAL(rename)(from, to);
    struct name *name = code == 0 && !folder ? name_find(inner) : NULL, *old = NULL;
    if (code == 0 && folder) {
        put_rename(0, inner, inner_to);
        move_names(inner, inner_to);
    } else if (name) {
        put_rename(name->file, inner, inner_to);
        uint32_t file = name->file;
        name_drop(name);
        old = name_find(inner_to);
        if (old)
            name_drop(old);
        name_add(inner_to, file);
    }
    pthread_mutex_unlock(&lock);
    return code;
}

static int remove_name(const char *path, enum disk_op op, int (*real)(const char *))
{
    const char *inner = below(path);
    if (!inner)
        return real(path);
    pthread_mutex_lock(&lock);
    int code = real(path);
    struct name *name = code == 0 ? name_find(inner) : NULL;
    if (name || (code == 0 && op == DISK_RMDIR))
        put_text(op, name ? name->file : 0, inner);
    if (name)
        name_drop(name);
    pthread_mutex_unlock(&lock);
    return code;
}

int unlink(const char *path)
{
    return remove_name(path, DISK_UNLINK, REAL(unlink));
}

int rmdir(const char *path)
{
    return remove_name(path, DISK_RMDIR, REAL(rmdir));
}

int mkdir(const char *path, mode_t mode)
{
    const char *inner = below(path);
    struct stat info;
    if (!inner)
        return REAL(mkdir)(path, mode);
    pthread_mutex_lock(&lock);
    bool fresh = stat(path, &info) != 0;
    int code = fresh && no_room(1) ? -1 : REAL(mkdir)(path, mode);
    if (code == 0 && *inner)
        put_text(DISK_MKDIR, 0, inner);
    pthread_mutex_unlock(&lock);
    return code;
}
