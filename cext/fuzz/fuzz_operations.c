/* Hostile operations and tar streams: whatever decodes stays inside its references, and pieces change nothing. */
#include <stdlib.h>
#include <string.h>

#include "reducto_kernel.h"

enum { PLAIN = 4096, OUT = 1 << 16, MEMBERS_MAX = 4096, MARKS = 8 };

static void run_operations(const uint8_t *data, size_t size) {
    uint64_t lengths[3] = {data[0] % (size - 2), 0, 0};
    size_t left = size - 2 - (size_t)lengths[0];
    lengths[1] = data[1] % (left + 1);
    lengths[2] = left - lengths[1];
    rdk_operation *operations = malloc((size + 1) * sizeof *operations);
    int64_t count = rdk_operations_decode(data + 2, lengths, 3, operations, size);
    if (count > 0) {
        uint8_t *plain = calloc(1, PLAIN), *out = malloc(OUT), marks[MARKS] = {0};
        uint64_t starts[64], totals[RDK_REFERENCES_MAX];
        rdk_reference references[3] = {
            {plain, PLAIN, NULL, 0, 0}, {plain, PLAIN / 2, NULL, 0, 0}, {plain, 1, NULL, 0, 0}};
        int64_t made = rdk_execute(references, 3, operations, (size_t)count, data[0], out, OUT);
        if (made >= 0 && rdk_yields(references, 3, operations, (size_t)count, data[0], out, (uint64_t)made) != 1)
            abort();
        if (made < 0 && rdk_yields(references, 3, operations, (size_t)count, data[0], out, OUT) == 1) abort();
        rdk_touched(operations, (size_t)count, data[1], OUT, 1, PLAIN / MARKS, marks, MARKS);
        rdk_operation_starts(operations, (size_t)count, 7, starts, 64);
        rdk_operation_totals(operations, (size_t)count, totals);
        free(out);
        free(plain);
    }
    free(operations);
}

static void run_tar(const uint8_t *data, size_t size) {
    rdk_tar_member *whole = malloc(MEMBERS_MAX * sizeof *whole), *pieces = malloc(MEMBERS_MAX * sizeof *pieces);
    rdk_tar_walk walk;
    rdk_tar_start(&walk);
    int64_t first = rdk_tar_feed(&walk, data, size, whole, MEMBERS_MAX), second = 0;
    rdk_tar_start(&walk);
    for (size_t at = 0, step = 1 + data[0] % 200; at < size && second >= 0; at += step) {
        size_t length = size - at < step ? size - at : step;
        int64_t more = rdk_tar_feed(&walk, data + at, length, pieces + second, MEMBERS_MAX - (size_t)second);
        second = more < 0 ? more : second + more;
    }
    if (first != second || (first > 0 && memcmp(whole, pieces, (size_t)first * sizeof *whole))) abort();
    free(pieces);
    free(whole);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 3) return 0;
    run_operations(data, size);
    run_tar(data, size);
    return 0;
}
