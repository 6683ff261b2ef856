/* The searches of zlib's lineage: fast and lazy levels, run lengths, literals only. */
#include "zlib.h"

const rdk_zlib_effort rdk_zlib_efforts[10] = {
    {0, 0, 0, 0},    {4, 4, 8, 4},      {4, 5, 16, 8},     {4, 6, 32, 32},       {4, 4, 16, 16},
    {8, 16, 32, 32}, {8, 16, 128, 128}, {8, 32, 128, 256}, {32, 128, 258, 1024}, {32, 258, 258, 4096},
};

/* ---- chains ---------------------------------------------------------------------------------------------------- */

void rdk_zlib_restart(rdk_zlib_chains *chains, uint32_t origin, uint32_t hash_bits) {
    memset(chains->newest, 0, sizeof chains->newest);
    chains->origin = origin;
    chains->hash_shift = (hash_bits + 2) / 3;
    chains->hash_mask = (1u << hash_bits) - 1;
}

static void move_down(uint16_t *entries, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) entries[i] = entries[i] > RDK_ZLIB_WINDOW ? entries[i] - RDK_ZLIB_WINDOW : 0;
}

void rdk_zlib_slide(rdk_zlib_chains *chains) {
    move_down(chains->newest, chains->hash_mask + 1);
    move_down(chains->older, RDK_ZLIB_WINDOW);
    chains->origin += RDK_ZLIB_WINDOW;
}

/* Lazy levels insert every position, so a chain is a matter of the plain bytes alone and can be laid ahead of the
 * search. */
static inline void lay_ahead(const rdk_run *run, rdk_zlib_chains *chains, enum rdk_zlib_hash kind, uint32_t position) {
    uint32_t last = run->length >= 4 ? run->length - 4 : 0;
    while (chains->inserted <= position) {
        uint32_t at = chains->inserted, window_position = at - chains->origin;
        if (window_position >= 2 * RDK_ZLIB_WINDOW) {
            rdk_zlib_slide(chains);
            window_position -= RDK_ZLIB_WINDOW;
        }
        uint32_t count = 2 * RDK_ZLIB_WINDOW - window_position;
        if (count > RDK_ZLIB_BATCH) count = RDK_ZLIB_BATCH;
        if (run->length < 4 || at > last || count > last - at + 1) { /* the end of the plain bytes is near */
            if (run->length < at + RDK_MATCH_MIN) {
                chains->inserted = UINT32_MAX;
                return;
            }
            rdk_zlib_insert(chains, kind, window_position,
                            rdk_zlib_load(run->plain + at, run->length - at, chains->beyond));
            chains->inserted++;
            continue;
        }
        for (uint32_t i = 0; i < count; i++)
            rdk_zlib_insert(chains, kind, window_position + i, rdk_load32(run->plain + at + i));
        chains->inserted += count;
    }
}

static inline void fill(const rdk_run *run, rdk_zlib_walk *walk, enum rdk_zlib_hash kind, uint32_t from, uint32_t to) {
    rdk_zlib_chains *chains = &walk->chains;
    if (run->length < RDK_MATCH_MIN) return;
    if (to > run->length - RDK_MATCH_MIN + 1) to = run->length - RDK_MATCH_MIN + 1;
    for (uint32_t at = from; at < to;) {
        enum { TURN = 2 * RDK_ZLIB_WINDOW - RDK_ZLIB_MARGIN };
        if (at - chains->origin >= TURN) rdk_zlib_slide(chains);
        const uint32_t origin = chains->origin, turn = origin + TURN < to ? origin + TURN : to;
        for (; at < turn && run->length - at >= 4; at++)
            rdk_zlib_insert(chains, kind, at - origin, rdk_load32(run->plain + at));
        for (; at < turn; at++)
            rdk_zlib_insert(chains, kind, at - origin,
                            rdk_zlib_load(run->plain + at, run->length - at, chains->beyond));
    }
}

void rdk_zlib_fill(const rdk_run *run, rdk_zlib_walk *walk, uint32_t from, uint32_t to) {
    if (walk->hash == RDK_ZLIB_HASH3) fill(run, walk, RDK_ZLIB_HASH3, from, to);
    else fill(run, walk, walk->hash, from, to);
}

/* ---- lazy levels ----------------------------------------------------------------------------------------------- */

/* The match at `position`, of more than `before` bytes: the length of the match one position earlier. Otherwise < 3. */
static inline uint32_t lazy_find(const rdk_run *run, rdk_zlib_walk *walk, enum rdk_zlib_hash kind, bool gnu,
                                 uint32_t position, uint32_t end, uint32_t before, uint32_t *distance) {
    rdk_zlib_chains *chains = &walk->chains;
    uint32_t left = end - position, length;
    rdk_zlib_search ask = {.best = before, .most = left < RDK_MATCH_MAX ? left : RDK_MATCH_MAX, .reach = walk->reach};
    if (left < RDK_MATCH_MIN || before >= ask.most) return 0;
    ask.nice = walk->effort.nice < ask.most ? walk->effort.nice : ask.most;
    ask.chain = before >= walk->effort.good ? walk->effort.chain >> 2 : walk->effort.chain;
    if (chains->inserted <= position) lay_ahead(run, chains, kind, position);
    if (gnu && left < RDK_MATCH_MAX && run->ends) {
        length = rdk_gnu_tail_longest(run, walk, position, &ask, distance);
    } else {
        uint32_t at = position - chains->origin, candidate = chains->older[at & (RDK_ZLIB_WINDOW - 1)];
        length = rdk_zlib_longest(chains, run->plain + position, at, candidate, &ask, distance);
    }
    if (length <= before) return 0;
    if (length == RDK_MATCH_MIN && *distance > RDK_ZLIB_TOO_FAR) return 0;
    return walk->filtered && length <= 5 ? 0 : length;
}

static inline uint32_t walk_lazy(rdk_run *run, rdk_zlib_walk *walk, enum rdk_zlib_hash kind, bool gnu, uint32_t from,
                                 uint32_t to, uint32_t end) {
    uint32_t position = from, length = 0, distance = 0, stop = to < run->stop ? to : run->stop;
    if (walk->pending_length && walk->pending_at == from) {
        length = walk->pending_length;
        distance = walk->pending_distance;
    }
    while (position < stop) {
        uint32_t predicted = position + 1, standing = position + 1, next = 0, next_distance = 0;
        if (length == 0) length = lazy_find(run, walk, kind, gnu, position, end, 2, &distance);
        if (gnu && length >= walk->effort.lazy) rdk_gnu_stand(run, walk, position + 1);
        if (length && length < walk->effort.lazy)
            next = lazy_find(run, walk, kind, gnu, position + 1, end, length, &next_distance);
        if (length && next == 0) {
            position = rdk_emit_match(run, position, length, distance);
        } else {
            /* The literal that ends the input is written with the block that ends the stream, full or not. */
            if (run->last && predicted == run->length) run->block_tokens = 0;
            position = rdk_emit_literal(run, position);
            if (position != predicted) next = 0;
        }
        length = next;
        distance = next_distance;
        if (gnu && (walk->rsyncable || ((run->next - walk->tokens) & 0xfff) == 0))
            rdk_gnu_after(run, walk, position, standing);
    }
    walk->pending_at = position;
    walk->pending_length = length;
    walk->pending_distance = distance;
    return position;
}

uint32_t rdk_zlib_lazy(rdk_run *run, rdk_zlib_walk *walk, uint32_t from, uint32_t to, uint32_t end) {
    if (walk->gnu) return walk_lazy(run, walk, RDK_ZLIB_HASH3, true, from, to, end);
    if (walk->hash == RDK_ZLIB_HASH4) return walk_lazy(run, walk, RDK_ZLIB_HASH4, false, from, to, end);
    if (walk->hash == RDK_ZLIB_HASH3) return walk_lazy(run, walk, RDK_ZLIB_HASH3, false, from, to, end);
    return walk_lazy(run, walk, RDK_ZLIB_HASH3_ANY, false, from, to, end);
}

/* ---- fast levels ----------------------------------------------------------------------------------------------- */

/* What rdk_zlib_longest finds for the bytes at `scan`, window position `at`, if no edge is within 266 bytes; < 3 if
 * nothing. */
static inline uint32_t clear_longest(const rdk_zlib_chains *chains, const uint8_t *scan, uint32_t at,
                                     uint32_t candidate, const rdk_zlib_effort *effort, uint32_t *distance) {
    uint32_t best = RDK_MATCH_MIN - 1, chain = effort->chain;
    const uint32_t limit = at > RDK_ZLIB_WINDOW - RDK_ZLIB_MARGIN ? at - (RDK_ZLIB_WINDOW - RDK_ZLIB_MARGIN) : 0;
    const uint64_t want = rdk_load64(scan);
    if (candidate == 0 || candidate < limit) return best;
    do {
        const uint8_t *there = scan - (at - candidate);
        uint64_t differ = rdk_load64(there) ^ want;
        uint32_t length =
            differ ? (uint32_t)(__builtin_ctzll(differ) >> 3) : 8 + rdk_common(scan + 8, there + 8, RDK_MATCH_MAX - 8);
        *distance = length > best ? at - candidate : *distance; /* without a branch: nothing predicts it */
        best = length > best ? length : best;
        if (best >= effort->nice) break;
        candidate = chains->older[candidate & (RDK_ZLIB_WINDOW - 1)];
    } while (candidate > limit && --chain != 0);
    return best;
}

/* walk_fast() away from all edges, where nearly all of the time goes: no token can reach the end of the input, of the
 * block, or a correction. Emits at most `most` tokens and stops before the first position of which that cannot be said.
 */
static inline uint32_t walk_clear(rdk_run *run, rdk_zlib_walk *walk, enum rdk_zlib_hash kind, uint32_t from,
                                  uint32_t to, ptrdiff_t most) {
    enum { ROOM = RDK_MATCH_MAX + 8, TURN = 2 * RDK_ZLIB_WINDOW - RDK_ZLIB_MARGIN + 1 };
    rdk_zlib_chains *chains = &walk->chains;
    const rdk_zlib_effort effort = walk->effort;
    const uint8_t *plain = run->plain;
    rdk_token *next = run->next, *const alarm = next + most;
    uint32_t position = from, clear = to < run->guard ? to : run->guard, distance = 0;
    clear = clear < ROOM ? 0 : clear - ROOM;
    while (position < clear && next < alarm) {
        if (position - chains->origin >= TURN) rdk_zlib_slide(chains);
        const uint32_t origin = chains->origin, turn = origin + TURN < clear ? origin + TURN : clear;
        while (position < turn && next < alarm) {
            const uint8_t *scan = plain + position;
            uint32_t at = position - origin, candidate = rdk_zlib_insert(chains, kind, at, rdk_load32(scan));
            /* A search that begins after a wrong guess of the branches waits for the table and then for the candidate.
             */
            __builtin_prefetch(plain + (origin + chains->newest[rdk_zlib_hash(chains, kind, rdk_load32(scan + 1))]));
            __builtin_prefetch(&chains->newest[rdk_zlib_hash(chains, kind, rdk_load32(scan + 3))]);
            uint32_t length = clear_longest(chains, scan, at, candidate, &effort, &distance);
            if (length < RDK_MATCH_MIN) {
                *next++ = *scan;
                position++;
                continue;
            }
            *next++ = RDK_MATCH(length, distance);
            position += length;
            if (length <= effort.lazy)
                for (uint32_t i = 1; i < length; i++) rdk_zlib_insert(chains, kind, at + i, rdk_load32(scan + i));
        }
    }
    run->next = next;
    return position;
}

static inline uint32_t walk_fast(rdk_run *run, rdk_zlib_walk *walk, enum rdk_zlib_hash kind, bool gnu, uint32_t from,
                                 uint32_t to, uint32_t end) {
    rdk_zlib_chains *chains = &walk->chains;
    const uint32_t stop = to < run->stop ? to : run->stop, inside_most = walk->effort.lazy;
    const bool clear = walk->reach == RDK_ZLIB_WINDOW - RDK_ZLIB_MARGIN && !walk->rsyncable;
    uint32_t position = from;
    while (position < stop) {
        if (clear) {
            ptrdiff_t most = run->alarm - run->next, checked = 0xfff - ((run->next - walk->tokens) & 0xfff);
            /* GNU gzip looks at its block after every 4,096th token: that one goes the careful way. */
            position = walk_clear(run, walk, kind, position, stop, gnu && checked < most ? checked : most);
        }
        uint32_t standing = position, left = end - position, length = 0, distance = 0;
        if (left >= RDK_MATCH_MIN) {
            const uint8_t *scan = run->plain + position;
            if (position - chains->origin >= 2 * RDK_ZLIB_WINDOW - RDK_ZLIB_MARGIN + 1) rdk_zlib_slide(chains);
            uint32_t at = position - chains->origin;
            uint32_t candidate =
                rdk_zlib_insert(chains, kind, at, rdk_zlib_load(scan, run->length - position, chains->beyond));
            rdk_zlib_search ask = {2, left < RDK_MATCH_MAX ? left : RDK_MATCH_MAX, walk->effort.nice,
                                   walk->effort.chain, walk->reach};
            if (ask.nice > ask.most) ask.nice = ask.most;
            if (gnu && left < RDK_MATCH_MAX && run->ends)
                length = rdk_gnu_tail_longest(run, walk, position, &ask, &distance);
            else length = rdk_zlib_longest(chains, scan, at, candidate, &ask, &distance);
        }
        position =
            length >= RDK_MATCH_MIN ? rdk_emit_match(run, position, length, distance) : rdk_emit_literal(run, position);
        uint32_t span = position - standing;
        if (span > 1 && span <= inside_most && (gnu || end - position >= RDK_MATCH_MIN)) {
            for (uint32_t at = standing + 1; at < position && run->length - at >= RDK_MATCH_MIN; at++)
                rdk_zlib_insert(chains, kind, at - chains->origin,
                                rdk_zlib_load(run->plain + at, run->length - at, chains->beyond));
        }
        if (gnu && (walk->rsyncable || ((run->next - walk->tokens) & 0xfff) == 0))
            rdk_gnu_after(run, walk, position, standing);
    }
    return position;
}

uint32_t rdk_zlib_fast(rdk_run *run, rdk_zlib_walk *walk, uint32_t from, uint32_t to, uint32_t end) {
    if (walk->gnu) return walk_fast(run, walk, RDK_ZLIB_HASH3, true, from, to, end);
    if (walk->hash == RDK_ZLIB_HASH4) return walk_fast(run, walk, RDK_ZLIB_HASH4, false, from, to, end);
    if (walk->hash == RDK_ZLIB_HASH3) return walk_fast(run, walk, RDK_ZLIB_HASH3, false, from, to, end);
    return walk_fast(run, walk, RDK_ZLIB_HASH3_ANY, false, from, to, end);
}

/* ---- without chains -------------------------------------------------------------------------------------------- */

uint32_t rdk_zlib_plain(rdk_run *run, uint32_t from, uint32_t to) {
    const uint32_t stop = to < run->stop ? to : run->stop;
    while (from < stop) from = rdk_emit_literals(run, from, stop);
    return from;
}

uint32_t rdk_zlib_runs(rdk_run *run, uint32_t from, uint32_t to, uint32_t end) {
    const uint32_t stop = to < run->stop ? to : run->stop;
    while (from < stop) {
        uint32_t left = end - from, length = 0;
        if (left >= RDK_MATCH_MIN && run->offset + from > 0 && from > 0) {
            const uint8_t *scan = run->plain + from;
            length = rdk_common(scan - 1, scan, left < RDK_MATCH_MAX ? left : RDK_MATCH_MAX);
        }
        from = length >= RDK_MATCH_MIN ? rdk_emit_match(run, from, length, 1) : rdk_emit_literal(run, from);
    }
    return from;
}
