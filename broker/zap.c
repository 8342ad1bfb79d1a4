/* zap - a REP socket, one answer for each question; see zap.h */
#include "broker/zap.h"

#include "common/clock.h"
#include "common/log.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define ADDRESS     "inproc://zeromq.zap.01"
#define TURN_MS     500 /* the thread moves at least so often */
#define CHECK_NS    NS_PER_S
#define CHECKS_MAX  8   /* checks without a move that are one too many */
#define PARTS       7   /* version, request, domain, address, identity, mechanism, key */
#define PART_MAX    256 /* octets: libzmq's own parts are shorter */
#define OFFENDERS   64  /* keys whose offences are remembered */
#define LINES_PER_S 20  /* refusals that are logged: strangers must not fill the disk */
/* For tests: the thread ends as soon as the file that this variable names exists. */
#define STOP_VARIABLE "CONVOY_TEST_ZAP_STOP"

/* So many a second, and a second's worth at once. */
struct bucket {
    uint32_t per_s;
    uint64_t filled_ns; /* when it was last looked at */
    double drops;       /* that may be taken now */
};

/* A member that asked for what its key does not allow. */
struct offender {
    struct curve_key key;
    uint32_t strikes;
    uint64_t until_ns; /* when that is forgotten; 0: entry unused */
};

struct zap {
    struct registry *registry;
    void *socket;                 /* REP; the thread's */
    int stop_fd, ended_fd;        /* eventfds: to the thread, from the thread */
    const char *stop_file;        /* for tests; NULL: none */
    pthread_t thread;             /* joined by zap_close */
    struct bucket enrol, lines;   /* the thread's */
    atomic_uint_fast64_t turns;   /* of the thread's loop */
    atomic_uint_fast64_t refused; /* handshakes */
    atomic_uint_fast64_t admitted;
    pthread_mutex_t lock; /* of the next four */
    struct offender offenders[OFFENDERS];
    bool testing; /* the next two are set: see zap_expect */
    struct curve_key friend;
    struct curve_key stranger;
    bool ended;              /* zap_dead: it was seen to have ended */
    uint64_t seen_turns;     /* zap_dead: at the last check */
    uint64_t check_ns;       /* zap_dead: when to check again */
    unsigned checks_unmoved; /* zap_dead: in a row */
};

/* A question, cut into its parts. */
struct question {
    char parts[PARTS][PART_MAX + 1]; /* ended by NUL */
    size_t sizes[PARTS];
    size_t len; /* parts that came, perhaps more than PARTS */
};

enum part { VERSION, REQUEST, DOMAIN, PEER, IDENTITY, MECHANISM, KEY };

static bool bucket_take(struct bucket *self, uint64_t now_ns)
{
    double more = (double)(now_ns - self->filled_ns) / (double)NS_PER_S * self->per_s;
    self->drops = MIN(self->drops + more, (double)self->per_s);
    self->filled_ns = now_ns;
    if (self->drops < 1.0)
        return false;
    self->drops -= 1.0;
    return true;
}

/* --- one handshake -----------------------------------------------------------------------------
 */

enum expected { NOBODY, FRIEND, STRANGER };

static enum expected expected(struct zap *self, const struct curve_key *key)
{
    enum expected who = NOBODY;
    pthread_mutex_lock(&self->lock);
    if (self->testing && curve_key_equal(&self->friend, key))
        who = FRIEND;
    else if (self->testing && curve_key_equal(&self->stranger, key))
        who = STRANGER;
    pthread_mutex_unlock(&self->lock);
    return who;
}

static bool banned(struct zap *self, const struct curve_key *key, uint64_t now_ns)
{
    bool out = false;
    pthread_mutex_lock(&self->lock);
    for (size_t i = 0; i < OFFENDERS; i++) {
        const struct offender *one = &self->offenders[i];
        out = out || (now_ns < one->until_ns && one->strikes >= ZAP_STRIKES &&
                      curve_key_equal(&one->key, key));
    }
    pthread_mutex_unlock(&self->lock);
    return out;
}

static void log_refused(struct zap *self, const struct question *question,
                        const struct curve_key *key, const char *node, const char *reason)
{
    char print[CURVE_FINGERPRINT_SIZE] = "none";
    if (key)
        curve_fingerprint(print, key);
    atomic_fetch_add(&self->refused, 1);
    if (bucket_take(&self->lines, clock_mono_ns()))
        LOG_WARN("peer_refused", "socket=%s key=%s node=%s address=%s reason=%s",
                 question->parts[DOMAIN], print, node, question->parts[PEER], reason);
}

/* ZAP's status: 200 come in, 300 try again, 400 no. `key` is the one that was asked for. */
static const char *decide(struct zap *self, const struct question *question, struct curve_key *key)
{
    struct registry_node node = {.name = ""};
    if (question->len != PARTS || strcmp(question->parts[VERSION], "1.0") != 0 ||
        strcmp(question->parts[MECHANISM], "CURVE") != 0 ||
        question->sizes[KEY] != CURVE_KEY_BYTES) {
        log_refused(self, question, NULL, "", "no CURVE key");
        return "400";
    }
    memcpy(key->bytes, question->parts[KEY], CURVE_KEY_BYTES);
    if (strcmp(question->parts[DOMAIN], ZAP_ENROL) == 0) {
        if (bucket_take(&self->enrol, clock_mono_ns()))
            return "200";
        log_refused(self, question, key, "", "too many enrolments at a time");
        return "300";
    }
    bool known = registry_find(self->registry, key, &node);
    if (known && node.standing != WIRE_REVOKED) {
        if (!banned(self, key, clock_mono_ns()))
            return "200";
        log_refused(
            self, question, key, node.name,
            "kept out for a minute: it asked again and again for another role than its own");
        return "400";
    }
    enum expected who = known ? NOBODY : expected(self, key);
    if (who != NOBODY)
        return who == FRIEND ? "200" : "400";
    log_refused(self, question, key, node.name, known ? "the key was revoked" : "unknown key");
    return "400";
}

static void reply(struct zap *self, const struct question *question, const char *status,
                  const struct curve_key *key)
{
    char user[CURVE_TEXT_SIZE] = "";
    if (status[0] == '2')
        curve_key_text(user, key);
    zmq_send(self->socket, "1.0", 3, ZMQ_SNDMORE);
    zmq_send(self->socket, question->parts[REQUEST], question->sizes[REQUEST], ZMQ_SNDMORE);
    zmq_send(self->socket, status, 3, ZMQ_SNDMORE);
    zmq_send(self->socket, "", 0, ZMQ_SNDMORE);
    zmq_send(self->socket, user, strlen(user), ZMQ_SNDMORE);
    zmq_send(self->socket, "", 0, 0);
}

/* False: no question is there, or the context ends. */
static bool take_question(struct zap *self, struct question *question)
{
    int more = 1;
    size_t size = sizeof more;
    *question = (struct question){.len = 0};
    while (more) {
        size_t at = MIN(question->len, (size_t)PARTS - 1);
        int got = zmq_recv(self->socket, question->parts[at], PART_MAX,
                           question->len == 0 ? ZMQ_DONTWAIT : 0);
        if (got < 0 || zmq_getsockopt(self->socket, ZMQ_RCVMORE, &more, &size) != 0)
            return false;
        question->sizes[at] = MIN((size_t)got, (size_t)PART_MAX);
        question->parts[at][question->sizes[at]] = '\0';
        question->len++;
    }
    return true;
}

/* --- the thread --------------------------------------------------------------------------------
 */

static bool told_to_stop(const struct zap *self, const zmq_pollitem_t *stop)
{
    return (stop->revents & ZMQ_POLLIN) || (self->stop_file && access(self->stop_file, F_OK) == 0);
}

static void *serve(void *arg)
{
    struct zap *self = arg;
    struct question question;
    const uint64_t one = 1;
    zmq_pollitem_t items[] = {{.socket = self->socket, .events = ZMQ_POLLIN},
                              {.fd = self->stop_fd, .events = ZMQ_POLLIN}};
    int turn_ms = self->stop_file ? 10 : TURN_MS;
    while ((zmq_poll(items, ARRAY_LEN(items), turn_ms) >= 0 || errno == EINTR) &&
           !told_to_stop(self, &items[1])) {
        atomic_fetch_add(&self->turns, 1);
        while (take_question(self, &question)) {
            struct curve_key key = {{0}};
            const char *status = decide(self, &question, &key);
            if (status[0] == '2')
                atomic_fetch_add(&self->admitted, 1);
            reply(self, &question, status, &key);
        }
    }
    zmq_close(self->socket);
    if (write(self->ended_fd, &one, sizeof one) != sizeof one)
        LOG_WARN("zap_end_untold");
    return NULL;
}

enum status zap_open(struct zap **out, void *context, struct registry *registry,
                     uint32_t enrol_per_s, struct error *why)
{
    struct zap *self = xcalloc(1, sizeof *self);
    const int none = 0;
    self->registry = registry;
    self->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    self->ended_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    self->stop_file = getenv(STOP_VARIABLE);
    self->enrol = (struct bucket){.per_s = enrol_per_s, .drops = enrol_per_s};
    self->lines = (struct bucket){.per_s = LINES_PER_S, .drops = LINES_PER_S};
    self->enrol.filled_ns = self->lines.filled_ns = clock_mono_ns();
    pthread_mutex_init(&self->lock, NULL);
    self->socket = zmq_socket(context, ZMQ_REP);
    bool made = self->stop_fd >= 0 && self->ended_fd >= 0 && self->socket &&
                zmq_setsockopt(self->socket, ZMQ_LINGER, &none, sizeof none) == 0 &&
                zmq_bind(self->socket, ADDRESS) == 0 &&
                pthread_create(&self->thread, NULL, serve, self) == 0;
    if (made) {
        *out = self;
        return STATUS_OK;
    }
    fail(why, STATUS_INTERNAL, "the ZAP handler cannot be started: %s", zmq_strerror(errno));
    if (self->socket)
        zmq_close(self->socket);
    close(self->stop_fd);
    close(self->ended_fd);
    free(self);
    return STATUS_INTERNAL;
}

void zap_close(struct zap **self_p)
{
    struct zap *self = *self_p;
    const uint64_t one = 1;
    if (!self)
        return;
    if (write(self->stop_fd, &one, sizeof one) != sizeof one)
        panic("an eventfd takes nothing");
    pthread_join(self->thread, NULL);
    pthread_mutex_destroy(&self->lock);
    close(self->stop_fd);
    close(self->ended_fd);
    free(self);
    *self_p = NULL;
}

void zap_expect(struct zap *self, const struct curve_key *friend, const struct curve_key *stranger)
{
    pthread_mutex_lock(&self->lock);
    self->testing = friend && stranger;
    if (self->testing) {
        self->friend = *friend;
        self->stranger = *stranger;
    }
    pthread_mutex_unlock(&self->lock);
}

bool zap_strike(struct zap *self, const struct curve_key *key, uint64_t now_ns)
{
    pthread_mutex_lock(&self->lock);
    struct offender *place = &self->offenders[0]; /* the key's own, else the one forgotten first */
    for (size_t i = 0; i < OFFENDERS; i++) {
        struct offender *one = &self->offenders[i];
        if (curve_key_equal(&one->key, key)) {
            place = one;
            break;
        }
        if (one->until_ns < place->until_ns)
            place = one;
    }
    if (!curve_key_equal(&place->key, key) || now_ns >= place->until_ns)
        *place = (struct offender){.key = *key};
    place->until_ns = now_ns + ZAP_BAN_MS * NS_PER_MS;
    bool out = ++place->strikes >= ZAP_STRIKES;
    pthread_mutex_unlock(&self->lock);
    return out;
}

int zap_ended_fd(const struct zap *self)
{
    return self->ended_fd;
}

bool zap_dead(struct zap *self, uint64_t now_ns)
{
    uint64_t ended = 0, turns = atomic_load(&self->turns);
    if (read(self->ended_fd, &ended, sizeof ended) == sizeof ended)
        self->ended = true;
    if (self->ended)
        return true;
    if (now_ns < self->check_ns)
        return false;
    self->check_ns = now_ns + CHECK_NS;
    self->checks_unmoved = turns == self->seen_turns ? self->checks_unmoved + 1 : 0;
    self->seen_turns = turns;
    return self->checks_unmoved >= CHECKS_MAX;
}

uint64_t zap_refused(const struct zap *self)
{
    return atomic_load(&self->refused);
}

uint64_t zap_admitted(const struct zap *self)
{
    return atomic_load(&self->admitted);
}
