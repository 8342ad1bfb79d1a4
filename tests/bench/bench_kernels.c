/* bench_kernels - our kernels and the peers on the same layers, interleaved; `make bench-kernels`
 *
 *   bench_kernels --threads N [--isa NAME] [--filter TEXT] [--seconds S]
 *                 [--models FOLDER --onnxruntime LIBRARY]
 *
 * Prints one JSON object a line and layer: what kernels.py makes tables of. Without the last two
 * options ours are measured alone. `filter` is a part of "name goal bBATCH"; `seconds` go to each
 * contender of each layer. */
#include <argp.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/bench/contender.h"
#include "tests/bench/peak.h"
#include "tests/bench/sampling.h"
#include "worker/kernels/cpu.h"

static const struct contender *const contenders[] = {
#define CONTENDER(name) &name,
#include "tests/bench/contenders.def"
#undef CONTENDER
};

struct options {
    uint32_t threads;
    const char *isa, *filter, *models, *library;
    double seconds;
};

#define VNNI_PER_FMA 4 /* products of bytes that take the time of one in FP32 */

/* One contender at one layer. */
struct entry {
    const struct contender *who;
    void *self;
    size_t times;
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct options *o = state->input;
    switch (key) {
    case 't':
        o->threads = (uint32_t)strtoul(arg, NULL, 10);
        return 0;
    case 'i':
        o->isa = arg;
        return 0;
    case 'f':
        o->filter = arg;
        return 0;
    case 's':
        o->seconds = strtod(arg, NULL);
        return 0;
    case 'm':
        o->models = arg;
        return 0;
    case 'o':
        o->library = arg;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static double largest_difference(const float *a, const float *b, size_t n)
{
    double largest = 0, difference = 0;
    for (size_t i = 0; i < n; i++) {
        largest = fmax(largest, fabs((double)a[i]));
        difference = fmax(difference, fabs((double)a[i] - (double)b[i]));
    }
    return isfinite(largest) && largest > 0 ? difference / largest : INFINITY;
}

/* Whether all who can show their output computed the same as the first. */
static void check(const struct work *w, const struct entry *entries, size_t len)
{
    size_t n = work_outputs(w);
    float *first = xaligned(n * sizeof *first), *other = xaligned(n * sizeof *other);
    for (size_t i = 0; i < len; i++) {
        entries[i].who->run(entries[i].self);
        if (entries[i].times > 1)
            continue;
        entries[i].who->output(entries[i].self, i ? other : first);
        double difference = i ? largest_difference(first, other, n) : 0;
        if (difference <= work_tolerance(w))
            continue;
        fprintf(stderr, "bench_kernels: %s: %s differs from %s by %g of the largest\n", w->name,
                entries[i].who->name, entries[0].who->name, difference);
        exit(1);
    }
    free(first);
    free(other);
}

static void report(const struct work *w, uint32_t threads, const struct entry *entries,
                   const struct body *bodies, size_t len)
{
    static double limit; /* the best so far: neighbours on the machine come and go */
    limit = fmax(limit, peak_flops() / bodies[len].us_min * 1e-3);
    double most = w->kind == WORK_QCONV ? limit * VNNI_PER_FMA : limit;
    printf("{\"goal_id\": \"%s\", \"work\": \"%s\", \"batch\": %zu, \"threads\": %u, "
           "\"flops\": %.0f, \"peak_gflops\": %.1f, \"contenders\": {",
           w->goal, w->name, w->batch, threads, work_flops(w), most);
    for (size_t i = 0; i < len; i++) {
        double times = (double)entries[i].times;
        printf("%s\"%s\": {\"us_min\": %.3f, \"us_median\": %.3f}", i ? ", " : "",
               entries[i].who->name, bodies[i].us_min / times, bodies[i].us_median / times);
    }
    printf("}}\n");
    fflush(stdout);
}

static void measure(const struct work *w, const struct options *o)
{
    struct entry entries[BODIES_MAX];
    struct body bodies[BODIES_MAX];
    size_t len = 0, most = o->library ? BODIES_MAX - 1 : 1;
    for (size_t i = 0; i < ARRAY_LEN(contenders) && len < most; i++) {
        struct entry e = {.who = contenders[i]};
        if (e.who->kind == w->kind)
            e.self = e.who->open(w, &e.times);
        if (!e.self)
            continue;
        bodies[len] = (struct body){.run = e.who->run, .arg = e.self};
        entries[len++] = e;
    }
    bodies[len] = (struct body){.run = peak_run};
    check(w, entries, len);
    sampling_run(bodies, len + 1, o->threads, o->seconds * (double)len);
    report(w, o->threads, entries, bodies, len);
    for (size_t i = 0; i < len; i++)
        entries[i].who->close(entries[i].self);
}

static bool chosen(const struct work *w, const char *filter)
{
    char *text = xasprintf("%s %s b%zu", w->name, w->goal, w->batch);
    bool found = strstr(text, filter);
    free(text);
    return found;
}

int main(int argc, char **argv)
{
    static const struct argp_option list[] = {
        {"threads", 't', "N", 0, NULL, 0},
        {"isa", 'i', "NAME", 0, NULL, 0},
        {"filter", 'f', "TEXT", 0, NULL, 0},
        {"seconds", 's', "S", 0, NULL, 0},
        {"models", 'm', "FOLDER", 0, NULL, 0},
        {"onnxruntime", 'o', "LIBRARY", 0, NULL, 0},
        {0},
    };
    struct options o = {.threads = 1, .isa = "auto", .filter = "", .seconds = 0.3};
    argp_parse(&(struct argp){.options = list, .parser = parse}, argc, argv, 0, NULL, &o);
    if (!kernels_start(o.isa, o.threads)) {
        fprintf(stderr, "bench_kernels: this CPU cannot run %s\n", o.isa);
        return 2;
    }
    if (o.library) {
        onednn_start((int)o.threads);
        onnxruntime_start(o.library, o.models, (int)o.threads);
        openblas_start((int)o.threads);
    }
    size_t len;
    const struct work *works = work_list(&len);
    for (size_t i = 0; i < len; i++)
        if (chosen(&works[i], o.filter))
            measure(&works[i], &o);
    return 0;
}
