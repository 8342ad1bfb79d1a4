/* run_report - see run_report.h */
#include "worker/run_report.h"
#include "worker/run_texts.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/npy.h"

#define ROWS_MAX 100000 /* as many nodes as a graph may have */

json_t *report_text_json(const char *text)
{
    json_t *j = json_string(text);
    if (j)
        return j;
    char *copy = xstrdup(text);
    for (char *c = copy; *c; c++)
        if ((unsigned char)*c >= 0x80)
            *c = '?';
    j = json_string(copy);
    free(copy);
    return j;
}

static json_t *dims_json(const struct tensor *t)
{
    json_t *dims = json_array();
    for (uint32_t k = 0; k < t->rank; k++)
        json_array_append_new(dims, json_integer(t->dims[k]));
    return dims;
}

json_t *report_tensor_json(const struct tensor *t)
{
    json_t *j = json_object();
    json_object_set_new(j, "name", report_text_json(t->name));
    json_object_set_new(j, "dtype", json_string(dtype_name(t->dtype)));
    json_object_set_new(j, "shape", dims_json(t));
    return j;
}

void report_print_json(json_t *j)
{
    json_dumpf(j, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
    putchar('\n');
    json_decref(j);
}

static enum status write_json(json_t *j, const char *path, struct error *why)
{
    char *text = json_dumps(j, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
    enum status s = file_write(path, text, strlen(text), false, why);
    free(text);
    return s;
}

static enum status write_output(const struct tensor *t, const char *dir, const char *file,
                                struct error *why)
{
    char *path = xasprintf("%s/%s", dir, file);
    enum status s =
        t->dtype == DTYPE_BYTES ? texts_save(path, t, why) : npy_write(path, t, false, why);
    if (s == STATUS_UNSUPPORTED)
        fail_in(why, "output \"%.200s\"", t->name);
    free(path);
    return s;
}

static int longest_first(const void *a, const void *b)
{
    const struct profile_row *x = a, *y = b;
    return x->ns < y->ns ? 1 : x->ns > y->ns ? -1 : 0;
}

/* Longest first; free() them. */
static struct profile_row *sorted_rows(const struct model *model, size_t *len)
{
    struct profile_row *rows = xcalloc(ROWS_MAX, sizeof *rows);
    *len = model_profile_rows(model, rows, ROWS_MAX);
    qsort(rows, *len, sizeof *rows, longest_first);
    return rows;
}

static double gflops(const struct profile_row *row)
{
    return row->ns ? 2.0 * (double)row->macs / (double)row->ns : 0;
}

static json_t *profile_json(const struct model *model)
{
    size_t len;
    struct profile_row *rows = sorted_rows(model, &len);
    json_t *list = json_array();
    for (size_t i = 0; i < len; i++) {
        json_t *j = json_object();
        json_object_set_new(j, "node", report_text_json(rows[i].name));
        json_object_set_new(j, "operator", json_string(rows[i].op));
        json_object_set_new(j, "kernel", json_string(rows[i].kernel ? rows[i].kernel : ""));
        json_object_set_new(j, "calls", json_integer((json_int_t)rows[i].calls));
        json_object_set_new(j, "us", json_real((double)rows[i].ns / 1e3));
        json_object_set_new(j, "macs", json_integer((json_int_t)rows[i].macs));
        json_object_set_new(j, "gflops", json_real(gflops(&rows[i])));
        json_array_append_new(list, j);
    }
    free(rows);
    return list;
}

/* Columns are as wide as their longest text. */
struct widths {
    int op, kernel;
};

static void print_row(const struct profile_row *row, const struct widths *w, uint64_t total_ns)
{
    char rate[32] = "";
    if (row->macs)
        snprintf(rate, sizeof rate, "%.2f", gflops(row));
    printf("%11.2f %6.1f%% %9s %8" PRIu64 "  %-*s  %-*s  %s\n",
           (double)row->ns / (double)row->calls / 1e3,
           total_ns ? 100.0 * (double)row->ns / (double)total_ns : 0.0, rate, row->calls, w->op,
           row->op, w->kernel, row->kernel ? row->kernel : "", row->name);
}

void report_profile(const struct model *model)
{
    size_t len;
    struct profile_row *rows = sorted_rows(model, &len);
    struct profile_row all = {.name = "", .op = "all nodes", .calls = 1};
    struct widths w = {9, 6};
    for (size_t i = 0; i < len; i++) {
        all.ns += rows[i].ns;
        all.macs += rows[i].macs;
        all.calls = MAX(all.calls, rows[i].calls);
        w.op = MAX(w.op, (int)strlen(rows[i].op));
        w.kernel = MAX(w.kernel, rows[i].kernel ? (int)strlen(rows[i].kernel) : 0);
    }
    printf("%11s %7s %9s %8s  %-*s  %-*s  %s\n", "us/call", "share", "GFLOP/s", "calls", w.op,
           "operator", w.kernel, "kernel", "node");
    for (size_t i = 0; i < len; i++)
        print_row(&rows[i], &w, all.ns);
    print_row(&all, &w, all.ns);
    free(rows);
}

enum status report_outputs(const struct model *model, const struct batches *batches,
                           const struct run_times *times, const char *dir, bool json, bool profile,
                           struct error *why)
{
    json_t *root = json_object(), *list = json_array();
    enum status s = file_mkdirs(dir, why);
    for (uint32_t i = 0; i < model_signature(model)->outputs_len && s == STATUS_OK; i++) {
        const struct tensor *t = batches_output(batches, i);
        char file[16], dims[160];
        snprintf(file, sizeof file, t->dtype == DTYPE_BYTES ? "%03u.json" : "%03u.npy", i);
        s = write_output(t, dir, file, why);
        json_t *j = report_tensor_json(t);
        json_object_set_new(j, "file", json_string(file));
        json_array_append_new(list, j);
        if (!json && s == STATUS_OK)
            printf("%s  %s %s  %s/%s\n", t->name, dtype_name(t->dtype),
                   dims_text(dims, sizeof dims, t->dims, t->rank), dir, file);
    }
    json_object_set_new(root, "outputs", list);
    json_object_set_new(root, "load_ms", json_real(times->load_ms));
    json_object_set_new(root, "arena_bytes", json_integer((json_int_t)model_arena_bytes(model)));
    json_object_set_new(root, "run_us_min", json_real(times->us_min));
    json_object_set_new(root, "run_us_median", json_real(times->us_median));
    char *path = xasprintf("%s/outputs.json", dir);
    if (s == STATUS_OK)
        s = write_json(root, path, why);
    free(path);
    if (s == STATUS_OK && json) {
        if (profile)
            json_object_set_new(root, "profile", profile_json(model));
        report_print_json(root);
        return s;
    }
    if (s == STATUS_OK)
        printf("loaded in %.2f ms, arena %zu bytes, run %.1f us (min), %.1f us (median)\n",
               times->load_ms, model_arena_bytes(model), times->us_min, times->us_median);
    json_decref(root);
    return s;
}
