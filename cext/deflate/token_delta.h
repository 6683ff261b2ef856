/* Token deltas: the edit script that turns donors' tokens into those of a newer segment.
 *
 * Where token_reuse.h finds out which tokens stay, a delta says so, because its maker had both streams at hand. It
 * holds steps in order of position, with numbers as LEB128. Each begins with kind + 4 * count, where count is not 0:
 *   COPY    `count` tokens are those of the donors that begin at the same positions
 *   INSERT  `count` tokens follow: 0 for a literal (its byte is known), else length - 2 and distance
 *   SEARCH  for `count` bytes, or to the end of the match that crosses there, the encoder decides by itself
 * What follows the last step is searched. A search begins and ends where the encoder has no match pending: at a token's
 * beginning, behind a match. A delta can be wrong; then another stream results, but nothing is read or written out of
 * bounds. */
#ifndef RDK_DEFLATE_TOKEN_DELTA_H
#define RDK_DEFLATE_TOKEN_DELTA_H

#include "base/leb128.h"
#include "donor_tokens.h"

/* Frozen: part of the stored format (docs/formats/token-delta.md). */
enum rdk_step_kind { RDK_STEP_COPY = 0, RDK_STEP_INSERT = 1, RDK_STEP_SEARCH = 2 };

typedef struct rdk_step {
    uint32_t kind, count; /* count 0: the delta is not valid here */
} rdk_step;

/* Returns the next step; behind the last one a search of `rest` bytes. */
static inline rdk_step rdk_next_step(rdk_reader *in, uint32_t rest) {
    if (in->at == in->end) return (rdk_step){RDK_STEP_SEARCH, rest};
    uint64_t number = rdk_read_number(in), count = number >> 2;
    bool good = !in->bad && count <= UINT32_MAX && (number & 3) <= RDK_STEP_SEARCH;
    return (rdk_step){(uint32_t)(number & 3), good ? (uint32_t)count : 0};
}

/* Returns the next token of an INSERT, or RDK_NO_TOKEN if the delta is not valid here. `literal` is the byte at its
 * position. */
static inline rdk_token rdk_next_inserted(rdk_reader *in, uint8_t literal) {
    uint64_t length = rdk_read_number(in), distance;
    if (in->bad) return RDK_NO_TOKEN;
    if (length == 0) return literal;
    distance = rdk_read_number(in);
    if (in->bad || length > RDK_MATCH_MAX - 2 || distance - 1 >= RDK_WINDOW) return RDK_NO_TOKEN;
    return RDK_MATCH(length + 2, distance);
}

#endif
