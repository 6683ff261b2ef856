/* LEB128 numbers, as recipes and token deltas hold them. */
#ifndef RDK_DEFLATE_NUMBERS_H
#define RDK_DEFLATE_NUMBERS_H

#include <stdbool.h>
#include <stdint.h>

typedef struct rdk_reader {
    const uint8_t *at, *end;
    bool bad;
} rdk_reader;

static inline uint64_t rdk_take_number(rdk_reader *in) {
    uint64_t value = 0;
    for (int shift = 0; shift < 63; shift += 7) {
        if (in->at == in->end) break;
        uint8_t byte = *in->at++;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) return value;
    }
    in->bad = true;
    return 0;
}

typedef struct rdk_writer {
    uint8_t *at, *end;
    bool full;
} rdk_writer;

static inline void rdk_put_byte(rdk_writer *out, uint8_t byte) {
    if (out->at == out->end) out->full = true;
    else *out->at++ = byte;
}

static inline void rdk_put_number(rdk_writer *out, uint64_t value) {
    for (; value >= 0x80; value >>= 7) rdk_put_byte(out, (uint8_t)(value | 0x80));
    rdk_put_byte(out, (uint8_t)value);
}

#endif
