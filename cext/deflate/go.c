/* Go's compress/flate 1.19 to 1.26, levels 2 to 9: the models. Their searches are in go_chains.h. */
#include "go_blocks.h"
#include "go_chains.h"
#include "go_reuse.h"

enum {
    BLOCK_TOKENS = 1 << 14, /* maxFlateBlockTokens */
    /* A search needs 258 bytes, and 262 before the buffer slides; the rest is spare. */
    LOOKAHEAD = 1024,
    /* Levels 2 and 3 insert sparsely, so their chains depend on the parse. A simulation that begins six windows earlier
     * has mostly met the real parse at the segment's start; where it has not, the recipe has corrections. */
    SPARSE_WARMUP = 6 * RDK_WINDOW
};

static const go_level levels[10] = {
    [2] = {0, 16, 8, 5},     [3] = {0, 32, 32, 6},    [4] = {4, 16, 16, 0},      [5] = {16, 32, 32, 0},
    [6] = {16, 128, 128, 0}, [7] = {32, 128, 256, 0}, [8] = {128, 258, 1024, 0}, [9] = {258, 258, 4096, 0},
};

/* Levels 4 to 9. */
static void deferred(rdk_run *run, go_chains *chains, const go_level *level) {
    uint32_t position = run->start;
    go_input in = go_input_at(run, position);
    for (;;) {
        while (go_deferred_match(run, chains, level, &in, &position)) {}
        if (rdk_done(run) || in.end >= run->length) return;
        rdk_end_block(run, position);
        in = go_input_at(run, position);
        if (in.end <= position) return;
    }
}

/* Levels 2 and 3. */
static void immediate(rdk_run *run, go_chains *chains, const go_level *level) {
    uint32_t position = run->begin, end = run->length, insert_stop = end > 3 ? end - 3 : 0;
    while (position < end && !rdk_done(run)) {
        go_slide(chains, run, position);
        uint32_t lookahead = end - position, distance = 0, length = GO_MATCH_MIN - 1, reached;
        uint32_t head = position < insert_stop ? go_insert(chains, run->plain, position) : 0;
        if (head && lookahead >= GO_MATCH_MIN)
            length = go_search(chains, run->plain, position, head, lookahead, length, level, &distance);
        if (length < GO_MATCH_MIN) {
            reached = rdk_emit_literal(run, position);
        } else {
            reached = rdk_emit_match(run, position, length, distance);
            if (reached - position <= level->insert_up_to)
                go_insert_inside(chains, run, position, reached, insert_stop);
        }
        position = reached;
    }
}

static void simulate(rdk_run *run) {
    go_chains *chains = run->state;
    const go_level *level = &levels[run->model->parameter];
    uint32_t first = level->insert_up_to ? run->begin : run->start;
    run->block_tokens = BLOCK_TOKENS;
    go_set_base(chains, run, -(int64_t)run->offset);
    go_slide(chains, run, first);
    if (level->insert_up_to) {
        immediate(run, chains, level);
    } else if (run->delta) {
        rdk_go_follow_delta(run, run->state, level);
    } else if (run->donor_count) {
        rdk_go_reuse_tokens(run, run->state, level);
    } else {
        uint32_t last = run->length > GO_MATCH_MIN - 1 ? run->length - (GO_MATCH_MIN - 1) : 0;
        go_insert_all(chains, run->plain, run->begin, run->start < last ? run->start : last);
        deferred(run, chains, level);
    }
    if (run->last) { /* Close writes an empty stored block */
        rdk_end_block(run, run->stop);
        rdk_marker(run, run->stop, RDK_STORED, true);
    }
}

/* writeBlock of huffman_bit_writer.go. A block whose first byte has slid out of the buffer cannot be stored. */
static void choose(rdk_run *run, rdk_block *block, uint8_t want) {
    const go_chains *chains = run->state;
    if (want == RDK_LITERALS) {
        rdk_go_literals(block, true);
        return;
    }
    uint64_t bits = rdk_go_dynamic(block);
    if (want != RDK_AUTO) return;
    uint64_t fixed = 3 + rdk_symbol_bits(block->literal_counts, rdk_fixed_literal_lengths, RDK_LITERAL_CODES) +
                     rdk_symbol_bits(block->distance_counts, rdk_fixed_distance_lengths, RDK_DISTANCE_CODES);
    if (fixed <= bits) {
        block->kind = RDK_FIXED;
        bits = fixed;
    }
    bool at_hand =
        (int64_t)(block->plain_offset - run->offset) >= chains->base && block->plain_length <= RDK_GO_STORED_BYTES_MAX;
    if (at_hand && rdk_go_stored_bits(block->plain_length) < bits + rdk_extra_bits(block)) block->kind = RDK_STORED;
}

#define MODEL(LEVEL, WARMUP, FLAGS, STATE) \
    {.id = 0x0100 + (LEVEL),               \
     .name = "go-1.19-level-" #LEVEL,      \
     .level = LEVEL,                       \
     .flags = FLAGS,                       \
     .warmup_bytes = WARMUP,               \
     .lookahead_bytes = LOOKAHEAD,         \
     .segment_bytes = 1 << 20,             \
     .state_bytes = sizeof(STATE),         \
     .parameter = LEVEL,                   \
     .simulate = simulate,                 \
     .choose = choose}
#define DEFERRED(LEVEL) MODEL(LEVEL, RDK_WINDOW, RDK_REUSES_TOKENS, go_reusing)
#define IMMEDIATE(LEVEL) MODEL(LEVEL, SPARSE_WARMUP, 0, go_chains)

/* The default level first: planning tries models in this order. */
static const rdk_model models[] = {
    DEFERRED(6), DEFERRED(9), DEFERRED(5), DEFERRED(4), DEFERRED(7), DEFERRED(8), IMMEDIATE(2), IMMEDIATE(3),
};

const rdk_family rdk_family_go = {models, sizeof models / sizeof *models};
