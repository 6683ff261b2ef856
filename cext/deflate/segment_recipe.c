#include "segment_recipe.h"

#include <stdlib.h>
#include <string.h>

#include "base/leb128.h"

/* Frozen: part of the stored format. */
enum { CORRECTIONS = 1, BLOCKS = 2, STOPS = 4, RAW = 8, ALL_FLAGS = 15 };

static bool is_verbatim(const rdk_block_directive *directive) {
    uint8_t kind = rdk_directive_kind(directive);
    return kind == RDK_VERBATIM || kind == RDK_VERBATIM_LITERALS;
}

/* ---- reading --------------------------------------------------------------------------------------------------- */

/* Every item takes at least one byte, so a count beyond what is left is corrupt and nothing is allocated for it. */
static bool may_hold(const rdk_reader *in, uint64_t count, uint64_t limit) {
    return !in->bad && count <= limit && count <= (uint64_t)(in->end - in->at);
}

static int read_corrections(rdk_reader *in, uint32_t start, uint32_t stop, rdk_segment_recipe *recipe) {
    uint64_t count = rdk_read_number(in), position = start;
    if (!may_hold(in, count, RDK_CORRECTIONS_MAX)) return RDK_E_CORRUPT;
    recipe->corrections = calloc(count + 1, sizeof *recipe->corrections);
    if (recipe->corrections == NULL) return RDK_E_MEMORY;
    for (uint64_t i = 0; i < count; i++) {
        position += rdk_read_number(in);
        uint64_t length = rdk_read_number(in), distance = length ? rdk_read_number(in) : 0;
        bool match = length >= RDK_MATCH_MIN && length <= RDK_MATCH_MAX && distance >= 1 && distance <= RDK_WINDOW;
        if (in->bad || position >= stop || (length && !match)) return RDK_E_CORRUPT;
        recipe->corrections[i] = (rdk_correction){(uint32_t)position, RDK_MATCH(length, distance)};
    }
    recipe->correction_count = count;
    return RDK_OK;
}

static int read_headers(rdk_reader *in, rdk_segment_recipe *recipe, uint64_t count) {
    for (uint64_t i = 0; i < count; i++) {
        if (!is_verbatim(&recipe->directives[i])) continue;
        uint64_t bits = rdk_read_number(in), bytes = (bits + 7) / 8;
        if (in->bad || bits > RDK_HEADER_BYTES * 8 || bytes > (uint64_t)(in->end - in->at)) return RDK_E_CORRUPT;
        recipe->directives[i].header_bits = (uint32_t)bits;
        recipe->directives[i].header_at = (uint32_t)(in->at - recipe->headers);
        in->at += bytes;
    }
    return RDK_OK;
}

static int read_directives(rdk_reader *in, uint32_t start, uint32_t stop, bool stops, rdk_segment_recipe *recipe) {
    uint64_t count = rdk_read_number(in), position = start;
    if (!may_hold(in, count, RDK_DIRECTIVES_MAX)) return RDK_E_CORRUPT;
    recipe->directives = calloc(count + 1, sizeof *recipe->directives);
    if (recipe->directives == NULL) return RDK_E_MEMORY;
    for (uint64_t i = 0; stops && i < count; i++) {
        position += rdk_read_number(in);
        if (in->bad || position > stop) return RDK_E_CORRUPT;
        recipe->directives[i].stop = (uint32_t)position;
    }
    for (uint64_t i = 0; i < count; i++) {
        if (in->at == in->end) return RDK_E_CORRUPT;
        recipe->directives[i].code = *in->at++;
    }
    recipe->directive_count = count;
    recipe->has_directives = true;
    recipe->has_stops = stops;
    return read_headers(in, recipe, count);
}

int rdk_segment_recipe_read(const uint8_t *bytes, size_t length, uint32_t start, uint32_t stop,
                            rdk_segment_recipe *recipe) {
    rdk_reader in = {bytes, bytes + length, false};
    int status = RDK_OK;
    *recipe = (rdk_segment_recipe){.headers = bytes, .headers_length = length};
    if (length == 0) return RDK_OK;
    uint8_t flags = *in.at++;
    if (flags == 0 || (flags & ~ALL_FLAGS) || (flags & RAW)) return RDK_E_CORRUPT;
    if (flags & CORRECTIONS) status = read_corrections(&in, start, stop, recipe);
    if (status == RDK_OK && (flags & BLOCKS)) status = read_directives(&in, start, stop, flags & STOPS, recipe);
    if (status == RDK_OK && in.at != in.end) status = RDK_E_CORRUPT;
    return status;
}

void rdk_segment_recipe_free(rdk_segment_recipe *recipe) {
    free(recipe->corrections);
    free(recipe->directives);
}

bool rdk_segment_recipe_is_raw(const uint8_t *bytes, size_t length) { return length > 1 && bytes[0] == RAW; }

int rdk_segment_recipe_copy_raw(const uint8_t *bytes, size_t length, rdk_bit_writer *bits) {
    rdk_reader in = {bytes + 1, bytes + length, false};
    uint64_t count = rdk_read_number(&in);
    if (in.bad || count > (uint64_t)(in.end - in.at) * 8) return RDK_E_CORRUPT;
    rdk_bits_copy(bits, in.at, 0, count);
    return bits->full ? RDK_E_OUTPUT_FULL : RDK_OK;
}

/* ---- writing --------------------------------------------------------------------------------------------------- */

static void write_corrections(const rdk_segment_recipe *recipe, uint32_t position, rdk_writer *out) {
    rdk_write_number(out, recipe->correction_count);
    for (size_t i = 0; i < recipe->correction_count; i++) {
        const rdk_correction *correction = &recipe->corrections[i];
        uint32_t length = rdk_token_length(correction->token);
        rdk_write_number(out, correction->position - position);
        rdk_write_number(out, length);
        if (length) rdk_write_number(out, rdk_token_distance(correction->token));
        position = correction->position;
    }
}

static void write_directives(const rdk_segment_recipe *recipe, uint32_t position, rdk_writer *out) {
    size_t count = recipe->directive_count;
    const rdk_block_directive *directives = recipe->directives;
    rdk_write_number(out, count);
    for (size_t i = 0; recipe->has_stops && i < count; position = directives[i++].stop)
        rdk_write_number(out, directives[i].stop - position);
    for (size_t i = 0; i < count; i++) rdk_write_byte(out, directives[i].code);
    for (size_t i = 0; i < count; i++) {
        if (directives[i].header_bits == 0) continue;
        rdk_write_number(out, directives[i].header_bits);
        for (uint32_t b = 0; b < (directives[i].header_bits + 7) / 8; b++)
            rdk_write_byte(out, recipe->headers[directives[i].header_at + b]);
    }
}

size_t rdk_segment_recipe_write(const rdk_segment_recipe *recipe, uint32_t start, uint8_t *at, size_t capacity) {
    rdk_writer out = {at, at + capacity, false};
    uint8_t flags = (uint8_t)((recipe->correction_count ? CORRECTIONS : 0) | (recipe->has_directives ? BLOCKS : 0) |
                              (recipe->has_stops ? STOPS : 0));
    if (flags == 0) return 0;
    rdk_write_byte(&out, flags);
    if (flags & CORRECTIONS) write_corrections(recipe, start, &out);
    if (flags & BLOCKS) write_directives(recipe, start, &out);
    return out.full ? SIZE_MAX : (size_t)(out.at - at);
}

size_t rdk_segment_recipe_write_raw(const uint8_t *wire, uint32_t bit, uint64_t bits, uint8_t *at, size_t capacity) {
    rdk_writer out = {at, at + capacity, false};
    rdk_bit_writer copy;
    rdk_write_byte(&out, RAW);
    rdk_write_number(&out, bits);
    rdk_bits_open(&copy, out.at, (size_t)(out.end - out.at), 0);
    rdk_bits_copy(&copy, wire, bit, bits);
    rdk_bits_close(&copy);
    return out.full || copy.full ? SIZE_MAX : (size_t)(copy.at - at);
}
