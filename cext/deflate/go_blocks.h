/* How Go's compress/flate (1.19 to 1.26) writes blocks: dynamic, as literals only, or stored. Shared by its two
 * families. */
#ifndef RDK_DEFLATE_GO_BLOCKS_H
#define RDK_DEFLATE_GO_BLOCKS_H

#include "block.h"

/* Longest stored block, and the input that the levels without chains take at a time: maxStoreBlockSize of Go's
 * deflate.go. */
enum { RDK_GO_STORED_BYTES_MAX = RDK_STORED_BYTES_MAX };

/* Makes a dynamic block from the block's counts; a distance symbol is counted if there is none, as Go's indexTokens
 * does. Returns its size in bits without the extra bits. */
uint64_t rdk_go_dynamic(rdk_block *block);

/* Makes the block one of its plain bytes as literals; STORED when that is smaller by a sixteenth, unless `forced` (Go's
 * writeBlockHuff). */
void rdk_go_literals(rdk_block *block, bool forced);

/* Returns the size in bits that Go assumes of a stored block: its header counts as five whole bytes. */
static inline uint64_t rdk_go_stored_bits(uint32_t plain_length) { return ((uint64_t)plain_length + 5) * 8; }

#endif
