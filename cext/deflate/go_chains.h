/* Go's compress/flate 1.19 to 1.26, levels 2 to 9: the window, the hash chains and the searches of its deflate.go.
 *
 * What makes the output exact:
 * - The hash has 17 bits and takes four bytes, the first one highest. Matches have 4 to 258 bytes at distances of up to
 * 32,768; those of 4 bytes of up to 4,096 only.
 * - Levels 4 to 9 defer: a match is written when the next position has no longer one, and every position is inserted.
 * At a block boundary no match is pending that a new search would not find, and the chains depend on the last 32 KiB
 * alone, so a segment needs no simulated warm-up.
 * - Levels 2 and 3 write the first match and insert the positions inside it only if it is short, so the chains depend
 * on the parse.
 * - The buffer holds two windows and slides by one when fewer than 262 bytes are left in it. So just after a slide a
 * search reaches back to the buffer's beginning, which is less than a whole window.
 * - The last 3 positions before the end of the input are not inserted. */
#ifndef RDK_DEFLATE_GO_CHAINS_H
#define RDK_DEFLATE_GO_CHAINS_H

#include "encoder.h"

enum {
    GO_HASH_BITS = 17,                /* hashBits */
    GO_MATCH_MIN = 4,                 /* minMatchLength */
    GO_MATCH_MIN_DISTANCE_MAX = 4096, /* in findMatch */
    /* Entries of `head` are indexes plus this, so that an empty entry, 0, is more than a window away from every
       position. */
    GO_PRESENT = RDK_WINDOW + 1,
    GO_NO_LINK = UINT16_MAX, /* in `back`: more than a window */
    /* Heads are fetched into the cache this many positions before they are needed: about the time that memory takes. */
    GO_PREFETCH = 4,
    /* The buffer slides before a token that begins here or later: fewer than minMatchLength + maxMatchLength bytes are
       left. */
    GO_SLIDE_AT = 2 * RDK_WINDOW - (GO_MATCH_MIN + RDK_MATCH_MAX) + 1
};

/* What a level does: `levels` of deflate.go. Its `good` is without effect, because deflate() always searches as if
 * nothing had been found. insert_up_to, its fastSkipHashing, is the longest match whose inside is inserted; 0: deferred
 * matching, everything is inserted. */
typedef struct go_level {
    uint32_t lazy, nice, chain, insert_up_to;
} go_level;

/* Positions are indexes into run->plain. */
typedef struct go_chains {
    int64_t base;                     /* the buffer's first byte; negative if that is before plain[0] */
    int64_t slide_at;                 /* the buffer slides before the first token from here on */
    uint32_t head[1 << GO_HASH_BITS]; /* per hash the newest position, plus GO_PRESENT; 0: none */
    uint16_t back[RDK_WINDOW];        /* per position the distance to the next older one with its hash, or GO_NO_LINK */
} go_chains;

/* ---- inserting ------------------------------------------------------------------------------------------------- */

static inline uint32_t go_hash(uint32_t four) { return (four * 0x1e35a7bdu) >> (32 - GO_HASH_BITS); } /* hashmul */
static inline uint32_t go_hash_at(const uint8_t *at) { return go_hash(__builtin_bswap32(rdk_load32(at))); }

/* Makes the position the newest of its chain; returns the head until now. */
static inline uint32_t go_link(go_chains *chains, uint32_t hash, uint32_t position) {
    uint32_t head = chains->head[hash], distance = position + GO_PRESENT - head;
    chains->head[hash] = position + GO_PRESENT;
    chains->back[position & (RDK_WINDOW - 1)] = distance <= RDK_WINDOW ? (uint16_t)distance : GO_NO_LINK;
    return head;
}

static inline uint32_t go_insert(go_chains *chains, const uint8_t *plain, uint32_t position) {
    return go_link(chains, go_hash_at(plain + position), position);
}

/* Inserts the positions [from, to), four hashes from each load. */
static inline void go_insert_all(go_chains *chains, const uint8_t *plain, uint32_t from, uint32_t to) {
    for (; from + 8 <= to; from += 4) {
        uint64_t bytes = __builtin_bswap64(rdk_load64(plain + from));
        for (uint32_t i = 0; i < 4; i++) go_link(chains, go_hash((uint32_t)(bytes >> (32 - 8 * i))), from + i);
    }
    for (; from < to; from++) go_insert(chains, plain, from);
}

/* Inserts the inside of a token at `position`, which is in the chains already, up to `to`. */
static inline void go_insert_inside(go_chains *chains, const rdk_run *run, uint32_t position, uint32_t to,
                                    uint32_t insert_stop) {
    go_insert_all(chains, run->plain, position + 1, to < insert_stop ? to : insert_stop);
}

/* ---- the window ------------------------------------------------------------------------------------------------ */

/* The buffer slides only to take more input. */
static inline void go_set_base(go_chains *chains, const rdk_run *run, int64_t base) {
    chains->base = base;
    chains->slide_at = run->ends && base + 2 * RDK_WINDOW >= (int64_t)run->length ? INT64_MAX : base + GO_SLIDE_AT;
}

static inline void go_slide(go_chains *chains, const rdk_run *run, uint32_t position) {
    while (position >= chains->slide_at) go_set_base(chains, run, chains->base + RDK_WINDOW);
}

/* The input at hand, of which the encoder knows no other end. */
typedef struct go_input {
    uint32_t end, insert_stop;
} go_input;

static inline go_input go_input_at(const rdk_run *run, uint32_t position) {
    uint32_t input_end = rdk_input_end(run, position), end = input_end < run->length ? input_end : run->length;
    return (go_input){end, end > GO_MATCH_MIN - 1 ? end - (GO_MATCH_MIN - 1) : 0};
}

/* ---- searching ------------------------------------------------------------------------------------------------- */

/* Returns the longest match at `position` that is longer than `least`, which is at least 3 and less than `lookahead`,
 * along the chain from `head` on, with its distance in *distance; `least` if there is none. */
static inline uint32_t go_search(const go_chains *chains, const uint8_t *plain, uint32_t position, uint32_t head,
                                 uint32_t lookahead, uint32_t least, const go_level *level, uint32_t *distance) {
    uint32_t limit = lookahead < RDK_MATCH_MAX ? lookahead : RDK_MATCH_MAX;
    uint32_t nice = level->nice < limit ? level->nice : limit, length = least, tries = level->chain;
    int64_t lowest = (int64_t)position - RDK_WINDOW > chains->base ? (int64_t)position - RDK_WINDOW : chains->base;
    uint32_t floor = lowest > 0 ? (uint32_t)lowest : 0;
    const uint8_t *here = plain + position;
    /* A longer match must have the same four bytes that end one byte behind the best length. */
    const uint8_t *ends = plain + length - 3;
    uint32_t tail = rdk_load32(ends + position);
    if (head < floor + GO_PRESENT) return length;
    for (size_t at = head - GO_PRESENT;;) {
        size_t back = chains->back[at & (RDK_WINDOW - 1)];
        if (__builtin_expect(rdk_load32(ends + at) == tail, 0)) {
            uint32_t n = rdk_equal_short(plain + at, here, limit), far = position - (uint32_t)at;
            if (n > length && (n > GO_MATCH_MIN || far <= GO_MATCH_MIN_DISTANCE_MAX)) {
                length = n;
                *distance = far;
                if (n >= nice) break;
                ends = plain + length - 3;
                tail = rdk_load32(ends + position);
            }
        }
        if (--tries == 0 || at - floor < back) break;
        at -= back;
    }
    return length;
}

/* Levels 4 to 9, from the token boundary *from on: emits literals up to and with the next match, and moves *from behind
 * it. False: the input or the run ended before a match. */
static inline bool go_deferred_match(rdk_run *run, go_chains *chains, const go_level *level, const go_input *in,
                                     uint32_t *from) {
    uint32_t position = *from, length = GO_MATCH_MIN - 1, distance = 0, reached;
    bool pending = false; /* the byte before `position` is still to be written */
    for (;;) {
        go_slide(chains, run, position);
        uint32_t lookahead = in->end - position;
        if (lookahead == 0) {
            if (pending) rdk_emit_literal(run, position - 1);
            *from = position;
            return false;
        }
        uint32_t head = 0;
        if (position < in->insert_stop) {
            head = go_insert(chains, run->plain, position);
            if (position + GO_PREFETCH < in->insert_stop)
                __builtin_prefetch(&chains->head[go_hash_at(run->plain + position + GO_PREFETCH)], 1);
        }
        uint32_t before = length, before_distance = distance;
        length = GO_MATCH_MIN - 1;
        if (head && lookahead > before && before < level->lazy)
            length = go_search(chains, run->plain, position, head, lookahead, before, level, &distance);
        if (before >= GO_MATCH_MIN && length <= before) {
            reached = rdk_emit_match(run, position - 1, before, before_distance);
        } else if (pending) {
            reached = rdk_emit_literal(run, position - 1);
        } else {
            reached = position;
        }
        if (reached != position) break;
        pending = true;
        position++;
    }
    if (!rdk_done(run)) go_insert_inside(chains, run, position, reached, in->insert_stop);
    *from = reached;
    return !rdk_done(run);
}

#endif
