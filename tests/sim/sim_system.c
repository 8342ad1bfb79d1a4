/* sim_system - what the programs ask of the machine: clocks, chance, the daemon skeleton
 *
 * These take the place of common's own, as the process that runs sees them. */
#include "tests/sim/sim_net.h"

#include "common/clock.h"
#include "common/daemon.h"
#include "common/ids.h"
#include "common/netopts.h"

#include <string.h>

#define WALL_START_MS INT64_C(1700000000000)

uint64_t clock_mono_ns(void)
{
    return sim_it->now_ns + sim_it->current->mono_ns;
}

int64_t clock_wall_ms(void)
{
    return WALL_START_MS + (int64_t)(sim_it->now_ns / MS) + sim_it->current->wall_ms;
}

uint64_t random_u64(void)
{
    return sim_random(sim_it, UINT64_MAX);
}

struct uuid id_random(void)
{
    struct uuid id;
    uint64_t words[2] = {random_u64(), random_u64()};
    memcpy(id.bytes, words, sizeof id.bytes);
    return id;
}

struct uuid id_new(void)
{
    return id_random();
}

void net_kick(int fd)
{
    net_shut(sim_it->net, fd);
}

uint64_t net_received(int fd)
{
    (void)fd;
    return 0; /* messages are whole here */
}

uint64_t net_delivered(int fd)
{
    (void)fd;
    return 0;
}

int daemon_signal_fd(const struct daemon_run *run)
{
    (void)run;
    return -1;
}

void daemon_endpoint(struct daemon_run *run, const char *name, const char *address)
{
    (void)run, (void)name, (void)address;
}

void daemon_drain(struct daemon_run *run)
{
    (void)run;
    sim_it->current->draining = true;
}
