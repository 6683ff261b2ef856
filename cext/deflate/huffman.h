/* Huffman codes: code lengths from counts, and codes from code lengths. */
#ifndef RDK_DEFLATE_HUFFMAN_H
#define RDK_DEFLATE_HUFFMAN_H

#include "tokens.h"

enum {
    RDK_CODE_BITS_MAX = 15, /* longest literal, length or distance code: RFC 1951 3.2.7 */
    RDK_CODE_LENGTH_CODES = 19,
    RDK_CODE_LENGTH_BITS_MAX = 7 /* longest code of the code length alphabet: three bits tell it, RFC 1951 3.2.7 */
};

/* The order in which a header sends the lengths of the code length code (RFC 1951 3.2.7). */
extern const uint8_t rdk_code_length_order[RDK_CODE_LENGTH_CODES];

/* The code lengths of fixed blocks (RFC 1951 3.2.6). */
extern const uint8_t rdk_fixed_literal_lengths[RDK_LITERAL_SYMBOLS];
extern const uint8_t rdk_fixed_distance_lengths[RDK_DISTANCE_SYMBOLS];

/* Writes the canonical code of each symbol (RFC 1951 3.2.2) with its bits reversed, as they stand in the stream; 0 for
 * a symbol of length 0. `lengths` are at most 15 and `symbols` at most RDK_LITERAL_SYMBOLS. */
void rdk_canonical_codes(const uint8_t *lengths, uint32_t symbols, uint16_t *codes);

/* Writes optimal code lengths of at most `longest` bits (1 to 15) by the boundary package-merge method over symbols in
 * order of (count, symbol), as Go's compress/flate and klauspost/compress do. One or two symbols that occur get length
 * 1, symbols that do not occur get 0. `symbols` is at most RDK_LITERAL_SYMBOLS. */
void rdk_limited_lengths(const uint32_t *counts, uint32_t symbols, uint32_t longest, uint8_t *lengths);

/* Returns the bits that symbols with these counts take, without their extra bits. */
uint64_t rdk_symbol_bits(const uint32_t *counts, const uint8_t *lengths, uint32_t symbols);

#endif
