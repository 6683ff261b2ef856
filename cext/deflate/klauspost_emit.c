#include "klauspost_emit.h"

/* Returns the length of the next token of a match of which `left` bytes are left. The encoder splits what is longer
 * than one token so that at least three bytes are left for the last (AddMatchLong). */
static int32_t token_length(int32_t left) {
    if (left <= RDK_MATCH_MAX) return left;
    return left > RDK_MATCH_MAX + RDK_MATCH_MIN ? RDK_MATCH_MAX : RDK_MATCH_MAX - RDK_MATCH_MIN;
}

/* Another token than the predicted one was emitted, and ends at chunk->emitted. Answers for kp_emit. */
static bool take_other(kp_chunk *chunk, kp_match *match, int32_t *next) {
    if (rdk_done(chunk->run)) {
        *next = chunk->emitted = chunk->stop;
        return false;
    }
    rdk_token token = chunk->run->next[-1]; /* still there, because emitting closes no chunk of a GRID model */
    if (rdk_token_length(token) == 0) {
        if (*next < chunk->emitted) *next = chunk->emitted;
        return false;
    }
    match->length = (int32_t)rdk_token_length(token);
    match->at = chunk->emitted - match->length;
    match->from = match->at - (int32_t)rdk_token_distance(token);
    *next = chunk->emitted - 1;
    chunk->anchor = chunk->emitted;
    return true;
}

bool kp_emit(kp_chunk *chunk, kp_match *match, int32_t *next) {
    int32_t at = match->at, left = match->length, distance = match->at - match->from;
    if (chunk->state->muted) {
        chunk->anchor = chunk->emitted = at + left;
        return true;
    }
    if (chunk->emitted < at) {
        chunk->emitted = (int32_t)rdk_emit_literals(chunk->run, (uint32_t)chunk->emitted, (uint32_t)at);
        if (chunk->emitted != at) return take_other(chunk, match, next);
    }
    while (left > 0) {
        int32_t length = token_length(left);
        chunk->emitted = (int32_t)rdk_emit_match(chunk->run, (uint32_t)at, (uint32_t)length, (uint32_t)distance);
        at += length;
        left -= length;
        if (chunk->emitted != at) return take_other(chunk, match, next);
    }
    chunk->anchor = chunk->emitted;
    return true;
}

void kp_emit_rest(kp_chunk *chunk) {
    while (!chunk->state->muted && chunk->emitted < chunk->stop && !rdk_done(chunk->run)) {
        int32_t reached = (int32_t)rdk_emit_literals(chunk->run, (uint32_t)chunk->emitted, (uint32_t)chunk->stop);
        if (reached <= chunk->emitted) return; /* the run has failed */
        chunk->emitted = reached;
    }
}
