/* Look-up tables of inflate: from the next bits of the stream to a symbol, its base and its extra bits. */
#ifndef RDK_DEFLATE_INFLATE_TABLE_H
#define RDK_DEFLATE_INFLATE_TABLE_H

#include <stdbool.h>

#include "huffman.h"

/* The root table is indexed by this many bits; longer codes continue in subtables. With 11 and 9 bits nearly every
 * symbol takes one look-up, and both tables together use less than 12 KiB of a first-level cache. No complete code of
 * 288 symbols and up to 15 bits needs more than 2,342 entries with a root of 11 bits, none of 32 symbols more than 594
 * with a root of 9, as zlib's examples/enough.c counts them. */
enum { RDK_LITERAL_ROOT_BITS = 11, RDK_DISTANCE_ROOT_BITS = 9, RDK_LITERAL_ENTRIES = 2342, RDK_DISTANCE_ENTRIES = 594 };

/* An entry: bits 0 to 7 say how many bits to consume in all (code and extra bits); 8 to 12 how many of them are extra
 * bits (of a subtable: its index bits); the flags below; from bit 16 on the literal, the base, or where the subtable
 * begins. RDK_ENTRY_END and RDK_ENTRY_INVALID occur with RDK_ENTRY_SPECIAL only. */
enum {
    RDK_ENTRY_SPECIAL = 1 << 13, /* neither literal nor match nor subtable */
    RDK_ENTRY_SUBTABLE = 1 << 14,
    RDK_ENTRY_LITERAL = 1 << 15,
    RDK_ENTRY_END = 1 << 16,    /* the end of the block */
    RDK_ENTRY_INVALID = 1 << 17 /* a symbol or bits that no valid stream has */
};

/* Fills the table of literal codes (RDK_LITERAL_ENTRIES, from RDK_LITERAL_SYMBOLS lengths) or distance codes
 * (RDK_DISTANCE_ENTRIES, RDK_DISTANCE_SYMBOLS). False: the lengths are not a complete prefix code. A single code of one
 * bit is accepted, as zlib's inflate does, and for distances also no code at all, which a block without matches may
 * have (RFC 1951 3.2.7). */
bool rdk_inflate_literal_table(uint32_t *table, const uint8_t *lengths);
bool rdk_inflate_distance_table(uint32_t *table, const uint8_t *lengths);

/* Returns the entry for the next bits. *taken becomes the number of root bits that were shifted out of *bits to find
 * it: 0, or root_bits if it is in a subtable. */
static inline uint32_t rdk_inflate_look_up(const uint32_t *table, uint32_t root_bits, uint64_t *bits, uint32_t *taken) {
    uint32_t entry = table[*bits & ((1u << root_bits) - 1)];
    *taken = 0;
    if (entry & RDK_ENTRY_SUBTABLE) {
        *bits >>= root_bits;
        *taken = root_bits;
        entry = table[(entry >> 16) + (*bits & ((1u << (entry >> 8 & 15)) - 1))];
    }
    return entry;
}

/* Returns the length or distance of an entry: its base and the extra bits behind its code in `bits`. */
static inline uint32_t rdk_entry_value(uint32_t entry, uint64_t bits) {
    uint32_t all = entry & 0xff, extra = entry >> 8 & 31;
    return (entry >> 16) + (uint32_t)(bits >> (all - extra) & ((1u << extra) - 1));
}

#endif
