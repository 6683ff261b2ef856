/* Inflate of arbitrary bytes: in one call and in small pieces the outcome must be the same, within every buffer. */
#include <stdlib.h>
#include <string.h>

#include "reducto_kernel.h"

enum { PLAIN_MOST = 1 << 20, TOKENS_MOST = 1 << 18, BLOCKS_MOST = 4096 };

/* Feeds `step` bytes more at a time (0: all at once); returns the last status. */
static int run(const uint8_t *data, size_t size, size_t step, int with_tokens, uint8_t *plain, size_t *plain_used) {
    rdk_inflate *inflate = rdk_inflate_new();
    rdk_inflate_io io = {.plain = plain, .plain_capacity = PLAIN_MOST, .block_capacity = BLOCKS_MOST};
    int status = RDK_INFLATE_INPUT;
    size_t used = 0, shown = step ? 0 : size;
    io.blocks = malloc(BLOCKS_MOST * sizeof *io.blocks);
    if (with_tokens) {
        io.tokens = malloc(TOKENS_MOST * sizeof *io.tokens);
        io.token_capacity = TOKENS_MOST;
    }
    for (;;) {
        uint8_t *exact = malloc(shown - used + !(shown - used)); /* so that a read beyond the input is seen */
        memcpy(exact, data + used, shown - used);
        io.input = exact;
        io.input_length = shown - used;
        if (io.input_length == 0) io.bit = 0;
        status = rdk_inflate_run(inflate, &io);
        free(exact);
        used += io.input_used;
        if (status != RDK_INFLATE_INPUT || shown == size) break;
        shown = size - shown < step ? size : shown + step;
    }
    *plain_used = io.plain_used;
    free(io.tokens);
    free(io.blocks);
    rdk_inflate_free(inflate);
    return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2) return 0;
    size_t step = 1 + data[0] % 64, whole = 0, pieces = 0;
    uint8_t *a = malloc(PLAIN_MOST), *b = malloc(PLAIN_MOST);
    int first = run(data + 1, size - 1, 0, 0, a, &whole), second = run(data + 1, size - 1, step, data[0] & 1, b, &pieces);
    if (second != RDK_INFLATE_OUTPUT && first != RDK_INFLATE_OUTPUT && (first != second || whole != pieces || memcmp(a, b, whole) != 0))
        abort();
    free(a);
    free(b);
    return 0;
}
