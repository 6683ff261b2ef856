/* Emitting the matches of the klauspost family's levels 1 to 6. */
#ifndef RDK_DEFLATE_KLAUSPOST_EMIT_H
#define RDK_DEFLATE_KLAUSPOST_EMIT_H

#include "klauspost_common.h"

/* Emits the literals before a match and the match. True: a match was emitted, and ended at chunk->emitted. It may be
 * another one than asked for; then *match says which, and *next, where the search is, lies just before its end. False:
 * the match was overruled by a literal, and *next says where to search on. */
bool kp_emit(kp_chunk *chunk, kp_match *match, int32_t *next);

/* Emits the rest of the chunk as literals. */
void kp_emit_rest(kp_chunk *chunk);

#endif
