#include "chunk_writer.h"

#include "block_header.h"

/* BFINAL and BTYPE of RFC 1951 3.2.3, in the order in which they are written. */
enum { BLOCK_HEAD_BITS = 3, TYPE_FIXED = 1 << 1, TYPE_DYNAMIC = 2 << 1 };

void rdk_ask_model(rdk_run *run, uint8_t want) {
    rdk_block *block = &run->replay->block;
    if (want != RDK_AUTO) rdk_count_symbols(block); /* an earlier answer may have changed the counts */
    block->header_bits = 0;
    block->kind = want;
    if (want != RDK_STORED && want != RDK_FIXED && want != RDK_REUSE && want != RDK_REUSE_LITERALS)
        run->model->choose(run, block, want);
}

void rdk_use_verbatim_header(rdk_replay *replay, uint8_t kind, const uint8_t *header, size_t length, uint32_t bits) {
    rdk_block *block = &replay->block;
    size_t bytes = (bits + 7) / 8;
    bool truncated;
    if (bits > RDK_HEADER_BYTES * 8 || bytes > length ||
        rdk_read_header(header, bytes, 0, block->literal_lengths, block->distance_lengths, &truncated) != bits) {
        replay->status = RDK_E_CORRUPT;
        return;
    }
    memset(block->header, 0, sizeof block->header);
    memcpy(block->header, header, bytes);
    block->header_bits = bits;
    block->kind = kind;
}

void rdk_end_open_block(rdk_replay *replay) {
    if (!replay->open) return;
    rdk_bits_put(&replay->bits, replay->codes.end_of_block.code, replay->codes.end_of_block.bits);
    replay->open = false;
}

/* A stored block is its length and the complement of that, then the bytes (RFC 1951 3.2.4). */
static void write_stored(rdk_replay *replay) {
    const rdk_block *block = &replay->block;
    uint32_t length = block->plain_length;
    if (length > RDK_STORED_BYTES_MAX) {
        replay->status = RDK_E_CORRUPT;
        return;
    }
    rdk_bits_put(&replay->bits, block->final ? 1 : 0, BLOCK_HEAD_BITS);
    rdk_bits_align(&replay->bits);
    rdk_bits_put(&replay->bits, length | (uint64_t)(~length & 0xffff) << 16, 32);
    rdk_bits_bytes(&replay->bits, block->plain, length);
}

static void write_symbols(rdk_replay *replay) {
    const rdk_block *block = &replay->block;
    if (block->kind == RDK_LITERALS || block->kind == RDK_VERBATIM_LITERALS || block->kind == RDK_REUSE_LITERALS)
        rdk_put_literals(&replay->bits, &replay->codes, block->plain, block->plain_length);
    else rdk_put_tokens(&replay->bits, &replay->codes, block->tokens, block->token_count);
}

void rdk_write_chunk(rdk_replay *replay) {
    const rdk_block *block = &replay->block;
    if (block->kind == RDK_REUSE || block->kind == RDK_REUSE_LITERALS) {
        if (replay->open) write_symbols(replay);
        else replay->status = RDK_E_CORRUPT;
        return;
    }
    rdk_end_open_block(replay);
    if (block->kind == RDK_STORED) {
        write_stored(replay);
        return;
    }
    if (block->kind == RDK_FIXED) {
        rdk_bits_put(&replay->bits, TYPE_FIXED | block->final, BLOCK_HEAD_BITS);
        rdk_codes_build(&replay->codes, rdk_fixed_literal_lengths, rdk_fixed_distance_lengths);
    } else {
        rdk_bits_put(&replay->bits, TYPE_DYNAMIC | block->final, BLOCK_HEAD_BITS);
        rdk_bits_copy(&replay->bits, block->header, 0, block->header_bits);
        rdk_codes_build(&replay->codes, block->literal_lengths, block->distance_lengths);
    }
    replay->open = true;
    write_symbols(replay);
}
