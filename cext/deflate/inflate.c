/* Streaming inflate (RFC 1951) that also tells the tokens and the blocks.
 *
 * Between two calls the state is only where in the block structure the stream is, and the present tables. Input is
 * never kept: a symbol or header that is not completely at hand is not consumed, and the caller presents its bytes
 * again. A fast loop works while input and space for a match are certain; the careful one does the rest, symbol by
 * symbol. */
#include <stdlib.h>

#include "base/bytes.h"
#include "bit_reader.h"
#include "block_header.h"
#include "inflate_table.h"
#include "reducto_kernel.h"

enum mode { AT_HEADER, IN_STORED, IN_CODES, AT_END };

/* Block types: RFC 1951 3.2.3. */
enum { TYPE_STORED = 0, TYPE_FIXED = 1, TYPE_RESERVED = 3 };

struct rdk_inflate {
    enum mode mode;
    bool final; /* of the present block, as `type` */
    uint8_t type;
    uint32_t stored_left; /* bytes of a stored block that are still to come */
    uint64_t bit_total;   /* consumed since reset */
    uint64_t plain_total; /* produced since reset */
    uint32_t literal[RDK_LITERAL_ENTRIES];
    uint32_t distance[RDK_DISTANCE_ENTRIES];
};

rdk_inflate *rdk_inflate_new(void) { return calloc(1, sizeof(rdk_inflate)); }
void rdk_inflate_free(rdk_inflate *inflate) { free(inflate); }
void rdk_inflate_reset(rdk_inflate *inflate) {
    inflate->mode = AT_HEADER;
    inflate->final = false;
    inflate->bit_total = inflate->plain_total = 0;
}

/* What one call works on: rdk_inflate_io with the position in bits and the counts as they stand. */
typedef struct flow {
    const uint8_t *input;
    size_t length;
    uint64_t bit;   /* from input[0] */
    uint8_t *plain; /* NULL: bytes are only counted */
    size_t used, capacity;
    uint32_t *tokens; /* NULL: not wanted */
    size_t token_used, token_capacity;
    uint64_t symbols; /* tokens of this call, wanted or not */
} flow;

/* ---- headers and stored blocks --------------------------------------------------------------------------------- */

/* Reads a stored block's length (RFC 1951 3.2.4). *header_bits becomes the length of its header. */
static int read_stored_header(rdk_inflate *inflate, const flow *f, uint64_t available, uint32_t *header_bits) {
    uint32_t pad = (uint32_t)(-(f->bit + 3) & 7);
    *header_bits = 3 + pad + 32;
    if (available < *header_bits) return RDK_INFLATE_INPUT;
    /* Bits other than 0 before the length would be valid, but no encoder writes them and no recipe can tell them. */
    if (rdk_peek_bits(f->input, f->length, f->bit) >> 3 & ((1u << pad) - 1)) return RDK_E_CORRUPT;
    uint32_t sizes = (uint32_t)rdk_peek_bits(f->input, f->length, f->bit + 3 + pad);
    if (((sizes ^ sizes >> 16) & 0xffff) != 0xffff) return RDK_E_CORRUPT;
    inflate->stored_left = sizes & 0xffff;
    return RDK_OK;
}

/* Makes the tables of a fixed or dynamic block. *header_bits becomes the length of its header. */
static int read_tables(rdk_inflate *inflate, const flow *f, uint32_t *header_bits) {
    uint8_t literal_lengths[RDK_LITERAL_SYMBOLS], distance_lengths[RDK_DISTANCE_SYMBOLS];
    if (inflate->type == TYPE_FIXED) {
        rdk_inflate_literal_table(inflate->literal, rdk_fixed_literal_lengths);
        rdk_inflate_distance_table(inflate->distance, rdk_fixed_distance_lengths);
        return RDK_OK;
    }
    bool truncated;
    uint32_t used = rdk_read_header(f->input, f->length, f->bit + 3, literal_lengths, distance_lengths, &truncated);
    if (used == 0) return truncated ? RDK_INFLATE_INPUT : RDK_E_CORRUPT;
    *header_bits += used;
    return rdk_inflate_literal_table(inflate->literal, literal_lengths) &&
                   rdk_inflate_distance_table(inflate->distance, distance_lengths)
               ? RDK_OK
               : RDK_E_CORRUPT;
}

/* Reads a block's header. RDK_OK: the block was entered. */
static int enter_block(rdk_inflate *inflate, flow *f, rdk_inflate_io *io) {
    uint64_t available = (uint64_t)f->length * 8 - f->bit, bits = rdk_peek_bits(f->input, f->length, f->bit);
    uint32_t header_bits = 3;
    if (available < 3) return RDK_INFLATE_INPUT;
    if (io->blocks && io->block_used == io->block_capacity) return RDK_INFLATE_OUTPUT;
    inflate->type = bits >> 1 & 3;
    if (inflate->type == TYPE_RESERVED) return RDK_E_CORRUPT;
    int status = inflate->type == TYPE_STORED ? read_stored_header(inflate, f, available, &header_bits)
                                              : read_tables(inflate, f, &header_bits);
    if (status != RDK_OK) return status;
    inflate->final = bits & 1;
    if (io->blocks)
        io->blocks[io->block_used++] = (rdk_block_info){.bit_start = inflate->bit_total,
                                                        .plain_start = inflate->plain_total,
                                                        .header_bits = header_bits,
                                                        .type = inflate->type,
                                                        .final = inflate->final};
    f->bit += header_bits;
    inflate->bit_total += header_bits;
    inflate->mode = inflate->type == TYPE_STORED ? IN_STORED : IN_CODES;
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

/* ---- symbols --------------------------------------------------------------------------------------------------- */

/* Beside statuses: the block ended. */
enum { BLOCK_ENDED = 100 };

/* Handles one symbol with every check. RDK_OK: another one may follow. */
static int careful_symbol(rdk_inflate *inflate, flow *f, bool *match) {
    uint64_t available = (uint64_t)f->length * 8 - f->bit, bits = rdk_peek_bits(f->input, f->length, f->bit);
    uint32_t taken, used;
    uint32_t entry = rdk_inflate_look_up(inflate->literal, RDK_LITERAL_ROOT_BITS, &bits, &taken);
    used = taken + (entry & 0xff);
    if (used > available) return RDK_INFLATE_INPUT;
    if (entry & RDK_ENTRY_SPECIAL) {
        if (!(entry & RDK_ENTRY_END)) return RDK_E_CORRUPT;
        f->bit += used;
        return BLOCK_ENDED;
    }
    if (f->used == f->capacity || (f->tokens && f->token_used == f->token_capacity)) return RDK_INFLATE_OUTPUT;
    if (entry & RDK_ENTRY_LITERAL) {
        if (f->plain) f->plain[f->used] = (uint8_t)(entry >> 16);
        f->used++;
        if (f->tokens) f->tokens[f->token_used++] = (uint8_t)(entry >> 16);
        f->symbols++;
        f->bit += used;
        return RDK_OK;
    }
    uint32_t length = rdk_entry_value(entry, bits);
    bits >>= entry & 0xff;
    entry = rdk_inflate_look_up(inflate->distance, RDK_DISTANCE_ROOT_BITS, &bits, &taken);
    used += taken + (entry & 0xff);
    if (used > available) return RDK_INFLATE_INPUT;
    if (entry & RDK_ENTRY_SPECIAL) return RDK_E_CORRUPT;
    uint32_t distance = rdk_entry_value(entry, bits);
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

/* Copies a match; writes up to 15 bytes beyond its end. */
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

/* ---- the fast loop --------------------------------------------------------------------------------------------- */

/* One round reads at most 15 bytes of input and makes at most two literals and a match: 3 tokens and 260 bytes, beyond
 * which copy_match may write 15. */
enum { INPUT_MARGIN = 24, OUTPUT_MARGIN = 320, TOKEN_MARGIN = 8 };

/* The bit buffer of fast_loop: `hold` has at least `held` valid bits, after REFILL 56 to 63. Bytes of which only a part
 * fits are loaded again by the next REFILL (Fabian Giesen, "Reading bits in far too many ways", part 2, 2018). */
#define REFILL()                        \
    do {                                \
        hold |= rdk_load64(in) << held; \
        in += (63 - held) >> 3;         \
        held |= 56;                     \
    } while (0)
#define TAKE(n) (hold >>= (uint8_t)(n), held -= (uint8_t)(n))
#define ROOT(table, bits) (table)[hold & ((1u << (bits)) - 1)]
#define SUBTABLE(table, entry, bits) (table)[((entry) >> 16) + ((bits) & ((1u << ((entry) >> 8 & 15)) - 1))]
#define LITERAL(entry, bits)                                   \
    do {                                                       \
        TAKE(bits);                                            \
        if (with_plain) plain[out] = (uint8_t)((entry) >> 16); \
        out++;                                                 \
        if (with_tokens) *token++ = (entry) >> 16;             \
    } while (0)

/* Inflates while input and space are certain, and leaves everything consistent. RDK_OK: the careful loop goes on.
 * Compiled once for each combination of the constants at the end.
 * Long because: its state is kept in registers, which the compiler does within one function only. */
static inline __attribute__((always_inline)) int fast_loop(rdk_inflate *inflate, flow *f, bool *match,
                                                           const bool with_plain, const bool with_tokens) {
    if (f->length < (f->bit >> 3) + INPUT_MARGIN || f->capacity - f->used < OUTPUT_MARGIN) return RDK_OK;
    if (with_tokens && f->token_capacity < TOKEN_MARGIN) return RDK_OK;
    const uint8_t *in = f->input + (f->bit >> 3), *in_stop = f->input + f->length - INPUT_MARGIN;
    uint8_t *plain = f->plain;
    size_t out = f->used, out_stop = f->capacity - OUTPUT_MARGIN;
    uint32_t *token = f->tokens ? f->tokens + f->token_used : NULL;
    uint32_t *token_stop = with_tokens ? f->tokens + f->token_capacity - TOKEN_MARGIN : NULL;
    const uint32_t *literal = inflate->literal, *far = inflate->distance;
    uint64_t hold = rdk_load64(in) >> (f->bit & 7);
    uint32_t held = 64 - (uint32_t)(f->bit & 7), matches = 0;
    size_t matched = 0; /* plain bytes of matches: the other plain bytes made are literals */
    int result = RDK_OK;
    in += 8;
    if (held == 64) held = 56, in -= 1; /* so that shifts stay below 64 */
    while (in < in_stop && out < out_stop && (!with_tokens || token <= token_stop)) {
        REFILL();
        uint32_t entry = ROOT(literal, RDK_LITERAL_ROOT_BITS);
        if (entry & RDK_ENTRY_LITERAL) { /* two of at most 11 bits leave 34 for a length's 15 + 5 */
            LITERAL(entry, entry);
            entry = ROOT(literal, RDK_LITERAL_ROOT_BITS);
            if (entry & RDK_ENTRY_LITERAL) {
                LITERAL(entry, entry);
                entry = ROOT(literal, RDK_LITERAL_ROOT_BITS);
                if (entry & RDK_ENTRY_LITERAL) {
                    LITERAL(entry, entry);
                    continue;
                }
            }
        }
        if (entry & (RDK_ENTRY_SUBTABLE | RDK_ENTRY_SPECIAL)) {
            if (!(entry & RDK_ENTRY_SUBTABLE)) break; /* the end of the block, or damage: the careful loop finds out */
            uint32_t deep = SUBTABLE(literal, entry, hold >> RDK_LITERAL_ROOT_BITS);
            if (deep & RDK_ENTRY_LITERAL) {
                LITERAL(deep, RDK_LITERAL_ROOT_BITS + (deep & 0xff));
                continue;
            }
            if (deep & RDK_ENTRY_SPECIAL) break;
            TAKE(RDK_LITERAL_ROOT_BITS);
            entry = deep;
        }
        uint32_t length = rdk_entry_value(entry, hold);
        TAKE(entry);
        REFILL();
        uint32_t far_entry = ROOT(far, RDK_DISTANCE_ROOT_BITS);
        if (far_entry & RDK_ENTRY_SUBTABLE) {
            TAKE(RDK_DISTANCE_ROOT_BITS);
            far_entry = SUBTABLE(far, far_entry, hold);
        }
        uint32_t distance = rdk_entry_value(far_entry, hold);
        if ((far_entry & RDK_ENTRY_SPECIAL) || distance > out) {
            result = RDK_E_CORRUPT;
            break;
        }
        TAKE(far_entry);
        if (with_plain) copy_match(plain + out, length, distance);
        out += length;
        if (with_tokens) *token++ = RDK_MATCH(length, distance);
        matches++;
        matched += length;
    }
    *match |= matches != 0;
    f->symbols += matches + (out - f->used - matched);
    f->bit = (uint64_t)(in - f->input) * 8 - held;
    f->used = out;
    if (with_tokens) f->token_used = (size_t)(token - f->tokens);
    return result;
}

/* ---- one call -------------------------------------------------------------------------------------------------- */

static int decode_codes(rdk_inflate *inflate, flow *f, rdk_inflate_io *io) {
    /* After this many careful symbols the fast loop is tried again: it may have stopped for a block's end only. */
    enum { CAREFUL_SYMBOLS = 64 };
    rdk_block_info *block = io->blocks && io->block_used ? &io->blocks[io->block_used - 1] : NULL;
    size_t used_before = f->used;
    uint64_t symbols_before = f->symbols, bit_before = f->bit;
    bool match = false;
    int result = f->plain == NULL ? fast_loop(inflate, f, &match, false, true)
                 : f->tokens      ? fast_loop(inflate, f, &match, true, true)
                                  : fast_loop(inflate, f, &match, true, false);
    for (uint32_t n = 0; result == RDK_OK && n < CAREFUL_SYMBOLS; n++) result = careful_symbol(inflate, f, &match);
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
