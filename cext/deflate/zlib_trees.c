#include "zlib_trees.h"

#include <string.h>

#include "block_header.h"
#include "zlib_chains.h"

/* ---- code lengths ---------------------------------------------------------------------------------------------- */

/* A tree with n leaves has n - 1 inner nodes. */
enum { NODES_MAX = 2 * RDK_LITERAL_SYMBOLS };

/* Nodes below the number of symbols are leaves. */
typedef struct forest {
    uint64_t key[NODES_MAX]; /* weight << 8 | depth: the order of the heap (smaller) */
    uint16_t parent[NODES_MAX];
    uint16_t heap[NODES_MAX];  /* 1-based, so that the children of node i are 2 i and 2 i + 1 */
    uint16_t order[NODES_MAX]; /* nodes as they left the heap */
    uint32_t heap_length;
} forest;

/* pqdownheap. */
static void sift(forest *f, uint32_t at) {
    uint16_t node = f->heap[at];
    for (uint32_t child = 2 * at; child <= f->heap_length; child = 2 * at) {
        if (child < f->heap_length && f->key[f->heap[child + 1]] <= f->key[f->heap[child]]) child++;
        if (f->key[node] <= f->key[f->heap[child]]) break;
        f->heap[at] = f->heap[child];
        at = child;
    }
    f->heap[at] = node;
}

/* Joins the two lightest nodes until one is left, the root. Inner nodes get numbers from `next` on. Returns how many
 * nodes have left the heap, the root being the last. */
static uint32_t grow(forest *f, uint32_t next) {
    uint32_t gone = 0;
    for (uint32_t at = f->heap_length / 2; at >= 1; at--) sift(f, at);
    while (f->heap_length >= 2) {
        uint16_t first = f->heap[1];
        f->heap[1] = f->heap[f->heap_length--];
        sift(f, 1);
        uint16_t second = f->heap[1];
        f->order[gone++] = first;
        f->order[gone++] = second;
        uint64_t depth =
            (f->key[first] & 0xff) > (f->key[second] & 0xff) ? f->key[first] & 0xff : f->key[second] & 0xff;
        f->key[next] = ((f->key[first] >> 8) + (f->key[second] >> 8)) << 8 | (depth + 1);
        f->parent[first] = f->parent[second] = (uint16_t)next;
        f->heap[1] = (uint16_t)next++;
        sift(f, 1);
    }
    f->order[gone++] = f->heap[1];
    return gone;
}

/* Repairs `overflow` lengths that were cut to `longest` (the second half of gen_bitlen): each step moves one shorter
 * code a level down, where it and an overflowing one become siblings. Then lengths are given out again, the longest to
 * the nodes that left the heap first. */
static void shorten(const forest *f, uint32_t symbols, uint32_t longest, uint32_t *per_length, int overflow,
                    uint8_t *lengths) {
    for (; overflow > 0; overflow -= 2) {
        uint32_t length = longest - 1;
        while (per_length[length] == 0) length--;
        per_length[length]--;
        per_length[length + 1] += 2;
        per_length[longest]--;
    }
    uint32_t at = 0;
    for (uint32_t length = longest; length > 0; length--)
        for (uint32_t left = per_length[length]; left > 0; at++) {
            if (f->order[at] >= symbols) continue;
            lengths[f->order[at]] = (uint8_t)length;
            left--;
        }
}

/* Makes code lengths with a heap that prefers the shallower of two equal weights (build_tree); lengths beyond `longest`
 * are repaired afterwards. At least two symbols get a code. Returns one more than the last symbol that has one. */
static uint32_t make_lengths(const uint32_t *counts, uint32_t symbols, uint32_t longest, uint8_t *lengths) {
    forest f;
    uint32_t per_length[RDK_CODE_BITS_MAX + 1] = {0}, last = 0;
    int overflow = 0;
    uint8_t depth[NODES_MAX];
    f.heap_length = 0;
    memset(lengths, 0, symbols);
    for (uint32_t i = 0; i < symbols; i++) {
        if (counts[i] == 0) continue;
        f.heap[++f.heap_length] = (uint16_t)i;
        f.key[i] = (uint64_t)counts[i] << 8;
        last = i + 1;
    }
    /* build_tree wants two symbols; it adds the one behind the last that occurs if that is at most 2, or else symbol 0.
     */
    while (f.heap_length < 2) {
        uint32_t forced = last < 3 ? last : 0;
        if (last < 3) last++;
        f.heap[++f.heap_length] = (uint16_t)forced;
        f.key[forced] = (uint64_t)1 << 8;
    }
    uint32_t nodes = grow(&f, symbols);
    depth[f.order[nodes - 1]] = 0;
    for (uint32_t i = nodes - 1; i-- > 0;) {
        uint16_t node = f.order[i];
        uint32_t length = depth[f.parent[node]] + 1u;
        if (length > longest) {
            length = longest;
            overflow++;
        }
        depth[node] = (uint8_t)length;
        if (node >= symbols) continue;
        lengths[node] = (uint8_t)length;
        per_length[length]++;
    }
    if (overflow) shorten(&f, symbols, longest, per_length, overflow, lengths);
    return last;
}

/* ---- header ---------------------------------------------------------------------------------------------------- */

/* Run-length codes one tree, apart from the other one (scan_tree and send_tree). Returns the number of runs so far. */
static uint32_t code_runs(const uint8_t *lengths, uint32_t symbols, rdk_length_run *runs, uint32_t made,
                          uint32_t *counts) {
    int before = -1;
    for (uint32_t i = 0; i < symbols;) {
        uint8_t length = lengths[i];
        /* max_count and min_count: the length itself is sent before its first repetition. */
        bool again = length == before;
        uint32_t longest = length == 0 ? RDK_RUN_ZEROS_LONG_MAX : RDK_RUN_REPEAT_MAX + !again, n = 1;
        uint32_t shortest = length == 0 ? RDK_RUN_MIN : RDK_RUN_MIN + !again;
        while (n < longest && i + n < symbols && lengths[i + n] == length) n++;
        if (n < shortest) {
            for (uint32_t k = 0; k < n; k++) runs[made++] = (rdk_length_run){length, 0};
            counts[length] += n;
        } else if (length == 0) {
            bool brief = n < RDK_RUN_ZEROS_LONG_MIN;
            uint8_t symbol = brief ? RDK_RUN_ZEROS_SHORT : RDK_RUN_ZEROS_LONG;
            runs[made++] = (rdk_length_run){symbol, (uint8_t)(n - (brief ? RDK_RUN_MIN : RDK_RUN_ZEROS_LONG_MIN))};
            counts[symbol]++;
        } else {
            if (!again) {
                runs[made++] = (rdk_length_run){length, 0};
                counts[length]++;
                n--;
                i++;
            }
            runs[made++] = (rdk_length_run){RDK_RUN_REPEAT, (uint8_t)(n - RDK_RUN_MIN)};
            counts[RDK_RUN_REPEAT]++;
        }
        i += n;
        before = length;
    }
    return made;
}

static void make_header(rdk_block *block) {
    rdk_length_run runs[RDK_LITERAL_CODES + RDK_DISTANCE_CODES];
    uint32_t counts[RDK_CODE_LENGTH_CODES] = {0}, made;
    uint8_t code_lengths[RDK_CODE_LENGTH_CODES];
    memset(block->literal_lengths, 0, sizeof block->literal_lengths);
    memset(block->distance_lengths, 0, sizeof block->distance_lengths);
    uint32_t literals =
        make_lengths(block->literal_counts, RDK_LITERAL_CODES, RDK_CODE_BITS_MAX, block->literal_lengths);
    uint32_t distances =
        make_lengths(block->distance_counts, RDK_DISTANCE_CODES, RDK_CODE_BITS_MAX, block->distance_lengths);
    made = code_runs(block->literal_lengths, literals, runs, 0, counts);
    made = code_runs(block->distance_lengths, distances, runs, made, counts);
    make_lengths(counts, RDK_CODE_LENGTH_CODES, RDK_CODE_LENGTH_BITS_MAX, code_lengths);
    rdk_put_header(block, literals, distances, runs, made, code_lengths);
}

/* ---- stored, fixed or dynamic ---------------------------------------------------------------------------------- */

/* Tells whether the block's first byte is still in the encoder's buffer of twice `window` bytes when the block is
 * written. The buffer moves on by `window` when the encoder looks for input at window + MAX_DIST or later
 * (fill_window). */
static bool in_window(const rdk_block *block, const rdk_zlib_policy *policy) {
    uint64_t at = block->plain_offset + block->plain_length - policy->base, window = policy->window;
    if (!block->final && block->token_count) {
        uint32_t span = rdk_token_span(block->tokens[block->token_count - 1]);
        at = at - span + (policy->lazy ? 1 : 0);
    }
    bool ending = policy->plain_end - policy->base - at <= policy->refill;
    uint64_t moves = 2 * window - (ending ? RDK_ZLIB_MIN_LOOKAHEAD : policy->refill);
    uint64_t origin = at < moves ? 0 : (at - moves) / window * window + window;
    return block->plain_offset - policy->base >= origin;
}

void rdk_zlib_choose(rdk_block *block, uint8_t want, const rdk_zlib_policy *policy) {
    make_header(block);
    block->kind = RDK_DYNAMIC;
    if (want != RDK_AUTO) return;
    uint64_t extra = rdk_extra_bits(block) + 3;
    uint64_t dynamic_bits = extra + block->header_bits +
                            rdk_symbol_bits(block->literal_counts, block->literal_lengths, RDK_LITERAL_CODES) +
                            rdk_symbol_bits(block->distance_counts, block->distance_lengths, RDK_DISTANCE_CODES);
    uint64_t fixed_bits = extra + rdk_symbol_bits(block->literal_counts, rdk_fixed_literal_lengths, RDK_LITERAL_CODES) +
                          rdk_symbol_bits(block->distance_counts, rdk_fixed_distance_lengths, RDK_DISTANCE_CODES);
    /* _tr_flush_block compares whole bytes, the end of the block rounded up; a stored block counts as four bytes more
     * than its own. */
    uint64_t dynamic_bytes = (dynamic_bits + 7) >> 3, fixed_bytes = (fixed_bits + 7) >> 3;
    bool fixed = fixed_bytes <= dynamic_bytes || policy->fixed;
    uint64_t best = fixed ? fixed_bytes : dynamic_bytes;
    if ((uint64_t)block->plain_length + 4 <= best && in_window(block, policy)) block->kind = RDK_STORED;
    else if (fixed) block->kind = RDK_FIXED;
}
