/* The encoders of zlib's lineage at work: fast and lazy levels, run lengths, literals only. */
#ifndef RDK_DEFLATE_ZLIB_WALK_H
#define RDK_DEFLATE_ZLIB_WALK_H

#include "encoder.h"
#include "zlib_chains.h"

/* What models of the lineage ask for around a segment. */
enum {
    /* A search looks at most MIN_LOOKAHEAD bytes ahead, and one position later; the rest is spare. */
    RDK_ZLIB_LOOKAHEAD = 1024,
    /* Lazy levels emit from so far before a segment, to find the match that is pending at its start: after a few
     * matches the simulation has met the real parse. */
    RDK_ZLIB_RESYNC = 2048,
    /* Their chains need a window before that. */
    RDK_ZLIB_LAZY_WARMUP = 65536,
    /* Which positions fast levels insert depends on the parse. A simulation that begins eight windows earlier has
     * mostly met the real parse at the segment's start; where it has not, the recipe has corrections. */
    RDK_ZLIB_FAST_WARMUP = 8 * RDK_WINDOW
};

/* How hard a level searches: a line of configuration_table. */
typedef struct rdk_zlib_effort {
    uint16_t good;  /* good_length: with a match this long at hand, a quarter of the chain is searched */
    uint16_t lazy;  /* max_lazy: with a match this long at hand, the next position is not searched. Fast levels
                     * (max_insert): longest match whose inside is inserted */
    uint16_t nice;  /* nice_length: a match this long ends the search */
    uint16_t chain; /* max_chain: candidates */
} rdk_zlib_effort;

/* By level; level 0 does not search. */
extern const rdk_zlib_effort rdk_zlib_efforts[10];

/* One encoder at work. It lives in run->state. */
typedef struct rdk_zlib_walk {
    rdk_zlib_effort effort;
    enum rdk_zlib_hash hash;
    uint32_t hash_bits;
    uint32_t reach; /* MAX_DIST */
    bool filtered;  /* Z_FILTERED: matches of up to five bytes are not taken */
    /* Lazy levels: the match found at `pending_at` while the literal before it was decided; length 0: none. */
    uint32_t pending_at, pending_length, pending_distance;
    rdk_zlib_chains chains;
} rdk_zlib_walk;

/* Emit from `from` until `to` is reached, but not beyond run->stop, as an encoder whose input ends at `end`, which is
 * at least `to`. Return the position reached. Lazy: positions from walk->chains.inserted on are inserted as needed.
 * Fast: all positions before `from` that the encoder would have inserted are in the chains. */
uint32_t rdk_zlib_lazy(rdk_run *run, rdk_zlib_walk *walk, uint32_t from, uint32_t to, uint32_t end);
uint32_t rdk_zlib_fast(rdk_run *run, rdk_zlib_walk *walk, uint32_t from, uint32_t to, uint32_t end);

/* Inserts [from, to) into the chains of a fast level, as an encoder does with a dictionary and before a flush ends. */
void rdk_zlib_fill(const rdk_run *run, rdk_zlib_walk *walk, uint32_t from, uint32_t to);

/* The same as the first two with every position a literal (Z_HUFFMAN_ONLY), or with matches of distance 1 only (Z_RLE).
 */
uint32_t rdk_zlib_literals(rdk_run *run, uint32_t from, uint32_t to);
uint32_t rdk_zlib_runs(rdk_run *run, uint32_t from, uint32_t to, uint32_t end);

#endif
