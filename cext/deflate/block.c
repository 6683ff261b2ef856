#include "block.h"

#include <string.h>

/* There is no branch on the kind of token, because nothing predicts it. Tokens of even and of odd number have counters
 * of their own, because a counter that was just stored is not ready to be loaded when the next token has the same
 * symbol. */
void rdk_count_symbols(rdk_block *block) {
    uint32_t lengths[2][RDK_TOKEN_KINDS] = {{0}}, distances[2][RDK_DISTANCE_SYMBOLS] = {{0}};
    memset(block->literal_counts, 0, sizeof block->literal_counts);
    for (uint32_t i = 0; i < block->token_count; i++) {
        rdk_token token = block->tokens[i];
        lengths[i & 1][rdk_token_kind(token)]++;
        /* of a literal some symbol, which is counted 0 times */
        distances[i & 1][rdk_distance_code(((token - 1) & (RDK_WINDOW - 1)) + 1)] += rdk_token_length(token) != 0;
    }
    for (uint32_t i = 0; i < 256; i++) block->literal_counts[i] = lengths[0][i] + lengths[1][i];
    for (uint32_t i = RDK_MATCH_MIN; i <= RDK_MATCH_MAX; i++)
        block->literal_counts[RDK_FIRST_LENGTH_SYMBOL + rdk_length_code(i)] +=
            lengths[0][256 + i] + lengths[1][256 + i];
    for (uint32_t i = 0; i < RDK_DISTANCE_SYMBOLS; i++) block->distance_counts[i] = distances[0][i] + distances[1][i];
    block->literal_counts[RDK_END_OF_BLOCK] = 1;
}

uint64_t rdk_extra_bits(const rdk_block *block) {
    uint64_t sum = 0;
    for (int i = 0; i < RDK_LENGTH_CODES; i++)
        sum += (uint64_t)block->literal_counts[RDK_FIRST_LENGTH_SYMBOL + i] * rdk_length_extra[i];
    for (int i = 0; i < RDK_DISTANCE_CODES; i++) sum += (uint64_t)block->distance_counts[i] * rdk_distance_extra[i];
    return sum;
}
