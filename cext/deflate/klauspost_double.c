/* Levels 4 to 6: a table of 4-byte hashes and one of 7-byte hashes; a match may be given up for a longer one a little
 * later. Names in parentheses are those of level4.go to level6.go. */
#include "klauspost_emit.h"
#include "klauspost_matchers.h"

enum { BITS = 15, ENTRIES = 1 << BITS }; /* tableBits, tableSize */

static inline uint32_t short_hash(uint64_t value) { return kp_hash4(value, BITS); }
static inline uint32_t long_hash(uint64_t value) { return kp_hash7(value, BITS); }

/* ---- level 4 --------------------------------------------------------------------------------------------------- */

typedef struct singles {
    uint32_t brief[ENTRIES], wide[ENTRIES];
} singles;

/* Tells whether the match at `next` is longer than the one at `s`. Since 1.18.0 the encoder takes the *distance* of the
 * match at `next` for its position, so that the outcome depends on where its history buffer begins. */
static inline bool is_longer(const kp_chunk *chunk, bool mistaken, int32_t s, int32_t from, int32_t next,
                             int32_t next_from) {
    if (mistaken) next_from = chunk->history + (next - next_from);
    if (next_from < 0) next_from = 0; /* in warm-up only */
    return kp_length(chunk, next + 4, next_from + 4) > kp_length(chunk, s + 4, from + 4);
}

/* Finds the next match from *at on. On true *at and *from say where it is, and *next where the search is. The step
 * grows by one for every 64 bytes without a match (skipLog). */
static inline bool search4(const kp_chunk *chunk, singles *tables, bool mistaken, int32_t *at, int32_t *from,
                           int32_t *next) {
    const uint8_t *src = chunk->src;
    const int32_t limit = chunk->stop - KP_MARGIN;
    int32_t s, ahead = *at;
    uint64_t value = rdk_load64(src + ahead);
    for (;;) {
        uint32_t *brief = &tables->brief[short_hash(value)], *wide = &tables->wide[long_hash(value)];
        s = ahead;
        ahead = s + 1 + ((s - chunk->anchor) >> 6);
        if (ahead > limit) return false;
        int32_t short_from = kp_index(*brief), long_from = kp_index(*wide);
        uint64_t coming = rdk_load64(src + ahead);
        *brief = *wide = kp_entry(s);
        *from = long_from;
        if (kp_agrees(src, s, long_from, value)) break;
        *from = short_from;
        if (kp_agrees(src, s, short_from, value)) {
            int32_t better = kp_index(tables->wide[long_hash(coming)]);
            if (kp_agrees(src, ahead, better, coming) && is_longer(chunk, mistaken, s, short_from, ahead, better)) {
                s = ahead;
                *from = better;
            }
            break;
        }
        value = coming;
    }
    *at = s;
    *next = ahead;
    return true;
}

void kp_level4(kp_chunk *chunk, bool mistaken) {
    singles *tables = (singles *)(void *)chunk->state->tables;
    const uint8_t *src = chunk->src;
    const int32_t limit = chunk->stop - KP_MARGIN;
    int32_t s = chunk->start, from, next;
    while (s < limit && search4(chunk, tables, mistaken, &s, &from, &next)) {
        kp_match match = {s, from, 4 + kp_length(chunk, s + 4, from + 4)};
        kp_extend_back(chunk, &match);
        if (!kp_emit(chunk, &match, &next)) {
            s = next;
            continue;
        }
        s = chunk->emitted;
        if (next >= s) s = next + 1;
        if (s >= limit) {
            if (s + 8 < chunk->stop) {
                uint64_t value = rdk_load64(src + s);
                tables->brief[short_hash(value)] = tables->wide[long_hash(value)] = kp_entry(s);
            }
            break;
        }
        for (int32_t i = next; i < s - 1; i += 3) {
            uint64_t value = rdk_load64(src + i);
            tables->wide[long_hash(value)] = kp_entry(i);
            tables->wide[long_hash(value >> 8)] = kp_entry(i + 1);
            tables->brief[short_hash(value >> 8)] = kp_entry(i + 1);
        }
        uint64_t value = rdk_load64(src + s - 1);
        tables->brief[short_hash(value)] = tables->wide[long_hash(value)] = kp_entry(s - 1);
    }
    kp_emit_rest(chunk);
}

/* ---- levels 5 and 6 -------------------------------------------------------------------------------------------- */

typedef struct pairs {
    uint32_t brief[ENTRIES];
    kp_pair wide[ENTRIES];
} pairs;

static inline void insert_both(pairs *tables, uint64_t value, int32_t at) {
    tables->brief[short_hash(value)] = kp_entry(at);
    kp_push(&tables->wide[long_hash(value)], at);
}

/* Takes a match at `ahead` out of the long table instead, if it is longer than `match`. Level 5 stops at the first that
 * is. */
static inline void try_next(const kp_chunk *chunk, kp_pair pair, int32_t ahead, uint64_t coming, int level,
                            kp_match *match) {
    int32_t first = kp_index(pair.now), second = kp_index(pair.before), length;
    if (!kp_in_reach(ahead, first, RDK_WINDOW - 1)) return;
    if (rdk_load32(chunk->src + first) == (uint32_t)coming) {
        length = kp_length_token(chunk, ahead, first);
        if (length > match->length) {
            *match = (kp_match){ahead, first, length};
            if (level == 5) return;
        }
    }
    if (kp_agrees(chunk->src, ahead, second, coming)) {
        length = kp_length_token(chunk, ahead, second);
        if (length > match->length) *match = (kp_match){ahead, second, length};
    }
}

/* The bytes at match->at agree with the short table's candidate match->from. Takes something better nearby, if there is
 * any. */
static inline void choose_short(const kp_chunk *chunk, kp_pair pair, int32_t ahead, uint64_t value, uint64_t coming,
                                int level, int32_t repeat, kp_match *match) {
    int32_t s = match->at;
    match->length = kp_length_token(chunk, s, match->from);
    /* A distance that leads before the first byte can only come from a search that was overruled. */
    if (level == 6 && repeat <= s + 1 && rdk_load32(chunk->src + s + 1 - repeat) == (uint32_t)(value >> 8)) {
        int32_t length = kp_length_token(chunk, s + 1, s + 1 - repeat);
        if (length > match->length) {
            *match = (kp_match){s + 1, s + 1 - repeat, length};
            return;
        }
    }
    try_next(chunk, pair, ahead, coming, level, match);
}

/* Finds the next match from match->at on. On true `match` is one, with length 0 if it was not measured yet, and *next
 * is where the search is. `level` and the tables are constants where it is inlined. */
static inline __attribute__((always_inline)) bool search56(const kp_chunk *chunk, pairs *tables, int level,
                                                           int32_t repeat, kp_match *match, int32_t *next) {
    const uint8_t *src = chunk->src;
    const int32_t limit = chunk->stop - KP_MARGIN;
    int32_t s, ahead = match->at;
    uint64_t coming = rdk_load64(src + ahead);
    uint32_t brief = short_hash(coming), wide = long_hash(coming);
    match->length = 0;
    for (;;) {
        uint64_t value = coming;
        s = ahead;
        ahead = s + 1 + ((s - chunk->anchor) >> (level == 5 ? 6 : 7));
        if (ahead > limit) return false;
        int32_t short_from = kp_index(tables->brief[brief]);
        kp_pair pair = tables->wide[wide];
        int32_t first = kp_index(pair.now), second = kp_index(pair.before);
        coming = rdk_load64(src + ahead);
        tables->brief[brief] = kp_entry(s);
        kp_push(&tables->wide[wide], s);
        brief = short_hash(coming);
        wide = long_hash(coming);
        match->at = s;
        if (kp_in_reach(s, first, RDK_WINDOW - 1)) {
            if (rdk_load32(src + first) == (uint32_t)value) {
                match->from = first;
                if (kp_agrees(src, s, second, value)) {
                    match->length = kp_length_token(chunk, s, first);
                    int32_t length = kp_length_token(chunk, s, second);
                    if (length > match->length) *match = (kp_match){s, second, length};
                }
                break;
            }
            if (kp_agrees(src, s, second, value)) {
                match->from = second;
                break;
            }
        }
        if (kp_agrees(src, s, short_from, value)) {
            match->from = short_from;
            choose_short(chunk, tables->wide[wide], ahead, value, coming, level, repeat, match);
            break;
        }
    }
    tables->brief[brief] = kp_entry(ahead);
    kp_push(&tables->wide[wide], ahead);
    *next = ahead;
    return true;
}

/* The bytes behind the match may have occurred before with more in front of them, so the search begins from the match's
 * end and goes backwards. The first `skip` bytes need not agree; extending backwards picks them up if they do. Returns
 * whether the entry is in reach. */
static inline bool try_from_end(const kp_chunk *chunk, uint32_t entry, int32_t s, int32_t skip, kp_match *match) {
    int32_t from = kp_index(entry) - match->length + skip, distance = s + skip - from;
    if (distance >= RDK_WINDOW) return false;
    if (distance <= 0 || from < chunk->base) return true;
    int32_t length = kp_length(chunk, s + skip, from);
    if (length > match->length) *match = (kp_match){s + skip, from, length};
    return true;
}

/* Measures the match to its end, looks from its end for a longer one, and extends it backwards. */
static inline void finish_match(const kp_chunk *chunk, const pairs *tables, int level, bool old, kp_match *match) {
    const int32_t skip = old ? 0 : 2, s = match->at;
    if (match->length == 0) match->length = 4 + kp_length(chunk, s + 4, match->from + 4);
    else if (match->length == RDK_MATCH_MAX)
        match->length += kp_length(chunk, s + match->length, match->from + match->length);
    int32_t end = s + match->length;
    if (end < chunk->stop - KP_MARGIN && (level == 6 || match->length < 30)) {
        kp_pair pair = tables->wide[long_hash(rdk_load64(chunk->src + end))];
        bool in_reach = try_from_end(chunk, pair.now, s, skip, match);
        if (level == 6 && in_reach) try_from_end(chunk, pair.before, s, skip, match);
    }
    kp_extend_back(chunk, match);
}

/* Inserts what the encoder inserts inside a match of `length` bytes that ends at `s`. */
static inline void insert_inside5(const kp_chunk *chunk, pairs *tables, int32_t s, int32_t length) {
    const uint8_t *src = chunk->src;
    int32_t i = s - length + 1;
    if (i < s - 1) {
        uint64_t value = rdk_load64(src + i);
        insert_both(tables, value, i);
        kp_push(&tables->wide[long_hash(value >> 8)], i + 1);
        tables->brief[short_hash(value >> 16)] = kp_entry(i + 2);
        for (i += 4; i < s - 1; i += 3) {
            value = rdk_load64(src + i);
            kp_push(&tables->wide[long_hash(value)], i);
            tables->brief[short_hash(value >> 8)] = kp_entry(i + 1);
        }
    }
    insert_both(tables, rdk_load64(src + s - 1), s - 1);
}

/* The same for level 6, from the position behind where the search was. */
static inline void insert_inside6(const kp_chunk *chunk, pairs *tables, int32_t from, int32_t s) {
    for (int32_t i = from; i < s - 1; i += 2) {
        uint64_t value = rdk_load64(chunk->src + i);
        insert_both(tables, value, i);
        kp_push(&tables->wide[long_hash(value >> 8)], i + 1);
    }
}

static inline __attribute__((always_inline)) void level56(kp_chunk *chunk, int level, bool old) {
    pairs *tables = (pairs *)(void *)chunk->state->tables;
    const int32_t limit = chunk->stop - KP_MARGIN;
    int32_t s = chunk->start, repeat = 1, next;
    kp_match match = {.at = s};
    while (s < limit && (match.at = s, search56(chunk, tables, level, repeat, &match, &next))) {
        finish_match(chunk, tables, level, old, &match);
        repeat = match.at - match.from;
        if (!kp_emit(chunk, &match, &next)) {
            s = next;
            continue;
        }
        s = chunk->emitted;
        if (next >= s) s = next + 1;
        if (s >= limit) {
            if (level == 6)
                for (int32_t i = next + 1; i < chunk->stop - 8; i += 2)
                    insert_both(tables, rdk_load64(chunk->src + i), i);
            break;
        }
        if (level == 5) insert_inside5(chunk, tables, s, match.length);
        else insert_inside6(chunk, tables, next + 1, s);
    }
    kp_emit_rest(chunk);
}

void kp_level5(kp_chunk *chunk, bool old) {
    if (old) level56(chunk, 5, true);
    else level56(chunk, 5, false);
}

void kp_level6(kp_chunk *chunk, bool old) {
    if (old) level56(chunk, 6, true);
    else level56(chunk, 6, false);
}
