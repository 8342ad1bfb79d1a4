/* bench_proxy - tasks per second through zmq_proxy() and nothing else
 *
 *   bench_proxy [SECONDS [WINDOW]]
 *
 * What bench_fabric's fabric is measured against: the same sizes (3136 octets out, 64 back), two
 * worker processes and the proxy in one of its own, on loopback, WINDOW tasks (64) on their way.
 * The proxy knows no task: it hands each message to the next worker. */
#include "common/clock.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zmq.h>

#define BODY_BYTES   3136
#define RESULT_BYTES 64
#define WORKERS      2

static void *open_socket(void *zmq, int type)
{
    int none = 0;
    void *socket = zmq_socket(zmq, type);
    zmq_setsockopt(socket, ZMQ_LINGER, &none, sizeof none);
    zmq_setsockopt(socket, ZMQ_SNDHWM, &none, sizeof none);
    zmq_setsockopt(socket, ZMQ_RCVHWM, &none, sizeof none);
    return socket;
}

/* Bind both sides on free ports, tell them over the pipe, and pass on for ever. */
static void proxy_main(int tell)
{
    void *zmq = zmq_ctx_new();
    void *sides[2] = {open_socket(zmq, ZMQ_ROUTER), open_socket(zmq, ZMQ_DEALER)};
    char addresses[2][64] = {"", ""};
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (int i = 0; i < 2; i++) {
        size_t size = sizeof addresses[i];
        if (zmq_bind(sides[i], "tcp://127.0.0.1:*") != 0 ||
            zmq_getsockopt(sides[i], ZMQ_LAST_ENDPOINT, addresses[i], &size) != 0)
            _exit(1);
    }
    if (write(tell, addresses, sizeof addresses) != (ssize_t)sizeof addresses)
        _exit(1);
    zmq_proxy(sides[0], sides[1], NULL);
    _exit(0);
}

/* Answer each task: its route, then 64 octets. */
static void worker_main(const char *address)
{
    static const uint8_t answer[RESULT_BYTES];
    void *socket = open_socket(zmq_ctx_new(), ZMQ_DEALER);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    zmq_connect(socket, address);
    for (;;) {
        zmq_msg_t route, body;
        zmq_msg_init(&route);
        zmq_msg_init(&body);
        if (zmq_msg_recv(&route, socket, 0) < 0 || zmq_msg_recv(&body, socket, 0) < 0)
            _exit(1);
        zmq_msg_close(&body);
        zmq_msg_send(&route, socket, ZMQ_SNDMORE);
        zmq_send(socket, answer, sizeof answer, 0);
    }
}

static double measure(void *socket, double seconds, uint64_t window)
{
    static const uint8_t body[BODY_BYTES];
    uint64_t sent = 0, done = 0, start_ns = clock_mono_ns();
    uint64_t end_ns = start_ns + (uint64_t)(seconds * 1e9);
    while (clock_mono_ns() < end_ns) {
        uint8_t answer[RESULT_BYTES];
        for (; sent - done < window; sent++)
            zmq_send(socket, body, sizeof body, 0);
        if (zmq_recv(socket, answer, sizeof answer, 0) == (int)sizeof answer)
            done++;
        while (zmq_recv(socket, answer, sizeof answer, ZMQ_DONTWAIT) == (int)sizeof answer)
            done++;
    }
    double rate = (double)done / ((double)(clock_mono_ns() - start_ns) / 1e9);
    /* None is left for the next call, which would count it as its own. */
    for (uint8_t answer[RESULT_BYTES]; done < sent; done++)
        if (zmq_recv(socket, answer, sizeof answer, 0) < 0)
            break;
    return rate;
}

int main(int argc, char **argv)
{
    double seconds = argc > 1 ? atof(argv[1]) : 3;
    uint64_t window = argc > 2 ? strtoull(argv[2], NULL, 10) : 64;
    char addresses[2][64];
    int pipes[2];
    if (pipe(pipes) != 0)
        return 1;
    if (fork() == 0)
        proxy_main(pipes[1]);
    if (read(pipes[0], addresses, sizeof addresses) != (ssize_t)sizeof addresses)
        return 1;
    for (int i = 0; i < WORKERS; i++)
        if (fork() == 0)
            worker_main(addresses[1]);
    void *socket = open_socket(zmq_ctx_new(), ZMQ_DEALER);
    zmq_connect(socket, addresses[0]);
    measure(socket, 0.5, window); /* connections come up */
    printf("proxy window %" PRIu64 " tasks_per_s %.0f\n", window, measure(socket, seconds, window));
    return 0; /* the children die with us */
}
