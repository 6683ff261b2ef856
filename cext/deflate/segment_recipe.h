/* Segment recipes: what an encoder model must be told to make just the real segment. docs/formats describes their
 * bytes.
 *
 * No bytes: the model is right about everything. Otherwise a byte of flags, then, in this order and with numbers as
 * LEB128: RAW          the number of bits, and the wire bits themselves from bit 0 on; nothing else CORRECTIONS  their
 * number; for each its position less the one before (for the first less the segment's start), then 0 for a literal, or
 * length and distance BLOCKS       the number of directives; with STOPS the plain length of each; a code each; for
 * verbatim codes the header's number of bits and its bits */
#ifndef RDK_DEFLATE_SEGMENT_RECIPE_H
#define RDK_DEFLATE_SEGMENT_RECIPE_H

#include "bit_writer.h"
#include "block.h"
#include "reducto_kernel.h"

/* At this position the encoder emitted that token, whatever the model says. Token 0 is the literal that stands there.
 */
typedef struct rdk_correction {
    uint32_t position;
    rdk_token token;
} rdk_correction;

/* How one chunk is written, whatever the model says. */
typedef struct rdk_block_directive {
    uint32_t stop;        /* where the chunk ends; where the one before ends: an empty block */
    uint8_t code;         /* enum rdk_kind, and RDK_DIRECTIVE_FINAL if it has BFINAL */
    uint32_t header_bits; /* VERBATIM only */
    uint32_t header_at;   /* VERBATIM only: offset of the header's bytes in rdk_segment_recipe.headers */
} rdk_block_directive;

enum { RDK_DIRECTIVE_KIND = 0x1f, RDK_DIRECTIVE_FINAL = 0x80 };

static inline uint8_t rdk_directive_kind(const rdk_block_directive *directive) {
    return directive->code & RDK_DIRECTIVE_KIND;
}

/* A recipe that claims more is corrupt. So what is allocated for one is bounded whatever it claims: 8 MiB and 2 MiB. */
enum { RDK_CORRECTIONS_MAX = 1 << 20, RDK_DIRECTIVES_MAX = 1 << 17 };

/* A recipe that is not raw. */
typedef struct rdk_segment_recipe {
    rdk_correction *corrections;
    size_t correction_count;
    rdk_block_directive *directives;
    size_t directive_count;
    bool has_directives;    /* there may be 0 of them */
    bool has_stops;         /* ... and they say where chunks end */
    const uint8_t *headers; /* verbatim headers lie in these bytes */
    size_t headers_length;
} rdk_segment_recipe;

/* Reads the recipe of a segment of plain bytes [start, stop). RDK_E_CORRUPT: it breaks its format, is raw, or leaves
 * the segment. Whatever is returned, rdk_segment_recipe_free must follow; `bytes` must live as long. */
int rdk_segment_recipe_read(const uint8_t *bytes, size_t length, uint32_t start, uint32_t stop,
                            rdk_segment_recipe *recipe);
void rdk_segment_recipe_free(rdk_segment_recipe *recipe);

/* Writes a recipe to `at`; returns its length, or SIZE_MAX if it does not fit `capacity`. */
size_t rdk_segment_recipe_write(const rdk_segment_recipe *recipe, uint32_t start, uint8_t *at, size_t capacity);

/* The same for the recipe that holds `bits` wire bits from bit `bit` of `wire` on. */
size_t rdk_segment_recipe_write_raw(const uint8_t *wire, uint32_t bit, uint64_t bits, uint8_t *at, size_t capacity);

bool rdk_segment_recipe_is_raw(const uint8_t *bytes, size_t length);
/* Appends the bits of a raw recipe. RDK_E_CORRUPT, RDK_E_OUTPUT_FULL. */
int rdk_segment_recipe_copy_raw(const uint8_t *bytes, size_t length, rdk_bit_writer *bits);

#endif
