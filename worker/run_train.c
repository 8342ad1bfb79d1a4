/* run_train - see run_train.h */
#include "worker/run_train.h"

#include <argp.h>
#include <inttypes.h>
#include <jansson.h>
#include <libgen.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/file.h"
#include "common/train_flags.h"
#include "worker/engine.h"
#include "worker/program/data_text.h"
#include "worker/program/program.h"
#include "worker/program/settings.h"

#define EXIT_USAGE 2
#define EXIT_MODEL 3
#define EXIT_INPUT 5
#define EXIT_LOCAL 6
#define PIECE_MS   5000
#define DRAW_NS    (100 * NS_PER_MS)

enum key {
    KEY_ISA = 256,
    KEY_JSON,
    KEY_CHECKPOINT,
    KEY_VALIDATION,
    KEY_VALIDATION_LABELS,
    KEY_QUIET,
    KEY_PAGE,
};

struct options {
    const char *network, *model, *checkpoint, *isa;
    const char *files[4]; /* inputs and labels to learn from, inputs and labels to validate with */
    struct train_flags flags;
    bool json, quiet, page;
};

static const struct argp_option options_list[] = {
    {"data", 'd', "FILE", 0, "Rows to learn from: idx (or .gz), .npy, .csv, .jsonl", 0},
    {"labels", 'l', "FILE", 0, "What each of them should give", 0},
    {"validation", KEY_VALIDATION, "FILE", 0, "Rows to try it on after each epoch", 0},
    {"validation-labels", KEY_VALIDATION_LABELS, "FILE", 0, "What those should give", 0},
    {"output", 'o', "MODEL.onnx", 0, "Write the trained model there", 0},
    {"checkpoint", KEY_CHECKPOINT, "FILE", 0,
     "Go on from there, if it is there, and keep the state there every few seconds", 0},
    {"isa", KEY_ISA, "NAME", 0, "As of convoy-run", 0},
    {"json", KEY_JSON, NULL, 0, "Print a JSON line for each epoch on stdout", 0},
    {"quiet", KEY_QUIET, NULL, 0, "Draw no progress", 0},
    {"list-settings", KEY_PAGE, NULL, 0, "Print all settings as Markdown", 0},
    {0},
};

/* --- the command line ------------------------------------------------------------------------- */
static void end_of_line(const struct options *o, struct argp_state *state)
{
    if (o->page)
        return;
    if (!o->network)
        argp_error(state, "name a network: convoy-run train NETWORK.json --data FILE ...");
    if (!o->files[0])
        argp_error(state, "name the rows to learn from: --data FILE");
    if (o->files[3] && !o->files[2])
        argp_error(state, "--validation-labels needs --validation");
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct options *o = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &o->flags;
        return 0;
    case 'd':
        o->files[0] = arg;
        return 0;
    case 'l':
        o->files[1] = arg;
        return 0;
    case KEY_VALIDATION:
        o->files[2] = arg;
        return 0;
    case KEY_VALIDATION_LABELS:
        o->files[3] = arg;
        return 0;
    case 'o':
        o->model = arg;
        return 0;
    case KEY_CHECKPOINT:
        o->checkpoint = arg;
        return 0;
    case KEY_ISA:
        o->isa = arg;
        return 0;
    case KEY_JSON:
        o->json = true;
        return 0;
    case KEY_QUIET:
        o->quiet = true;
        return 0;
    case KEY_PAGE:
        o->page = true;
        return 0;
    case ARGP_KEY_ARG:
        if (o->network)
            argp_error(state, "one network at a time: \"%s\" is too much", arg);
        o->network = arg;
        return 0;
    case ARGP_KEY_SUCCESS: /* behind the children */
        end_of_line(o, state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* --- the folder ------------------------------------------------------------------------------- */
struct folder {
    char *path; /* NULL: not made */
    char *made[8];
    size_t len;
};

static enum status link_file(struct folder *f, const char *file, const char *name,
                             struct error *why)
{
    char *whole = realpath(file, NULL), *made = xasprintf("%s/%s", f->path, name);
    struct stat info;
    enum status s = STATUS_OK;
    if (!whole || stat(whole, &info) != 0)
        s = file_fail(why, "read", file);
    else if (!S_ISREG(info.st_mode))
        s = fail(why, STATUS_INVALID, "%s: expected a regular file", file);
    else if (symlink(whole, made) != 0)
        s = file_fail(why, "make a link", made);
    free(whole);
    f->made[f->len++] = made;
    return s;
}

static const char *ending(const char *path)
{
    const char *slash = strrchr(path, '/'), *dot = strrchr(slash ? slash : path, '.');
    return dot ? dot : "";
}

/* The program's folder, of links to the files that were named. */
static enum status make_folder(struct folder *f, const struct options *o, struct error *why)
{
    static const char *const names[] = {"train/inputs", "train/labels", "validation/inputs",
                                        "validation/labels"};
    const char *temp = getenv("TMPDIR");
    char *path = xasprintf("%s/convoy-train-XXXXXX", temp && *temp ? temp : "/tmp");
    enum status s = mkdtemp(path) ? STATUS_OK : file_fail(why, "make a folder", path);
    if (s != STATUS_OK) {
        free(path);
        return s;
    }
    f->path = path;
    for (size_t i = 0; i < 4 && s == STATUS_OK; i += 2) {
        char *part = xasprintf("%s/%s", f->path, i ? "validation" : "train");
        s = file_mkdirs(part, why);
        free(part);
    }
    bool onnx = strcmp(ending(o->network), ".onnx") == 0;
    if (s == STATUS_OK)
        s = link_file(f, o->network, onnx ? "model.onnx" : "network.json", why);
    for (size_t i = 0; i < ARRAY_LEN(names) && s == STATUS_OK; i++) {
        if (!o->files[i])
            continue;
        const char *text = data_text_is(o->files[i]) ? ending(o->files[i]) : "";
        char *name = xasprintf("%s%s", names[i], text); /* others are known by their contents */
        s = link_file(f, o->files[i], name, why);
        free(name);
    }
    return s;
}

static void remove_folder(struct folder *f)
{
    static const char *const parts[] = {"train", "validation", ""};
    while (f->len) {
        char *made = f->made[--f->len], *rows = xasprintf("%s.rows", made),
             *labels = xasprintf("%s.labels.rows", made);
        unlink(rows);
        unlink(labels);
        unlink(made);
        free(rows);
        free(labels);
        free(made);
    }
    for (size_t i = 0; i < ARRAY_LEN(parts) && f->path; i++) {
        char *part = xasprintf("%s/%s", f->path, parts[i]);
        rmdir(part);
        free(part);
    }
    free(f->path);
}

/* --- what is shown ---------------------------------------------------------------------------- */
struct display {
    bool terminal, silent;
    uint64_t drawn_ns;
};

static void draw(void *arg, const struct program_progress *now)
{
    struct display *d = arg;
    uint64_t ns = clock_mono_ns(), left = now->steps - now->step;
    if (d->silent || !d->terminal || ns - d->drawn_ns < DRAW_NS)
        return;
    d->drawn_ns = ns;
    double rows_left = (double)left * (double)now->rows * (double)now->epochs / (double)now->steps;
    fprintf(stderr,
            "\r\033[Kepoch %" PRIu64 "/%" PRIu64 "  step %" PRIu64 "/%" PRIu64 "  loss %.4f",
            now->epoch, now->epochs, now->step, now->steps, now->loss);
    if (now->accuracy >= 0)
        fprintf(stderr, "  accuracy %.4f", now->accuracy);
    fprintf(stderr, "  %.0f rows/s  %.0f s left", now->rows_s,
            now->rows_s > 0 ? rows_left / now->rows_s : 0);
}

static void show_number(const json_t *end, const char *key, const char *title)
{
    const json_t *value = json_object_get(end, key);
    if (value)
        fprintf(stderr, "  %s %.4f", title, json_real_value(value));
}

/* One line for each epoch; `seconds` and rows are of its pieces together. */
static void show_epoch(const struct options *o, struct display *d, json_t *report, double seconds)
{
    json_t *end = json_object_get(report, "epoch_end");
    if (!end)
        return;
    double rows = (double)json_integer_value(json_object_get(report, "rows"));
    json_object_set_new(end, "seconds", json_real(seconds));
    if (o->json) {
        json_dumpf(end, stdout, JSON_COMPACT);
        putchar('\n');
        fflush(stdout);
    }
    if (d->silent)
        return;
    fprintf(stderr, "%sepoch %" JSON_INTEGER_FORMAT "/%" JSON_INTEGER_FORMAT,
            d->terminal ? "\r\033[K" : "", json_integer_value(json_object_get(end, "epoch")),
            json_integer_value(json_object_get(report, "epochs")));
    show_number(end, "loss", "loss");
    show_number(end, "accuracy", "accuracy");
    show_number(end, "validation_loss", "validation loss");
    show_number(end, "validation_accuracy", "accuracy");
    fprintf(stderr, "  %.1f s  %.0f rows/s%s\n", seconds, seconds > 0 ? rows / seconds : 0,
            json_is_true(json_object_get(end, "stopped_early")) ? "  (stopped early)" : "");
}

/* --- training --------------------------------------------------------------------------------- */
static volatile uint32_t stop_signal; /* 0: none came */

static void note_signal(int number)
{
    stop_signal = (uint32_t)number;
}

/* The first one ends the training before its next step; a second one ends the process. */
static void watch_signals(void)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction action = {.sa_flags = (int)SA_RESETHAND}, old;
    action.sa_handler = note_signal;
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
        if (sigaction(numbers[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
            sigaction(numbers[i], &action, NULL);
}

/* What is written at the end must not fail there for want of a folder. */
static enum status check_place(const char *path, struct error *why)
{
    char *copy = xstrdup(path ? path : ".");
    bool good = access(dirname(copy), W_OK | X_OK) == 0;
    enum status s = good ? STATUS_OK : file_fail(why, "create", path);
    free(copy);
    return s;
}

static enum status keep(const struct program *program, const char *path, struct error *why)
{
    uint8_t *bytes;
    size_t size;
    program_checkpoint(program, &bytes, &size);
    enum status s = file_write(path, bytes, size, true, why);
    free(bytes);
    return s;
}

static enum status go_on(struct program *program, const char *path, struct error *why)
{
    char *bytes;
    size_t size;
    if (access(path, F_OK) != 0)
        return STATUS_OK;
    enum status s = file_read(&bytes, &size, path, program_sizes(program).checkpoint, why);
    if (s != STATUS_OK)
        return s;
    s = program_restore(program, bytes, size, why);
    free(bytes);
    return s == STATUS_OK ? s : fail_in(why, "%s", path);
}

static enum status learn(struct program *program, const struct options *o, struct error *why)
{
    struct display d = {isatty(STDERR_FILENO), o->quiet, 0};
    struct program_watch watch = {.stop = &stop_signal, .progress = draw, .arg = &d};
    enum status s = o->checkpoint ? go_on(program, o->checkpoint, why) : STATUS_OK;
    double seconds = 0;
    while (s == STATUS_OK && !program_done(program)) {
        s = program_run(program, PIECE_MS, &watch, why);
        if (s == STATUS_CANCELLED && o->checkpoint && access(o->checkpoint, F_OK) == 0)
            fail_in(why, "the next run goes on from %s", o->checkpoint);
        if (s == STATUS_OK && o->checkpoint)
            s = keep(program, o->checkpoint, why);
        if (s != STATUS_OK)
            break;
        json_t *report = program_report(program);
        seconds += json_real_value(json_object_get(report, "seconds"));
        show_epoch(o, &d, report, seconds);
        if (json_object_get(report, "epoch_end"))
            seconds = 0;
        json_decref(report);
    }
    return s;
}

static enum status write_model(const struct program *program, const char *path, struct error *why)
{
    uint8_t *bytes;
    size_t size;
    enum status s = program_model(program, &bytes, &size, why);
    if (s != STATUS_OK)
        return s;
    s = file_write(path, bytes, size, false, why);
    free(bytes);
    return s;
}

static enum status train(const struct options *o, struct error *why)
{
    struct folder folder = {0};
    struct program *program = NULL;
    char *settings = json_dumps(o->flags.settings, JSON_COMPACT | JSON_SORT_KEYS);
    enum status s = engine_start(o->isa, 0, why);
    if (s == STATUS_OK)
        s = check_place(o->model, why);
    if (s == STATUS_OK)
        s = check_place(o->checkpoint, why);
    watch_signals();
    if (s == STATUS_OK)
        s = make_folder(&folder, o, why);
    if (s == STATUS_OK)
        s = program_open(&program, folder.path, settings, why);
    if (s == STATUS_OK)
        s = learn(program, o, why);
    if (s == STATUS_OK && o->model)
        s = write_model(program, o->model, why);
    program_destroy(&program);
    remove_folder(&folder);
    free(settings);
    return s;
}

int run_train(int argc, char **argv)
{
    static const struct argp_child children[] = {{&train_flags_argp, 0, "How it learns:", 1}, {0}};
    static const struct argp argp = {
        options_list,
        parse,
        "NETWORK.json|MODEL.onnx",
        "Train a network of layers, or an ONNX model, on this machine.\v"
        "worker/TRAINING.md shows networks, data and settings.\n\n"
        "Exit status: 0 it is trained, 2 wrong command line, 3 the network cannot be trained, 5 "
        "network, settings or data are wrong (layer, key, row or step is named), 6 no room or no "
        "rights on this machine. Ctrl-C ends it before its next step, tidily.",
        children,
        NULL,
        NULL};
    const char *isa = getenv("CONVOY_ISA");
    struct options o = {.isa = isa ? isa : "auto", .flags.settings = json_object()};
    struct error why = {STATUS_OK, ""};
    argp_parse(&argp, argc, argv, 0, NULL, &o);
    enum status s = STATUS_OK;
    if (o.page)
        settings_page(stdout);
    else
        s = train(&o, &why);
    json_decref(o.flags.settings);
    if (s == STATUS_OK)
        return EXIT_SUCCESS;
    fprintf(stderr, "%sconvoy-run train: %s\n", isatty(STDERR_FILENO) ? "\r\033[K" : "", why.text);
    if (s == STATUS_CANCELLED)
        raise((int)stop_signal); /* whoever waits sees why */
    if (s == STATUS_BAD_MODEL || s == STATUS_UNSUPPORTED)
        return EXIT_MODEL;
    return s == STATUS_IO || s == STATUS_STORAGE_FULL ? EXIT_LOCAL : EXIT_INPUT;
}
