/* store_program - see store_program.h */
#include "worker/store_program.h"

#include "common/file.h"

#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PREFIX  "program-"
#define FDS_MAX 16 /* open at the same time while a tree is removed */

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *at)
{
    (void)info;
    (void)kind;
    (void)at;
    remove(path);
    return 0;
}

/* What cannot be removed stays: it is in nobody's way. */
static void remove_tree(const char *path)
{
    nftw(path, remove_one, FDS_MAX, FTW_DEPTH | FTW_PHYS);
}

static char *folder_of(const char *store, pid_t pid)
{
    return xasprintf("%s/" PREFIX "%d", store, (int)pid);
}

void store_program_clean(const char *store)
{
    DIR *dir = opendir(store);
    for (const struct dirent *e; dir && (e = readdir(dir));) {
        if (strncmp(e->d_name, PREFIX, strlen(PREFIX)) != 0)
            continue;
        long pid = strtol(e->d_name + strlen(PREFIX), NULL, 10);
        if (pid <= 0 || (kill((pid_t)pid, 0) != 0 && errno == ESRCH) || pid == getpid()) {
            char *path = xasprintf("%s/%s", store, e->d_name);
            remove_tree(path);
            free(path);
        }
    }
    if (dir)
        closedir(dir);
}

void store_program_remove(const char *store)
{
    char *path = folder_of(store, getpid());
    remove_tree(path);
    free(path);
}

/* From FOLDER/program-PID/ID/a/b up to FOLDER: two levels, and one for each '/' in the path. */
static enum status link_blob(const char *folder, const struct manifest_file *file,
                             struct error *why)
{
    char name[DIGEST_TEXT_SIZE], up[3 * 64] = "../../";
    char *path = xasprintf("%s/%s", folder, file->path), *slash = strrchr(path, '/');
    enum status s = STATUS_OK;
    size_t levels = 0;
    for (const char *c = file->path; *c; c++)
        levels += *c == '/';
    if (levels > 32)
        s = fail(why, STATUS_BAD_MODEL, "manifest: %.200s lies too deep", file->path);
    for (size_t i = 0; i < levels && s == STATUS_OK; i++)
        strcat(up, "../"); /* NOLINT: 32 of them fit */
    *slash = '\0';
    if (s == STATUS_OK)
        s = file_mkdirs(path, why);
    *slash = '/';
    char *target = xasprintf("%s%s", up, digest_text(name, &file->sha256));
    if (s == STATUS_OK && symlink(target, path) != 0 && errno != EEXIST)
        s = file_fail(why, "link to a blob", path);
    free(target);
    free(path);
    return s;
}

/* Folders of other programs of this process. */
static void remove_others(const char *folder, const char *name)
{
    DIR *dir = opendir(folder);
    for (const struct dirent *e; dir && (e = readdir(dir));) {
        if (e->d_name[0] == '.' || strcmp(e->d_name, name) == 0)
            continue;
        char *path = xasprintf("%s/%s", folder, e->d_name);
        remove_tree(path);
        free(path);
    }
    if (dir)
        closedir(dir);
}

enum status store_program_make(const char *store, const struct digest *id,
                               const struct manifest *manifest, char **path, struct error *why)
{
    char name[DIGEST_TEXT_SIZE];
    char *mine = folder_of(store, getpid());
    char *folder = xasprintf("%s/%s", mine, digest_text(name, id));
    enum status s = file_mkdirs(folder, why);
    remove_others(mine, name);
    for (size_t i = 0; i < manifest->files_len && s == STATUS_OK; i++)
        s = link_blob(folder, &manifest->files[i], why);
    free(mine);
    if (s != STATUS_OK) {
        free(folder);
        folder = NULL;
    }
    *path = folder;
    return s;
}
