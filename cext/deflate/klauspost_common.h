/* klauspost/compress and what is made of it: pgzip, and Go's own compress/flate from 1.27 on.
 *
 * Levels 1 to 6 cut the plain bytes into chunks of 65,535 and code each chunk by itself: matches reach back over chunks
 * but never cross a chunk's end. Levels 7 to 9 are a chained lazy matcher whose blocks end by token count. A block may
 * continue over several chunks when the writer estimates that a new Huffman table would not pay. This header holds what
 * the files of the family share: parameters, state, hashes and comparisons. Names in parentheses are those of its Go
 * source. */
#ifndef RDK_DEFLATE_KLAUSPOST_COMMON_H
#define RDK_DEFLATE_KLAUSPOST_COMMON_H

#include "encoder.h"

/* rdk_model.parameter: the level, and what sets the version apart. */
enum kp_parameter {
    KP_LEVEL = 15,
    KP_HUFFMAN = 10,   /* as level: HuffmanOnly */
    KP_TRIMMED = 0x10, /* since 1.18.2 and in Go 1.27: a header names no more codes than are used */
    KP_PGZIP = 0x20,   /* every MiB starts anew with a dictionary and ends with a sync marker */
    KP_OLD = 0x40,     /* up to 1.15.9: shorter hashes, and no bytes are skipped in the search from a match's end */
    KP_MISTAKEN = 0x80 /* level 4 since 1.18.0 and in Go 1.27: a comparison with the wrong bytes, see is_longer */
};

enum {
    KP_CHUNK = 65535,         /* maxStoreBlockSize: the window of levels 1 to 6 */
    KP_HUFFMAN_CHUNK = 32768, /* the window of HuffmanOnly */
    KP_MARGIN = 11,           /* inputMargin: no match begins in the last bytes of a chunk */
    KP_TINY = 128,            /* storeFast: shorter input before a flush is not searched, and history is forgotten */
    KP_PGZIP_BLOCK = 1 << 20, /* pgzip's defaultBlockSize */
    KP_PGZIP_TAIL = 16384,    /* pgzip's tailSize: the dictionary of the next block */
    /* The tables of levels 7 to 9 (struct chains in klauspost_lazy.c, which checks it): 2^17 heads and 2^15 links of
     * four bytes, and 256 costs. */
    KP_LAZY_BYTES = (1 << 19) + (1 << 17) + 256,
    /* Table entries are indexes plus this, so that an empty entry, 0, is more than a window away from every position.
     */
    KP_PRESENT = 1 << 16
};

/* A table entry with two candidates (tableEntryPrev). */
typedef struct kp_pair {
    uint32_t now, before;
} kp_pair;

/* What the block writer remembers between chunks, and what the matchers do. */
typedef struct kp_state {
    bool open;            /* there is an open block whose codes the next chunk may reuse */
    bool open_literals;   /* ... which the literal writer made, so that there are no distances in it */
    bool flushed;         /* a flush or the end follows the present chunk */
    bool muted;           /* a dictionary is being searched: nothing is emitted */
    uint32_t header_bits; /* of the open block */
    uint32_t base;        /* no match reaches back beyond this (levels 7 to 9: where the buffer begins) */
    int32_t history;      /* where the encoder's buffer begins, maybe before plain[0]; level 4 only */
    uint8_t literal_lengths[RDK_LITERAL_SYMBOLS]; /* of the open block */
    uint8_t distance_lengths[RDK_DISTANCE_SYMBOLS];
    _Alignas(64) uint32_t tables[]; /* of the level; aligned with cache lines */
} kp_state;

/* One chunk: src[start, stop) is to be coded. Each matcher emits all of it and returns. */
typedef struct kp_chunk {
    rdk_run *run;
    kp_state *state;
    const uint8_t *src;
    int32_t start, stop;
    int32_t base;    /* no match begins before this */
    int32_t history; /* where the encoder's history buffer begins */
    int32_t emitted; /* everything before this was emitted */
    int32_t anchor;  /* where the last match ended: the search takes longer steps the further it is from there */
} kp_chunk;

/* hashLen: the top `bits` of the product of the lowest 4, 5 or 7 bytes and prime4bytes, prime5bytes or prime7bytes. */
static inline uint32_t kp_hash4(uint64_t value, int bits) {
    return (uint32_t)value * UINT32_C(2654435761) >> (32 - bits);
}
static inline uint32_t kp_hash5(uint64_t value, int bits) {
    return (uint32_t)((value << 24) * UINT64_C(889523592379) >> (64 - bits));
}
static inline uint32_t kp_hash7(uint64_t value, int bits) {
    return (uint32_t)((value << 8) * UINT64_C(58295818150454627) >> (64 - bits));
}

static inline uint32_t kp_entry(int32_t index) { return (uint32_t)index + KP_PRESENT; }
static inline int32_t kp_index(uint32_t entry) { return (int32_t)(entry - KP_PRESENT); }

static inline void kp_push(kp_pair *pair, int32_t index) {
    pair->before = pair->now;
    pair->now = kp_entry(index);
}

/* Tells whether a candidate lies 1 to `reach` bytes back. An empty entry does not, nor does one ahead of `at`, which a
 * search that was overruled may have left. */
static inline bool kp_in_reach(int32_t at, int32_t candidate, int32_t reach) {
    return (uint32_t)(at - candidate - 1) < (uint32_t)reach;
}

/* Tells whether the candidate is in reach and its first four bytes are those of `value`, which are the bytes at `at`.
 */
static inline bool kp_agrees(const uint8_t *src, int32_t at, int32_t candidate, uint64_t value) {
    return kp_in_reach(at, candidate, RDK_WINDOW - 1) && rdk_load32(src + candidate) == (uint32_t)value;
}

/* Returns how many bytes from `at` on are those from the earlier `from` on, up to the chunk's end. */
static inline int32_t kp_length(const kp_chunk *chunk, int32_t at, int32_t from) {
    return (int32_t)rdk_equal_short(chunk->src + at, chunk->src + from, (uint32_t)(chunk->stop - at));
}

/* The same for a match whose first four bytes are known to agree, up to the length of one token. */
static inline int32_t kp_length_token(const kp_chunk *chunk, int32_t at, int32_t from) {
    int32_t limit = chunk->stop - at - 4;
    if (limit > RDK_MATCH_MAX - 4) limit = RDK_MATCH_MAX - 4;
    return 4 + (int32_t)rdk_equal_short(chunk->src + at + 4, chunk->src + from + 4, (uint32_t)limit);
}

typedef struct kp_match {
    int32_t at, from, length;
} kp_match;

/* Extends a match backwards over bytes that are not emitted yet. */
static inline void kp_extend_back(const kp_chunk *chunk, kp_match *match) {
    const uint8_t *src = chunk->src;
    while (match->from > chunk->base && match->at > chunk->emitted && src[match->from - 1] == src[match->at - 1]) {
        match->at--;
        match->from--;
        match->length++;
    }
}

#endif
