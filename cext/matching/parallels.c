/* Where one blob's plain bytes run beside another's, told from their operations alone: both copy out of the same corpora. */
#include <stdlib.h>

#include "reducto_kernel.h"

enum {
    DUPLICATES_MOST = 8,     /* of an older blob's copies of the same bytes, how many are looked at */
    GAP_MOST = 256 << 10,    /* bytes that may differ between two stretches of one parallel */
    EVIDENCE = 8 << 10       /* same bytes that another distance needs before it is followed */
};

typedef struct copy {
    uint64_t source, length, at; /* in the reference; in the older blob */
    uint32_t reference;
} copy;

static int by_source(const void *a, const void *b) {
    const copy *x = a, *y = b;
    if (x->reference != y->reference) return x->reference < y->reference ? -1 : 1;
    if (x->source != y->source) return x->source < y->source ? -1 : 1;
    return x->at < y->at ? -1 : x->at > y->at;
}

/* The first copy that ends behind `source` of `reference`, if copies do not contain each other: nearly always so. */
static size_t find(const copy *copies, size_t count, uint32_t reference, uint64_t source) {
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const copy *c = copies + middle;
        if (c->reference < reference || (c->reference == reference && c->source + c->length <= source)) low = middle + 1;
        else high = middle;
    }
    return low;
}

typedef struct trace {
    rdk_parallel *out;
    size_t count, capacity;
    rdk_parallel other; /* a stretch at another distance than the last parallel, with too little evidence so far */
    uint64_t evidence;
} trace;

static int64_t distance(const rdk_parallel *p) { return (int64_t)(p->ours - p->theirs); }

/* Adds [ours, ours + length) beside theirs: to the parallel at hand, to what may become one, or as a new one. */
static int follow(trace *t, uint64_t ours, uint64_t theirs, uint64_t length) {
    rdk_parallel here = {ours, theirs, length}, *last = t->count ? &t->out[t->count - 1] : NULL;
    if (last && distance(last) == distance(&here) && ours <= last->ours + last->length + GAP_MOST) {
        last->length = ours + length - last->ours;
        t->evidence = 0;
        return RDK_OK;
    }
    if (t->evidence && distance(&t->other) == distance(&here) && ours <= t->other.ours + t->other.length + GAP_MOST) {
        t->other.length = ours + length - t->other.ours;
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

static int pair(trace *t, const copy *copies, size_t count, const rdk_operation *op, uint32_t reference, uint64_t ours) {
    uint64_t done = 0;
    for (size_t at = find(copies, count, reference, op->source); done < op->length && at < count;) {
        uint64_t source = op->source + done;
        const copy *best = NULL;
        for (size_t i = at; i < count && i < at + DUPLICATES_MOST && copies[i].reference == reference && copies[i].source <= source; i++) {
            const copy *c = copies + i;
            if (c->source + c->length <= source) continue;
            uint64_t there = c->at + (source - c->source);
            if (best == NULL) best = c;
            if (t->count && (int64_t)(ours + done - there) == distance(&t->out[t->count - 1])) {
                best = c;
                break;
            }
        }
        if (best == NULL) { /* a hole up to the next copy */
            if (copies[at].reference != reference || copies[at].source >= op->source + op->length) break;
            if (copies[at].source > source) done = copies[at].source - op->source;
            else at++;
            continue;
        }
        uint64_t skip = source - best->source, length = best->length - skip;
        if (length > op->length - done) length = op->length - done;
        int status = follow(t, ours + done, best->at + skip, length);
        if (status != RDK_OK) return status;
        done += length;
        while (at < count && copies[at].reference == reference && copies[at].source + copies[at].length <= op->source + done) at++;
    }
    return RDK_OK;
}

int64_t rdk_parallels(const rdk_operation *operations, size_t count, const uint32_t *theirs_of, const rdk_operation *older,
                      size_t older_count, rdk_parallel *out, size_t capacity) {
    copy *copies = malloc((older_count ? older_count : 1) * sizeof *copies);
    trace t = {.out = out, .capacity = capacity};
    uint64_t at = 0;
    int status = RDK_OK;
    if (copies == NULL) return RDK_E_MEMORY;
    for (size_t i = 0; i < older_count; at += older[i++].length)
        copies[i] = (copy){older[i].source, older[i].length, at, older[i].reference};
    qsort(copies, older_count, sizeof *copies, by_source);
    at = 0;
    for (size_t i = 0; i < count && status == RDK_OK; at += operations[i++].length) {
        uint32_t reference = operations[i].reference;
        if (reference >= RDK_REFERENCES_MAX) status = RDK_E_CORRUPT;
        else if (theirs_of[reference] < RDK_REFERENCES_MAX) status = pair(&t, copies, older_count, &operations[i], theirs_of[reference], at);
    }
    free(copies);
    return status == RDK_OK ? (int64_t)t.count : status;
}
