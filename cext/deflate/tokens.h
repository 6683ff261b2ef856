/* Deflate tokens: literals and matches, and the symbols that stand for them (RFC 1951 3.2.5). */
#ifndef RDK_DEFLATE_TOKENS_H
#define RDK_DEFLATE_TOKENS_H

#include <stdint.h>

enum {
    /* RFC 1951 3.2.5 and 3.2.6. */
    RDK_MATCH_MIN = 3,
    RDK_MATCH_MAX = 258,
    RDK_WINDOW = 32768, /* largest distance */
    RDK_END_OF_BLOCK = 256,
    RDK_FIRST_LENGTH_SYMBOL = 257,
    RDK_LENGTH_CODES = 29,
    RDK_LITERAL_CODES = 286, /* literals, the end of the block, lengths */
    RDK_DISTANCE_CODES = 30,
    /* Alphabets with the symbols that never occur: the fixed code gives them codes (3.2.6), a header could. */
    RDK_LITERAL_SYMBOLS = 288,
    RDK_DISTANCE_SYMBOLS = 32
};

/* A literal is its byte, 0 to 255. A match has its length, 3 to 258, in the high half and its distance, 1 to 32,768, in
 * the low half. Token arrays cross the C interface in this form (api/20_gzip.h). */
typedef uint32_t rdk_token;
#define RDK_MATCH(length, distance) ((uint32_t)(length) << 16 | (uint32_t)(distance))

static inline uint32_t rdk_token_length(rdk_token token) { return token >> 16; } /* 0 for a literal */
static inline uint32_t rdk_token_distance(rdk_token token) { return token & 0xffff; }
/* Plain bytes that the token stands for. */
static inline uint32_t rdk_token_span(rdk_token token) { return token >> 16 ? token >> 16 : 1; }

/* A token's index in a table that has an entry for every byte and, from 256 on, for every length. Without a branch,
 * because nothing predicts whether a token is a match. */
enum { RDK_TOKEN_KINDS = 256 + RDK_MATCH_MAX + 1 };
static inline uint32_t rdk_token_kind(rdk_token token) {
    uint32_t length = rdk_token_length(token), is_literal = 0u - (length == 0);
    return (token & is_literal) | ((256 + length) & ~is_literal);
}

/* The table of RFC 1951 3.2.5: shortest length, and number of extra bits, of the length symbols 257 to 285; number of
 * extra bits of the distance symbols. */
extern const uint16_t rdk_length_base[RDK_LENGTH_CODES];
extern const uint8_t rdk_length_extra[RDK_LENGTH_CODES];
extern const uint8_t rdk_distance_extra[RDK_DISTANCE_CODES];

/* Returns the length symbol, less 257, of a length of 3 to 258. From length 11 on four symbols share a number of extra
 * bits, so the two bits below the highest one of length - 3 select among them; 258 has a symbol of its own. */
static inline uint32_t rdk_length_code(uint32_t length) {
    uint32_t n = length - RDK_MATCH_MIN, extra = 29 - (uint32_t)__builtin_clz(n | 4);
    return 4 * extra + (n >> extra) + (length == RDK_MATCH_MAX);
}

/* Returns the distance symbol of a distance of 1 to 32,768. From distance 5 on two symbols share a number of extra
 * bits, so the bit below the highest one of distance - 1 selects between them. */
static inline uint32_t rdk_distance_code(uint32_t distance) {
    uint32_t n = distance - 1, top = 31 - (uint32_t)__builtin_clz(n | 2);
    return 2 * top + (n >> (top - 1) & 1) - 2 * (n < 2);
}

#endif
