/* The walk of zlib's lineage over the plain bytes, to be included once for every variant. There is no guard, because a
 * file may include it several times. Everything is static.
 *
 * The including file defines
 *   WALK(name)         the name of a function of this variant
 *   WALK_HASH          its enum rdk_zlib_hash, a constant
 * and, where the variant differs from zlib,
 *   WALK_STATE                             the type of its state, whose first member is `rdk_zlib_walk walk`
 *   WALK_OF(state)                         the rdk_zlib_walk in it
 *   WALK_IN_TAIL(run, left)                whether a search with `left` bytes ahead goes another way, namely
 *   WALK_TAIL_LONGEST(run, state, position, ask, distance)   this one, in place of rdk_zlib_longest
 *   WALK_STAND(run, state, position)       is told that a lazy level passes `position` without a search
 *   WALK_AFTER(run, state, position, standing)   is called after each token that reached `position` from `standing`
 *   WALK_CLEAR_TOKENS(run, state, count)   how many of `count` tokens may be emitted before WALK_AFTER must be called
 * again WALK_INSERTS_TO_END                    whether a fast level inserts the inside of a match that ends less than 3
 * bytes before the input All of them are undefined again at the end. */
#ifndef WALK_STATE
#define WALK_STATE rdk_zlib_walk
#define WALK_OF(state) (state)
#define WALK_IN_TAIL(run, left) false
#define WALK_TAIL_LONGEST(run, state, position, ask, distance) 0
#define WALK_STAND(run, state, position) (void)0
#define WALK_AFTER(run, state, position, standing) (void)(standing)
#define WALK_CLEAR_TOKENS(run, state, count) (count)
#define WALK_INSERTS_TO_END false
#endif

/* For the loops over tokens: a function of its own for each variant. Inlined into their callers they were up to 8 %
 * slower (GCC 12, GNU gzip's level 6). */
#define WALK_LOOP static __attribute__((noinline, unused))

/* ---- filling chains -------------------------------------------------------------------------------------------- */

/* Inserts positions up to `position` and at most BATCH more. Lazy levels insert every position, so a chain is a matter
 * of the plain bytes alone and can be made ahead of the search. */
static inline void WALK(insert_ahead)(const rdk_run *run, rdk_zlib_chains *chains, uint32_t position) {
    /* A search reaches back a window less MIN_LOOKAHEAD. Positions that are inserted up to this many bytes ahead
     * overwrite only entries beyond that. */
    enum { BATCH = 256 };
    _Static_assert((int)BATCH <= (int)RDK_ZLIB_MIN_LOOKAHEAD, "a batch overwrites no entry in reach");
    uint32_t last = run->length >= 4 ? run->length - 4 : 0;
    while (chains->inserted <= position) {
        uint32_t at = chains->inserted, window_position = at - chains->origin;
        if (window_position >= 2 * RDK_WINDOW) {
            rdk_zlib_slide(chains);
            window_position -= RDK_WINDOW;
        }
        uint32_t count = 2 * RDK_WINDOW - window_position;
        if (count > BATCH) count = BATCH;
        if (run->length < 4 || at > last || count > last - at + 1) { /* the end of the plain bytes is near */
            if (run->length < at + RDK_MATCH_MIN) {
                chains->inserted = UINT32_MAX;
                return;
            }
            uint32_t four = rdk_zlib_load(run->plain + at, run->length - at, chains->beyond);
            rdk_zlib_insert(chains, WALK_HASH, window_position, four);
            chains->inserted++;
            continue;
        }
        for (uint32_t i = 0; i < count; i++)
            rdk_zlib_insert(chains, WALK_HASH, window_position + i, rdk_load32(run->plain + at + i));
        chains->inserted += count;
    }
}

/* rdk_zlib_fill. The encoder slides its window when it stands beyond the first half by MAX_DIST. */
static inline void WALK(fill)(const rdk_run *run, rdk_zlib_chains *chains, uint32_t from, uint32_t to) {
    enum { SLIDE_AT = 2 * RDK_WINDOW - RDK_ZLIB_MIN_LOOKAHEAD };
    if (run->length < RDK_MATCH_MIN) return;
    if (to > run->length - RDK_MATCH_MIN + 1) to = run->length - RDK_MATCH_MIN + 1;
    for (uint32_t at = from; at < to;) {
        if (at - chains->origin >= SLIDE_AT) rdk_zlib_slide(chains);
        const uint32_t origin = chains->origin, turn = origin + SLIDE_AT < to ? origin + SLIDE_AT : to;
        for (; at < turn && run->length - at >= 4; at++)
            rdk_zlib_insert(chains, WALK_HASH, at - origin, rdk_load32(run->plain + at));
        for (; at < turn; at++)
            rdk_zlib_insert(chains, WALK_HASH, at - origin,
                            rdk_zlib_load(run->plain + at, run->length - at, chains->beyond));
    }
}

/* ---- lazy levels ----------------------------------------------------------------------------------------------- */

/* Returns the length of the match at `position` if it is longer than `before`, the length of the match one position
 * earlier; else 0. The search of deflate_slow. */
static inline uint32_t WALK(lazy_find)(const rdk_run *run, WALK_STATE *state, uint32_t position, uint32_t end,
                                       uint32_t before, uint32_t *distance) {
    rdk_zlib_walk *walk = WALK_OF(state);
    rdk_zlib_chains *chains = &walk->chains;
    uint32_t left = end - position, length;
    rdk_zlib_search ask = {.best = before, .limit = left < RDK_MATCH_MAX ? left : RDK_MATCH_MAX, .reach = walk->reach};
    if (left < RDK_MATCH_MIN || before >= ask.limit) return 0;
    ask.nice = walk->effort.nice < ask.limit ? walk->effort.nice : ask.limit;
    ask.chain = before >= walk->effort.good ? walk->effort.chain >> 2 : walk->effort.chain;
    if (chains->inserted <= position) WALK(insert_ahead)(run, chains, position);
    if (WALK_IN_TAIL(run, left)) {
        length = WALK_TAIL_LONGEST(run, state, position, &ask, distance);
    } else {
        uint32_t at = position - chains->origin, candidate = chains->older[at & (RDK_WINDOW - 1)];
        length = rdk_zlib_longest(chains, run->plain + position, at, candidate, &ask, distance);
    }
    if (length <= before) return 0;
    if (length == RDK_MATCH_MIN && *distance > RDK_ZLIB_TOO_FAR) return 0;
    return walk->filtered && length <= 5 ? 0 : length;
}

/* deflate_slow: a match is written when the next position has no longer one. */
WALK_LOOP uint32_t WALK(lazy)(rdk_run *run, WALK_STATE *state, uint32_t from, uint32_t to, uint32_t end) {
    rdk_zlib_walk *walk = WALK_OF(state);
    uint32_t position = from, length = 0, distance = 0, stop = to < run->stop ? to : run->stop;
    if (walk->pending_length && walk->pending_at == from) {
        length = walk->pending_length;
        distance = walk->pending_distance;
    }
    while (position < stop) {
        uint32_t predicted = position + 1, standing = position + 1, next = 0, next_distance = 0;
        if (length == 0) length = WALK(lazy_find)(run, state, position, end, 2, &distance);
        if (length >= walk->effort.lazy) WALK_STAND(run, state, position + 1);
        if (length && length < walk->effort.lazy)
            next = WALK(lazy_find)(run, state, position + 1, end, length, &next_distance);
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
        WALK_AFTER(run, state, position, standing);
    }
    walk->pending_at = position;
    walk->pending_length = length;
    walk->pending_distance = distance;
    return position;
}

/* ---- fast levels ----------------------------------------------------------------------------------------------- */

/* Returns what rdk_zlib_longest finds for the bytes at `scan`, window position `at`, if the end of the input is not
 * within 266 bytes and the reach is a whole MAX_DIST; less than 3 if there is nothing. */
static inline uint32_t WALK(clear_longest)(const rdk_zlib_chains *chains, const uint8_t *scan, uint32_t at,
                                           uint32_t candidate, const rdk_zlib_effort *effort, uint32_t *distance) {
    enum { REACH = RDK_WINDOW - RDK_ZLIB_MIN_LOOKAHEAD };
    uint32_t best = RDK_MATCH_MIN - 1, chain = effort->chain;
    const uint32_t lowest = at > REACH ? at - REACH : 0;
    const uint64_t want = rdk_load64(scan);
    if (candidate == 0 || candidate < lowest) return best;
    do {
        const uint8_t *there = scan - (at - candidate);
        uint64_t differ = rdk_load64(there) ^ want;
        uint32_t length = differ ? (uint32_t)(__builtin_ctzll(differ) >> 3)
                                 : 8 + rdk_equal_short(scan + 8, there + 8, RDK_MATCH_MAX - 8);
        *distance = length > best ? at - candidate : *distance; /* without a branch, because nothing predicts it */
        best = length > best ? length : best;
        if (best >= effort->nice) break;
        candidate = chains->older[candidate & (RDK_WINDOW - 1)];
    } while (candidate > lowest && --chain != 0);
    return best;
}

/* The encoder slides its window before a position that is farther in it than MAX_DIST beyond the first half. */
enum { WALK(slide_at) = 2 * RDK_WINDOW - RDK_ZLIB_MIN_LOOKAHEAD + 1 };

/* WALK(fast) away from all edges, where nearly all of its time goes: no token can reach the end of the input or of the
 * block, or a correction. Emits at most `count` tokens, and stops before the first position of which that cannot be
 * said. */
static inline uint32_t WALK(clear)(rdk_run *run, rdk_zlib_walk *walk, uint32_t from, uint32_t to, ptrdiff_t count) {
    enum { MARGIN = RDK_MATCH_MAX + 8 };
    rdk_zlib_chains *chains = &walk->chains;
    const rdk_zlib_effort effort = walk->effort;
    const uint8_t *plain = run->plain;
    rdk_token *next = run->next, *const alarm = next + count;
    uint32_t position = from, clear = to < run->guard ? to : run->guard, distance = 0;
    clear = clear < MARGIN ? 0 : clear - MARGIN;
    while (position < clear && next < alarm) {
        if (position - chains->origin >= WALK(slide_at)) rdk_zlib_slide(chains);
        const uint32_t origin = chains->origin,
                       turn = origin + WALK(slide_at) < clear ? origin + WALK(slide_at) : clear;
        while (position < turn && next < alarm) {
            const uint8_t *scan = plain + position;
            uint32_t at = position - origin, candidate = rdk_zlib_insert(chains, WALK_HASH, at, rdk_load32(scan));
            /* A search after a wrongly predicted branch would wait for the table, and then for the candidate. */
            __builtin_prefetch(plain +
                               (origin + chains->newest[rdk_zlib_hash(chains, WALK_HASH, rdk_load32(scan + 1))]));
            __builtin_prefetch(&chains->newest[rdk_zlib_hash(chains, WALK_HASH, rdk_load32(scan + 3))]);
            uint32_t length = WALK(clear_longest)(chains, scan, at, candidate, &effort, &distance);
            if (length < RDK_MATCH_MIN) {
                *next++ = *scan;
                position++;
                continue;
            }
            *next++ = RDK_MATCH(length, distance);
            position += length;
            if (length <= effort.lazy)
                for (uint32_t i = 1; i < length; i++) rdk_zlib_insert(chains, WALK_HASH, at + i, rdk_load32(scan + i));
        }
    }
    run->next = next;
    return position;
}

/* Inserts `position` and returns the longest match there, as deflate_fast does near an edge; less than 3 if there is
 * none. */
static inline uint32_t WALK(fast_find)(const rdk_run *run, WALK_STATE *state, uint32_t position, uint32_t left,
                                       uint32_t *distance) {
    rdk_zlib_walk *walk = WALK_OF(state);
    rdk_zlib_chains *chains = &walk->chains;
    const uint8_t *scan = run->plain + position;
    if (position - chains->origin >= WALK(slide_at)) rdk_zlib_slide(chains);
    uint32_t at = position - chains->origin, four = rdk_zlib_load(scan, run->length - position, chains->beyond);
    uint32_t candidate = rdk_zlib_insert(chains, WALK_HASH, at, four);
    rdk_zlib_search ask = {2, left < RDK_MATCH_MAX ? left : RDK_MATCH_MAX, walk->effort.nice, walk->effort.chain,
                           walk->reach};
    if (ask.nice > ask.limit) ask.nice = ask.limit;
    if (WALK_IN_TAIL(run, left)) return WALK_TAIL_LONGEST(run, state, position, &ask, distance);
    return rdk_zlib_longest(chains, scan, at, candidate, &ask, distance);
}

/* deflate_fast: the first match found is written, and its inside is inserted only if it is short. */
WALK_LOOP uint32_t WALK(fast)(rdk_run *run, WALK_STATE *state, uint32_t from, uint32_t to, uint32_t end) {
    rdk_zlib_walk *walk = WALK_OF(state);
    rdk_zlib_chains *chains = &walk->chains;
    const uint32_t stop = to < run->stop ? to : run->stop, inside_max = walk->effort.lazy;
    const bool whole_reach = walk->reach == RDK_WINDOW - RDK_ZLIB_MIN_LOOKAHEAD;
    uint32_t position = from;
    while (position < stop) {
        if (whole_reach) {
            ptrdiff_t count = run->alarm - run->next;
            position = WALK(clear)(run, walk, position, stop, WALK_CLEAR_TOKENS(run, state, count));
        }
        uint32_t standing = position, left = end - position, length = 0, distance = 0;
        if (left >= RDK_MATCH_MIN) length = WALK(fast_find)(run, state, position, left, &distance);
        position =
            length >= RDK_MATCH_MIN ? rdk_emit_match(run, position, length, distance) : rdk_emit_literal(run, position);
        uint32_t span = position - standing;
        if (span > 1 && span <= inside_max && (WALK_INSERTS_TO_END || end - position >= RDK_MATCH_MIN))
            for (uint32_t at = standing + 1; at < position && run->length - at >= RDK_MATCH_MIN; at++)
                rdk_zlib_insert(chains, WALK_HASH, at - chains->origin,
                                rdk_zlib_load(run->plain + at, run->length - at, chains->beyond));
        WALK_AFTER(run, state, position, standing);
    }
    return position;
}

#undef WALK
#undef WALK_LOOP
#undef WALK_HASH
#undef WALK_STATE
#undef WALK_OF
#undef WALK_IN_TAIL
#undef WALK_TAIL_LONGEST
#undef WALK_STAND
#undef WALK_AFTER
#undef WALK_CLEAR_TOKENS
#undef WALK_INSERTS_TO_END
