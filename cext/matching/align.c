/* Which stretches of old bytes new bytes resemble, found by common seeds and judged by how much else is the same. */
#include <stdlib.h>

#include "bytes_internal.h"
#include "reducto_kernel.h"

#define SEED 8u /* bytes that a new alignment must have in common where it is found */
#define STEP 3u /* every so many-th old byte begins a seed of the table */
#define TABLE_LOG_MOST 22
#define TABLE_LOG_LEAST 8
#define CANDIDATES 16    /* that are looked at for one seed */
#define NUMBER_BITS 26   /* of an entry: a seed's number plus one; above it bits of the seed's hash, its tag */
#define AHEAD 24u        /* places after the present one that memory is asked about, or each search would wait for it */
#define WINDOW 48u       /* bytes by which alignments are compared */
#define GOOD 36u         /* of them the same: the present alignment is not questioned */
#define ADVANTAGE 12u    /* by which another one must be better: naming it costs about four bytes */
#define BACKWARD_LOSS 64 /* bytes more different than the same after which no better end is looked for */
#define BACKWARD_MOST                                                                                 \
    1024u /* an alignment begins no longer before the seed that found it: in data that repeats itself \
           * each would else go back over all bytes before it, in vain */

typedef struct {
    const uint8_t *old, *new_bytes;
    size_t old_length, new_length;
    uint32_t *heads;   /* per hash: entry of its last seed, or 0 */
    uint32_t *earlier; /* per seed: entry of the one before it of the same hash, or 0 */
    unsigned shift;
    size_t heads_asked, entries_asked; /* places before these have been asked about */
    uint64_t vain;                     /* searches that found nothing */
    uint64_t patience;                 /* how many more of them than half of the places there may be */
    int out_of_patience;
} aligner;

/* New bytes from `at` on lie along old ones from `source` on. */
typedef struct {
    size_t at, source;
    int known; /* 0: along none */
} alignment;

_Static_assert(RDK_DIFFERENCE_MOST / STEP < (1u << NUMBER_BITS), "a seed's number fits an entry");

static uint64_t seed_hash(uint64_t seed) { return seed * UINT64_C(0x9E3779B97F4A7C15); }

/* The bits below those that choose the head, where an entry has its tag. */
static uint32_t tag_of(const aligner *a, uint64_t hash) {
    return (uint32_t)(hash >> (a->shift - (32 - NUMBER_BITS))) << NUMBER_BITS;
}

static int has_tag(uint32_t entry, uint32_t tag) { return (entry ^ tag) >> NUMBER_BITS == 0; }

static size_t number_of(uint32_t entry) { return (entry & ((1u << NUMBER_BITS) - 1)) - 1; }

static size_t least(size_t a, size_t b) { return a < b ? a : b; }

static int index_old(aligner *a) {
    size_t seeds = a->old_length < SEED ? 0 : (a->old_length - SEED) / STEP + 1;
    unsigned log = TABLE_LOG_LEAST;
    while (log < TABLE_LOG_MOST && (size_t)1 << log < seeds) log++;
    a->shift = 64 - log;
    a->heads = malloc(sizeof *a->heads << log);
    a->earlier = malloc((seeds + 1) * sizeof *a->earlier);
    if (a->heads == NULL || a->earlier == NULL) return RDK_E_MEMORY;
    /* Not by calloc: a page that is read before it is written is faulted in twice, and stops the other threads. */
    memset(a->heads, 0, sizeof *a->heads << log);
    for (size_t number = 0; number < seeds; number++) {
        if (number + AHEAD < seeds)
            __builtin_prefetch(a->heads + (seed_hash(rdk_load64(a->old + (number + AHEAD) * STEP)) >> a->shift), 1);
        uint64_t hash = seed_hash(rdk_load64(a->old + number * STEP));
        uint32_t *head = a->heads + (hash >> a->shift);
        a->earlier[number] = *head;
        *head = ((uint32_t)number + 1) | tag_of(a, hash);
    }
    return RDK_OK;
}

/* How many of the next bytes, WINDOW at most, are the same. */
static unsigned resemblance(const aligner *a, size_t at, size_t source) {
    const uint8_t *new_bytes = a->new_bytes + at, *old = a->old + source;
    size_t length = least(a->new_length - at, a->old_length - source);
    if (length >= WINDOW) {
        uint8_t same = 0; /* of a byte and for a fixed length: this becomes vector code */
        for (unsigned i = 0; i < WINDOW; i++) same = (uint8_t)(same + (new_bytes[i] == old[i]));
        return same;
    }
    unsigned same = 0;
    for (size_t i = 0; i < length; i++) same += new_bytes[i] == old[i];
    return same;
}

/* Asks memory for what searches at the next places will look at: first for heads, nearer to them for what these name.
 */
static void look_ahead(aligner *a, size_t at) {
    size_t last = a->new_length - SEED, far = least(last, at + AHEAD), near = least(last, at + AHEAD / 2);
    for (size_t place = a->heads_asked < at ? at : a->heads_asked; place < far; place++)
        __builtin_prefetch(a->heads + (seed_hash(rdk_load64(a->new_bytes + place)) >> a->shift));
    for (size_t place = a->entries_asked < at ? at : a->entries_asked; place < near; place++) {
        uint64_t hash = seed_hash(rdk_load64(a->new_bytes + place));
        uint32_t entry = a->heads[hash >> a->shift];
        if (!entry) continue;
        __builtin_prefetch(a->earlier + number_of(entry));
        if (has_tag(entry, tag_of(a, hash))) __builtin_prefetch(a->old + number_of(entry) * STEP);
    }
    a->heads_asked = far;
    a->entries_asked = near;
}

static size_t distance(size_t a, size_t b) { return a < b ? b - a : a - b; }

/* The source that the bytes at `at` resemble most, the nearest to `expected` of several. Returns how much they do. */
static unsigned best_source(const aligner *a, size_t at, size_t expected, size_t *source) {
    uint64_t seed = rdk_load64(a->new_bytes + at), hash = seed_hash(seed);
    uint32_t entry = a->heads[hash >> a->shift], tag = tag_of(a, hash);
    unsigned best = 0;
    for (int n = 0; entry && n < CANDIDATES; n++, entry = a->earlier[number_of(entry)]) {
        size_t candidate = number_of(entry) * STEP;
        if (!has_tag(entry, tag) || rdk_load64(a->old + candidate) != seed) continue;
        unsigned same = resemblance(a, at, candidate);
        if (same > best || (same == best && distance(candidate, expected) < distance(*source, expected))) {
            best = same;
            *source = candidate;
        }
    }
    return best;
}

/* From `at` on, the first place where another alignment is clearly better than the present one. 0: there is none, or no
 * patience left to find it. */
static int next_alignment(aligner *a, const alignment *present, size_t at, alignment *found) {
    while (a->new_length - at >= SEED) {
        size_t expected = present->source + (at - present->at);
        unsigned same = 0;
        if (present->known && expected < a->old_length) {
            size_t most = least(a->new_length - at, a->old_length - expected);
            size_t equal = rdk_equal_forward(a->new_bytes + at, a->old + expected, most);
            at += equal;
            if (equal) continue;
            same = resemblance(a, at, expected);
        }
        if (same < GOOD) {
            look_ahead(a, at);
            if (best_source(a, at, expected, &found->source) >= same + ADVANTAGE) {
                found->at = at;
                found->known = 1;
                return 1;
            }
            if (++a->vain > at / 2 && a->vain - at / 2 > a->patience) {
                a->out_of_patience = 1;
                return 0;
            }
        }
        at++;
    }
    return 0;
}

/* How far the bytes from both places on are more the same than not. */
static size_t reach_forward(const uint8_t *new_bytes, const uint8_t *old, size_t most) {
    ptrdiff_t gain = 0, best = 0;
    size_t reach = 0;
    for (size_t i = 0; i < most; i++) {
        gain += new_bytes[i] == old[i] ? 1 : -1;
        if (gain > best) {
            best = gain;
            reach = i + 1;
        }
    }
    return reach;
}

/* The same for those before both places. */
static size_t reach_backward(const uint8_t *new_bytes, const uint8_t *old, size_t most) {
    ptrdiff_t gain = 0, best = 0;
    size_t reach = 0;
    for (size_t i = 1; i <= most && gain > best - BACKWARD_LOSS; i++) {
        gain += *(new_bytes - i) == *(old - i) ? 1 : -1;
        if (gain > best) {
            best = gain;
            reach = i;
        }
    }
    return reach;
}

/* Of `length` new bytes that both alignments claim, how many the first one explains better. */
static size_t share_of_first(const uint8_t *new_bytes, const uint8_t *first, const uint8_t *second, size_t length) {
    ptrdiff_t gain = 0, best = 0;
    size_t share = 0;
    for (size_t i = 0; i < length; i++) {
        gain += (new_bytes[i] == first[i]) - (new_bytes[i] == second[i]);
        if (gain > best) {
            best = gain;
            share = i + 1;
        }
    }
    return share;
}

/* Ends the present alignment before the next one, whose beginning moves back as far as it is good. */
static rdk_difference end_alignment(const aligner *a, const alignment *present, alignment *next) {
    size_t gap = next->at - present->at, near = 0, back = 0;
    if (present->known)
        near = reach_forward(a->new_bytes + present->at, a->old + present->source,
                             least(gap, a->old_length - present->source));
    if (next->known)
        back = reach_backward(a->new_bytes + next->at, a->old + next->source,
                              least(least(gap, BACKWARD_MOST), next->source));
    if (near + back > gap) {
        size_t both = near + back - gap;
        size_t share = share_of_first(a->new_bytes + next->at - back, a->old + present->source + near - both,
                                      a->old + next->source - back, both);
        near -= both - share;
        back -= share;
    }
    next->at -= back;
    next->source -= back;
    return (rdk_difference){(uint32_t)present->source, (uint32_t)near, (uint32_t)(gap - near - back)};
}

static int64_t align(aligner *a, rdk_difference *out, size_t capacity) {
    alignment present = {0, 0, 0};
    size_t count = 0, at = 0;
    for (;;) {
        alignment next = {a->new_length, 0, 0};
        int more = next_alignment(a, &present, at, &next);
        at = next.at + SEED;
        rdk_difference ended = end_alignment(a, &present, &next);
        if (ended.near || ended.literal) {
            if (count == capacity || a->out_of_patience) return RDK_E_OUTPUT_FULL;
            out[count++] = ended;
        }
        if (!more) return (int64_t)count;
        present = next;
    }
}

int64_t rdk_difference_find(const uint8_t *old, uint64_t old_length, const uint8_t *new_bytes, uint64_t new_length,
                            uint64_t patience, rdk_difference *out, size_t capacity) {
    if (old_length > RDK_DIFFERENCE_MOST || new_length > RDK_DIFFERENCE_MOST) return RDK_E_ARGUMENT;
    aligner a = {.old = old,
                 .new_bytes = new_bytes,
                 .old_length = (size_t)old_length,
                 .new_length = (size_t)new_length,
                 .patience = patience};
    int64_t answer = index_old(&a);
    if (answer == RDK_OK) answer = align(&a, out, capacity);
    free(a.heads);
    free(a.earlier);
    return answer;
}
