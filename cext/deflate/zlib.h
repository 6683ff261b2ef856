/* What the encoders of zlib's lineage share: hash chains, search for matches, Huffman tables.
 *
 * zlib, GNU gzip, pigz, java.util.zip and Chromium's zlib all descend from one program. They insert positions into
 * chains of equal hash, walk a chain for the longest match, and differ in the hash, the tail of the input and where
 * blocks end. */
#ifndef RDK_DEFLATE_ZLIB_H
#define RDK_DEFLATE_ZLIB_H

#include "model.h"

enum {
    RDK_ZLIB_WINDOW = 32768,
    RDK_ZLIB_MARGIN =
        262, /* an encoder in mid-stream always sees so many bytes ahead; matches reach window - margin back */
    RDK_ZLIB_TOO_FAR = 4096, /* a match of 3 bytes beyond this distance is not worth it (lazy levels) */
    RDK_ZLIB_BATCH = 256,    /* lazy levels insert ahead; window - margin + batch must stay below the window */
    RDK_ZLIB_LOOKAHEAD = 1024,
    RDK_ZLIB_LAZY_WARMUP = 65536,
    RDK_ZLIB_FAST_WARMUP = 262144,
    RDK_ZLIB_RESYNC = 2048 /* lazy levels emit from so far before a segment, to find the pending match at its start */
};

/* How hard a level searches. Fast levels insert the inside of a match only up to `lazy` bytes. */
typedef struct rdk_zlib_effort {
    uint16_t good; /* with a match this long at hand, a quarter of the chain will do */
    uint16_t lazy; /* with a match this long at hand, do not look at the next position */
    uint16_t nice; /* a match this long ends the search */
    uint16_t chain;
} rdk_zlib_effort;
extern const rdk_zlib_effort rdk_zlib_efforts[10];

enum rdk_zlib_hash {
    RDK_ZLIB_HASH3,     /* zlib's of three bytes, 15 bits */
    RDK_ZLIB_HASH3_ANY, /* the same, of as many bits as the memory level says */
    RDK_ZLIB_HASH4      /* Chromium's of four bytes */
};

/* Hash chains over a window of 64 KiB that follows the position. Entries are window positions; 0 is "none", so the byte
 * at `origin` is never found: so it is in the encoders at the first byte of their input or dictionary. */
typedef struct rdk_zlib_chains {
    uint16_t newest[1 << 16];
    uint16_t older[RDK_ZLIB_WINDOW];
    uint32_t origin;   /* index into plain of window position 0; wraps below 0 */
    uint32_t inserted; /* lazy levels: the next index to insert */
    uint32_t hash_shift, hash_mask;
    uint8_t beyond; /* Chromium's hash of the last three bytes takes in what its window holds behind them */
} rdk_zlib_chains;

/* Empties the chains. The byte at `origin` will not be found. */
void rdk_zlib_restart(rdk_zlib_chains *chains, uint32_t origin, uint32_t hash_bits);
/* Moves the window on by 32 KiB. */
void rdk_zlib_slide(rdk_zlib_chains *chains);

static inline uint32_t rdk_zlib_hash(const rdk_zlib_chains *chains, enum rdk_zlib_hash kind, uint32_t four) {
    if (kind == RDK_ZLIB_HASH4) return ((four * 66521u + 66521u) >> 16) & chains->hash_mask;
    if (kind == RDK_ZLIB_HASH3) return ((four << 10) ^ (four >> 3 & 0x1fe0) ^ (four >> 16 & 0xff)) & 0x7fff;
    uint32_t shift = chains->hash_shift;
    return ((four & 0xff) << 2 * shift ^ (four >> 8 & 0xff) << shift ^ (four >> 16 & 0xff)) & chains->hash_mask;
}

/* Four bytes, of which `left` >= 3 may be read. */
static inline uint32_t rdk_zlib_load(const uint8_t *at, uint32_t left, uint8_t beyond) {
    if (left >= 4) return rdk_load32(at);
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)beyond << 24;
}

/* Puts one position at the head of its chain; returns the one that was there. Fast levels. */
static inline uint32_t rdk_zlib_insert(rdk_zlib_chains *chains, enum rdk_zlib_hash kind, uint32_t window_position,
                                       uint32_t four) {
    uint32_t hash = rdk_zlib_hash(chains, kind, four), before = chains->newest[hash];
    chains->older[window_position & (RDK_ZLIB_WINDOW - 1)] = (uint16_t)before;
    chains->newest[hash] = (uint16_t)window_position;
    return before;
}

/* What a search is asked. */
typedef struct rdk_zlib_search {
    uint32_t best;  /* only longer matches count; >= 2 */
    uint32_t most;  /* bytes that may be matched, > best */
    uint32_t nice;  /* <= most */
    uint32_t chain; /* candidates to look at, >= 1 */
    uint32_t reach; /* largest distance; only the first candidate may be exactly so far */
} rdk_zlib_search;

/* The longest match of the bytes at `scan` along the chain from window position `candidate` on, or a length <=
 * ask->best. `position` is scan's window position. */
static inline uint32_t rdk_zlib_longest(const rdk_zlib_chains *chains, const uint8_t *scan, uint32_t position,
                                        uint32_t candidate, const rdk_zlib_search *ask, uint32_t *distance) {
    uint32_t best = ask->best, chain = ask->chain, limit = position > ask->reach ? position - ask->reach : 0;
    const uint16_t *older = chains->older;
    uint32_t want = best < 3 ? rdk_zlib_load(scan, ask->most, 0) & 0xffffff : rdk_load32(scan + best - 3);
    if (candidate == 0 || candidate < limit) return 0;
    if (best < 3) {
        /* Almost every candidate shares three bytes, so the loop for longer matches takes over soon. */
        for (;; candidate = older[candidate & (RDK_ZLIB_WINDOW - 1)]) {
            const uint8_t *there = scan - (position - candidate);
            if ((rdk_load32(there) & 0xffffff) == want) {
                *distance = position - candidate;
                best = 3 + rdk_common(scan + 3, there + 3, ask->most - 3);
                break;
            }
            if (--chain == 0 || older[candidate & (RDK_ZLIB_WINDOW - 1)] <= limit) return 0;
        }
        if (best >= ask->nice || --chain == 0) return best;
        candidate = older[candidate & (RDK_ZLIB_WINDOW - 1)];
        if (candidate <= limit) return best;
        want = rdk_load32(scan + best - 3);
    }
    do {
        const uint8_t *there = scan - (position - candidate);
        if (rdk_load32(there + best - 3) == want) {
            uint32_t length = rdk_common(scan, there, ask->most);
            if (length > best) {
                best = length;
                *distance = position - candidate;
                if (length >= ask->nice) break;
                want = rdk_load32(scan + best - 3);
            }
        }
        candidate = older[candidate & (RDK_ZLIB_WINDOW - 1)];
    } while (candidate > limit && --chain != 0);
    return best;
}

/* ---- tables (zlib_trees.c) ----------------------------------------------------------------------------- */

/* Code lengths by a heap that prefers the shallower of two equal weights; lengths beyond `longest` are repaired
 * afterwards. At least two symbols get a code. Returns one more than the last symbol with a code. */
uint32_t rdk_zlib_lengths(const uint32_t *counts, uint32_t symbols, uint32_t longest, uint8_t *lengths);

/* What the choice among stored, fixed and dynamic depends on. */
typedef struct rdk_zlib_policy {
    uint32_t window;    /* bytes; a block whose first byte has left the window cannot be stored */
    uint32_t refill;    /* the encoder looks for input when so many bytes or less are ahead */
    bool lazy;          /* it has gone one byte on when it writes a match */
    bool fixed;         /* Z_FIXED */
    uint64_t base;      /* position in the member of the first byte (of its dictionary) that the encoder saw */
    uint64_t plain_end; /* where its input ends, UINT64_MAX if not in sight */
} rdk_zlib_policy;
void rdk_zlib_choose(rdk_block *block, uint8_t want, const rdk_zlib_policy *policy);

/* ---- walking (zlib_walk.c) ----------------------------------------------------------------------------- */

/* One encoder at work. Lives in run->state. */
typedef struct rdk_zlib_walk {
    rdk_zlib_effort effort;
    enum rdk_zlib_hash hash;
    uint32_t hash_bits;
    uint32_t reach; /* largest distance */
    bool filtered;  /* Z_FILTERED: matches of up to five bytes are not worth it */
    bool gnu;       /* GNU gzip: its end of input, and blocks that end early */
    /* Lazy levels: the match found at `pending_at` while the literal before it was decided. */
    uint32_t pending_at, pending_length, pending_distance;
    /* GNU gzip: the index of window position 0 once the input has ended (wraps below 0), and whether the window has
     * moved. */
    uint32_t tail_origin;
    bool tail_seen, tail_moved;
    const rdk_token *tokens; /* where the tokens of a block begin */
    uint32_t block_start;    /* GNU gzip: where the block begins */
    bool rsyncable;          /* GNU gzip: --rsyncable */
    uint32_t sum, summed;    /* ... the sum of the 4,096 bytes before index `summed` */
    rdk_zlib_chains chains;
} rdk_zlib_walk;

/* Emit from `from` until `to` is reached (never beyond run->stop) as an encoder whose input ends at `end`, at least
 * `to`. Return the position reached. Lazy: positions from walk->chains.inserted on are inserted as needed. Fast: all
 * before `from` that the encoder would have inserted are. */
uint32_t rdk_zlib_lazy(rdk_run *run, rdk_zlib_walk *walk, uint32_t from, uint32_t to, uint32_t end);
uint32_t rdk_zlib_fast(rdk_run *run, rdk_zlib_walk *walk, uint32_t from, uint32_t to, uint32_t end);
/* Inserts [from, to) into the chains of a fast level, as an encoder does with a dictionary and before a flush ends. */
void rdk_zlib_fill(const rdk_run *run, rdk_zlib_walk *walk, uint32_t from, uint32_t to);
/* GNU gzip (gnu.c): the search near the end of its input; that the encoder stands at `position` without a search; and
 * whether a block ends after the token that reached `position` while the encoder stood at `standing`. */
uint32_t rdk_gnu_tail_longest(const rdk_run *run, rdk_zlib_walk *walk, uint32_t position, const rdk_zlib_search *ask,
                              uint32_t *distance);
void rdk_gnu_stand(const rdk_run *run, rdk_zlib_walk *walk, uint32_t position);
void rdk_gnu_after(rdk_run *run, rdk_zlib_walk *walk, uint32_t position, uint32_t standing);
/* Every position a literal (Z_HUFFMAN_ONLY), or matches of distance 1 only (Z_RLE). */
uint32_t rdk_zlib_plain(rdk_run *run, uint32_t from, uint32_t to);
uint32_t rdk_zlib_runs(rdk_run *run, uint32_t from, uint32_t to, uint32_t end);

#endif
