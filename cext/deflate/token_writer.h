/* Writing tokens as deflate symbols with given Huffman codes. */
#ifndef RDK_DEFLATE_TOKEN_WRITER_H
#define RDK_DEFLATE_TOKEN_WRITER_H

#include "bit_writer.h"
#include "huffman.h"

/* A block's codes, reversed for writing. The code of a length has the length's extra bits appended. */
typedef struct rdk_codes {
    struct rdk_code {
        uint32_t code;
        uint32_t bits; /* its number of bits, at most 15 + 5 */
    } kind[RDK_TOKEN_KINDS], end_of_block, distance[RDK_DISTANCE_SYMBOLS];
} rdk_codes;

/* Makes the codes of RDK_LITERAL_SYMBOLS literal and RDK_DISTANCE_SYMBOLS distance code lengths. */
void rdk_codes_build(rdk_codes *codes, const uint8_t *literal_lengths, const uint8_t *distance_lengths);

/* Appends tokens. Those without a code (length 0) take no bits. */
void rdk_put_tokens(rdk_bit_writer *bits, const rdk_codes *codes, const rdk_token *tokens, size_t count);

/* Appends `count` plain bytes as literals. */
void rdk_put_literals(rdk_bit_writer *bits, const rdk_codes *codes, const uint8_t *plain, size_t count);

#endif
