/* run_inspect - what a model file is, in text or JSON; see run_report.h */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/file.h"
#include "worker/onnx/survey.h"
#include "worker/run_report.h"

#define OPS_MAX 100000 /* as many nodes as a graph may have */

/* All that there is to say of a file; what comes after `survey` only when the model loads. */
struct facts {
    const char *path;
    size_t file_bytes;
    struct survey *survey;
    struct model *model;        /* NULL: it does not load */
    struct error why_not;       /* why it does not */
    struct operator_count *ops; /* as they run */
    size_t ops_len;
    struct model_cost cost;
    bool priced; /* cost is there */
    struct error why_no_cost;
};

static size_t unsupported(const struct survey *s)
{
    size_t len = 0;
    for (size_t i = 0; i < s->ops_len; i++)
        len += !s->ops[i].supported;
    return len;
}

/* Labels such as "Conv+Relu" are fusions. */
static bool is_fusion(const struct operator_count *op)
{
    return strpbrk(op->name, "+(") != NULL;
}

/* "[batch, 3, ?]": the file's names for open dims. */
static const char *shape_text(char *into, size_t size, const struct tensor *t,
                              const struct survey_value *v)
{
    size_t used = (size_t)snprintf(into, size, "[");
    for (uint32_t i = 0; i < t->rank && used < size; i++) {
        const char *name = v && v->rank == t->rank && v->dim_names[i] ? v->dim_names[i] : "?";
        const char *comma = i ? ", " : "";
        used += (size_t)(t->dims[i] < 0
                             ? snprintf(into + used, size - used, "%s%.60s", comma, name)
                             : snprintf(into + used, size - used, "%s%" PRId64, comma, t->dims[i]));
    }
    if (used < size)
        snprintf(into + used, size - used, "]");
    return into;
}

/* "1.23 M" */
static const char *amount(char *into, size_t size, double number)
{
    static const char *const units[] = {"", " k", " M", " G", " T"};
    size_t unit = 0;
    for (; number >= 1000 && unit + 1 < ARRAY_LEN(units); unit++)
        number /= 1000;
    snprintf(into, size, unit ? "%.2f%s" : "%.0f%s", number, units[unit]);
    return into;
}

/* --- JSON ---------------------------------------------------------------------------------------
 */

static json_t *value_json(const struct tensor *t, const struct survey_value *v)
{
    json_t *j = report_tensor_json(t), *names = json_array();
    for (uint32_t i = 0; i < t->rank; i++)
        json_array_append_new(names, v && v->rank == t->rank && v->dim_names[i]
                                         ? report_text_json(v->dim_names[i])
                                         : json_null());
    json_object_set_new(j, "dim_names", names);
    return j;
}

static json_t *file_operators_json(const struct survey *s)
{
    json_t *list = json_array();
    for (size_t i = 0; i < s->ops_len; i++) {
        json_t *j = json_object();
        json_object_set_new(j, "domain", report_text_json(s->ops[i].domain));
        json_object_set_new(j, "operator", report_text_json(s->ops[i].name));
        json_object_set_new(j, "count", json_integer((json_int_t)s->ops[i].count));
        json_object_set_new(j, "opset", json_integer((json_int_t)s->ops[i].opset));
        json_object_set_new(j, "supported", json_boolean(s->ops[i].supported));
        json_array_append_new(list, j);
    }
    return list;
}

static json_t *cost_json(const struct facts *f)
{
    json_t *j = json_object(), *inputs = json_array();
    for (uint32_t i = 0; i < model_signature(f->model)->inputs_len; i++)
        json_array_append_new(inputs, report_tensor_json(&f->cost.inputs[i]));
    json_object_set_new(j, "inputs", inputs);
    json_object_set_new(j, "macs", json_integer((json_int_t)f->cost.macs));
    json_object_set_new(j, "arena_bytes", json_integer((json_int_t)f->cost.arena_bytes));
    json_object_set_new(j, "data_nodes", json_integer(f->cost.data_nodes));
    return j;
}

static void add_model_json(json_t *root, const struct facts *f)
{
    const struct signature *s = model_signature(f->model);
    json_t *in = json_array(), *out = json_array(), *ops = json_array(), *fused = json_array();
    for (uint32_t i = 0; i < s->inputs_len; i++)
        json_array_append_new(
            in, value_json(&s->inputs[i], survey_find(f->survey, s->inputs[i].name, false)));
    for (uint32_t i = 0; i < s->outputs_len; i++) {
        json_t *j = value_json(&s->outputs[i], survey_find(f->survey, s->outputs[i].name, true));
        if (s->batchable)
            json_object_set_new(j, "batch_axis", json_integer(s->output_batch_axis[i]));
        json_array_append_new(out, j);
    }
    for (size_t i = 0; i < f->ops_len; i++)
        json_array_append_new(
            is_fusion(&f->ops[i]) ? fused : ops,
            json_pack("{s:s, s:i}", "operator", f->ops[i].name, "count", (int)f->ops[i].count));
    json_object_set_new(root, "inputs", in);
    json_object_set_new(root, "outputs", out);
    json_object_set_new(root, "fusions", json_deep_copy(fused));
    json_array_extend(ops, fused);
    json_decref(fused);
    json_object_set_new(root, "operators", ops);
    json_object_set_new(root, "parameters", json_integer((json_int_t)model_parameters(f->model)));
    json_object_set_new(root, "batchable", json_boolean(s->batchable));
    if (!s->batchable)
        json_object_set_new(root, "not_batchable_because",
                            report_text_json(model_rows_reason(f->model)));
    json_object_set_new(root, "cost", f->priced ? cost_json(f) : json_null());
    json_object_set_new(root, "mode", json_string(engine_mode()));
}

static void print_facts_json(const struct facts *f)
{
    json_t *root = json_object();
    json_object_set_new(root, "ir_version", json_integer(f->survey->ir_version));
    json_object_set_new(root, "opset", json_integer(f->survey->opset));
    json_object_set_new(root, "producer", report_text_json(f->survey->producer));
    json_object_set_new(root, "file_operators", file_operators_json(f->survey));
    json_object_set_new(root, "runs", json_boolean(f->model != NULL));
    if (f->model)
        add_model_json(root, f);
    else
        json_object_set_new(root, "why_not", report_text_json(f->why_not.text));
    report_print_json(root);
}

/* --- text ---------------------------------------------------------------------------------------
 */

static void print_value(const struct tensor *t, const struct survey *s, bool is_output, int width)
{
    char shape[600];
    printf("  %-*s  %-6s %s", width, t->name, dtype_name(t->dtype),
           shape_text(shape, sizeof shape, t, survey_find(s, t->name, is_output)));
}

static void print_signature(const struct facts *f)
{
    const struct signature *s = model_signature(f->model);
    int width = 0;
    for (uint32_t i = 0; i < s->inputs_len; i++)
        width = MAX(width, (int)MIN(strlen(s->inputs[i].name), 40));
    for (uint32_t i = 0; i < s->outputs_len; i++)
        width = MAX(width, (int)MIN(strlen(s->outputs[i].name), 40));
    puts("\ninputs");
    for (uint32_t i = 0; i < s->inputs_len; i++) {
        print_value(&s->inputs[i], f->survey, false, width);
        putchar('\n');
    }
    puts("\noutputs");
    for (uint32_t i = 0; i < s->outputs_len; i++) {
        print_value(&s->outputs[i], f->survey, true, width);
        if (s->batchable && s->output_batch_axis[i])
            printf("  rows on axis %u", s->output_batch_axis[i]);
        putchar('\n');
    }
}

static int most_first(const void *a, const void *b)
{
    const struct operator_count *x = a, *y = b;
    if (x->count != y->count)
        return x->count < y->count ? 1 : -1;
    return strcmp(x->name, y->name);
}

static void print_file_operators(const struct survey *s)
{
    size_t nodes = 0, bad = unsupported(s);
    for (size_t i = 0; i < s->ops_len; i++)
        nodes += s->ops[i].count;
    printf("\noperators in the file: %zu nodes of %zu kinds\n", nodes, s->ops_len);
    for (size_t i = 0; i < s->ops_len; i++) {
        bool ours = strcmp(s->ops[i].domain, "ai.onnx") == 0;
        printf("  %6zu  %s%s%s", s->ops[i].count, ours ? "" : s->ops[i].domain, ours ? "" : ".",
               s->ops[i].name);
        if (s->ops[i].supported)
            putchar('\n');
        else
            printf("    <- not supported at opset %" PRId64 "\n", s->ops[i].opset);
    }
    if (bad)
        printf("\n%zu operator%s of this model %s not supported\n", bad, bad == 1 ? "" : "s",
               bad == 1 ? "is" : "are");
}

static void print_fusions(const struct facts *f)
{
    size_t nodes = 0;
    for (size_t i = 0; i < f->ops_len; i++)
        nodes += f->ops[i].count;
    printf("\nas it runs: %zu nodes after folding and fusion, those of sub-graphs included\n",
           nodes);
    for (size_t i = 0; i < f->ops_len; i++)
        if (is_fusion(&f->ops[i]))
            printf("  %6u  %s\n", f->ops[i].count, f->ops[i].name);
}

static void print_cost(const struct facts *f)
{
    char number[32], dims[160];
    printf("parameters  %s\n", amount(number, sizeof number, (double)model_parameters(f->model)));
    bool batchable = model_signature(f->model)->batchable;
    printf("batchable   %s%s\n", batchable ? "yes" : "no: ", model_rows_reason(f->model));
    if (!f->priced) {
        printf("cost        unknown: %s; say sizes by --shape NAME=1,3,224,224\n",
               f->why_no_cost.text);
        return;
    }
    printf("cost        %s multiply-accumulates, arena %.2f MiB, for",
           amount(number, sizeof number, (double)f->cost.macs),
           (double)f->cost.arena_bytes / (double)MIB);
    for (uint32_t i = 0; i < model_signature(f->model)->inputs_len; i++)
        printf(" %s %s", f->cost.inputs[i].name,
               dims_text(dims, sizeof dims, f->cost.inputs[i].dims, f->cost.inputs[i].rank));
    if (f->cost.data_nodes)
        printf(" (without %u node%s whose shapes depend on the data)", f->cost.data_nodes,
               f->cost.data_nodes == 1 ? "" : "s");
    putchar('\n');
}

static void print_facts(const struct facts *f)
{
    char number[32];
    printf("%s: %sB, IR %" PRId64 ", opset %" PRId64 "%s%s\n", f->path,
           amount(number, sizeof number, (double)f->file_bytes), f->survey->ir_version,
           f->survey->opset, f->survey->producer[0] ? ", made by " : "", f->survey->producer);
    if (f->model)
        print_signature(f);
    print_file_operators(f->survey);
    if (!f->model)
        return;
    print_fusions(f);
    putchar('\n');
    print_cost(f);
}

/* --- the command --------------------------------------------------------------------------------
 */

/* NAME=1,3,224,224, split at the last '='; the name is the caller's to free. */
static enum status read_shape(const char *text, struct tensor *t, struct error *why)
{
    const char *equals = strrchr(text, '=');
    *t = (struct tensor){.name = NULL};
    bool good = equals && equals != text;
    for (const char *at = equals; good && at && at[1];) {
        char *end;
        long long dim = strtoll(at + 1, &end, 10);
        good = end != at + 1 && dim >= 0 && (*end == ',' || !*end) && t->rank < TENSOR_RANK_MAX;
        if (good)
            t->dims[t->rank++] = dim;
        at = good && *end ? end : NULL;
    }
    if (!good)
        return fail(why, STATUS_INVALID, "--shape \"%.200s\" is not NAME=1,3,224,224", text);
    char *name = xstrdup(text);
    name[equals - text] = '\0';
    t->name = name;
    return STATUS_OK;
}

static enum status price(struct facts *f, const char *const *shapes, uint32_t len,
                         struct error *why)
{
    struct tensor given[MODEL_VALUES_MAX];
    uint32_t read = 0;
    enum status s = STATUS_OK;
    for (; read < len && s == STATUS_OK; read++)
        s = read_shape(shapes[read], &given[read], why);
    if (s == STATUS_OK) {
        f->priced = model_cost(f->model, given, len, &f->cost, &f->why_no_cost) == STATUS_OK;
        if (!f->priced && len)
            s = fail(why, STATUS_INVALID, "%s", f->why_no_cost.text);
    }
    for (uint32_t i = 0; i < read; i++)
        free((void *)(uintptr_t)given[i].name);
    return s;
}

enum status report_inspect(const char *path, const char *const *shapes, uint32_t shapes_len,
                           bool json, struct error *why)
{
    struct facts f = {.path = path};
    struct file_map file;
    enum status s = file_map(&file, path, why);
    if (s != STATUS_OK)
        return s;
    f.file_bytes = file.size;
    s = survey_make(&f.survey, file.bytes, file.size, why);
    file_unmap(&file);
    if (s != STATUS_OK)
        return s;
    enum status loaded = model_load_file(&f.model, path, &f.why_not);
    if (loaded == STATUS_OK) {
        s = price(&f, shapes, shapes_len, why);
        f.ops = xcalloc(OPS_MAX, sizeof *f.ops);
        f.ops_len = model_operators(f.model, f.ops, OPS_MAX);
        qsort(f.ops, f.ops_len, sizeof *f.ops, most_first);
    }
    if (s == STATUS_OK && json)
        print_facts_json(&f);
    else if (s == STATUS_OK)
        print_facts(&f);
    if (s == STATUS_OK && loaded != STATUS_OK)
        s = fail(why, loaded, "%s", f.why_not.text);
    free(f.ops);
    model_destroy(&f.model);
    survey_destroy(&f.survey);
    return s;
}
