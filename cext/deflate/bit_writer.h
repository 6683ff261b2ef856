/* Writing bits in the order of RFC 1951 3.1.1: the first bit is a byte's lowest. */
#ifndef RDK_DEFLATE_BIT_WRITER_H
#define RDK_DEFLATE_BIT_WRITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Writes into a buffer of fixed length. Nothing is written at or beyond `end`. */
typedef struct rdk_bit_writer {
    uint8_t *at, *end;
    uint64_t hold; /* bits that are not in the buffer yet, the first one lowest */
    uint32_t held; /* their number: 0 to 7 between calls */
    bool full;     /* sticky: something did not fit */
} rdk_bit_writer;

/* Begins at `at`, where `capacity` bytes may be written, behind `zero_bits` (0 to 7) zero bits. */
void rdk_bits_open(rdk_bit_writer *bits, uint8_t *at, size_t capacity, uint32_t zero_bits);
/* Appends the lowest `count` bits of `value`, whose other bits are 0; at most 57, because `hold` may have 7 bits
 * already. */
void rdk_bits_put(rdk_bit_writer *bits, uint64_t value, uint32_t count);
/* Appends `count` bits from bit `bit` of `from` on. */
void rdk_bits_copy(rdk_bit_writer *bits, const uint8_t *from, uint64_t bit, uint64_t count);
/* Appends zero bits up to the next whole byte. */
void rdk_bits_align(rdk_bit_writer *bits);
/* Appends whole bytes; only after rdk_bits_align. */
void rdk_bits_bytes(rdk_bit_writer *bits, const uint8_t *from, size_t count);
/* Writes the last byte, if it is a partial one, with zero bits behind the held ones. */
void rdk_bits_close(rdk_bit_writer *bits);

#endif
