/* Numbers of variable length: LEB128 as in DWARF 5, section 7.6 (seven bits a byte, the lowest first, the top bit says
 * that another byte follows), and the zigzag mapping that makes small negative numbers short (0, -1, 1, -2 -> 0, 1, 2,
 * 3). */
#ifndef RDK_BASE_LEB128_H
#define RDK_BASE_LEB128_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { RDK_LEB128_BYTES = 10 }; /* the longest number: 64 bits at seven a byte */

/* Writes `value` to `at`, where RDK_LEB128_BYTES must be writable; returns the bytes written. */
static inline size_t rdk_leb128_write(uint8_t *at, uint64_t value) {
    size_t n = 0;
    for (; value >= 0x80; value >>= 7) at[n++] = (uint8_t)(value | 0x80);
    at[n++] = (uint8_t)value;
    return n;
}

/* Reads a number of at most `bits` bits (63 or 64) from *at on and moves *at behind it. False: it does not end before
 * `end`, takes more bytes than such a number can, or exceeds 64 bits; then *at may have moved. */
static inline bool rdk_leb128_read(const uint8_t **at, const uint8_t *end, unsigned bits, uint64_t *value) {
    uint64_t sum = 0;
    for (unsigned shift = 0; shift < bits; shift += 7) {
        if (*at == end) return false;
        uint8_t byte = *(*at)++;
        if (shift == 63 && byte > 1) return false;
        sum |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) {
            *value = sum;
            return true;
        }
    }
    return false;
}

/* Appends `value` at *at. False: fewer than RDK_LEB128_BYTES are left before `end`, however short the number is,
 * because one test must do for it. */
static inline bool rdk_leb128_append(uint8_t **at, const uint8_t *end, uint64_t value) {
    if (end - *at < RDK_LEB128_BYTES) return false;
    *at += rdk_leb128_write(*at, value);
    return true;
}

static inline uint64_t rdk_zigzag(uint64_t value) { return value << 1 ^ (0 - (value >> 63)); }
static inline uint64_t rdk_unzigzag(uint64_t value) { return value >> 1 ^ (0 - (value & 1)); }

/* ---- a sequence of numbers with one check at its end ----------------------------------------------------------- */

typedef struct rdk_reader {
    const uint8_t *at, *end;
    bool bad; /* sticky: a number did not end or exceeded 63 bits */
} rdk_reader;

/* Returns the next number, which has at most 63 bits so that a sum of two cannot wrap around; 0 if there is none such,
 * and then `in` is bad. */
static inline uint64_t rdk_read_number(rdk_reader *in) {
    uint64_t value;
    if (rdk_leb128_read(&in->at, in->end, 63, &value)) return value;
    in->bad = true;
    return 0;
}

typedef struct rdk_writer {
    uint8_t *at, *end;
    bool full; /* sticky: something did not fit */
} rdk_writer;

static inline void rdk_write_byte(rdk_writer *out, uint8_t byte) {
    if (out->at == out->end) out->full = true;
    else *out->at++ = byte;
}

static inline void rdk_write_number(rdk_writer *out, uint64_t value) {
    uint8_t bytes[RDK_LEB128_BYTES];
    size_t count = rdk_leb128_write(bytes, value);
    for (size_t i = 0; i < count; i++) rdk_write_byte(out, bytes[i]);
}

#endif
