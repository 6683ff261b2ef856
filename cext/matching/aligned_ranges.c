/* Where one blob's plain bytes run beside another's, told from their operations alone: both copy out of the same
 * corpora. */
#include <stdlib.h>

#include "reducto_kernel.h"

enum {
    COPIES_MOST = 64,     /* of an older blob's copies around a place of a corpus, how many are looked at */
    GAP_MOST = 256 << 10, /* bytes that may differ between two stretches of one parallel */
    EVIDENCE = 8 << 10    /* same bytes that another distance needs before it is followed */
};

typedef struct copy {
    uint64_t source, end; /* in the reference */
    uint64_t at;          /* in the older blob */
    uint64_t reach;       /* the largest end up to here in the order of sources */
    uint32_t reference;
} copy;

typedef struct trace {
    const rdk_operation *older;
    const uint64_t *starts; /* of the older blob's operations in its plain bytes, with their total at the end */
    const copy *copies;     /* the same by reference and source */
    size_t older_count;
    rdk_aligned_range *out;
    size_t count, capacity;
    rdk_aligned_range other; /* a stretch at another distance than the last parallel, with too little evidence so far */
    uint64_t evidence;
} trace;

static int by_source(const void *a, const void *b) {
    const copy *x = a, *y = b;
    if (x->reference != y->reference) return x->reference < y->reference ? -1 : 1;
    if (x->source != y->source) return x->source < y->source ? -1 : 1;
    return x->at < y->at ? -1 : x->at > y->at;
}

static uint64_t distance(const rdk_aligned_range *p) { return p->offset - p->donor_offset; }

/* How many bytes from `donor_offset` of the older blob are those from `source` of a reference; 0 if others stand there.
 */
static uint64_t same_there(const trace *t, uint64_t donor_offset, uint32_t reference, uint64_t source) {
    size_t low = 0, high = t->older_count;
    if (donor_offset >= t->starts[t->older_count]) return 0;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (t->starts[middle] <= donor_offset) low = middle;
        else high = middle;
    }
    const rdk_operation *op = &t->older[low];
    uint64_t skip = donor_offset - t->starts[low];
    return op->reference == reference && op->source + skip == source ? op->length - skip : 0;
}

/* Any copy of `source` of a reference in the older blob: where it stands, and for how long; without one, how far the
 * next is. */
static uint64_t any_copy(const trace *t, uint32_t reference, uint64_t source, uint64_t *donor_offset, uint64_t *hole) {
    size_t low = 0, high = t->older_count;
    *hole = UINT64_MAX;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const copy *c = &t->copies[middle];
        if (c->reference < reference || (c->reference == reference && c->reach <= source)) low = middle + 1;
        else high = middle;
    }
    for (size_t i = low; i < t->older_count && i < low + COPIES_MOST && t->copies[i].reference == reference; i++) {
        const copy *c = &t->copies[i];
        if (c->source > source) {
            *hole = c->source - source;
            break;
        }
        if (c->end <= source) continue;
        *donor_offset = c->at + (source - c->source);
        return c->end - source;
    }
    return 0;
}

/* Adds [offset, offset + length) beside donor_offset: to the parallel at hand, to what may become one, or as a new one.
 */
static int follow(trace *t, uint64_t offset, uint64_t donor_offset, uint64_t length) {
    rdk_aligned_range here = {offset, donor_offset, length}, *last = t->count ? &t->out[t->count - 1] : NULL;
    if (last && distance(last) == distance(&here) && offset <= last->offset + last->length + GAP_MOST) {
        last->length = offset + length - last->offset;
        t->evidence = 0;
        return RDK_OK;
    }
    if (t->evidence && distance(&t->other) == distance(&here) &&
        offset <= t->other.offset + t->other.length + GAP_MOST) {
        t->other.length = offset + length - t->other.offset;
        t->evidence += length;
    } else {
        t->other = here;
        t->evidence = length;
    }
    if (t->evidence < EVIDENCE) return RDK_OK;
    if (t->count == t->capacity) return RDK_E_OUTPUT_FULL;
    t->out[t->count++] = t->other;
    t->evidence = 0;
    return RDK_OK;
}

/* One operation of offset. Where the older blob has its bytes at several places, those count that go on with what was
 * before. */
static int pair(trace *t, const rdk_operation *op, uint32_t reference, uint64_t offset) {
    for (uint64_t done = 0; done < op->length;) {
        uint64_t source = op->source + done, here = offset + done, donor_offset = 0, length = 0, hole = UINT64_MAX;
        const rdk_aligned_range *known[2] = {t->count ? &t->out[t->count - 1] : NULL, t->evidence ? &t->other : NULL};
        for (int i = 0; i < 2 && length == 0; i++) {
            if (known[i] == NULL) continue;
            donor_offset = here - distance(known[i]);
            length = same_there(t, donor_offset, reference, source);
        }
        if (length == 0) length = any_copy(t, reference, source, &donor_offset, &hole);
        if (length == 0) {
            if (hole >= op->length - done) break;
            done += hole;
            continue;
        }
        if (length > op->length - done) length = op->length - done;
        int status = follow(t, here, donor_offset, length);
        if (status != RDK_OK) return status;
        done += length;
    }
    return RDK_OK;
}

static void index_older(const rdk_operation *older, size_t count, const uint64_t *starts, copy *copies) {
    for (size_t i = 0; i < count; i++)
        copies[i] = (copy){older[i].source, older[i].source + older[i].length, starts[i], 0, older[i].reference};
    qsort(copies, count, sizeof *copies, by_source);
    for (size_t i = 0; i < count; i++) {
        copies[i].reach = copies[i].end;
        if (i && copies[i - 1].reference == copies[i].reference && copies[i - 1].reach > copies[i].reach)
            copies[i].reach = copies[i - 1].reach;
    }
}

int64_t rdk_aligned_ranges(const rdk_operation *operations, size_t count, const uint32_t *donor_numbers,
                           const rdk_operation *older, size_t older_count, rdk_aligned_range *out, size_t capacity) {
    copy *copies = malloc((older_count + 1) * sizeof *copies);
    uint64_t *starts = malloc((older_count + 2) * sizeof *starts), at = 0;
    trace t = {.older = older,
               .starts = starts,
               .copies = copies,
               .older_count = older_count,
               .out = out,
               .capacity = capacity};
    int64_t status =
        copies && starts ? rdk_operation_starts(older, older_count, 1, starts, older_count + 2) : RDK_E_MEMORY;
    if (status >= 0) {
        status = RDK_OK;
        index_older(older, older_count, starts, copies);
    }
    for (size_t i = 0; i < count && status == RDK_OK; at += operations[i++].length) {
        uint32_t reference = operations[i].reference;
        if (reference >= RDK_REFERENCES_MAX) status = RDK_E_CORRUPT;
        else if (donor_numbers[reference] < RDK_REFERENCES_MAX)
            status = pair(&t, &operations[i], donor_numbers[reference], at);
    }
    free(copies);
    free(starts);
    return status == RDK_OK ? (int64_t)t.count : status;
}
