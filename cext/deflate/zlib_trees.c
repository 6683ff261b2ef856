/* Huffman tables, headers and the choice of block type as zlib and GNU gzip make them. */
#include "zlib.h"

/* ---- code lengths ---------------------------------------------------------------------------------------------- */

enum { SYMBOLS_MOST = 288, NODES_MOST = 2 * SYMBOLS_MOST };

typedef struct forest {
    uint64_t key[NODES_MOST]; /* weight << 8 | depth: the order of the heap */
    uint16_t parent[NODES_MOST];
    uint16_t heap[NODES_MOST];  /* 1-based */
    uint16_t order[NODES_MOST]; /* nodes as they left the heap */
    uint32_t heap_length;
} forest;

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

/* Joins the two lightest nodes until one is left; returns how many nodes left the heap, the root being the last. */
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

/* Lengths beyond the limit: each repair lengthens one shorter code and so makes room for two. Then lengths are dealt
 * out again, the longest to the nodes that left the heap first. */
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

uint32_t rdk_zlib_lengths(const uint32_t *counts, uint32_t symbols, uint32_t longest, uint8_t *lengths) {
    forest f;
    uint32_t per_length[16] = {0}, last = 0;
    int overflow = 0;
    uint8_t depth[NODES_MOST];
    f.heap_length = 0;
    memset(lengths, 0, symbols);
    for (uint32_t i = 0; i < symbols; i++) {
        if (counts[i] == 0) continue;
        f.heap[++f.heap_length] = (uint16_t)i;
        f.key[i] = (uint64_t)counts[i] << 8;
        last = i + 1;
    }
    while (f.heap_length < 2) { /* a code needs two symbols: 0 and 1 serve where they are beyond the last one used */
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

/* Run-length coding of one tree; the two trees are coded apart. Returns the number of runs so far. */
static uint32_t code_runs(const uint8_t *lengths, uint32_t symbols, rdk_length_run *runs, uint32_t made,
                          uint32_t *counts) {
    int before = -1;
    for (uint32_t i = 0; i < symbols;) {
        uint8_t length = lengths[i];
        uint32_t most = length == 0        ? 138
                        : length == before ? 6
                                           : 7,
                 least = length == 0 || length == before ? 3 : 4, n = 1;
        while (n < most && i + n < symbols && lengths[i + n] == length) n++;
        if (n < least) {
            for (uint32_t k = 0; k < n; k++) runs[made++] = (rdk_length_run){length, 0};
            counts[length] += n;
        } else if (length == 0) {
            uint8_t symbol = n <= 10 ? 17 : 18;
            runs[made++] = (rdk_length_run){symbol, (uint8_t)(n - (n <= 10 ? 3 : 11))};
            counts[symbol]++;
        } else {
            if (length != before) { /* sent once, then repeated */
                runs[made++] = (rdk_length_run){length, 0};
                counts[length]++;
                n--;
                i++;
            }
            runs[made++] = (rdk_length_run){16, (uint8_t)(n - 3)};
            counts[16]++;
        }
        i += n;
        before = length;
    }
    return made;
}

static void make_header(rdk_block *block) {
    rdk_length_run runs[RDK_LITERAL_CODES + RDK_DISTANCE_CODES];
    uint32_t counts[19] = {0}, made;
    uint8_t code_lengths[19];
    memset(block->literal_lengths, 0, sizeof block->literal_lengths);
    memset(block->distance_lengths, 0, sizeof block->distance_lengths);
    uint32_t literals = rdk_zlib_lengths(block->literal_counts, RDK_LITERAL_CODES, 15, block->literal_lengths);
    uint32_t distances = rdk_zlib_lengths(block->distance_counts, RDK_DISTANCE_CODES, 15, block->distance_lengths);
    made = code_runs(block->literal_lengths, literals, runs, 0, counts);
    made = code_runs(block->distance_lengths, distances, runs, made, counts);
    rdk_zlib_lengths(counts, 19, 7, code_lengths);
    rdk_put_header(block, literals, distances, runs, made, code_lengths);
}

/* ---- stored, fixed or dynamic ---------------------------------------------------------------------------------- */

/* Whether the block's first byte is still in the encoder's window of twice `window` bytes when the block is written.
 * When it looks for input and is beyond the middle by `window` - margin, the window moves on by half. */
static bool in_window(const rdk_block *block, const rdk_zlib_policy *policy) {
    uint64_t at = block->plain_offset + block->plain_length - policy->base, window = policy->window;
    if (!block->final && block->token_count) {
        uint32_t span = rdk_token_span(block->tokens[block->token_count - 1]);
        at = at - span + (policy->lazy ? 1 : 0);
    }
    bool ending = policy->plain_end - policy->base - at <= policy->refill;
    uint64_t moves = 2 * window - (ending ? RDK_ZLIB_MARGIN : policy->refill);
    uint64_t origin = at < moves ? 0 : (at - moves) / window * window + window;
    return block->plain_offset - policy->base >= origin;
}

void rdk_zlib_choose(rdk_block *block, uint8_t want, const rdk_zlib_policy *policy) {
    static const uint8_t fives[RDK_DISTANCE_CODES] = {5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5,
                                                      5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5};
    make_header(block);
    block->kind = RDK_DYNAMIC;
    if (want != RDK_AUTO) return;
    uint64_t extra = rdk_extra_bits(block) + 3;
    uint64_t dynamic_bits = extra + block->header_bits +
                            rdk_symbol_bits(block->literal_counts, block->literal_lengths, RDK_LITERAL_CODES) +
                            rdk_symbol_bits(block->distance_counts, block->distance_lengths, RDK_DISTANCE_CODES);
    uint64_t fixed_bits = extra + rdk_symbol_bits(block->literal_counts, rdk_fixed_literal_lengths, RDK_LITERAL_CODES) +
                          rdk_symbol_bits(block->distance_counts, fives, RDK_DISTANCE_CODES);
    /* Compared in whole bytes, the end of the block rounded up. */
    uint64_t dynamic_bytes = (dynamic_bits + 7) >> 3, fixed_bytes = (fixed_bits + 7) >> 3;
    bool fixed = fixed_bytes <= dynamic_bytes || policy->fixed;
    uint64_t least = fixed ? fixed_bytes : dynamic_bytes;
    if ((uint64_t)block->plain_length + 4 <= least && in_window(block, policy)) block->kind = RDK_STORED;
    else if (fixed) block->kind = RDK_FIXED;
}
