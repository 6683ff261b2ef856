/* Where one chunk ends: for the chunker and the matcher. */
#ifndef RDK_MATCHING_CHUNK_H
#define RDK_MATCHING_CHUNK_H

#include "reducto_kernel.h"

/* Returns the length of the chunk that starts at `data`, of which `limit` bytes may be used; end_forced says that there
 * is a boundary behind the last of them in any case. Returns 0 if more data could change the answer. *flags becomes its
 * rdk_chunk_flag. `p` must be valid. */
size_t rdk_next_cut(const rdk_chunk_params *p, const uint8_t *data, size_t limit, int end_forced, uint32_t *flags);

/* Tells whether parameters are inside their ranges (rdk_chunk_params); false for NULL. */
int rdk_chunk_params_valid(const rdk_chunk_params *p);

#endif
