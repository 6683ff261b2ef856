/* Twins: where in the corpora the near relatives of unmatched bytes lie. */
#include "reducto_kernel.h"

#include <stdlib.h>

/* Beyond the unmatched length itself, so much of the surroundings is taken at most: content moves a little. */
#define SLACK UINT64_C(32768)
/* Shorter gaps (a changed time stamp, a checksum) gain less from a twin than naming it costs. */
#define WORTH_A_TWIN 64u

typedef struct {
    const rdk_reference *references;
    rdk_extent *out;
    size_t count, capacity;
} collector;

static int add(collector *c, uint32_t reference, uint64_t from, uint64_t to) {
    uint64_t limit = c->references[reference].plain_length;
    to = to < limit ? to : limit;
    if (from >= to) return 0;
    if (c->count == c->capacity) return RDK_E_OUTPUT_FULL;
    c->out[c->count++] = (rdk_extent){from, to - from, reference, 0};
    return 1;
}

/* What lies in the corpus around the place where the gap would be: between its neighbours if they are close. */
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
                        size_t count, const rdk_extent *hints, size_t hint_count, uint64_t most, uint8_t *has_base,
                        rdk_extent *out, size_t capacity) {
    collector c = {references, out, 0, capacity};
    size_t hint = 0;
    for (size_t i = 0; i < count; i++) {
        has_base[i] = 0;
        if (!operations[i].is_new || operations[i].length < WORTH_A_TWIN) continue;
        uint64_t slack = 2 * operations[i].length + 512;
        uint64_t reach = operations[i].length + (slack < SLACK ? slack : SLACK);
        reach = reach < most ? reach : most;
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

static int by_place(const void *left, const void *right) {
    const rdk_extent *a = left, *b = right;
    if (a->reference != b->reference) return a->reference < b->reference ? -1 : 1;
    if (a->offset != b->offset) return a->offset < b->offset ? -1 : 1;
    return 0;
}

int64_t rdk_extents_join(rdk_extent *stretches, size_t count, uint64_t join) {
    size_t kept = 0;
    qsort(stretches, count, sizeof *stretches, by_place);
    for (size_t i = 0; i < count; i++) {
        rdk_extent *last = kept ? stretches + kept - 1 : NULL;
        uint64_t end = stretches[i].offset + stretches[i].length;
        if (last != NULL && last->reference == stretches[i].reference &&
            stretches[i].offset <= last->offset + last->length + join) {
            if (end > last->offset + last->length) last->length = end - last->offset;
        } else {
            stretches[kept++] = stretches[i];
        }
    }
    return (int64_t)kept;
}
