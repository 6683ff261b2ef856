/* The driver of a simulation: takes the model's tokens and chunk ends, applies or finds corrections, writes the bits.
 *
 * Chunk ends come from one of three places: the model (a rebuild without stops), the recipe's list of chunks, or the
 * real stream (a plan). In the last two a token never crosses the end: it is cut to a literal. */
#include <stdlib.h>

#include "sink.h"

static void fail(rdk_run *run, int status) {
    if (run->sink->status == RDK_OK) run->sink->status = status;
    run->done = true;
}

void rdk_refuse(rdk_run *run) { fail(run, RDK_E_CORRUPT); }

int rdk_list_add(rdk_list *list, const void *item, size_t item_bytes, size_t most) {
    if (list->count == list->capacity) {
        size_t capacity = list->capacity ? 2 * list->capacity : 64;
        void *items;
        if (list->count >= most) return RDK_E_LIMIT;
        items = realloc(list->items, capacity * item_bytes);
        if (items == NULL) return RDK_E_MEMORY;
        list->items = items;
        list->capacity = capacity;
    }
    memcpy((uint8_t *)list->items + list->count * item_bytes, item, item_bytes);
    list->count++;
    return RDK_OK;
}

/* ---- where the current chunk must end -------------------------------------------------------------------------- */

static bool explicit_stops(const rdk_sink *sink) { return sink->real != NULL || sink->has_stops; }

/* The position that no token may cross. */
static uint32_t barrier(const rdk_run *run) {
    const rdk_sink *sink = run->sink;
    if (sink->warming) return run->start;
    if (sink->real) return sink->real_block < sink->real->block_count ? sink->real->stops[sink->real_block] : run->stop;
    if (sink->has_stops && sink->chunk_next < sink->chunk_count) return sink->chunks[sink->chunk_next].stop;
    return run->stop;
}

/* Recomputes what the inline emit tests. */
static void set_guard(rdk_run *run) {
    rdk_sink *sink = run->sink;
    uint32_t guard = barrier(run);
    guard = guard ? guard - 1 : 0;
    if (sink->real && !sink->warming) guard = 0;
    if (!sink->warming && sink->fix_next < sink->fix_count && sink->fixes[sink->fix_next].position < guard)
        guard = sink->fixes[sink->fix_next].position;
    run->guard = guard;
    uint32_t most = RDK_BLOCK_TOKENS_MAX;
    if (run->block_tokens && !explicit_stops(sink) && !sink->warming) most = run->block_tokens;
    run->alarm = sink->tokens + most - 1;
}

void rdk_sink_start(rdk_run *run) {
    rdk_sink *sink = run->sink;
    sink->warming = run->begin < run->start;
    sink->chunk_start = run->start;
    run->next = sink->tokens;
    run->guard = 0; /* the first emit goes the slow way: `block_tokens` is not known yet */
    run->alarm = sink->tokens;
}

/* Is [position, stop) of the real stream a later part of a block, and all literals, though the block has matches
 * elsewhere? */
static bool is_literal_chunk(const rdk_run *run, uint32_t position, uint32_t stop) {
    const rdk_sink *sink = run->sink;
    const rdk_real *real = sink->real;
    if (!real || sink->warming || !(run->model->flags & RDK_HIDES) || sink->real_block >= real->block_count)
        return false;
    const rdk_block_info *info = &real->blocks[sink->real_block];
    size_t token = sink->real_token, end = token + (stop - position);
    if (!info->has_match || run->offset + position <= info->plain_start) return false;
    if (end > real->first_token[sink->real_block + 1]) return false;
    while (token < end && rdk_token_length(real->tokens[token]) == 0) token++;
    return token == end;
}

/* Does the real stream not tell how the encoder parsed the chunk in hand? */
static bool is_hidden(const rdk_run *run) {
    const rdk_block_info *info = &run->sink->real->blocks[run->sink->real_block];
    return info->type == 0 || ((run->model->flags & RDK_HIDES) && (!info->has_match || run->sink->literal_chunk));
}

uint32_t rdk_chunk_stop(const rdk_run *run, uint32_t position, uint32_t most) {
    uint32_t stop = barrier(run);
    run->sink->asked_stop = position + most;
    if (stop - position > most) stop = position + most;
    run->sink->literal_chunk = is_literal_chunk(run, position, stop);
    return stop;
}

uint32_t rdk_horizon(const rdk_run *run, uint32_t position) {
    const rdk_sink *sink = run->sink;
    uint32_t before = sink->chunk_start;
    if (sink->real && !sink->warming)
        for (size_t i = sink->real_block; i < sink->real->block_count; i++) {
            if (sink->real->stops[i] == before && before > position && !sink->real->blocks[i].final) return before;
            before = sink->real->stops[i];
        }
    else if (sink->has_stops && !sink->warming)
        for (size_t i = sink->chunk_next; i < sink->chunk_count; i++) {
            if (sink->chunks[i].stop == before && before > position && !(sink->chunks[i].note & RDK_NOTE_FINAL))
                return before;
            before = sink->chunks[i].stop;
        }
    return run->ends ? run->length : UINT32_MAX;
}

/* ---- writing one chunk ----------------------------------------------------------------------------------------- */

static void end_open_block(rdk_sink *sink) {
    if (!sink->open) return;
    rdk_bits_put(&sink->bits, sink->codes.end_of_block.code, sink->codes.end_of_block.bits);
    sink->open = false;
}

static void write_stored(rdk_sink *sink, const rdk_block *block) {
    uint32_t length = block->plain_length;
    if (length > 65535) {
        sink->status = RDK_E_CORRUPT;
        return;
    }
    rdk_bits_put(&sink->bits, block->final ? 1 : 0, 3);
    rdk_bits_align(&sink->bits);
    rdk_bits_put(&sink->bits, length | (uint64_t)(~length & 0xffff) << 16, 32);
    rdk_bits_bytes(&sink->bits, block->plain, length);
}

static void write_block(rdk_sink *sink, const rdk_block *block) {
    static const uint8_t fixed_distances[32] = {5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5,
                                                5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5};
    bool reuse = block->kind == RDK_REUSE || block->kind == RDK_REUSE_LITERALS;
    bool literals =
        block->kind == RDK_LITERALS || block->kind == RDK_VERBATIM_LITERALS || block->kind == RDK_REUSE_LITERALS;
    if (reuse) {
        if (!sink->open) {
            sink->status = RDK_E_CORRUPT;
            return;
        }
    } else {
        end_open_block(sink);
        if (block->kind == RDK_STORED) {
            write_stored(sink, block);
            return;
        }
        if (block->kind == RDK_FIXED) {
            rdk_bits_put(&sink->bits, block->final ? 3 : 2, 3);
            rdk_codes_build(&sink->codes, rdk_fixed_literal_lengths, fixed_distances);
        } else {
            rdk_bits_put(&sink->bits, block->final ? 5 : 4, 3);
            rdk_bits_copy(&sink->bits, block->header, 0, block->header_bits);
            rdk_codes_build(&sink->codes, block->literal_lengths, block->distance_lengths);
        }
        sink->open = true;
    }
    if (literals) rdk_put_literals(&sink->bits, &sink->codes, block->plain, block->plain_length);
    else rdk_put_tokens(&sink->bits, &sink->codes, block->tokens, block->token_count);
}

/* Without branches on the kind of token, which nothing predicts; neighbours count apart, for one counter is not ready
 * for the next. */
static void count_symbols(rdk_block *block) {
    uint32_t lengths[2][RDK_TOKEN_KINDS] = {{0}}, distances[2][32] = {{0}};
    memset(block->literal_counts, 0, sizeof block->literal_counts);
    for (uint32_t i = 0; i < block->token_count; i++) {
        rdk_token token = block->tokens[i];
        lengths[i & 1][rdk_token_kind(token)]++;
        distances[i & 1][rdk_distance_code(((token - 1) & 0x7fff) + 1)] += rdk_token_length(token) != 0;
    }
    for (uint32_t i = 0; i < 256; i++) block->literal_counts[i] = lengths[0][i] + lengths[1][i];
    for (uint32_t i = RDK_MATCH_MIN; i <= RDK_MATCH_MAX; i++)
        block->literal_counts[257 + rdk_length_code(i)] += lengths[0][256 + i] + lengths[1][256 + i];
    for (uint32_t i = 0; i < 32; i++) block->distance_counts[i] = distances[0][i] + distances[1][i];
    block->literal_counts[RDK_END_OF_BLOCK] = 1;
}

static void ask(rdk_run *run, uint8_t want) {
    rdk_block *block = &run->sink->block;
    if (want != RDK_AUTO) count_symbols(block); /* an earlier answer may have changed the counts */
    block->header_bits = 0;
    block->kind = want;
    if (want != RDK_STORED && want != RDK_FIXED && want != RDK_REUSE && want != RDK_REUSE_LITERALS)
        run->model->choose(run, block, want);
}

static void take_verbatim(rdk_sink *sink, rdk_block *block, uint8_t kind, const uint8_t *header, size_t length,
                          uint32_t bits) {
    uint32_t literals, distances;
    bool truncated;
    if (bits > RDK_HEADER_BYTES * 8 || (bits + 7) / 8 > length ||
        rdk_read_header(header, (bits + 7) / 8, 0, block->literal_lengths, block->distance_lengths, &literals,
                        &distances, &truncated) != bits) {
        sink->status = RDK_E_CORRUPT;
        return;
    }
    memset(block->header, 0, sizeof block->header);
    memcpy(block->header, header, (bits + 7) / 8);
    block->header_bits = bits;
    block->kind = kind;
}

/* ---- planning one chunk ---------------------------------------------------------------------------------------- */

static bool same_bits(const uint8_t *a, uint64_t a_bit, const uint8_t *b, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        uint64_t at = a_bit + i;
        if (((a[at >> 3] >> (at & 7)) ^ (b[i >> 3] >> (i & 7))) & 1) return false;
    }
    return true;
}

static uint64_t real_bit(const rdk_real *real, const rdk_block_info *block) {
    return real->bit + block->bit_start - real->blocks[0].bit_start;
}

static bool has_match(const rdk_block *block) {
    for (uint32_t i = 0; i < block->token_count; i++)
        if (rdk_token_length(block->tokens[i]) != 0) return true;
    return false;
}

static bool fits_real(const rdk_sink *sink, const rdk_block *block, const rdk_block_info *info, bool continues,
                      bool hidden) {
    bool literals = block->kind == RDK_LITERALS;
    if (block->kind == RDK_REUSE_LITERALS) return continues && hidden;
    if (block->kind == RDK_REUSE) return continues && (!hidden || !has_match(block));
    if (continues) return false;
    if (info->type == 0) return block->kind == RDK_STORED;
    if (info->type == 1) return block->kind == RDK_FIXED;
    if (block->kind == RDK_STORED || block->kind == RDK_FIXED) return false;
    if (literals && info->has_match) return false;
    if (!literals && !info->has_match && has_match(block)) return false;
    return info->header_bits == block->header_bits + 3 &&
           same_bits(sink->real->wire, real_bit(sink->real, info) + 3, block->header, block->header_bits);
}

static int keep_header(rdk_sink *sink, const rdk_block_info *info, rdk_piece *chunk) {
    rdk_bits bits;
    uint8_t header[RDK_HEADER_BYTES + 8];
    if (info->header_bits < 3 || info->header_bits - 3 > RDK_HEADER_BYTES * 8) return RDK_E_CORRUPT;
    rdk_bits_open(&bits, header, sizeof header, 0);
    rdk_bits_copy(&bits, sink->real->wire, real_bit(sink->real, info) + 3, info->header_bits - 3);
    rdk_bits_close(&bits);
    chunk->header_bits = info->header_bits - 3;
    chunk->header_at = (uint32_t)sink->found_headers.count;
    for (uint8_t *at = header; at < bits.at; at++) {
        int status = rdk_list_add(&sink->found_headers, at, 1, 1 << 20);
        if (status != RDK_OK) return status;
    }
    return RDK_OK;
}

/* Finds the note with which the model's chunk becomes what the real stream has here, and leaves the answer in `block`.
 */
static void plan_chunk(rdk_run *run, rdk_piece *chunk) {
    rdk_sink *sink = run->sink;
    const rdk_block_info *info = &sink->real->blocks[sink->real_block];
    uint64_t here = run->offset + sink->chunk_start;
    bool continues = here > info->plain_start, hidden = is_hidden(run);
    uint8_t wants[RDK_VARIANT + 8], count = 0;
    wants[count++] = RDK_AUTO;
    if (continues) wants[count++] = hidden ? RDK_REUSE_LITERALS : RDK_REUSE;
    else if (info->type == 0) wants[count++] = RDK_STORED;
    else if (info->type == 1) wants[count++] = RDK_FIXED;
    else {
        wants[count++] = RDK_DYNAMIC;
        if (hidden) wants[count++] = RDK_LITERALS;
        for (uint8_t v = 0; v < run->model->variants && v < 8; v++) wants[count++] = RDK_VARIANT + v;
    }
    for (uint8_t i = 0; i < count; i++) {
        ask(run, wants[i]);
        if (fits_real(sink, &sink->block, info, continues, hidden)) {
            chunk->note |= wants[i];
            return;
        }
    }
    if (info->type != 2 || continues) { /* STORED, FIXED, REUSE and REUSE_LITERALS always fit */
        fail(run, RDK_E_CORRUPT);
        return;
    }
    chunk->note |= hidden ? RDK_VERBATIM_LITERALS : RDK_VERBATIM;
    int status = keep_header(sink, info, chunk);
    if (status != RDK_OK) {
        fail(run, status);
        return;
    }
    take_verbatim(sink, &sink->block, chunk->note & 0x1f, (const uint8_t *)sink->found_headers.items + chunk->header_at,
                  sink->found_headers.count - chunk->header_at, chunk->header_bits);
}

/* ---- closing a chunk ------------------------------------------------------------------------------------------- */

static void replay_chunk(rdk_run *run, const rdk_piece *chunk) {
    rdk_sink *sink = run->sink;
    uint8_t kind = chunk->note & 0x1f;
    if (kind == RDK_VERBATIM || kind == RDK_VERBATIM_LITERALS)
        take_verbatim(sink, &sink->block, kind, sink->headers + chunk->header_at,
                      sink->headers_length - chunk->header_at, chunk->header_bits);
    else ask(run, kind);
}

/* Closes the chunk [chunk_start, position). `kind` and `final` are the model's; a recipe or a real stream overrules
 * them. */
static void close_chunk(rdk_run *run, uint32_t position, uint8_t kind, bool final) {
    rdk_sink *sink = run->sink;
    rdk_block *block = &sink->block;
    rdk_piece found = {.stop = position};
    const rdk_piece *stated = NULL;
    if (sink->real)
        final = position == sink->real->stops[sink->real_block] && sink->real->blocks[sink->real_block].final;
    else if (sink->chunks) {
        if (sink->chunk_next >= sink->chunk_count) {
            fail(run, RDK_E_CORRUPT);
            return;
        }
        stated = &sink->chunks[sink->chunk_next++];
        final = stated->note & RDK_NOTE_FINAL;
    }
    block->tokens = sink->tokens;
    block->token_count = (uint32_t)(run->next - sink->tokens);
    block->plain = run->plain + sink->chunk_start;
    block->plain_length = position - sink->chunk_start;
    block->plain_offset = run->offset + sink->chunk_start;
    block->final = final;
    count_symbols(block);
    if (sink->real) {
        if (final) found.note |= RDK_NOTE_FINAL;
        plan_chunk(run, &found);
        bool counted = run->block_tokens && block->token_count == run->block_tokens,
             grid = run->model->flags & RDK_GRID;
        bool cut = grid && position < sink->asked_stop && !(run->ends && position == run->length);
        bool empty = position == sink->chunk_start, by_itself = !grid && !counted && position != run->stop;
        if (!empty) sink->unpredicted = 0;
        sink->unpredicted += by_itself || (empty && !grid);
        sink->surprises += by_itself || cut || (empty && !grid) || (found.note & 0x1f) != RDK_AUTO;
        if (sink->found_fixes.count + sink->surprises > sink->most_surprises) fail(run, RDK_E_LIMIT);
        if (!run->done && (sink->status = rdk_list_add(&sink->found_chunks, &found, sizeof found, 1 << 17)) != RDK_OK)
            run->done = true;
    } else if (stated) {
        replay_chunk(run, stated);
    } else {
        ask(run, kind);
    }
    if (run->done || sink->status != RDK_OK) {
        run->done = true;
        return;
    }
    if (run->model->chosen) run->model->chosen(run, block);
    write_block(sink, block);
    if (sink->bits.full && sink->status == RDK_OK) sink->status = RDK_E_OUTPUT_FULL;
    if (sink->status != RDK_OK) run->done = true;
    sink->chunk_start = position;
    run->next = sink->tokens;
    if (sink->real && sink->literal_chunk) sink->real_token += block->plain_length;
    sink->literal_chunk = false;
    if (sink->real && position == sink->real->stops[sink->real_block]) {
        sink->real_block++;
        if (sink->real_block < sink->real->block_count) sink->real_token = sink->real->first_token[sink->real_block];
    }
}

/* Empty blocks that the recipe or the real stream has at this position; then whether the segment is complete. */
static void settle(rdk_run *run, uint32_t position) {
    rdk_sink *sink = run->sink;
    while (!run->done && explicit_stops(sink)) {
        bool more = sink->real
                        ? sink->real_block < sink->real->block_count && sink->real->stops[sink->real_block] == position
                        : sink->chunk_next < sink->chunk_count && sink->chunks[sink->chunk_next].stop == position;
        if (!more) break;
        close_chunk(run, position, RDK_AUTO, false);
    }
    if (position >= run->stop && (explicit_stops(sink) || !run->last)) run->done = true;
    set_guard(run);
}

void rdk_sink_finish(rdk_run *run) {
    rdk_sink *sink = run->sink;
    if (sink->status != RDK_OK) return;
    if (explicit_stops(sink) && sink->chunk_start == run->stop) {
        run->done = false;
        settle(run, run->stop);
    }
    if (sink->status == RDK_OK && sink->chunk_start != run->stop) sink->status = RDK_E_CORRUPT;
    if (sink->status == RDK_OK) end_open_block(sink);
    if (sink->bits.full) sink->status = RDK_E_OUTPUT_FULL;
}

void rdk_end_block(rdk_run *run, uint32_t position) {
    rdk_sink *sink = run->sink;
    if (sink->warming || run->done) {
        if (sink->warming) run->next = sink->tokens;
        return;
    }
    if (explicit_stops(sink) && !(run->model->flags & RDK_GRID)) {
        if (position == sink->chunk_start)
            sink->surprises -= sink->unpredicted; /* the end was predicted, markers and all */
        else sink->surprises++;
        sink->unpredicted = 0;
        return;
    }
    if (position > sink->chunk_start) close_chunk(run, position, RDK_AUTO, false);
    settle(run, position);
}

void rdk_marker(rdk_run *run, uint32_t position, uint8_t kind, bool final) {
    rdk_sink *sink = run->sink;
    bool done = run->done; /* at run->stop; the empty blocks there still belong to the segment */
    if (sink->warming || explicit_stops(sink) || sink->status != RDK_OK) return;
    run->done = false;
    if (position > sink->chunk_start) close_chunk(run, position, RDK_AUTO, false);
    if (sink->status == RDK_OK) close_chunk(run, position, kind, final);
    if (done || final) run->done = true;
}

uint32_t rdk_bit_phase(const rdk_run *run) {
    const rdk_sink *sink = run->sink;
    return (sink->bits.held + (sink->open ? sink->codes.end_of_block.bits : 0)) & 7;
}

void rdk_end_final(rdk_run *run) {
    rdk_sink *sink = run->sink;
    if (explicit_stops(sink)) {
        if (run->model->flags & RDK_GRID) rdk_end_block(run, run->stop);
        return;
    }
    if (sink->status == RDK_OK) close_chunk(run, run->stop, RDK_AUTO, true);
    run->done = true;
}

/* ---- tokens ---------------------------------------------------------------------------------------------------- */

/* The real stream's token at `position`, or `token` itself where tokens are hidden. */
static rdk_token follow(rdk_run *run, uint32_t position, rdk_token token) {
    rdk_sink *sink = run->sink;
    const rdk_real *real = sink->real;
    if (is_hidden(run)) return token;
    if (sink->real_token >= real->first_token[sink->real_block + 1]) {
        fail(run, RDK_E_CORRUPT);
        return token;
    }
    rdk_token actual = real->tokens[sink->real_token++];
    if (actual == token) return token;
    rdk_fix fix = {position, actual};
    int status = rdk_list_add(&sink->found_fixes, &fix, sizeof fix, sink->most_fixes);
    if (status == RDK_OK && sink->found_fixes.count > sink->most_fixes) status = RDK_E_LIMIT;
    if (status != RDK_OK) fail(run, status);
    return actual;
}

uint32_t rdk_emit_slow(rdk_run *run, uint32_t position, rdk_token token) {
    rdk_sink *sink = run->sink;
    if (run->done) return run->stop;
    if (sink->warming) {
        uint32_t reached = position + rdk_token_span(token);
        if (run->next >= sink->tokens + RDK_BLOCK_TOKENS_MAX - 1) run->next = sink->tokens;
        if (reached >= run->start || position >= run->start) {
            sink->warming = false;
            run->next = sink->tokens;
            if (position < run->start) {
                set_guard(run);
                return run->start;
            }
        } else {
            *run->next++ = token;
            set_guard(run);
            return reached;
        }
    }
    if (position >= run->stop) {
        run->done = true;
        return run->stop;
    }
    if (sink->chunk_start == run->start && position == run->start && explicit_stops(sink) && run->next == sink->tokens)
        settle(run, position); /* empty blocks at the very beginning */
    uint32_t limit = barrier(run);
    if (rdk_token_length(token) && position + rdk_token_span(token) > limit) token = run->plain[position];
    if (sink->real) token = follow(run, position, token);
    if (sink->fix_next < sink->fix_count && sink->fixes[sink->fix_next].position <= position) {
        if (sink->fixes[sink->fix_next].position < position) {
            fail(run, RDK_E_CORRUPT);
            return run->stop;
        }
        token = sink->fixes[sink->fix_next++].token;
        if (token == 0) token = run->plain[position];
    }
    uint32_t reached = position + rdk_token_span(token);
    if (reached > limit || run->done) {
        fail(run, RDK_E_CORRUPT);
        return run->stop;
    }
    *run->next++ = token;
    bool by_count =
        run->block_tokens && !explicit_stops(sink) && run->next - sink->tokens >= (ptrdiff_t)run->block_tokens;
    bool by_place = reached == limit && !(run->model->flags & RDK_GRID) && (explicit_stops(sink) || !run->last);
    if (by_count || by_place) {
        close_chunk(run, reached, RDK_AUTO, false);
        settle(run, reached);
    } else if (run->next - sink->tokens >= RDK_BLOCK_TOKENS_MAX) {
        fail(run, RDK_E_LIMIT);
    }
    set_guard(run);
    return run->done ? run->stop : reached;
}

uint32_t rdk_emit_literals(rdk_run *run, uint32_t position, uint32_t to) {
    while (position < to) {
        uint32_t fast = to < run->guard ? to : run->guard;
        rdk_token *next = run->next;
        if (fast > position && run->alarm - next > (ptrdiff_t)(fast - position)) {
            while (position < fast) *next++ = run->plain[position++];
            run->next = next;
            continue;
        }
        uint32_t reached = rdk_emit_literal(run, position);
        if (reached != position + 1) return reached;
        position = reached;
        if (run->done) return position;
    }
    return to;
}
