/* Token deltas: a newer stream's tokens, told by an older stream's.
 *
 * Where `token_reuse.h` finds out what stays, a delta states it, for whoever had both streams in hand. It holds steps
 * in order of position, numbers as LEB128: kind + 4 * count, where count is not 0, and COPY    so many tokens are those
 * of the older stream that begin at the same places STATE   so many tokens follow: 0 for a literal (the byte is known),
 * else length - 2, distance SEARCH  so many bytes further, or to the end of the match that crosses there, the encoder
 * decides by itself What follows the last step is searched. A search begins and ends where nothing is pending: at a
 * token's beginning, behind a match. A delta can be wrong; then the stream is another one, but nothing is read or
 * written out of bounds. */
#ifndef RDK_DEFLATE_TOKEN_DELTA_H
#define RDK_DEFLATE_TOKEN_DELTA_H

#include "model.h"
#include "numbers.h"

enum rdk_step_kind { RDK_STEP_COPY = 0, RDK_STEP_STATE = 1, RDK_STEP_SEARCH = 2 };

#define RDK_NO_TOKEN UINT32_MAX

typedef struct rdk_step {
    uint32_t kind, count; /* count 0: the delta is not valid here */
} rdk_step;

/* Reads the next step; behind the last one it is a search to `stop`. */
static inline rdk_step rdk_next_step(rdk_reader *in, uint32_t stop) {
    if (in->at == in->end) return (rdk_step){RDK_STEP_SEARCH, stop};
    uint64_t number = rdk_take_number(in), count = number >> 2;
    bool good = !in->bad && count <= UINT32_MAX && (number & 3) <= RDK_STEP_SEARCH;
    return (rdk_step){(uint32_t)(number & 3), good ? (uint32_t)count : 0};
}

/* The next stated token; `literal` is the byte that stands at its place. */
static inline rdk_token rdk_next_stated(rdk_reader *in, uint8_t literal) {
    uint64_t length = rdk_take_number(in), distance;
    if (in->bad) return RDK_NO_TOKEN;
    if (length == 0) return literal;
    distance = rdk_take_number(in);
    if (in->bad || length > RDK_MATCH_MAX - 2 || distance - 1 >= 1 << 15) return RDK_NO_TOKEN;
    return RDK_MATCH(length + 2, distance);
}

/* Where in the older streams one stands. */
typedef struct rdk_old_tokens {
    const rdk_donor_range *next, *stop;
    size_t token;
    int64_t at; /* where that token begins */
    bool begun; /* `next` */
} rdk_old_tokens;

static inline uint32_t rdk_old_span(rdk_token token) {
    return token & RDK_STORED_SPAN ? token & (RDK_STORED_SPAN - 1) : rdk_token_span(token);
}

/* The older token that begins at `position`, which never descends; RDK_NO_TOKEN if there is none. */
static inline rdk_token rdk_old_token_at(rdk_old_tokens *old, uint32_t position) {
    for (; old->next < old->stop && position >= old->next->end; old->next++) old->begun = false;
    if (old->next == old->stop || position < old->next->begin) return RDK_NO_TOKEN;
    if (!old->begun) {
        old->begun = true;
        old->token = 0;
        old->at = old->next->token_begin;
    }
    while (old->at < (int64_t)position && old->token < old->next->token_count)
        old->at += rdk_old_span(old->next->tokens[old->token++]);
    if (old->at != (int64_t)position || old->token == old->next->token_count) return RDK_NO_TOKEN;
    rdk_token token = old->next->tokens[old->token];
    return token & RDK_STORED_SPAN ? RDK_NO_TOKEN : token;
}

/* Emits at most `count` tokens from the older one at *position on, which `rdk_old_token_at` has found, while they
 * complete no block; returns how many. */
static inline uint32_t rdk_copy_tokens(rdk_run *run, rdk_old_tokens *old, uint32_t *position, uint32_t count) {
    const rdk_token *in = old->next->tokens + old->token, *stop = old->next->tokens + old->next->token_count,
                    *last = in;
    uint32_t at = *position, end = old->next->end;
    if (stop - in > (ptrdiff_t)count) stop = in + count;
    if (stop - in > run->alarm - run->next) stop = in + (run->alarm - run->next);
    for (; last < stop && at < end; last++) {
        rdk_token token = *last;
        uint32_t reached = at + rdk_token_span(token);
        if ((token & RDK_STORED_SPAN) || reached > run->guard) break;
        *run->next++ = token;
        at = reached;
    }
    old->token += (size_t)(last - in);
    old->at += at - *position;
    *position = at;
    return (uint32_t)(last - in);
}

#endif
