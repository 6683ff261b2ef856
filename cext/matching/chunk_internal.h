/* What the matcher shares with the chunker. */
#ifndef RDK_CHUNK_INTERNAL_H
#define RDK_CHUNK_INTERNAL_H

#include "reducto_kernel.h"

/* Length of the chunk that starts at data, where `limit` bytes may be used and end_forced says that the last of
 * them is a boundary in any case. Returns 0 if more data could change the answer. */
size_t rdk_next_cut(const rdk_chunk_params *p, const uint8_t *data, size_t limit, int end_forced, uint32_t *flags);
int rdk_chunk_params_valid(const rdk_chunk_params *p);

#endif
