#include "chunk_plan.h"

#include "bit_writer.h"
#include "chunk_writer.h"

/* Bytes of all verbatim headers of one segment, at most: a recipe with more of them gains nothing over the raw bits. */
enum { HEADER_BYTES_MAX = 1 << 20 };

bool rdk_is_literal_chunk(const rdk_run *run, uint32_t position, uint32_t stop) {
    const rdk_replay *replay = run->replay;
    const rdk_real_segment *real = replay->real;
    if (!real || replay->warming || !(run->model->flags & RDK_HIDES) || replay->real_block >= real->block_count)
        return false;
    const rdk_block_info *info = &real->blocks[replay->real_block];
    size_t token = replay->real_token, end = token + (stop - position);
    if (!info->has_match || run->offset + position <= info->plain_start) return false;
    if (end > real->first_token[replay->real_block + 1]) return false;
    while (token < end && rdk_token_length(real->tokens[token]) == 0) token++;
    return token == end;
}

/* Tells whether the real stream does not show how the encoder parsed the present chunk. */
static bool is_hidden(const rdk_run *run) {
    const rdk_block_info *info = &run->replay->real->blocks[run->replay->real_block];
    return info->type == 0 || ((run->model->flags & RDK_HIDES) && (!info->has_match || run->replay->literal_chunk));
}

rdk_token rdk_plan_token(rdk_run *run, uint32_t position, rdk_token token) {
    rdk_replay *replay = run->replay;
    const rdk_real_segment *real = replay->real;
    if (is_hidden(run)) return token;
    if (replay->real_token >= real->first_token[replay->real_block + 1]) {
        rdk_replay_fail(run, RDK_E_CORRUPT);
        return token;
    }
    rdk_token actual = real->tokens[replay->real_token++];
    if (actual == token) return token;
    rdk_correction correction = {position, actual};
    int status = rdk_array_add(&replay->found_corrections, &correction, sizeof correction, replay->corrections_max);
    if (status == RDK_OK && replay->found_corrections.count > replay->corrections_max) status = RDK_E_LIMIT;
    if (status != RDK_OK) rdk_replay_fail(run, status);
    return actual;
}

/* ---- chunks ---------------------------------------------------------------------------------------------------- */

static bool same_bits(const uint8_t *a, uint64_t a_bit, const uint8_t *b, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        uint64_t at = a_bit + i;
        if (((a[at >> 3] >> (at & 7)) ^ (b[i >> 3] >> (i & 7))) & 1) return false;
    }
    return true;
}

/* The bit of real->wire at which the block begins. */
static uint64_t real_bit(const rdk_real_segment *real, const rdk_block_info *block) {
    return real->bit + block->bit_start - real->blocks[0].bit_start;
}

static bool has_match(const rdk_block *block) {
    for (uint32_t i = 0; i < block->token_count; i++)
        if (rdk_token_length(block->tokens[i]) != 0) return true;
    return false;
}

/* The real block that the present chunk is in. */
typedef struct real_chunk {
    const rdk_block_info *info;
    bool continues; /* the chunk is not the block's first */
    bool hidden;
} real_chunk;

/* Tells whether what the model makes of the chunk is what the real stream has. */
static bool fits_real(const rdk_replay *replay, const real_chunk *chunk) {
    const rdk_block *block = &replay->block;
    const rdk_block_info *info = chunk->info;
    bool literals = block->kind == RDK_LITERALS;
    if (block->kind == RDK_REUSE_LITERALS) return chunk->continues && chunk->hidden;
    if (block->kind == RDK_REUSE) return chunk->continues && (!chunk->hidden || !has_match(block));
    if (chunk->continues) return false;
    if (info->type == 0) return block->kind == RDK_STORED;
    if (info->type == 1) return block->kind == RDK_FIXED;
    if (block->kind == RDK_STORED || block->kind == RDK_FIXED) return false;
    if (literals && info->has_match) return false;
    if (!literals && !info->has_match && has_match(block)) return false;
    return info->header_bits == block->header_bits + 3 &&
           same_bits(replay->real->wire, real_bit(replay->real, info) + 3, block->header, block->header_bits);
}

/* Adds the real block's header to found_headers. */
static int keep_header(rdk_replay *replay, const rdk_block_info *info, rdk_block_directive *directive) {
    rdk_bit_writer bits;
    uint8_t header[RDK_HEADER_BYTES + 8];
    if (info->header_bits < 3 || info->header_bits - 3 > RDK_HEADER_BYTES * 8) return RDK_E_CORRUPT;
    rdk_bits_open(&bits, header, sizeof header, 0);
    rdk_bits_copy(&bits, replay->real->wire, real_bit(replay->real, info) + 3, info->header_bits - 3);
    rdk_bits_close(&bits);
    directive->header_bits = info->header_bits - 3;
    directive->header_at = (uint32_t)replay->found_headers.count;
    for (uint8_t *at = header; at < bits.at; at++) {
        int status = rdk_array_add(&replay->found_headers, at, 1, HEADER_BYTES_MAX);
        if (status != RDK_OK) return status;
    }
    return RDK_OK;
}

/* The kinds to try, the likeliest first; returns their number. */
static uint8_t list_wants(const rdk_run *run, const real_chunk *chunk, uint8_t *wants) {
    uint8_t count = 0;
    wants[count++] = RDK_AUTO;
    if (chunk->continues) wants[count++] = chunk->hidden ? RDK_REUSE_LITERALS : RDK_REUSE;
    else if (chunk->info->type == 0) wants[count++] = RDK_STORED;
    else if (chunk->info->type == 1) wants[count++] = RDK_FIXED;
    else {
        wants[count++] = RDK_DYNAMIC;
        if (chunk->hidden) wants[count++] = RDK_LITERALS;
        for (uint8_t v = 0; v < run->model->variants && v < 8; v++) wants[count++] = RDK_VARIANT + v;
    }
    return count;
}

void rdk_plan_chunk(rdk_run *run, rdk_block_directive *directive) {
    rdk_replay *replay = run->replay;
    real_chunk chunk = {.info = &replay->real->blocks[replay->real_block], .hidden = is_hidden(run)};
    chunk.continues = run->offset + replay->chunk_start > chunk.info->plain_start;
    uint8_t wants[RDK_VARIANT], count = list_wants(run, &chunk, wants);
    for (uint8_t i = 0; i < count; i++) {
        rdk_ask_model(run, wants[i]);
        if (fits_real(replay, &chunk)) {
            directive->code |= wants[i];
            return;
        }
    }
    if (chunk.info->type != 2 || chunk.continues) { /* STORED, FIXED, REUSE and REUSE_LITERALS always fit */
        rdk_replay_fail(run, RDK_E_CORRUPT);
        return;
    }
    directive->code |= chunk.hidden ? RDK_VERBATIM_LITERALS : RDK_VERBATIM;
    int status = keep_header(replay, chunk.info, directive);
    if (status != RDK_OK) {
        rdk_replay_fail(run, status);
        return;
    }
    rdk_use_verbatim_header(replay, rdk_directive_kind(directive),
                            (const uint8_t *)replay->found_headers.items + directive->header_at,
                            replay->found_headers.count - directive->header_at, directive->header_bits);
}
