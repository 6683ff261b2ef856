#include "go_blocks.h"

#include <string.h>

#include "block_header.h"

uint64_t rdk_go_dynamic(rdk_block *block) {
    uint32_t literals = RDK_LITERAL_CODES, distances = RDK_DISTANCE_CODES;
    while (block->literal_counts[literals - 1] == 0) literals--;
    while (distances > 0 && block->distance_counts[distances - 1] == 0) distances--;
    if (distances == 0) block->distance_counts[0] = distances = 1;
    memset(block->literal_lengths, 0, sizeof block->literal_lengths);
    memset(block->distance_lengths, 0, sizeof block->distance_lengths);
    rdk_limited_lengths(block->literal_counts, RDK_LITERAL_CODES, RDK_CODE_BITS_MAX, block->literal_lengths);
    rdk_limited_lengths(block->distance_counts, RDK_DISTANCE_CODES, RDK_CODE_BITS_MAX, block->distance_lengths);
    rdk_joint_header(block, literals, distances);
    block->kind = RDK_DYNAMIC;
    return 3 + block->header_bits + rdk_symbol_bits(block->literal_counts, block->literal_lengths, RDK_LITERAL_CODES) +
           rdk_symbol_bits(block->distance_counts, block->distance_lengths, RDK_DISTANCE_CODES);
}

void rdk_go_literals(rdk_block *block, bool forced) {
    memset(block->literal_counts, 0, sizeof block->literal_counts);
    memset(block->distance_counts, 0, sizeof block->distance_counts);
    for (uint32_t i = 0; i < block->plain_length; i++) block->literal_counts[block->plain[i]]++;
    block->literal_counts[RDK_END_OF_BLOCK] = 1;
    uint64_t bits = rdk_go_dynamic(block);
    bool gains_little = rdk_go_stored_bits(block->plain_length) < bits + (bits >> 4);
    block->kind = gains_little && !forced ? RDK_STORED : RDK_LITERALS;
}
