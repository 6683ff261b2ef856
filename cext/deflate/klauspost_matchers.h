/* The matchers of the klauspost family. */
#ifndef RDK_DEFLATE_KLAUSPOST_MATCHERS_H
#define RDK_DEFLATE_KLAUSPOST_MATCHERS_H

#include "klauspost_common.h"

/* Levels 1 to 3 (klauspost_sparse.c) and 4 to 6 (klauspost_double.c): code one chunk. `old` and `mistaken` say that the
 * version has KP_OLD and KP_MISTAKEN. */
void kp_level1(kp_chunk *chunk, bool old);
void kp_level2(kp_chunk *chunk, bool old);
void kp_level3(kp_chunk *chunk, bool old);
void kp_level4(kp_chunk *chunk, bool mistaken);
void kp_level5(kp_chunk *chunk, bool old);
void kp_level6(kp_chunk *chunk, bool old);

/* Levels 7 to 9 (klauspost_lazy.c) from `position` to `end`, where a flush or the end of the input follows (UINT32_MAX:
 * out of sight). Returns where the run then is. The input began at `origin`, and history is known from `history` on. */
uint32_t kp_lazy(rdk_run *run, int64_t origin, uint32_t history, uint32_t position, uint32_t end);

#endif
