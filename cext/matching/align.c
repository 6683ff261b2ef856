/* Which old bytes new bytes resemble: alignments found by common seeds and judged by how many bytes along them are the
 * same. */
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "reducto_kernel.h"

/* docs/adr/0008 has the measurements behind these numbers. They decide what is written, not how it is read: they may
 * change without a new format. */
enum {
    SEED = 8, /* bytes that a new alignment must have in common where it is found: one load */
    STEP = 3, /* every third old byte begins a seed of the table: half the table of every second one, for 1 % more
                 output */
    TABLE_LOG_MIN = 8,
    TABLE_LOG_MAX = 22, /* heads of 16 MiB, what a call may allocate beside the links */
    CANDIDATES = 16,    /* old positions that are looked at for one seed, so that repetitive data cost no more */
    /* Of an entry: a seed's number plus one, for 2^26 old bytes. The bits above are a tag, six more bits of the seed's
     * hash; without it every other chain would lead to old bytes in vain. */
    NUMBER_BITS = 26,
    /* Memory is asked for what the search this many positions later will read; a search would else wait for it. */
    AHEAD = 24,
    WINDOW = 48,    /* bytes by which alignments are compared */
    GOOD = 36,      /* if this many of them are the same, the present alignment is not questioned */
    ADVANTAGE = 12, /* another one must be better by this many bytes, because naming it costs about four */
    /* An alignment's beginning is extended backwards until this many more bytes differ than are the same. */
    BACKWARD_LOSS = 64,
    /* ... and at most by this many bytes: in data that repeat themselves each alignment would else go back over all
       bytes before it. */
    BACKWARD_MAX = 1024
};

_Static_assert(RDK_DIFFERENCE_BYTES_MAX / STEP < (1u << NUMBER_BITS), "a seed's number fits an entry");

typedef struct {
    const uint8_t *old, *new_bytes;
    size_t old_length, new_length;
    uint32_t *heads;   /* per hash: the entry of its last seed, or 0 */
    uint32_t *earlier; /* per seed: the entry of the one before it with the same hash, or 0 */
    unsigned shift;
    size_t heads_asked, entries_asked; /* memory was asked for what positions before these will read */
    uint64_t failed;                   /* searches that found nothing */
    uint64_t budget;                   /* how many more of them than half of the positions there may be */
    int over_budget;
} aligner;

/* New bytes from `at` on are aligned with old ones from `source` on. */
typedef struct {
    size_t at, source;
    int known; /* 0: with none */
} alignment;

static size_t least(size_t a, size_t b) { return a < b ? a : b; }
static size_t distance(size_t a, size_t b) { return a < b ? b - a : a - b; }

/* ---- seeds ----------------------------------------------------------------------------------------------------- */

/* By multiplication with 2^64 divided by the golden ratio (Knuth, TAOCP volume 3, 6.4). */
static uint64_t seed_hash(uint64_t seed) { return seed * UINT64_C(0x9E3779B97F4A7C15); }

/* The bits below those that choose the head, where an entry has its tag. */
static uint32_t tag_of(const aligner *a, uint64_t hash) {
    return (uint32_t)(hash >> (a->shift - (32 - NUMBER_BITS))) << NUMBER_BITS;
}

static int has_tag(uint32_t entry, uint32_t tag) { return (entry ^ tag) >> NUMBER_BITS == 0; }

static size_t number_of(uint32_t entry) { return (entry & ((1u << NUMBER_BITS) - 1)) - 1; }

static int index_old(aligner *a) {
    size_t seeds = a->old_length < SEED ? 0 : (a->old_length - SEED) / STEP + 1;
    unsigned log = TABLE_LOG_MIN;
    while (log < TABLE_LOG_MAX && (size_t)1 << log < seeds) log++;
    a->shift = 64 - log;
    a->heads = malloc(sizeof *a->heads << log);
    a->earlier = malloc((seeds + 1) * sizeof *a->earlier);
    if (a->heads == NULL || a->earlier == NULL) return RDK_E_MEMORY;
    /* Not by calloc: a page that is read before it is written is faulted in twice, which stops the other threads. */
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

/* Asks memory for what searches at the next positions will read: first for heads, later for what these name. */
static void look_ahead(aligner *a, size_t at) {
    size_t last = a->new_length - SEED, far = least(last, at + AHEAD), near = least(last, at + AHEAD / 2);
    for (size_t i = a->heads_asked < at ? at : a->heads_asked; i < far; i++)
        __builtin_prefetch(a->heads + (seed_hash(rdk_load64(a->new_bytes + i)) >> a->shift));
    for (size_t i = a->entries_asked < at ? at : a->entries_asked; i < near; i++) {
        uint64_t hash = seed_hash(rdk_load64(a->new_bytes + i));
        uint32_t entry = a->heads[hash >> a->shift];
        if (!entry) continue;
        __builtin_prefetch(a->earlier + number_of(entry));
        if (has_tag(entry, tag_of(a, hash))) __builtin_prefetch(a->old + number_of(entry) * STEP);
    }
    a->heads_asked = far;
    a->entries_asked = near;
}

/* ---- alignments ------------------------------------------------------------------------------------------------ */

/* Returns how many of the next bytes, WINDOW at most, are the same. */
static unsigned resemblance(const aligner *a, size_t at, size_t source) {
    const uint8_t *new_bytes = a->new_bytes + at, *old = a->old + source;
    size_t length = least(a->new_length - at, a->old_length - source);
    if (length >= WINDOW) {
        uint8_t same = 0; /* a byte, and a fixed length, so that the compiler makes vector code of it */
        for (unsigned i = 0; i < WINDOW; i++) same = (uint8_t)(same + (new_bytes[i] == old[i]));
        return same;
    }
    unsigned same = 0;
    for (size_t i = 0; i < length; i++) same += new_bytes[i] == old[i];
    return same;
}

/* Finds the source that the bytes at `at` resemble most, of several the nearest to `expected`. Returns their
 * resemblance. */
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

/* Finds the first position from `at` on where another alignment is clearly better than the present one. Returns 0 if
 * there is none, or if the budget is used up before. */
static int next_alignment(aligner *a, const alignment *present, size_t at, alignment *found) {
    while (a->new_length - at >= SEED) {
        size_t expected = present->source + (at - present->at);
        unsigned same = 0;
        if (present->known && expected < a->old_length) {
            size_t limit = least(a->new_length - at, a->old_length - expected);
            size_t equal = rdk_equal_long(a->new_bytes + at, a->old + expected, limit);
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
            if (++a->failed > at / 2 && a->failed - at / 2 > a->budget) {
                a->over_budget = 1;
                return 0;
            }
        }
        at++;
    }
    return 0;
}

/* Returns how far the bytes from both pointers on have more bytes that are the same than that differ, at its best. */
static size_t reach_forward(const uint8_t *new_bytes, const uint8_t *old, size_t limit) {
    ptrdiff_t gain = 0, best = 0;
    size_t reach = 0;
    for (size_t i = 0; i < limit; i++) {
        gain += new_bytes[i] == old[i] ? 1 : -1;
        if (gain > best) {
            best = gain;
            reach = i + 1;
        }
    }
    return reach;
}

/* The same for the bytes before both pointers. */
static size_t reach_backward(const uint8_t *new_bytes, const uint8_t *old, size_t limit) {
    ptrdiff_t gain = 0, best = 0;
    size_t reach = 0;
    for (size_t i = 1; i <= limit && gain > best - BACKWARD_LOSS; i++) {
        gain += *(new_bytes - i) == *(old - i) ? 1 : -1;
        if (gain > best) {
            best = gain;
            reach = i;
        }
    }
    return reach;
}

/* Of `length` new bytes that two alignments claim, returns how many from the front the first one explains better. */
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
    size_t between = next->at - present->at, near = 0, back = 0;
    if (present->known)
        near = reach_forward(a->new_bytes + present->at, a->old + present->source,
                             least(between, a->old_length - present->source));
    if (next->known)
        back = reach_backward(a->new_bytes + next->at, a->old + next->source,
                              least(least(between, BACKWARD_MAX), next->source));
    if (near + back > between) {
        size_t both = near + back - between;
        size_t share = share_of_first(a->new_bytes + next->at - back, a->old + present->source + near - both,
                                      a->old + next->source - back, both);
        near -= both - share;
        back -= share;
    }
    next->at -= back;
    next->source -= back;
    return (rdk_difference){(uint32_t)present->source, (uint32_t)near, (uint32_t)(between - near - back)};
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
            if (count == capacity || a->over_budget) return RDK_E_OUTPUT_FULL;
            out[count++] = ended;
        }
        if (!more) return (int64_t)count;
        present = next;
    }
}

int64_t rdk_difference_find(const uint8_t *old, uint64_t old_length, const uint8_t *new_bytes, uint64_t new_length,
                            uint64_t search_budget, rdk_difference *out, size_t capacity) {
    if (old_length > RDK_DIFFERENCE_BYTES_MAX || new_length > RDK_DIFFERENCE_BYTES_MAX) return RDK_E_ARGUMENT;
    aligner a = {.old = old,
                 .new_bytes = new_bytes,
                 .old_length = (size_t)old_length,
                 .new_length = (size_t)new_length,
                 .budget = search_budget};
    int64_t answer = index_old(&a);
    if (answer == RDK_OK) answer = align(&a, out, capacity);
    free(a.heads);
    free(a.earlier);
    return answer;
}
