/* How the family writes a chunk: stored, with fixed codes, with a new table, or going on with the open block's table.
 */
#include "klauspost_choose.h"

#include "block_header.h"

#include <float.h>

/* The entropy estimate must round to float after every operation: no wider registers, no fused multiply-add. GCC does
 * not fuse under -std=c11. An encoder on a machine whose Go does fuse may decide otherwise; such chunks get a
 * directive. */
_Static_assert(FLT_EVAL_METHOD == 0, "float arithmetic in float");
#ifdef __clang__
#pragma STDC FP_CONTRACT OFF
#endif

/* Constants of huffman_bit_writer.go and deflate.go. */
enum {
    PREDEFINED_TOKENS_MAX = 250,  /* maxPredefinedTokens: fixed codes are considered below this */
    GUESSED_HEADER_BITS = 70 * 8, /* guessHeaderSizeBits of the literal writer */
    STORED_UNSEEN_MAX = 32,       /* storeFast: tiny input up to this is stored without a look */
    RANDOM_MIN = 1024,            /* writeBlockHuff: longer input is looked at for randomness */
    /* logNewTablePenalty: a new table must save this share of the new size, as a power of two, to be worth it. */
    PENALTY_LOG_FAST = 7,
    PENALTY_LOG_LAZY = 8,
    PENALTY_LOG_HUFFMAN = 10,
    CODE_BITS_LIMIT = 15 /* of the estimate: no symbol counts more */
};

/* ---- estimates ------------------------------------------------------------------------------------------------- */

/* mFastLog2: the logarithm from the exponent, and a parabola for the mantissa. Frozen. */
static float log2_near(float value) {
    int32_t bits;
    memcpy(&bits, &value, sizeof bits);
    float whole = (float)(((bits >> 23) & 255) - 128);
    bits = (bits & 0x007fffff) | 127 << 23;
    float part;
    memcpy(&part, &bits, sizeof part);
    float slope = -0.34484843f * part;
    slope = slope + 2.02466578f;
    slope = slope * part;
    slope = slope - 0.67487759f;
    return whole + slope;
}

/* Adds to `sum` the bits that the symbols take at their entropy, each at least one; `inverse` is 1 / (sum of the
 * counts). The order of operations is the encoder's, because float sums depend on it. */
static float entropy(float sum, const uint32_t *counts, uint32_t symbols, float inverse) {
    for (uint32_t i = 0; i < symbols; i++) {
        if (counts[i] == 0) continue;
        float count = (float)counts[i], bits = -log2_near(count * inverse);
        if (bits < 1) bits = 1;
        if (bits > CODE_BITS_LIMIT) bits = CODE_BITS_LIMIT;
        bits = bits * count;
        sum = sum + bits;
    }
    return sum;
}

/* EstimatedBits. */
static int64_t estimated_bits(const rdk_block *block, uint32_t tokens) {
    float sum = 0;
    int64_t extra = 0;
    uint32_t matches = 0;
    if (tokens > 0) {
        float inverse = 1.0f / (float)tokens;
        sum = entropy(sum, block->literal_counts, 256, inverse);
        sum = sum + CODE_BITS_LIMIT; /* the end of the block */
        sum = entropy(sum, block->literal_counts + 257, 29, inverse);
    }
    for (uint32_t i = 0; i < 29; i++) {
        extra += (int64_t)block->literal_counts[257 + i] * rdk_length_extra[i];
        matches += block->literal_counts[257 + i];
    }
    if (matches > 0) sum = entropy(sum, block->distance_counts, 30, 1.0f / (float)matches);
    for (uint32_t i = 0; i < 30; i++) extra += (int64_t)block->distance_counts[i] * rdk_distance_extra[i];
    return (int64_t)sum + extra;
}

/* Tells whether every symbol that occurs has a code. */
static bool covers(const uint32_t *counts, const uint8_t *lengths, uint32_t symbols) {
    for (uint32_t i = 0; i < symbols; i++)
        if (counts[i] && !lengths[i]) return false;
    return true;
}

/* Returns the size of the chunk as a stored block, or INT64_MAX when the encoder could not store it: because it has
 * left its buffer, or is too long. At levels 7 to 9 the dictionary of a pgzip block is counted in (if it were taken the
 * dictionary would be stored as well, and the file be broken). */
static int64_t stored_bits(const rdk_run *run, const rdk_block *block) {
    int64_t length = block->plain_length;
    int parameter = run->model->parameter;
    if ((parameter & KP_LEVEL) >= 7 && (parameter & KP_LEVEL) <= 9) {
        const kp_state *state = run->state;
        if (block->plain < run->plain + state->base) return INT64_MAX;
        if ((parameter & KP_PGZIP) && block->plain_offset > 0 && block->plain_offset % KP_PGZIP_BLOCK == 0)
            length += KP_PGZIP_TAIL;
    }
    return length > RDK_STORED_BYTES_MAX ? INT64_MAX : (length + 5) * 8;
}

static int64_t fixed_bits(const rdk_block *block, int64_t extra) {
    return 3 + (int64_t)rdk_symbol_bits(block->literal_counts, rdk_fixed_literal_lengths, RDK_LITERAL_CODES) +
           (int64_t)rdk_symbol_bits(block->distance_counts, rdk_fixed_distance_lengths, RDK_DISTANCE_CODES) + extra;
}

/* Returns what a new table must save to be worth it, as the logarithm of a share of the new size. */
static int penalty_log(const rdk_run *run) {
    int level = run->model->parameter & KP_LEVEL;
    return level == KP_HUFFMAN ? PENALTY_LOG_HUFFMAN : level >= 7 ? PENALTY_LOG_LAZY : PENALTY_LOG_FAST;
}

/* ---- tables ---------------------------------------------------------------------------------------------------- */

/* Returns the number of symbols up to the last one that occurs. */
static uint32_t last_used(const uint32_t *counts, uint32_t symbols) {
    while (symbols > 0 && counts[symbols - 1] == 0) symbols--;
    return symbols;
}

/* Makes a dynamic block from the block's counts. */
static void make_dynamic(rdk_block *block, bool trimmed) {
    uint32_t literals = RDK_LITERAL_CODES, distances = RDK_DISTANCE_CODES;
    if (trimmed) {
        literals = last_used(block->literal_counts, RDK_LITERAL_CODES);
        distances = last_used(block->distance_counts, RDK_DISTANCE_CODES);
        if (distances == 0) block->distance_counts[0] = distances = 1;
    }
    memset(block->literal_lengths, 0, sizeof block->literal_lengths);
    memset(block->distance_lengths, 0, sizeof block->distance_lengths);
    rdk_limited_lengths(block->literal_counts, RDK_LITERAL_CODES, 15, block->literal_lengths);
    rdk_limited_lengths(block->distance_counts, RDK_DISTANCE_CODES, 15, block->distance_lengths);
    rdk_joint_header(block, literals, distances);
}

/* Counts the plain bytes as literals, four counters at a time, because a counter that was just stored is not ready to
 * be loaded again. */
static void count_bytes(rdk_block *block) {
    uint32_t counts[4][256] = {{0}};
    uint32_t i = 0;
    for (; i + 4 <= block->plain_length; i += 4)
        for (int k = 0; k < 4; k++) counts[k][block->plain[i + k]]++;
    for (; i < block->plain_length; i++) counts[0][block->plain[i]]++;
    memset(block->literal_counts, 0, sizeof block->literal_counts);
    memset(block->distance_counts, 0, sizeof block->distance_counts);
    for (int b = 0; b < 256; b++) block->literal_counts[b] = counts[0][b] + counts[1][b] + counts[2][b] + counts[3][b];
}

/* Makes code lengths for the plain bytes as literals. One distance code of one bit, without use, as the encoder writes
 * it (huffOffset). */
static void make_literal_lengths(rdk_block *block) {
    count_bytes(block);
    block->literal_counts[RDK_END_OF_BLOCK] = 1;
    memset(block->literal_lengths, 0, sizeof block->literal_lengths);
    memset(block->distance_lengths, 0, sizeof block->distance_lengths);
    rdk_limited_lengths(block->literal_counts, RDK_END_OF_BLOCK + 1, 15, block->literal_lengths);
    block->distance_lengths[0] = 1;
}

/* ---- decisions ------------------------------------------------------------------------------------------------- */

/* Tells whether bytes are spread so evenly that coding them cannot pay (writeBlockHuff): the sum of squared distances
 * from the mean count is under twice the length. In units of 1/256, to stay exact. */
static bool looks_random(const rdk_block *block) {
    uint64_t sum = 0;
    if (block->plain_length <= RANDOM_MIN) return false;
    for (int b = 0; b < 256; b++) {
        int64_t difference = (int64_t)block->literal_counts[b] * 256 - block->plain_length;
        sum += (uint64_t)(difference * difference);
    }
    return sum < (uint64_t)block->plain_length * 2 * 65536;
}

/* writeBlockHuff. Leaves the codes in `block` when the answer is LITERALS. */
static uint8_t decide_literals(const rdk_run *run, rdk_block *block) {
    const kp_state *state = run->state;
    make_literal_lengths(block);
    if (looks_random(block)) return RDK_STORED;
    int64_t estimate = (int64_t)rdk_symbol_bits(block->literal_counts, block->literal_lengths, RDK_END_OF_BLOCK + 1);
    estimate += state->open ? state->header_bits : GUESSED_HEADER_BITS;
    estimate += estimate >> penalty_log(run);
    if (stored_bits(run, block) <= estimate) return RDK_STORED;
    if (state->open && covers(block->literal_counts, state->literal_lengths, 256) &&
        estimate >= (int64_t)rdk_symbol_bits(block->literal_counts, state->literal_lengths, 256))
        return RDK_REUSE_LITERALS;
    rdk_joint_header(block, RDK_END_OF_BLOCK + 1, 1);
    return RDK_LITERALS;
}

/* Returns STORED or FIXED when they are smaller than `size`, else AUTO. `ties`: FIXED also when it is equal. Where
 * fixed codes are small enough, a stored block wins up to `limit`. */
static uint8_t simpler(int64_t stored, int64_t fixed, int64_t size, bool ties, uint32_t tokens, int64_t limit) {
    if (tokens < PREDEFINED_TOKENS_MAX && (ties ? fixed <= size : fixed < size))
        return stored <= limit ? RDK_STORED : RDK_FIXED;
    return stored <= size ? RDK_STORED : RDK_AUTO;
}

/* Tells whether the open table is good enough: REUSE, STORED or FIXED; AUTO for a new table. */
static uint8_t decide_open(const rdk_run *run, rdk_block *block, uint32_t tokens, int64_t extra) {
    const kp_state *state = run->state;
    int64_t renewed = state->header_bits + estimated_bits(block, tokens);
    renewed += state->literal_lengths[RDK_END_OF_BLOCK] + (renewed >> penalty_log(run));
    int64_t reused = (int64_t)rdk_symbol_bits(block->literal_counts, state->literal_lengths, RDK_LITERAL_CODES) +
                     (int64_t)rdk_symbol_bits(block->distance_counts, state->distance_lengths, RDK_DISTANCE_CODES) +
                     extra;
    bool renew = renewed < reused;
    int64_t size = renew ? renewed : reused;
    uint8_t kind = simpler(stored_bits(run, block), fixed_bits(block, extra) + 7, size, false, tokens, size);
    return kind != RDK_AUTO ? kind : renew ? RDK_AUTO : RDK_REUSE;
}

/* Tells whether there is a match, by the counts of distances. */
static bool has_match(const rdk_block *block) {
    for (uint32_t i = 0; i < RDK_DISTANCE_CODES; i++)
        if (block->distance_counts[i]) return true;
    return false;
}

/* writeBlockDynamic. Leaves the codes in `block` when the answer is DYNAMIC. */
static uint8_t decide_tokens(const rdk_run *run, rdk_block *block) {
    const kp_state *state = run->state;
    bool trimmed = state->flushed || (run->model->parameter & KP_TRIMMED);
    uint32_t tokens = block->token_count + state->flushed; /* a flush puts the end of the block among the tokens */
    int64_t extra = (int64_t)rdk_extra_bits(block);
    if (state->open && !state->open_literals &&
        covers(block->literal_counts, state->literal_lengths, RDK_LITERAL_CODES) &&
        covers(block->distance_counts, state->distance_lengths, RDK_DISTANCE_CODES)) {
        if (trimmed && !has_match(block)) block->distance_counts[0] = 1;
        block->literal_counts[RDK_END_OF_BLOCK] = trimmed;
        uint8_t kind = decide_open(run, block, tokens, extra);
        block->literal_counts[RDK_END_OF_BLOCK] = 1;
        if (kind != RDK_AUTO) return kind;
    }
    make_dynamic(block, trimmed);
    int64_t size = 3 + block->header_bits +
                   (int64_t)rdk_symbol_bits(block->literal_counts, block->literal_lengths, RDK_LITERAL_CODES) +
                   (int64_t)rdk_symbol_bits(block->distance_counts, block->distance_lengths, RDK_DISTANCE_CODES) +
                   extra;
    int64_t fixed = fixed_bits(block, extra);
    uint8_t kind = simpler(stored_bits(run, block), fixed, size, true, tokens, fixed);
    return kind != RDK_AUTO ? kind : RDK_DYNAMIC;
}

/* storeFast, storeHuff and the writer of levels 7 to 9. */
static uint8_t decide(const rdk_run *run, rdk_block *block) {
    uint32_t length = block->plain_length;
    bool tiny = length < KP_TINY;
    int level = run->model->parameter & KP_LEVEL;
    if (length == 0) return block->final ? RDK_FIXED : RDK_STORED;
    if (level == 0) return RDK_STORED;
    if (level == KP_HUFFMAN) return decide_literals(run, block);
    if (level >= 7) return decide_tokens(run, block);
    if (tiny && length <= STORED_UNSEEN_MAX) return RDK_STORED;
    if (!tiny && !has_match(block)) return RDK_STORED;
    if (tiny || block->token_count > length - (length >> 4)) return decide_literals(run, block);
    return decide_tokens(run, block);
}

void kp_choose(rdk_run *run, rdk_block *block, uint8_t want) {
    const kp_state *state = run->state;
    bool trimmed = state->flushed || (run->model->parameter & KP_TRIMMED);
    block->kind = want;
    switch (want) {
    case RDK_AUTO: block->kind = decide(run, block); break;
    case RDK_DYNAMIC: make_dynamic(block, trimmed); break;
    case RDK_VARIANT: make_dynamic(block, !trimmed); break;
    case RDK_LITERALS:
        make_literal_lengths(block);
        rdk_joint_header(block, RDK_END_OF_BLOCK + 1, 1);
        break;
    default: break;
    }
}

void kp_chosen(rdk_run *run, const rdk_block *block) {
    kp_state *state = run->state;
    switch (block->kind) {
    case RDK_STORED:
    case RDK_FIXED: state->open = false; return;
    case RDK_REUSE:
    case RDK_REUSE_LITERALS: break;
    default:
        state->open = true;
        state->open_literals = block->kind == RDK_LITERALS || block->kind == RDK_VERBATIM_LITERALS;
        state->header_bits = 3 + block->header_bits;
        memcpy(state->literal_lengths, block->literal_lengths, sizeof state->literal_lengths);
        memcpy(state->distance_lengths, block->distance_lengths, sizeof state->distance_lengths);
    }
    if (state->flushed) state->open = false;
}
