/* A real segment, inflated with its tokens: what a plan follows. */
#ifndef RDK_DEFLATE_REAL_SEGMENT_H
#define RDK_DEFLATE_REAL_SEGMENT_H

#include "reducto_kernel.h"
#include "tokens.h"

typedef struct rdk_real_segment {
    rdk_block_info
        *blocks; /* bit positions count from the segment's first bit, plain positions from the member's start */
    size_t block_count;
    rdk_token *tokens;
    size_t *first_token; /* per block, and one more: where the tokens end */
    uint32_t *stops;     /* per block: where it ends, as an index into segment->plain */
    const uint8_t *wire;
    uint32_t bit; /* of the first block in wire[0] */
} rdk_real_segment;

/* Inflates the segment's `wire_bits` bits, which begin at bit segment->bit of `wire`. RDK_E_CORRUPT: they are not whole
 * blocks that give just the segment's plain bytes. Takes about 4 bytes for every plain byte, and 3 MiB for blocks.
 * Whatever is returned, rdk_real_segment_free must follow; `wire` must live as long. */
int rdk_real_segment_read(const rdk_segment *segment, const uint8_t *wire, size_t wire_length, uint64_t wire_bits,
                          rdk_real_segment *real);
void rdk_real_segment_free(rdk_real_segment *real);

#endif
