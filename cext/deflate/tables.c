/* Code lengths and block headers: RFC 1951 3.2.7. */
#include "bits.h"

const uint8_t rdk_length_extra[29] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2,
                                      2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0};
const uint8_t rdk_distance_extra[30] = {0, 0, 0, 0, 1, 1, 2, 2,  3,  3,  4,  4,  5,  5,  6,
                                        6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13};
const uint8_t rdk_code_length_order[19] = {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15};
#define EIGHT(n) n, n, n, n, n, n, n, n
#define SIXTEEN(n) EIGHT(n), EIGHT(n)
const uint8_t rdk_fixed_literal_lengths[288] = {SIXTEEN(8), SIXTEEN(8), SIXTEEN(8), SIXTEEN(8), SIXTEEN(8),
                                                SIXTEEN(8), SIXTEEN(8), SIXTEEN(8), SIXTEEN(8), SIXTEEN(9),
                                                SIXTEEN(9), SIXTEEN(9), SIXTEEN(9), SIXTEEN(9), SIXTEEN(9),
                                                SIXTEEN(9), SIXTEEN(7), EIGHT(7),   EIGHT(8)};

uint64_t rdk_symbol_bits(const uint32_t *counts, const uint8_t *lengths, uint32_t symbols) {
    uint64_t sum = 0;
    for (uint32_t i = 0; i < symbols; i++) sum += (uint64_t)counts[i] * lengths[i];
    return sum;
}

uint64_t rdk_extra_bits(const rdk_block *block) {
    uint64_t sum = 0;
    for (int i = 8; i < 28; i++) sum += (uint64_t)block->literal_counts[257 + i] * rdk_length_extra[i];
    for (int i = 4; i < 30; i++) sum += (uint64_t)block->distance_counts[i] * rdk_distance_extra[i];
    return sum;
}

/* ---- length-limited codes -------------------------------------------------------------------------------------- */

static void sort_keys(uint64_t *keys, uint32_t count) {
    static const uint32_t gaps[] = {132, 57, 23, 10, 4, 1};
    for (int g = 0; g < 6; g++) {
        uint32_t gap = gaps[g];
        for (uint32_t i = gap; i < count; i++) {
            uint64_t key = keys[i];
            uint32_t j = i;
            for (; j >= gap && keys[j - gap] > key; j -= gap) keys[j] = keys[j - gap];
            keys[j] = key;
        }
    }
}

enum { ROW = 2 * 288 };

/* One row of package-merge: leaves and pairs of the row below in order of weight, a pair first where they tie.
 * `is_leaf[i]` tells what item i is; returns the number of items, at most `wanted`. */
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
    uint64_t keys[288], leaves[288], rows[2][ROW];
    uint8_t is_leaf[16][ROW];
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
    /* From the top row down: the leaves among the items taken get one bit more; each pair takes two items below. */
    for (uint32_t level = longest, take = wanted; level-- > 0;) {
        uint32_t taken = 0;
        for (uint32_t i = 0; i < take; i++) taken += is_leaf[level][i];
        for (uint32_t i = 0; i < taken; i++) lengths[keys[i] & 0xffff]++;
        take = 2 * (take - taken);
    }
}

/* ---- headers --------------------------------------------------------------------------------------------------- */

void rdk_put_header(rdk_block *block, uint32_t literals, uint32_t distances, const rdk_length_run *runs, uint32_t count,
                    const uint8_t code_lengths[19]) {
    static const uint8_t extra_bits[3] = {2, 3, 7};
    uint16_t codes[19];
    uint32_t sent = 19;
    rdk_bits bits;
    rdk_bits_open(&bits, block->header, sizeof block->header, 0);
    while (sent > 4 && code_lengths[rdk_code_length_order[sent - 1]] == 0) sent--;
    rdk_bits_put(&bits, literals - 257, 5);
    rdk_bits_put(&bits, distances - 1, 5);
    rdk_bits_put(&bits, sent - 4, 4);
    for (uint32_t i = 0; i < sent; i++) rdk_bits_put(&bits, code_lengths[rdk_code_length_order[i]], 3);
    rdk_canonical(code_lengths, 19, codes);
    for (uint32_t i = 0; i < count; i++) {
        rdk_bits_put(&bits, codes[runs[i].symbol], code_lengths[runs[i].symbol]);
        if (runs[i].symbol >= 16) rdk_bits_put(&bits, runs[i].extra, extra_bits[runs[i].symbol - 16]);
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
    uint8_t lengths[RDK_LITERAL_CODES + 2 + 32], code_lengths[19];
    rdk_length_run runs[sizeof lengths];
    uint32_t counts[19] = {0}, total = literals + distances, made = 0;
    memcpy(lengths, block->literal_lengths, literals);
    memcpy(lengths + literals, block->distance_lengths, distances);
    for (uint32_t i = 0, next; i < total; i = next) {
        uint32_t length = lengths[i], left;
        for (next = i + 1; next < total && lengths[next] == length;) next++;
        left = next - i;
        if (length != 0) {
            made = add_run(runs, made, length, 0, counts);
            for (left--; left >= 3;) {
                uint32_t n = left < 6 ? left : 6;
                made = add_run(runs, made, 16, n - 3, counts);
                left -= n;
            }
        } else {
            while (left >= 11) {
                uint32_t n = left < 138 ? left : 138;
                made = add_run(runs, made, 18, n - 11, counts);
                left -= n;
            }
            if (left >= 3) {
                made = add_run(runs, made, 17, left - 3, counts);
                left = 0;
            }
        }
        for (; left > 0; left--) made = add_run(runs, made, length, 0, counts);
    }
    rdk_limited_lengths(counts, 19, 7, code_lengths);
    rdk_put_header(block, literals, distances, runs, made, code_lengths);
}
