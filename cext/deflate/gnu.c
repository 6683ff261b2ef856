/* GNU gzip: zlib's ancestor. Its own are blocks of up to 32,767 tokens that may end early, and an end of input at which
 * it compares with what its window happens to hold. */
#include "zlib.h"

enum { BLOCK_TOKENS = 32767, CHECKED_TOKENS = 4096, SUMMED_BYTES = 4096 };

/* ---- the end of the input -------------------------------------------------------------------------------------- */

/* The window at `index`: behind the input's end two zeros, then what was there before the window moved. */
static uint8_t in_window(const rdk_run *run, const rdk_zlib_walk *walk, uint32_t index) {
    if (index < run->length) return run->plain[index];
    if (index < run->length + 2 || !walk->tail_moved || index < RDK_ZLIB_WINDOW) return 0;
    return run->plain[index - RDK_ZLIB_WINDOW];
}

/* The window stops moving when the encoder has seen the end of its input: where it first stands with less than a
 * margin. */
void rdk_gnu_stand(const rdk_run *run, rdk_zlib_walk *walk, uint32_t position) {
    if (walk->tail_seen || !run->ends || run->length - position >= RDK_ZLIB_MARGIN) return;
    uint64_t seen = run->offset + position, moves = 2 * RDK_ZLIB_WINDOW - RDK_ZLIB_MARGIN;
    uint64_t origin = seen < moves ? 0 : (seen - moves) / RDK_ZLIB_WINDOW * RDK_ZLIB_WINDOW + RDK_ZLIB_WINDOW;
    walk->tail_seen = true;
    walk->tail_origin = (uint32_t)(origin - run->offset);
    walk->tail_moved = origin > 0;
}

/* The search does not know where the input ends: among matches that run to its end, bytes behind it decide. */
uint32_t rdk_gnu_tail_longest(const rdk_run *run, rdk_zlib_walk *walk, uint32_t position, const rdk_zlib_search *ask,
                              uint32_t *distance) {
    const rdk_zlib_chains *chains = &walk->chains;
    const uint8_t *scan = run->plain + position;
    uint32_t left = run->length - position, at = position - chains->origin, best = ask->best, chain = ask->chain;
    uint32_t candidate = chains->older[at & (RDK_ZLIB_WINDOW - 1)], limit = at > ask->reach ? at - ask->reach : 0;
    rdk_gnu_stand(run, walk, position);
    if (candidate == 0 || candidate < limit) return 0;
    if (walk->tail_seen && position - walk->tail_origin > 2 * RDK_ZLIB_WINDOW - RDK_ZLIB_MARGIN)
        return 0; /* too near the window's end */
    do {
        uint32_t back = at - candidate, length = rdk_common(scan, scan - back, left);
        if (length == left)
            while (length < RDK_MATCH_MAX &&
                   in_window(run, walk, position + length) == in_window(run, walk, position + length - back))
                length++;
        if (length > best) {
            best = length;
            *distance = back;
            if (length >= walk->effort.nice) break;
        }
        candidate = chains->older[candidate & (RDK_ZLIB_WINDOW - 1)];
    } while (candidate > limit && --chain != 0);
    return best < left ? best : left;
}

/* ---- blocks that end early ------------------------------------------------------------------------------------- */

/* Every 4,096 tokens of a block: few matches, but less than half the size at an estimate. */
static bool pays_already(const rdk_run *run, const rdk_zlib_walk *walk, uint32_t standing) {
    uint32_t count = (uint32_t)(run->next - walk->tokens), matches = 0;
    uint64_t bits = (uint64_t)count * 8, read = standing - walk->block_start;
    for (uint32_t i = 0; i < count; i++) {
        if (rdk_token_length(walk->tokens[i]) == 0) continue;
        matches++;
        bits += 5 + rdk_distance_extra[rdk_distance_code(rdk_token_distance(walk->tokens[i]))];
    }
    return matches < count / 2 && bits >> 3 < read / 2;
}

/* --rsyncable: whether the sum of some 4,096 bytes that end before `position`, and after what was summed so far, is a
 * multiple of 4,096. */
static bool sum_hits(const rdk_run *run, rdk_zlib_walk *walk, uint32_t position) {
    bool hit = false;
    for (; walk->summed < position; walk->summed++) {
        walk->sum += run->plain[walk->summed];
        if (run->offset + walk->summed < SUMMED_BYTES) continue;
        if (walk->summed >= SUMMED_BYTES) walk->sum -= run->plain[walk->summed - SUMMED_BYTES];
        hit = hit || walk->sum % SUMMED_BYTES == 0;
    }
    return hit;
}

/* Ends the block and pads to a whole byte; the first block of a segment has its padding in the segment before. */
static void end_padded(rdk_run *run, uint32_t position) {
    if (position <= run->start) return;
    rdk_end_block(run, position);
    if (rdk_bit_phase(run) != 0) rdk_marker(run, position, RDK_STORED, false);
}

void rdk_gnu_after(rdk_run *run, rdk_zlib_walk *walk, uint32_t position, uint32_t standing) {
    ptrdiff_t count = run->next - walk->tokens;
    bool hit = walk->rsyncable && sum_hits(run, walk, position) && run->block_tokens != 0;
    if (count == 0) { /* the driver has closed a block */
        walk->block_start = position;
    } else if ((count & (CHECKED_TOKENS - 1)) == 0 && run->block_tokens != 0 && run->model->level > 2 &&
               pays_already(run, walk, standing)) {
        rdk_end_block(run, position);
        walk->block_start = position;
    }
    if (!hit) return;
    end_padded(run, position);
    walk->block_start = position;
}

/* ---- the models ------------------------------------------------------------------------------------------------ */

static void simulate(rdk_run *run) {
    rdk_zlib_walk *walk = run->state;
    bool lazy = run->model->level > 3;
    uint32_t from = run->begin;
    walk->effort = rdk_zlib_efforts[run->model->level];
    walk->reach = RDK_ZLIB_WINDOW - RDK_ZLIB_MARGIN;
    walk->gnu = true;
    walk->tokens = run->next;
    walk->block_start = run->start;
    run->block_tokens = BLOCK_TOKENS;
    rdk_zlib_restart(&walk->chains, run->offset + run->begin == 0 ? 0 : run->begin - RDK_ZLIB_WINDOW, 15);
    walk->chains.inserted = run->begin;
    if (lazy && run->start - from > RDK_ZLIB_RESYNC) from = run->start - RDK_ZLIB_RESYNC;
    walk->rsyncable = run->model->parameter;
    walk->summed = from < SUMMED_BYTES ? 0 : from - SUMMED_BYTES;
    while (walk->rsyncable && walk->summed < from) walk->sum += run->plain[walk->summed++];
    if (lazy) rdk_zlib_lazy(run, walk, from, run->stop, run->length);
    else rdk_zlib_fast(run, walk, from, run->stop, run->length);
    if (run->last) rdk_end_final(run);
}

static void choose(rdk_run *run, rdk_block *block, uint8_t want) {
    rdk_zlib_policy policy = {.window = RDK_ZLIB_WINDOW,
                              .refill = RDK_ZLIB_MARGIN - 1,
                              .lazy = run->model->level > 3,
                              .plain_end = run->ends ? run->offset + run->length : UINT64_MAX};
    rdk_zlib_choose(block, want, &policy);
}

#define MODEL(ID, NAME, LEVEL, WARMUP, SEGMENT, RSYNCABLE) \
    {.id = 0x0500 + (ID) + LEVEL,                          \
     .name = NAME #LEVEL,                                  \
     .level = LEVEL,                                       \
     .warmup_bytes = WARMUP,                               \
     .lookahead_bytes = RDK_ZLIB_LOOKAHEAD,                \
     .segment_bytes = SEGMENT,                             \
     .state_bytes = sizeof(rdk_zlib_walk),                 \
     .parameter = RSYNCABLE,                               \
     .simulate = simulate,                                 \
     .choose = choose}
#define FAST(ID, NAME, LEVEL, R) MODEL(ID, NAME, LEVEL, RDK_ZLIB_FAST_WARMUP, 4 << 20, R)
#define LAZY(ID, NAME, LEVEL, R) MODEL(ID, NAME, LEVEL, RDK_ZLIB_LAZY_WARMUP, 1 << 20, R)
#define LEVELS(ID, NAME, R)                                                                                       \
    FAST(ID, NAME, 1, R), FAST(ID, NAME, 2, R), FAST(ID, NAME, 3, R), LAZY(ID, NAME, 4, R), LAZY(ID, NAME, 5, R), \
        LAZY(ID, NAME, 6, R), LAZY(ID, NAME, 7, R), LAZY(ID, NAME, 8, R), LAZY(ID, NAME, 9, R)
static const rdk_model models[] = {LEVELS(0x00, "gnu-gzip-level-", false),
                                   LEVELS(0x10, "gnu-gzip-rsyncable-level-", true)};
const rdk_family rdk_family_gnu = {models, sizeof models / sizeof *models};
