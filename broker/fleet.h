/* fleet - the other brokers, of which peers are told in WELCOME
 *
 * The list is a parameter, or a file that is read again when it changes: so a broker that is
 * started later becomes known to a running fleet. One thread. */
#ifndef CONVOY_BROKER_FLEET_H
#define CONVOY_BROKER_FLEET_H

#include "common/brokers.h"
#include "common/wire.h"

struct fleet_list {
    const char *source;         /* the parameter; not ours */
    struct broker_list brokers; /* that are told */
    uint64_t look_ns;           /* when to look at the file again */
    int64_t changed_ns;         /* the file's time of change */
};

/* INVALID, NOT_FOUND, IO: the parameter or the file is wrong, with the place in the text. */
enum status fleet_open(struct fleet_list *self, const char *source, struct error *why);
/* Look at the file now and then; true when the list is another one. What is wrong is logged, and
 * the old list stays. */
bool fleet_changed(struct fleet_list *self, uint64_t now_ns);
/* Entries of a WELCOME's BROKERS, whose list is open. */
void fleet_put(const struct fleet_list *self, struct wire_out *out);

#endif
