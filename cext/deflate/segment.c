#include "segment.h"

#include <stdlib.h>

#include "encoder_table.h"
#include "replay.h"

/* Plain bytes at hand for one segment, at most: positions have 32 bits, and sums of three of them must not wrap around.
 */
enum { LENGTH_MAX = 1 << 30 };

int rdk_segment_check(const rdk_segment *segment, const rdk_model **model) {
    *model = rdk_model_find(segment->model);
    if (*model == NULL || segment->bit > 7 || segment->start > segment->stop || segment->stop > segment->length)
        return RDK_E_ARGUMENT;
    if (segment->length > LENGTH_MAX || (segment->length && segment->plain == NULL)) return RDK_E_ARGUMENT;
    if (segment->last && (!segment->ends || segment->stop != segment->length)) return RDK_E_ARGUMENT;
    return RDK_OK;
}

int rdk_segment_run(const rdk_segment *segment, const rdk_model *model, const rdk_donors *donors, rdk_replay *replay) {
    static const rdk_segment_recipe nothing = {0};
    rdk_run run = {.model = model,
                   .member_param = segment->member_param,
                   .plain = segment->plain,
                   .start = segment->start,
                   .stop = segment->stop,
                   .length = segment->length,
                   .offset = segment->offset,
                   .ends = segment->ends,
                   .last = segment->last,
                   .donors = donors ? donors->ranges : NULL,
                   .donor_count = donors ? donors->count : 0,
                   .delta = donors ? donors->delta : NULL,
                   .delta_length = donors ? donors->delta_length : 0,
                   .replay = replay};
    uint32_t warmup = model->warmup_bytes < run.start ? model->warmup_bytes : run.start;
    if (model->grid_bytes) warmup -= warmup % model->grid_bytes;
    run.begin = run.start - warmup;
    run.state = calloc(1, model->state_bytes ? model->state_bytes : 1);
    replay->tokens = malloc(RDK_CHUNK_TOKENS_MAX * sizeof *replay->tokens);
    if (replay->recipe == NULL) replay->recipe = &nothing;
    if (run.state == NULL || replay->tokens == NULL) {
        replay->status = RDK_E_MEMORY;
    } else {
        rdk_replay_start(&run);
        if (run.start < run.stop || !replay->real) model->simulate(&run);
        rdk_replay_finish(&run);
    }
    free(replay->tokens);
    free(run.state);
    return replay->status;
}
