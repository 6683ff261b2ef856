/* Rebuilding with arbitrary recipes, models and shapes: any status, no access outside the buffers. */
#include <stdlib.h>
#include <string.h>

#include "reducto_kernel.h"

enum { PLAIN_BYTES = 90000 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 8) return 0;
    uint32_t length = PLAIN_BYTES >> (data[1] & 7), state = data[2] | 1u, kind = data[2] & 3;
    uint8_t *plain = malloc(length);
    for (uint32_t i = 0; i < length; i++) {
        state = state * 1664525u + 1013904223u;
        plain[i] = kind == 0   ? 0
                   : kind == 1 ? (uint8_t)(state >> 24)
                               : (uint8_t)(state >> 30) + (kind == 2 ? (uint8_t)(i >> 6) : 0);
    }
    rdk_segment segment = {.plain = plain, .length = length, .bit = data[3] & 7, .offset = (uint64_t)data[4] << 13};
    segment.model = rdk_model_at(data[0] % rdk_model_count());
    segment.start = (uint32_t)((uint64_t)length * data[5] / 256);
    segment.stop = segment.start + (uint32_t)((uint64_t)(length - segment.start) * data[6] / 255);
    segment.ends = data[3] >> 3 & 1;
    segment.last = segment.ends && segment.stop == length;
    segment.member_param = data[3] >> 4;
    size_t capacity = (data[1] & 8) ? 64 : 2 * (size_t)length + 1024;
    uint8_t *wire = malloc(capacity), *recipe = malloc(size - 7);
    uint64_t bits = 0;
    memcpy(recipe, data + 7, size - 7);
    int status = rdk_segment_rebuild(&segment, recipe, size - 7, wire, capacity, &bits);
    if (status == RDK_OK && (bits + segment.bit + 7) / 8 > capacity) abort();
    status = rdk_segment_rebuild(&segment, recipe, 0, wire, capacity, &bits);
    if (status == RDK_OK && (bits + segment.bit + 7) / 8 > capacity) abort();
    free(plain);
    free(wire);
    free(recipe);
    return 0;
}
