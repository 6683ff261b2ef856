/* Headers of dynamic blocks from HLIT on: RFC 1951 3.2.7. */
#ifndef RDK_DEFLATE_BLOCK_HEADER_H
#define RDK_DEFLATE_BLOCK_HEADER_H

#include <stddef.h>

#include "block.h"

/* RFC 1951 3.2.7: symbols of the code length alphabet below 16 are code lengths. REPEAT repeats the one before 3 to 6
 * times (2 extra bits), ZEROS_SHORT and ZEROS_LONG repeat a zero 3 to 10 (3 bits) and 11 to 138 times (7 bits). A run
 * may cross from literal to distance lengths. */
enum {
    RDK_RUN_REPEAT = 16,
    RDK_RUN_ZEROS_SHORT = 17,
    RDK_RUN_ZEROS_LONG = 18,
    RDK_RUN_MIN = 3, /* of REPEAT and ZEROS_SHORT */
    RDK_RUN_REPEAT_MAX = 6,
    RDK_RUN_ZEROS_LONG_MIN = 11,
    RDK_RUN_ZEROS_LONG_MAX = 138
};

/* One symbol of that alphabet and the value of its extra bits. */
typedef struct rdk_length_run {
    uint8_t symbol, extra;
} rdk_length_run;

/* Makes block->header and header_bits out of an encoder's own run-length coding of `literals` (257 to 286) and
 * `distances` (1 to 30) code lengths, with the lengths of the code length code. */
void rdk_put_header(rdk_block *block, uint32_t literals, uint32_t distances, const rdk_length_run *runs, uint32_t count,
                    const uint8_t code_lengths[RDK_CODE_LENGTH_CODES]);

/* Makes block->header and header_bits out of the block's code lengths as Go's compress/flate and klauspost/compress do:
 * the lengths of both alphabets are run-length coded as one sequence. */
void rdk_joint_header(rdk_block *block, uint32_t literals, uint32_t distances);

/* Reads the header at bit `bit` of `from`, which has `length` bytes. Writes RDK_LITERAL_SYMBOLS and
 * RDK_DISTANCE_SYMBOLS code lengths. Returns the bits that the header takes, or 0: *truncated tells whether it goes on
 * beyond `length`; else it breaks the format. */
uint32_t rdk_read_header(const uint8_t *from, size_t length, uint64_t bit, uint8_t *literal_lengths,
                         uint8_t *distance_lengths, bool *truncated);

#endif
