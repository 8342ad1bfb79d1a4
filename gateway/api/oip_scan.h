/* oip_scan - take the number lists out of an inference request's JSON
 *
 * One walk over the text: each inputs[i].data list is left where it is and remembered as a span,
 * and what is left, the envelope, is small enough for a JSON library. In the envelope a span is its
 * number. Pure; any thread. */
#ifndef CONVOY_GATEWAY_API_OIP_SCAN_H
#define CONVOY_GATEWAY_API_OIP_SCAN_H

#include "common/limits.h"
#include "common/status.h"

#define OIP_SPANS_MAX 64 /* inputs of a request */

struct oip_scan {
    char *envelope;       /* JSON without the lists, ended by NUL; free() it */
    size_t envelope_size; /* its octets */
    size_t spans_len;     /* lists found */
    struct {
        const char *from; /* the '[' */
        const char *to;   /* behind the matching ']' */
    } spans[OIP_SPANS_MAX];
};

/* INVALID: brackets or quotes do not match, "data" is no list, or a bound is broken; what else is
 * wrong shows when the envelope is parsed. `text[size]` must be a NUL. On failure nothing is to be
 * freed. */
enum status oip_scan(struct oip_scan *out, const char *text, size_t size, struct error *why);

#endif
