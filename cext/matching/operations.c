/* Executing operations, encoding and decoding them, and questions about them. */
#include <string.h>

#include "base/leb128.h"
#include "reducto_kernel.h"

/* ---- executing ------------------------------------------------------------------------------------------------- */

/* A part of an operation. */
typedef struct {
    uint64_t source, length;
    uint32_t reference;
} part;

/* Skips *skip bytes of the output of the operations from *at on, then takes the next at most *left bytes that one
 * operation yields; moves all three on. Returns 0 at the end. */
static int next_part(const rdk_operation *operations, size_t count, size_t *at, uint64_t *skip, uint64_t *left,
                     part *out) {
    while (*at < count && *left) {
        const rdk_operation *op = operations + (*at)++;
        if (*skip >= op->length) {
            *skip -= op->length;
            continue;
        }
        uint64_t length = op->length - *skip;
        out->source = op->source + *skip;
        out->length = length < *left ? length : *left;
        out->reference = op->reference;
        *skip = 0;
        *left -= out->length;
        return 1;
    }
    return 0;
}

/* The same with the bytes themselves. Returns 1, 0 at the end, or RDK_E_CORRUPT if they leave their reference. */
static int next_bytes(const rdk_reference *references, size_t reference_count, const rdk_operation *operations,
                      size_t count, size_t *at, uint64_t *skip, uint64_t *left, const uint8_t **bytes,
                      uint64_t *length) {
    part p;
    if (!next_part(operations, count, at, skip, left, &p)) return 0;
    if (p.reference >= reference_count) return RDK_E_CORRUPT;
    const rdk_reference *r = references + p.reference;
    if (p.source > r->plain_length || r->plain_length - p.source < p.length) return RDK_E_CORRUPT;
    *bytes = r->plain + p.source;
    *length = p.length;
    return 1;
}

int64_t rdk_execute(const rdk_reference *references, size_t reference_count, const rdk_operation *operations,
                    size_t count, uint64_t skip, uint8_t *out, uint64_t length) {
    uint64_t left = length, some;
    const uint8_t *bytes;
    size_t at = 0;
    int more;
    for (; (more = next_bytes(references, reference_count, operations, count, &at, &skip, &left, &bytes, &some)) > 0;
         out += some)
        memcpy(out, bytes, some);
    return more < 0 ? more : (int64_t)(length - left);
}

int rdk_yields(const rdk_reference *references, size_t reference_count, const rdk_operation *operations, size_t count,
               uint64_t skip, const uint8_t *expected, uint64_t length) {
    uint64_t left = length, some;
    const uint8_t *bytes;
    size_t at = 0;
    int more;
    while ((more = next_bytes(references, reference_count, operations, count, &at, &skip, &left, &bytes, &some)) > 0) {
        if (memcmp(expected, bytes, some) != 0) return 0;
        expected += some;
    }
    return more < 0 ? more : left == 0;
}

int64_t rdk_touched(const rdk_operation *operations, size_t count, uint64_t skip, uint64_t length, uint32_t reference,
                    uint64_t segment_bytes, uint8_t *marks, uint64_t mark_count) {
    size_t at = 0;
    int64_t marked = 0;
    part p;
    while (next_part(operations, count, &at, &skip, &length, &p)) {
        if (p.reference != reference || !p.length) continue;
        uint64_t last = (p.source + p.length - 1) / segment_bytes;
        if (last >= mark_count) return RDK_E_CORRUPT;
        for (uint64_t s = p.source / segment_bytes; s <= last; s++) {
            marked += !marks[s];
            marks[s] = 1;
        }
    }
    return marked;
}

/* ---- the stored form ------------------------------------------------------------------------------------------- */

/* The columns in their order: frozen. */
enum { LENGTHS, REFERENCES, MOVES, COLUMNS };

/* No blob is as long as one operation or the sum of all. */
#define LENGTH_MAX (UINT64_C(1) << 56)
#define TOTAL_MAX (UINT64_C(1) << 60)

/* Where each reference would be read next at the distance of the latest copy out of it. A move is the difference from
 * that, mostly 0. */
typedef struct {
    uint64_t expected[RDK_REFERENCES_MAX + 1];
    uint64_t new_length;
} positions;

static void advance(positions *d, const rdk_operation *op) {
    for (uint32_t r = 0; r <= RDK_REFERENCES_MAX; r++) d->expected[r] += op->length;
    if (op->is_new) d->new_length += op->length;
    else d->expected[op->reference] = op->source + op->length;
}

int64_t rdk_operations_encode(const rdk_operation *operations, size_t count, uint32_t references, uint8_t *out,
                              size_t capacity, uint64_t *column_lengths) {
    positions d = {{0}, 0};
    size_t each = capacity / COLUMNS;
    uint8_t *at[COLUMNS], *start[COLUMNS];
    if (references > RDK_REFERENCES_MAX) return RDK_E_ARGUMENT;
    for (int c = 0; c < COLUMNS; c++) at[c] = start[c] = out + each * (size_t)c;
    for (size_t i = 0; i < count; i++) {
        const rdk_operation *op = operations + i;
        uint64_t kind = op->is_new ? 0 : op->reference + 1;
        if (op->reference >= references || (op->is_new && op->source != d.new_length)) return RDK_E_ARGUMENT;
        if (!rdk_leb128_append(&at[LENGTHS], start[LENGTHS] + each, op->length) ||
            !rdk_leb128_append(&at[REFERENCES], start[REFERENCES] + each, kind))
            return RDK_E_OUTPUT_FULL;
        if (!op->is_new &&
            !rdk_leb128_append(&at[MOVES], start[MOVES] + each, rdk_zigzag(op->source - d.expected[op->reference])))
            return RDK_E_OUTPUT_FULL;
        advance(&d, op);
    }
    uint8_t *end = out;
    for (int c = 0; c < COLUMNS; c++) {
        column_lengths[c] = (uint64_t)(at[c] - start[c]);
        memmove(end, start[c], column_lengths[c]);
        end += column_lengths[c];
    }
    return end - out;
}

int64_t rdk_operations_decode(const uint8_t *columns, const uint64_t *column_lengths, uint32_t references,
                              rdk_operation *operations, size_t capacity) {
    positions d = {{0}, 0};
    const uint8_t *at[COLUMNS], *end[COLUMNS];
    size_t count = 0;
    if (references > RDK_REFERENCES_MAX) return RDK_E_ARGUMENT;
    for (int c = 0; c < COLUMNS; c++) {
        at[c] = c ? end[c - 1] : columns;
        end[c] = at[c] + column_lengths[c];
    }
    while (at[LENGTHS] < end[LENGTHS]) {
        uint64_t length, kind, move;
        if (count == capacity) return RDK_E_OUTPUT_FULL;
        if (!rdk_leb128_read(&at[LENGTHS], end[LENGTHS], 64, &length) ||
            !rdk_leb128_read(&at[REFERENCES], end[REFERENCES], 64, &kind) || kind > references || length == 0 ||
            length > LENGTH_MAX)
            return RDK_E_CORRUPT;
        rdk_operation *op = operations + count++;
        *op = (rdk_operation){length, d.new_length, RDK_OWN, kind == 0};
        if (kind) {
            op->reference = (uint32_t)kind - 1;
            if (!rdk_leb128_read(&at[MOVES], end[MOVES], 64, &move)) return RDK_E_CORRUPT;
            op->source = d.expected[op->reference] + rdk_unzigzag(move);
        }
        advance(&d, op);
    }
    return at[REFERENCES] == end[REFERENCES] && at[MOVES] == end[MOVES] ? (int64_t)count : RDK_E_CORRUPT;
}

/* ---- questions ------------------------------------------------------------------------------------------------- */

int rdk_renumber(rdk_operation *operations, size_t count, const uint32_t *map, size_t map_length) {
    for (size_t i = 0; i < count; i++) {
        if (operations[i].reference >= map_length) return RDK_E_ARGUMENT;
        operations[i].reference = map[operations[i].reference];
    }
    return RDK_OK;
}

int64_t rdk_operation_starts(const rdk_operation *operations, size_t count, size_t stride, uint64_t *starts,
                             size_t capacity) {
    uint64_t total = 0;
    size_t entries = 0;
    if (stride == 0) return RDK_E_ARGUMENT;
    for (size_t i = 0; i < count; i++) {
        if (i % stride == 0) {
            if (entries + 1 >= capacity) return RDK_E_OUTPUT_FULL;
            starts[entries++] = total;
        }
        if (operations[i].length > TOTAL_MAX - total) return RDK_E_CORRUPT;
        total += operations[i].length;
    }
    starts[entries++] = total;
    return (int64_t)entries;
}

int rdk_operation_totals(const rdk_operation *operations, size_t count, uint64_t *totals) {
    memset(totals, 0, RDK_REFERENCES_MAX * sizeof *totals);
    for (size_t i = 0; i < count; i++) {
        if (operations[i].reference >= RDK_REFERENCES_MAX) return RDK_E_CORRUPT;
        totals[operations[i].reference] += operations[i].length;
    }
    return RDK_OK;
}

int64_t rdk_unmatched_ranges(const rdk_operation *operations, size_t count, uint64_t plain_offset, uint64_t length_min,
                             rdk_unmatched_range *out, size_t capacity) {
    size_t found = 0;
    for (size_t i = 0; i < count; i++) {
        const rdk_operation *op = operations + i;
        if (op->is_new && op->length >= length_min) {
            if (found == capacity) return RDK_E_OUTPUT_FULL;
            out[found++] = (rdk_unmatched_range){i, plain_offset, op->source, op->length};
        }
        plain_offset += op->length;
    }
    return (int64_t)found;
}
