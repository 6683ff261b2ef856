/* What the encoders of zlib's lineage share: hash chains, and the search for the longest match along one.
 *
 * zlib, GNU gzip, pigz, java.util.zip and Chromium's zlib all descend from one program. They insert positions into
 * chains of equal hash, walk a chain for the longest match, and differ in the hash, the end of the input and where
 * blocks end. Names in capitals are those of zlib's deflate.h and deflate.c. */
#ifndef RDK_DEFLATE_ZLIB_CHAINS_H
#define RDK_DEFLATE_ZLIB_CHAINS_H

#include "base/bytes.h"
#include "tokens.h"

enum {
    /* MIN_LOOKAHEAD, MAX_MATCH + MIN_MATCH + 1: an encoder in mid-stream always sees this many bytes ahead. Matches
     * reach back at most MAX_DIST, a window less this, because the window moves on before fewer bytes are ahead. */
    RDK_ZLIB_MIN_LOOKAHEAD = RDK_MATCH_MAX + RDK_MATCH_MIN + 1,
    /* TOO_FAR: lazy levels do not take a match of 3 bytes at a longer distance, because three literals mostly cost
       less. */
    RDK_ZLIB_TOO_FAR = 4096
};

enum rdk_zlib_hash {
    RDK_ZLIB_HASH3,     /* UPDATE_HASH over three bytes with 15 bits: memLevel 8, which nearly everybody uses */
    RDK_ZLIB_HASH3_ANY, /* the same with memLevel + 7 bits */
    RDK_ZLIB_HASH4      /* Chromium's insert_string over four bytes, without CRC instructions */
};

/* Hash chains over a window of 64 KiB. Entries are positions in the window; 0 means none (NIL), so the byte at `origin`
 * is never found. It is so in the encoders with the first byte of their input or dictionary. */
typedef struct rdk_zlib_chains {
    uint16_t newest[1 << 16];   /* head: per hash */
    uint16_t older[RDK_WINDOW]; /* prev: per position */
    uint32_t origin;            /* index into run->plain of window position 0; wraps around below 0 */
    uint32_t inserted;          /* lazy levels: the next index to insert */
    uint32_t hash_shift, hash_mask;
    uint8_t beyond; /* Chromium's hash of the last three bytes takes in what its window holds behind them */
} rdk_zlib_chains;

/* Empties the chains. The byte at `origin` will not be found. `hash_bits` is 8 to 16. */
void rdk_zlib_restart(rdk_zlib_chains *chains, uint32_t origin, uint32_t hash_bits);

/* Moves the window on by 32 KiB (slide_hash). */
void rdk_zlib_slide(rdk_zlib_chains *chains);

static inline uint32_t rdk_zlib_hash(const rdk_zlib_chains *chains, enum rdk_zlib_hash kind, uint32_t four) {
    if (kind == RDK_ZLIB_HASH4) return ((four * 66521u + 66521u) >> 16) & chains->hash_mask;
    if (kind == RDK_ZLIB_HASH3) return ((four << 10) ^ (four >> 3 & 0x1fe0) ^ (four >> 16 & 0xff)) & 0x7fff;
    uint32_t shift = chains->hash_shift;
    return ((four & 0xff) << 2 * shift ^ (four >> 8 & 0xff) << shift ^ (four >> 16 & 0xff)) & chains->hash_mask;
}

/* Loads four bytes, of which `left`, at least 3, may be read; `beyond` stands for a fourth that may not. */
static inline uint32_t rdk_zlib_load(const uint8_t *at, uint32_t left, uint8_t beyond) {
    if (left >= 4) return rdk_load32(at);
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)beyond << 24;
}

/* INSERT_STRING: puts a position at the head of its chain; returns the one that was there. */
static inline uint32_t rdk_zlib_insert(rdk_zlib_chains *chains, enum rdk_zlib_hash kind, uint32_t window_position,
                                       uint32_t four) {
    uint32_t hash = rdk_zlib_hash(chains, kind, four), before = chains->newest[hash];
    chains->older[window_position & (RDK_WINDOW - 1)] = (uint16_t)before;
    chains->newest[hash] = (uint16_t)window_position;
    return before;
}

/* What a search is asked. */
typedef struct rdk_zlib_search {
    uint32_t best;  /* only longer matches count; at least 2 */
    uint32_t limit; /* bytes that may be matched; more than `best` */
    uint32_t nice;  /* a match this long ends the search; at most `limit` */
    uint32_t chain; /* candidates to look at; at least 1 */
    uint32_t reach; /* largest distance; only the first candidate may be exactly so far */
} rdk_zlib_search;

/* Returns the longest match of the bytes at `scan`, whose window position is `position`, along the chain from the
 * window position `candidate` on (longest_match); a length of at most ask->best if there is no longer one. */
static inline uint32_t rdk_zlib_longest(const rdk_zlib_chains *chains, const uint8_t *scan, uint32_t position,
                                        uint32_t candidate, const rdk_zlib_search *ask, uint32_t *distance) {
    uint32_t best = ask->best, chain = ask->chain, lowest = position > ask->reach ? position - ask->reach : 0;
    const uint16_t *older = chains->older;
    uint32_t want = best < 3 ? rdk_zlib_load(scan, ask->limit, 0) & 0xffffff : rdk_load32(scan + best - 3);
    if (candidate == 0 || candidate < lowest) return 0;
    if (best < 3) {
        /* Almost every candidate shares three bytes, so the loop for longer matches takes over soon. */
        for (;; candidate = older[candidate & (RDK_WINDOW - 1)]) {
            const uint8_t *there = scan - (position - candidate);
            if ((rdk_load32(there) & 0xffffff) == want) {
                *distance = position - candidate;
                best = 3 + rdk_equal_short(scan + 3, there + 3, ask->limit - 3);
                break;
            }
            if (--chain == 0 || older[candidate & (RDK_WINDOW - 1)] <= lowest) return 0;
        }
        if (best >= ask->nice || --chain == 0) return best;
        candidate = older[candidate & (RDK_WINDOW - 1)];
        if (candidate <= lowest) return best;
        want = rdk_load32(scan + best - 3);
    }
    do {
        /* A longer match must have the same four bytes that end one byte behind the best length. */
        const uint8_t *there = scan - (position - candidate);
        if (rdk_load32(there + best - 3) == want) {
            uint32_t length = rdk_equal_short(scan, there, ask->limit);
            if (length > best) {
                best = length;
                *distance = position - candidate;
                if (length >= ask->nice) break;
                want = rdk_load32(scan + best - 3);
            }
        }
        candidate = older[candidate & (RDK_WINDOW - 1)];
    } while (candidate > lowest && --chain != 0);
    return best;
}

#endif
