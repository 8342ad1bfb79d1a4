/* agent_ids - task ids gathered by gateway, to leave in few messages
 *
 * STARTED, NACK and CRASHED speak of many tasks at once. One thread. */
#ifndef CONVOY_WORKER_AGENT_IDS_H
#define CONVOY_WORKER_AGENT_IDS_H

#include "common/link.h"

/* Runs of ids in one message: at most 18 octets each, in 64 KiB with room to spare. */
#define IDS_RANGES_MAX 2048

struct agent_ids {
    struct uuid *gateways; /* [len] */
    struct taskset *sets;  /* [len] */
    size_t len;
    size_t room;
};

void agent_ids_add(struct agent_ids *self, const struct uuid *gateway, uint64_t number);
/* Send what was gathered as messages of `type` with STATUS and TEXT where `text` is not NULL, and
 * empty it. While the link is down they are lost: HELLO will tell what is held. */
void agent_ids_send(struct agent_ids *self, struct link *link, struct wire_out *out,
                    enum wire_type type, enum status status, const char *text);
/* Twice is harmless. */
void agent_ids_free(struct agent_ids *self);

#endif
