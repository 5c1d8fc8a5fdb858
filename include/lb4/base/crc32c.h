/* CRC-32C (Castagnoli), the checksum of RFC 4960 appendix B that PROXY headers may carry. */
#ifndef LB4_BASE_CRC32C_H
#define LB4_BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* The sum of what `sum` covers and then of `bytes`; begin with 0. */
uint32_t crc32c(uint32_t sum, const void *bytes, size_t n);

#endif
