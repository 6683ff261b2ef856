/* Writing deflate bits: RFC 1951 3.1.1 order, codes of 3.2.2, tokens of 3.2.5. */
#include "bits.h"

void rdk_bits_open(rdk_bits *bits, uint8_t *at, size_t capacity, uint32_t zero_bits) {
    *bits = (rdk_bits){.at = at, .end = at + capacity, .held = zero_bits};
}

static void drain(rdk_bits *bits) {
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

void rdk_bits_put(rdk_bits *bits, uint64_t value, uint32_t count) {
    if (bits->full) return;
    bits->hold |= value << bits->held;
    bits->held += count;
    drain(bits);
}

void rdk_bits_copy(rdk_bits *bits, const uint8_t *from, uint64_t bit, uint64_t count) {
    while (count > 0) {
        uint32_t shift = (uint32_t)(bit & 7), take = 8 - shift;
        if (take > count) take = (uint32_t)count;
        rdk_bits_put(bits, ((uint32_t)from[bit >> 3] >> shift) & ((1u << take) - 1), take);
        bit += take;
        count -= take;
    }
}

void rdk_bits_align(rdk_bits *bits) {
    if (bits->held) rdk_bits_put(bits, 0, 8 - bits->held);
}

void rdk_bits_bytes(rdk_bits *bits, const uint8_t *from, size_t count) {
    if (bits->full || (size_t)(bits->end - bits->at) < count) {
        bits->full = true;
        return;
    }
    if (count) memcpy(bits->at, from, count);
    bits->at += count;
}

void rdk_bits_close(rdk_bits *bits) {
    if (bits->held == 0 || bits->full) return;
    if (bits->at == bits->end) {
        bits->full = true;
        return;
    }
    *bits->at++ = (uint8_t)bits->hold;
}

void rdk_canonical(const uint8_t *lengths, uint32_t symbols, uint16_t *codes) {
    uint32_t counts[16] = {0}, next[16], code = 0;
    for (uint32_t i = 0; i < symbols; i++) counts[lengths[i]]++;
    counts[0] = 0;
    next[0] = 0;
    for (int length = 1; length <= 15; length++) {
        code = (code + counts[length - 1]) << 1;
        next[length] = code;
    }
    for (uint32_t i = 0; i < symbols; i++) {
        uint32_t length = lengths[i], reversed = 0, value = length ? next[length]++ : 0;
        for (uint32_t b = 0; b < length; b++) reversed |= ((value >> b) & 1) << (length - 1 - b);
        codes[i] = (uint16_t)reversed;
    }
}

void rdk_codes_build(rdk_codes *codes, const uint8_t *literal_lengths, const uint8_t *distance_lengths) {
    static const uint16_t base[29] = {3,  4,  5,  6,  7,  8,  9,  10, 11,  13,  15,  17,  19,  23, 27,
                                      31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258};
    uint16_t literal[288], distance[32];
    rdk_canonical(literal_lengths, 288, literal);
    rdk_canonical(distance_lengths, 32, distance);
    for (int i = 0; i < 256; i++) codes->kind[i] = (struct rdk_code){literal[i], literal_lengths[i]};
    codes->end_of_block = (struct rdk_code){literal[RDK_END_OF_BLOCK], literal_lengths[RDK_END_OF_BLOCK]};
    for (uint32_t length = RDK_MATCH_MIN; length <= RDK_MATCH_MAX; length++) {
        uint32_t code = rdk_length_code(length), bits = literal_lengths[257 + code];
        codes->kind[256 + length] =
            (struct rdk_code){literal[257 + code] | (length - base[code]) << bits, bits + rdk_length_extra[code]};
    }
    for (int i = 0; i < 32; i++) codes->distance[i] = (struct rdk_code){distance[i], i < 30 ? distance_lengths[i] : 0};
}

/* Stores whole bytes of `hold` at `at`: 8 bytes are written, `held / 8` of them count. */
#define SPILL()                         \
    do {                                \
        memcpy(at, &hold, sizeof hold); \
        at += held >> 3;                \
        hold >>= held & ~7u;            \
        held &= 7;                      \
    } while (0)

void rdk_put_tokens(rdk_bits *bits, const rdk_codes *codes, const rdk_token *tokens, size_t count) {
    /* At most 48 bits a token; the wide stores need 8 bytes of room more. Near the end go through rdk_bits_put. */
    size_t i = 0;
    while (i < count && !bits->full) {
        size_t room = (size_t)(bits->end - bits->at), wide = room > 16 ? (room - 16) / 6 : 0;
        size_t stop = count - i < wide ? count : i + wide;
        uint8_t *at = bits->at;
        uint64_t hold = bits->hold;
        uint32_t held = bits->held;
        for (; i < stop; i++) {
            rdk_token token = tokens[i];
            struct rdk_code first = codes->kind[rdk_token_kind(token)];
            if (held > 15) SPILL();
            hold |= (uint64_t)first.code << held;
            held += first.bits;
            if (rdk_token_length(token) == 0) continue;
            uint32_t distance = rdk_token_distance(token), symbol = rdk_distance_code(distance),
                     extra = rdk_distance_extra[symbol];
            hold |= (uint64_t)codes->distance[symbol].code << held;
            held += codes->distance[symbol].bits;
            hold |= (uint64_t)((distance - 1) & ((1u << extra) - 1)) << held;
            held += extra;
            SPILL();
        }
        if (wide) SPILL();
        bits->at = at;
        bits->hold = held ? hold & ((1ull << held) - 1) : 0;
        bits->held = held;
        if (stop == count) return;
        /* one token the careful way, then look again */
        rdk_token token = tokens[i++];
        rdk_bits_put(bits, codes->kind[rdk_token_kind(token)].code, codes->kind[rdk_token_kind(token)].bits);
        if (rdk_token_length(token) == 0) continue;
        uint32_t distance = rdk_token_distance(token), symbol = rdk_distance_code(distance),
                 extra = rdk_distance_extra[symbol];
        rdk_bits_put(bits, codes->distance[symbol].code, codes->distance[symbol].bits);
        rdk_bits_put(bits, (distance - 1) & ((1u << extra) - 1), extra);
    }
}

void rdk_put_literals(rdk_bits *bits, const rdk_codes *codes, const uint8_t *plain, size_t count) {
    for (size_t i = 0; i < count && !bits->full; i++)
        rdk_bits_put(bits, codes->kind[plain[i]].code, codes->kind[plain[i]].bits);
}
