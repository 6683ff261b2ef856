/* Segment recipes: their bytes, rebuilding with one, finding one.
 *
 * No bytes: the model is right about everything. Otherwise a flag byte, then (numbers are LEB128):
 *   RAW     bit count, the wire bits themselves from bit 0 on
 *   FIXES   count; each: position less the one before (the first less the segment's start), then 0 for a literal, or
 * length, distance CHUNKS  count; with STOPS the plain length of each; a note byte each; for verbatim notes the
 * header's bit count and bits */
#include <stdlib.h>

#include "numbers.h"
#include "sink.h"

enum {
    FLAG_FIXES = 1,
    FLAG_CHUNKS = 2,
    FLAG_STOPS = 4,
    FLAG_RAW = 8,
    FLAGS_ALL = 15,
    FIXES_MOST = 1 << 20,
    PIECES_MOST = 1 << 17
};

const rdk_model *rdk_model_find(int id);

/* ---- reading and writing recipe bytes -------------------------------------------------------------------------- */

typedef struct parsed {
    rdk_fix *fixes;
    rdk_piece *pieces;
    size_t fix_count, piece_count;
    bool has_pieces, has_stops;
} parsed;

static void parsed_free(parsed *recipe) {
    free(recipe->fixes);
    free(recipe->pieces);
}

static int parse_fixes(rdk_reader *in, const rdk_segment *segment, parsed *recipe) {
    uint64_t count = rdk_take_number(in), position = segment->start;
    if (in->bad || count > FIXES_MOST || count > (uint64_t)(in->end - in->at)) return RDK_E_CORRUPT;
    recipe->fixes = calloc(count + 1, sizeof *recipe->fixes);
    if (recipe->fixes == NULL) return RDK_E_MEMORY;
    for (uint64_t i = 0; i < count; i++) {
        position += rdk_take_number(in);
        uint64_t length = rdk_take_number(in), distance = length ? rdk_take_number(in) : 0;
        bool match = length >= RDK_MATCH_MIN && length <= RDK_MATCH_MAX && distance >= 1 && distance <= 32768;
        if (in->bad || position >= segment->stop || (length && !match)) return RDK_E_CORRUPT;
        recipe->fixes[i] = (rdk_fix){(uint32_t)position, RDK_MATCH(length, distance)};
    }
    recipe->fix_count = count;
    return RDK_OK;
}

static int parse_pieces(rdk_reader *in, const rdk_segment *segment, parsed *recipe, const uint8_t *bytes, bool stops) {
    uint64_t count = rdk_take_number(in), position = segment->start;
    if (in->bad || count > PIECES_MOST || count > (uint64_t)(in->end - in->at)) return RDK_E_CORRUPT;
    recipe->pieces = calloc(count + 1, sizeof *recipe->pieces);
    if (recipe->pieces == NULL) return RDK_E_MEMORY;
    for (uint64_t i = 0; stops && i < count; i++) {
        position += rdk_take_number(in);
        if (in->bad || position > segment->stop) return RDK_E_CORRUPT;
        recipe->pieces[i].stop = (uint32_t)position;
    }
    for (uint64_t i = 0; i < count; i++) {
        if (in->at == in->end) return RDK_E_CORRUPT;
        recipe->pieces[i].note = *in->at++;
    }
    for (uint64_t i = 0; i < count; i++) {
        uint8_t kind = recipe->pieces[i].note & 0x1f;
        if (kind != RDK_VERBATIM && kind != RDK_VERBATIM_LITERALS) continue;
        uint64_t bits = rdk_take_number(in);
        if (in->bad || bits > RDK_HEADER_BYTES * 8 || (bits + 7) / 8 > (uint64_t)(in->end - in->at))
            return RDK_E_CORRUPT;
        recipe->pieces[i].header_bits = (uint32_t)bits;
        recipe->pieces[i].header_at = (uint32_t)(in->at - bytes);
        in->at += (bits + 7) / 8;
    }
    recipe->piece_count = count;
    recipe->has_pieces = true;
    recipe->has_stops = stops;
    return RDK_OK;
}

static int parse(const uint8_t *bytes, size_t length, const rdk_segment *segment, parsed *recipe) {
    rdk_reader in = {bytes, bytes + length, false};
    int status = RDK_OK;
    memset(recipe, 0, sizeof *recipe);
    if (length == 0) return RDK_OK;
    uint8_t flags = *in.at++;
    if (flags == 0 || (flags & ~FLAGS_ALL) || (flags & FLAG_RAW)) return RDK_E_CORRUPT;
    if (flags & FLAG_FIXES) status = parse_fixes(&in, segment, recipe);
    if (status == RDK_OK && (flags & FLAG_CHUNKS))
        status = parse_pieces(&in, segment, recipe, bytes, flags & FLAG_STOPS);
    if (status == RDK_OK && in.at != in.end) status = RDK_E_CORRUPT;
    return status;
}

/* ---- running --------------------------------------------------------------------------------------------------- */

static int check_segment(const rdk_segment *segment, const rdk_model **model) {
    *model = rdk_model_find(segment->model);
    if (*model == NULL || segment->bit > 7 || segment->start > segment->stop || segment->stop > segment->length)
        return RDK_E_ARGUMENT;
    if (segment->length > (uint32_t)1 << 30 || (segment->length && segment->plain == NULL)) return RDK_E_ARGUMENT;
    if (segment->last && (!segment->ends || segment->stop != segment->length)) return RDK_E_ARGUMENT;
    return RDK_OK;
}

/* What a rebuild may follow. */
typedef struct beside {
    const rdk_donor_range *donors;
    size_t count;
    const uint8_t *delta;
    size_t delta_length;
} beside;

static const beside nothing = {0};

/* Runs the model; sink->bits and the recipe or real stream are set. Afterwards sink->bits stands behind the last bit.
 */
static int run_model(const rdk_segment *segment, const rdk_model *model, const beside *older, rdk_sink *sink) {
    rdk_run run = {.model = model,
                   .member_param = segment->member_param,
                   .plain = segment->plain,
                   .start = segment->start,
                   .stop = segment->stop,
                   .length = segment->length,
                   .offset = segment->offset,
                   .ends = segment->ends,
                   .last = segment->last,
                   .donors = older->donors,
                   .donor_count = older->count,
                   .delta = older->delta,
                   .delta_length = older->delta_length,
                   .sink = sink};
    uint32_t warmup = model->warmup_bytes < run.start ? model->warmup_bytes : run.start;
    if (model->grid_bytes) warmup -= warmup % model->grid_bytes;
    run.begin = run.start - warmup;
    run.state = calloc(1, model->state_bytes ? model->state_bytes : 1);
    sink->tokens = malloc(RDK_BLOCK_TOKENS_MAX * sizeof *sink->tokens);
    if (run.state == NULL || sink->tokens == NULL) {
        sink->status = RDK_E_MEMORY;
    } else {
        rdk_sink_start(&run);
        if (run.start < run.stop || !sink->real) model->simulate(&run);
        rdk_sink_finish(&run);
    }
    free(sink->tokens);
    free(run.state);
    return sink->status;
}

static int rebuild_raw(const rdk_segment *segment, const uint8_t *recipe, size_t length, rdk_bits *bits) {
    rdk_reader in = {recipe + 1, recipe + length, false};
    uint64_t count = rdk_take_number(&in);
    (void)segment;
    if (in.bad || count > (uint64_t)(in.end - in.at) * 8) return RDK_E_CORRUPT;
    rdk_bits_copy(bits, in.at, 0, count);
    return bits->full ? RDK_E_OUTPUT_FULL : RDK_OK;
}

static int rebuild(const rdk_segment *segment, const beside *older, const uint8_t *recipe, size_t recipe_length,
                   uint8_t *wire, size_t wire_capacity, uint64_t *wire_bits) {
    const rdk_model *model;
    parsed stated = {0};
    int status = check_segment(segment, &model);
    if (status != RDK_OK) return status;
    rdk_sink *sink = calloc(1, sizeof *sink);
    if (sink == NULL) return RDK_E_MEMORY;
    rdk_bits_open(&sink->bits, wire, wire_capacity, segment->bit);
    if (recipe_length > 1 && recipe[0] == FLAG_RAW) {
        status = rebuild_raw(segment, recipe, recipe_length, &sink->bits);
    } else if ((status = parse(recipe, recipe_length, segment, &stated)) == RDK_OK) {
        sink->fixes = stated.fixes;
        sink->fix_count = stated.fix_count;
        sink->chunks = stated.has_pieces ? stated.pieces : NULL;
        sink->chunk_count = stated.piece_count;
        sink->has_stops = stated.has_stops;
        sink->headers = recipe;
        sink->headers_length = recipe_length;
        status = run_model(segment, model, model->flags & RDK_REUSES_TOKENS ? older : &nothing, sink);
        if (status == RDK_OK &&
            (sink->fix_next < sink->fix_count || (sink->chunks && sink->chunk_next < sink->chunk_count)))
            status = RDK_E_CORRUPT;
    }
    *wire_bits = (uint64_t)(sink->bits.at - wire) * 8 + sink->bits.held - segment->bit;
    rdk_bits_close(&sink->bits);
    if (status == RDK_OK && sink->bits.full) status = RDK_E_OUTPUT_FULL;
    parsed_free(&stated);
    free(sink);
    return status;
}

int rdk_segment_rebuild(const rdk_segment *segment, const uint8_t *recipe, size_t recipe_length, uint8_t *wire,
                        size_t wire_capacity, uint64_t *wire_bits) {
    return rebuild(segment, &nothing, recipe, recipe_length, wire, wire_capacity, wire_bits);
}

static int rebuild_beside(const rdk_segment *segment, const beside *older, uint8_t *wire, size_t wire_capacity,
                          uint64_t *wire_bits) {
    for (size_t i = 0; i < older->count; i++) {
        const rdk_donor_range *p = &older->donors[i];
        uint32_t least = i ? p[-1].end : 0;
        bool at_hand = older->delta || p->plain || p->begin == p->end;
        if (p->begin < least || p->begin > p->end || p->end > segment->length || !at_hand) return RDK_E_ARGUMENT;
    }
    return rebuild(segment, older, (const uint8_t *)"", 0, wire, wire_capacity, wire_bits);
}

int rdk_segment_rebuild_reusing(const rdk_segment *segment, const rdk_donor_range *donors, size_t count, uint8_t *wire,
                                size_t wire_capacity, uint64_t *wire_bits) {
    return rebuild_beside(segment, &(beside){donors, count, NULL, 0}, wire, wire_capacity, wire_bits);
}

int rdk_segment_rebuild_by_delta(const rdk_segment *segment, const rdk_donor_range *donors, size_t count,
                                 const uint8_t *delta, size_t delta_length, uint8_t *wire, size_t wire_capacity,
                                 uint64_t *wire_bits) {
    return rebuild_beside(segment, &(beside){donors, count, delta, delta_length}, wire, wire_capacity, wire_bits);
}

/* ---- planning -------------------------------------------------------------------------------------------------- */

static bool same_wire(const uint8_t *a, const uint8_t *b, uint32_t bit, uint64_t bits) {
    uint64_t end = bit + bits, bytes = end / 8;
    uint8_t head = (uint8_t)(0xff << bit), tail = (uint8_t)((1u << (end & 7)) - 1);
    if (bytes == 0) return ((a[0] ^ b[0]) & head & tail) == 0 || bits == 0;
    if ((a[0] ^ b[0]) & head) return false;
    if (memcmp(a + 1, b + 1, bytes - 1) != 0) return false;
    return tail == 0 || ((a[bytes] ^ b[bytes]) & tail) == 0;
}

/* Rebuilds with the candidate recipe and compares with the real bits. */
static bool proves(const rdk_segment *segment, const uint8_t *recipe, size_t recipe_length, const uint8_t *wire,
                   uint64_t wire_bits, uint8_t *scratch, size_t scratch_length) {
    uint64_t bits = 0;
    int status = rdk_segment_rebuild(segment, recipe, recipe_length, scratch, scratch_length, &bits);
    return status == RDK_OK && bits == wire_bits && same_wire(scratch, wire, segment->bit, bits);
}

static size_t write_recipe(const rdk_sink *sink, const rdk_segment *segment, uint8_t flags, uint8_t *at,
                           size_t capacity) {
    const rdk_fix *fixes = sink->found_fixes.items;
    const rdk_piece *pieces = sink->found_chunks.items;
    const uint8_t *headers = sink->found_headers.items;
    rdk_writer out = {at, at + capacity, false};
    uint32_t position = segment->start;
    if (sink->found_fixes.count) flags |= FLAG_FIXES;
    if (flags == 0) return 0;
    rdk_put_byte(&out, flags);
    if (flags & FLAG_FIXES) {
        rdk_put_number(&out, sink->found_fixes.count);
        for (size_t i = 0; i < sink->found_fixes.count; i++) {
            uint32_t length = rdk_token_length(fixes[i].token);
            rdk_put_number(&out, fixes[i].position - position);
            rdk_put_number(&out, length);
            if (length) rdk_put_number(&out, rdk_token_distance(fixes[i].token));
            position = fixes[i].position;
        }
    }
    if (flags & FLAG_CHUNKS) {
        rdk_put_number(&out, sink->found_chunks.count);
        position = segment->start;
        for (size_t i = 0; (flags & FLAG_STOPS) && i < sink->found_chunks.count; position = pieces[i++].stop)
            rdk_put_number(&out, pieces[i].stop - position);
        for (size_t i = 0; i < sink->found_chunks.count; i++) rdk_put_byte(&out, pieces[i].note);
        for (size_t i = 0; i < sink->found_chunks.count; i++) {
            if (pieces[i].header_bits == 0) continue;
            rdk_put_number(&out, pieces[i].header_bits);
            for (uint32_t b = 0; b < (pieces[i].header_bits + 7) / 8; b++)
                rdk_put_byte(&out, headers[pieces[i].header_at + b]);
        }
    }
    return out.full ? SIZE_MAX : (size_t)(out.at - at);
}

static size_t write_raw(const uint8_t *wire, uint32_t bit, uint64_t bits, uint8_t *at, size_t capacity) {
    rdk_writer out = {at, at + capacity, false};
    rdk_bits copy;
    rdk_put_byte(&out, FLAG_RAW);
    rdk_put_number(&out, bits);
    rdk_bits_open(&copy, out.at, (size_t)(out.end - out.at), 0);
    rdk_bits_copy(&copy, wire, bit, bits);
    rdk_bits_close(&copy);
    return out.full || copy.full ? SIZE_MAX : (size_t)(copy.at - at);
}

typedef struct reading { /* the real segment, inflated again with its tokens */
    rdk_block_info *blocks;
    rdk_token *tokens;
    size_t *first_token;
    uint32_t *stops;
    uint8_t *plain;
    size_t block_count;
} reading;

static void reading_free(reading *real) {
    free(real->blocks);
    free(real->tokens);
    free(real->first_token);
    free(real->stops);
    free(real->plain);
}

static int index_blocks(reading *real, const rdk_segment *segment, uint64_t wire_bits, size_t block_used,
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

static int read_real(const rdk_segment *segment, const uint8_t *wire, size_t wire_length, uint64_t wire_bits,
                     reading *real) {
    enum { BLOCKS_MOST = 1 << 16 };
    uint32_t history = segment->start < 32768 ? segment->start : 32768, length = segment->stop - segment->start;
    rdk_inflate *inflate = rdk_inflate_new();
    rdk_inflate_io io = {.input = wire, .input_length = wire_length, .bit = segment->bit, .plain_used = history};
    io.plain_capacity = (size_t)history + length + 320;
    io.token_capacity = (size_t)length + 16;
    io.block_capacity = BLOCKS_MOST;
    real->plain = malloc(io.plain_capacity);
    real->tokens = malloc(io.token_capacity * sizeof *real->tokens);
    real->blocks = malloc(BLOCKS_MOST * sizeof *real->blocks);
    int status = RDK_E_MEMORY;
    if (inflate && real->plain && real->tokens && real->blocks) {
        io.plain = real->plain;
        io.tokens = real->tokens;
        io.blocks = real->blocks;
        if (history) memcpy(real->plain, segment->plain + segment->start - history, history);
        status = rdk_inflate_run(inflate, &io);
        if (status >= 0) status = io.plain_used - history == length ? RDK_OK : RDK_E_CORRUPT;
        if (status == RDK_OK && length && memcmp(real->plain + history, segment->plain + segment->start, length) != 0)
            status = RDK_E_CORRUPT;
        if (status == RDK_OK) status = index_blocks(real, segment, wire_bits, io.block_used, io.token_used);
    }
    rdk_inflate_free(inflate);
    for (size_t i = 0; status == RDK_OK && i < real->block_count; i++)
        real->blocks[i].plain_start += segment->offset + segment->start;
    return status;
}

/* Follows the real tokens once; what was found is left in `sink`, which `sink_free` releases. */
static int follow_real(const rdk_segment *segment, const rdk_model *model, const reading *real, const uint8_t *wire,
                       size_t wire_length, uint32_t most_fixes, rdk_sink *sink, uint8_t *scratch,
                       size_t scratch_length) {
    rdk_real view = {.blocks = real->blocks,
                     .block_count = real->block_count,
                     .tokens = real->tokens,
                     .first_token = real->first_token,
                     .stops = real->stops,
                     .wire = wire,
                     .wire_length = wire_length,
                     .bit = segment->bit};
    rdk_bits_open(&sink->bits, scratch, scratch_length, segment->bit);
    sink->real = &view;
    sink->most_fixes = most_fixes;
    int status = run_model(segment, model, &nothing, sink);
    sink->real = NULL;
    return status;
}

static void sink_free(rdk_sink *sink) {
    if (sink == NULL) return;
    free(sink->found_fixes.items);
    free(sink->found_chunks.items);
    free(sink->found_headers.items);
    free(sink);
}

/* Follows the real tokens, then tries the recipes from the smallest on. */
static int plan_with_model(const rdk_segment *segment, const rdk_model *model, const uint8_t *wire, size_t wire_length,
                           uint64_t wire_bits, uint32_t most_fixes, rdk_writer *out, uint32_t *corrections,
                           uint8_t *scratch, size_t scratch_length) {
    static const uint8_t shapes[3] = {0, FLAG_CHUNKS, FLAG_CHUNKS | FLAG_STOPS};
    reading real = {0};
    rdk_sink *sink = calloc(1, sizeof *sink);
    if (sink) sink->most_surprises = UINT32_MAX;
    int status = sink ? read_real(segment, wire, wire_length, wire_bits, &real) : RDK_E_MEMORY;
    if (status == RDK_OK) {
        status = follow_real(segment, model, &real, wire, wire_length, most_fixes, sink, scratch, scratch_length);
        *corrections = (uint32_t)sink->found_fixes.count;
    }
    if (status == RDK_OK) {
        const rdk_piece *pieces = sink->found_chunks.items;
        bool plain_notes = true;
        for (size_t i = 0; i < sink->found_chunks.count; i++)
            plain_notes = plain_notes && (pieces[i].note & 0x1f) == RDK_AUTO;
        status = RDK_E_CORRUPT;
        for (int shape = plain_notes ? 0 : 1; shape < 3 && status != RDK_OK; shape++) {
            size_t length = write_recipe(sink, segment, shapes[shape], out->at, (size_t)(out->end - out->at));
            if (length == SIZE_MAX) {
                status = RDK_E_OUTPUT_FULL;
                break;
            }
            if (proves(segment, out->at, length, wire, wire_bits, scratch, scratch_length)) {
                out->at += length;
                if (shape) *corrections += (uint32_t)sink->found_chunks.count;
                status = RDK_OK;
            }
        }
    }
    reading_free(&real);
    sink_free(sink);
    return status;
}

/* No more lookahead than the model will have when the segment is rebuilt. */
static rdk_segment narrowed(const rdk_segment *segment, const rdk_model *model) {
    rdk_segment narrow = *segment;
    if (segment->length - segment->stop <= model->lookahead_bytes) return narrow;
    narrow.length = segment->stop + model->lookahead_bytes;
    narrow.ends = 0;
    return narrow;
}

/* One model's score; untouched if it is beyond `most`. */
static int try_model(const rdk_segment *whole, const reading *real, const uint8_t *wire, size_t wire_length,
                     uint64_t wire_bits, uint32_t most, uint32_t *score, uint8_t *scratch, size_t scratch_length) {
    const rdk_model *model = rdk_model_find(whole->model);
    rdk_sink *sink = calloc(1, sizeof *sink);
    int status = model && sink ? RDK_OK : model ? RDK_E_MEMORY : RDK_E_ARGUMENT;
    if (status == RDK_OK) {
        rdk_segment segment = narrowed(whole, model);
        sink->most_surprises = most;
        if (follow_real(&segment, model, real, wire, wire_length, most, sink, scratch, scratch_length) == RDK_OK) {
            uint64_t found = sink->found_fixes.count + (uint64_t)sink->surprises;
            /* Following tells nothing of the member's end and of markers, and not all of where blocks end: rebuilding
             * does. */
            if (sink->found_fixes.count == 0) {
                /* Where segments of this model must be aligned, one that is not may need to see more. */
                bool exact = proves(&segment, wire, 0, wire, wire_bits, scratch, scratch_length) ||
                             (segment.length < whole->length &&
                              proves(whole, wire, 0, wire, wire_bits, scratch, scratch_length));
                found = exact ? 0 : found ? found : 1;
            }
            if (found <= most) *score = (uint32_t)found;
        }
    }
    sink_free(sink);
    return status;
}

int rdk_segment_trial(const rdk_segment *segment, const uint8_t *wire, size_t wire_length, uint64_t wire_bits,
                      const uint16_t *models, const uint32_t *member_params, size_t count, uint32_t most,
                      uint32_t *scores) {
    const rdk_model *model;
    reading real = {0};
    rdk_segment tried = *segment;
    if (count == 0) return RDK_OK;
    tried.model = models[0];
    int status = check_segment(&tried, &model);
    if (status == RDK_OK && (segment->bit + wire_bits + 7) / 8 > wire_length) status = RDK_E_ARGUMENT;
    if (status != RDK_OK) return status;
    size_t scratch_length = wire_length + wire_length / 2 + 4096;
    uint8_t *scratch = malloc(scratch_length);
    status = scratch ? read_real(segment, wire, wire_length, wire_bits, &real) : RDK_E_MEMORY;
    for (size_t i = 0; i < count; i++) scores[i] = UINT32_MAX;
    for (size_t i = 0; status == RDK_OK && i < count && most > 0; i++) {
        tried.model = models[i];
        tried.member_param = member_params[i];
        status = try_model(&tried, &real, wire, wire_length, wire_bits, most, &scores[i], scratch, scratch_length);
        if (scores[i] < UINT32_MAX && 2 * (uint64_t)scores[i] + 4 < most) most = 2 * scores[i] + 4;
        if (scores[i] == 0) most = 0;
    }
    reading_free(&real);
    free(scratch);
    return status;
}

int rdk_segment_plan(const rdk_segment *segment, const uint8_t *wire, size_t wire_length, uint64_t wire_bits,
                     uint32_t most_corrections, uint8_t *recipe, size_t recipe_capacity, size_t *recipe_length,
                     uint32_t *corrections) {
    const rdk_model *model;
    int status = check_segment(segment, &model);
    if (status == RDK_OK && (segment->bit + wire_bits + 7) / 8 > wire_length) status = RDK_E_ARGUMENT;
    if (status != RDK_OK) return status;
    size_t scratch_length = wire_length + wire_length / 2 + 4096;
    uint8_t *scratch = malloc(scratch_length);
    if (scratch == NULL) return RDK_E_MEMORY;
    rdk_writer out = {recipe, recipe + recipe_capacity, false};
    *corrections = 0;
    *recipe_length = 0;
    if (proves(segment, recipe, 0, wire, wire_bits, scratch, scratch_length)) {
        free(scratch);
        return RDK_OK;
    }
    status = plan_with_model(segment, model, wire, wire_length, wire_bits, most_corrections, &out, corrections, scratch,
                             scratch_length);
    if (status == RDK_E_CORRUPT) { /* nothing the model can follow: the bits themselves */
        size_t length = write_raw(wire, segment->bit, wire_bits, recipe, recipe_capacity);
        status = RDK_E_OUTPUT_FULL;
        if (length != SIZE_MAX && proves(segment, recipe, length, wire, wire_bits, scratch, scratch_length)) {
            out.at = recipe + length;
            status = RDK_OK;
            *corrections += 1;
        }
    }
    *recipe_length = (size_t)(out.at - recipe);
    free(scratch);
    return status;
}
