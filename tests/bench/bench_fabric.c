/* bench_fabric - tasks per second through a real broker with workers that compute nothing
 *
 *   bench_fabric BROKER [SECONDS [WINDOW]]
 *
 * Starts the broker program and two worker processes on loopback; this process is the gateway. Each
 * task carries a body of 3136 octets (a 28 x 28 image in float) and is answered by 64. Prints for
 * each window, or for WINDOW alone (tasks on their way at the same time) tasks/s and the broker's
 * processor time a task, which other programs on the machine do not change much, and at window 1
 * the median time of a round trip. Everything that real peers do is done: STARTED, HELD in
 * heartbeats, RESULT_ACK, credits. */
#include "common/clock.h"
#include "common/link.h"
#include "common/log.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BODY_BYTES   3136
#define RESULT_BYTES 64
#define WORKERS      2
#define CREDIT       512 /* tasks that a worker lets come */
#define SAMPLES_MAX  1000000

/* --- worker -------------------------------------------------------------------------------------
 */

struct worker {
    struct link *link;
    struct wire_out *out;
    struct uuid uuid;
    struct uuid gateway; /* of the tasks: there is one */
    struct taskset held; /* results not acknowledged */
    uint64_t taken;      /* tasks in this session */
    uint64_t told;       /* credit last sent */
};

static void put_held(void *owner, struct wire_out *out)
{
    struct worker *self = owner;
    size_t next = 0;
    wire_list_open(out, KEY_HELD);
    wire_put_set(out, &self->gateway, &self->held, &next, 2048);
    wire_list_close(out);
}

static void worker_hello(void *owner, struct wire_out *out)
{
    wire_put_u64(out, KEY_CORES, 1);
    wire_put_u64(out, KEY_SLOTS, 1);
    put_held(owner, out);
}

static void worker_credit(struct worker *self)
{
    if (self->told && self->taken + CREDIT - self->told < CREDIT / 8)
        return;
    self->told = self->taken + CREDIT;
    wire_begin(self->out, WIRE_CREDIT);
    wire_put_u64(self->out, KEY_CREDIT_TASKS, self->told);
    wire_put_u64(self->out, KEY_CREDIT_BYTES, UINT64_C(1) << 40);
    link_send(self->link, self->out);
}

static void put_ids(struct wire_out *out, const struct uuid *gateway, const struct taskset *ids)
{
    size_t next = 0;
    wire_list_open(out, KEY_IDS);
    wire_put_set(out, gateway, ids, &next, 2048);
    wire_list_close(out);
}

static void worker_run(struct worker *self, const struct wire_in *in)
{
    static const uint8_t answer[RESULT_BYTES];
    struct taskset ids = taskset_make(2048);
    size_t len = wire_len(in->map, KEY_TASKS);
    for (size_t i = 0; i < len; i++)
        taskset_add(&ids, wire_u64(wire_at(in->map, KEY_TASKS, i), KEY_TASK));
    self->gateway = wire_uuid(wire_at(in->map, KEY_TASKS, 0), KEY_GATEWAY);
    taskset_add_all(&self->held, &ids);
    self->taken += len;
    wire_begin(self->out, WIRE_STARTED);
    put_ids(self->out, &self->gateway, &ids);
    link_send(self->link, self->out);
    wire_begin(self->out, WIRE_RESULT);
    wire_put_uuid(self->out, KEY_GATEWAY, &self->gateway);
    wire_put_uuid(self->out, KEY_WORKER, &self->uuid);
    wire_list_open(self->out, KEY_TASKS);
    for (size_t i = 0; i < len; i++) {
        wire_map_open(self->out);
        wire_put_u64(self->out, KEY_TASK, wire_u64(wire_at(in->map, KEY_TASKS, i), KEY_TASK));
        wire_put_u64(self->out, KEY_STATUS, STATUS_OK);
        wire_put_u64(self->out, KEY_FRAMES, 1);
        wire_put_u64(self->out, KEY_ROWS, 1);
        wire_put_u64(self->out, KEY_COMPUTE_NS, 1000);
        wire_map_close(self->out);
        wire_body_bytes(self->out, answer, sizeof(answer));
    }
    wire_list_close(self->out);
    link_send(self->link, self->out);
    worker_credit(self);
    taskset_free(&ids);
}

static void worker_ack(struct worker *self, const struct wire_in *in)
{
    for (size_t i = 0; i < wire_len(in->map, KEY_IDS); i++) {
        struct wire_map set = wire_at(in->map, KEY_IDS, i);
        for (size_t j = 0; j < wire_len(set, KEY_RANGES); j += 2)
            taskset_remove_range(&self->held, wire_number(set, KEY_RANGES, j),
                                 wire_number(set, KEY_RANGES, j + 1));
    }
}

static void wait_for(const struct link *link)
{
    zmq_pollitem_t items[LINK_POLL_MAX];
    size_t len = link_poll_items(link, items);
    uint64_t now_ns = clock_mono_ns(), next_ns = link_next_ns(link);
    zmq_poll(items, (int)len, next_ns > now_ns ? (long)((next_ns - now_ns) / NS_PER_MS + 1) : 0);
}

static struct link *dial(void *zmq, const char *broker, enum wire_role role,
                         const struct uuid *uuid, void *owner)
{
    struct link_config config = {.endpoint = broker, .role = role, .uuid = *uuid, .name = "bench"};
    config.incarnation = 1;
    config.owner = owner;
    if (role == WIRE_WORKER) {
        config.fill_hello = worker_hello;
        config.fill_heartbeat = put_held;
    }
    return link_new(zmq, &config);
}

static void worker_main(const char *broker)
{
    struct worker self = {.out = wire_out_new(), .uuid = id_random(), .held = taskset_make(65536)};
    struct wire_in in = {0};
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    self.link = dial(zmq_ctx_new(), broker, WIRE_WORKER, &self.uuid, &self);
    for (;;) {
        enum link_event event = link_step(self.link, clock_mono_ns(), &in);
        if (event == LINK_NONE)
            wait_for(self.link);
        if (event == LINK_UP) {
            self.taken = self.told = 0;
            worker_credit(&self);
        }
        if (event == LINK_MESSAGE && in.type == WIRE_DISPATCH)
            worker_run(&self, &in);
        if (event == LINK_MESSAGE && in.type == WIRE_RESULT_ACK)
            worker_ack(&self, &in);
    }
}

/* --- gateway ------------------------------------------------------------------------------------
 */

struct gateway {
    struct link *link;
    struct wire_out *out;
    struct uuid uuid;
    clockid_t broker;  /* its processor time */
    uint64_t next;     /* task number */
    uint64_t done;     /* results */
    uint64_t workers;  /* by the broker's HEARTBEAT */
    uint64_t credit;   /* tasks ever allowed */
    uint64_t sent_ns;  /* of the last SUBMIT */
    uint64_t *samples; /* ns per round trip, window 1 only */
    size_t samples_len;
};

static void gateway_submit(struct gateway *self, uint64_t len)
{
    static const struct digest model = {{1, 2, 3}};
    static const uint8_t body[BODY_BYTES];
    wire_begin(self->out, WIRE_SUBMIT);
    wire_put_digest(self->out, KEY_MODEL, &model);
    wire_list_open(self->out, KEY_TASKS);
    for (uint64_t i = 0; i < len; i++) {
        struct tensor tensor = {"x", DTYPE_FP32, 2, {28, 28}, NULL, BODY_BYTES};
        wire_map_open(self->out);
        wire_put_u64(self->out, KEY_TASK, self->next++);
        wire_put_u64(self->out, KEY_ROWS, 1);
        wire_put_u64(self->out, KEY_FRAMES, 1);
        wire_put_spec(self->out, &tensor, 1);
        wire_map_close(self->out);
        wire_body_bytes(self->out, body, sizeof(body));
    }
    wire_list_close(self->out);
    self->sent_ns = clock_mono_ns();
    link_send(self->link, self->out);
}

static void gateway_result(struct gateway *self, const struct wire_in *in)
{
    struct taskset ids = taskset_make(2048);
    struct uuid worker = wire_uuid(in->map, KEY_WORKER);
    size_t len = wire_len(in->map, KEY_TASKS);
    for (size_t i = 0; i < len; i++)
        taskset_add(&ids, wire_u64(wire_at(in->map, KEY_TASKS, i), KEY_TASK));
    self->done += len;
    if (self->samples_len < SAMPLES_MAX)
        self->samples[self->samples_len++] = clock_mono_ns() - self->sent_ns;
    wire_begin(self->out, WIRE_RESULT_ACK);
    wire_put_uuid(self->out, KEY_WORKER, &worker);
    put_ids(self->out, &self->uuid, &ids);
    link_send(self->link, self->out);
    taskset_free(&ids);
}

/* One event; false when there was none and it waited for one. */
static bool gateway_turn(struct gateway *self, struct wire_in *in)
{
    enum link_event event = link_step(self->link, clock_mono_ns(), in);
    if (event == LINK_UP)
        self->credit = link_terms(self->link)->credit_tasks;
    if (event == LINK_DOWN) {
        fprintf(stderr, "the broker went away\n");
        exit(1);
    }
    if (event == LINK_MESSAGE && in->type == WIRE_CREDIT)
        self->credit = wire_u64(in->map, KEY_CREDIT_TASKS);
    if (event == LINK_MESSAGE && in->type == WIRE_HEARTBEAT)
        self->workers = wire_u64(in->map, KEY_WORKERS);
    if (event == LINK_MESSAGE && in->type == WIRE_RESULT)
        gateway_result(self, in);
    return event != LINK_NONE;
}

static int by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static double us(const struct gateway *self, size_t sample)
{
    return (double)self->samples[sample] / 1e3;
}

static double cpu_us(const struct gateway *self)
{
    struct timespec used = {0};
    clock_gettime(self->broker, &used);
    return (double)used.tv_sec * 1e6 + (double)used.tv_nsec / 1e3;
}

static void measure(struct gateway *self, uint64_t window, double seconds)
{
    double cpu_before_us = cpu_us(self);
    struct wire_in in = {0};
    uint64_t start_ns = clock_mono_ns(), end_ns = start_ns + (uint64_t)(seconds * 1e9);
    uint64_t first = self->done;
    self->samples_len = 0;
    while (clock_mono_ns() < end_ns) {
        uint64_t away = self->next - 1 - self->done;
        uint64_t room = away < window ? window - away : 0;
        room = MIN(room, self->credit - (self->next - 1));
        /* Half a window at a time at most: the rest is on its way meanwhile. */
        if (room > 0)
            gateway_submit(self, MIN(MIN(room, MAX(window / 2, 1)), (uint64_t)WIRE_TASKS_MAX));
        if (!gateway_turn(self, &in))
            wait_for(self->link);
    }
    double rate = (double)(self->done - first) / ((double)(clock_mono_ns() - start_ns) / 1e9);
    printf("window %" PRIu64 " tasks_per_s %.0f broker_cpu_us_per_task %.1f", window, rate,
           (cpu_us(self) - cpu_before_us) / (double)MAX(self->done - first, 1));
    if (window == 1 && self->samples_len > 0) {
        qsort(self->samples, self->samples_len, sizeof(uint64_t), by_size);
        printf(" p50_us %.0f p99_us %.0f", us(self, self->samples_len / 2),
               us(self, self->samples_len * 99 / 100));
    }
    printf("\n");
    fflush(stdout);
    while (self->done < self->next - 1)
        if (!gateway_turn(self, &in))
            wait_for(self->link);
    wire_in_clear(&in);
}

/* --- processes ----------------------------------------------------------------------------------
 */

/* Start the broker on free ports; its control address comes over a pipe. */
static pid_t start_broker(const char *program, char *address, size_t size)
{
    int pipes[2];
    char fd[16], line[512] = "";
    if (pipe(pipes) != 0)
        return -1;
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        close(pipes[0]);
        snprintf(fd, sizeof(fd), "%d", pipes[1]);
        execl(program, program, "--listen", "tcp://127.0.0.1:0", "--ready-fd", fd, "--log-level",
              "warn", "--drain-ms", "100", (char *)NULL);
        _exit(127);
    }
    close(pipes[1]);
    FILE *ready = fdopen(pipes[0], "r");
    if (!ready || !fgets(line, sizeof(line), ready))
        return -1;
    fclose(ready);
    char *at = strstr(line, "control=");
    if (!at)
        return -1;
    at[8 + strcspn(at + 8, " \n")] = '\0';
    text_copy(address, size, at + 8);
    return pid;
}

int main(int argc, char **argv)
{
    char address[256];
    pid_t pids[WORKERS];
    struct wire_in in = {0};
    if (argc < 2) {
        fprintf(stderr, "usage: bench_fabric BROKER [SECONDS [WINDOW]]\n");
        return 64;
    }
    double seconds = argc > 2 ? atof(argv[2]) : 3;
    log_start("bench", LOG_LEVEL_WARN);
    pid_t broker = start_broker(argv[1], address, sizeof(address));
    if (broker < 0) {
        fprintf(stderr, "bench_fabric: %s did not start\n", argv[1]);
        return 1;
    }
    for (int i = 0; i < WORKERS; i++)
        if ((pids[i] = fork()) == 0)
            worker_main(address);
    struct gateway self = {.out = wire_out_new(), .uuid = id_random(), .next = 1};
    if (clock_getcpuclockid(broker, &self.broker) != 0)
        return 1;
    self.samples = xcalloc(SAMPLES_MAX, sizeof(uint64_t));
    self.link = dial(zmq_ctx_new(), address, WIRE_GATEWAY, &self.uuid, &self);
    while (self.workers < WORKERS)
        if (!gateway_turn(&self, &in))
            wait_for(self.link);
    wire_in_clear(&in);
    static const uint64_t windows[] = {1, 8, 64, 512};
    uint64_t only = argc > 3 ? strtoull(argv[3], NULL, 10) : 0;
    for (size_t i = 0; i < ARRAY_LEN(windows) && only == 0; i++)
        measure(&self, windows[i], seconds);
    if (only > 0)
        measure(&self, only, seconds);
    for (int i = 0; i < WORKERS; i++)
        kill(pids[i], SIGKILL);
    kill(broker, SIGTERM);
    while (wait(NULL) > 0)
        continue;
    return 0;
}
