#include "huffman.h"

#include <string.h>

const uint8_t rdk_code_length_order[RDK_CODE_LENGTH_CODES] = {16, 17, 18, 0, 8,  7, 9,  6, 10, 5,
                                                              11, 4,  12, 3, 13, 2, 14, 1, 15};

/* Literals 0 to 143 have 8 bits, 144 to 255 have 9, symbols 256 to 279 have 7 and 280 to 287 have 8. */
#define EIGHT(n) n, n, n, n, n, n, n, n
#define SIXTEEN(n) EIGHT(n), EIGHT(n)
const uint8_t rdk_fixed_literal_lengths[RDK_LITERAL_SYMBOLS] = {
    SIXTEEN(8), SIXTEEN(8), SIXTEEN(8), SIXTEEN(8), SIXTEEN(8), SIXTEEN(8), SIXTEEN(8),
    SIXTEEN(8), SIXTEEN(8), SIXTEEN(9), SIXTEEN(9), SIXTEEN(9), SIXTEEN(9), SIXTEEN(9),
    SIXTEEN(9), SIXTEEN(9), SIXTEEN(7), EIGHT(7),   EIGHT(8)};
const uint8_t rdk_fixed_distance_lengths[RDK_DISTANCE_SYMBOLS] = {SIXTEEN(5), SIXTEEN(5)};

void rdk_canonical_codes(const uint8_t *lengths, uint32_t symbols, uint16_t *codes) {
    uint32_t counts[RDK_CODE_BITS_MAX + 1] = {0}, next[RDK_CODE_BITS_MAX + 1], code = 0;
    for (uint32_t i = 0; i < symbols; i++) counts[lengths[i]]++;
    counts[0] = 0;
    next[0] = 0;
    for (int length = 1; length <= RDK_CODE_BITS_MAX; length++) {
        code = (code + counts[length - 1]) << 1;
        next[length] = code;
    }
    for (uint32_t i = 0; i < symbols; i++) {
        uint32_t length = lengths[i], reversed = 0, value = length ? next[length]++ : 0;
        for (uint32_t b = 0; b < length; b++) reversed |= ((value >> b) & 1) << (length - 1 - b);
        codes[i] = (uint16_t)reversed;
    }
}

uint64_t rdk_symbol_bits(const uint32_t *counts, const uint8_t *lengths, uint32_t symbols) {
    uint64_t sum = 0;
    for (uint32_t i = 0; i < symbols; i++) sum += (uint64_t)counts[i] * lengths[i];
    return sum;
}

/* ---- length-limited codes -------------------------------------------------------------------------------------- */

/* Shellsort with the increments of Ciura ("Best increments for the average case of Shellsort", 2001). There are at most
 * 288 keys, which differ by their symbol, so any sort gives the same order. */
static void sort_keys(uint64_t *keys, uint32_t count) {
    static const uint32_t increments[] = {132, 57, 23, 10, 4, 1};
    for (int k = 0; k < 6; k++) {
        uint32_t step = increments[k];
        for (uint32_t i = step; i < count; i++) {
            uint64_t key = keys[i];
            uint32_t j = i;
            for (; j >= step && keys[j - step] > key; j -= step) keys[j] = keys[j - step];
            keys[j] = key;
        }
    }
}

/* Items of one row: at most two for each symbol. */
enum { ROW = 2 * RDK_LITERAL_SYMBOLS };

/* Makes one row of package-merge: the leaves and the pairs of the row below in order of weight, a pair first where they
 * tie. `is_leaf[i]` tells what item i is. Returns the number of items, at most `wanted`. */
static uint32_t merge_row(const uint64_t *leaves, uint32_t leaf_count, const uint64_t *below, uint32_t below_count,
                          uint64_t *row, uint8_t *is_leaf, uint32_t wanted) {
    uint32_t leaf = 0, pair = 0, pairs = below_count / 2, items = 0;
    while (items < wanted && (leaf < leaf_count || pair < pairs)) {
        uint64_t weight = pair < pairs ? below[2 * pair] + below[2 * pair + 1] : UINT64_MAX;
        if (leaf < leaf_count && leaves[leaf] < weight) {
            row[items] = leaves[leaf++];
            is_leaf[items++] = 1;
        } else {
            row[items] = weight;
            is_leaf[items++] = 0;
            pair++;
        }
    }
    return items;
}

void rdk_limited_lengths(const uint32_t *counts, uint32_t symbols, uint32_t longest, uint8_t *lengths) {
    uint64_t keys[RDK_LITERAL_SYMBOLS], leaves[RDK_LITERAL_SYMBOLS], rows[2][ROW];
    uint8_t is_leaf[RDK_CODE_BITS_MAX + 1][ROW];
    uint32_t used = 0;
    memset(lengths, 0, symbols);
    for (uint32_t i = 0; i < symbols; i++)
        if (counts[i]) keys[used++] = (uint64_t)counts[i] << 16 | i;
    if (used <= 2) {
        for (uint32_t i = 0; i < used; i++) lengths[keys[i] & 0xffff] = 1;
        return;
    }
    sort_keys(keys, used);
    for (uint32_t i = 0; i < used; i++) leaves[i] = keys[i] >> 16;
    if (longest > used - 1) longest = used - 1;
    uint32_t items = 0, wanted = 2 * used - 2;
    for (uint32_t level = 0; level < longest; level++)
        items = merge_row(leaves, used, rows[(level + 1) & 1], items, rows[level & 1], is_leaf[level], wanted);
    /* From the top row down: each leaf among the items that were taken gets one bit more, each pair takes two items of
     * the row below. */
    for (uint32_t level = longest, take = wanted; level-- > 0;) {
        uint32_t taken = 0;
        for (uint32_t i = 0; i < take; i++) taken += is_leaf[level][i];
        for (uint32_t i = 0; i < taken; i++) lengths[keys[i] & 0xffff]++;
        take = 2 * (take - taken);
    }
}
