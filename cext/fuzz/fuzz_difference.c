/* Hostile columns never read or write out of bounds, and pieces change nothing; what is found between any two inputs is
 * whole, and comes back out of its columns. */
#include <stdlib.h>
#include <string.h>

#include "reducto_kernel.h"

enum { COLUMNS = RDK_DIFFERENCE_COLUMNS, OUT = 1 << 12, INPUT_MAX = 1 << 13 };

static void require(int holds) {
    if (!holds) abort();
}

static int read_in_pieces(rdk_difference_reader reader, uint8_t *out, size_t length, size_t step) {
    for (size_t at = 0; at < length; at += step)
        if (rdk_difference_read(&reader, out + at, length - at < step ? length - at : step) != RDK_OK) return 0;
    return 1;
}

/* The first bytes are the columns' shares; the last column's rest is the old bytes, each in memory of its own. */
static void run_hostile(const uint8_t *data, size_t size) {
    rdk_difference_reader reader;
    uint8_t *parts[COLUMNS + 1], *whole = malloc(OUT), *pieces = malloc(OUT);
    const uint8_t *next = data + COLUMNS;
    size_t left = size - COLUMNS;
    memset(&reader, 0, sizeof reader);
    for (int c = 0; c <= COLUMNS; c++) {
        size_t length = c < COLUMNS ? left * (data[c] & 15) / 32 : left;
        parts[c] = malloc(length + 1);
        memcpy(parts[c], next, length);
        parts[c] = realloc(parts[c], length ? length : 1);
        next += length;
        left -= length;
        if (c < COLUMNS) reader.columns[c] = parts[c], reader.lengths[c] = length;
        else reader.old = parts[c], reader.old_length = length;
    }
    for (size_t length = 1; length <= OUT; length *= 4)
        if (read_in_pieces(reader, whole, length, length)) {
            require(read_in_pieces(reader, pieces, length, 1 + data[0] % 7));
            require(memcmp(whole, pieces, length) == 0);
        }
    for (int c = 0; c <= COLUMNS; c++) free(parts[c]);
    free(whole);
    free(pieces);
}

static void run_round_trip(const uint8_t *data, size_t size) {
    size_t old_length = size * data[0] / 256, length = size - old_length;
    const uint8_t *old = data, *new_bytes = data + old_length;
    rdk_difference *found = malloc((length + 1) * sizeof *found);
    int64_t count = rdk_difference_find(old, old_length, new_bytes, length, UINT64_MAX, found, length + 1);
    require(count >= 0);
    rdk_difference *some = malloc((length + 1) * sizeof *some);
    int64_t given_up = rdk_difference_find(old, old_length, new_bytes, length, data[1], some, length + 1);
    require(given_up == RDK_E_OUTPUT_FULL ||
            (given_up == count && memcmp(some, found, (size_t)count * sizeof *some) == 0));
    free(some);
    rdk_difference_column columns[COLUMNS];
    rdk_difference_reader reader;
    memset(&reader, 0, sizeof reader);
    for (int c = 0; c < COLUMNS; c++) columns[c] = (rdk_difference_column){malloc(2 * length + 64), 2 * length + 64, 0};
    require(rdk_difference_write(old, old_length, new_bytes, length, found, (size_t)count, columns) == RDK_OK);
    for (int c = 0; c < COLUMNS; c++) reader.columns[c] = columns[c].bytes, reader.lengths[c] = columns[c].length;
    reader.old = old;
    reader.old_length = old_length;
    uint8_t *again = malloc(length + 1);
    require(read_in_pieces(reader, again, length, 1 + data[0]));
    require(memcmp(again, new_bytes, length) == 0);
    int c = data[0] % COLUMNS;
    columns[c].capacity = columns[c].length / 2;
    if (columns[c].length)
        require(rdk_difference_write(old, old_length, new_bytes, length, found, (size_t)count, columns) ==
                RDK_E_OUTPUT_FULL);
    for (c = 0; c < COLUMNS; c++) free(columns[c].bytes);
    free(again);
    free(found);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < COLUMNS + 1) return 0;
    size = size < INPUT_MAX ? size : INPUT_MAX;
    run_hostile(data, size);
    run_round_trip(data, size);
    return 0;
}
