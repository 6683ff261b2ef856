/* The tokens of a segment, for whoever reuses them (token_reuse.h, token_delta.h). */
#include <stdlib.h>
#include <string.h>

#include "reducto_kernel.h"
#include "tokens.h"

enum {
    /* As many as 4 MiB in blocks of 1 KiB. Inflate stops behind them, so a segment with more has the wrong length: it
       is no donor. */
    BLOCKS_MAX = 1 << 12,
    /* Space behind the plain bytes, which are only counted, so that inflate's fast loop runs up to their end. */
    SPARE_PLAIN = 320
};

/* Puts one token for each stored block among the others. Returns the new count, 0 if they do not fit. */
static size_t add_stored_spans(const rdk_block_info *blocks, size_t block_count, uint64_t plain_length,
                               uint32_t *tokens, size_t count, size_t capacity) {
    size_t spans = 0, from = count;
    for (size_t i = 0; i < block_count; i++) spans += blocks[i].type == 0;
    if (count + spans > capacity) return 0;
    size_t total = count + spans, to = total;
    for (size_t i = block_count; spans && i-- > 0;) {
        if (blocks[i].type == 0) {
            uint64_t stop = i + 1 < block_count ? blocks[i + 1].plain_start : plain_length;
            tokens[--to] = RDK_STORED_SPAN + (uint32_t)(stop - blocks[i].plain_start);
            spans--;
        } else {
            to -= blocks[i].tokens;
            from -= blocks[i].tokens;
            memmove(tokens + to, tokens + from, blocks[i].tokens * sizeof *tokens);
        }
    }
    return total;
}

int64_t rdk_segment_tokens(const uint8_t *wire, size_t wire_length, uint32_t bit, uint32_t plain_length,
                           uint32_t *tokens, size_t capacity) {
    rdk_inflate *inflate = rdk_inflate_new();
    rdk_block_info *blocks = malloc(BLOCKS_MAX * sizeof *blocks);
    /* Matches reach back before the segment: inflate is told that a window of plain bytes is there. */
    rdk_inflate_io io = {
        .input = wire, .input_length = wire_length, .bit = bit, .plain_used = RDK_WINDOW, .tokens = tokens};
    io.plain_capacity = (size_t)RDK_WINDOW + plain_length + SPARE_PLAIN;
    io.token_capacity = capacity;
    io.blocks = blocks;
    io.block_capacity = BLOCKS_MAX;
    int64_t status = RDK_E_MEMORY;
    if (inflate && blocks) {
        status = rdk_inflate_run(inflate, &io);
        status = io.plain_used - RDK_WINDOW == plain_length ? RDK_OK : RDK_E_CORRUPT;
    }
    if (status == RDK_OK) {
        /* Bits of the next segment, which may share the last byte, can look like a block. */
        while (io.block_used && blocks[io.block_used - 1].plain_start >= plain_length)
            io.token_used -= blocks[--io.block_used].tokens;
        size_t count = add_stored_spans(blocks, io.block_used, plain_length, tokens, io.token_used, capacity);
        status = count || plain_length == 0 ? (int64_t)count : RDK_E_OUTPUT_FULL;
    }
    rdk_inflate_free(inflate);
    free(blocks);
    return status;
}
