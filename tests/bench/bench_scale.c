/* bench_scale - a broker with thousands of idle enrolled peers, and how fast they come back
 *
 *   bench_scale BROKER [IDLE [BACK [PROCESSES]]]
 *
 * IDLE (7500) workers with keys of their own join one broker with CURVE on, both connections open,
 * heartbeats as of idle peers; they live in PROCESSES (15) processes. Prints the broker's memory
 * and its part of a core while they are idle. Then the broker is killed and started again in a
 * fleet of BACK (2000): prints how long it takes from its start until
 * all have a session again and the median peer has, what the broker computed for that, and how many
 * sessions it took (as many as peers where nobody gave up and tried again). IDLE or BACK of 0: that
 * part is left out. */
#include "common/clock.h"
#include "common/file.h"
#include "common/link.h"
#include "common/log.h"

#include <inttypes.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PROCESSES_MAX  64
#define PEERS_MAX      65536
#define TURN_US        50000 /* between two looks at all links of a process: it costs little */
#define STARTS_A_TURN  4     /* peers of a process that begin at a time */
#define IDLE_S         30
#define PATIENCE_S     120
#define SOCKETS_A_PEER 16 /* control, data, the watch; as many again are still being closed */

struct scale {
    const char *program; /* the broker */
    char folder[64];     /* its state */
    char address[64];
    struct curve_identity broker; /* its keys */
    struct curve_identity *peers;
    uint32_t peers_len, processes;
    pid_t pids[PROCESSES_MAX];
    struct shared *shared;
};

/* What the peers' processes tell the first one; memory of all of them. */
struct shared {
    _Atomic uint32_t up[PROCESSES_MAX];       /* sessions of each process */
    _Atomic uint32_t sessions[PROCESSES_MAX]; /* that they ever opened */
    _Atomic uint64_t up_ns[PEERS_MAX];        /* when each peer opened its last one */
};

/* --- peers -------------------------------------------------------------------------------------
 */

static bool always_idle(const void *owner)
{
    (void)owner;
    return true;
}

static struct link *dial(const struct scale *self, void *zmq, uint32_t peer)
{
    char name[32];
    snprintf(name, sizeof name, "peer-%u", peer);
    const struct link_config config = {.endpoint = self->address,
                                       .role = WIRE_WORKER,
                                       .uuid = id_random(),
                                       .incarnation = 1,
                                       .name = name,
                                       .idle = always_idle,
                                       .server_key = &self->broker.public_key,
                                       .identity = &self->peers[peer]};
    return link_new(zmq, &config);
}

/* Everything that is to be done for a peer; whether it has a session. */
static bool step(const struct scale *self, struct link *link, uint32_t process, uint32_t peer,
                 struct wire_in *in)
{
    enum link_event event;
    while ((event = link_step(link, clock_mono_ns(), in)) != LINK_NONE)
        if (event == LINK_UP) {
            atomic_fetch_add(&self->shared->sessions[process], 1);
            atomic_store(&self->shared->up_ns[peer], clock_mono_ns());
        }
    return link_up(link);
}

static void peers_main(const struct scale *self, uint32_t process)
{
    uint32_t per = (self->peers_len + self->processes - 1) / self->processes;
    uint32_t first = process * per, end = MIN(first + per, self->peers_len), begun = first;
    struct link **links = xcalloc(per, sizeof *links);
    struct wire_in in = {0};
    void *zmq = zmq_ctx_new();
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    log_start("peers", LOG_LEVEL_ERROR);
    zmq_ctx_set(zmq, ZMQ_MAX_SOCKETS, (int)(per * SOCKETS_A_PEER + 64));
    for (;;) {
        for (int i = 0; i < STARTS_A_TURN && begun < end; i++, begun++)
            links[begun - first] = dial(self, zmq, begun);
        uint32_t up = 0;
        for (uint32_t i = first; i < begun; i++)
            up += step(self, links[i - first], process, i, &in) ? 1 : 0;
        atomic_store(&self->shared->up[process], up);
        usleep(TURN_US); /* why: the pace of a process of idle peers */
    }
}

/* --- the broker ---------------------------------------------------------------------------------
 */

static void free_address(struct scale *self)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    unsigned port = 0;
    /* Below the ports that the thousands of connections are given. */
    for (int i = 0; i < 100 && port == 0; i++) {
        unsigned one = 10000 + (unsigned)(random_u64() % 20000);
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        at.sin_port = htons((uint16_t)one);
        if (bind(fd, (struct sockaddr *)&at, sizeof at) == 0)
            port = one;
        close(fd);
    }
    if (port == 0)
        panic("no free port");
    snprintf(self->address, sizeof self->address, "tcp://127.0.0.1:%u", port);
}

/* The broker's copy of the ledger's nodes, as it keeps it for the time when no gateway is up. Its
 * own key stands for the gateway's. */
static void write_registry(const struct scale *self)
{
    char key[CURVE_TEXT_SIZE];
    struct error why;
    char *path = xasprintf("%s/registry", self->folder), *text = NULL;
    size_t size = 0;
    FILE *file = open_memstream(&text, &size);
    fprintf(file, "convoy-registry 1\ngateway %s 1\n",
            curve_key_text(key, &self->broker.public_key));
    for (uint32_t i = 0; i < self->peers_len; i++)
        fprintf(file, "%s %d %d peer-%u\n", curve_key_text(key, &self->peers[i].public_key),
                WIRE_WORKER, WIRE_MEMBER, i);
    fprintf(file, "end\n");
    fclose(file);
    if (file_write_private(path, text, size, &why) != STATUS_OK)
        panic("%s", why.text);
    free(text);
    free(path);
}

static pid_t start_broker(const struct scale *self)
{
    char fd[16], sessions[16], key[CURVE_TEXT_SIZE], line[512] = "";
    int pipes[2];
    if (pipe(pipes) != 0)
        panic("no pipe");
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        snprintf(fd, sizeof fd, "%d", pipes[1]);
        snprintf(sessions, sizeof sessions, "%u", self->peers_len + 16);
        curve_key_text(key, &self->broker.public_key);
        execl(self->program, self->program, "--listen", self->address, "--curve", "on", "--state",
              self->folder, "--enrol-listen", "off", "--gateway-keys", key, "--sessions-max",
              sessions, "--ready-fd", fd, "--log-level", "error", (char *)NULL);
        _exit(127);
    }
    close(pipes[1]);
    FILE *ready = fdopen(pipes[0], "r");
    if (!ready || !fgets(line, sizeof line, ready))
        panic("%s did not start", self->program);
    fclose(ready);
    return pid;
}

static double cpu_s(pid_t pid)
{
    clockid_t clock;
    struct timespec used = {0};
    if (clock_getcpuclockid(pid, &clock) == 0)
        clock_gettime(clock, &used);
    return (double)used.tv_sec + (double)used.tv_nsec / 1e9;
}

static double rss_gb(pid_t pid)
{
    char line[128], *path = xasprintf("/proc/%d/status", (int)pid);
    double kb = 0;
    FILE *file = fopen(path, "r");
    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, "VmRSS:", 6) == 0)
            kb = atof(line + 6);
    if (file)
        fclose(file);
    free(path);
    return kb * 1024 / 1e9;
}

/* --- a fleet ------------------------------------------------------------------------------------
 */

static uint32_t count_up(const struct scale *self)
{
    uint32_t up = 0;
    for (uint32_t i = 0; i < self->processes; i++)
        up += atomic_load(&self->shared->up[i]);
    return up;
}

static uint32_t count_sessions(const struct scale *self)
{
    uint32_t sessions = 0;
    for (uint32_t i = 0; i < self->processes; i++)
        sessions += atomic_load(&self->shared->sessions[i]);
    return sessions;
}

/* Seconds until `wanted` of them are up; or until fewer than that are. */
static double wait_up(const struct scale *self, uint32_t wanted, bool fewer)
{
    uint64_t start_ns = clock_mono_ns();
    while (fewer ? count_up(self) >= wanted : count_up(self) < wanted) {
        if (clock_mono_ns() - start_ns > PATIENCE_S * NS_PER_S)
            panic("%u of %u peers are up after %d s", count_up(self), wanted, PATIENCE_S);
        usleep(20000); /* why: between two looks at counters that other processes write */
    }
    return (double)(clock_mono_ns() - start_ns) / 1e9;
}

static void begin(struct scale *self, uint32_t peers, uint32_t processes)
{
    struct error why;
    self->peers_len = peers;
    self->processes = MIN(processes, (uint32_t)PROCESSES_MAX);
    snprintf(self->folder, sizeof self->folder, "/tmp/convoy-scale-XXXXXX");
    if (!mkdtemp(self->folder))
        panic("no folder");
    free_address(self);
    char *path = xasprintf("%s/broker.key", self->folder);
    if (curve_identity_open(&self->broker, path, &why) != STATUS_OK)
        panic("%s", why.text);
    free(path);
    self->peers = xcalloc(peers, sizeof *self->peers);
    for (uint32_t i = 0; i < peers; i++)
        curve_identity_make(&self->peers[i]);
    write_registry(self);
    self->shared =
        mmap(NULL, sizeof *self->shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (self->shared == MAP_FAILED)
        panic("no shared memory");
}

static void start_peers(struct scale *self)
{
    for (uint32_t i = 0; i < self->processes; i++)
        if ((self->pids[i] = fork()) == 0)
            peers_main(self, i);
}

static void end(struct scale *self, pid_t broker)
{
    for (uint32_t i = 0; i < self->processes; i++)
        kill(self->pids[i], SIGKILL);
    kill(broker, SIGKILL);
    while (wait(NULL) > 0)
        continue;
    for (const char *const *name = (const char *const[]){"broker.key", "registry", NULL}; *name;
         name++) {
        char *path = xasprintf("%s/%s", self->folder, *name);
        unlink(path);
        free(path);
    }
    rmdir(self->folder);
    free(self->peers);
    curve_identity_wipe(&self->broker);
    munmap(self->shared, sizeof *self->shared);
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* --- the two parts ------------------------------------------------------------------------------
 */

static void measure_idle(struct scale *self, uint32_t idle, uint32_t processes)
{
    begin(self, idle, processes);
    pid_t broker = start_broker(self);
    start_peers(self);
    double joined_s = wait_up(self, idle, false);
    printf("joined peers %u after_s %.1f broker_cpu_s %.1f\n", idle, joined_s, cpu_s(broker));
    fflush(stdout);
    sleep(10); /* why: joining is over, only heartbeats are left */
    double before_s = cpu_s(broker);
    sleep(IDLE_S); /* why: what is measured is a time of doing nothing */
    double percent = (cpu_s(broker) - before_s) * 100 / IDLE_S;
    printf("idle peers %u rss_gb %.2f cpu_percent %.1f still_up %u\n", idle, rss_gb(broker),
           percent, count_up(self));
    fflush(stdout);
    end(self, broker);
}

static void measure_back(struct scale *self, uint32_t back, uint32_t processes)
{
    begin(self, back, processes);
    pid_t broker = start_broker(self);
    start_peers(self);
    wait_up(self, back, false);
    kill(broker, SIGKILL);
    waitpid(broker, NULL, 0);
    wait_up(self, 1, true);
    uint32_t sessions = count_sessions(self);
    broker = start_broker(self);
    uint64_t start_ns = clock_mono_ns();
    wait_up(self, back, false);
    double cpu = cpu_s(broker), *after_s = xcalloc(back, sizeof *after_s);
    for (uint32_t i = 0; i < back; i++)
        after_s[i] = (double)(int64_t)(atomic_load(&self->shared->up_ns[i]) - start_ns) / 1e9;
    qsort(after_s, back, sizeof *after_s, by_size);
    printf("back peers %u median_s %.1f slowest_s %.1f broker_cpu_s %.1f sessions %u\n", back,
           after_s[back / 2], after_s[back - 1], cpu, count_sessions(self) - sessions);
    free(after_s);
    end(self, broker);
}

int main(int argc, char **argv)
{
    struct scale self = {.program = argc > 1 ? argv[1] : ""};
    uint32_t idle = argc > 2 ? (uint32_t)atoi(argv[2]) : 7500;
    uint32_t back = argc > 3 ? (uint32_t)atoi(argv[3]) : 2000;
    uint32_t processes = argc > 4 ? (uint32_t)atoi(argv[4]) : 15;
    struct rlimit files;
    if (argc < 2) {
        fprintf(stderr, "usage: bench_scale BROKER [IDLE [BACK [PROCESSES]]]\n");
        return 64;
    }
    log_start("scale", LOG_LEVEL_WARN);
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max; /* for all of them: the broker takes two a peer */
    setrlimit(RLIMIT_NOFILE, &files);
    printf("machine cores %ld open_files %" PRIu64 "\n", sysconf(_SC_NPROCESSORS_ONLN),
           (uint64_t)files.rlim_max);

    if (idle > 0)
        measure_idle(&self, MIN(idle, (uint32_t)PEERS_MAX), processes);
    if (back > 0)
        measure_back(&self, MIN(back, (uint32_t)PEERS_MAX), processes);
    return 0;
}
