/* Walking over the tokens of donors, the older streams whose tokens are reused, beside a newer segment. */
#ifndef RDK_DEFLATE_DONOR_TOKENS_H
#define RDK_DEFLATE_DONOR_TOKENS_H

#include <stdbool.h>

#include "reducto_kernel.h"
#include "tokens.h"

#define RDK_NO_TOKEN UINT32_MAX

/* Plain bytes of a donor's token, which may be a whole stored block. */
static inline uint32_t rdk_donor_span(rdk_token token) {
    return token & RDK_STORED_SPAN ? token & (RDK_STORED_SPAN - 1) : rdk_token_span(token);
}

/* Positions are indexes into the newer segment's plain bytes. */
typedef struct rdk_donor_cursor {
    const rdk_donor_range *range, *stop; /* the present range, and behind the last one */
    size_t token;                        /* the next one of the range */
    int64_t at;                          /* where it begins */
    bool begun;                          /* `token` and `at` are those of the present range */
} rdk_donor_cursor;

/* Returns the donors' token that begins at `position`, which never descends from call to call; RDK_NO_TOKEN if there is
 * none or it is a stored block. */
static inline rdk_token rdk_donor_token_at(rdk_donor_cursor *cursor, uint32_t position) {
    for (; cursor->range < cursor->stop && position >= cursor->range->end; cursor->range++) cursor->begun = false;
    if (cursor->range == cursor->stop || position < cursor->range->begin) return RDK_NO_TOKEN;
    if (!cursor->begun) {
        cursor->begun = true;
        cursor->token = 0;
        cursor->at = cursor->range->token_begin;
    }
    const rdk_donor_range *range = cursor->range;
    while (cursor->at < (int64_t)position && cursor->token < range->token_count)
        cursor->at += rdk_donor_span(range->tokens[cursor->token++]);
    if (cursor->at != (int64_t)position || cursor->token == range->token_count) return RDK_NO_TOKEN;
    rdk_token token = range->tokens[cursor->token];
    return token & RDK_STORED_SPAN ? RDK_NO_TOKEN : token;
}

#endif
