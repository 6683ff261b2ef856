/* Differences as columns, and new bytes out of columns (api/21_difference.h). */
#include "base/bytes.h"
#include "base/leb128.h"
#include "reducto_kernel.h"

/* The columns in their order: frozen. */
enum { NEAR, LITERAL, MOVES, SAME, CHANGED, ADDED, LITERALS };

/* ---- writing --------------------------------------------------------------------------------------------------- */

static int put_number(rdk_difference_column *column, uint64_t value) {
    uint8_t *at = column->bytes + column->length;
    if (!rdk_leb128_append(&at, column->bytes + column->capacity, value)) return RDK_E_OUTPUT_FULL;
    column->length = (uint64_t)(at - column->bytes);
    return RDK_OK;
}

static int put_bytes(rdk_difference_column *column, const uint8_t *bytes, size_t length) {
    if (column->capacity - column->length < length) return RDK_E_OUTPUT_FULL;
    if (length) memcpy(column->bytes + column->length, bytes, length);
    column->length += length;
    return RDK_OK;
}

/* A run of near bytes: `same` unchanged ones, then `changed` ones. Runs continue from one difference to the next. */
typedef struct {
    uint64_t same, changed;
} runs;

/* Writes a run and begins the next one. */
static int put_runs(rdk_difference_column *columns, runs *r) {
    if (put_number(columns + SAME, r->same) || put_number(columns + CHANGED, r->changed)) return RDK_E_OUTPUT_FULL;
    *r = (runs){0, 0};
    return RDK_OK;
}

/* Adds near bytes to the present run, and writes the runs that end in them. */
static int put_near(rdk_difference_column *columns, runs *r, const uint8_t *old, const uint8_t *new_bytes,
                    size_t length) {
    rdk_difference_column *added = columns + ADDED;
    for (size_t i = 0; i < length;) {
        size_t equal = rdk_equal_long(new_bytes + i, old + i, length - i);
        if (equal && r->changed && put_runs(columns, r)) return RDK_E_OUTPUT_FULL;
        r->same += equal;
        i += equal;
        for (; i < length && new_bytes[i] != old[i]; i++) {
            if (added->length == added->capacity) return RDK_E_OUTPUT_FULL;
            added->bytes[added->length++] = (uint8_t)(new_bytes[i] - old[i]);
            r->changed++;
        }
    }
    return RDK_OK;
}

int rdk_difference_write(const uint8_t *old, uint64_t old_length, const uint8_t *new_bytes, uint64_t new_length,
                         const rdk_difference *differences, size_t count, rdk_difference_column *columns) {
    runs r = {0, 0};
    uint64_t expected = 0;
    for (int c = 0; c < RDK_DIFFERENCE_COLUMNS; c++) columns[c].length = 0;
    for (size_t i = 0; i < count; i++) {
        const rdk_difference *d = differences + i;
        uint64_t length = (uint64_t)d->near + d->literal;
        if (d->source > old_length || old_length - d->source < d->near || new_length < length) return RDK_E_ARGUMENT;
        if (put_number(columns + NEAR, d->near) || put_number(columns + LITERAL, d->literal) ||
            put_number(columns + MOVES, rdk_zigzag(d->source - expected)) ||
            put_near(columns, &r, old + d->source, new_bytes, d->near) ||
            put_bytes(columns + LITERALS, new_bytes + d->near, d->literal))
            return RDK_E_OUTPUT_FULL;
        expected = (uint64_t)d->source + d->near;
        new_bytes += length;
        new_length -= length;
    }
    return r.same || r.changed ? put_runs(columns, &r) : RDK_OK;
}

/* ---- reading --------------------------------------------------------------------------------------------------- */

/* Reads a number of a column, which has at most 32 bits. */
static int take_number(rdk_difference_reader *r, int column, uint64_t *value) {
    const uint8_t *at = r->columns[column] + r->at[column], *end = r->columns[column] + r->lengths[column];
    if (!rdk_leb128_read(&at, end, 64, value) || *value > UINT32_MAX) return RDK_E_CORRUPT;
    r->at[column] = (uint64_t)(at - r->columns[column]);
    return RDK_OK;
}

/* Returns the next `length` bytes of a column of bytes; NULL if it ends before. */
static const uint8_t *take_bytes(rdk_difference_reader *r, int column, uint64_t length) {
    if (r->lengths[column] - r->at[column] < length) return NULL;
    r->at[column] += length;
    return r->columns[column] + (r->at[column] - length);
}

/* Begins the next difference. An empty one is corrupt, because a reader would have to pass any number of them for one
 * byte. */
static int next_difference(rdk_difference_reader *r) {
    uint64_t near, literal, move;
    if (take_number(r, NEAR, &near) || take_number(r, LITERAL, &literal) || take_number(r, MOVES, &move))
        return RDK_E_CORRUPT;
    uint64_t source = r->source + rdk_unzigzag(move);
    if (source > r->old_length || r->old_length - source < near || !(near || literal)) return RDK_E_CORRUPT;
    r->source = source;
    r->near = near;
    r->literal = literal;
    return RDK_OK;
}

/* Writes at most `length` near bytes of one run; returns their number or RDK_E_CORRUPT. */
static int64_t read_run(rdk_difference_reader *r, uint8_t *out, uint64_t length) {
    const uint8_t *old = r->old + r->source;
    if (!r->same && !r->changed &&
        (take_number(r, SAME, &r->same) || take_number(r, CHANGED, &r->changed) || !(r->same || r->changed)))
        return RDK_E_CORRUPT;
    length = length < r->near ? length : r->near;
    if (r->same) {
        length = length < r->same ? length : r->same;
        memcpy(out, old, length);
        r->same -= length;
    } else {
        length = length < r->changed ? length : r->changed;
        const uint8_t *added = take_bytes(r, ADDED, length);
        if (added == NULL) return RDK_E_CORRUPT;
        for (uint64_t i = 0; i < length; i++) out[i] = (uint8_t)(old[i] + added[i]);
        r->changed -= length;
    }
    r->source += length;
    r->near -= length;
    return (int64_t)length;
}

int rdk_difference_read(rdk_difference_reader *reader, uint8_t *out, uint64_t length) {
    rdk_difference_reader *r = reader;
    while (length) {
        int64_t done;
        if (!r->near && !r->literal && next_difference(r)) return RDK_E_CORRUPT;
        if (r->near) {
            done = read_run(r, out, length);
            if (done < 0) return RDK_E_CORRUPT;
        } else {
            done = (int64_t)(length < r->literal ? length : r->literal);
            const uint8_t *literals = take_bytes(r, LITERALS, (uint64_t)done);
            if (literals == NULL) return RDK_E_CORRUPT;
            memcpy(out, literals, (size_t)done);
            r->literal -= (uint64_t)done;
        }
        out += done;
        length -= (uint64_t)done;
    }
    return RDK_OK;
}
