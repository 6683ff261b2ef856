/* One deflate block, or a part of one, on its way from tokens to bits. */
#ifndef RDK_DEFLATE_BLOCK_H
#define RDK_DEFLATE_BLOCK_H

#include <stdbool.h>

#include "huffman.h"

enum {
    /* A dynamic header from HLIT on has at most 14 bits of counts, 19 * 3 of code length lengths and (286 + 30) * 14 of
     * runs (a code of 7 bits and 7 extra bits each): 562 bytes. */
    RDK_HEADER_BYTES = 640,
    /* Longest stored block: its length has 16 bits (RFC 1951 3.2.4). */
    RDK_STORED_BYTES_MAX = 65535
};

/* How one chunk of tokens is written. A chunk is a block, except where REUSE lets it continue the block before it.
 * The values stand in stored recipes: frozen. */
enum rdk_kind {
    RDK_AUTO = 0,              /* as the model decides */
    RDK_STORED = 1,            /* plain bytes; the tokens are hidden */
    RDK_FIXED = 2,             /* fixed codes */
    RDK_DYNAMIC = 3,           /* codes made from the chunk's own counts */
    RDK_LITERALS = 4,          /* dynamic, every plain byte as a literal; the tokens are hidden ("Huffman only") */
    RDK_REUSE = 5,             /* no header: continues the open block with its codes */
    RDK_VERBATIM = 6,          /* dynamic, with the header bits that the recipe holds */
    RDK_VERBATIM_LITERALS = 7, /* the same, every plain byte as a literal */
    RDK_REUSE_LITERALS = 8,    /* REUSE, every plain byte as a literal; the tokens are hidden */
    RDK_VARIANT =
        16 /* 16 to 31: the model's own alternatives for a dynamic header, tried in this order when planning */
};

typedef struct rdk_block {
    const rdk_token *tokens;
    uint32_t token_count;
    const uint8_t *plain;
    uint32_t plain_length;
    uint64_t plain_offset; /* of plain[0] in the member */
    bool final;            /* BFINAL will be set */
    /* Symbol counts of the tokens, the end of the block counted once. The model's `choose` may change them. */
    uint32_t literal_counts[RDK_LITERAL_SYMBOLS];
    uint32_t distance_counts[RDK_DISTANCE_SYMBOLS];
    /* What `choose` answers: the kind (never AUTO) and, if a header is written, the code lengths and the header's bits
     * after BFINAL and BTYPE, that is from HLIT on. */
    uint8_t kind;
    uint8_t literal_lengths[RDK_LITERAL_SYMBOLS];
    uint8_t distance_lengths[RDK_DISTANCE_SYMBOLS];
    uint8_t header[RDK_HEADER_BYTES];
    uint32_t header_bits;
} rdk_block;

/* Counts the symbols of block->tokens, and the end of the block once. */
void rdk_count_symbols(rdk_block *block);

/* Returns the extra bits of the block's length and distance symbols, by its counts. */
uint64_t rdk_extra_bits(const rdk_block *block);

#endif
