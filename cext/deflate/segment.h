/* Running a model over one segment: what rebuilding and planning share. */
#ifndef RDK_DEFLATE_SEGMENT_H
#define RDK_DEFLATE_SEGMENT_H

#include "replay_state.h"

/* The donors whose tokens a rebuild may reuse, and a token delta against them, if there is one. */
typedef struct rdk_donors {
    const rdk_donor_range *ranges;
    size_t count;
    const uint8_t *delta;
    size_t delta_length;
} rdk_donors;

/* Finds the segment's model. RDK_E_ARGUMENT: there is none such, or the segment's fields contradict one another. */
int rdk_segment_check(const rdk_segment *segment, const rdk_model **model);

/* Runs the model. replay->bits and `recipe` (NULL: an empty one), or `real` and its maxima, are set; everything else is
 * 0. Returns replay->status; replay->bits then stands behind the last bit. Allocates the model's state and 2 MiB for
 * tokens. */
int rdk_segment_run(const rdk_segment *segment, const rdk_model *model, const rdk_donors *donors, rdk_replay *replay);

#endif
