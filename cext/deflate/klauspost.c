/* The models of the klauspost family, and how its fast levels walk over the plain bytes chunk by chunk. */
#include "klauspost.h"

static void simulate(rdk_run *run);

/* ---- the models: ids are a storage format ---------------------------------------------------------------------- */

enum {
    MIB = 1 << 20,
    /* The tables forget a cold start after a few chunks; the sparser a level inserts, the longer old entries live. */
    WARM = 3 * KP_CHUNK,
    WARM_SPARSE = 7 * KP_CHUNK,
    WARM_LAZY = 5 * KP_WINDOW /* one of them for the chains */
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

/* ---- emitting -------------------------------------------------------------------------------------------------- */

/* The encoder splits what is longer than one token so that three bytes are left for the last. */
static int32_t token_length(int32_t left) {
    if (left <= RDK_MATCH_MAX) return left;
    return left > RDK_MATCH_MAX + RDK_MATCH_MIN ? RDK_MATCH_MAX : RDK_MATCH_MAX - RDK_MATCH_MIN;
}

/* Another token than the predicted one was emitted, and ends at chunk->emitted. */
static bool take_other(kp_chunk *chunk, kp_match *match, int32_t *next) {
    if (rdk_done(chunk->run)) {
        *next = chunk->emitted = chunk->stop;
        return false;
    }
    rdk_token token = chunk->run->next[-1]; /* still there: in a grid model's run emitting does not close the chunk */
    if (rdk_token_length(token) == 0) {
        if (*next < chunk->emitted) *next = chunk->emitted;
        return false;
    }
    match->length = (int32_t)rdk_token_length(token);
    match->at = chunk->emitted - match->length;
    match->from = match->at - (int32_t)rdk_token_distance(token);
    *next = chunk->emitted - 1;
    chunk->anchor = chunk->emitted;
    return true;
}

bool kp_emit(kp_chunk *chunk, kp_match *match, int32_t *next) {
    int32_t at = match->at, left = match->length, distance = match->at - match->from;
    if (chunk->state->muted) {
        chunk->anchor = chunk->emitted = at + left;
        return true;
    }
    if (chunk->emitted < at) {
        chunk->emitted = (int32_t)rdk_emit_literals(chunk->run, (uint32_t)chunk->emitted, (uint32_t)at);
        if (chunk->emitted != at) return take_other(chunk, match, next);
    }
    while (left > 0) {
        int32_t length = token_length(left);
        chunk->emitted = (int32_t)rdk_emit_match(chunk->run, (uint32_t)at, (uint32_t)length, (uint32_t)distance);
        at += length;
        left -= length;
        if (chunk->emitted != at) return take_other(chunk, match, next);
    }
    chunk->anchor = chunk->emitted;
    return true;
}

void kp_emit_rest(kp_chunk *chunk) {
    while (!chunk->state->muted && chunk->emitted < chunk->stop && !rdk_done(chunk->run)) {
        int32_t reached = (int32_t)rdk_emit_literals(chunk->run, (uint32_t)chunk->emitted, (uint32_t)chunk->stop);
        if (reached <= chunk->emitted) return; /* the run has failed */
        chunk->emitted = reached;
    }
}

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

static void forget(rdk_run *run, uint32_t position) {
    kp_state *state = run->state;
    memset(state->tables, 0, run->model->state_bytes - sizeof *state);
    state->base = position;
    state->history = (int32_t)position;
}

/* The encoder appends chunks to a buffer of five; when it is full it keeps the last window. Only level 4 can tell. */
static void make_history(kp_state *state, uint32_t start, uint32_t stop) {
    if ((int32_t)stop - state->history > 5 * KP_CHUNK) state->history = (int32_t)start - KP_WINDOW;
}

/* Codes plain[start .. stop) and returns where the run then stands. */
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

/* Chunks from `position` to `stop`, where a flush, a marker or the end follows. */
static uint32_t run_chunks(rdk_run *run, uint32_t position, uint32_t stop) {
    kp_state *state = run->state;
    while (position < stop && !rdk_done(run)) {
        uint32_t most = stop - position < chunk_bytes(run) ? stop - position : chunk_bytes(run);
        uint32_t end = rdk_chunk_stop(run, position, most);
        state->flushed = end == stop || end == rdk_horizon(run, position);
        uint32_t reached = run_chunk(run, position, end);
        if (reached <= position) return position; /* the run has failed */
        rdk_end_block(run, reached);
        position = reached;
    }
    return position;
}

/* ---- a member -------------------------------------------------------------------------------------------------- */

/* Where the buffer of the encoder began when it came to the chunk at `offset`, a multiple of the grid. */
static uint64_t history_at(uint64_t offset) {
    uint64_t number = offset / KP_CHUNK;
    if (number < 5) return 0;
    return (number - (number - 5) % 4) * KP_CHUNK - KP_WINDOW;
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
        run->offset + run->begin == 0 ? run->begin : run->begin + (warmup < KP_WINDOW ? warmup : KP_WINDOW);
    while (!rdk_done(run)) {
        uint32_t end = rdk_horizon(run, position);
        position = kp_lazy(run, -(int64_t)run->offset, history, position, end);
        if (position != end || position == run->length) return;
        rdk_end_block(run, position);
        memset(state->tables, 0, KP_LAZY_BYTES);
        history = position < KP_WINDOW ? 0 : position - KP_WINDOW;
    }
}

/* Searches [from, to) like chunks, to fill the tables; what comes out is dropped. */
static void take_in(rdk_run *run, uint32_t from, uint32_t to) {
    kp_state *state = run->state;
    state->muted = true;
    for (uint32_t stop; from < to; from = stop) {
        stop = to - from < KP_CHUNK ? to : from + KP_CHUNK;
        run_chunk(run, from, stop);
    }
    state->muted = false;
}

/* A block of pgzip begins: the end of the one before is its dictionary. */
static void begin_block(rdk_run *run, uint32_t position, uint32_t available) {
    uint32_t tail = available < KP_PGZIP_TAIL ? available : KP_PGZIP_TAIL;
    if (!is_fast(run)) return;
    forget(run, position - tail);
    take_in(run, position - tail, position);
}

/* A segment may begin inside a block (before the encoder is known): at one of its chunks. */
static void begin_inside(rdk_run *run, uint32_t into_block) {
    uint32_t available = run->start - run->begin;
    if (!is_fast(run)) return;
    if (available >= into_block) {
        begin_block(run, run->start - into_block, available - into_block);
        take_in(run, run->start - into_block, run->start);
    } else {
        uint32_t from = run->start - available / KP_CHUNK * KP_CHUNK;
        forget(run, from);
        take_in(run, from, run->start);
    }
}

/* The rest of a block from `position`, which is `into_block` bytes in it, to `stop`. */
static uint32_t run_block_lazy(rdk_run *run, uint32_t position, uint32_t into_block, uint32_t stop) {
    kp_state *state = run->state;
    int64_t origin = (int64_t)position - into_block, history;
    if (run->offset + (uint64_t)origin > 0) origin -= KP_PGZIP_TAIL;
    history = origin > (int64_t)run->begin ? origin : run->begin;
    if (position - history > KP_WINDOW) history = position - KP_WINDOW;
    memset(state->tables, 0, KP_LAZY_BYTES);
    return kp_lazy(run, origin, (uint32_t)history, position, stop);
}

static void simulate_pgzip(rdk_run *run) {
    uint32_t position = run->start, stop, into_block = (uint32_t)((run->offset + run->start) % KP_PGZIP_BLOCK);
    bool full;
    if (is_lazy(run) && into_block) { /* the driver's warm-up leads up to the start */
        uint32_t back = position - run->begin > KP_WINDOW ? position - run->begin - KP_WINDOW : 0;
        position -= back < into_block ? back : into_block;
        into_block -= run->start - position;
    } else if (run->begin < run->start) {
        rdk_emit_literal(run, run->start - 1); /* ends the driver's warm-up; here the dictionary is muted */
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
    if (is_lazy(run)) run->block_tokens = KP_LAZY_TOKENS;
    if (run->model->parameter & KP_PGZIP) simulate_pgzip(run);
    else if (is_lazy(run)) simulate_lazy(run);
    else simulate_fast(run);
    if (run->last && !rdk_done(run)) rdk_marker(run, run->stop, RDK_FIXED, true);
}
