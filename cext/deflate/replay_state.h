/* The state of the driver: where the tokens go that a model emits. */
#ifndef RDK_DEFLATE_REPLAY_STATE_H
#define RDK_DEFLATE_REPLAY_STATE_H

#include "base/array.h"
#include "encoder.h"
#include "real_segment.h"
#include "segment_recipe.h"
#include "token_writer.h"

typedef struct rdk_replay {
    int status; /* RDK_OK, or why the run is over */
    bool warming;
    rdk_token *tokens; /* of the present chunk, up to run->next; RDK_CHUNK_TOKENS_MAX of them have space */
    uint32_t chunk_start;
    rdk_bit_writer bits;
    bool open;       /* there is a block whose end is not written yet */
    rdk_codes codes; /* of the open block */
    rdk_block block; /* the chunk that is being closed */

    /* Rebuild: what the recipe says. */
    const rdk_segment_recipe *recipe;
    size_t correction_next, directive_next;

    /* Plan: what the real stream says, and what was found. */
    const rdk_real_segment *real; /* NULL while rebuilding */
    size_t real_block, real_token;
    rdk_array found_corrections, found_directives, found_headers;
    uint32_t corrections_max;
    uint32_t score_max;      /* the run is given up when corrections and mispredictions are more */
    uint32_t mispredictions; /* chunk ends and directives that the model did not predict */
    uint32_t unconfirmed;    /* those of them at chunk_start, where the model may still predict them (rdk_end_block) */
    uint32_t model_stop;     /* where a GRID model's chunk would have ended by its own rule */
    bool literal_chunk;      /* the block has matches but this chunk of it has none: its tokens are hidden */
} rdk_replay;

static inline void rdk_replay_fail(rdk_run *run, int status) {
    if (run->replay->status == RDK_OK) run->replay->status = status;
    run->done = true;
}

/* Tells whether chunks end where the recipe or the real stream says, not where the model says. */
static inline bool rdk_has_explicit_stops(const rdk_replay *replay) {
    return replay->real != NULL || replay->recipe->has_stops;
}

#endif
