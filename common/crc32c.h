/* crc32c - the Castagnoli checksum (polynomial 0x1EDC6F41, reflected; RFC 3720 appendix B.4)
 *
 * Start with 0; to go on over a second piece pass the first piece's result. Uses SSE4.2 where the
 * CPU has it. Any thread. Never fails. */
#ifndef CONVOY_COMMON_CRC32C_H
#define CONVOY_COMMON_CRC32C_H

#include "common/base.h"

uint32_t crc32c(uint32_t crc, const void *bytes, size_t size);

/* The same by table, on any CPU: the reference that the tests compare with. */
uint32_t crc32c_table(uint32_t crc, const void *bytes, size_t size);

#endif
