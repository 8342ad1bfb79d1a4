/* files_upload - POST /v1/files (multipart/form-data) and PUT /v1/files?name=... (plain octets) */
#include "gateway/api/jobs_api.h"
#include "gateway/api/multipart.h"
#include "gateway/dataset/upload.h"

#include <stdlib.h>
#include <string.h>

struct receiver {
    struct http_request *request;     /* to be replied */
    struct upload *upload;            /* NULL once it was ended or thrown away */
    bool form;                        /* multipart */
    struct multipart multipart;       /* of a form */
    char name[MULTIPART_TEXT_MAX];    /* of plain octets */
    char purpose[MULTIPART_TEXT_MAX]; /* of plain octets */
    struct jobs *jobs;                /* for the reply */
};

static void on_room(void *arg)
{
    struct receiver *self = arg;
    http_body_resume(self->request);
}

static void on_done(void *arg, struct file *file, const struct error *why)
{
    struct receiver *self = arg;
    if (file)
        http_reply_json(self->request, 200, file_json(self->jobs, file));
    else
        http_reply_error(self->request, why, "file");
    free(self);
}

static const struct upload_calls calls = {.room = on_room, .done = on_done};

/* End with an error; the upload is thrown away. */
static void refuse(struct receiver *self, const struct error *why, const char *param)
{
    if (self->upload)
        upload_abort(self->upload);
    http_reply_error(self->request, why, param);
    free(self);
}

static void on_gone(struct http_request *request, void *arg)
{
    struct receiver *self = arg;
    (void)request;
    if (!self->upload)
        return; /* it is whole: on_done() comes */
    struct error why;
    fail(&why, STATUS_CANCELLED, "the client left before the upload was whole");
    refuse(self, &why, NULL);
}

static size_t sink_room(void *arg, size_t wanted)
{
    struct receiver *self = arg;
    return upload_room(self->upload, wanted);
}

static enum status sink_put(void *arg, const void *bytes, size_t size, struct error *why)
{
    struct receiver *self = arg;
    return upload_put(self->upload, bytes, size, why);
}

static enum status admit(struct jobs *jobs, struct http_request *request, struct error *why)
{
    uint64_t size = http_content_length(request);
    if (jobs->draining)
        return fail(why, STATUS_UNAVAILABLE, "the gateway is ending; try again when it is back");
    if (ledger_full(jobs->ledger))
        return fail(why, STATUS_STORAGE_FULL, "the gateway's disk is full");
    if (jobs->files.len >= JOBS_FILES_MAX)
        return fail(why, STATUS_STORAGE_FULL,
                    "the gateway keeps %d files; delete some by DELETE /v1/files/{id}",
                    JOBS_FILES_MAX);
    if (size != UINT64_MAX && size > jobs->config.upload_max + 64 * KIB)
        return fail(why, STATUS_TOO_LARGE, "the body has %llu octets, the limit is %llu",
                    (unsigned long long)size, (unsigned long long)jobs->config.upload_max);
    return STATUS_OK;
}

void files_upload_open(struct http_request *request, void *owner)
{
    struct jobs *jobs = owner;
    struct error why = {.status = STATUS_OK};
    struct receiver *self = xcalloc(1, sizeof(*self));
    struct multipart_sink sink = {.room = sink_room, .put = sink_put, .arg = self};
    const char *name = http_query(request, "name"), *purpose = http_query(request, "purpose");
    self->request = request;
    self->jobs = jobs;
    self->form = http_method(request) == HTTP_POST;
    text_copy(self->name, sizeof(self->name), name && name[0] ? name : "upload");
    text_copy(self->purpose, sizeof(self->purpose), purpose && purpose[0] ? purpose : "batch");
    enum status status = admit(jobs, request, &why);
    if (status == STATUS_OK && self->form)
        status =
            multipart_start(&self->multipart, http_header(request, "Content-Type"), &sink, &why);
    if (status != STATUS_OK) {
        refuse(self, &why, NULL);
        return;
    }
    self->upload = upload_new(jobs, http_caller(request)->tenant, &calls, self);
    http_set_context(request, self);
    http_on_gone(request, on_gone, self);
}

size_t files_upload_data(struct http_request *request, const void *bytes, size_t size, void *owner)
{
    struct receiver *self = http_context(request);
    struct error why = {.status = STATUS_OK};
    enum status status = STATUS_OK;
    size_t taken = 0;
    (void)owner;
    if (self->form) {
        status = multipart_take(&self->multipart, bytes, size, &taken, &why);
    } else {
        taken = MIN(upload_room(self->upload, MIN(size, UPLOAD_BUFFER)), size);
        status = upload_put(self->upload, bytes, taken, &why);
    }
    if (status == STATUS_OK)
        return taken;
    refuse(self, &why, "file");
    return 0;
}

void files_upload_end(struct http_request *request, void *owner)
{
    struct receiver *self = http_context(request);
    struct error why = {.status = STATUS_OK};
    (void)owner;
    if (self->form && multipart_end(&self->multipart, &why) != STATUS_OK) {
        refuse(self, &why, "file");
        return;
    }
    struct upload *upload = self->upload;
    self->upload = NULL;
    if (self->form)
        upload_end(upload, self->multipart.filename,
                   self->multipart.purpose[0] ? self->multipart.purpose : "batch");
    else
        upload_end(upload, self->name, self->purpose);
}
