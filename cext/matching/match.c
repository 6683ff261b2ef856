/* Covers plain bytes by copies out of corpora and out of the blob's own earlier new bytes.
 *
 * The fingerprint of a chunk finds an offset, memcmp confirms it, and extension byte by byte makes chunk boundaries
 * irrelevant. After a copy ends, the same distance between blob and corpus is tried first, because a changed field
 * rarely moves what follows it. Only bytes that no copy explains are cut into chunks at all. */
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "chunk.h"

/* They decide what is written, not how it is read. */
enum {
    LOOKUP_MIN = 64, /* shorter chunks, at anchors, are not looked up */
    COPY_MIN = 32,   /* a shorter copy costs more by its operation than it saves */
    /* After a copy, this many equal bytes at the same distance are believed to continue it. Must be 8 or more. */
    RESYNC_PROBE = 24,
    RESYNC_REACH = 1024, /* they are looked for up to this many bytes later */
    OWN_SLOTS_MIN = 1024,
    /* Free operations that a step needs: it adds new bytes and a copy at most, and the end of the call more new bytes;
       one is spare. */
    FREE_OPERATIONS_MIN = 4,
    CAPACITY_MIN = 8
};
#define NO_REFERENCE UINT32_MAX

struct rdk_matcher {
    rdk_chunk_params params;
    rdk_entry *own;     /* own chunks by fingerprint, in open addressing; an empty slot has offset UINT64_MAX */
    uint64_t own_mask;  /* slots less one */
    uint64_t own_count; /* used slots, two thirds at most */
    uint32_t reference; /* where the latest copy came from, or NO_REFERENCE */
    uint64_t source;    /* the byte behind it there */
};

rdk_matcher *rdk_matcher_new(const rdk_chunk_params *params) {
    if (!rdk_chunk_params_valid(params)) return NULL;
    rdk_matcher *m = calloc(1, sizeof *m);
    if (m == NULL) return NULL;
    m->params = *params;
    m->reference = NO_REFERENCE;
    m->own_mask = OWN_SLOTS_MIN - 1;
    m->own = malloc((m->own_mask + 1) * sizeof *m->own);
    if (m->own == NULL) {
        free(m);
        return NULL;
    }
    memset(m->own, 0xff, (m->own_mask + 1) * sizeof *m->own);
    return m;
}

void rdk_matcher_free(rdk_matcher *matcher) {
    if (matcher != NULL) free(matcher->own);
    free(matcher);
}

/* Returns the fingerprint's slot, or the empty one where it belongs. */
static rdk_entry *own_slot(rdk_entry *table, uint64_t mask, uint64_t fingerprint) {
    uint64_t at = fingerprint & mask;
    while (table[at].offset != UINT64_MAX && table[at].fingerprint != fingerprint) at = (at + 1) & mask;
    return table + at;
}

/* Doubles the table. */
static int own_grow(rdk_matcher *m) {
    uint64_t mask = m->own_mask * 2 + 1;
    rdk_entry *table = malloc((mask + 1) * sizeof *table);
    if (table == NULL) return RDK_E_MEMORY;
    memset(table, 0xff, (mask + 1) * sizeof *table);
    for (uint64_t i = 0; i <= m->own_mask; i++)
        if (m->own[i].offset != UINT64_MAX) *own_slot(table, mask, m->own[i].fingerprint) = m->own[i];
    free(m->own);
    m->own = table;
    m->own_mask = mask;
    return RDK_OK;
}

/* Remembers where a chunk is in the new bytes; the newest offset of a fingerprint counts. */
static int own_insert(rdk_matcher *m, uint64_t fingerprint, uint64_t offset) {
    if (m->own_count * 3 > m->own_mask * 2) {
        int status = own_grow(m);
        if (status != RDK_OK) return status;
    }
    rdk_entry *slot = own_slot(m->own, m->own_mask, fingerprint);
    m->own_count += slot->offset == UINT64_MAX;
    slot->fingerprint = fingerprint;
    slot->offset = offset;
    return RDK_OK;
}

/* Returns how many bytes before both pointers are the same, at most `limit`. */
static size_t equal_backward(const uint8_t *a, const uint8_t *b, size_t limit) {
    size_t n = 0;
    while (limit - n >= 8 && rdk_load64(a - n - 8) == rdk_load64(b - n - 8)) n += 8;
    while (n < limit && a[-(ptrdiff_t)n - 1] == b[-(ptrdiff_t)n - 1]) n++;
    return n;
}

/* One call's progress. Window bytes before `covered` are covered by operations, [covered, at) were looked at and are
 * unmatched so far. */
typedef struct {
    rdk_matcher *m;
    rdk_match_call *call;
    size_t covered, at;
    size_t anchor; /* the next one */
} progress;

/* Returns the reference's plain bytes, and their number in *length. */
static const uint8_t *source_bytes(const progress *p, uint32_t reference, uint64_t *length) {
    if (reference == RDK_OWN) {
        *length = p->call->new_length;
        return p->call->new_bytes;
    }
    *length = p->call->references[reference].plain_length;
    return p->call->references[reference].plain;
}

/* Adds an operation, or extends the last one if it continues that. */
static void emit(progress *p, uint32_t reference, uint64_t source, uint64_t length, uint32_t is_new) {
    rdk_match_call *call = p->call;
    if (call->operation_count) {
        rdk_operation *last = call->operations + call->operation_count - 1;
        if (last->reference == reference && last->source + last->length == source && last->is_new == is_new) {
            last->length += length;
            return;
        }
    }
    call->operations[call->operation_count++] = (rdk_operation){length, source, reference, is_new};
}

/* Covers the bytes up to `end` as new ones. */
static void cover_as_new(progress *p, size_t end) {
    rdk_match_call *call = p->call;
    size_t length = end - p->covered;
    if (length) {
        memcpy(call->new_bytes + call->new_length, call->window + p->covered, length);
        emit(p, RDK_OWN, call->new_length, length, 1);
        call->new_length += length;
    }
    p->covered = end;
}

/* The window at `at` equals the reference at `source` for `known` bytes: copies as much as is equal before and behind.
 * Returns 0 if that is less than COPY_MIN. */
static int take(progress *p, size_t at, uint32_t reference, uint64_t source, size_t known) {
    uint64_t limit;
    const uint8_t *bytes = source_bytes(p, reference, &limit), *here = p->call->window + at;
    size_t left = p->call->length - at, behind = at - p->covered;
    uint64_t ahead = limit - source;
    size_t forward =
        known + rdk_equal_long(here + known, bytes + source + known, (left < ahead ? left : (size_t)ahead) - known);
    size_t backward = equal_backward(here, bytes + source, behind < source ? behind : (size_t)source);
    if (forward + backward < COPY_MIN) return 0;
    cover_as_new(p, at - backward);
    emit(p, reference, source - backward, backward + forward, 0);
    p->at = p->covered = at + forward;
    p->m->reference = reference;
    p->m->source = source + forward;
    return 1;
}

/* Continues the copy that ended at p->covered, at the same distance, from the first position in [from, from + reach] on
 * where the bytes are equal again. Returns 0 if there is none. */
static int resync(progress *p, size_t from, size_t reach) {
    uint64_t limit;
    if (p->m->reference == NO_REFERENCE) return 0;
    const uint8_t *bytes = source_bytes(p, p->m->reference, &limit), *here = p->call->window;
    uint64_t base = p->m->source + (from - p->covered);
    if (base > limit || limit - base < RESYNC_PROBE || p->call->length - from < RESYNC_PROBE) return 0;
    uint64_t source_left = limit - base - RESYNC_PROBE;
    size_t last = p->call->length - from - RESYNC_PROBE;
    last = last < reach ? last : reach;
    last = source_left < last ? (size_t)source_left : last;
    for (size_t d = 0; d <= last; d++) {
        if (rdk_load64(here + from + d) == rdk_load64(bytes + base + d) &&
            !memcmp(here + from + d, bytes + base + d, RESYNC_PROBE) &&
            take(p, from + d, p->m->reference, base + d, RESYNC_PROBE))
            return 1;
    }
    return 0;
}

/* Copies the chunk at p->at if the reference has it at `offset`. */
static int try_offset(progress *p, uint32_t reference, uint64_t offset, size_t length) {
    uint64_t limit;
    const uint8_t *bytes = source_bytes(p, reference, &limit);
    if (offset > limit || limit - offset < length || memcmp(bytes + offset, p->call->window + p->at, length)) return 0;
    return take(p, p->at, reference, offset, length);
}

static int try_corpus(progress *p, uint32_t reference, uint64_t fingerprint, size_t length) {
    const rdk_reference *r = p->call->references + reference;
    uint64_t offset = rdk_index_find(r->slots, r->slot_count, r->home_slots, fingerprint);
    return offset != UINT64_MAX && try_offset(p, reference, offset, length);
}

static int try_own(progress *p, uint64_t fingerprint, size_t length) {
    const rdk_entry *slot = own_slot(p->m->own, p->m->own_mask, fingerprint);
    if (slot->offset == UINT64_MAX) return 0;
    /* The earlier chunk may be one of the unmatched bytes, which are not among the new ones yet. */
    if (slot->offset + length > p->call->new_length) cover_as_new(p, p->at);
    return try_offset(p, RDK_OWN, slot->offset, length);
}

/* Looks up the chunk at p->at, first in the reference of the latest copy, then in the others in their order, last among
 * the own new bytes. */
static int try_chunk(progress *p, uint64_t fingerprint, size_t length) {
    uint32_t last = p->m->reference;
    if (last != NO_REFERENCE && last != RDK_OWN && try_corpus(p, last, fingerprint, length)) return 1;
    for (uint32_t r = 1; r < p->call->reference_count; r++)
        if (r != last && try_corpus(p, r, fingerprint, length)) return 1;
    return try_own(p, fingerprint, length);
}

/* Cuts one chunk at p->at, and copies it or leaves it unmatched. Returns 1, 0 if more data is needed, or a negative
 * status. */
static int step(progress *p) {
    rdk_match_call *call = p->call;
    uint32_t flags;
    while (p->anchor < call->anchor_count && call->anchors[p->anchor] <= p->at) p->anchor++;
    int anchored = p->anchor < call->anchor_count && call->anchors[p->anchor] <= call->length;
    size_t limit = (anchored ? call->anchors[p->anchor] : call->length) - p->at;
    size_t cut = rdk_next_cut(&p->m->params, call->window + p->at, limit, anchored || call->final, &flags);
    if (cut == 0) return 0;
    if (p->at > p->covered && resync(p, p->at, 0)) return 1;
    if (cut >= LOOKUP_MIN) {
        uint64_t fingerprint = rdk_fingerprint(call->window + p->at, cut);
        if (try_chunk(p, fingerprint, cut)) return 1;
        int status = own_insert(p->m, fingerprint, call->new_length + (p->at - p->covered));
        if (status != RDK_OK) return status;
    }
    p->at += cut;
    return 1;
}

int rdk_match(rdk_matcher *matcher, rdk_match_call *call) {
    progress p = {matcher, call, 0, 0, 0};
    if (matcher == NULL || call == NULL || call->capacity < CAPACITY_MIN || call->reference_count > RDK_REFERENCES_MAX)
        return RDK_E_ARGUMENT;
    call->operation_count = 0;
    if (matcher->reference != NO_REFERENCE && matcher->reference >= call->reference_count)
        matcher->reference = NO_REFERENCE;
    while (p.at < call->length && call->capacity - call->operation_count >= FREE_OPERATIONS_MIN) {
        if (p.covered == p.at && resync(&p, p.at, RESYNC_REACH)) continue;
        int status = step(&p);
        if (status < 0) return status;
        if (status == 0) break;
    }
    if (matcher->reference != NO_REFERENCE) matcher->source += p.at - p.covered;
    cover_as_new(&p, p.at);
    call->consumed = p.at;
    return RDK_OK;
}
