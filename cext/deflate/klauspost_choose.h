/* How the klauspost family writes a chunk: rdk_model.choose and chosen. */
#ifndef RDK_DEFLATE_KLAUSPOST_CHOOSE_H
#define RDK_DEFLATE_KLAUSPOST_CHOOSE_H

#include "klauspost_common.h"

void kp_choose(rdk_run *run, rdk_block *block, uint8_t want);
void kp_chosen(rdk_run *run, const rdk_block *block);

#endif
