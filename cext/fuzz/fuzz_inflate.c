/* Inflate of arbitrary bytes: in one call, in small pieces and for its tokens alone the outcome must be the same,
 * within every buffer. */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "reducto_kernel.h"

enum { PLAIN_MAX = 1 << 20, TOKENS_MAX = 1 << 18, BLOCKS_MAX = 4096 };

typedef struct outcome {
    int status;
    uint8_t *plain;
    uint32_t *tokens; /* each is NULL where it was not wanted */
    size_t plain_used, token_used;
} outcome;

/* Feeds `step` bytes more at a time; 0: all at once. */
static outcome run(const uint8_t *data, size_t size, size_t step, bool with_plain, bool with_tokens) {
    rdk_inflate *inflate = rdk_inflate_new();
    rdk_inflate_io io = {.plain_capacity = PLAIN_MAX, .block_capacity = BLOCKS_MAX};
    outcome result = {.status = RDK_INFLATE_INPUT};
    size_t used = 0, shown = step ? 0 : size;
    io.blocks = malloc(BLOCKS_MAX * sizeof *io.blocks);
    if (with_plain) io.plain = malloc(PLAIN_MAX);
    if (with_tokens) {
        io.tokens = malloc(TOKENS_MAX * sizeof *io.tokens);
        io.token_capacity = TOKENS_MAX;
    }
    for (;;) {
        uint8_t *exact = malloc(shown - used + !(shown - used)); /* so that a read beyond the input is seen */
        memcpy(exact, data + used, shown - used);
        io.input = exact;
        io.input_length = shown - used;
        if (io.input_length == 0) io.bit = 0;
        result.status = rdk_inflate_run(inflate, &io);
        free(exact);
        used += io.input_used;
        if (result.status != RDK_INFLATE_INPUT || shown == size) break;
        shown = size - shown < step ? size : shown + step;
    }
    result.plain = io.plain;
    result.tokens = io.tokens;
    result.plain_used = io.plain_used;
    result.token_used = io.token_used;
    free(io.blocks);
    rdk_inflate_free(inflate);
    return result;
}

static void check_same(outcome a, outcome b) {
    if (a.status == RDK_INFLATE_OUTPUT || b.status == RDK_INFLATE_OUTPUT) return;
    if (a.status != b.status || a.plain_used != b.plain_used) abort();
    if (a.plain && b.plain && memcmp(a.plain, b.plain, a.plain_used) != 0) abort();
    if (!a.tokens || !b.tokens) return;
    if (a.token_used != b.token_used || memcmp(a.tokens, b.tokens, a.token_used * sizeof *a.tokens) != 0) abort();
}

static void release(outcome result) {
    free(result.plain);
    free(result.tokens);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2) return 0;
    size_t step = 1 + data[0] % 64;
    outcome whole = run(data + 1, size - 1, 0, true, false), pieces = run(data + 1, size - 1, step, true, data[0] & 1);
    outcome both = run(data + 1, size - 1, 0, true, true),
            tokens = run(data + 1, size - 1, data[0] & 2 ? step : 0, false, true);
    check_same(whole, pieces);
    check_same(whole, tokens);
    check_same(both, tokens);
    release(whole);
    release(pieces);
    release(both);
    release(tokens);
    return 0;
}
