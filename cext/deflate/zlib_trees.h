/* Huffman codes, headers and the choice of the block type as zlib and GNU gzip make them (trees.c of both). */
#ifndef RDK_DEFLATE_ZLIB_TREES_H
#define RDK_DEFLATE_ZLIB_TREES_H

#include "block.h"

/* What the choice among stored, fixed and dynamic depends on. */
typedef struct rdk_zlib_policy {
    uint32_t window;    /* bytes; a block whose first byte has left the window cannot be stored */
    uint32_t refill;    /* the encoder looks for input when this many bytes or less are ahead */
    bool lazy;          /* it has moved one byte further when it writes a match */
    bool fixed;         /* Z_FIXED */
    uint64_t base;      /* position in the member of the first byte (of its dictionary) that the encoder saw */
    uint64_t plain_end; /* where its input ends; UINT64_MAX if that is not in sight */
} rdk_zlib_policy;

/* Answers for a model's `choose`. */
void rdk_zlib_choose(rdk_block *block, uint8_t want, const rdk_zlib_policy *policy);

#endif
