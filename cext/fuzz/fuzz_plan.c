/* Planning an arbitrary valid deflate stream under an arbitrary model: a recipe that is handed out rebuilds the stream.
 */
#include <stdlib.h>
#include <string.h>

#include "reducto_kernel.h"

enum { PLAIN_MAX = 1 << 18, BLOCKS_MAX = 1 << 14 };

static void check_plan(const uint8_t *wire, size_t wire_length, uint64_t bits, const uint8_t *plain,
                       uint32_t plain_length, int model) {
    rdk_segment segment = {
        .plain = plain, .stop = plain_length, .length = plain_length, .ends = 1, .last = 1, .model = model};
    size_t capacity = wire_length + 64, recipe_length = 0;
    uint8_t *recipe = malloc(capacity), *again = malloc(wire_length + 8);
    uint32_t corrections = 0;
    uint64_t rebuilt = 0;
    if (rdk_segment_plan(&segment, wire, wire_length, bits, 1000, recipe, capacity, &recipe_length, &corrections) ==
        RDK_OK) {
        if (rdk_segment_rebuild(&segment, recipe, recipe_length, again, wire_length + 8, &rebuilt) != RDK_OK ||
            rebuilt != bits)
            abort();
        uint32_t tail = bits & 7;
        if (memcmp(again, wire, bits / 8) != 0) abort();
        if (tail && ((again[bits / 8] ^ wire[bits / 8]) & ((1u << tail) - 1))) abort();
    }
    free(recipe);
    free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2) return 0;
    rdk_inflate *inflate = rdk_inflate_new();
    rdk_inflate_io io = {
        .input = data + 1, .input_length = size - 1, .plain_capacity = PLAIN_MAX, .block_capacity = BLOCKS_MAX};
    io.plain = malloc(PLAIN_MAX);
    io.blocks = malloc(BLOCKS_MAX * sizeof *io.blocks);
    if (rdk_inflate_run(inflate, &io) == RDK_INFLATE_DONE) {
        uint64_t bits = (uint64_t)io.input_used * 8 + io.bit;
        uint8_t *plain = malloc(io.plain_used + 1);
        memcpy(plain, io.plain, io.plain_used);
        int model = rdk_model_at(data[0] % rdk_model_count());
        check_plan(data + 1, (size_t)(bits + 7) / 8, bits, plain, (uint32_t)io.plain_used, model);
        free(plain);
    }
    rdk_inflate_free(inflate);
    free(io.plain);
    free(io.blocks);
    return 0;
}
