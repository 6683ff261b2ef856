/* Rebuilding a segment's wire bits, alone or with the tokens of older streams. */
#include <stdlib.h>

#include "segment.h"

/* Runs the model as the recipe says. RDK_E_CORRUPT also if it says more than the segment has. */
static int run_with_recipe(const rdk_segment *segment, const rdk_model *model, const rdk_donors *donors,
                           const uint8_t *recipe, size_t recipe_length, rdk_replay *replay) {
    rdk_segment_recipe parsed;
    int status = rdk_segment_recipe_read(recipe, recipe_length, segment->start, segment->stop, &parsed);
    if (status == RDK_OK) {
        replay->recipe = &parsed;
        status = rdk_segment_run(segment, model, model->flags & RDK_REUSES_TOKENS ? donors : NULL, replay);
        bool rest = replay->correction_next < parsed.correction_count ||
                    (parsed.has_directives && replay->directive_next < parsed.directive_count);
        if (status == RDK_OK && rest) status = RDK_E_CORRUPT;
    }
    rdk_segment_recipe_free(&parsed);
    return status;
}

static int rebuild(const rdk_segment *segment, const rdk_donors *donors, const uint8_t *recipe, size_t recipe_length,
                   uint8_t *wire, size_t wire_capacity, uint64_t *wire_bits) {
    const rdk_model *model;
    int status = rdk_segment_check(segment, &model);
    if (status != RDK_OK) return status;
    rdk_replay *replay = calloc(1, sizeof *replay);
    if (replay == NULL) return RDK_E_MEMORY;
    rdk_bits_open(&replay->bits, wire, wire_capacity, segment->bit);
    status = rdk_segment_recipe_is_raw(recipe, recipe_length)
                 ? rdk_segment_recipe_copy_raw(recipe, recipe_length, &replay->bits)
                 : run_with_recipe(segment, model, donors, recipe, recipe_length, replay);
    *wire_bits = (uint64_t)(replay->bits.at - wire) * 8 + replay->bits.held - segment->bit;
    rdk_bits_close(&replay->bits);
    if (status == RDK_OK && replay->bits.full) status = RDK_E_OUTPUT_FULL;
    free(replay);
    return status;
}

int rdk_segment_rebuild(const rdk_segment *segment, const uint8_t *recipe, size_t recipe_length, uint8_t *wire,
                        size_t wire_capacity, uint64_t *wire_bits) {
    return rebuild(segment, NULL, recipe, recipe_length, wire, wire_capacity, wire_bits);
}

static int rebuild_with(const rdk_segment *segment, const rdk_donors *donors, uint8_t *wire, size_t wire_capacity,
                        uint64_t *wire_bits) {
    for (size_t i = 0; i < donors->count; i++) {
        const rdk_donor_range *range = &donors->ranges[i];
        uint32_t before = i ? range[-1].end : 0;
        bool at_hand = donors->delta || range->plain || range->begin == range->end;
        if (range->begin < before || range->begin > range->end || range->end > segment->length || !at_hand)
            return RDK_E_ARGUMENT;
    }
    return rebuild(segment, donors, (const uint8_t *)"", 0, wire, wire_capacity, wire_bits);
}

int rdk_segment_rebuild_reusing(const rdk_segment *segment, const rdk_donor_range *donors, size_t count, uint8_t *wire,
                                size_t wire_capacity, uint64_t *wire_bits) {
    return rebuild_with(segment, &(rdk_donors){donors, count, NULL, 0}, wire, wire_capacity, wire_bits);
}

int rdk_segment_rebuild_by_delta(const rdk_segment *segment, const rdk_donor_range *donors, size_t count,
                                 const uint8_t *delta, size_t delta_length, uint8_t *wire, size_t wire_capacity,
                                 uint64_t *wire_bits) {
    return rebuild_with(segment, &(rdk_donors){donors, count, delta, delta_length}, wire, wire_capacity, wire_bits);
}
