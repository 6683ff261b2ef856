/* Matching arbitrary bytes against an arbitrary reference: the operations execute to the input, survive being encoded,
 * and delta bases stay inside the reference. The first bytes say where the reference ends and how the input arrives. */
#include <stdlib.h>
#include <string.h>

#include "reducto_kernel.h"

enum { CHUNKS_MAX = 4096, OPERATIONS_MAX = 8192 };

static void require(int holds) {
    if (!holds) abort();
}

/* Indexes `plain`; the table is the caller's to free. */
static rdk_reference index_of(const uint8_t *plain, size_t length, const rdk_chunk_params *params) {
    rdk_chunk *chunks = malloc(CHUNKS_MAX * sizeof *chunks);
    size_t consumed;
    int64_t count = rdk_chunk_scan(params, plain, length, 1, NULL, 0, chunks, CHUNKS_MAX, &consumed);
    require(count >= 0);
    rdk_entry *entries = malloc(((size_t)count + 1) * sizeof *entries);
    for (int64_t i = 0; i < count; i++) entries[i] = (rdk_entry){chunks[i].fingerprint, chunks[i].offset};
    uint64_t kept = rdk_index_sort(entries, (uint64_t)count), home = rdk_index_home_slots(kept);
    uint64_t slot_count = home + kept + 1, next = 0;
    rdk_entry *slots = malloc(slot_count * sizeof *slots);
    memset(slots, 0xff, slot_count * sizeof *slots);
    require(rdk_index_place(entries, kept, home, slots, slot_count, &next) == RDK_OK);
    slot_count = next > home ? next : home;
    for (uint64_t i = 0; i < kept; i++)
        require(rdk_index_find(slots, slot_count, home, entries[i].fingerprint) == entries[i].offset);
    free(entries);
    free(chunks);
    return (rdk_reference){plain, length, slots, slot_count, home};
}

static size_t match_all(rdk_reference *references, const uint8_t *data, size_t length, size_t step,
                        const rdk_chunk_params *params, uint8_t *new_bytes, uint64_t *new_length, rdk_operation *out) {
    rdk_matcher *matcher = rdk_matcher_new(params);
    size_t at = 0, shown = 0, count = 0;
    while (at < length) {
        shown = length - shown < step ? length : shown + step;
        rdk_match_call call = {
            .window = data + at,
            .length = shown - at,
            .final = shown == length,
            .references = references,
            .reference_count = 2,
            .new_bytes = new_bytes,
            .new_length = *new_length,
            .operations = out + count,
            .capacity = OPERATIONS_MAX - count < 64 ? OPERATIONS_MAX - count : 64,
        };
        require(rdk_match(matcher, &call) == RDK_OK);
        *new_length = call.new_length;
        count += call.operation_count;
        at += call.consumed;
        if (OPERATIONS_MAX - count < 16) break;
    }
    rdk_matcher_free(matcher);
    return count;
}

static void check_bases(rdk_reference *references, const rdk_operation *operations, size_t count) {
    uint8_t *has = malloc(count + 1);
    rdk_extent *extents = malloc((2 * count + 1) * sizeof *extents);
    int64_t found = rdk_delta_bases(references, 2, operations, count, NULL, 0, 4096, has, extents, 2 * count + 1);
    require(found >= 0);
    found = rdk_extents_join(extents, (size_t)found, 64);
    for (int64_t i = 0; i < found; i++)
        require(extents[i].reference == 1 && extents[i].offset + extents[i].length <= references[1].plain_length);
    free(extents);
    free(has);
}

static void check_encoding(const rdk_operation *operations, size_t count) {
    uint8_t *columns = malloc(count * 30 + 64);
    rdk_operation *again = malloc((count + 1) * sizeof *again);
    uint64_t lengths[3];
    require(rdk_operations_encode(operations, count, 2, columns, count * 30 + 64, lengths) >= 0);
    require(rdk_operations_decode(columns, lengths, 2, again, count) == (int64_t)count);
    require(!memcmp(operations, again, count * sizeof *again));
    free(again);
    free(columns);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 4) return 0;
    size_t step = 1 + data[0] * 97u, split = (data[1] | (size_t)data[2] << 8) % (size - 3);
    rdk_chunk_params params = {64, 96, 512, 7, 3, 9, data[0] & 1};
    const uint8_t *input = data + 3 + split;
    size_t length = size - 3 - split;
    uint8_t *reference = malloc(split + 1), *exact = malloc(length + 1);
    memcpy(reference, data + 3, split);
    memcpy(exact, input, length);
    rdk_reference references[2] = {{0}, index_of(reference, split, &params)};
    uint8_t *new_bytes = malloc(2 * length + 1), *rebuilt = malloc(length + 1);
    rdk_operation *operations = malloc(OPERATIONS_MAX * sizeof *operations);
    uint64_t new_length = 0;
    size_t count = match_all(references, exact, length, step, &params, new_bytes, &new_length, operations);
    references[0] = (rdk_reference){new_bytes, new_length, NULL, 0, 0};
    int64_t done = rdk_execute(references, 2, operations, count, 0, rebuilt, length);
    require(done >= 0 && !memcmp(rebuilt, exact, (size_t)done));
    require(done == (int64_t)length || OPERATIONS_MAX - count < 16);
    check_bases(references, operations, count);
    check_encoding(operations, count);
    free(operations);
    free(rebuilt);
    free(new_bytes);
    free((void *)references[1].slots);
    free(exact);
    free(reference);
    return 0;
}
