/* states - what the disk may hold when the machine stops in the middle of a tape
 *
 * Follows a tape call by call and keeps apart what is on the disk for sure (fsync came back) and
 * what is only on its way: octets of a file, and names in a folder, each needing an fsync of its
 * own. From that it builds the folder as the next start finds it. */
#ifndef CONVOY_TESTS_CRASH_STATES_H
#define CONVOY_TESTS_CRASH_STATES_H

#include "tests/crash/disk.h"

struct states;

struct states *states_new(void);
void states_free(struct states *self);

/* The program came as far as to make this call. It stays where it is while `self` lives. */
void states_step(struct states *self, const struct disk_call *call);

enum loss {
    LOSS_NONE, /* the process was killed: all that it wrote is there */
    LOSS_TORN, /* the same, but of the last write only the first `detail` octets */
    LOSS_ALL,  /* the power failed: nothing that was not synced is there */
    LOSS_SOME  /* of what was not synced, each piece by chance; `detail` is the seed */
};

/* Make `folder` anew with what is there. False, and nothing is made, when `same` (may be 0) is
 * this very state. *id gets a number that equal states share. */
bool states_build(struct states *self, enum loss loss, uint64_t detail, const char *folder,
                  bool (*seen)(void *arg, uint64_t id), void *arg);

/* Remove a folder and what is in it. */
void states_remove(const char *folder);

#endif
