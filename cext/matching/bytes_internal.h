/* What several parts need of bytes: comparing them, and numbers as LEB128. */
#ifndef RDK_BYTES_INTERNAL_H
#define RDK_BYTES_INTERNAL_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint64_t rdk_load64(const uint8_t *p) {
    uint64_t value;
    memcpy(&value, p, sizeof value);
    return value;
}

/* How many of the first `most` bytes are the same in both. */
static inline size_t rdk_equal_forward(const uint8_t *a, const uint8_t *b, size_t most) {
    size_t n = 0;
    while (most - n >= 32 &&
           !((rdk_load64(a + n) ^ rdk_load64(b + n)) | (rdk_load64(a + n + 8) ^ rdk_load64(b + n + 8)) |
             (rdk_load64(a + n + 16) ^ rdk_load64(b + n + 16)) | (rdk_load64(a + n + 24) ^ rdk_load64(b + n + 24))))
        n += 32;
    for (; most - n >= 8; n += 8) {
        uint64_t difference = rdk_load64(a + n) ^ rdk_load64(b + n);
        if (difference) return n + ((size_t)__builtin_ctzll(difference) >> 3);
    }
    while (n < most && a[n] == b[n]) n++;
    return n;
}

static inline uint64_t rdk_zigzag(uint64_t value) { return value << 1 ^ (0 - (value >> 63)); }

static inline uint64_t rdk_unzigzag(uint64_t value) { return value >> 1 ^ (0 - (value & 1)); }

/* Appends; 0 if fewer than ten bytes are left. */
static inline int rdk_put_leb128(uint8_t **at, const uint8_t *end, uint64_t value) {
    if (end - *at < 10) return 0;
    while (value >= 0x80) {
        *(*at)++ = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    *(*at)++ = (uint8_t)value;
    return 1;
}

/* Takes; 0 if the number does not end before `end` or exceeds 64 bits. */
static inline int rdk_get_leb128(const uint8_t **at, const uint8_t *end, uint64_t *value) {
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        if (*at == end) return 0;
        uint8_t byte = *(*at)++;
        if (shift == 63 && byte > 1) return 0;
        v |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) {
            *value = v;
            return 1;
        }
    }
    return 0;
}

#endif
