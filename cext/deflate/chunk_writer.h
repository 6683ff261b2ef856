/* From a finished chunk of tokens to bits: asking the model how it is written, and writing it. */
#ifndef RDK_DEFLATE_CHUNK_WRITER_H
#define RDK_DEFLATE_CHUNK_WRITER_H

#include "replay_state.h"

/* Makes replay->block what the model answers when `want` is wanted (AUTO: what it decides). */
void rdk_ask_model(rdk_run *run, uint8_t want);

/* Makes replay->block a VERBATIM or VERBATIM_LITERALS one with the header in `header`, which has `bits` bits and at
 * most `length` bytes. The replay's status becomes RDK_E_CORRUPT if that is no header. */
void rdk_use_verbatim_header(rdk_replay *replay, uint8_t kind, const uint8_t *header, size_t length, uint32_t bits);

/* Writes replay->block. The replay's status becomes RDK_E_CORRUPT if a stored block is too long or REUSE has no open
 * block. */
void rdk_write_chunk(rdk_replay *replay);

/* Writes the end of the open block, if there is one. A block stays open until then, because the next chunk may be part
 * of it. */
void rdk_end_open_block(rdk_replay *replay);

#endif
