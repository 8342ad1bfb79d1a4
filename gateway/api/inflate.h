/* inflate - request bodies with Content-Encoding gzip or deflate
 *
 * Takes long for large ones: on a thread of the pool. */
#ifndef CONVOY_GATEWAY_API_INFLATE_H
#define CONVOY_GATEWAY_API_INFLATE_H

#include "gateway/bytes.h"
#include "common/status.h"

/* Is this one of ours: "gzip" or "deflate" (zlib container), any case? */
bool inflate_knows(const char *encoding);

/* A new block with the plain octets and one NUL behind them. INVALID: damaged or cut; TOO_LARGE:
 * more than `max` octets come out. */
enum status inflate_bytes(struct bytes **out, const struct bytes *packed, uint64_t max,
                          struct error *why);

#endif
