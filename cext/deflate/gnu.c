/* The models of GNU gzip: zlib's ancestor. Its own are blocks of up to 32,767 tokens that may end early, and an end
 * of input at which it compares with what its window happens to hold. Names in capitals are those of its deflate.c and
 * trees.c. */
#include "zlib_trees.h"
#include "zlib_walk.h"

enum {
    BLOCK_TOKENS = 32767,  /* LIT_BUFSIZE - 1 */
    CHECKED_TOKENS = 4096, /* ct_tally looks at the block after every 4,096th token */
    SUMMED_BYTES = 4096,   /* RSYNC_WIN */
    WINDOW_SLIDES_AT = 2 * RDK_WINDOW - RDK_ZLIB_MIN_LOOKAHEAD
};

typedef struct gnu_walk {
    rdk_zlib_walk walk;
    /* The index of window position 0 once the input has ended (wraps around below 0), and whether the window had moved
     * then. */
    uint32_t tail_origin;
    bool tail_seen, tail_moved;
    const rdk_token *tokens; /* where the tokens of a block begin */
    uint32_t block_start;
    bool rsyncable;       /* --rsyncable */
    uint32_t sum, summed; /* ... the sum of the 4,096 bytes before index `summed` */
} gnu_walk;

/* What is called at the end of the input, or once for thousands of tokens, stays out of the loop over tokens, where it
 * would take registers. */
#define RARE __attribute__((noinline))

/* ---- the end of the input -------------------------------------------------------------------------------------- */

/* Returns the byte in the window for `index`. Behind the input's end that is a zero two times, then what was there
 * before the window moved. */
static uint8_t window_byte(const rdk_run *run, const gnu_walk *state, uint32_t index) {
    if (index < run->length) return run->plain[index];
    if (index < run->length + 2 || !state->tail_moved || index < RDK_WINDOW) return 0;
    return run->plain[index - RDK_WINDOW];
}

/* The encoder stands at `position`. The window stops moving when it has seen the end of its input: where it first
 * stands with less than MIN_LOOKAHEAD bytes ahead. */
static void stand(const rdk_run *run, gnu_walk *state, uint32_t position) {
    if (state->tail_seen || !run->ends || run->length - position >= RDK_ZLIB_MIN_LOOKAHEAD) return;
    uint64_t seen = run->offset + position;
    uint64_t origin = seen < WINDOW_SLIDES_AT ? 0 : (seen - WINDOW_SLIDES_AT) / RDK_WINDOW * RDK_WINDOW + RDK_WINDOW;
    state->tail_seen = true;
    state->tail_origin = (uint32_t)(origin - run->offset);
    state->tail_moved = origin > 0;
}

/* rdk_zlib_longest near the end of the input. The search does not know where the input ends: among matches that run to
 * its end, the bytes behind it decide. */
static RARE uint32_t tail_longest(const rdk_run *run, gnu_walk *state, uint32_t position, const rdk_zlib_search *ask,
                                  uint32_t *distance) {
    const rdk_zlib_chains *chains = &state->walk.chains;
    const uint8_t *scan = run->plain + position;
    uint32_t left = run->length - position, at = position - chains->origin, best = ask->best, chain = ask->chain;
    uint32_t candidate = chains->older[at & (RDK_WINDOW - 1)], lowest = at > ask->reach ? at - ask->reach : 0;
    stand(run, state, position);
    if (candidate == 0 || candidate < lowest) return 0;
    /* Too near the end of the window that does not move any more. */
    if (state->tail_seen && position - state->tail_origin > WINDOW_SLIDES_AT) return 0;
    do {
        uint32_t back = at - candidate, length = rdk_equal_short(scan, scan - back, left);
        if (length == left)
            while (length < RDK_MATCH_MAX &&
                   window_byte(run, state, position + length) == window_byte(run, state, position + length - back))
                length++;
        if (length > best) {
            best = length;
            *distance = back;
            if (length >= state->walk.effort.nice) break;
        }
        candidate = chains->older[candidate & (RDK_WINDOW - 1)];
    } while (candidate > lowest && --chain != 0);
    return best < left ? best : left;
}

/* ---- blocks that end early ------------------------------------------------------------------------------------- */

/* Tells whether the block ends after a multiple of 4,096 tokens (ct_tally): few of them are matches, but it has less
 * than half the size of its bytes by an estimate of 8 bits a token, and 5 and the extra bits a distance. */
static bool pays_already(const rdk_run *run, const gnu_walk *state, uint32_t standing) {
    uint32_t count = (uint32_t)(run->next - state->tokens), matches = 0;
    uint64_t bits = (uint64_t)count * 8, read = standing - state->block_start;
    for (uint32_t i = 0; i < count; i++) {
        if (rdk_token_length(state->tokens[i]) == 0) continue;
        matches++;
        bits += 5 + rdk_distance_extra[rdk_distance_code(rdk_token_distance(state->tokens[i]))];
    }
    return matches < count / 2 && bits >> 3 < read / 2;
}

/* --rsyncable (rsync_roll): tells whether the sum of some 4,096 bytes that end before `position`, and after what was
 * summed so far, is a multiple of 4,096. */
static bool sum_hits(const rdk_run *run, gnu_walk *state, uint32_t position) {
    bool hit = false;
    for (; state->summed < position; state->summed++) {
        state->sum += run->plain[state->summed];
        if (run->offset + state->summed < SUMMED_BYTES) continue;
        if (state->summed >= SUMMED_BYTES) state->sum -= run->plain[state->summed - SUMMED_BYTES];
        hit = hit || state->sum % SUMMED_BYTES == 0;
    }
    return hit;
}

/* Ends the block and pads to a whole byte. The first block of a segment has its padding in the segment before. */
static void end_padded(rdk_run *run, uint32_t position) {
    if (position <= run->start) return;
    rdk_end_block(run, position);
    if (rdk_bit_phase(run) != 0) rdk_marker(run, position, RDK_STORED, false);
}

/* Ends the block where the encoder does: after the token that reached `position` while the encoder stood at `standing`.
 */
static RARE void after_token(rdk_run *run, gnu_walk *state, uint32_t position, uint32_t standing) {
    ptrdiff_t count = run->next - state->tokens;
    bool hit = state->rsyncable && sum_hits(run, state, position) && run->block_tokens != 0;
    if (count == 0) { /* the driver has closed a block */
        state->block_start = position;
    } else if ((count & (CHECKED_TOKENS - 1)) == 0 && run->block_tokens != 0 && run->model->level > 2 &&
               pays_already(run, state, standing)) {
        rdk_end_block(run, position);
        state->block_start = position;
    }
    if (!hit) return;
    end_padded(run, position);
    state->block_start = position;
}

/* ---- the walk -------------------------------------------------------------------------------------------------- */

/* Tokens of the block so far, modulo CHECKED_TOKENS. */
static inline ptrdiff_t since_check(const rdk_run *run, const gnu_walk *state) {
    return (run->next - state->tokens) & (CHECKED_TOKENS - 1);
}

/* The token that completes CHECKED_TOKENS must be followed by after_token; with --rsyncable every token must. */
static inline ptrdiff_t clear_tokens(const rdk_run *run, const gnu_walk *state, ptrdiff_t count) {
    ptrdiff_t unchecked = state->rsyncable ? 0 : CHECKED_TOKENS - 1 - since_check(run, state);
    return unchecked < count ? unchecked : count;
}

#define WALK(name) gnu_##name
#define WALK_HASH RDK_ZLIB_HASH3
#define WALK_STATE gnu_walk
#define WALK_OF(state) (&(state)->walk)
#define WALK_IN_TAIL(run, left) ((left) < RDK_MATCH_MAX && (run)->ends)
#define WALK_TAIL_LONGEST(run, state, position, ask, distance) tail_longest(run, state, position, ask, distance)
#define WALK_STAND(run, state, position) stand(run, state, position)
#define WALK_AFTER(run, state, position, standing) \
    if ((state)->rsyncable || since_check(run, state) == 0) after_token(run, state, position, standing)
#define WALK_CLEAR_TOKENS(run, state, count) clear_tokens(run, state, count)
#define WALK_INSERTS_TO_END true
#include "zlib_walk_template.h"

/* ---- the models ------------------------------------------------------------------------------------------------ */

static void simulate(rdk_run *run) {
    gnu_walk *state = run->state;
    rdk_zlib_walk *walk = &state->walk;
    bool lazy = run->model->level > 3;
    uint32_t from = run->begin;
    walk->effort = rdk_zlib_efforts[run->model->level];
    walk->reach = RDK_WINDOW - RDK_ZLIB_MIN_LOOKAHEAD;
    state->tokens = run->next;
    state->block_start = run->start;
    run->block_tokens = BLOCK_TOKENS;
    rdk_zlib_restart(&walk->chains, run->offset + run->begin == 0 ? 0 : run->begin - RDK_WINDOW, 15);
    walk->chains.inserted = run->begin;
    if (lazy && run->start - from > RDK_ZLIB_RESYNC) from = run->start - RDK_ZLIB_RESYNC;
    state->rsyncable = run->model->parameter;
    state->summed = from < SUMMED_BYTES ? 0 : from - SUMMED_BYTES;
    while (state->rsyncable && state->summed < from) state->sum += run->plain[state->summed++];
    if (lazy) gnu_lazy(run, state, from, run->stop, run->length);
    else gnu_fast(run, state, from, run->stop, run->length);
    if (run->last) rdk_end_final(run);
}

static void choose(rdk_run *run, rdk_block *block, uint8_t want) {
    rdk_zlib_policy policy = {.window = RDK_WINDOW,
                              .refill = RDK_ZLIB_MIN_LOOKAHEAD - 1,
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
     .state_bytes = sizeof(gnu_walk),                      \
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
