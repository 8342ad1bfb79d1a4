/* progress - how far something long is: a bar on a terminal, a plain line now and then elsewhere
 *
 * Draws on stderr, at most ten times a second on a terminal; elsewhere, from the third second on, a
 * line every 2 s and at each tenth. Silent with --quiet. One thread. */
#ifndef CONVOY_GATEWAY_CLI_PROGRESS_H
#define CONVOY_GATEWAY_CLI_PROGRESS_H

#include "common/base.h"

struct progress {
    const char *label;    /* "upload", "score" */
    bool terminal;        /* stderr is one */
    bool silent;          /* nothing is drawn */
    bool bytes;           /* amounts are octets */
    uint64_t start_ns;    /* when it began */
    uint64_t drawn_ns;    /* when it was drawn last */
    unsigned drawn_tenth; /* plain lines: tenths shown so far */
    bool open;            /* the cursor stands on the bar's line */
};

void progress_start(struct progress *self, const char *label, bool bytes);

/* `extra` follows the bar: "2 failed, 1 redelivered"; NULL or "" for none. `rate` is amounts per
 * second, 0: from the start of this bar. */
void progress_show(struct progress *self, uint64_t done, uint64_t total, double rate,
                   const char *extra);

/* Draw the last state whatever the clock says and go to a new line. */
void progress_end(struct progress *self, uint64_t done, uint64_t total, double rate,
                  const char *extra);

/* Make room for a message: clear the bar's line; the next show draws it again. */
void progress_clear(struct progress *self);

#endif
