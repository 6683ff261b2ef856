/* Planning: what a recipe must say so that the model makes the real stream. */
#ifndef RDK_DEFLATE_CHUNK_PLAN_H
#define RDK_DEFLATE_CHUNK_PLAN_H

#include "replay_state.h"

/* Returns the real stream's token at `position`, and notes a correction if the model said another one. Returns the
 * model's `token` itself where the real stream hides its tokens. */
rdk_token rdk_plan_token(rdk_run *run, uint32_t position, rdk_token token);

/* Finds the kind with which replay->block, made by the model, becomes what the real stream has here; adds it to
 * directive->code, and leaves the block that way. */
void rdk_plan_chunk(rdk_run *run, rdk_block_directive *directive);

/* Tells whether [position, stop) is a later part of a real block that has matches, but has none itself: then a model
 * with RDK_HIDES may have written it as literals only, and its tokens are hidden. */
bool rdk_is_literal_chunk(const rdk_run *run, uint32_t position, uint32_t stop);

#endif
