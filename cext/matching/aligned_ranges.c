/* Where one blob's plain bytes are mostly those of another, the donor, judged by their operations alone: both copy out
 * of the same corpora. */
#include <stdlib.h>

#include "reducto_kernel.h"

enum {
    /* So many of the donor's copies around one position of a corpus are looked at: more occur in data that repeat
       themselves, where any will do. */
    COPIES_MAX = 64,
    /* Bytes that may differ inside one range: a replaced file of usual size does not end it. */
    DIFFERENT_MAX = 256 << 10,
    /* Same bytes that another distance between the two blobs needs before a new range begins, so that a small file that
     * occurs twice does not break a range in three. */
    EVIDENCE_MIN = 8 << 10
};

/* One operation of the donor. */
typedef struct copy {
    uint64_t source, end; /* in the reference */
    uint64_t at;          /* in the donor */
    uint64_t reach;       /* the largest end up to here in the order of sources */
    uint32_t reference;
} copy;

typedef struct search {
    const rdk_operation *donor;
    const uint64_t *starts; /* of the donor's operations in its plain bytes, with their total at the end */
    const copy *copies;     /* the operations by reference and source */
    size_t donor_count;
    rdk_aligned_range *out;
    size_t count, capacity;
    rdk_aligned_range
        other;         /* a range at another distance than the last one in `out`, with too little evidence so far */
    uint64_t evidence; /* same bytes of `other` */
} search;

static int by_source(const void *a, const void *b) {
    const copy *x = a, *y = b;
    if (x->reference != y->reference) return x->reference < y->reference ? -1 : 1;
    if (x->source != y->source) return x->source < y->source ? -1 : 1;
    return x->at < y->at ? -1 : x->at > y->at;
}

static uint64_t distance(const rdk_aligned_range *range) { return range->offset - range->donor_offset; }

/* Returns how many bytes from `donor_offset` of the donor are those from `source` of a reference; 0 if the donor has
 * others there. */
static uint64_t same_there(const search *s, uint64_t donor_offset, uint32_t reference, uint64_t source) {
    size_t low = 0, high = s->donor_count;
    if (donor_offset >= s->starts[s->donor_count]) return 0;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (s->starts[middle] <= donor_offset) low = middle;
        else high = middle;
    }
    const rdk_operation *op = &s->donor[low];
    uint64_t skip = donor_offset - s->starts[low];
    return op->reference == reference && op->source + skip == source ? op->length - skip : 0;
}

/* Finds any copy of `source` of a reference in the donor: *donor_offset becomes where it is. Returns its length, or 0
 * if there is none; *to_next then is how far the next copied byte of the reference is (UINT64_MAX: none). */
static uint64_t any_copy(const search *s, uint32_t reference, uint64_t source, uint64_t *donor_offset,
                         uint64_t *to_next) {
    size_t low = 0, high = s->donor_count;
    *to_next = UINT64_MAX;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const copy *c = &s->copies[middle];
        if (c->reference < reference || (c->reference == reference && c->reach <= source)) low = middle + 1;
        else high = middle;
    }
    for (size_t i = low; i < s->donor_count && i < low + COPIES_MAX && s->copies[i].reference == reference; i++) {
        const copy *c = &s->copies[i];
        if (c->source > source) {
            *to_next = c->source - source;
            break;
        }
        if (c->end <= source) continue;
        *donor_offset = c->at + (source - c->source);
        return c->end - source;
    }
    return 0;
}

/* Adds `length` same bytes at `offset` and `donor_offset`: to the last range, to what may become one, or as a new one.
 */
static int add(search *s, uint64_t offset, uint64_t donor_offset, uint64_t length) {
    rdk_aligned_range here = {offset, donor_offset, length}, *last = s->count ? &s->out[s->count - 1] : NULL;
    if (last && distance(last) == distance(&here) && offset <= last->offset + last->length + DIFFERENT_MAX) {
        last->length = offset + length - last->offset;
        s->evidence = 0;
        return RDK_OK;
    }
    if (s->evidence && distance(&s->other) == distance(&here) &&
        offset <= s->other.offset + s->other.length + DIFFERENT_MAX) {
        s->other.length = offset + length - s->other.offset;
        s->evidence += length;
    } else {
        s->other = here;
        s->evidence = length;
    }
    if (s->evidence < EVIDENCE_MIN) return RDK_OK;
    if (s->count == s->capacity) return RDK_E_OUTPUT_FULL;
    s->out[s->count++] = s->other;
    s->evidence = 0;
    return RDK_OK;
}

/* Looks for the bytes of one operation, which begins at `offset`. Where the donor has them several times, the
 * occurrence at the distance of a known range is taken. */
static int align(search *s, const rdk_operation *op, uint32_t reference, uint64_t offset) {
    for (uint64_t done = 0; done < op->length;) {
        uint64_t source = op->source + done, here = offset + done, donor_offset = 0, length = 0, to_next = UINT64_MAX;
        const rdk_aligned_range *known[2] = {s->count ? &s->out[s->count - 1] : NULL, s->evidence ? &s->other : NULL};
        for (int i = 0; i < 2 && length == 0; i++) {
            if (known[i] == NULL) continue;
            donor_offset = here - distance(known[i]);
            length = same_there(s, donor_offset, reference, source);
        }
        if (length == 0) length = any_copy(s, reference, source, &donor_offset, &to_next);
        if (length == 0) {
            if (to_next >= op->length - done) break;
            done += to_next;
            continue;
        }
        if (length > op->length - done) length = op->length - done;
        int status = add(s, here, donor_offset, length);
        if (status != RDK_OK) return status;
        done += length;
    }
    return RDK_OK;
}

static void index_donor(const rdk_operation *donor, size_t count, const uint64_t *starts, copy *copies) {
    for (size_t i = 0; i < count; i++)
        copies[i] = (copy){donor[i].source, donor[i].source + donor[i].length, starts[i], 0, donor[i].reference};
    qsort(copies, count, sizeof *copies, by_source);
    for (size_t i = 0; i < count; i++) {
        copies[i].reach = copies[i].end;
        if (i && copies[i - 1].reference == copies[i].reference && copies[i - 1].reach > copies[i].reach)
            copies[i].reach = copies[i - 1].reach;
    }
}

int64_t rdk_aligned_ranges(const rdk_operation *operations, size_t count, const uint32_t *donor_numbers,
                           const rdk_operation *donor, size_t donor_count, rdk_aligned_range *out, size_t capacity) {
    copy *copies = malloc((donor_count + 1) * sizeof *copies);
    uint64_t *starts = malloc((donor_count + 2) * sizeof *starts), at = 0;
    search s = {.donor = donor,
                .starts = starts,
                .copies = copies,
                .donor_count = donor_count,
                .out = out,
                .capacity = capacity};
    int64_t status =
        copies && starts ? rdk_operation_starts(donor, donor_count, 1, starts, donor_count + 2) : RDK_E_MEMORY;
    if (status >= 0) {
        status = RDK_OK;
        index_donor(donor, donor_count, starts, copies);
    }
    for (size_t i = 0; i < count && status == RDK_OK; at += operations[i++].length) {
        uint32_t reference = operations[i].reference;
        if (reference >= RDK_REFERENCES_MAX) status = RDK_E_CORRUPT;
        else if (donor_numbers[reference] < RDK_REFERENCES_MAX)
            status = align(&s, &operations[i], donor_numbers[reference], at);
    }
    free(copies);
    free(starts);
    return status == RDK_OK ? (int64_t)s.count : status;
}
