/* Following a precedent: which tokens of an older stream an encoder with hash chains would write again.
 *
 * Such an encoder's token at a position is decided by the longest matches there and one further, among candidates within a
 * window before them. Where new and old bytes are the same that search would find the same again, unless a byte that
 * *differs* had a part in it. Tokens come in groups, literals up to and with a match: no match that was found on the way is
 * longer than the group's, or it would have been written. So comparisons in a group end no more than that length and one
 * byte behind its match, and bytes that differ have a part in it
 *   - where they lie before that end;
 *   - as candidates: a position less than RDK_MATCH_MAX before a byte that differs is *tainted*. With fewer than four same
 *     bytes before that one it may be in another chain than it was (near); with more it may only have another length, for
 *     whoever agrees with it up to there, in groups with as long a match (far).
 * Everything else can be taken over as it is. The rest is searched as ever, and the two agree again at the next token
 * boundary that both have, because nothing is pending at a boundary that a fresh search would not find. */
#ifndef RDK_DEFLATE_PRECEDENT_H
#define RDK_DEFLATE_PRECEDENT_H

#include "model.h"

enum {
    RDK_TAINT_SLOTS = 1 << 15,
    RDK_TAINT_WINDOW = 1 << 15, /* deflate's */
    RDK_FAR_TRIES = 16,
    RDK_REACH = RDK_MATCH_MAX + 2, /* a token depends on so many bytes from its position at most */
    RDK_GROUP_LITERALS = 256       /* how far a group's match is looked for */
};

/* Near taints by the encoder's hash. */
typedef struct rdk_near {
    uint32_t last[RDK_TAINT_SLOTS]; /* position + 1 of the last in the slot */
    uint16_t tags[RDK_TAINT_SLOTS]; /* more bits of its hash; 0: of several hashes */
} rdk_near;

/* Far taints by how many same bytes they begin with (the logarithm), and by these: the first and the last that all have. */
typedef struct rdk_far {
    uint32_t last[RDK_TAINT_SLOTS];  /* position + 1 of the last in the slot */
    uint16_t back[RDK_TAINT_WINDOW]; /* by position: how far it is to the one before in its slot; 0: none in the window */
} rdk_far;

/* Which slots may hold anything: small enough to be near at hand. Those of this stretch of a window's length, and of the one
 * before. */
typedef struct rdk_sieve {
    uint64_t bits[2][RDK_TAINT_SLOTS / 64];
    uint32_t stretch;
} rdk_sieve;

typedef struct rdk_follower {
    const rdk_precedent *precedent;
    const uint8_t *plain, *old; /* old[i] stands beside plain[i], for begin <= i < end */
    uint32_t begin, end;
    uint32_t token;             /* the next one */
    int64_t at;                 /* where it begins */
    uint32_t group_stop;        /* the token behind the match of its group, once the group was looked at */
    uint32_t group_length;      /* the length of that match */
    int64_t group_reach;        /* the group depends on bytes before this position only */
    uint32_t differs;           /* the first position >= `seen` whose bytes differ; `end` if none does */
    uint32_t seen;              /* positions before it are in `tainted` where they have to be */
    uint32_t last_tainted;      /* the last tainted position, plus one; 0: none */
    rdk_sieve sieve;
    rdk_near near;
    rdk_far far;
} rdk_follower;

typedef uint32_t rdk_chain_hash(const uint8_t *at); /* the encoder's own, of at most 30 bits, over at most eight bytes */

static inline void rdk_sieve_move(rdk_sieve *s, uint32_t position) {
    uint32_t stretch = position / RDK_TAINT_WINDOW;
    if (s->stretch == stretch) return;
    if (s->stretch + 1 != stretch) memset(s->bits, 0, sizeof s->bits);
    memset(s->bits[stretch & 1], 0, sizeof s->bits[0]);
    s->stretch = stretch;
}

static inline void rdk_sieve_add(rdk_sieve *s, uint32_t slot) { s->bits[s->stretch & 1][slot / 64] |= UINT64_C(1) << (slot % 64); }

static inline bool rdk_sieve_has(const rdk_sieve *s, uint32_t slot) {
    return (s->bits[0][slot / 64] | s->bits[1][slot / 64]) >> (slot % 64) & 1;
}

static inline bool rdk_in_window(uint32_t taint, uint32_t position) { return taint && taint + RDK_TAINT_WINDOW > position; }

static inline uint16_t rdk_near_tag(uint32_t hash) { return (uint16_t)(hash / RDK_TAINT_SLOTS + 1); }

/* What was in the slot and is as near as `position` is looked up still. */
static inline void rdk_near_add(rdk_sieve *s, rdk_near *t, uint32_t hash, uint32_t position) {
    uint32_t slot = hash % RDK_TAINT_SLOTS;
    rdk_sieve_add(s, slot);
    uint16_t tag = rdk_near_tag(hash);
    t->tags[slot] = rdk_in_window(t->last[slot], position) && t->tags[slot] != tag ? 0 : tag;
    if (t->last[slot] <= position) t->last[slot] = position + 1;
}

static inline bool rdk_near_has(const rdk_near *t, uint32_t hash, uint32_t position) {
    uint32_t slot = hash % RDK_TAINT_SLOTS;
    return rdk_in_window(t->last[slot], position) && (t->tags[slot] == 0 || t->tags[slot] == rdk_near_tag(hash));
}

static inline uint32_t rdk_far_slot(const uint8_t *at, uint32_t same_log) {
    uint64_t first = rdk_load32(at), last = rdk_load32(at + (1u << same_log) - 4);
    return (uint32_t)((first << 32 | last) * UINT64_C(0x9e3779b97f4a7c15) >> 49) ^ same_log;
}

static inline uint32_t rdk_log2(uint32_t n) { return 31 - (uint32_t)__builtin_clz(n); }

static inline void rdk_far_add(rdk_sieve *s, rdk_far *t, uint32_t slot, uint32_t position) {
    rdk_sieve_add(s, slot);
    uint32_t before = t->last[slot];
    t->back[position % RDK_TAINT_WINDOW] = rdk_in_window(before, position) ? (uint16_t)(position + 1 - before) : 0;
    t->last[slot] = position + 1;
}

static inline uint32_t rdk_differs_from(const rdk_follower *f, uint32_t from) {
    return from + rdk_common(f->plain + from, f->old + from, f->end - from);
}

static inline void rdk_follow(rdk_follower *f, const rdk_precedent *precedent, const uint8_t *plain) {
    memset(&f->sieve, 0, sizeof f->sieve);
    memset(f->near.last, 0, sizeof f->near.last);
    memset(f->far.last, 0, sizeof f->far.last);
    f->precedent = precedent;
    f->plain = plain;
    f->old = precedent->plain - precedent->begin;
    f->begin = f->seen = precedent->begin;
    f->end = precedent->end;
    f->token = f->group_stop = 0;
    f->at = precedent->token_begin;
    f->last_tainted = 0;
    f->differs = rdk_differs_from(f, f->begin);
}

static inline uint32_t rdk_old_span(rdk_token token) {
    return token & RDK_STORED_SPAN ? token & (RDK_STORED_SPAN - 1) : rdk_token_span(token);
}

/* Whether a token of the precedent begins at `position`: then it is the next one. */
static inline bool rdk_in_step(rdk_follower *f, uint32_t position) {
    const rdk_precedent *p = f->precedent;
    while (f->at < (int64_t)position && f->token < p->token_count) f->at += rdk_old_span(p->tokens[f->token++]);
    return f->at == (int64_t)position && f->token < p->token_count;
}

/* Looks at the group of the next token. Where its match is not at hand, every token has the longest reach. */
static inline void rdk_see_group(rdk_follower *f) {
    const rdk_precedent *p = f->precedent;
    uint32_t stop = f->token;
    if (stop < f->group_stop) return;
    while (stop < p->token_count && p->tokens[stop] < 256 && stop - f->token < RDK_GROUP_LITERALS) stop++;
    bool match = stop < p->token_count && p->tokens[stop] >= 256 && !(p->tokens[stop] & RDK_STORED_SPAN);
    f->group_length = match ? rdk_token_length(p->tokens[stop]) : RDK_MATCH_MAX;
    f->group_reach = f->at + (stop - f->token) + (match ? f->group_length + 2 : RDK_REACH);
    f->group_stop = stop + 1;
}

/* Marks what is tainted before `position`. `chain_hash` is the encoder's own. Reads up to eight bytes from a position. */
static inline void rdk_taint(rdk_follower *f, uint32_t position, rdk_chain_hash *chain_hash) {
    uint32_t to = position < f->end - 8 ? position : f->end - 8;
    rdk_sieve_move(&f->sieve, position);
    for (uint32_t c = f->seen; c < to;) {
        if (f->differs < c) f->differs = rdk_differs_from(f, c);
        uint32_t same = f->differs - c;
        if (same >= RDK_MATCH_MAX) {
            c = f->differs - RDK_MATCH_MAX + 1;
            continue;
        }
        if (same >= 4) {
            rdk_far_add(&f->sieve, &f->far, rdk_far_slot(f->plain + c, rdk_log2(same)), c);
        } else {
            rdk_near_add(&f->sieve, &f->near, chain_hash(f->plain + c), c);
            rdk_near_add(&f->sieve, &f->near, chain_hash(f->old + c), c);
        }
        if (f->last_tainted < ++c) f->last_tainted = c;
    }
    if (to > f->seen) f->seen = to;
    if (f->differs < f->seen) f->differs = rdk_differs_from(f, f->seen);
}

/* Taints [from, to) for an encoder that cannot reach there from everywhere in the window. */
static inline void rdk_taint_range(rdk_follower *f, int64_t from, int64_t to, rdk_chain_hash *chain_hash) {
    for (int64_t c = from < f->begin ? f->begin : from; c < to; c++) rdk_near_add(&f->sieve, &f->near, chain_hash(f->plain + c), (uint32_t)c);
    if (to > f->last_tainted) f->last_tainted = (uint32_t)to;
}

/* Whether a match of `position` with a far taint of the slot has another length than it had. */
static inline bool rdk_far_matters(const rdk_follower *f, uint32_t slot, uint32_t position) {
    uint32_t taint = f->far.last[slot];
    for (uint32_t tries = 0; rdk_in_window(taint, position); tries++) {
        const uint8_t *here = f->plain + position, *there = f->plain + taint - 1, *was = f->old + taint - 1;
        uint32_t same = rdk_common(there, was, RDK_MATCH_MAX), back = f->far.back[(taint - 1) % RDK_TAINT_WINDOW];
        if (tries == RDK_FAR_TRIES) return true;
        if (same <= f->group_length && same < RDK_MATCH_MAX && (here[same] == there[same] || here[same] == was[same]) &&
            rdk_common(there, here, same) == same)
            return true;
        if (back == 0) break;
        taint -= back;
    }
    return false;
}

/* Whether no taint before `position` can have a part in a search there, for a token of the group at hand. Everything before
 * the token is marked. */
static inline bool rdk_is_clean(const rdk_follower *f, uint32_t position, rdk_chain_hash *chain_hash) {
    const uint8_t *here = f->plain + position;
    uint32_t hash = chain_hash(here);
    if (rdk_sieve_has(&f->sieve, hash % RDK_TAINT_SLOTS) && rdk_near_has(&f->near, hash, position)) return false;
    for (uint32_t log = 2; f->group_length >> log; log++) {
        uint32_t slot = rdk_far_slot(here, log);
        if (rdk_sieve_has(&f->sieve, slot) && rdk_far_matters(f, slot, position)) return false;
    }
    return true;
}

#endif
