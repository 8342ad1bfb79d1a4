/* version - one version of a model as it lies in its folder: files, digests, manifest
 *
 * Reading a folder hashes every file, so it belongs on a thread of the pool. */
#ifndef CONVOY_GATEWAY_REPOSITORY_VERSION_H
#define CONVOY_GATEWAY_REPOSITORY_VERSION_H

#include "gateway/repository/repository.h"

#define VERSION_FILES_MAX 64          /* in a version's folder */
#define CONFIG_MAX        (256 * KIB) /* octets of config.json */
#define SIGNATURE_MAX     (256 * KIB) /* octets of a signature */

/* What online requests of a version took. */
struct version_stats {
    uint64_t success, success_ns; /* requests answered, from arrival to reply */
    uint64_t failure, failure_ns; /* requests answered with an error */
    uint64_t rows;                /* in the answered ones */
    uint64_t queue_ns;            /* waiting: gateway, broker and worker */
    uint64_t input_ns;            /* reading requests */
    uint64_t infer_ns;            /* computing */
    uint64_t output_ns;           /* writing answers */
    int64_t last_ms;              /* wall clock of the last request */
};

/* Always gives a version: what cannot be used is UNAVAILABLE, with the reason. `root` is the
 * repository's folder, `cache` that of signatures. A version whose signature is in the cache is
 * READY, otherwise LOADING. */
struct version *version_read(const char *root, const char *cache, const char *model,
                             uint32_t number);

/* Keep a signature for the next start; failing to is only logged. Any thread. */
void version_remember(const char *cache, const struct version *self, const void *json, size_t size);

/* Take over a signature: READY, or UNAVAILABLE when it makes no sense. */
void version_inspected(struct version *self, const void *json, size_t size);

/* Why it cannot be used. */
void version_fail(struct version *self, const struct error *why);

#endif
