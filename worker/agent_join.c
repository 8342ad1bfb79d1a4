/* agent_join - the state folder, and joining; see agent_join.h */
#include "worker/agent_join.h"

#include "common/enrol.h"
#include "common/file.h"
#include "common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sodium/utils.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define BROKER_DEFAULT "tcp://127.0.0.1:7700"
#define ROTATE_MS      20000 /* to have a new key enrolled */

struct agent_join {
    const struct worker_params *params; /* the daemon's */
    void *zmq;                          /* not ours */
    char *folder;                       /* the state folder */
    char *path;                         /* of worker.key in it */
    int lock_fd;                        /* held while we live; -1: the folder is not used */
    bool member;                        /* `identity` is ours */
    struct curve_identity identity;     /* keys, name, brokers */
    struct broker_list brokers;         /* whom to serve */

    /* a new key in the making */
    bool rotating;               /* the thread runs, or has ended and was not looked at */
    pthread_t thread;            /* enrols */
    int done_fd;                 /* eventfd: the thread has ended */
    int stop_fd;                 /* eventfd: the thread is to end */
    struct token token;          /* for the thread */
    enum status status;          /* from the thread */
    struct error why;            /* likewise */
    struct curve_identity fresh; /* likewise */
};

/* --- the state folder ---------------------------------------------------------------------------
 */

static char *default_folder(void)
{
    const char *systemd = getenv("STATE_DIRECTORY"), *state = getenv("XDG_STATE_HOME"),
               *home = getenv("HOME");
    if (systemd && systemd[0] == '/')
        return xasprintf("%.*s", (int)strcspn(systemd, ":"), systemd);
    if (state && state[0] == '/')
        return xasprintf("%s/convoy/worker", state);
    if (home && home[0] == '/')
        return xasprintf("%s/.local/state/convoy/worker", home);
    return xasprintf("/var/tmp/convoy-worker-%u", (unsigned)getuid());
}

static bool has_identity(const struct agent_join *self)
{
    return access(self->path, F_OK) == 0;
}

/* Two workers with one key would end each other's sessions for ever. */
static enum status lock_folder(struct agent_join *self, struct error *why)
{
    enum status s = file_mkdirs(self->folder, why);
    if (s != STATUS_OK)
        return s;
    char *path = xasprintf("%s/lock", self->folder);
    self->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (self->lock_fd < 0)
        s = fail(why, STATUS_IO, "cannot open %s: %s", path, strerror(errno));
    else if (flock(self->lock_fd, LOCK_EX | LOCK_NB) != 0)
        s = fail(why, STATUS_CONFLICT,
                 "the state folder %s is in use by another worker: give each its own --state",
                 self->folder);
    free(path);
    return s;
}

static enum status read_identity(struct agent_join *self, struct error *why)
{
    enum status s = curve_identity_read(&self->identity, self->path, why);
    if (s == STATUS_OK && strcmp(self->identity.role, "worker") != 0) {
        curve_identity_wipe(&self->identity);
        return fail(why, STATUS_INVALID, "%s: is no worker's, but a %s's", self->path,
                    self->identity.role[0] ? self->identity.role : "broker");
    }
    self->member = s == STATUS_OK;
    return s;
}

/* --- whom to serve ------------------------------------------------------------------------------
 */

/* Brokers that were named: those with a key need an identity that knows them. */
static enum status take_named(struct agent_join *self, struct error *why)
{
    enum status s = brokers_parse(&self->brokers, self->params->brokers, why);
    bool keyed = false;
    for (size_t i = 0; s == STATUS_OK && i < self->brokers.len; i++)
        keyed |= self->brokers.list[i].keyed;
    if (s != STATUS_OK)
        return fail_in(why, "--brokers");
    if (!keyed)
        return s;
    if (!has_identity(self))
        return fail(why, STATUS_INVALID,
                    "--brokers: a broker with a key lets in whom its fleet knows: join it by "
                    "--join TOKEN; `convoy token create` makes one");
    s = lock_folder(self, why);
    return s == STATUS_OK ? read_identity(self, why) : s;
}

static enum status take_folder(struct agent_join *self, struct error *why)
{
    enum status s = lock_folder(self, why);
    if (s == STATUS_OK)
        s = read_identity(self, why);
    if (s == STATUS_OK)
        brokers_of(&self->brokers, &self->identity);
    if (s == STATUS_OK && self->brokers.len == 0)
        s = fail(why, STATUS_INVALID, "%s: names no broker: join again by --join TOKEN",
                 self->path);
    return s;
}

static enum status join(struct agent_join *self, int stop_fd, struct error *why)
{
    const struct enrol_wish wish = {.zmq = self->zmq,
                                    .line = self->params->join,
                                    .role = WIRE_WORKER,
                                    .name = self->params->name,
                                    .path = self->path,
                                    .patience_ms = self->params->join_ms,
                                    .stop_fd = stop_fd};
    enum status s = lock_folder(self, why);
    if (s == STATUS_OK)
        s = enrol_join(&wish, &self->identity, why);
    self->member = s == STATUS_OK;
    if (self->member)
        brokers_of(&self->brokers, &self->identity);
    return s;
}

static enum status find_fleet(struct agent_join *self, int stop_fd, struct error *why)
{
    const struct worker_params *params = self->params;
    if (params->join[0])
        return join(self, stop_fd, why);
    if (params->brokers[0])
        return take_named(self, why);
    if (has_identity(self))
        return take_folder(self, why);
    if (params->state[0])
        return fail(why, STATUS_INVALID,
                    "--state: %s is missing: this worker has not joined a fleet yet: --join TOKEN",
                    self->path);
    return brokers_parse(&self->brokers, BROKER_DEFAULT, why);
}

enum status agent_join_open(struct agent_join **out, const struct worker_params *params, void *zmq,
                            int stop_fd, struct error *why)
{
    struct agent_join *self = xcalloc(1, sizeof *self);
    *out = self;
    self->params = params;
    self->zmq = zmq;
    self->lock_fd = self->done_fd = self->stop_fd = -1;
    self->folder = params->state[0] ? xstrdup(params->state) : default_folder();
    self->path = xasprintf("%s/worker.key", self->folder);
    return find_fleet(self, stop_fd, why);
}

const struct broker_list *agent_join_brokers(const struct agent_join *self)
{
    return &self->brokers;
}

const struct curve_identity *agent_join_identity(const struct agent_join *self)
{
    return self->member ? &self->identity : NULL;
}

static void write_identity(const struct agent_join *self)
{
    struct error why;
    if (curve_identity_write(&self->identity, self->path, &why) != STATUS_OK)
        LOG_ERROR("identity_not_written", "path=%s why=%s", self->path, why.text);
}

void agent_join_learnt(struct agent_join *self, const struct broker_address *address)
{
    if (self->member && address->keyed &&
        curve_identity_add(&self->identity, address->endpoint, &address->key))
        write_identity(self);
}

void agent_join_moved(struct agent_join *self, const char *old_endpoint,
                      const struct broker_address *now)
{
    if (!self->member)
        return;
    curve_identity_remove(&self->identity, old_endpoint);
    curve_identity_add(&self->identity, now->endpoint, &now->key);
    write_identity(self);
}

/* --- a new key ----------------------------------------------------------------------------------
 */

static void *rotate_thread(void *arg)
{
    struct agent_join *self = arg;
    const struct enrol_config config = {.zmq = self->zmq,
                                        .token = &self->token,
                                        .name = self->identity.name,
                                        .patience_ms = ROTATE_MS,
                                        .stop_fd = self->stop_fd};
    self->status = enrol_run(&config, &self->fresh, &self->why);
    eventfd_write(self->done_fd, 1);
    return NULL;
}

static void end_thread(struct agent_join *self)
{
    pthread_join(self->thread, NULL);
    close(self->done_fd);
    close(self->stop_fd);
    self->done_fd = self->stop_fd = -1;
    token_wipe(&self->token);
    self->rotating = false;
}

void agent_join_rotate(struct agent_join *self, const struct wire_in *in, const char *enrol_at,
                       const struct broker_address *from)
{
    size_t key_size, secret_size;
    const void *key = wire_bytes(in->map, KEY_PUBLIC, &key_size);
    const void *secret = wire_bytes(in->map, KEY_SECRET, &secret_size);
    if (!self->member || self->rotating || secret_size != TOKEN_SECRET_BYTES ||
        key_size != CURVE_KEY_BYTES ||
        memcmp(key, self->identity.public_key.bytes, CURVE_KEY_BYTES) != 0)
        return;
    self->token = (struct token){.brokers_len = 1, .role = WIRE_WORKER};
    text_copy(self->token.brokers[0].control, NET_ADDRESS_MAX, from->endpoint);
    text_copy(self->token.brokers[0].enrol, NET_ADDRESS_MAX, enrol_at);
    self->token.brokers[0].key = from->key;
    memcpy(self->token.secret, secret, TOKEN_SECRET_BYTES);
    self->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    self->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    self->rotating = true;
    if (self->done_fd < 0 || self->stop_fd < 0 ||
        pthread_create(&self->thread, NULL, rotate_thread, self) != 0)
        panic("no thread for a new key: %s", strerror(errno));
}

int agent_join_fd(const struct agent_join *self)
{
    return self->done_fd;
}

/* The new keys, with all else that we knew. */
static void renew(struct agent_join *self)
{
    char fingerprint[CURVE_FINGERPRINT_SIZE];
    self->identity.public_key = self->fresh.public_key;
    self->identity.secret_key = self->fresh.secret_key;
    curve_identity_wipe(&self->fresh);
    write_identity(self);
    LOG_INFO("key_renewed", "node=%s key=%s", self->identity.name,
             curve_fingerprint(fingerprint, &self->identity.public_key));
}

bool agent_join_renewed(struct agent_join *self)
{
    eventfd_t ended;
    if (!self->rotating || eventfd_read(self->done_fd, &ended) != 0)
        return false;
    end_thread(self);
    if (self->status != STATUS_OK) {
        LOG_WARN("key_not_renewed", "why=%s action=%s", self->why.text, "the old key stays");
        return false;
    }
    renew(self);
    return true;
}

void agent_join_close(struct agent_join **self_p)
{
    struct agent_join *self = *self_p;
    if (!self)
        return;
    if (self->rotating) {
        eventfd_write(self->stop_fd, 1);
        end_thread(self);
        if (self->status == STATUS_OK) /* the fleet takes it for ours: do not lose it */
            renew(self);
    }
    curve_identity_wipe(&self->identity);
    if (self->lock_fd >= 0)
        close(self->lock_fd);
    free(self->path);
    free(self->folder);
    free(self);
    *self_p = NULL;
}
