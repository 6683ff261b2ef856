/* Reading bits in the order of RFC 1951 3.1.1: the first bit is a byte's lowest. */
#ifndef RDK_DEFLATE_BIT_READER_H
#define RDK_DEFLATE_BIT_READER_H

#include "base/bytes.h"

/* Returns at least 57 bits from bit `bit` of `input` on, the first one lowest; zeros stand for bits beyond `length`
 * bytes. */
static inline uint64_t rdk_peek_bits(const uint8_t *input, size_t length, uint64_t bit) {
    size_t byte = (size_t)(bit >> 3);
    uint64_t value = 0;
    if (byte + 8 <= length) value = rdk_load64(input + byte);
    else
        for (size_t i = byte; i < length; i++) value |= (uint64_t)input[i] << 8 * (i - byte);
    return value >> (bit & 7);
}

#endif
