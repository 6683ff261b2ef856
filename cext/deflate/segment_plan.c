/* Planning: finding the recipe of a real segment, and judging how near models come to one. */
#include <stdlib.h>

#include "encoder_table.h"
#include "segment.h"

/* A real segment, and memory in which candidates are rebuilt. */
typedef struct target {
    const rdk_segment *segment;
    const uint8_t *wire;
    size_t wire_length;
    uint64_t wire_bits;
    uint8_t *scratch;
    size_t scratch_length;
} target;

/* A model that is wrong may make more bits than the segment has; beyond half more it does not matter how many. */
static size_t scratch_length(size_t wire_length) { return wire_length + wire_length / 2 + 4096; }

/* Compares `bits` bits that begin at bit `bit` of both. */
static bool same_wire(const uint8_t *a, const uint8_t *b, uint32_t bit, uint64_t bits) {
    uint64_t end = bit + bits, bytes = end / 8;
    uint8_t head = (uint8_t)(0xff << bit), tail = (uint8_t)((1u << (end & 7)) - 1);
    if (bytes == 0) return ((a[0] ^ b[0]) & head & tail) == 0 || bits == 0;
    if ((a[0] ^ b[0]) & head) return false;
    if (memcmp(a + 1, b + 1, bytes - 1) != 0) return false;
    return tail == 0 || ((a[bytes] ^ b[bytes]) & tail) == 0;
}

/* Rebuilds `segment` with the candidate recipe and compares with the real bits. */
static bool proves(const target *t, const rdk_segment *segment, const uint8_t *recipe, size_t recipe_length) {
    uint64_t bits = 0;
    int status = rdk_segment_rebuild(segment, recipe, recipe_length, t->scratch, t->scratch_length, &bits);
    return status == RDK_OK && bits == t->wire_bits && same_wire(t->scratch, t->wire, segment->bit, bits);
}

/* Follows the real tokens once; what was found is left in `replay`, which replay_free releases. */
static int follow_real(const target *t, const rdk_segment *segment, const rdk_model *model,
                       const rdk_real_segment *real, uint32_t corrections_max, rdk_replay *replay) {
    rdk_bits_open(&replay->bits, t->scratch, t->scratch_length, segment->bit);
    replay->real = real;
    replay->corrections_max = corrections_max;
    return rdk_segment_run(segment, model, NULL, replay);
}

static void replay_free(rdk_replay *replay) {
    if (replay == NULL) return;
    free(replay->found_corrections.items);
    free(replay->found_directives.items);
    free(replay->found_headers.items);
    free(replay);
}

/* ---- one model's recipe ---------------------------------------------------------------------------------------- */

/* Tries the recipes that say what was found, the smallest first: without directives, with their codes, with their ends,
 * too. RDK_E_CORRUPT: none of them gives the real bits. */
static int prove_smallest(const target *t, const rdk_replay *replay, uint8_t *recipe, size_t capacity,
                          size_t *recipe_length, uint32_t *corrections) {
    rdk_segment_recipe found = {.corrections = replay->found_corrections.items,
                                .correction_count = replay->found_corrections.count,
                                .directives = replay->found_directives.items,
                                .directive_count = replay->found_directives.count,
                                .headers = replay->found_headers.items};
    bool all_auto = true;
    for (size_t i = 0; i < found.directive_count; i++)
        all_auto = all_auto && rdk_directive_kind(&found.directives[i]) == RDK_AUTO;
    for (int shape = all_auto ? 0 : 1; shape < 3; shape++) {
        found.has_directives = shape > 0;
        found.has_stops = shape > 1;
        size_t length = rdk_segment_recipe_write(&found, t->segment->start, recipe, capacity);
        if (length == SIZE_MAX) return RDK_E_OUTPUT_FULL;
        if (!proves(t, t->segment, recipe, length)) continue;
        *recipe_length = length;
        if (found.has_directives) *corrections += (uint32_t)found.directive_count;
        return RDK_OK;
    }
    return RDK_E_CORRUPT;
}

static int plan_with_model(const target *t, const rdk_model *model, uint32_t corrections_max, uint8_t *recipe,
                           size_t capacity, size_t *recipe_length, uint32_t *corrections) {
    rdk_real_segment real = {0};
    rdk_replay *replay = calloc(1, sizeof *replay);
    if (replay == NULL) return RDK_E_MEMORY;
    replay->score_max = UINT32_MAX;
    int status = rdk_real_segment_read(t->segment, t->wire, t->wire_length, t->wire_bits, &real);
    if (status == RDK_OK) {
        status = follow_real(t, t->segment, model, &real, corrections_max, replay);
        *corrections = (uint32_t)replay->found_corrections.count;
    }
    if (status == RDK_OK) status = prove_smallest(t, replay, recipe, capacity, recipe_length, corrections);
    rdk_real_segment_free(&real);
    replay_free(replay);
    return status;
}

int rdk_segment_plan(const rdk_segment *segment, const uint8_t *wire, size_t wire_length, uint64_t wire_bits,
                     uint32_t corrections_max, uint8_t *recipe, size_t recipe_capacity, size_t *recipe_length,
                     uint32_t *corrections) {
    const rdk_model *model;
    int status = rdk_segment_check(segment, &model);
    if (status == RDK_OK && (segment->bit + wire_bits + 7) / 8 > wire_length) status = RDK_E_ARGUMENT;
    if (status != RDK_OK) return status;
    target t = {
        segment, wire, wire_length, wire_bits, malloc(scratch_length(wire_length)), scratch_length(wire_length)};
    if (t.scratch == NULL) return RDK_E_MEMORY;
    *corrections = 0;
    *recipe_length = 0;
    if (!proves(&t, segment, recipe, 0)) {
        status = plan_with_model(&t, model, corrections_max, recipe, recipe_capacity, recipe_length, corrections);
        if (status == RDK_E_CORRUPT) { /* nothing that the model can follow: the recipe is the bits themselves */
            size_t length = rdk_segment_recipe_write_raw(wire, segment->bit, wire_bits, recipe, recipe_capacity);
            status = RDK_E_OUTPUT_FULL;
            if (length != SIZE_MAX && proves(&t, segment, recipe, length)) {
                *recipe_length = length;
                *corrections += 1;
                status = RDK_OK;
            }
        }
    }
    free(t.scratch);
    return status;
}

/* ---- many models ----------------------------------------------------------------------------------------------- */

/* Returns the segment with no more lookahead than the model will have when it is rebuilt. */
static rdk_segment narrowed(const rdk_segment *segment, const rdk_model *model) {
    rdk_segment narrow = *segment;
    if (segment->length - segment->stop <= model->lookahead_bytes) return narrow;
    narrow.length = segment->stop + model->lookahead_bytes;
    narrow.ends = 0;
    return narrow;
}

/* Sets *score to how near the model of `whole` comes; leaves it if that is beyond `score_max`. */
static int try_model(const target *t, const rdk_segment *whole, const rdk_real_segment *real, uint32_t score_max,
                     uint32_t *score) {
    const rdk_model *model = rdk_model_find(whole->model);
    if (model == NULL) return RDK_E_ARGUMENT;
    rdk_replay *replay = calloc(1, sizeof *replay);
    if (replay == NULL) return RDK_E_MEMORY;
    rdk_segment segment = narrowed(whole, model);
    replay->score_max = score_max;
    if (follow_real(t, &segment, model, real, score_max, replay) == RDK_OK) {
        uint64_t found = replay->found_corrections.count + (uint64_t)replay->mispredictions;
        /* Following shows nothing of the member's end and of markers, and not all of where blocks end: rebuilding does.
         */
        if (replay->found_corrections.count == 0) {
            /* Where segments of this model must be aligned, one that is not may need to see more. */
            bool exact =
                proves(t, &segment, t->wire, 0) || (segment.length < whole->length && proves(t, whole, t->wire, 0));
            found = exact ? 0 : found ? found : 1;
        }
        if (found <= score_max) *score = (uint32_t)found;
    }
    replay_free(replay);
    return RDK_OK;
}

int rdk_segment_trial(const rdk_segment *segment, const uint8_t *wire, size_t wire_length, uint64_t wire_bits,
                      const uint16_t *models, const uint32_t *member_params, size_t count, uint32_t score_max,
                      uint32_t *scores) {
    const rdk_model *model;
    rdk_real_segment real = {0};
    rdk_segment tried = *segment;
    if (count == 0) return RDK_OK;
    tried.model = models[0];
    int status = rdk_segment_check(&tried, &model);
    if (status == RDK_OK && (segment->bit + wire_bits + 7) / 8 > wire_length) status = RDK_E_ARGUMENT;
    if (status != RDK_OK) return status;
    target t = {
        segment, wire, wire_length, wire_bits, malloc(scratch_length(wire_length)), scratch_length(wire_length)};
    status = t.scratch ? rdk_real_segment_read(segment, wire, wire_length, wire_bits, &real) : RDK_E_MEMORY;
    for (size_t i = 0; i < count; i++) scores[i] = UINT32_MAX;
    for (size_t i = 0; status == RDK_OK && i < count && score_max > 0; i++) {
        tried.model = models[i];
        tried.member_param = member_params[i];
        status = try_model(&t, &tried, &real, score_max, &scores[i]);
        /* A model that needs more than twice the best one's corrections and a few will not be chosen. */
        if (scores[i] < UINT32_MAX && 2 * (uint64_t)scores[i] + 4 < score_max) score_max = 2 * scores[i] + 4;
        if (scores[i] == 0) score_max = 0;
    }
    rdk_real_segment_free(&real);
    free(t.scratch);
    return status;
}
