/* Levels 1 to 3: one hash table, sparse insertion, the first match found is taken (level1.go to level3.go). */
#include "klauspost_emit.h"
#include "klauspost_matchers.h"

enum { BITS1 = 15, BITS2 = 17, BITS3 = 16 }; /* tableBits, bTableBits, tableBits of level 3 */

/* Before 1.15.11 these levels hashed four bytes, level 1 with a multiplier of its own. */
static inline uint32_t hash1(uint64_t value, bool old) {
    return old ? (uint32_t)value * UINT32_C(0x1e35a7bd) >> (32 - BITS1) : kp_hash5(value, BITS1);
}
static inline uint32_t hash2(uint64_t value, bool old) { return old ? kp_hash4(value, BITS2) : kp_hash5(value, BITS2); }
static inline uint32_t hash3(uint64_t value, bool old) { return old ? kp_hash4(value, BITS3) : kp_hash5(value, BITS3); }

static inline uint64_t load(const uint8_t *at, bool old) { return old ? rdk_load32(at) : rdk_load64(at); }

/* Levels 1 and 2 may reach one byte further when they try the bytes right behind a match. */
static inline bool agrees_behind_match(const uint8_t *src, int32_t at, int32_t candidate, uint64_t value) {
    return kp_in_reach(at, candidate, RDK_WINDOW) && rdk_load32(src + candidate) == (uint32_t)value;
}

/* Returns the match of which four bytes are known, extended in both directions. */
static inline kp_match whole_match(const kp_chunk *chunk, int32_t at, int32_t from) {
    kp_match match = {at, from, 4 + kp_length(chunk, at + 4, from + 4)};
    kp_extend_back(chunk, &match);
    return match;
}

/* ---- levels 1 and 2 -------------------------------------------------------------------------------------------- */

/* Finds the next match from *at on, two positions at each step (doEvery). Steps grow by one for every 32 bytes without
 * a match (skipLog). On true *at and *from say where it is and *next where the search is; on false the chunk holds no
 * more. */
static inline bool search_pairs(const kp_chunk *chunk, uint32_t *table, uint32_t (*hash_of)(uint64_t, bool), bool old,
                                int level, int32_t *at, int32_t *from, int32_t *next) {
    const uint8_t *src = chunk->src;
    const int32_t limit = chunk->stop - KP_MARGIN;
    int32_t s = *at, ahead;
    uint64_t value = load(src + s, old);
    for (;;) {
        uint32_t hash = hash_of(value, old);
        int32_t candidate = kp_index(table[hash]);
        ahead = s + 2 + ((s - chunk->anchor) >> 5);
        if (ahead > limit) return false;
        uint64_t now = rdk_load64(src + ahead);
        table[hash] = kp_entry(s);
        hash = hash_of(now, old);
        *from = candidate;
        if (kp_agrees(src, s, candidate, value)) {
            table[hash] = kp_entry(ahead);
            break;
        }
        value = now;
        s = ahead++;
        candidate = kp_index(table[hash]);
        table[hash] = kp_entry(s);
        *from = candidate;
        if (kp_agrees(src, s, candidate, value)) {
            if (level == 1) table[hash] = kp_entry(ahead); /* under the hash at s, as the encoder does */
            break;
        }
        value = now >> 8;
        s = ahead;
    }
    *at = s;
    *next = ahead;
    return true;
}

/* The match ran into the chunk's margin: the encoder inserts one more position if enough bytes are left. */
static inline void insert_last(const kp_chunk *chunk, uint32_t *table, uint32_t (*hash_of)(uint64_t, bool), bool old,
                               int32_t s, int32_t length) {
    if (s + length + (old ? 4 : 8) < chunk->stop) table[hash_of(load(chunk->src + s, old), old)] = kp_entry(s);
}

/* Level 2 inserts every second position inside the match. The third hash of each round takes a zero as its fifth byte.
 */
static inline void insert_inside2(const kp_chunk *chunk, uint32_t *table, bool old, int32_t s, int32_t length) {
    for (int32_t i = s - length + 2; i < s - 5; i += 7) {
        uint64_t value = rdk_load64(chunk->src + i);
        table[hash2(value, old)] = kp_entry(i);
        table[hash2(value >> 16, old)] = kp_entry(i + 2);
        table[hash2(value >> 32, old)] = kp_entry(i + 4);
    }
}

/* Levels 1 and 2; the constants after `chunk` are folded where it is inlined. */
static inline __attribute__((always_inline)) void level12(kp_chunk *chunk, int level,
                                                          uint32_t (*hash_of)(uint64_t, bool), bool old) {
    uint32_t *table = chunk->state->tables;
    const uint8_t *src = chunk->src;
    const int32_t limit = chunk->stop - KP_MARGIN;
    int32_t s = chunk->start, from, next;
    while (s < limit && search_pairs(chunk, table, hash_of, old, level, &s, &from, &next)) {
        for (;;) {
            kp_match match = whole_match(chunk, s, from);
            if (!kp_emit(chunk, &match, &next)) {
                s = next;
                break;
            }
            s = chunk->emitted;
            if (next >= s) s = next + 1;
            if (s >= limit) {
                insert_last(chunk, table, hash_of, old, s, match.length);
                break;
            }
            if (level == 2) insert_inside2(chunk, table, old, s, match.length);
            uint64_t value = rdk_load64(src + s - 2);
            table[hash_of(value, old)] = kp_entry(s - 2);
            if (level == 2) table[hash_of(value >> 8, old)] = kp_entry(s - 1);
            value >>= 16;
            uint32_t hash = hash_of(value, old);
            from = kp_index(table[hash]);
            table[hash] = kp_entry(s);
            if (!agrees_behind_match(src, s, from, value)) {
                s++;
                break;
            }
        }
    }
    kp_emit_rest(chunk);
}

void kp_level1(kp_chunk *chunk, bool old) {
    if (old) level12(chunk, 1, hash1, true);
    else level12(chunk, 1, hash1, false);
}

void kp_level2(kp_chunk *chunk, bool old) {
    if (old) level12(chunk, 2, hash2, true);
    else level12(chunk, 2, hash2, false);
}

/* ---- level 3 --------------------------------------------------------------------------------------------------- */

enum { REACH3 = RDK_WINDOW - 4 };

/* Finds the next match from *at on, among two candidates for each position. The comparisons with the window's edge
 * differ on purpose: they are the encoder's. */
static inline bool search3(const kp_chunk *chunk, kp_pair *table, bool old, int32_t limit, int32_t *at, int32_t *from,
                           int32_t *next) {
    const uint8_t *src = chunk->src;
    int32_t s, ahead = *at;
    uint64_t value = load(src + ahead, old);
    for (;;) {
        kp_pair *slot = &table[hash3(value, old)];
        s = ahead;
        ahead = s + 1 + ((s - chunk->anchor) >> (old ? 6 : 7));
        if (ahead > limit) return false;
        kp_pair pair = *slot;
        int32_t first = kp_index(pair.now), second = kp_index(pair.before);
        uint32_t here = (uint32_t)value;
        kp_push(slot, s);
        value = load(src + ahead, old);
        if (!kp_in_reach(s, first, REACH3)) continue;
        if (here == rdk_load32(src + first)) {
            *from = first;
            if (kp_in_reach(s, second, REACH3) && here == rdk_load32(src + second) &&
                kp_length(chunk, s + 4, second + 4) > kp_length(chunk, s + 4, first + 4))
                *from = second;
            break;
        }
        if (kp_in_reach(s, second, REACH3 - 1) && here == rdk_load32(src + second)) {
            *from = second;
            break;
        }
    }
    *at = s;
    *next = ahead;
    return true;
}

/* Inserts the positions before the end of a match at `s`, and looks for a match there. */
static inline bool behind_match3(const kp_chunk *chunk, kp_pair *table, bool old, int32_t s, int32_t *from) {
    const uint8_t *src = chunk->src;
    uint64_t value = rdk_load64(src + s - 2);
    kp_push(&table[hash3(value, old)], s - 2);
    kp_push(&table[hash3(value >> 8, old)], s - 1);
    value >>= 16;
    kp_pair *slot = &table[hash3(value, old)], pair = *slot;
    kp_push(slot, s);
    *from = kp_index(pair.now);
    if (!kp_in_reach(s, *from, REACH3 - 1)) return false;
    if (rdk_load32(src + *from) == (uint32_t)value) return true;
    *from = kp_index(pair.before);
    return kp_in_reach(s, *from, REACH3 - 1) && rdk_load32(src + *from) == (uint32_t)value;
}

static inline __attribute__((always_inline)) void level3(kp_chunk *chunk, bool old) {
    kp_pair *table = (kp_pair *)(void *)chunk->state->tables;
    const uint8_t *src = chunk->src;
    const int32_t limit = chunk->stop - (old ? 7 : KP_MARGIN);
    int32_t s = chunk->start, from, next;
    while (s < limit && search3(chunk, table, old, limit, &s, &from, &next)) {
        for (;;) {
            kp_match match = whole_match(chunk, s, from);
            if (!kp_emit(chunk, &match, &next)) {
                s = next;
                break;
            }
            s = chunk->emitted;
            if (next >= s) s = next + 1;
            if (s >= limit) {
                int32_t end = match.from + match.length;
                if (end + (old ? 4 : 8) < chunk->stop) kp_push(&table[hash3(load(src + end, old), old)], end);
                break;
            }
            for (int32_t i = s - match.length + 2; i < s - 5; i += old ? 5 : 6)
                kp_push(&table[hash3(load(src + i, old), old)], i);
            if (!behind_match3(chunk, table, old, s, &from)) {
                s++;
                break;
            }
        }
    }
    kp_emit_rest(chunk);
}

void kp_level3(kp_chunk *chunk, bool old) {
    if (old) level3(chunk, true);
    else level3(chunk, false);
}
