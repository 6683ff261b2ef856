/* What the models of Go's compress/flate (1.19 to 1.26) share: its three ways to write a block. */
#ifndef RDK_DEFLATE_GO_H
#define RDK_DEFLATE_GO_H

#include "model.h"

enum { GO_CHUNK_BYTES = 65535 };

/* Tables from the block's counts; without a match one distance symbol is counted. Size in bits, extra bits not counted.
 */
uint64_t rdk_go_dynamic(rdk_block *block);

/* Tables for the plain bytes as literals; STORED when that gains less than a sixteenth, unless `forced`. */
void rdk_go_literals(rdk_block *block, bool forced);

static inline uint64_t rdk_go_stored_bits(uint32_t plain_length) { return ((uint64_t)plain_length + 5) * 8; }
#endif
