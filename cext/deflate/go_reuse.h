/* Go's levels 4 to 9 with the tokens of donors. */
#ifndef RDK_DEFLATE_GO_REUSE_H
#define RDK_DEFLATE_GO_REUSE_H

#include "go_chains.h"
#include "token_reuse.h"

typedef struct go_reusing {
    go_chains chains;
    rdk_reuse reuse;
} go_reusing;

/* Emits the segment, for a run without listed chunks, and takes over the donors' tokens that certainly stay. Chains are
 * filled only where something is searched. */
void rdk_go_reuse_tokens(rdk_run *run, go_reusing *state, const go_level *level);

/* The same where a token delta says which tokens stay. */
void rdk_go_follow_delta(rdk_run *run, go_reusing *state, const go_level *level);

#endif
