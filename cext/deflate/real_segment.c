#include "real_segment.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum {
    /* As many as 4 MiB in blocks of 64 bytes. Inflate stops behind them, so a segment with more has the wrong length
     * and is RDK_E_CORRUPT: its recipe is the raw bits. */
    BLOCKS_MAX = 1 << 16,
    /* Space behind the plain bytes and the tokens, so that inflate's fast loop runs up to their end. */
    SPARE_PLAIN = 320,
    SPARE_TOKENS = 16
};

/* Finds where each block's tokens and plain bytes are. Bits behind the segment's end can look like another block. */
static int index_blocks(rdk_real_segment *real, const rdk_segment *segment, uint64_t wire_bits, size_t block_used,
                        size_t token_used) {
    size_t token = 0, count = 0;
    real->first_token = calloc(block_used + 2, sizeof *real->first_token);
    real->stops = calloc(block_used + 2, sizeof *real->stops);
    if (real->first_token == NULL || real->stops == NULL) return RDK_E_MEMORY;
    while (count < block_used && real->blocks[count].bit_start < wire_bits) count++;
    for (size_t i = 0; i < count; i++) {
        uint64_t stop = i + 1 < count ? segment->start + real->blocks[i + 1].plain_start : segment->stop;
        if (!real->blocks[i].ended || stop > segment->stop) return RDK_E_CORRUPT;
        real->first_token[i] = token;
        if (real->blocks[i].type != 0) token += real->blocks[i].tokens;
        real->stops[i] = (uint32_t)stop;
    }
    real->first_token[count] = token;
    real->block_count = count;
    return count > 0 && token <= token_used ? RDK_OK : RDK_E_CORRUPT;
}

/* Inflates the wire bits behind the window before the segment, and compares. */
static int inflate_segment(const rdk_segment *segment, rdk_inflate *inflate, rdk_inflate_io *io, uint8_t *plain) {
    size_t history = io->plain_used, length = segment->stop - segment->start;
    io->plain = plain;
    if (history) memcpy(plain, segment->plain + segment->start - history, history);
    int status = rdk_inflate_run(inflate, io);
    if (status < 0) return status;
    if (io->plain_used - history != length) return RDK_E_CORRUPT;
    bool same = length == 0 || memcmp(plain + history, segment->plain + segment->start, length) == 0;
    return same ? RDK_OK : RDK_E_CORRUPT;
}

int rdk_real_segment_read(const rdk_segment *segment, const uint8_t *wire, size_t wire_length, uint64_t wire_bits,
                          rdk_real_segment *real) {
    size_t length = segment->stop - segment->start, history = segment->start < RDK_WINDOW ? segment->start : RDK_WINDOW;
    rdk_inflate_io io = {.input = wire, .input_length = wire_length, .bit = segment->bit, .plain_used = history};
    io.plain_capacity = history + length + SPARE_PLAIN;
    io.token_capacity = length + SPARE_TOKENS;
    io.block_capacity = BLOCKS_MAX;
    rdk_inflate *inflate = rdk_inflate_new();
    uint8_t *plain = malloc(io.plain_capacity);
    *real = (rdk_real_segment){.wire = wire, .bit = segment->bit};
    real->tokens = io.tokens = malloc(io.token_capacity * sizeof *real->tokens);
    real->blocks = io.blocks = malloc(BLOCKS_MAX * sizeof *real->blocks);
    int status = RDK_E_MEMORY;
    if (inflate && plain && real->tokens && real->blocks) status = inflate_segment(segment, inflate, &io, plain);
    if (status == RDK_OK) status = index_blocks(real, segment, wire_bits, io.block_used, io.token_used);
    rdk_inflate_free(inflate);
    free(plain);
    for (size_t i = 0; status == RDK_OK && i < real->block_count; i++)
        real->blocks[i].plain_start += segment->offset + segment->start;
    return status;
}

void rdk_real_segment_free(rdk_real_segment *real) {
    free(real->blocks);
    free(real->tokens);
    free(real->first_token);
    free(real->stops);
}
