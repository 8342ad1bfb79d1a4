/* gateway - what the parts of this process share; main.c makes it in the order of the fields
 *
 * Parts with state of their own start before the fleet connects and stop in reverse. */
#ifndef CONVOY_GATEWAY_GATEWAY_H
#define CONVOY_GATEWAY_GATEWAY_H

#include "common/params.h"
#include "gateway/counters.h"
#include "gateway/dead/dead.h"
#include "gateway/fleet.h"
#include "gateway/front.h"
#include "gateway/http/server.h"
#include "gateway/identity.h"
#include "gateway/ledger/ledger.h"
#include "gateway/pool.h"
#include "gateway/registry/registry.h"
#include "gateway/repository/repository.h"

struct gateway_params {
#define PARAM PARAM_FIELD
#include "gateway/params.def"
#undef PARAM
};

struct keys;
struct shares;
struct trainings;
struct usage;

struct gateway {
    const struct gateway_params *params; /* filled by daemon_main */
    struct identity identity;            /* who we are; the data folder's lock */
    bool keyed;                          /* `curve` is set: a broker has a key */
    struct curve_identity curve;         /* our keys for CURVE links */
    uint32_t connections_max;            /* of HTTP, as descriptors allow */
    char *models_root;                   /* folder of models */
    struct front *front;                 /* posts and timers */
    struct pool *pool;                   /* threads for files */
    void *zmq;                           /* ZeroMQ context */
    struct ledger *ledger;               /* what was promised, on disk */
    struct keys *keys;                   /* of the HTTP API */
    struct usage *usage;                 /* by tenant */
    struct shares *shares;               /* of tenants */
    struct fleet *fleet;                 /* links to the brokers */
    struct repository *repository;       /* models */
    struct registry *registry;           /* nodes and tokens */
    struct dead *dead;                   /* dead letters */
    struct jobs *jobs;                   /* dataset jobs */
    struct trainings *trainings;         /* training jobs */
    struct http_server *http;            /* last: nobody asks before the rest is there */
    bool draining;                       /* SIGTERM came: refuse new work */
};

#endif
