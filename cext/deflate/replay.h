/* The driver of a simulation: takes a model's tokens and chunk ends, applies or finds corrections, writes the bits.
 *
 * Chunk ends come from one of three places: the model (a rebuild whose recipe lists no stops), the recipe, or the real
 * stream (a plan). In the last two a token never crosses the end: it is cut to a literal. What models call is declared
 * in encoder.h. */
#ifndef RDK_DEFLATE_REPLAY_H
#define RDK_DEFLATE_REPLAY_H

#include "replay_state.h"

/* Begins the first chunk. The caller has set the rest of `run`; run->replay with its `tokens`, `bits`, `recipe` and,
 * for a plan, `real` and the maxima. */
void rdk_replay_start(rdk_run *run);

/* Call it after the model's `simulate`: writes empty blocks at the segment's end and the end of the open block.
 * replay->status then is RDK_OK if the whole segment was made. */
void rdk_replay_finish(rdk_run *run);

#endif
