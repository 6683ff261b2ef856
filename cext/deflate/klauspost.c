/* The models of the klauspost family, and how its fast levels walk over the plain bytes chunk by chunk. */
#include "klauspost_choose.h"
#include "klauspost_emit.h"
#include "klauspost_matchers.h"

static void simulate(rdk_run *run);

/* ---- the models: ids are a storage format ---------------------------------------------------------------------- */

enum {
    MIB = 1 << 20,
    LAZY_TOKENS = 1 << 15, /* maxFlateBlockTokens: a block of levels 7 to 9 */
    /* After a cold start the tables are what they would be after a few chunks, because newer entries replace older
     * ones; the sparser a level inserts, the longer old entries stay. Where that is too early, the recipe has
     * corrections. */
    WARM = 3 * KP_CHUNK,
    WARM_SPARSE = 7 * KP_CHUNK,
    WARM_LAZY = 5 * RDK_WINDOW /* the chains need one window, the search the others */
};

#define FAST(ID, NAME, LEVEL, FLAGS, WARMUP, SEGMENT) \
    {.id = ID,                                        \
     .name = NAME,                                    \
     .level = LEVEL,                                  \
     .flags = RDK_GRID | RDK_HIDES,                   \
     .warmup_bytes = WARMUP,                          \
     .lookahead_bytes = 0,                            \
     .segment_bytes = SEGMENT,                        \
     .grid_bytes = KP_CHUNK,                          \
     .state_bytes = STATE(LEVEL),                     \
     .parameter = (LEVEL) | (FLAGS),                  \
     .simulate = simulate,                            \
     .choose = kp_choose,                             \
     .chosen = kp_chosen}
#define PGZIP(ID, NAME, LEVEL, FLAGS)                  \
    {.id = ID,                                         \
     .name = NAME,                                     \
     .level = LEVEL,                                   \
     .flags = RDK_GRID | RDK_HIDES,                    \
     .warmup_bytes = (LEVEL) < 5 ? WARM_SPARSE : WARM, \
     .lookahead_bytes = 0,                             \
     .segment_bytes = MIB,                             \
     .align_bytes = MIB,                               \
     .state_bytes = STATE(LEVEL),                      \
     .parameter = (LEVEL) | (FLAGS) | KP_PGZIP,        \
     .simulate = simulate,                             \
     .choose = kp_choose,                              \
     .chosen = kp_chosen}
#define LAZY(ID, NAME, LEVEL, FLAGS) \
    {.id = ID,                       \
     .name = NAME,                   \
     .level = LEVEL,                 \
     .warmup_bytes = WARM_LAZY,      \
     .lookahead_bytes = 1 << 16,     \
     .segment_bytes = MIB,           \
     .state_bytes = STATE(LEVEL),    \
     .parameter = (LEVEL) | (FLAGS), \
     .simulate = simulate,           \
     .choose = kp_choose,            \
     .chosen = kp_chosen}
#define LAZY_PGZIP(ID, NAME, LEVEL, FLAGS)      \
    {.id = ID,                                  \
     .name = NAME,                              \
     .level = LEVEL,                            \
     .warmup_bytes = WARM_LAZY,                 \
     .lookahead_bytes = 0,                      \
     .segment_bytes = MIB,                      \
     .align_bytes = MIB,                        \
     .state_bytes = STATE(LEVEL),               \
     .parameter = (LEVEL) | (FLAGS) | KP_PGZIP, \
     .simulate = simulate,                      \
     .choose = kp_choose,                       \
     .chosen = kp_chosen}
#define PLAIN(ID, NAME, SHOWN, LEVEL, FLAGS, ALIGN) \
    {.id = ID,                                      \
     .name = NAME,                                  \
     .level = SHOWN,                                \
     .flags = RDK_GRID | RDK_HIDES,                 \
     .segment_bytes = MIB,                          \
     .align_bytes = ALIGN,                          \
     .state_bytes = sizeof(kp_state),               \
     .parameter = (LEVEL) | (FLAGS),                \
     .simulate = simulate,                          \
     .choose = kp_choose,                           \
     .chosen = kp_chosen}
#define STATE(LEVEL) (sizeof(kp_state) + TABLE_BYTES(LEVEL))
#define TABLE_BYTES(LEVEL)     \
    ((LEVEL) == 1   ? 4 << 15  \
     : (LEVEL) == 2 ? 4 << 17  \
     : (LEVEL) == 3 ? 8 << 16  \
     : (LEVEL) == 4 ? 8 << 15  \
     : (LEVEL) < 7  ? 12 << 15 \
                    : KP_LAZY_BYTES)

/* Level 4 is the same in all versions up to 1.17. */
static const rdk_model models[] = {
    FAST(0x0201, "klauspost-1.15.11-level-1", 1, 0, WARM_SPARSE, 4 * MIB),
    FAST(0x0202, "klauspost-1.15.11-level-2", 2, 0, WARM_SPARSE, 4 * MIB),
    FAST(0x0203, "klauspost-1.15.11-level-3", 3, 0, WARM_SPARSE, 4 * MIB),
    FAST(0x0204, "klauspost-1.15.0-level-4", 4, 0, WARM_SPARSE, 4 * MIB),
    FAST(0x0205, "klauspost-1.15.11-level-5", 5, 0, WARM, 2 * MIB),
    FAST(0x0206, "klauspost-1.15.11-level-6", 6, 0, WARM, 2 * MIB),
    FAST(0x0214, "klauspost-1.18.0-level-4", 4, KP_MISTAKEN, WARM_SPARSE, 4 * MIB),
    FAST(0x0231, "klauspost-1.15.0-level-1", 1, KP_OLD, WARM_SPARSE, 4 * MIB),
    FAST(0x0232, "klauspost-1.15.0-level-2", 2, KP_OLD, WARM_SPARSE, 4 * MIB),
    FAST(0x0233, "klauspost-1.15.0-level-3", 3, KP_OLD, WARM_SPARSE, 4 * MIB),
    FAST(0x0235, "klauspost-1.15.0-level-5", 5, KP_OLD, WARM, 2 * MIB),
    FAST(0x0236, "klauspost-1.15.0-level-6", 6, KP_OLD, WARM, 2 * MIB),
    PGZIP(0x0281, "pgzip-1.15.11-level-1", 1, 0),
    PGZIP(0x0282, "pgzip-1.15.11-level-2", 2, 0),
    PGZIP(0x0283, "pgzip-1.15.11-level-3", 3, 0),
    PGZIP(0x0284, "pgzip-1.15.0-level-4", 4, 0),
    PGZIP(0x0285, "pgzip-1.15.11-level-5", 5, 0),
    PGZIP(0x0286, "pgzip-1.15.11-level-6", 6, 0),
    PGZIP(0x0294, "pgzip-1.18.0-level-4", 4, KP_MISTAKEN),
    PGZIP(0x02a1, "pgzip-1.18.2-level-1", 1, KP_TRIMMED),
    PGZIP(0x02a2, "pgzip-1.18.2-level-2", 2, KP_TRIMMED),
    PGZIP(0x02a3, "pgzip-1.18.2-level-3", 3, KP_TRIMMED),
    PGZIP(0x02a4, "pgzip-1.18.2-level-4", 4, KP_TRIMMED | KP_MISTAKEN),
    PGZIP(0x02a5, "pgzip-1.18.2-level-5", 5, KP_TRIMMED),
    PGZIP(0x02a6, "pgzip-1.18.2-level-6", 6, KP_TRIMMED),
    PGZIP(0x02b1, "pgzip-1.15.0-level-1", 1, KP_OLD),
    PGZIP(0x02b2, "pgzip-1.15.0-level-2", 2, KP_OLD),
    PGZIP(0x02b3, "pgzip-1.15.0-level-3", 3, KP_OLD),
    PGZIP(0x02b5, "pgzip-1.15.0-level-5", 5, KP_OLD),
    PGZIP(0x02b6, "pgzip-1.15.0-level-6", 6, KP_OLD),
    PLAIN(0x0200, "klauspost-1.15.0-level-0", 0, 0, 0, 0),
    PLAIN(0x020a, "klauspost-1.15.0-huffman-only", 255, KP_HUFFMAN, 0, 0),
    PLAIN(0x0280, "pgzip-1.15.0-level-0", 0, 0, KP_PGZIP, MIB),
    PLAIN(0x028a, "pgzip-1.15.0-huffman-only", 255, KP_HUFFMAN, KP_PGZIP, MIB),
    LAZY(0x0237, "klauspost-1.15.0-level-7", 7, KP_OLD),
    LAZY(0x0238, "klauspost-1.15.0-level-8", 8, KP_OLD),
    LAZY(0x0239, "klauspost-1.15.0-level-9", 9, KP_OLD),
    LAZY(0x0217, "klauspost-1.16.0-level-7", 7, 0),
    LAZY(0x0218, "klauspost-1.16.0-level-8", 8, 0),
    LAZY(0x0219, "klauspost-1.16.0-level-9", 9, 0),
    LAZY_PGZIP(0x02b7, "pgzip-1.15.0-level-7", 7, KP_OLD),
    LAZY_PGZIP(0x02b8, "pgzip-1.15.0-level-8", 8, KP_OLD),
    LAZY_PGZIP(0x02b9, "pgzip-1.15.0-level-9", 9, KP_OLD),
    LAZY_PGZIP(0x0297, "pgzip-1.16.0-level-7", 7, 0),
    LAZY_PGZIP(0x0298, "pgzip-1.16.0-level-8", 8, 0),
    LAZY_PGZIP(0x0299, "pgzip-1.16.0-level-9", 9, 0),
    LAZY_PGZIP(0x02a7, "pgzip-1.18.2-level-7", 7, KP_TRIMMED),
    LAZY_PGZIP(0x02a8, "pgzip-1.18.2-level-8", 8, KP_TRIMMED),
    LAZY_PGZIP(0x02a9, "pgzip-1.18.2-level-9", 9, KP_TRIMMED),
    /* klauspost/compress itself writes the same since 1.18.2 */
    FAST(0x0301, "go-1.27-level-1", 1, KP_TRIMMED, WARM_SPARSE, 4 * MIB),
    FAST(0x0302, "go-1.27-level-2", 2, KP_TRIMMED, WARM_SPARSE, 4 * MIB),
    FAST(0x0303, "go-1.27-level-3", 3, KP_TRIMMED, WARM_SPARSE, 4 * MIB),
    FAST(0x0304, "go-1.27-level-4", 4, KP_TRIMMED | KP_MISTAKEN, WARM_SPARSE, 4 * MIB),
    FAST(0x0305, "go-1.27-level-5", 5, KP_TRIMMED, WARM, 2 * MIB),
    FAST(0x0306, "go-1.27-level-6", 6, KP_TRIMMED, WARM, 2 * MIB),
    LAZY(0x0307, "go-1.27-level-7", 7, KP_TRIMMED),
    LAZY(0x0308, "go-1.27-level-8", 8, KP_TRIMMED),
    LAZY(0x0309, "go-1.27-level-9", 9, KP_TRIMMED),
};

const rdk_family rdk_family_klauspost = {models, sizeof models / sizeof *models};

/* ---- chunks ---------------------------------------------------------------------------------------------------- */

static void search(kp_chunk *chunk) {
    int parameter = chunk->run->model->parameter;
    bool old = parameter & KP_OLD;
    switch (parameter & KP_LEVEL) {
    case 1: kp_level1(chunk, old); break;
    case 2: kp_level2(chunk, old); break;
    case 3: kp_level3(chunk, old); break;
    case 4: kp_level4(chunk, parameter & KP_MISTAKEN); break;
    case 5: kp_level5(chunk, old); break;
    case 6: kp_level6(chunk, old); break;
    default: kp_emit_rest(chunk);
    }
}

static int level_of(const rdk_run *run) { return run->model->parameter & KP_LEVEL; }
static bool is_lazy(const rdk_run *run) { return level_of(run) >= 7 && level_of(run) <= 9; }
static bool is_fast(const rdk_run *run) { return level_of(run) >= 1 && level_of(run) <= 6; }
static uint32_t chunk_bytes(const rdk_run *run) { return level_of(run) == KP_HUFFMAN ? KP_HUFFMAN_CHUNK : KP_CHUNK; }

/* The encoder begins anew at `position`. */
static void forget(rdk_run *run, uint32_t position) {
    kp_state *state = run->state;
    memset(state->tables, 0, run->model->state_bytes - sizeof *state);
    state->base = position;
    state->history = (int32_t)position;
}

/* The encoder appends chunks to a buffer of five (allocHistory); when that is full it keeps the last window. Only level
 * 4 shows where the buffer begins. */
static void make_history(kp_state *state, uint32_t start, uint32_t stop) {
    if ((int32_t)stop - state->history > 5 * KP_CHUNK) state->history = (int32_t)start - RDK_WINDOW;
}

/* Codes plain[start, stop); returns where the run then is. */
static uint32_t run_chunk(rdk_run *run, uint32_t start, uint32_t stop) {
    kp_state *state = run->state;
    make_history(state, start, stop);
    kp_chunk chunk = {.run = run,
                      .state = state,
                      .src = run->plain,
                      .start = (int32_t)start,
                      .stop = (int32_t)stop,
                      .base = (int32_t)state->base,
                      .history = state->history,
                      .emitted = (int32_t)start,
                      .anchor = (int32_t)start};
    if (stop - start < KP_TINY && is_fast(run)) {
        kp_emit_rest(&chunk);
        forget(run, stop);
    } else {
        search(&chunk);
    }
    return (uint32_t)chunk.emitted;
}

/* Codes chunks from `position` to `stop`, where a flush, a marker or the end follows. */
static uint32_t run_chunks(rdk_run *run, uint32_t position, uint32_t stop) {
    kp_state *state = run->state;
    while (position < stop && !rdk_done(run)) {
        uint32_t limit = stop - position < chunk_bytes(run) ? stop - position : chunk_bytes(run);
        uint32_t end = rdk_chunk_stop(run, position, limit);
        state->flushed = end == stop || end == rdk_input_end(run, position);
        uint32_t reached = run_chunk(run, position, end);
        if (reached <= position) return position; /* the run has failed */
        rdk_end_block(run, reached);
        position = reached;
    }
    return position;
}

/* ---- a member -------------------------------------------------------------------------------------------------- */

/* Returns where the encoder's buffer began when it came to the chunk at `offset`, a multiple of the grid: it is full
 * after five chunks, then after every four. */
static uint64_t history_at(uint64_t offset) {
    uint64_t number = offset / KP_CHUNK;
    if (number < 5) return 0;
    return (number - (number - 5) % 4) * KP_CHUNK - RDK_WINDOW;
}

static void simulate_fast(rdk_run *run) {
    kp_state *state = run->state;
    state->base = 0;
    state->history = (int32_t)((int64_t)history_at(run->offset + run->begin) - (int64_t)run->offset);
    run_chunks(run, run->begin, run->ends ? run->length : UINT32_MAX);
}

static void simulate_lazy(rdk_run *run) {
    kp_state *state = run->state;
    uint32_t history = run->begin, warmup = run->start - run->begin;
    uint32_t position =
        run->offset + run->begin == 0 ? run->begin : run->begin + (warmup < RDK_WINDOW ? warmup : RDK_WINDOW);
    while (!rdk_done(run)) {
        uint32_t end = rdk_input_end(run, position);
        position = kp_lazy(run, -(int64_t)run->offset, history, position, end);
        if (position != end || position == run->length) return;
        rdk_end_block(run, position);
        memset(state->tables, 0, KP_LAZY_BYTES);
        history = position < RDK_WINDOW ? 0 : position - RDK_WINDOW;
    }
}

/* Searches [from, to) like chunks, to fill the tables; the tokens are dropped. */
static void warm_tables(rdk_run *run, uint32_t from, uint32_t to) {
    kp_state *state = run->state;
    state->muted = true;
    for (uint32_t stop; from < to; from = stop) {
        stop = to - from < KP_CHUNK ? to : from + KP_CHUNK;
        run_chunk(run, from, stop);
    }
    state->muted = false;
}

/* A block of pgzip begins, with the end of the one before as dictionary. `available`: bytes at hand before it. */
static void begin_block(rdk_run *run, uint32_t position, uint32_t available) {
    uint32_t tail = available < KP_PGZIP_TAIL ? available : KP_PGZIP_TAIL;
    if (!is_fast(run)) return;
    forget(run, position - tail);
    warm_tables(run, position - tail, position);
}

/* The segment begins inside a block, at one of its chunks: so it may be before the encoder is known. */
static void begin_inside(rdk_run *run, uint32_t into_block) {
    uint32_t available = run->start - run->begin;
    if (!is_fast(run)) return;
    if (available >= into_block) {
        begin_block(run, run->start - into_block, available - into_block);
        warm_tables(run, run->start - into_block, run->start);
    } else {
        uint32_t from = run->start - available / KP_CHUNK * KP_CHUNK;
        forget(run, from);
        warm_tables(run, from, run->start);
    }
}

/* Levels 7 to 9: codes the rest of a block from `position`, which is `into_block` bytes in it, to `stop`. */
static uint32_t run_block_lazy(rdk_run *run, uint32_t position, uint32_t into_block, uint32_t stop) {
    kp_state *state = run->state;
    int64_t origin = (int64_t)position - into_block, history;
    if (run->offset + (uint64_t)origin > 0) origin -= KP_PGZIP_TAIL;
    history = origin > (int64_t)run->begin ? origin : run->begin;
    if (position - history > RDK_WINDOW) history = position - RDK_WINDOW;
    memset(state->tables, 0, KP_LAZY_BYTES);
    return kp_lazy(run, origin, (uint32_t)history, position, stop);
}

static void simulate_pgzip(rdk_run *run) {
    uint32_t position = run->start, stop, into_block = (uint32_t)((run->offset + run->start) % KP_PGZIP_BLOCK);
    bool full;
    if (is_lazy(run) && into_block) { /* the driver's warm-up leads up to the start */
        uint32_t back = position - run->begin > RDK_WINDOW ? position - run->begin - RDK_WINDOW : 0;
        position -= back < into_block ? back : into_block;
        into_block -= run->start - position;
    } else if (run->begin < run->start) {
        rdk_emit_literal(run,
                         run->start -
                             1); /* so that the driver sees the end of the warm-up; the dictionary emits nothing here */
    }
    if (into_block) begin_inside(run, into_block);
    do {
        uint64_t end = ((run->offset + position) / KP_PGZIP_BLOCK + 1) * KP_PGZIP_BLOCK - run->offset;
        full = end <= run->length;
        stop = full ? (uint32_t)end : run->length;
        if (!into_block) begin_block(run, position, position - run->begin);
        position = is_lazy(run) ? run_block_lazy(run, position, into_block, stop) : run_chunks(run, position, stop);
        into_block = 0;
        if (position < stop) return;
        rdk_marker(run, position, RDK_STORED, false);
    } while (full && !rdk_done(run));
}

static void simulate(rdk_run *run) {
    if (is_lazy(run)) run->block_tokens = LAZY_TOKENS;
    if (run->model->parameter & KP_PGZIP) simulate_pgzip(run);
    else if (is_lazy(run)) simulate_lazy(run);
    else simulate_fast(run);
    if (run->last && !rdk_done(run)) rdk_marker(run, run->stop, RDK_FIXED, true);
}
