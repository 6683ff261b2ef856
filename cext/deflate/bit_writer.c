#include "bit_writer.h"

#include <string.h>

void rdk_bits_open(rdk_bit_writer *bits, uint8_t *at, size_t capacity, uint32_t zero_bits) {
    *bits = (rdk_bit_writer){.at = at, .end = at + capacity, .held = zero_bits};
}

/* Moves whole bytes out of `hold`. */
static void drain(rdk_bit_writer *bits) {
    while (bits->held >= 8) {
        if (bits->at == bits->end) {
            bits->full = true;
            bits->held &= 7;
            return;
        }
        *bits->at++ = (uint8_t)bits->hold;
        bits->hold >>= 8;
        bits->held -= 8;
    }
}

void rdk_bits_put(rdk_bit_writer *bits, uint64_t value, uint32_t count) {
    if (bits->full) return;
    bits->hold |= value << bits->held;
    bits->held += count;
    drain(bits);
}

void rdk_bits_copy(rdk_bit_writer *bits, const uint8_t *from, uint64_t bit, uint64_t count) {
    while (count > 0) {
        uint32_t shift = (uint32_t)(bit & 7), take = 8 - shift;
        if (take > count) take = (uint32_t)count;
        rdk_bits_put(bits, ((uint32_t)from[bit >> 3] >> shift) & ((1u << take) - 1), take);
        bit += take;
        count -= take;
    }
}

void rdk_bits_align(rdk_bit_writer *bits) {
    if (bits->held) rdk_bits_put(bits, 0, 8 - bits->held);
}

void rdk_bits_bytes(rdk_bit_writer *bits, const uint8_t *from, size_t count) {
    if (bits->full || (size_t)(bits->end - bits->at) < count) {
        bits->full = true;
        return;
    }
    if (count) memcpy(bits->at, from, count);
    bits->at += count;
}

void rdk_bits_close(rdk_bit_writer *bits) {
    if (bits->held == 0 || bits->full) return;
    if (bits->at == bits->end) {
        bits->full = true;
        return;
    }
    *bits->at++ = (uint8_t)bits->hold;
}
