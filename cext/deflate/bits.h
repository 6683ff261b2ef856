/* The driver's bit writer and the writer of tokens; families do not see it. */
#ifndef RDK_DEFLATE_BITS_H
#define RDK_DEFLATE_BITS_H

#include "model.h"

typedef struct rdk_bits { /* little-endian over a fixed buffer; `full` is sticky and nothing is written beyond `end` */
    uint8_t *at, *end;
    uint64_t hold;
    uint32_t held; /* bits in `hold`, < 8 between calls */
    bool full;
} rdk_bits;

void rdk_bits_open(rdk_bits *bits, uint8_t *at, size_t capacity, uint32_t zero_bits);
void rdk_bits_put(rdk_bits *bits, uint64_t value, uint32_t count); /* count <= 48 */
void rdk_bits_copy(rdk_bits *bits, const uint8_t *from, uint64_t bit, uint64_t count);
void rdk_bits_align(rdk_bits *bits);
void rdk_bits_bytes(rdk_bits *bits, const uint8_t *from, size_t count); /* aligned only */
void rdk_bits_close(rdk_bits *bits);                                    /* writes the last partial byte */

/* A token's place in a table by its byte or by 256 + its length. */
enum { RDK_TOKEN_KINDS = 256 + RDK_MATCH_MAX + 1 };
static inline uint32_t rdk_token_kind(rdk_token token) {
    uint32_t length = rdk_token_length(token), byte = 0u - (length == 0);
    return (token & byte) | ((256 + length) & ~byte);
}

/* Codes, reversed for writing, of both trees; a match length has its extra bits appended. */
typedef struct rdk_codes {
    struct rdk_code {
        uint32_t code;
        uint32_t bits;
    } kind[RDK_TOKEN_KINDS], end_of_block, distance[32];
} rdk_codes;

void rdk_codes_build(rdk_codes *codes, const uint8_t *literal_lengths, const uint8_t *distance_lengths);
/* Canonical codes of RFC 1951 3.2.2, bit-reversed. */
void rdk_canonical(const uint8_t *lengths, uint32_t symbols, uint16_t *codes);
void rdk_put_tokens(rdk_bits *bits, const rdk_codes *codes, const rdk_token *tokens, size_t count);
void rdk_put_literals(rdk_bits *bits, const rdk_codes *codes, const uint8_t *plain, size_t count);

/* Reads a dynamic header from HLIT on. Bits used, or 0 when it is broken or longer than `available` bits. */
uint32_t rdk_read_header(const uint8_t *from, size_t length, uint64_t bit, uint8_t *literal_lengths,
                         uint8_t *distance_lengths, uint32_t *literals, uint32_t *distances, bool *truncated);
#endif
