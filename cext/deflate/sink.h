/* The driver behind a run: where emitted tokens go. Shared by run.c (what models call) and recipe.c. */
#ifndef RDK_DEFLATE_SINK_H
#define RDK_DEFLATE_SINK_H

#include "bits.h"

#define RDK_NOTE_FINAL 0x80 /* in a chunk's note: BFINAL */

/* A correction: at this position the encoder emitted that token. */
typedef struct rdk_fix {
    uint32_t position;
    rdk_token token;
} rdk_fix;

/* A chunk as the recipe (or the plan) states it. */
typedef struct rdk_piece {
    uint32_t stop;        /* position; equal to the one before: an empty block */
    uint8_t note;         /* rdk_kind | RDK_NOTE_FINAL */
    uint32_t header_bits; /* VERBATIM only */
    uint32_t header_at;   /* offset of its bytes */
} rdk_piece;

typedef struct rdk_list { /* growing arrays with a bound */
    void *items;
    size_t count, capacity;
} rdk_list;

/* The real segment that a plan follows. */
typedef struct rdk_real {
    const rdk_block_info *blocks;
    size_t block_count;
    const rdk_token *tokens;
    const size_t *first_token; /* per block, with one more at the end */
    const uint32_t *stops;     /* per block: position where it ends */
    const uint8_t *wire;
    size_t wire_length;
    uint32_t bit; /* of the first block in wire[0] */
} rdk_real;

typedef struct rdk_sink {
    int status; /* RDK_OK or why the run is over */
    bool warming;
    rdk_token *tokens; /* of the chunk so far */
    uint32_t chunk_start;
    rdk_bits bits;
    bool open; /* a block whose end-of-block symbol is not written yet */
    rdk_codes codes;
    rdk_block block;
    /* rebuild: what the recipe says */
    const rdk_fix *fixes;
    size_t fix_count, fix_next;
    const rdk_piece *chunks;
    size_t chunk_count, chunk_next;
    bool has_stops;
    const uint8_t *headers;
    size_t headers_length;
    /* plan: what the real stream says, and what was found */
    const rdk_real *real;
    size_t real_block, real_token;
    rdk_list found_fixes, found_chunks, found_headers;
    uint32_t most_fixes;
    uint32_t most_surprises; /* with the fixes: a trial is given up beyond it */
    uint32_t surprises;      /* chunk ends and notes that the model did not predict */
    uint32_t asked_stop;     /* where a grid model's chunk would have ended by its own rule */
    bool literal_chunk;      /* goes on in a block that has matches, but has none itself: its tokens are hidden */
    uint32_t unpredicted; /* of those, at chunk_start: the end there and markers, where the model has not spoken yet */
} rdk_sink;

int rdk_list_add(rdk_list *list, const void *item, size_t item_bytes, size_t most);

/* Prepares the chunk state of run->sink; the caller has filled in bits, the recipe or the real stream. */
void rdk_sink_start(rdk_run *run);
/* After the simulation: trailing empty blocks, the open block's end. */
void rdk_sink_finish(rdk_run *run);
#endif
