/* Reading numbers from any address, and counting equal bytes.
 *
 * Everything here is inline because it stands in the innermost loops. Numbers are little-endian as on every machine
 * that the kernel runs on (`reducto.kernel` refuses others). */
#ifndef RDK_BASE_BYTES_H
#define RDK_BASE_BYTES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* A copy of fixed length compiles to one load and, unlike a cast, is defined for unaligned addresses (C11 6.5p7). */
static inline uint32_t rdk_load32(const uint8_t *at) {
    uint32_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

static inline uint64_t rdk_load64(const uint8_t *at) {
    uint64_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

/* Returns how many leading bytes of a and b are equal, at most `limit`; reads nothing beyond a[limit) and b[limit).
 * For deflate matches, of which most end within 16 bytes. */
static inline uint32_t rdk_equal_short(const uint8_t *a, const uint8_t *b, uint32_t limit) {
    uint32_t n = 0;
    while (n + 8 <= limit) {
        uint64_t difference = rdk_load64(a + n) ^ rdk_load64(b + n);
        if (difference) return n + (uint32_t)(__builtin_ctzll(difference) >> 3);
        n += 8;
    }
    while (n < limit && a[n] == b[n]) n++;
    return n;
}

/* The same for ranges that mostly are kilobytes long: one test for every 32 bytes. */
static inline size_t rdk_equal_long(const uint8_t *a, const uint8_t *b, size_t limit) {
    size_t n = 0;
    while (limit - n >= 32 &&
           !((rdk_load64(a + n) ^ rdk_load64(b + n)) | (rdk_load64(a + n + 8) ^ rdk_load64(b + n + 8)) |
             (rdk_load64(a + n + 16) ^ rdk_load64(b + n + 16)) | (rdk_load64(a + n + 24) ^ rdk_load64(b + n + 24))))
        n += 32;
    for (; limit - n >= 8; n += 8) {
        uint64_t difference = rdk_load64(a + n) ^ rdk_load64(b + n);
        if (difference) return n + ((size_t)__builtin_ctzll(difference) >> 3);
    }
    while (n < limit && a[n] == b[n]) n++;
    return n;
}

#endif
