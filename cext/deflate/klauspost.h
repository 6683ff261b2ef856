/* klauspost/compress and what is made of it: pgzip, and Go's own compress/flate from 1.27 on.
 *
 * Levels 1 to 6 cut the plain bytes into chunks of 65,535 and code each chunk by itself: matches reach back over chunks
 * but never cross a chunk's end. Levels 7 to 9 are a chained lazy matcher whose blocks end by token count. A block may
 * go on over several chunks when the writer estimates that a new Huffman table would not pay. */
#ifndef RDK_DEFLATE_KLAUSPOST_H
#define RDK_DEFLATE_KLAUSPOST_H

#include "model.h"

/* rdk_model.parameter: the level and what sets the version apart. */
enum kp_parameter {
    KP_LEVEL = 15,
    KP_HUFFMAN = 10,   /* as level: HuffmanOnly */
    KP_TRIMMED = 0x10, /* since 1.18.2 and in Go 1.27: a header names no more codes than are used */
    KP_PGZIP = 0x20,   /* every MiB starts anew with a dictionary and ends with a sync marker */
    KP_OLD = 0x40,     /* up to 1.15.9: shorter hashes, no bytes skipped in the search from a match's end */
    KP_MISTAKEN = 0x80 /* level 4 since 1.18.0 and in Go 1.27: a comparison with the wrong place, see is_longer */
};

enum {
    KP_CHUNK = 65535,
    KP_HUFFMAN_CHUNK = 32768,
    KP_WINDOW = 32768,
    KP_MARGIN = 11, /* no match begins in the last bytes of a chunk */
    KP_TINY = 128,  /* shorter input before a flush is not searched for matches, and history is forgotten */
    KP_PGZIP_BLOCK = 1 << 20,
    KP_PGZIP_TAIL = 16384,
    KP_LAZY_TOKENS = 1 << 15,                    /* a block of levels 7 to 9 */
    KP_LAZY_BYTES = (1 << 19) + (1 << 17) + 256, /* tables of levels 7 to 9 */
    KP_BIAS = 1 << 16 /* table entries are index + bias: an empty entry is then out of every window */
};

typedef struct kp_pair {
    uint32_t now, before;
} kp_pair;

/* What the block writer remembers between chunks, and what the matchers do. */
typedef struct kp_state {
    bool open;          /* a block is open whose table the next chunk may go on with */
    bool open_literals; /* ... that was made by the literal writer: no distances in it */
    bool flushed;       /* a flush or the end follows the chunk in hand */
    bool muted;         /* a dictionary is being taken in: nothing is emitted */
    uint32_t header_bits;
    uint32_t base;   /* no match reaches back beyond this (levels 7 to 9: where the buffer begins) */
    int32_t history; /* where the buffer of the encoder begins, maybe before plain[0]; level 4 only */
    uint8_t literal_lengths[288];
    uint8_t distance_lengths[32];
    _Alignas(64) uint32_t tables[]; /* of the level */
} kp_state;

/* One chunk: src[start .. stop) is to be coded. Each matcher emits all of it and returns. */
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

void kp_level1(kp_chunk *chunk, bool old);
void kp_level2(kp_chunk *chunk, bool old);
void kp_level3(kp_chunk *chunk, bool old);
void kp_level4(kp_chunk *chunk, bool mistaken);
void kp_level5(kp_chunk *chunk, bool old);
void kp_level6(kp_chunk *chunk, bool old);
/* Levels 7 to 9 from `position` to `end`, where a flush or the end of input follows (UINT32_MAX: out of sight); returns
 * where the run then stands. Input began at `origin`, and history is known from `history` on. */
uint32_t kp_lazy(rdk_run *run, int64_t origin, uint32_t history, uint32_t position, uint32_t end);

void kp_choose(rdk_run *run, rdk_block *block, uint8_t want);
void kp_chosen(rdk_run *run, const rdk_block *block);

/* Frozen hash functions: the top `bits` of the product of the lowest 4, 5 or 7 bytes. */
static inline uint32_t kp_hash4(uint64_t value, int bits) {
    return (uint32_t)value * UINT32_C(2654435761) >> (32 - bits);
}
static inline uint32_t kp_hash5(uint64_t value, int bits) {
    return (uint32_t)((value << 24) * UINT64_C(889523592379) >> (64 - bits));
}
static inline uint32_t kp_hash7(uint64_t value, int bits) {
    return (uint32_t)((value << 8) * UINT64_C(58295818150454627) >> (64 - bits));
}

static inline uint32_t kp_entry(int32_t index) { return (uint32_t)index + KP_BIAS; }
static inline int32_t kp_index(uint32_t entry) { return (int32_t)(entry - KP_BIAS); }

static inline void kp_push(kp_pair *pair, int32_t index) {
    pair->before = pair->now;
    pair->now = kp_entry(index);
}

/* An empty entry is out of reach, and so is one ahead, which a search that was overruled may have left. */
static inline bool kp_in_reach(int32_t at, int32_t candidate, int32_t reach) {
    return (uint32_t)(at - candidate - 1) < (uint32_t)reach;
}

/* True if the bytes at `candidate` are in reach and the first four agree with `value`, which is what stands at `at`. */
static inline bool kp_agrees(const uint8_t *src, int32_t at, int32_t candidate, uint64_t value) {
    return kp_in_reach(at, candidate, KP_WINDOW - 1) && rdk_load32(src + candidate) == (uint32_t)value;
}

/* Bytes that agree at `at` and at the earlier `from`, up to the chunk's end. */
static inline int32_t kp_length(const kp_chunk *chunk, int32_t at, int32_t from) {
    return (int32_t)rdk_common(chunk->src + at, chunk->src + from, (uint32_t)(chunk->stop - at));
}

/* The same, of a match whose first four bytes are known to agree, and no longer than one token. */
static inline int32_t kp_length_token(const kp_chunk *chunk, int32_t at, int32_t from) {
    int32_t most = chunk->stop - at - 4;
    if (most > RDK_MATCH_MAX - 4) most = RDK_MATCH_MAX - 4;
    return 4 + (int32_t)rdk_common(chunk->src + at + 4, chunk->src + from + 4, (uint32_t)most);
}

typedef struct kp_match {
    int32_t at, from, length;
} kp_match;

static inline void kp_extend_back(const kp_chunk *chunk, kp_match *match) {
    const uint8_t *src = chunk->src;
    while (match->from > chunk->base && match->at > chunk->emitted && src[match->from - 1] == src[match->at - 1]) {
        match->at--;
        match->from--;
        match->length++;
    }
}

/* Emits the literals before a match and the match. True: a match was emitted, and ended at chunk->emitted. It may be
 * another than asked for; then *match says which, and *next, where the search stood, is behind its end. False:
 * overruled by a literal; *next is where to search on. */
bool kp_emit(kp_chunk *chunk, kp_match *match, int32_t *next);

/* The rest of the chunk as literals. */
void kp_emit_rest(kp_chunk *chunk);

#endif
