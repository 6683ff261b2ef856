/* Which bytes of corpora probably resemble the new bytes, so that they are worth a delta. */
#include <stdlib.h>

#include "reducto_kernel.h"

/* They decide what is written, not how it is read. */
enum {
    /* Beside a neighbour this many bytes more than the unmatched length are taken at most, because content moves a
     * little: twice the length and 512 bytes, up to this. */
    SLACK_MAX = 32768,
    SLACK_MIN = 512,
    /* A shorter unmatched range (a changed time stamp, a checksum) saves less by a base than naming it costs. */
    UNMATCHED_MIN = 64
};

typedef struct {
    const rdk_reference *references;
    rdk_extent *out;
    size_t count, capacity;
} collector;

/* Adds [from, to) of a reference, as far as it exists. Returns 1, 0 if there is nothing of it, or RDK_E_OUTPUT_FULL. */
static int add(collector *c, uint32_t reference, uint64_t from, uint64_t to) {
    uint64_t limit = c->references[reference].plain_length;
    to = to < limit ? to : limit;
    if (from >= to) return 0;
    if (c->count == c->capacity) return RDK_E_OUTPUT_FULL;
    c->out[c->count++] = (rdk_extent){from, to - from, reference, 0};
    return 1;
}

/* Adds what lies in the corpus where the unmatched range would be: between the copies before and after it if these are
 * close together, else `reach` bytes behind the one and before the other. Answers as add() does. */
static int add_neighbours(collector *c, const rdk_operation *before, const rdk_operation *after, uint64_t reach) {
    int left = before != NULL && before->reference != RDK_OWN, right = after != NULL && after->reference != RDK_OWN;
    uint64_t end = left ? before->source + before->length : 0;
    if (left && right && before->reference == after->reference && after->source >= end &&
        after->source - end <= 2 * reach)
        return after->source > end ? add(c, before->reference, end, after->source)
                                   : add(c, before->reference, end > reach ? end - reach : 0, end + reach);
    int found = 0;
    if (left) {
        int status = add(c, before->reference, end, end + reach);
        if (status < 0) return status;
        found |= status;
    }
    if (right) {
        uint64_t from = after->source > reach ? after->source - reach : 0;
        int status = add(c, after->reference, from, after->source);
        if (status < 0) return status;
        found |= status;
    }
    return found;
}

int64_t rdk_delta_bases(const rdk_reference *references, size_t reference_count, const rdk_operation *operations,
                        size_t count, const rdk_extent *hints, size_t hint_count, uint64_t length_max,
                        uint8_t *has_base, rdk_extent *out, size_t capacity) {
    collector c = {references, out, 0, capacity};
    size_t hint = 0;
    for (size_t i = 0; i < count; i++) {
        has_base[i] = 0;
        if (!operations[i].is_new || operations[i].length < UNMATCHED_MIN) continue;
        uint64_t slack = 2 * operations[i].length + SLACK_MIN;
        uint64_t reach = operations[i].length + (slack < SLACK_MAX ? slack : SLACK_MAX);
        reach = reach < length_max ? reach : length_max;
        int status =
            add_neighbours(&c, i ? operations + i - 1 : NULL, i + 1 < count ? operations + i + 1 : NULL, reach);
        for (; status >= 0 && hint < hint_count && hints[hint].operation <= i; hint++) {
            if (hints[hint].operation < i || hints[hint].reference >= reference_count) continue;
            int more = add(&c, hints[hint].reference, hints[hint].offset, hints[hint].offset + hints[hint].length);
            status = more < 0 ? more : status | more;
        }
        if (status < 0) return status;
        has_base[i] = (uint8_t)status;
    }
    return (int64_t)c.count;
}

static int by_offset(const void *left, const void *right) {
    const rdk_extent *a = left, *b = right;
    if (a->reference != b->reference) return a->reference < b->reference ? -1 : 1;
    if (a->offset != b->offset) return a->offset < b->offset ? -1 : 1;
    return 0;
}

int64_t rdk_extents_join(rdk_extent *extents, size_t count, uint64_t join) {
    size_t kept = 0;
    qsort(extents, count, sizeof *extents, by_offset);
    for (size_t i = 0; i < count; i++) {
        rdk_extent *last = kept ? extents + kept - 1 : NULL;
        uint64_t end = extents[i].offset + extents[i].length;
        if (last != NULL && last->reference == extents[i].reference &&
            extents[i].offset <= last->offset + last->length + join) {
            if (end > last->offset + last->length) last->length = end - last->offset;
        } else {
            extents[kept++] = extents[i];
        }
    }
    return (int64_t)kept;
}
