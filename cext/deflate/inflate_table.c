#include "inflate_table.h"

static uint32_t literal_entry(uint32_t symbol, uint32_t length) {
    if (symbol < 256) return symbol << 16 | RDK_ENTRY_LITERAL | length;
    if (symbol == RDK_END_OF_BLOCK) return RDK_ENTRY_SPECIAL | RDK_ENTRY_END | length;
    if (symbol >= RDK_LITERAL_CODES) return RDK_ENTRY_SPECIAL | RDK_ENTRY_INVALID | length;
    uint32_t extra = rdk_length_extra[symbol - RDK_FIRST_LENGTH_SYMBOL];
    return (uint32_t)rdk_length_base[symbol - RDK_FIRST_LENGTH_SYMBOL] << 16 | extra << 8 | (length + extra);
}

/* The base of distance symbol 4 + 2e + i, which has e + 1 extra bits, is ((2 + i) << (e + 1)) + 1 (RFC 1951 3.2.5). */
static uint32_t distance_entry(uint32_t symbol, uint32_t length) {
    if (symbol >= RDK_DISTANCE_CODES) return RDK_ENTRY_SPECIAL | RDK_ENTRY_INVALID | length;
    uint32_t extra = rdk_distance_extra[symbol], base = symbol < 4 ? symbol + 1 : ((2u + (symbol & 1)) << extra) + 1;
    return base << 16 | extra << 8 | (length + extra);
}

/* A table that is being made. */
typedef struct table {
    uint32_t *entries;
    uint32_t root_bits;
    uint32_t capacity; /* entries */
    uint32_t (*entry)(uint32_t symbol, uint32_t length);
} table;

/* Tells whether the lengths are a code that inflate accepts; *complete, whether it uses every string of bits; *longest
 * is its longest length. */
static bool check_code(const uint8_t *lengths, uint32_t symbols, bool may_be_empty, bool *complete, uint32_t *longest) {
    uint32_t counts[RDK_CODE_BITS_MAX + 1] = {0}, used = 0;
    int32_t left = 1;
    *longest = 0;
    for (uint32_t i = 0; i < symbols; i++) counts[lengths[i]]++;
    for (uint32_t bits = 1; bits <= RDK_CODE_BITS_MAX; bits++) {
        left = 2 * left - (int32_t)counts[bits];
        if (left < 0) return false;
        used += counts[bits];
        if (counts[bits]) *longest = bits;
    }
    *complete = left == 0;
    return *complete || (used == 1 && *longest == 1) || (used == 0 && may_be_empty);
}

/* Makes a root entry for each subtable, as wide as the longest code in it needs; where it begins is set later. */
static void size_subtables(const table *t, const uint8_t *lengths, uint32_t symbols, const uint16_t *codes) {
    for (uint32_t i = 0; i < symbols; i++) {
        if (lengths[i] <= t->root_bits) continue;
        uint32_t *root = &t->entries[codes[i] & ((1u << t->root_bits) - 1)], width = lengths[i] - t->root_bits;
        uint32_t have = *root & RDK_ENTRY_SUBTABLE && *root >> 16 == 0 ? *root >> 8 & 15 : 0;
        if (have < width) *root = RDK_ENTRY_SUBTABLE | width << 8 | t->root_bits;
    }
}

static bool build(const table *t, const uint8_t *lengths, uint32_t symbols, bool may_be_empty) {
    uint16_t codes[RDK_LITERAL_SYMBOLS];
    uint32_t longest, root_bits = t->root_bits, next = 1u << root_bits, mask = next - 1;
    bool complete;
    if (!check_code(lengths, symbols, may_be_empty, &complete, &longest)) return false;
    if (!complete)
        for (uint32_t i = 0; i <= mask; i++) t->entries[i] = RDK_ENTRY_SPECIAL | RDK_ENTRY_INVALID | 1;
    rdk_canonical_codes(lengths, symbols, codes);
    if (longest > root_bits) size_subtables(t, lengths, symbols, codes);
    for (uint32_t i = 0; i < symbols; i++) {
        uint32_t length = lengths[i];
        if (length == 0) continue;
        if (length <= root_bits) {
            uint32_t value = t->entry(i, length);
            for (uint32_t at = codes[i]; at <= mask; at += 1u << length) t->entries[at] = value;
            continue;
        }
        uint32_t *root = &t->entries[codes[i] & mask], width = *root >> 8 & 15;
        if (*root >> 16 == 0) {
            if (next + (1u << width) > t->capacity) return false;
            *root |= next << 16;
            next += 1u << width;
        }
        uint32_t value = t->entry(i, length - root_bits), begin = *root >> 16;
        for (uint32_t at = codes[i] >> root_bits; at < 1u << width; at += 1u << (length - root_bits))
            t->entries[begin + at] = value;
    }
    return true;
}

bool rdk_inflate_literal_table(uint32_t *entries, const uint8_t *lengths) {
    const table t = {entries, RDK_LITERAL_ROOT_BITS, RDK_LITERAL_ENTRIES, literal_entry};
    return build(&t, lengths, RDK_LITERAL_SYMBOLS, false);
}

bool rdk_inflate_distance_table(uint32_t *entries, const uint8_t *lengths) {
    const table t = {entries, RDK_DISTANCE_ROOT_BITS, RDK_DISTANCE_ENTRIES, distance_entry};
    return build(&t, lengths, RDK_DISTANCE_SYMBOLS, true);
}
