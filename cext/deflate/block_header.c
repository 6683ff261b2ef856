#include "block_header.h"

#include <string.h>

#include "bit_reader.h"
#include "bit_writer.h"

/* Of RDK_RUN_REPEAT, RDK_RUN_ZEROS_SHORT and RDK_RUN_ZEROS_LONG. */
static const uint8_t run_extra_bits[3] = {2, 3, 7};

/* HLIT, HDIST and HCLEN: 5 + 5 + 4 bits. At least four lengths of the code length code are sent. */
enum { COUNT_BITS = 14, SENT_MIN = 4 };

/* ---- writing --------------------------------------------------------------------------------------------------- */

void rdk_put_header(rdk_block *block, uint32_t literals, uint32_t distances, const rdk_length_run *runs, uint32_t count,
                    const uint8_t code_lengths[RDK_CODE_LENGTH_CODES]) {
    uint16_t codes[RDK_CODE_LENGTH_CODES];
    uint32_t sent = RDK_CODE_LENGTH_CODES;
    rdk_bit_writer bits;
    rdk_bits_open(&bits, block->header, sizeof block->header, 0);
    while (sent > SENT_MIN && code_lengths[rdk_code_length_order[sent - 1]] == 0) sent--;
    rdk_bits_put(&bits, literals - 257, 5);
    rdk_bits_put(&bits, distances - 1, 5);
    rdk_bits_put(&bits, sent - SENT_MIN, 4);
    for (uint32_t i = 0; i < sent; i++) rdk_bits_put(&bits, code_lengths[rdk_code_length_order[i]], 3);
    rdk_canonical_codes(code_lengths, RDK_CODE_LENGTH_CODES, codes);
    for (uint32_t i = 0; i < count; i++) {
        rdk_bits_put(&bits, codes[runs[i].symbol], code_lengths[runs[i].symbol]);
        if (runs[i].symbol >= RDK_RUN_REPEAT)
            rdk_bits_put(&bits, runs[i].extra, run_extra_bits[runs[i].symbol - RDK_RUN_REPEAT]);
    }
    block->header_bits = (uint32_t)(bits.at - block->header) * 8 + bits.held;
    rdk_bits_close(&bits);
}

static uint32_t add_run(rdk_length_run *runs, uint32_t at, uint32_t symbol, uint32_t extra, uint32_t *counts) {
    runs[at] = (rdk_length_run){(uint8_t)symbol, (uint8_t)extra};
    counts[symbol]++;
    return at + 1;
}

void rdk_joint_header(rdk_block *block, uint32_t literals, uint32_t distances) {
    uint8_t lengths[RDK_LITERAL_SYMBOLS + RDK_DISTANCE_SYMBOLS], code_lengths[RDK_CODE_LENGTH_CODES];
    rdk_length_run runs[sizeof lengths];
    uint32_t counts[RDK_CODE_LENGTH_CODES] = {0}, total = literals + distances, made = 0;
    memcpy(lengths, block->literal_lengths, literals);
    memcpy(lengths + literals, block->distance_lengths, distances);
    for (uint32_t i = 0, next; i < total; i = next) {
        uint32_t length = lengths[i], left;
        for (next = i + 1; next < total && lengths[next] == length;) next++;
        left = next - i;
        if (length != 0) {
            made = add_run(runs, made, length, 0, counts);
            for (left--; left >= RDK_RUN_MIN;) {
                uint32_t n = left < RDK_RUN_REPEAT_MAX ? left : RDK_RUN_REPEAT_MAX;
                made = add_run(runs, made, RDK_RUN_REPEAT, n - RDK_RUN_MIN, counts);
                left -= n;
            }
        } else {
            while (left >= RDK_RUN_ZEROS_LONG_MIN) {
                uint32_t n = left < RDK_RUN_ZEROS_LONG_MAX ? left : RDK_RUN_ZEROS_LONG_MAX;
                made = add_run(runs, made, RDK_RUN_ZEROS_LONG, n - RDK_RUN_ZEROS_LONG_MIN, counts);
                left -= n;
            }
            if (left >= RDK_RUN_MIN) {
                made = add_run(runs, made, RDK_RUN_ZEROS_SHORT, left - RDK_RUN_MIN, counts);
                left = 0;
            }
        }
        for (; left > 0; left--) made = add_run(runs, made, length, 0, counts);
    }
    rdk_limited_lengths(counts, RDK_CODE_LENGTH_CODES, RDK_CODE_LENGTH_BITS_MAX, code_lengths);
    rdk_put_header(block, literals, distances, runs, made, code_lengths);
}

/* ---- reading --------------------------------------------------------------------------------------------------- */

/* Codes of the code length alphabet are looked up by their longest length. */
enum { LOOKUP = 1 << RDK_CODE_LENGTH_BITS_MAX };

/* Reads `wanted` code lengths from bit `bit` on. Returns the bits that they take, or 0 as rdk_read_header does. */
static uint32_t read_code_lengths(const uint8_t *from, size_t length, uint64_t bit, const uint8_t *code_lengths,
                                  uint8_t *lengths, uint32_t wanted, bool *truncated) {
    uint16_t codes[RDK_CODE_LENGTH_CODES];
    uint8_t table[LOOKUP][2];
    uint64_t start = bit, available = (uint64_t)length * 8;
    memset(table, 0, sizeof table);
    rdk_canonical_codes(code_lengths, RDK_CODE_LENGTH_CODES, codes);
    for (uint32_t i = 0; i < RDK_CODE_LENGTH_CODES; i++)
        for (uint32_t at = codes[i]; code_lengths[i] && at < LOOKUP; at += 1u << code_lengths[i]) {
            table[at][0] = (uint8_t)i;
            table[at][1] = code_lengths[i];
        }
    for (uint32_t n = 0; n < wanted;) {
        uint64_t bits = rdk_peek_bits(from, length, bit);
        uint32_t symbol = table[bits & (LOOKUP - 1)][0], used = table[bits & (LOOKUP - 1)][1], times = 1,
                 value = symbol;
        if (used == 0) return 0;
        bits >>= used;
        if (symbol == RDK_RUN_REPEAT) {
            value = n ? lengths[n - 1] : 0;
            times = RDK_RUN_MIN + (bits & 3);
        } else if (symbol == RDK_RUN_ZEROS_SHORT) {
            value = 0;
            times = RDK_RUN_MIN + (bits & 7);
        } else if (symbol == RDK_RUN_ZEROS_LONG) {
            value = 0;
            times = RDK_RUN_ZEROS_LONG_MIN + (bits & 127);
        }
        if (symbol >= RDK_RUN_REPEAT) used += run_extra_bits[symbol - RDK_RUN_REPEAT];
        bit += used;
        if (bit > available) {
            *truncated = true;
            return 0;
        }
        if (n + times > wanted || (symbol == RDK_RUN_REPEAT && n == 0)) return 0;
        memset(lengths + n, (int)value, times);
        n += times;
    }
    return (uint32_t)(bit - start);
}

/* Tells whether the code length code uses every string of bits (the sum of 2^-length is 1). */
static bool is_complete(const uint8_t *code_lengths) {
    int32_t left = LOOKUP;
    for (uint32_t i = 0; i < RDK_CODE_LENGTH_CODES; i++) left -= code_lengths[i] ? LOOKUP >> code_lengths[i] : 0;
    return left == 0;
}

uint32_t rdk_read_header(const uint8_t *from, size_t length, uint64_t bit, uint8_t *literal_lengths,
                         uint8_t *distance_lengths, bool *truncated) {
    uint8_t code_lengths[RDK_CODE_LENGTH_CODES] = {0}, lengths[RDK_LITERAL_SYMBOLS + RDK_DISTANCE_SYMBOLS];
    uint64_t bits = rdk_peek_bits(from, length, bit), available = (uint64_t)length * 8 - bit;
    uint32_t sent = SENT_MIN + (uint32_t)(bits >> 10 & 15), fixed_bits = COUNT_BITS + 3 * sent;
    *truncated = available < COUNT_BITS || available < fixed_bits;
    if (*truncated) return 0;
    uint32_t literals = 257 + (bits & 31), distances = 1 + (bits >> 5 & 31), used_codes = 0;
    if (literals > RDK_LITERAL_CODES || distances > RDK_DISTANCE_CODES) return 0;
    for (uint32_t i = 0; i < sent; i++)
        code_lengths[rdk_code_length_order[i]] = rdk_peek_bits(from, length, bit + COUNT_BITS + 3 * i) & 7;
    for (int i = 0; i < RDK_CODE_LENGTH_CODES; i++) used_codes += code_lengths[i] != 0;
    /* One symbol alone makes an incomplete code, but what it decodes to is still beyond doubt. */
    if (!is_complete(code_lengths) && used_codes != 1) return 0;
    memset(lengths, 0, sizeof lengths);
    uint32_t used =
        read_code_lengths(from, length, bit + fixed_bits, code_lengths, lengths, literals + distances, truncated);
    if (used == 0 || lengths[RDK_END_OF_BLOCK] == 0) return 0;
    memset(literal_lengths, 0, RDK_LITERAL_SYMBOLS);
    memset(distance_lengths, 0, RDK_DISTANCE_SYMBOLS);
    memcpy(literal_lengths, lengths, literals);
    memcpy(distance_lengths, lengths + literals, distances);
    return fixed_bits + used;
}
