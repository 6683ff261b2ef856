#include "replay.h"

#include "chunk_plan.h"
#include "chunk_writer.h"

/* Directives that a plan may find: as many as a recipe may have. */
enum { FOUND_DIRECTIVES_MAX = RDK_DIRECTIVES_MAX };

void rdk_reject(rdk_run *run) { rdk_replay_fail(run, RDK_E_CORRUPT); }

/* ---- where the present chunk must end -------------------------------------------------------------------------- */

/* Returns the position that no token may cross. */
static uint32_t token_barrier(const rdk_run *run) {
    const rdk_replay *replay = run->replay;
    const rdk_real_segment *real = replay->real;
    const rdk_segment_recipe *recipe = replay->recipe;
    if (replay->warming) return run->start;
    if (real) return replay->real_block < real->block_count ? real->stops[replay->real_block] : run->stop;
    if (recipe->has_stops && replay->directive_next < recipe->directive_count)
        return recipe->directives[replay->directive_next].stop;
    return run->stop;
}

/* Recomputes what the inline rdk_emit tests. While planning every token takes the slow path, to be compared. */
static void set_guard(rdk_run *run) {
    rdk_replay *replay = run->replay;
    const rdk_segment_recipe *recipe = replay->recipe;
    uint32_t guard = token_barrier(run);
    guard = guard ? guard - 1 : 0;
    if (replay->real && !replay->warming) guard = 0;
    if (!replay->warming && replay->correction_next < recipe->correction_count &&
        recipe->corrections[replay->correction_next].position < guard)
        guard = recipe->corrections[replay->correction_next].position;
    run->guard = guard;
    uint32_t tokens_max = RDK_CHUNK_TOKENS_MAX;
    if (run->block_tokens && !rdk_has_explicit_stops(replay) && !replay->warming) tokens_max = run->block_tokens;
    run->alarm = replay->tokens + tokens_max - 1;
}

void rdk_replay_start(rdk_run *run) {
    rdk_replay *replay = run->replay;
    replay->warming = run->begin < run->start;
    replay->chunk_start = run->start;
    run->next = replay->tokens;
    run->guard = 0; /* the first token takes the slow path, because `block_tokens` is not known yet */
    run->alarm = replay->tokens;
}

uint32_t rdk_chunk_stop(const rdk_run *run, uint32_t position, uint32_t limit) {
    uint32_t stop = token_barrier(run);
    run->replay->model_stop = position + limit;
    if (stop - position > limit) stop = position + limit;
    run->replay->literal_chunk = rdk_is_literal_chunk(run, position, stop);
    return stop;
}

/* A flush shows as an empty block that is not the final one: its stop is the stop before it. */
uint32_t rdk_input_end(const rdk_run *run, uint32_t position) {
    const rdk_replay *replay = run->replay;
    const rdk_real_segment *real = replay->real;
    const rdk_segment_recipe *recipe = replay->recipe;
    uint32_t before = replay->chunk_start;
    if (real && !replay->warming)
        for (size_t i = replay->real_block; i < real->block_count; i++) {
            if (real->stops[i] == before && before > position && !real->blocks[i].final) return before;
            before = real->stops[i];
        }
    else if (recipe->has_stops && !replay->warming)
        for (size_t i = replay->directive_next; i < recipe->directive_count; i++) {
            const rdk_block_directive *directive = &recipe->directives[i];
            if (directive->stop == before && before > position && !(directive->code & RDK_DIRECTIVE_FINAL))
                return before;
            before = directive->stop;
        }
    return run->ends ? run->length : UINT32_MAX;
}

/* ---- closing a chunk ------------------------------------------------------------------------------------------- */

/* Makes replay->block what the directive says. */
static void follow_directive(rdk_run *run, const rdk_block_directive *directive) {
    rdk_replay *replay = run->replay;
    const rdk_segment_recipe *recipe = replay->recipe;
    uint8_t kind = rdk_directive_kind(directive);
    if (kind == RDK_VERBATIM || kind == RDK_VERBATIM_LITERALS)
        rdk_use_verbatim_header(replay, kind, recipe->headers + directive->header_at,
                                recipe->headers_length - directive->header_at, directive->header_bits);
    else rdk_ask_model(run, kind);
}

/* Finds how the real stream has the chunk that ends at `position`, and counts what of it the model did not predict. */
static void plan_directive(rdk_run *run, uint32_t position) {
    rdk_replay *replay = run->replay;
    const rdk_block *block = &replay->block;
    rdk_block_directive found = {.stop = position, .code = block->final ? RDK_DIRECTIVE_FINAL : 0};
    rdk_plan_chunk(run, &found);
    bool counted = run->block_tokens && block->token_count == run->block_tokens, grid = run->model->flags & RDK_GRID;
    bool cut = grid && position < replay->model_stop && !(run->ends && position == run->length);
    bool empty = position == replay->chunk_start, by_itself = !grid && !counted && position != run->stop;
    if (!empty) replay->unconfirmed = 0;
    replay->unconfirmed += by_itself || (empty && !grid);
    replay->mispredictions += by_itself || cut || (empty && !grid) || rdk_directive_kind(&found) != RDK_AUTO;
    if (replay->found_corrections.count + replay->mispredictions > replay->score_max) rdk_replay_fail(run, RDK_E_LIMIT);
    if (run->done) return;
    replay->status = rdk_array_add(&replay->found_directives, &found, sizeof found, FOUND_DIRECTIVES_MAX);
}

/* Fills replay->block with the chunk [chunk_start, position). */
static void begin_block(rdk_run *run, uint32_t position, bool final) {
    rdk_replay *replay = run->replay;
    rdk_block *block = &replay->block;
    block->tokens = replay->tokens;
    block->token_count = (uint32_t)(run->next - replay->tokens);
    block->plain = run->plain + replay->chunk_start;
    block->plain_length = position - replay->chunk_start;
    block->plain_offset = run->offset + replay->chunk_start;
    block->final = final;
    rdk_count_symbols(block);
}

/* The next chunk begins at `position`; so does the next real block if the present one ends there. */
static void begin_chunk(rdk_run *run, uint32_t position) {
    rdk_replay *replay = run->replay;
    const rdk_real_segment *real = replay->real;
    replay->chunk_start = position;
    run->next = replay->tokens;
    if (real && replay->literal_chunk) replay->real_token += replay->block.plain_length;
    replay->literal_chunk = false;
    if (real && position == real->stops[replay->real_block]) {
        replay->real_block++;
        if (replay->real_block < real->block_count) replay->real_token = real->first_token[replay->real_block];
    }
}

/* Closes the chunk [chunk_start, position). `kind` and `final` are the model's; a recipe or a real stream overrules
 * them. */
static void close_chunk(rdk_run *run, uint32_t position, uint8_t kind, bool final) {
    rdk_replay *replay = run->replay;
    const rdk_real_segment *real = replay->real;
    const rdk_block_directive *directive = NULL;
    if (real) {
        final = position == real->stops[replay->real_block] && real->blocks[replay->real_block].final;
    } else if (replay->recipe->has_directives) {
        if (replay->directive_next >= replay->recipe->directive_count) {
            rdk_replay_fail(run, RDK_E_CORRUPT);
            return;
        }
        directive = &replay->recipe->directives[replay->directive_next++];
        final = directive->code & RDK_DIRECTIVE_FINAL;
    }
    begin_block(run, position, final);
    if (real) plan_directive(run, position);
    else if (directive) follow_directive(run, directive);
    else rdk_ask_model(run, kind);
    if (run->done || replay->status != RDK_OK) {
        run->done = true;
        return;
    }
    if (run->model->chosen) run->model->chosen(run, &replay->block);
    rdk_write_chunk(replay);
    if (replay->bits.full && replay->status == RDK_OK) replay->status = RDK_E_OUTPUT_FULL;
    if (replay->status != RDK_OK) run->done = true;
    begin_chunk(run, position);
}

/* Writes the empty blocks that the recipe or the real stream has at this position; then sees whether the segment is
 * complete. */
static void flush_empty_blocks(rdk_run *run, uint32_t position) {
    rdk_replay *replay = run->replay;
    const rdk_real_segment *real = replay->real;
    const rdk_segment_recipe *recipe = replay->recipe;
    while (!run->done && rdk_has_explicit_stops(replay)) {
        bool more = real ? replay->real_block < real->block_count && real->stops[replay->real_block] == position
                         : replay->directive_next < recipe->directive_count &&
                               recipe->directives[replay->directive_next].stop == position;
        if (!more) break;
        close_chunk(run, position, RDK_AUTO, false);
    }
    if (position >= run->stop && (rdk_has_explicit_stops(replay) || !run->last)) run->done = true;
    set_guard(run);
}

void rdk_replay_finish(rdk_run *run) {
    rdk_replay *replay = run->replay;
    if (replay->status != RDK_OK) return;
    if (rdk_has_explicit_stops(replay) && replay->chunk_start == run->stop) {
        run->done = false;
        flush_empty_blocks(run, run->stop);
    }
    if (replay->status == RDK_OK && replay->chunk_start != run->stop) replay->status = RDK_E_CORRUPT;
    if (replay->status == RDK_OK) rdk_end_open_block(replay);
    if (replay->bits.full) replay->status = RDK_E_OUTPUT_FULL;
}

/* ---- what the model says of blocks ----------------------------------------------------------------------------- */

void rdk_end_block(rdk_run *run, uint32_t position) {
    rdk_replay *replay = run->replay;
    if (replay->warming || run->done) {
        if (replay->warming) run->next = replay->tokens;
        return;
    }
    if (rdk_has_explicit_stops(replay) && !(run->model->flags & RDK_GRID)) {
        /* A chunk that ended here was predicted after all, markers and all. */
        if (position == replay->chunk_start) replay->mispredictions -= replay->unconfirmed;
        else replay->mispredictions++;
        replay->unconfirmed = 0;
        return;
    }
    if (position > replay->chunk_start) close_chunk(run, position, RDK_AUTO, false);
    flush_empty_blocks(run, position);
}

void rdk_marker(rdk_run *run, uint32_t position, uint8_t kind, bool final) {
    rdk_replay *replay = run->replay;
    bool done = run->done; /* at run->stop: the empty blocks there still belong to the segment */
    if (replay->warming || rdk_has_explicit_stops(replay) || replay->status != RDK_OK) return;
    run->done = false;
    if (position > replay->chunk_start) close_chunk(run, position, RDK_AUTO, false);
    if (replay->status == RDK_OK) close_chunk(run, position, kind, final);
    if (done || final) run->done = true;
}

uint32_t rdk_bit_phase(const rdk_run *run) {
    const rdk_replay *replay = run->replay;
    return (replay->bits.held + (replay->open ? replay->codes.end_of_block.bits : 0)) & 7;
}

void rdk_end_final(rdk_run *run) {
    rdk_replay *replay = run->replay;
    if (rdk_has_explicit_stops(replay)) {
        if (run->model->flags & RDK_GRID) rdk_end_block(run, run->stop);
        return;
    }
    if (replay->status == RDK_OK) close_chunk(run, run->stop, RDK_AUTO, true);
    run->done = true;
}

/* ---- tokens ---------------------------------------------------------------------------------------------------- */

/* A token before the segment's start, which is thrown away. True: the warm-up goes on, or has just ended inside the
 * token, and *reached is the answer. False: the token belongs to the segment. */
static bool warm_up(rdk_run *run, uint32_t position, rdk_token token, uint32_t *reached) {
    rdk_replay *replay = run->replay;
    *reached = position + rdk_token_span(token);
    if (run->next >= replay->tokens + RDK_CHUNK_TOKENS_MAX - 1) run->next = replay->tokens;
    if (*reached < run->start && position < run->start) {
        *run->next++ = token;
        set_guard(run);
        return true;
    }
    replay->warming = false;
    run->next = replay->tokens;
    if (position >= run->start) return false;
    set_guard(run);
    *reached = run->start;
    return true;
}

/* Returns the recipe's token for `position`, or `token` if it has no correction there. */
static rdk_token corrected(rdk_run *run, uint32_t position, rdk_token token) {
    rdk_replay *replay = run->replay;
    const rdk_segment_recipe *recipe = replay->recipe;
    if (replay->correction_next == recipe->correction_count) return token;
    const rdk_correction *correction = &recipe->corrections[replay->correction_next];
    if (correction->position > position) return token;
    if (correction->position < position) { /* it was inside a token */
        rdk_replay_fail(run, RDK_E_CORRUPT);
        return token;
    }
    replay->correction_next++;
    return correction->token ? correction->token : run->plain[position];
}

uint32_t rdk_emit_slow(rdk_run *run, uint32_t position, rdk_token token) {
    rdk_replay *replay = run->replay;
    uint32_t reached;
    if (run->done) return run->stop;
    if (replay->warming && warm_up(run, position, token, &reached)) return reached;
    if (position >= run->stop) {
        run->done = true;
        return run->stop;
    }
    if (replay->chunk_start == run->start && position == run->start && rdk_has_explicit_stops(replay) &&
        run->next == replay->tokens)
        flush_empty_blocks(run, position); /* those at the very beginning */
    uint32_t barrier = token_barrier(run);
    if (rdk_token_length(token) && position + rdk_token_span(token) > barrier) token = run->plain[position];
    if (replay->real) token = rdk_plan_token(run, position, token);
    token = corrected(run, position, token);
    reached = position + rdk_token_span(token);
    if (reached > barrier || run->done) {
        rdk_replay_fail(run, RDK_E_CORRUPT);
        return run->stop;
    }
    *run->next++ = token;
    bool explicit_stops = rdk_has_explicit_stops(replay);
    bool by_count = run->block_tokens && !explicit_stops && run->next - replay->tokens >= (ptrdiff_t)run->block_tokens;
    bool by_position = reached == barrier && !(run->model->flags & RDK_GRID) && (explicit_stops || !run->last);
    if (by_count || by_position) {
        close_chunk(run, reached, RDK_AUTO, false);
        flush_empty_blocks(run, reached);
    } else if (run->next - replay->tokens >= RDK_CHUNK_TOKENS_MAX) {
        rdk_replay_fail(run, RDK_E_LIMIT);
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
