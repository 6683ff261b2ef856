/* What an encoder model sees: how the simulation of a deflate encoder plugs into the kernel.
 *
 * A *model* simulates one encoder at one setting: given plain bytes it decides tokens, block boundaries, block types
 * and Huffman codes as that encoder does. The driver (replay.c) owns everything else: warm-up, corrections, the bit
 * stream, the comparison with a real stream. The same model runs in two modes and cannot tell them apart:
 *
 *   rebuild  every token is what the model says, except where a correction says otherwise;
 *   plan     every token is compared with the real stream's token, and the driver notes a correction where they differ.
 *
 * In both modes the emit functions return the plain position that was *really* reached. A model whose prediction was
 * overruled continues from that position in whatever deterministic way; it must never assume its own answer.
 * MODELS.md explains how to add a model. */
#ifndef RDK_DEFLATE_ENCODER_H
#define RDK_DEFLATE_ENCODER_H

#include "base/bytes.h"
#include "block.h"
#include "reducto_kernel.h"

/* ---- models ---------------------------------------------------------------------------------------------------- */

typedef struct rdk_run rdk_run;

enum rdk_model_flags {
    /* Chunks end by plain length, not by tokens: the model asks rdk_chunk_stop, and REUSE is possible. */
    RDK_GRID = 1,
    /* The model may write LITERALS, so a real block (with GRID: chunk) without any match does not tell its tokens. */
    RDK_HIDES = 2,
    /* The model reuses tokens of donors (token_reuse.h, token_delta.h). */
    RDK_REUSES_TOKENS = 4
};

enum { RDK_NO_LEVEL = 255 };

typedef struct rdk_model {
    uint16_t id;      /* storage format: never reused, never given another meaning */
    const char *name; /* `go-1.19-level-6`; shown to users */
    uint8_t level;    /* the level that a user would give, or RDK_NO_LEVEL */
    uint8_t flags;
    uint32_t warmup_bytes;    /* plain bytes needed before a segment; the run begins there (see `grid_bytes`) */
    uint32_t lookahead_bytes; /* plain bytes needed after a segment unless the member ends earlier */
    uint32_t segment_bytes;   /* a segment ends at the first block boundary at or after this many plain bytes */
    uint32_t align_bytes;     /* more than 0: ... and only where the plain offset in the member is a multiple of this */
    uint32_t grid_bytes;      /* more than 0: a run begins a multiple of this before its segment */
    uint32_t state_bytes;     /* zeroed memory for one run */
    int parameter;            /* the model's own: level, index into a table, ... */
    /* Emits every token from run->start to run->stop (and, for models that warm up, from run->begin), ends blocks, and
     * ends the member if run->last. Returns when rdk_done(run) or when it has emitted up to run->stop. */
    void (*simulate)(rdk_run *run);
    /* Decides how `block` is written. `want` is AUTO, or the kind that the recipe or the plan asks for, which must be
     * followed (STORED, FIXED and REUSE need no codes; DYNAMIC, LITERALS and variants do). Called from inside the emit
     * functions and rdk_end_block, possibly several times for one chunk, so it must not change what later chunks depend
     * on. */
    void (*choose)(rdk_run *run, rdk_block *block, uint8_t want);
    /* Optional. Told the answer that was taken for a chunk, once; may change what later chunks depend on. */
    void (*chosen)(rdk_run *run, const rdk_block *block);
    uint8_t variants; /* number of RDK_VARIANT kinds that `choose` knows, at most 8 */
    /* Optional. Returns a number that goes with the member (pigz's block size, ...), from the first real blocks; 0 if
     * these do not tell. */
    uint32_t (*detect)(const rdk_block_info *blocks, size_t count);
} rdk_model;

/* The models that share code: one file, or a few, for one lineage of encoders. */
typedef struct rdk_family {
    const rdk_model *models;
    size_t count;
} rdk_family;

/* ---- one run --------------------------------------------------------------------------------------------------- */

/* No chunk has more tokens. Real encoders have at most 65,535 (klauspost/compress, Go) and 32,767 (zlib, GNU gzip). */
enum { RDK_CHUNK_TOKENS_MAX = 1 << 19 };

struct rdk_run {
    /* Given. Positions are indexes into `plain`. */
    const rdk_model *model;
    void *state;           /* model->state_bytes, zeroed */
    uint32_t member_param; /* from `detect`; 0 without */
    const uint8_t *plain;
    uint32_t begin;                /* the simulation starts here, with the warm-up; 0 <= begin <= start */
    uint32_t start;                /* the segment's first byte: a block begins here */
    uint32_t stop;                 /* one past its last: a block ends here */
    uint32_t length;               /* bytes at hand, at least `stop` */
    uint64_t offset;               /* of plain[0] in the member */
    bool ends;                     /* the member's plain bytes end at `length` */
    bool last;                     /* ends, and stop == length: the member's final block is part of the segment */
    const rdk_donor_range *donors; /* for models with RDK_REUSES_TOKENS; none while planning */
    size_t donor_count;
    const uint8_t *delta; /* a token delta against the donors; NULL without */
    size_t delta_length;
    uint32_t block_tokens; /* set by `simulate`: a block ends by itself after this many tokens; 0: never */
    /* The driver's, here because the inline functions below need them. */
    bool done;
    rdk_token *next;  /* where the next token is put */
    rdk_token *alarm; /* when `next` is here, the next token takes the slow path */
    uint32_t guard;   /* a token that ends beyond this position takes the slow path */
    struct rdk_replay *replay;
};

/* The slow path of emitting: a block may end, a correction may apply, the real stream may say otherwise. */
uint32_t rdk_emit_slow(rdk_run *run, uint32_t position, rdk_token token);

static inline uint32_t rdk_emit(rdk_run *run, uint32_t position, rdk_token token, uint32_t reached) {
    if (__builtin_expect(reached > run->guard || run->next == run->alarm, 0))
        return rdk_emit_slow(run, position, token);
    *run->next++ = token;
    return reached;
}

/* Emits one literal or one match whose first byte is at `position`; returns the position reached. Blocks that end after
 * it are closed inside the call, so the model's state that `choose` reads must be up to date before it. */
static inline uint32_t rdk_emit_literal(rdk_run *run, uint32_t position) {
    return rdk_emit(run, position, run->plain[position], position + 1);
}
static inline uint32_t rdk_emit_match(rdk_run *run, uint32_t position, uint32_t length, uint32_t distance) {
    return rdk_emit(run, position, RDK_MATCH(length, distance), position + length);
}

/* Emits literals up to `to` or until one is overruled; returns the position reached (not `to`: overruled). */
uint32_t rdk_emit_literals(rdk_run *run, uint32_t position, uint32_t to);

/* The chunk of tokens ends here. For encoders whose blocks end for more reasons than a token count. An empty chunk is
 * no block. */
void rdk_end_block(rdk_run *run, uint32_t position);

/* Ends the open block and writes an empty one, a marker: STORED for a sync marker (Z_SYNC_FLUSH), FIXED for a partial
 * one. */
void rdk_marker(rdk_run *run, uint32_t position, uint8_t kind, bool final);

/* Returns how many bits of its last byte the stream fills once the open block is ended: 0 to 7. For encoders that pad
 * to whole bytes. Undefined during warm-up and when the recipe lists block ends, because it then lists the markers as
 * well. */
uint32_t rdk_bit_phase(const rdk_run *run);

/* The last chunk of the member ends at run->stop and carries BFINAL itself (an empty one too). */
void rdk_end_final(rdk_run *run);

/* For GRID models: returns where the chunk that begins at `position` ends, which is at most `limit` bytes later, at the
 * member's end or at a flush. */
uint32_t rdk_chunk_stop(const rdk_run *run, uint32_t position, uint32_t limit);

/* Returns where the encoder's input ended for the time being: the next flush (sync marker) of the real stream, else the
 * member's end if it is at hand, else UINT32_MAX. Matches do not cross it. */
uint32_t rdk_input_end(const rdk_run *run, uint32_t position);

/* The run fails with RDK_E_CORRUPT, because the token delta that it was given cannot be this segment's. */
void rdk_reject(rdk_run *run);

/* True once everything up to run->stop was written or the run has failed: `simulate` must return. */
static inline bool rdk_done(const rdk_run *run) { return run->done; }

#endif
