#include "token_writer.h"

#include <string.h>

void rdk_codes_build(rdk_codes *codes, const uint8_t *literal_lengths, const uint8_t *distance_lengths) {
    uint16_t literal[RDK_LITERAL_SYMBOLS], distance[RDK_DISTANCE_SYMBOLS];
    rdk_canonical_codes(literal_lengths, RDK_LITERAL_SYMBOLS, literal);
    rdk_canonical_codes(distance_lengths, RDK_DISTANCE_SYMBOLS, distance);
    for (int i = 0; i < 256; i++) codes->kind[i] = (struct rdk_code){literal[i], literal_lengths[i]};
    codes->end_of_block = (struct rdk_code){literal[RDK_END_OF_BLOCK], literal_lengths[RDK_END_OF_BLOCK]};
    for (uint32_t length = RDK_MATCH_MIN; length <= RDK_MATCH_MAX; length++) {
        uint32_t code = rdk_length_code(length), symbol = RDK_FIRST_LENGTH_SYMBOL + code,
                 bits = literal_lengths[symbol];
        codes->kind[256 + length] = (struct rdk_code){literal[symbol] | (length - rdk_length_base[code]) << bits,
                                                      bits + rdk_length_extra[code]};
    }
    for (int i = 0; i < RDK_DISTANCE_SYMBOLS; i++)
        codes->distance[i] = (struct rdk_code){distance[i], i < RDK_DISTANCE_CODES ? distance_lengths[i] : 0};
}

/* Stores whole bytes of `hold` at `at`: 8 bytes are written, `held / 8` of them count. */
#define SPILL()                         \
    do {                                \
        memcpy(at, &hold, sizeof hold); \
        at += held >> 3;                \
        hold >>= held & ~7u;            \
        held &= 7;                      \
    } while (0)

/* A token has at most 48 bits: 15 + 5 for a length and 15 + 13 for a distance (RFC 1951 3.2.5 and 3.2.7). */
enum { TOKEN_BYTES_MAX = 6, WIDE_STORE_BYTES = 16 };

/* Appends one token through the bounded writer. */
static void put_token(rdk_bit_writer *bits, const rdk_codes *codes, rdk_token token) {
    rdk_bits_put(bits, codes->kind[rdk_token_kind(token)].code, codes->kind[rdk_token_kind(token)].bits);
    if (rdk_token_length(token) == 0) return;
    uint32_t distance = rdk_token_distance(token), symbol = rdk_distance_code(distance);
    uint32_t extra = rdk_distance_extra[symbol];
    rdk_bits_put(bits, codes->distance[symbol].code, codes->distance[symbol].bits);
    rdk_bits_put(bits, (distance - 1) & ((1u << extra) - 1), extra);
}

/* In the inner loop the state is in registers and nothing is checked, because it handles only as many tokens as
 * certainly fit: SPILL writes up to 8 bytes beyond those that count, for which WIDE_STORE_BYTES are kept free. After it
 * one token goes the bounded way, and the next round sees how many fit now. */
void rdk_put_tokens(rdk_bit_writer *bits, const rdk_codes *codes, const rdk_token *tokens, size_t count) {
    size_t i = 0;
    while (i < count && !bits->full) {
        size_t space = (size_t)(bits->end - bits->at);
        size_t certain = space > WIDE_STORE_BYTES ? (space - WIDE_STORE_BYTES) / TOKEN_BYTES_MAX : 0;
        size_t stop = count - i < certain ? count : i + certain;
        uint8_t *at = bits->at;
        uint64_t hold = bits->hold;
        uint32_t held = bits->held;
        for (; i < stop; i++) {
            rdk_token token = tokens[i];
            struct rdk_code first = codes->kind[rdk_token_kind(token)];
            if (held > 15) SPILL(); /* so that the 48 bits of a token fit `hold` */
            hold |= (uint64_t)first.code << held;
            held += first.bits;
            if (rdk_token_length(token) == 0) continue;
            uint32_t distance = rdk_token_distance(token), symbol = rdk_distance_code(distance);
            uint32_t extra = rdk_distance_extra[symbol];
            hold |= (uint64_t)codes->distance[symbol].code << held;
            held += codes->distance[symbol].bits;
            hold |= (uint64_t)((distance - 1) & ((1u << extra) - 1)) << held;
            held += extra;
            SPILL();
        }
        if (certain) SPILL();
        bits->at = at;
        bits->hold = held ? hold & ((1ull << held) - 1) : 0;
        bits->held = held;
        if (stop == count) return;
        put_token(bits, codes, tokens[i++]);
    }
}

void rdk_put_literals(rdk_bit_writer *bits, const rdk_codes *codes, const uint8_t *plain, size_t count) {
    for (size_t i = 0; i < count && !bits->full; i++)
        rdk_bits_put(bits, codes->kind[plain[i]].code, codes->kind[plain[i]].bits);
}
