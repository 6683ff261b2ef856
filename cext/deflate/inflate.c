/* Streaming inflate (RFC 1951) that also tells the tokens and the blocks.
 *
 * State between calls is only: where in the block structure we are, and the current tables. Input is never buffered: a
 * symbol or header that is not completely at hand is not consumed, and the caller presents its bytes again. A fast loop
 * works while 16 bytes of input and room for a match are certain; the careful one does the rest, symbol by symbol. */
#include <stdlib.h>

#include "bits.h"

enum {
    LITERAL_ROOT = 11,
    DISTANCE_ROOT = 9,
    LITERAL_ENTRIES = (1 << LITERAL_ROOT) +
        (1 << 11), /* root, and room for every subtable: 286 codes of up to 15 bits need at most 1332 */
    DISTANCE_ENTRIES = (1 << DISTANCE_ROOT) + (1 << 9)
};

/* A table entry: bits 0-7 what to consume in all (code and extra bits); 8-12 extra bits (of a subtable: its index
 * bits); 16-30 the literal, the base, or the subtable's place; 13 end of block or invalid; 14 subtable; 15 literal. */
enum { E_SPECIAL = 1 << 13, E_SUBTABLE = 1 << 14, E_LITERAL = 1 << 15, E_END = 1 << 16, E_INVALID = 1 << 17 };

enum mode { AT_HEADER, IN_STORED, IN_CODES, AT_END };

struct rdk_inflate {
    enum mode mode;
    bool final;
    uint8_t type;
    uint32_t stored_left;
    uint64_t bit_total;   /* consumed since reset */
    uint64_t plain_total; /* produced since reset */
    uint32_t literal[LITERAL_ENTRIES];
    uint32_t distance[DISTANCE_ENTRIES];
};

rdk_inflate *rdk_inflate_new(void) { return calloc(1, sizeof(rdk_inflate)); }
void rdk_inflate_free(rdk_inflate *inflate) { free(inflate); }
void rdk_inflate_reset(rdk_inflate *inflate) {
    inflate->mode = AT_HEADER;
    inflate->final = false;
    inflate->bit_total = inflate->plain_total = 0;
}

/* ---- tables ---------------------------------------------------------------------------------------------------- */

static uint32_t literal_entry(uint32_t symbol, uint32_t length) {
    static const uint16_t base[29] = {3,  4,  5,  6,  7,  8,  9,  10, 11,  13,  15,  17,  19,  23, 27,
                                      31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258};
    if (symbol < 256) return symbol << 16 | E_LITERAL | length;
    if (symbol == 256) return E_SPECIAL | E_END | length;
    if (symbol > 285) return E_SPECIAL | E_INVALID | length;
    uint32_t extra = rdk_length_extra[symbol - 257];
    return (uint32_t)base[symbol - 257] << 16 | extra << 8 | (length + extra);
}

static uint32_t distance_entry(uint32_t symbol, uint32_t length) {
    if (symbol > 29) return E_SPECIAL | E_INVALID | length;
    uint32_t extra = rdk_distance_extra[symbol], base = symbol < 4 ? symbol + 1 : ((2u + (symbol & 1)) << extra) + 1;
    return base << 16 | extra << 8 | (length + extra);
}

/* Fills a root table of 2^root entries and its subtables. False: not a complete prefix code (a single code of one bit
 * is let through, as every inflater does, and so is no code at all for distances). */
static bool build(uint32_t *table, uint32_t root, uint32_t room, const uint8_t *lengths, uint32_t symbols,
                  uint32_t (*entry)(uint32_t, uint32_t), bool may_be_empty) {
    uint16_t codes[288];
    uint32_t counts[16] = {0}, used = 0, longest = 0;
    int32_t left = 1;
    for (uint32_t i = 0; i < symbols; i++) counts[lengths[i]]++;
    for (uint32_t bits = 1; bits <= 15; bits++) {
        left = 2 * left - (int32_t)counts[bits];
        if (left < 0) return false;
        used += counts[bits];
        if (counts[bits]) longest = bits;
    }
    if (left > 0 && !(used == 1 && longest == 1) && !(used == 0 && may_be_empty)) return false;
    if (left > 0)
        for (uint32_t i = 0; i < 1u << root; i++) table[i] = E_SPECIAL | E_INVALID | 1;
    rdk_canonical(lengths, symbols, codes);
    uint32_t next = 1u << root, mask = next - 1;
    if (longest > root) /* subtables: as wide as the longest code behind each root entry */
        for (uint32_t i = 0; i < symbols; i++) {
            if (lengths[i] <= root) continue;
            uint32_t at = codes[i] & mask, width = lengths[i] - root;
            uint32_t have = table[at] & E_SUBTABLE && (table[at] >> 16) == 0 ? table[at] >> 8 & 15 : 0;
            if (have < width) table[at] = E_SUBTABLE | width << 8 | root;
        }
    for (uint32_t i = 0; i < symbols; i++) {
        uint32_t length = lengths[i];
        if (length == 0) continue;
        if (length <= root) {
            uint32_t value = entry(i, length);
            for (uint32_t at = codes[i]; at <= mask; at += 1u << length) table[at] = value;
            continue;
        }
        uint32_t *slot = &table[codes[i] & mask], width = *slot >> 8 & 15;
        if (*slot >> 16 == 0) {
            if (next + (1u << width) > room) return false;
            *slot |= next << 16;
            next += 1u << width;
        }
        uint32_t value = entry(i, length - root), place = *slot >> 16;
        for (uint32_t at = codes[i] >> root; at < 1u << width; at += 1u << (length - root)) table[place + at] = value;
    }
    return true;
}

/* ---- headers --------------------------------------------------------------------------------------------------- */

/* At least 57 bits from `bit` on; zeros beyond the input. */
static inline uint64_t peek(const uint8_t *input, size_t length, uint64_t bit) {
    size_t byte = (size_t)(bit >> 3);
    uint64_t value = 0;
    if (byte + 8 <= length) value = rdk_load64(input + byte);
    else
        for (size_t i = byte; i < length; i++) value |= (uint64_t)input[i] << 8 * (i - byte);
    return value >> (bit & 7);
}

static uint32_t read_code_lengths(const uint8_t *from, size_t length, uint64_t bit, const uint8_t *code_lengths,
                                  uint8_t *lengths, uint32_t wanted, bool *truncated) {
    uint16_t codes[19];
    uint8_t table[128][2];
    uint64_t start = bit, available = (uint64_t)length * 8;
    memset(table, 0, sizeof table);
    rdk_canonical(code_lengths, 19, codes);
    for (uint32_t i = 0; i < 19; i++)
        for (uint32_t at = codes[i]; code_lengths[i] && at < 128; at += 1u << code_lengths[i]) {
            table[at][0] = (uint8_t)i;
            table[at][1] = code_lengths[i];
        }
    for (uint32_t n = 0; n < wanted;) {
        uint64_t bits = peek(from, length, bit);
        uint32_t symbol = table[bits & 127][0], used = table[bits & 127][1], times = 1, value = symbol;
        if (used == 0) return 0;
        bits >>= used;
        if (symbol == 16) {
            value = n ? lengths[n - 1] : 0;
            times = 3 + (bits & 3);
            used += 2;
        } else if (symbol == 17) {
            value = 0;
            times = 3 + (bits & 7);
            used += 3;
        } else if (symbol == 18) {
            value = 0;
            times = 11 + (bits & 127);
            used += 7;
        }
        bit += used;
        if (bit > available) {
            *truncated = true;
            return 0;
        }
        if (n + times > wanted || (symbol == 16 && n == 0)) return 0;
        memset(lengths + n, (int)value, times);
        n += times;
    }
    return (uint32_t)(bit - start);
}

static bool complete(const uint8_t *lengths, uint32_t symbols) {
    int32_t left = 1 << 7;
    for (uint32_t i = 0; i < symbols; i++) left -= lengths[i] ? 128 >> lengths[i] : 0;
    return left == 0;
}

uint32_t rdk_read_header(const uint8_t *from, size_t length, uint64_t bit, uint8_t *literal_lengths,
                         uint8_t *distance_lengths, uint32_t *literals, uint32_t *distances, bool *truncated) {
    uint8_t code_lengths[19] = {0}, lengths[288 + 32];
    uint64_t bits = peek(from, length, bit), available = (uint64_t)length * 8 - bit;
    uint32_t sent = 4 + (uint32_t)(bits >> 10 & 15), fixed_bits = 14 + 3 * sent;
    *truncated = available < 14 || available < fixed_bits;
    if (*truncated) return 0;
    *literals = 257 + (bits & 31);
    *distances = 1 + (bits >> 5 & 31);
    if (*literals > RDK_LITERAL_CODES || *distances > RDK_DISTANCE_CODES) return 0;
    for (uint32_t i = 0; i < sent; i++)
        code_lengths[rdk_code_length_order[i]] = peek(from, length, bit + 14 + 3 * i) & 7;
    uint32_t used_codes = 0;
    for (int i = 0; i < 19; i++) used_codes += code_lengths[i] != 0;
    if (!complete(code_lengths, 19) && used_codes != 1) return 0;
    memset(lengths, 0, sizeof lengths);
    uint32_t used =
        read_code_lengths(from, length, bit + fixed_bits, code_lengths, lengths, *literals + *distances, truncated);
    if (used == 0 || lengths[RDK_END_OF_BLOCK] == 0) return 0;
    memset(literal_lengths, 0, 288);
    memset(distance_lengths, 0, 32);
    memcpy(literal_lengths, lengths, *literals);
    memcpy(distance_lengths, lengths + *literals, *distances);
    return fixed_bits + used;
}

/* ---- one call -------------------------------------------------------------------------------------------------- */

typedef struct flow { /* the io in registers' shape */
    const uint8_t *input;
    size_t length;
    uint64_t bit; /* from input[0] */
    uint8_t *plain;
    size_t used, capacity;
    uint32_t *tokens;
    size_t token_used, token_capacity;
    uint64_t symbols; /* tokens of this call, kept or not */
} flow;

/* RDK_OK: a block was entered. */
static int enter_block(rdk_inflate *inflate, flow *f, rdk_inflate_io *io) {
    uint64_t available = (uint64_t)f->length * 8 - f->bit, bits = peek(f->input, f->length, f->bit);
    uint32_t header_bits = 3, literals, distances;
    uint8_t literal_lengths[288], distance_lengths[32];
    if (available < 3) return RDK_INFLATE_INPUT;
    if (io->blocks && io->block_used == io->block_capacity) return RDK_INFLATE_OUTPUT;
    inflate->type = bits >> 1 & 3;
    if (inflate->type == 3) return RDK_E_CORRUPT;
    if (inflate->type == 0) {
        uint32_t pad = (uint32_t)(-(f->bit + 3) & 7);
        header_bits = 3 + pad + 32;
        if (available < header_bits) return RDK_INFLATE_INPUT;
        if (bits >> 3 & ((1u << pad) - 1))
            return RDK_E_CORRUPT; /* legal, but no encoder sets them and no model could say so */
        uint32_t sizes = (uint32_t)peek(f->input, f->length, f->bit + 3 + pad);
        if (((sizes ^ sizes >> 16) & 0xffff) != 0xffff) return RDK_E_CORRUPT;
        inflate->stored_left = sizes & 0xffff;
    } else if (inflate->type == 1) {
        memset(distance_lengths, 5, sizeof distance_lengths);
        build(inflate->literal, LITERAL_ROOT, LITERAL_ENTRIES, rdk_fixed_literal_lengths, 288, literal_entry, false);
        build(inflate->distance, DISTANCE_ROOT, DISTANCE_ENTRIES, distance_lengths, 32, distance_entry, false);
    } else {
        bool truncated;
        uint32_t used = rdk_read_header(f->input, f->length, f->bit + 3, literal_lengths, distance_lengths, &literals,
                                        &distances, &truncated);
        if (used == 0) return truncated ? RDK_INFLATE_INPUT : RDK_E_CORRUPT;
        if (!build(inflate->literal, LITERAL_ROOT, LITERAL_ENTRIES, literal_lengths, 288, literal_entry, false) ||
            !build(inflate->distance, DISTANCE_ROOT, DISTANCE_ENTRIES, distance_lengths, 32, distance_entry, true))
            return RDK_E_CORRUPT;
        header_bits += used;
    }
    inflate->final = bits & 1;
    if (io->blocks)
        io->blocks[io->block_used++] = (rdk_block_info){.bit_start = inflate->bit_total,
                                                        .plain_start = inflate->plain_total,
                                                        .header_bits = header_bits,
                                                        .type = inflate->type,
                                                        .final = inflate->final};
    f->bit += header_bits;
    inflate->bit_total += header_bits;
    inflate->mode = inflate->type == 0 ? IN_STORED : IN_CODES;
    return RDK_OK;
}

static int copy_stored(rdk_inflate *inflate, flow *f) {
    size_t byte = (size_t)(f->bit >> 3), take = inflate->stored_left;
    if (take > f->length - byte) take = f->length - byte;
    if (take > f->capacity - f->used) take = f->capacity - f->used;
    if (take && f->plain) memcpy(f->plain + f->used, f->input + byte, take);
    f->used += take;
    f->bit += 8 * (uint64_t)take;
    inflate->bit_total += 8 * (uint64_t)take;
    inflate->plain_total += take;
    inflate->stored_left -= (uint32_t)take;
    if (inflate->stored_left == 0) return RDK_OK;
    return f->used == f->capacity ? RDK_INFLATE_OUTPUT : RDK_INFLATE_INPUT;
}

static inline uint32_t look_up(const uint32_t *table, uint32_t root, uint64_t *bits, uint32_t *taken) {
    uint32_t entry = table[*bits & ((1u << root) - 1)];
    *taken = 0;
    if (entry & E_SUBTABLE) {
        *bits >>= root;
        *taken = root;
        entry = table[(entry >> 16) + (*bits & ((1u << (entry >> 8 & 15)) - 1))];
    }
    return entry;
}

static inline uint32_t entry_value(uint32_t entry, uint64_t bits) {
    uint32_t all = entry & 0xff, extra = entry >> 8 & 31;
    return (entry >> 16) + (uint32_t)(bits >> (all - extra) & ((1u << extra) - 1));
}

/* One symbol, with every check. RDK_OK: go on; 100: the block ended. */
enum { BLOCK_ENDED = 100 };
static int careful_symbol(rdk_inflate *inflate, flow *f, bool *match) {
    uint64_t available = (uint64_t)f->length * 8 - f->bit, bits = peek(f->input, f->length, f->bit);
    uint32_t taken, used;
    uint32_t entry = look_up(inflate->literal, LITERAL_ROOT, &bits, &taken);
    used = taken + (entry & 0xff);
    if (used > available) return RDK_INFLATE_INPUT;
    if (entry & E_SPECIAL) {
        if (!(entry & E_END)) return RDK_E_CORRUPT;
        f->bit += used;
        return BLOCK_ENDED;
    }
    if (f->used == f->capacity || (f->tokens && f->token_used == f->token_capacity)) return RDK_INFLATE_OUTPUT;
    if (entry & E_LITERAL) {
        if (f->plain) f->plain[f->used] = (uint8_t)(entry >> 16);
        f->used++;
        if (f->tokens) f->tokens[f->token_used++] = (uint8_t)(entry >> 16);
        f->symbols++;
        f->bit += used;
        return RDK_OK;
    }
    uint32_t length = entry_value(entry, bits);
    bits >>= entry & 0xff;
    entry = look_up(inflate->distance, DISTANCE_ROOT, &bits, &taken);
    used += taken + (entry & 0xff);
    if (used > available) return RDK_INFLATE_INPUT;
    if (entry & E_SPECIAL) return RDK_E_CORRUPT;
    uint32_t distance = entry_value(entry, bits);
    if (distance > f->used) return RDK_E_CORRUPT;
    if (f->capacity - f->used < length) return RDK_INFLATE_OUTPUT;
    for (uint32_t i = 0; f->plain && i < length; i++) f->plain[f->used + i] = f->plain[f->used + i - distance];
    f->used += length;
    if (f->tokens) f->tokens[f->token_used++] = RDK_MATCH(length, distance);
    f->symbols++;
    f->bit += used;
    *match = true;
    return RDK_OK;
}

static inline void copy_match(uint8_t *to, uint32_t length, uint32_t distance) {
    const uint8_t *from = to - distance, *end = (const uint8_t *)to + length;
    if (distance >= 16) {
        do {
            uint64_t a = rdk_load64(from), b = rdk_load64(from + 8);
            memcpy(to, &a, 8);
            memcpy(to + 8, &b, 8);
            to += 16;
            from += 16;
        } while (to < end);
    } else if (distance >= 8) {
        do {
            uint64_t a = rdk_load64(from);
            memcpy(to, &a, 8);
            to += 8;
            from += 8;
        } while (to < end);
    } else if (distance == 1) {
        memset(to, *from, length);
    } else {
        do *to++ = *from++;
        while (to < end);
    }
}

/* While input and room are certain. Leaves everything consistent; RDK_OK: the careful loop goes on. */
static inline __attribute__((always_inline)) int fast_loop(rdk_inflate *inflate, flow *f, bool *match,
                                                           const bool with_plain, const bool with_tokens) {
    enum { INPUT_MARGIN = 24, OUTPUT_MARGIN = 320 };
    if (f->length < (f->bit >> 3) + INPUT_MARGIN || f->capacity - f->used < OUTPUT_MARGIN) return RDK_OK;
    const uint8_t *in = f->input + (f->bit >> 3), *in_stop = f->input + f->length - INPUT_MARGIN;
    uint8_t *plain = f->plain;
    size_t out = f->used, out_stop = f->capacity - OUTPUT_MARGIN;
    uint32_t *token = f->tokens ? f->tokens + f->token_used : NULL;
    uint32_t *token_stop = with_tokens ? f->tokens + f->token_capacity - 8 : NULL;
    if (with_tokens && f->token_capacity < 8) return RDK_OK;
    const uint32_t *literal = inflate->literal, *far = inflate->distance;
    uint64_t hold = rdk_load64(in) >> (f->bit & 7);
    uint32_t held = 64 - (uint32_t)(f->bit & 7), matches = 0;
    size_t longer = 0; /* plain bytes of matches: what is left of the plain bytes made are literals */
    int result = RDK_OK;
    in += 8;
#define REFILL()                        \
    do {                                \
        hold |= rdk_load64(in) << held; \
        in += (63 - held) >> 3;         \
        held |= 56;                     \
    } while (0)
#define TAKE(n) (hold >>= (uint8_t)(n), held -= (uint8_t)(n))
    if (held == 64) held = 56, in -= 1; /* so that shifts stay below 64 */
    uint32_t entry;
    while (in < in_stop && out < out_stop && (!with_tokens || token <= token_stop)) {
        REFILL();
        entry = literal[hold & ((1u << LITERAL_ROOT) - 1)];
        if (entry & E_LITERAL) { /* up to three from one refill, and enough left for a length */
            TAKE(entry);
            if (with_plain) plain[out] = (uint8_t)(entry >> 16);
            out++;
            if (with_tokens) *token++ = entry >> 16;
            entry = literal[hold & ((1u << LITERAL_ROOT) - 1)];
            if (entry & E_LITERAL) {
                TAKE(entry);
                if (with_plain) plain[out] = (uint8_t)(entry >> 16);
                out++;
                if (with_tokens) *token++ = entry >> 16;
                entry = literal[hold & ((1u << LITERAL_ROOT) - 1)];
                if (entry & E_LITERAL) {
                    TAKE(entry);
                    if (with_plain) plain[out] = (uint8_t)(entry >> 16);
                    out++;
                    if (with_tokens) *token++ = entry >> 16;
                    continue;
                }
            }
        }
        if (entry & (E_SUBTABLE | E_SPECIAL)) {
            if (entry & E_SUBTABLE) {
                uint32_t deep = literal[(entry >> 16) + (hold >> LITERAL_ROOT & ((1u << (entry >> 8 & 15)) - 1))];
                if (deep & E_LITERAL) {
                    TAKE(LITERAL_ROOT + (deep & 0xff));
                    if (with_plain) plain[out] = (uint8_t)(deep >> 16);
                    out++;
                    if (with_tokens) *token++ = deep >> 16;
                    continue;
                }
                if (deep & E_SPECIAL) break;
                TAKE(LITERAL_ROOT);
                entry = deep;
            } else {
                break; /* end of block or damage: the careful loop finds out */
            }
        }
        uint32_t length = entry_value(entry, hold);
        TAKE(entry);
        REFILL();
        uint32_t far_entry = far[hold & ((1u << DISTANCE_ROOT) - 1)];
        if (far_entry & E_SUBTABLE) {
            TAKE(DISTANCE_ROOT);
            far_entry = far[(far_entry >> 16) + (hold & ((1u << (far_entry >> 8 & 15)) - 1))];
        }
        if (far_entry & E_SPECIAL) {
            result = RDK_E_CORRUPT;
            break;
        }
        uint32_t distance = entry_value(far_entry, hold);
        TAKE(far_entry);
        if (distance > out) {
            result = RDK_E_CORRUPT;
            break;
        }
        if (with_plain) copy_match(plain + out, length, distance);
        out += length;
        if (with_tokens) *token++ = RDK_MATCH(length, distance);
        matches++;
        longer += length;
    }
#undef REFILL
#undef TAKE
    *match |= matches != 0;
    f->symbols += matches + (out - f->used - longer);
    f->bit = (uint64_t)(in - f->input) * 8 - held;
    f->used = out;
    if (with_tokens) f->token_used = (size_t)(token - f->tokens);
    return result;
}

static int decode_codes(rdk_inflate *inflate, flow *f, rdk_inflate_io *io) {
    rdk_block_info *block = io->blocks && io->block_used ? &io->blocks[io->block_used - 1] : NULL;
    size_t used_before = f->used;
    uint64_t symbols_before = f->symbols;
    uint64_t bit_before = f->bit;
    bool match = false;
    int result = f->plain == NULL ? fast_loop(inflate, f, &match, false, true)
                 : f->tokens      ? fast_loop(inflate, f, &match, true, true)
                                  : fast_loop(inflate, f, &match, true, false);
    for (uint32_t n = 0; result == RDK_OK && n < 64; n++) result = careful_symbol(inflate, f, &match);
    inflate->bit_total += f->bit - bit_before;
    inflate->plain_total += f->used - used_before;
    if (block) {
        block->has_match |= match;
        block->tokens += f->symbols - symbols_before;
    }
    return result;
}

static int finish_block(rdk_inflate *inflate, rdk_inflate_io *io) {
    if (io->blocks && io->block_used) io->blocks[io->block_used - 1].ended = 1;
    inflate->mode = inflate->final ? AT_END : AT_HEADER;
    return inflate->final ? RDK_INFLATE_DONE : RDK_OK;
}

int rdk_inflate_run(rdk_inflate *inflate, rdk_inflate_io *io) {
    flow f = {.input = io->input,
              .length = io->input_length,
              .bit = io->bit,
              .plain = io->plain,
              .used = io->plain_used,
              .capacity = io->plain_capacity,
              .tokens = io->tokens,
              .token_used = io->token_used,
              .token_capacity = io->token_capacity};
    int result = inflate->mode == AT_END ? RDK_INFLATE_DONE : RDK_OK;
    if (io->bit > 7 || (io->bit && io->input_length == 0) || (io->plain == NULL && io->tokens == NULL))
        return RDK_E_ARGUMENT;
    while (result == RDK_OK) {
        if (inflate->mode == AT_HEADER) {
            result = enter_block(inflate, &f, io);
        } else if (inflate->mode == IN_STORED) {
            result = copy_stored(inflate, &f);
            if (result == RDK_OK) result = finish_block(inflate, io);
        } else {
            result = decode_codes(inflate, &f, io);
            if (result == BLOCK_ENDED) result = finish_block(inflate, io);
        }
    }
    io->input_used = (size_t)(f.bit >> 3);
    io->bit = (uint32_t)(f.bit & 7);
    io->plain_used = f.used;
    io->token_used = f.token_used;
    return result;
}
