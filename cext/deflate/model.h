/* What an encoder family file sees: how a model of a deflate encoder plugs into the kernel.
 *
 * A model *simulates* one encoder: given plain bytes it decides tokens, block boundaries, block types and Huffman
 * tables as that encoder does. The driver (run.c) owns everything else: warm-up, corrections, the bit stream,
 * comparison with a real stream. The same model code runs in two modes and cannot tell them apart:
 *
 *   rebuild  every token is what the model says, except where a correction says otherwise;
 *   plan     every token is compared with the real stream's token; where they differ the driver notes a correction.
 *
 * In both modes the emit functions return the plain position that was *really* reached. A model whose prediction was
 * overruled carries on from that position, in whatever deterministic way; it must never assume its own answer.
 * MODELS.md explains how to add a family. */
#ifndef RDK_DEFLATE_MODEL_H
#define RDK_DEFLATE_MODEL_H

#include <stdbool.h>
#include <string.h>

#include "reducto_kernel.h"

/* ---- tokens ---------------------------------------------------------------------------------------------------- */

/* Literal: the byte, 0..255. Match: length 3..258 in the high half, distance 1..32768 in the low half. */
typedef uint32_t rdk_token;
#define RDK_MATCH(length, distance) ((uint32_t)(length) << 16 | (uint32_t)(distance))
static inline uint32_t rdk_token_length(rdk_token token) { return token >> 16; } /* 0: literal */
static inline uint32_t rdk_token_distance(rdk_token token) { return token & 0xffff; }
static inline uint32_t rdk_token_span(rdk_token token) {
    return token >> 16 ? token >> 16 : 1;
} /* plain bytes covered */

enum {
    RDK_MATCH_MIN = 3,
    RDK_MATCH_MAX = 258,
    RDK_LITERAL_CODES = 286,
    RDK_DISTANCE_CODES = 30,
    RDK_END_OF_BLOCK = 256,
    RDK_HEADER_BYTES = 640, /* a dynamic header has at most 14 + 19*3 + 316*14 bits */
    RDK_BLOCK_TOKENS_MAX = 1 << 19
};

/* ---- blocks ---------------------------------------------------------------------------------------------------- */

/* How one chunk of tokens is written. A chunk is a block, except where REUSE lets it continue the block before it.
 * The values are stored in recipes as notes: frozen. */
enum rdk_kind {
    RDK_AUTO = 0,              /* as the model decides */
    RDK_STORED = 1,            /* plain bytes; the tokens are hidden */
    RDK_FIXED = 2,             /* fixed tables */
    RDK_DYNAMIC = 3,           /* tables from the chunk's own counts */
    RDK_LITERALS = 4,          /* dynamic, every plain byte as a literal; the tokens are hidden ("Huffman only") */
    RDK_REUSE = 5,             /* no header: goes on in the open block with its tables */
    RDK_VERBATIM = 6,          /* dynamic with the header bits that the recipe holds */
    RDK_VERBATIM_LITERALS = 7, /* the same, every plain byte as a literal */
    RDK_REUSE_LITERALS = 8,    /* REUSE, every plain byte as a literal; the tokens are hidden */
    RDK_VARIANT = 16 /* 16..31: the family's own alternatives for a dynamic header, tried in this order when planning */
};

typedef struct rdk_block {
    const rdk_token *tokens;
    uint32_t token_count;
    const uint8_t *plain;
    uint32_t plain_length;
    uint64_t plain_offset; /* of plain[0] in the member */
    bool final;            /* BFINAL will be set */
    /* Symbol counts of the tokens; the end-of-block symbol is counted once. `choose` may change them. */
    uint32_t literal_counts[288];
    uint32_t distance_counts[32];
    /* Answer of `choose`: the kind (never AUTO) and, if a header is written, code lengths and the header's bits
     * after BFINAL and BTYPE, i.e. from HLIT on. */
    uint8_t kind;
    uint8_t literal_lengths[288];
    uint8_t distance_lengths[32];
    uint8_t header[RDK_HEADER_BYTES];
    uint32_t header_bits;
} rdk_block;

/* ---- models ---------------------------------------------------------------------------------------------------- */

typedef struct rdk_run rdk_run;

enum rdk_model_flags {
    RDK_GRID = 1 /* chunks are a matter of plain length, not of tokens: use rdk_chunk_stop; REUSE is possible */,
    RDK_HIDES = 2, /* may write LITERALS: in a real block (with GRID: chunk) without any match the model runs freely */
    RDK_REUSES_TOKENS = 4 /* takes tokens over from donors (token_reuse.h) */
};

typedef struct rdk_model {
    uint16_t id;      /* storage format: never reused, never given another meaning */
    const char *name; /* `go-1.19-level-6`; shown to users */
    uint8_t level;    /* the level a user would give; 255: none */
    uint8_t flags;
    uint32_t warmup_bytes;    /* plain bytes needed before a segment; the run begins there (aligned to `grid_bytes`) */
    uint32_t lookahead_bytes; /* plain bytes needed after a segment unless the member ends earlier */
    uint32_t segment_bytes;   /* a segment ends at the first block boundary at or after this many plain bytes */
    uint32_t align_bytes;     /* >0: ... and only where the plain offset in the member is a multiple of this */
    uint32_t grid_bytes;      /* >0: a run begins a multiple of this before its segment */
    uint32_t state_bytes;     /* zeroed scratch memory for one run */
    int parameter;            /* the family's own: level, index into its table, ... */
    /* Emits every token from run->start to run->stop (and, for self-warming models, from run->begin), ends blocks,
     * and ends the member if run->last. Returns when rdk_done(run) or when it has emitted up to run->stop. */
    void (*simulate)(rdk_run *run);
    /* Decides how `block` is written. `want` is AUTO or what the recipe or planner asks for: then it must be followed
     * (STORED/FIXED/REUSE need no table; DYNAMIC, LITERALS and variants do). Called from inside emit/end_block. */
    void (*choose)(rdk_run *run, rdk_block *block, uint8_t want);
    /* Optional. The answer that was really taken for a chunk: `choose` may be asked several times for one chunk and
     * must not change what later chunks depend on; this may. */
    void (*chosen)(rdk_run *run, const rdk_block *block);
    uint8_t variants; /* number of RDK_VARIANT kinds that `choose` knows */
    /* Optional. A number that goes with the member (block size of pigz, ...), from the first real blocks. */
    uint32_t (*detect)(const rdk_block_info *blocks, size_t count);
} rdk_model;

typedef struct rdk_family {
    const rdk_model *models;
    size_t count;
} rdk_family;

/* ---- one run --------------------------------------------------------------------------------------------------- */

struct rdk_run {
    /* Given. Positions are indexes into `plain`. */
    const rdk_model *model;
    void *state;           /* model->state_bytes, zeroed */
    uint32_t member_param; /* from `detect`; 0 without */
    const uint8_t *plain;
    uint32_t begin;  /* simulation starts here: warm-up; 0 <= begin <= start */
    uint32_t start;  /* the segment's first byte: a block begins here */
    uint32_t stop;   /* one past its last: a block ends here */
    uint32_t length; /* bytes at hand, >= stop */
    uint64_t offset; /* of plain[0] in the member */
    bool ends;       /* the member's plain bytes end at `length` */
    bool last;       /* ends, and stop == length: the member's final block is part of the segment */
    const rdk_donor_range
        *donors; /* older streams that a model with RDK_REUSES_TOKENS may take tokens from; none while planning */
    size_t donor_count;
    const uint8_t *delta; /* what a token delta says of them; NULL without (token_delta.h) */
    size_t delta_length;
    uint32_t block_tokens; /* set by simulate: a block ends by itself after so many tokens; 0: never */
    /* The driver's, here for the inline functions below. */
    bool done;
    rdk_token *next;
    rdk_token *alarm; /* slow path when next reaches it */
    uint32_t guard;   /* slow path when a token ends beyond this position */
    struct rdk_sink *sink;
};

uint32_t rdk_emit_slow(rdk_run *run, uint32_t position, rdk_token token);

static inline uint32_t rdk_emit(rdk_run *run, uint32_t position, rdk_token token, uint32_t reached) {
    if (__builtin_expect(reached > run->guard || run->next == run->alarm, 0))
        return rdk_emit_slow(run, position, token);
    *run->next++ = token;
    return reached;
}

/* Emits one literal / one match whose first byte is at `position`; returns the position reached. Blocks that end after
 * it are closed inside the call, so the model's state that `choose` reads must be up to date before it. */
static inline uint32_t rdk_emit_literal(rdk_run *run, uint32_t position) {
    return rdk_emit(run, position, run->plain[position], position + 1);
}
static inline uint32_t rdk_emit_match(rdk_run *run, uint32_t position, uint32_t length, uint32_t distance) {
    return rdk_emit(run, position, RDK_MATCH(length, distance), position + length);
}

/* Emits literals up to `to` or until one is overruled; returns the position reached (!= to: overruled). */
uint32_t rdk_emit_literals(rdk_run *run, uint32_t position, uint32_t to);

/* The chunk of tokens ends here. For encoders whose blocks end by more than a token count. An empty chunk is no block.
 */
void rdk_end_block(rdk_run *run, uint32_t position);

/* An empty block (kind STORED: sync marker; FIXED), after ending the open one. */
void rdk_marker(rdk_run *run, uint32_t position, uint8_t kind, bool final);

/* How many bits of its last byte the stream fills once the open block is ended: 0..7. For encoders that pad to whole
 * bytes. Means nothing while warming up, nor where chunks are stated: markers are then stated too. */
uint32_t rdk_bit_phase(const rdk_run *run);

/* The last chunk of the member ends at run->stop and carries BFINAL itself (an empty one too). */
void rdk_end_final(rdk_run *run);

/* Grid encoders: where the chunk that begins at `position` ends; at most `most` bytes, at the member's end, at a flush.
 */
uint32_t rdk_chunk_stop(const rdk_run *run, uint32_t position, uint32_t most);

/* Where the encoder's input ended for the time being: the next flush (sync marker) of the real stream, else the
 * member's end if it is at hand, else UINT32_MAX. Matches do not cross it. */
uint32_t rdk_horizon(const rdk_run *run, uint32_t position);

/* What was given to follow cannot be right: the run fails. */
void rdk_refuse(rdk_run *run);

/* True once everything up to run->stop was written or the run failed: simulate must return. */
static inline bool rdk_done(const rdk_run *run) { return run->done; }

/* ---- tables ---------------------------------------------------------------------------------------------------- */

/* Optimal length-limited code lengths by the boundary package-merge method over symbols in order of (count, symbol);
 * one or two used symbols get length 1. As in Go's compress/flate and klauspost/compress. */
void rdk_limited_lengths(const uint32_t *counts, uint32_t symbols, uint32_t longest, uint8_t *lengths);

/* Header bits from HLIT on, code lengths run-length coded over both trees as one sequence (Go, klauspost). */
void rdk_joint_header(rdk_block *block, uint32_t literals, uint32_t distances);

/* Header bits from HLIT on, out of a family's own run-length coding. `runs[i]` is a code length symbol 0..18 and the
 * value of its extra bits; `code_lengths` are the lengths of the code length code. */
typedef struct rdk_length_run {
    uint8_t symbol, extra;
} rdk_length_run;
void rdk_put_header(rdk_block *block, uint32_t literals, uint32_t distances, const rdk_length_run *runs, uint32_t count,
                    const uint8_t code_lengths[19]);

/* Bits that the tokens take with given lengths, extra bits not counted. */
uint64_t rdk_symbol_bits(const uint32_t *counts, const uint8_t *lengths, uint32_t symbols);
uint64_t rdk_extra_bits(const rdk_block *block);

extern const uint8_t rdk_fixed_literal_lengths[288];
extern const uint8_t rdk_length_extra[29];
extern const uint8_t rdk_distance_extra[30];
extern const uint8_t rdk_code_length_order[19];

/* 0..28 of length 3..258: from 7 on two bits below the top one select the code */
static inline uint32_t rdk_length_code(uint32_t length) {
    uint32_t n = length - RDK_MATCH_MIN, extra = 29 - (uint32_t)__builtin_clz(n | 4);
    return 4 * extra + (n >> extra) + (length == RDK_MATCH_MAX);
}

/* 0..29 of distance 1..32768: from 3 on one bit below the top one selects the code */
static inline uint32_t rdk_distance_code(uint32_t distance) {
    uint32_t n = distance - 1, top = 31 - (uint32_t)__builtin_clz(n | 2);
    return 2 * top + (n >> (top - 1) & 1) - 2 * (n < 2);
}

/* ---- small helpers for matchers -------------------------------------------------------------------------------- */

static inline uint32_t rdk_load32(const uint8_t *at) {
    uint32_t value;
    memcpy(&value, at, sizeof value);
    return value;
}
static inline uint64_t rdk_load64(const uint8_t *at) {
    uint64_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

/* How many bytes of a and b agree, at most `most`; reads nothing beyond a[most) and b[most). */
static inline uint32_t rdk_common(const uint8_t *a, const uint8_t *b, uint32_t most) {
    uint32_t n = 0;
    while (n + 8 <= most) {
        uint64_t differ = rdk_load64(a + n) ^ rdk_load64(b + n);
        if (differ) return n + (uint32_t)(__builtin_ctzll(differ) >> 3);
        n += 8;
    }
    while (n < most && a[n] == b[n]) n++;
    return n;
}

#endif
