/* GNU gzip: zlib's ancestor. Its own are blocks of up to 32,767 tokens that may end early, and an end of input at which it
 * compares with what its window happens to hold. */
#include "deflate_zlib.h"

enum { BLOCK_TOKENS = 32767, CHECKED_TOKENS = 4096 };

/* ---- the end of the input -------------------------------------------------------------------------------------- */

/* The window at `index`: behind the input's end two zeros, then what was there before the window moved. */
static uint8_t in_window(const rdk_run *run, const rdk_zlib_walk *walk, uint32_t index) {
    if (index < run->length) return run->plain[index];
    if (index < run->length + 2 || !walk->tail_moved || index < RDK_ZLIB_WINDOW) return 0;
    return run->plain[index - RDK_ZLIB_WINDOW];
}

/* The window stops moving when the encoder has seen the end of its input: where it first stands with less than a margin. */
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
    if (walk->tail_seen && position - walk->tail_origin > 2 * RDK_ZLIB_WINDOW - RDK_ZLIB_MARGIN) return 0; /* too near the window's end */
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

void rdk_gnu_after(rdk_run *run, rdk_zlib_walk *walk, uint32_t position, uint32_t standing) {
    ptrdiff_t count = run->next - walk->tokens;
    if (count == 0) { /* the driver has closed a block */
        walk->block_start = position;
        return;
    }
    if ((count & (CHECKED_TOKENS - 1)) != 0 || run->block_tokens == 0 || run->model->level <= 2) return;
    if (!pays_already(run, walk, standing)) return;
    rdk_end_block(run, position);
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

#define MODEL(LEVEL, WARMUP, SEGMENT)                                                                                       \
    {.id = 0x0500 + LEVEL, .name = "gnu-gzip-level-" #LEVEL, .level = LEVEL, .warmup_bytes = WARMUP,                        \
     .lookahead_bytes = RDK_ZLIB_LOOKAHEAD, .segment_bytes = SEGMENT, .state_bytes = sizeof(rdk_zlib_walk),                 \
     .parameter = LEVEL, .simulate = simulate, .choose = choose}
#define FAST(LEVEL) MODEL(LEVEL, RDK_ZLIB_FAST_WARMUP, 4 << 20)
#define LAZY(LEVEL) MODEL(LEVEL, RDK_ZLIB_LAZY_WARMUP, 1 << 20)
static const rdk_model models[] = {FAST(1), FAST(2), FAST(3), LAZY(4), LAZY(5), LAZY(6), LAZY(7), LAZY(8), LAZY(9)};
const rdk_family rdk_family_gnu = {models, sizeof models / sizeof *models};
