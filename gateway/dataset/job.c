#include "gateway/dataset/job.h"

#include "common/clock.h"
#include "common/log.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A gateway that has just started scans its models first: so long a missing one may still come. */
#define MODEL_WAIT_MS 15000

/* --- states ----------------------------------------------------------------------------------- */
static const struct {
    const char *shown;
    bool terminal;
} states[JOB_STATES] = {
#define STATE(name, text, last) [JOB_##name] = {text, last},
#include "gateway/dataset/states.def"
};

/* 0 is VALIDATING, which no step leads to: so it means "forbidden". */
static const enum job_state steps[JOB_STATES][JOB_EVENTS] = {
#define STEP(from, event, to) [JOB_##from][JOB_##event] = JOB_##to,
#include "gateway/dataset/states.def"
};

const char *job_state_text(enum job_state state)
{
    return states[state].shown;
}

bool job_terminal(const struct job *self)
{
    return states[self->record.state].terminal;
}

bool job_over(const struct job *self)
{
    return states[self->shown.state].terminal && !self->saving && !self->unsaved;
}

static void stamp(struct job *self, enum job_state state)
{
    int64_t now = clock_wall_ms();
    switch (state) {
    case JOB_IN_PROGRESS:
        self->record.started_ms = now;
        break;
    case JOB_FINALIZING:
        self->record.finalizing_ms = now;
        break;
    case JOB_CANCELLING:
    case JOB_EXPIRING:
    case JOB_BREAKING:
        if (self->record.cancelling_ms == 0)
            self->record.cancelling_ms = now;
        break;
    default:
        break;
    }
    if (states[state].terminal)
        self->record.ended_ms = now;
}

bool job_event(struct job *self, enum job_event event)
{
    enum job_state from = (enum job_state)self->record.state, to = steps[from][event];
    char id[ID_TEXT_SIZE];
    if (to == JOB_VALIDATING)
        return false;
    self->record.state = to;
    if (to == from)
        return true;
    stamp(self, to);
    LOG_INFO("job_state", "job=%s from=%s to=%s completed=%lld failed=%lld",
             id_text(id, &self->record.id), states[from].shown, states[to].shown,
             (long long)self->record.completed, (long long)self->record.failed);
    if (states[to].terminal) {
        struct file *input = jobs_file(self->jobs, &self->record.input_file);
        if (input && input->pins > 0)
            input->pins--;
        version_drop(&self->version);
    }
    return true;
}

void job_changed(struct job *self)
{
    watchers_tell(self->watchers);
}

char *job_errors_text(const char *code, int64_t line, const char *text)
{
    json_t *error = json_pack("{s:s, s:o, s:n}", "code", code, "message",
                              json_stringn_nocheck(text, strlen(text)), "param");
    json_object_set_new(error, "line", line > 0 ? json_integer(line) : json_null());
    json_t *list = json_pack("[o]", error);
    char *dump = json_dumps(list, JSON_COMPACT);
    json_decref(list);
    return dump ? dump : xstrdup("[]");
}

void job_break(struct job *self, const char *code, int64_t line, const char *text)
{
    char *errors = job_errors_text(code, line, text);
    if (job_event(self, JOB_BREAK)) {
        ledger_text_set(&self->record.errors, errors);
        job_save(self, NULL, NULL);
    }
    free(errors);
}

/* --- validation ------------------------------------------------------------------------------- */
bool file_info(const struct file *file, struct dataset_info *info)
{
    *info = (struct dataset_info){.format = dataset_format_by_name(file->record.format),
                                  .rows = (uint64_t)file->record.rows,
                                  .dtype = (enum dtype)file->record.dtype};
    json_t *dims = json_loads(file->record.row_shape, 0, NULL);
    info->rank = (uint32_t)MIN(json_array_size(dims), (size_t)TENSOR_RANK_MAX);
    for (uint32_t i = 0; i < info->rank; i++)
        info->dims[i] = json_integer_value(json_array_get(dims, i));
    json_decref(dims);
    if (info->format == DATASET_JSONL)
        info->row_bytes = info->rows ? (uint64_t)file->record.bytes / info->rows : 0;
    else
        (void)tensor_size(info->dtype, info->dims, info->rank, &info->row_bytes);
    return info->format != DATASET_NONE;
}

static bool waited_long(const struct job *self)
{
    return clock_mono_ns() - self->begun_ns > MODEL_WAIT_MS * NS_PER_MS;
}

/* Find the model that the client named and keep a reference; false: not yet, or the job broke. */
static bool find_model(struct job *self)
{
    struct error why = {.status = STATUS_OK};
    enum status status = repository_find(self->jobs->config.repository, self->record.model,
                                         self->record.version, &self->version, &why);
    if (status == STATUS_OK)
        return true;
    self->trouble = why;
    if (status == STATUS_BAD_MODEL)
        job_break(self, "bad_model", 0, why.text);
    else if (status == STATUS_NO_MODEL && waited_long(self))
        job_break(self, "model_not_found", 0, why.text);
    return false;
}

static enum status check_output(const struct job *self, struct error *why)
{
    const struct signature *model = &self->version->signature;
    const char *name = self->record.output_name;
    if (strcmp(self->record.output_format, "npy") != 0)
        return STATUS_OK;
    if (!name[0] && model->outputs_len == 1)
        return STATUS_OK;
    for (uint32_t i = 0; i < model->outputs_len; i++) {
        if (strcmp(model->outputs[i].name, name) == 0)
            return STATUS_OK;
    }
    return fail(why, STATUS_INVALID,
                "the model has %u outputs, the first is \"%s\", and .npy holds one: name it as "
                "\"output_name\", or ask for JSON Lines (output_format jsonl, a file *.jsonl)",
                model->outputs_len, model->outputs_len ? model->outputs[0].name : "");
}

static struct ledger_file output_record(const struct job *self, const char *kind,
                                        const char *format)
{
    char *suffix = xasprintf("%s.%s", kind, format), id[ID_TEXT_SIZE];
    struct ledger_file record = {
        .id = id_new(),
        .tenant = xstrdup(self->record.tenant),
        .name = xasprintf("batch_%s_%s", id_text(id, &self->record.id), suffix),
        .purpose = xstrdup("batch_output"),
        .format = xstrdup(format),
        .state = xstrdup("uploaded"),
        .detail = xstrdup(""),
        .detail_code = xstrdup(""),
        .row_shape = xstrdup(""),
        .batch = self->record.id,
        .created_ms = clock_wall_ms()};
    free(suffix);
    return record;
}

/* From now on it can be computed: pin the version, name the files that it writes. */
static void begin(struct job *self, const struct dataset_info *info)
{
    struct ledger_file answers = output_record(self, "output", self->record.output_format);
    struct ledger_file errors = output_record(self, "errors", "jsonl");
    char number[16];
    snprintf(number, sizeof(number), "%u", self->version->number);
    ledger_text_set(&self->record.version, number);
    self->record.model_id = self->version->id;
    self->record.total = (int64_t)info->rows;
    self->record.output_file = answers.id;
    self->record.error_file = errors.id;
    jobs_add_file(self->jobs, &answers);
    jobs_add_file(self->jobs, &errors);
    job_event(self, JOB_VALID);
    job_save(self, NULL, NULL);
}

static void validate(struct job *self)
{
    struct file *file = jobs_file(self->jobs, &self->record.input_file);
    struct dataset_info info;
    struct error why = {.status = STATUS_OK};
    if (!file) {
        job_break(self, "file_not_found", 0, "the input file was deleted; upload it again");
    } else if (strcmp(file->record.state, "error") == 0) {
        job_break(self, file->record.detail_code, file->record.detail_line, file->record.detail);
    } else if (!file_info(file, &info)) {
        job_break(self, "invalid_file", 0,
                  "the input file is no data set; upload .npy, idx or "
                  "JSON Lines with purpose \"batch\"");
    } else if (find_model(self)) {
        if (dataset_fits(&info, &self->version->signature, &why) != STATUS_OK)
            job_break(self, "invalid_input", 0, why.text);
        else if (check_output(self, &why) != STATUS_OK)
            job_break(self, "invalid_output", 0, why.text);
        else
            begin(self, &info);
    }
}

/* --- opening ---------------------------------------------------------------------------------- */
struct opening {
    struct job *job;
    bool reads;                /* rows are still to be read: open the input as well */
    struct dataset_info info;  /* of the input */
    struct digest sha256;      /* of the input, as it was uploaded */
    int64_t whole;             /* as in struct file */
    char *input;               /* its path */
    char *output, *errors;     /* paths */
    char id[ID_TEXT_SIZE];     /* of the job */
    struct output_config plan; /* of the output */
    struct dataset *dataset;   /* made */
    struct output *writer;     /* made */
    enum status status;        /* outcome */
    struct error why;          /* when not OK */
};

static void open_work(void *arg)
{
    struct opening *self = arg;
    if (self->reads)
        self->status = dataset_verify(self->input, &self->sha256, &self->whole, &self->why);
    if (self->reads && self->status == STATUS_OK)
        self->status = dataset_open(&self->dataset, self->input, &self->info, &self->why);
    if (self->status != STATUS_OK)
        return;
    self->status = output_open(&self->writer, &self->plan, &self->why);
    if (self->status == STATUS_IO)
        job_disk_failed(&self->why);
}

/* The files are not as they were left: end with what is committed. */
static void give_up(struct job *self, const struct error *why)
{
    char id[ID_TEXT_SIZE];
    LOG_ERROR("job_files", "job=%s why=%s", id_text(id, &self->record.id), why->text);
    job_break(self, "files_lost", 0, why->text);
    if (self->output)
        return; /* its files can be closed as usual */
    while (self->first)
        chunk_drop(self->first);
    self->record.failed = self->record.total - self->record.completed;
    job_event(self, JOB_CLOSED);
    job_save(self, NULL, NULL);
}

static void open_done(void *arg)
{
    struct opening *self = arg;
    struct job *job = self->job;
    struct error why = self->why;
    enum status status = self->status;
    bool alive = jobs_end(job->jobs);
    if (alive) {
        struct file *input = jobs_file(job->jobs, &job->record.input_file);
        if (input)
            input->whole = self->whole;
        job->opening = false;
        job->dataset = self->dataset;
        job->output = self->writer;
        self->dataset = NULL;
        self->writer = NULL;
    }
    dataset_close(&self->dataset);
    output_close(&self->writer);
    free(self->input);
    free(self->output);
    free(self->errors);
    free(self);
    if (!alive)
        return;
    if (job_disk_recovers(status)) {
        job->trouble = why;
        job->retry_ns = clock_mono_ns() + NS_PER_S;
        dataset_close(&job->dataset);
    } else if (status != STATUS_OK) {
        give_up(job, &why);
    }
    job_pump(job);
}

static void read_shape(const char *text, uint32_t *rank, int64_t *dims)
{
    json_t *list = json_loads(text, 0, NULL);
    *rank = (uint32_t)MIN(json_array_size(list), (size_t)TENSOR_RANK_MAX);
    for (uint32_t i = 0; i < *rank; i++)
        dims[i] = json_integer_value(json_array_get(list, i));
    json_decref(list);
}

static void open_files(struct job *self)
{
    struct file *file = jobs_file(self->jobs, &self->record.input_file);
    struct opening *opening = xcalloc(1, sizeof(*opening));
    static const struct signature none; /* closing the files asks nothing of the model */
    opening->job = self;
    opening->reads = self->record.state == JOB_IN_PROGRESS;
    opening->input = jobs_path(self->jobs, &self->record.input_file);
    opening->output = jobs_path(self->jobs, &self->record.output_file);
    opening->errors = jobs_path(self->jobs, &self->record.error_file);
    id_text(opening->id, &self->record.id);
    if (file) {
        (void)file_info(file, &opening->info);
        opening->sha256 = file->record.sha256;
        opening->whole = file->whole;
    }
    opening->plan =
        (struct output_config){.path = opening->output,
                               .error_path = opening->errors,
                               .npy = strcmp(self->record.output_format, "npy") == 0,
                               .output_name = self->record.output_name,
                               .rows = (uint64_t)self->record.total,
                               .batch = opening->id,
                               .model = self->record.model,
                               .version = self->record.version,
                               .signature = self->version ? &self->version->signature : &none,
                               .bytes = (uint64_t)self->record.output_bytes,
                               .error_bytes = (uint64_t)self->record.error_bytes,
                               .dtype = (enum dtype)self->record.output_dtype};
    read_shape(self->record.output_shape, &opening->plan.rank, opening->plan.dims);
    self->opening = true;
    jobs_begin(self->jobs);
    pool_continue(self->jobs->config.pool, open_work, open_done, opening);
}

/* After a restart: the version that the job is pinned to, once the repository has read it. */
static bool find_pinned(struct job *self)
{
    if (self->version)
        return true;
    self->version = repository_by_id(self->jobs->config.repository, &self->record.model_id);
    if (self->version && self->version->state == VERSION_READY)
        return true;
    fail(&self->trouble, STATUS_UNAVAILABLE, "waiting for version %s of model \"%s\": it %s",
         self->record.version, self->record.model,
         self->version ? "is loading" : "is not in the repository, or was changed");
    bool unfit = self->version && self->version->state == VERSION_UNAVAILABLE;
    struct error reason = unfit ? self->version->reason : self->trouble;
    version_drop(&self->version);
    if (unfit)
        job_break(self, "bad_model", 0, reason.text);
    return false;
}

/* --- everything ------------------------------------------------------------------------------- */
static void sample(struct job *self)
{
    uint64_t now = clock_mono_ns();
    const struct job_sample *last = &self->samples[(self->samples_len - 1) % JOB_SAMPLES];
    if (self->samples_len > 0 && now - last->now_ns < 200 * NS_PER_MS)
        return;
    self->samples[self->samples_len++ % JOB_SAMPLES] =
        (struct job_sample){now, self->shown.completed + self->shown.failed};
    job_changed(self);
}

void job_pump(struct job *self)
{
    if (self->jobs->closed || job_terminal(self) || clock_mono_ns() < self->retry_ns)
        return;
    self->trouble.status = STATUS_OK;
    if (self->unsaved && !self->saving)
        job_save(self, NULL, NULL);
    if (!self->created)
        return;
    if (clock_wall_ms() >= self->record.expires_ms && job_event(self, JOB_EXPIRE))
        job_save(self, NULL, NULL);
    if (self->record.state == JOB_VALIDATING) {
        validate(self);
        return;
    }
    if (job_terminal(self) || self->opening ||
        (self->record.state == JOB_IN_PROGRESS && !find_pinned(self)))
        return;
    if (!self->output) {
        open_files(self);
        return;
    }
    if (self->record.state == JOB_IN_PROGRESS) {
        sample(self);
        chunks_pump(self);
        answers_pump(self);
        if (self->record.cut_rows == self->record.total && !self->first &&
            job_event(self, JOB_FINISH))
            job_save(self, NULL, NULL);
    }
    if (self->record.state != JOB_IN_PROGRESS && !job_terminal(self))
        job_finish(self);
}
