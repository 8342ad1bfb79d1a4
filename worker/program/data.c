/* data - see data.h */
#include "worker/program/data.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/idx.h"
#include "worker/program/data_text.h"

#define CONVERT_BYTES ((uint64_t)MIB) /* read at once */

/* --- files ------------------------------------------------------------------------------------ */
/* What was made of a source is this, or a draft of it: .rows, .rows.part-0123456789abcdef. */
static bool is_made(const char *name)
{
    const char *at = strstr(name, ".rows");
    return at && (!at[5] || at[5] == '.');
}

/* The file of that name with any ending in `folder`, made ones left out; *out is NULL where there
 * is none. Two of them are a mistake. */
static enum status find_file(char **out, const char *folder, const char *name, struct error *why)
{
    size_t len = strlen(name);
    enum status s = STATUS_OK;
    DIR *dir = opendir(folder);
    *out = NULL;
    for (struct dirent *e; dir && s == STATUS_OK && (e = readdir(dir));) {
        const char *end = e->d_name + len;
        if (strncmp(e->d_name, name, len) != 0 || (*end && *end != '.') || is_made(e->d_name))
            continue;
        if (*out)
            s = fail(why, STATUS_INVALID, "%s: more than one file of %s: %s and %s", folder, name,
                     strrchr(*out, '/') + 1, e->d_name);
        else
            *out = xasprintf("%s/%s", folder, e->d_name);
    }
    if (dir)
        closedir(dir);
    return s;
}

static bool is_npy(const char *path)
{
    char magic[6] = "";
    FILE *file = fopen(path, "rb");
    bool npy = file && fread(magic, 1, sizeof magic, file) == sizeof magic &&
               memcmp(magic, "\x93NUMPY", sizeof magic) == 0;
    if (file)
        fclose(file);
    return npy;
}

/* Whether `made` is there and not older than what it is made of. */
static bool is_fresh(const char *made, const char *source)
{
    struct stat then, now;
    if (stat(made, &then) != 0 || stat(source, &now) != 0)
        return false;
    if (then.st_mtim.tv_sec != now.st_mtim.tv_sec)
        return then.st_mtim.tv_sec > now.st_mtim.tv_sec;
    return then.st_mtim.tv_nsec >= now.st_mtim.tv_nsec;
}

/* --- idx -------------------------------------------------------------------------------------- */
static enum status copy_rows(struct idx *from, struct npy_writer *to, struct error *why)
{
    uint64_t each = MAX(1, idx_row_bytes(from)), most = MAX(1, CONVERT_BYTES / each), rows;
    void *buffer = xaligned(most * each);
    enum status s;
    do {
        s = idx_read(from, buffer, most, &rows, why);
        if (s == STATUS_OK && rows)
            s = npy_writer_put(to, buffer, rows * each, why);
    } while (s == STATUS_OK && rows);
    free(buffer);
    return s;
}

static enum status from_idx(const char *path, const char *made, struct error *why)
{
    struct idx *idx;
    struct npy_writer *writer;
    enum status s = idx_open(&idx, path, why);
    if (s != STATUS_OK)
        return s;
    s = npy_writer_open(&writer, made, idx_dtype(idx), idx_rank(idx), idx_dims(idx), why);
    if (s == STATUS_OK)
        s = copy_rows(idx, writer, why);
    if (s == STATUS_OK)
        s = npy_writer_end(&writer, false, why);
    else
        npy_writer_abort(&writer);
    idx_close(&idx);
    return s;
}

/* --- a part ----------------------------------------------------------------------------------- */
/* One file that holds inputs alone, or labels alone. */
static enum status map(struct npy *out, const char *path, const struct data_options *options,
                       bool labels, struct error *why)
{
    if (is_npy(path))
        return npy_map(out, path, why);
    char *made = xasprintf("%s.rows", path);
    enum status s = STATUS_OK;
    if (!is_fresh(made, path) && data_text_is(path))
        s = data_text_convert(path, options, labels ? NULL : made, labels ? made : NULL, why);
    else if (!is_fresh(made, path))
        s = from_idx(path, made, why);
    if (s == STATUS_OK)
        s = npy_map(out, made, why);
    free(made);
    return s;
}

/* A text with labels in it. */
static enum status map_both(struct data *out, const char *path, const struct data_options *options,
                            struct error *why)
{
    char *inputs = xasprintf("%s.rows", path), *labels = xasprintf("%s.labels.rows", path);
    enum status s = STATUS_OK;
    if (!is_fresh(inputs, path) || !is_fresh(labels, path))
        s = data_text_convert(path, options, inputs, labels, why);
    if (s == STATUS_OK)
        s = npy_map(&out->inputs, inputs, why);
    if (s == STATUS_OK)
        s = npy_map(&out->labels, labels, why);
    free(inputs);
    free(labels);
    return s;
}

enum status data_open(struct data *out, const char *part, const struct data_options *options,
                      struct error *why)
{
    char *inputs = NULL, *labels = NULL;
    enum status s = find_file(&inputs, part, "inputs", why);
    *out = (struct data){0};
    if (s == STATUS_OK)
        s = find_file(&labels, part, "labels", why);
    if (s == STATUS_OK && !inputs)
        s = fail(why, STATUS_NOT_FOUND, "%s: there are no inputs", part);
    else if (s == STATUS_OK && !labels && !data_text_is(inputs))
        s = fail(why, STATUS_INVALID, "%s: there are inputs but no labels", part);
    if (s == STATUS_OK && !labels)
        s = map_both(out, inputs, options, why);
    else if (s == STATUS_OK)
        s = map(&out->inputs, inputs, options, false, why);
    if (s == STATUS_OK && labels)
        s = map(&out->labels, labels, options, true, why);
    if (s == STATUS_OK && npy_rows(&out->inputs) != npy_rows(&out->labels))
        s = fail(why, STATUS_INVALID, "%s: %" PRIu64 " inputs, but %" PRIu64 " labels", part,
                 npy_rows(&out->inputs), npy_rows(&out->labels));
    out->rows = s == STATUS_OK ? npy_rows(&out->inputs) : 0;
    free(inputs);
    free(labels);
    return s;
}

void data_close(struct data *self)
{
    npy_close(&self->inputs);
    npy_close(&self->labels);
    self->rows = 0;
}

/* --- order ------------------------------------------------------------------------------------ */
/* The finalizer of SplitMix64: G. Steele, D. Lea, C. Flood, Fast Splittable Pseudorandom Number
 * Generators, 2014. */
static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

#define ROUNDS 6

/* A Feistel network over 2 x `half` bits, run again until what comes out is below n (J. Black,
 * P. Rogaway, Ciphers with Arbitrary Finite Domains, 2002). */
uint64_t data_shuffled(uint64_t i, uint64_t n, uint64_t seed, uint64_t pass)
{
    unsigned half = 1;
    uint64_t key = mix(seed + UINT64_C(0x9e3779b97f4a7c15) * (pass + 1));
    while (half < 32 && (UINT64_C(1) << 2 * half) < n)
        half++;
    uint64_t mask = (UINT64_C(1) << half) - 1;
    assert(i < n);
    do {
        uint64_t left = i >> half, right = i & mask;
        for (uint64_t r = 0; r < ROUNDS; r++) {
            uint64_t next = left ^ (mix(right + key + (r << 56)) & mask);
            left = right;
            right = next;
        }
        i = left << half | right;
    } while (i >= n);
    return i;
}
