/* The models of zlib 1.2.5.1 and later: levels 1 to 9, strategies, memory levels, window sizes. Java's java.util.zip,
 * Python, nginx and many others compress with it. And Chromium's fork of it, which Node has: another hash. */
#include "zlib_trees.h"
#include "zlib_walk.h"

enum { DEFAULT_MEMORY = 8, MEMORY_MIN = 1, MEMORY_MAX = 9 }; /* DEF_MEM_LEVEL, MAX_MEM_LEVEL */

/* rdk_model.parameter: the strategy, the window's bits, and whether it is Chromium's fork. */
enum strategy { DEFAULT, FILTERED, FIXED, LITERALS_ONLY, RUNS_ONLY };
enum { CHROMIUM = 1 << 16 };
#define PARAMETER(STRATEGY, BITS) ((STRATEGY) << 8 | (BITS))
static enum strategy strategy_of(const rdk_run *run) { return (enum strategy)(run->model->parameter >> 8 & 0xff); }
static uint32_t window_of(const rdk_run *run) { return 1u << (run->model->parameter & 0xff); }

/* The member's parameter is zlib's memLevel, 1 to 9; 0 if no block told it. */
static uint32_t memory_of(const rdk_run *run) {
    return run->member_param >= MEMORY_MIN && run->member_param <= MEMORY_MAX ? run->member_param : DEFAULT_MEMORY;
}

/* Tokens of a full block: lit_bufsize is 64 << memLevel, and its last entry stays empty. */
static uint32_t block_tokens(uint32_t memory) { return (64u << memory) - 1; }

/* The memLevel with the most full blocks. */
static uint32_t detect_memory(const rdk_block_info *blocks, size_t count) {
    uint32_t votes[MEMORY_MAX + 1] = {0}, best = 0;
    for (size_t i = 0; i < count; i++)
        for (uint32_t memory = MEMORY_MIN; memory <= MEMORY_MAX; memory++)
            if (blocks[i].ended && !blocks[i].final && blocks[i].type != 0 && blocks[i].tokens == block_tokens(memory))
                votes[memory]++;
    for (uint32_t memory = MEMORY_MIN; memory <= MEMORY_MAX; memory++)
        if (votes[memory] > votes[best]) best = memory;
    return best;
}

static void prepare(rdk_run *run, rdk_zlib_walk *walk) {
    uint32_t memory = memory_of(run);
    walk->effort = rdk_zlib_efforts[run->model->level <= 9 ? run->model->level : 0]; /* none: no search */
    walk->reach = window_of(run) - RDK_ZLIB_MIN_LOOKAHEAD;
    walk->filtered = strategy_of(run) == FILTERED;
    walk->hash_bits = memory + 7; /* deflateInit2_ */
    walk->hash = walk->hash_bits == 15 ? RDK_ZLIB_HASH3 : RDK_ZLIB_HASH3_ANY;
    if (run->model->parameter & CHROMIUM) {
        walk->hash = RDK_ZLIB_HASH4;
        if (walk->hash_bits < 15) walk->hash_bits = 15;
        /* Behind the input the window holds a zero, or what was there before it moved on. */
        bool moved = run->ends && run->offset + run->length >= 2 * RDK_WINDOW - RDK_ZLIB_MIN_LOOKAHEAD;
        walk->chains.beyond = moved && run->length >= RDK_WINDOW ? run->plain[run->length - RDK_WINDOW] : 0;
    }
    run->block_tokens = block_tokens(memory);
    rdk_zlib_restart(&walk->chains, run->offset + run->begin == 0 ? 0 : run->begin - RDK_WINDOW, walk->hash_bits);
    walk->chains.inserted = run->begin;
}

static uint32_t advance(rdk_run *run, rdk_zlib_walk *walk, uint32_t from, uint32_t to, uint32_t end) {
    switch (strategy_of(run)) {
    case LITERALS_ONLY: return rdk_zlib_literals(run, from, to);
    case RUNS_ONLY: return rdk_zlib_runs(run, from, to, end);
    default: break;
    }
    return run->model->level > 3 ? rdk_zlib_lazy(run, walk, from, to, end) : rdk_zlib_fast(run, walk, from, to, end);
}

/* A flush ends the input for the time being: no match crosses it. The last two bytes before it enter the chains of fast
 * levels with the bytes that follow, because a hash takes three. */
static void simulate(rdk_run *run) {
    rdk_zlib_walk *walk = run->state;
    bool lazy = run->model->level > 3, chained = strategy_of(run) < LITERALS_ONLY;
    prepare(run, walk);
    uint32_t position = run->begin;
    if (!chained || (lazy && run->start - position > RDK_ZLIB_RESYNC))
        position = chained ? run->start - RDK_ZLIB_RESYNC : run->start;
    if (position < run->start) position = advance(run, walk, position, run->start, run->length);
    while (position < run->stop) {
        uint32_t end = rdk_input_end(run, position);
        if (end > run->length) end = run->length;
        position = advance(run, walk, position, end, end);
        if (chained && !lazy && position == end && position < run->stop)
            rdk_zlib_fill(run, walk, end < 2 ? 0 : end - 2, end);
    }
    if (run->last) rdk_end_final(run);
}

static void choose(rdk_run *run, rdk_block *block, uint8_t want) {
    enum strategy strategy = strategy_of(run);
    rdk_zlib_policy policy = {.window = window_of(run),
                              .refill = RDK_ZLIB_MIN_LOOKAHEAD - 1,
                              .lazy = run->model->level > 3 && strategy < LITERALS_ONLY,
                              .fixed = strategy == FIXED,
                              .plain_end = run->ends ? run->offset + run->length : UINT64_MAX};
    if (strategy == LITERALS_ONLY) policy.refill = 0;
    if (strategy == RUNS_ONLY) policy.refill = RDK_MATCH_MAX;
    rdk_zlib_choose(block, want, &policy);
}

#define MODEL(ID, NAME, LEVEL, PARAMETER, WARMUP, SEGMENT) \
    {.id = (ID),                                           \
     .name = NAME,                                         \
     .level = LEVEL,                                       \
     .warmup_bytes = WARMUP,                               \
     .lookahead_bytes = RDK_ZLIB_LOOKAHEAD,                \
     .segment_bytes = SEGMENT,                             \
     .state_bytes = sizeof(rdk_zlib_walk),                 \
     .parameter = PARAMETER,                               \
     .simulate = simulate,                                 \
     .choose = choose,                                     \
     .detect = detect_memory}
#define FAST(ID, NAME, LEVEL, P) MODEL((ID) + LEVEL, NAME #LEVEL, LEVEL, P, RDK_ZLIB_FAST_WARMUP, 4 << 20)
#define LAZY(ID, NAME, LEVEL, P) MODEL((ID) + LEVEL, NAME #LEVEL, LEVEL, P, RDK_ZLIB_LAZY_WARMUP, 1 << 20)
#define LAZY_LEVELS(ID, NAME, P)                                                                                  \
    LAZY(ID, NAME, 4, P), LAZY(ID, NAME, 5, P), LAZY(ID, NAME, 6, P), LAZY(ID, NAME, 7, P), LAZY(ID, NAME, 8, P), \
        LAZY(ID, NAME, 9, P)
#define LEVELS(ID, NAME, P) FAST(ID, NAME, 1, P), FAST(ID, NAME, 2, P), FAST(ID, NAME, 3, P), LAZY_LEVELS(ID, NAME, P)
#define WINDOW(BITS) LEVELS(0x400 + (BITS << 4), "zlib-window-" #BITS "-level-", PARAMETER(DEFAULT, BITS))

/* The order is the one in which planning tries them. Strategy FILTERED changes lazy levels only. Window bits 8 are made
 * 9 by every version. Ids are a storage format. */
static const rdk_model models[] = {
    LEVELS(0x0400, "zlib-level-", PARAMETER(DEFAULT, 15)),
    LAZY_LEVELS(0x0410, "zlib-filtered-level-", PARAMETER(FILTERED, 15)),
    LEVELS(0x0420, "zlib-fixed-level-", PARAMETER(FIXED, 15)),
    MODEL(0x0430, "zlib-huffman-only", RDK_NO_LEVEL, PARAMETER(LITERALS_ONLY, 15), 0, 1 << 20),
    MODEL(0x0431, "zlib-rle", RDK_NO_LEVEL, PARAMETER(RUNS_ONLY, 15), 512, 1 << 20),
    WINDOW(14),
    WINDOW(13),
    WINDOW(12),
    WINDOW(11),
    WINDOW(10),
    WINDOW(9),
    LEVELS(0x0680, "chromium-zlib-level-", CHROMIUM | PARAMETER(DEFAULT, 15)),
};
const rdk_family rdk_family_zlib = {models, sizeof models / sizeof *models};
